"""Documents of one sentence: what a run says before it trains on pairs of sentences."""

import pytest

import selfwise

TINY = {
    "encoder_options": {"depth": 1, "dim": 16, "heads": 2},
    "tokenizer": "chars",
    "batch_size": 4,
    "max_length": 32,
    "steps": 1,
    "device": "cpu",
    "cpu_threads": 1,
}


def pretrain(tmp_path, capsys, method, encoder, *, long):
    rows = [f"a film of {i} friends" for i in range(60)]
    rows[:long] = [f"It is film {i}. Nobody slept in it." for i in range(long)]
    (tmp_path / "reviews.txt").write_text("\n".join(rows))
    told = {**TINY, "encoder": encoder, "documents": "line"}
    selfwise.pretrain(method, data=tmp_path / "reviews.txt", out=tmp_path / "run", **told)
    return "".join(capsys.readouterr())


@pytest.mark.run  # training
@pytest.mark.parametrize("method", ["bert", "albert"])
def test_few_documents_with_pairs_are_noticed(tmp_path, capsys, method):
    said = pretrain(tmp_path, capsys, method, f"{method}-tiny", long=4)
    assert "warning: " in said
    assert "of the documents have two sentences or more" in said
    assert "roberta and word2vec do not need them" in said


@pytest.mark.run  # training
@pytest.mark.parametrize(
    ("method", "encoder", "long"), [("bert", "bert-tiny", 30), ("roberta", "roberta-tiny", 4)]
)
def test_many_pairs_or_no_need_of_them_say_nothing(tmp_path, capsys, method, encoder, long):
    assert "two sentences or more" not in pretrain(tmp_path, capsys, method, encoder, long=long)
