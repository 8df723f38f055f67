"""Text from end to end: pre-train, fill, generate, measure, embed, probe, take elsewhere."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import selfwise
from selfwise.cli import main as cli
from selfwise.data.text.labelled import open_texts
from selfwise.evaluation.features.text import fit_bag_of_words
from selfwise.evaluation.probes.retrieval import measure_retrieval
from selfwise.runs.run_yaml import read_record
from selfwise.workflows import generate as generating
from selfwise.workflows.export import export_run
from selfwise.workflows.fill import fill
from selfwise.workflows.import_weights import import_weights
from selfwise.workflows.perplexity import perplexity
from tests.helpers.command_lines import replace_options

METHODS = ("bert", "roberta", "albert", "gpt")
TINY = {"dim": 32, "heads": 2, "depth": 2, "dropout": 0.0, "attention_dropout": 0.0}
QUICK = {"steps": 12, "batch_size": 8, "max_length": 32, "cpu_threads": 1, "quiet": True, "seed": 1}
QUICK |= {"monitor_every": 6, "log_every": 6, "precision": "float32", "val_fraction": 0.2}
WORDS = [
    "the",
    "old",
    "sea",
    "was",
    "calm",
    "and",
    "a",
    "small",
    "boat",
    "went",
    "out",
    "to",
    "the",
    "far",
    "green",
    "island",
    "again",
]
LINES = ("a good and warm story", "a bad and cold story")


def story(random: np.random.Generator, sentences: int) -> str:
    said = [" ".join(random.choice(WORDS, 7)).capitalize() + "." for _ in range(sentences)]
    return " ".join(said)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Twenty documents of thirty sentences, and a few of other scripts."""
    folder, random = tmp_path_factory.mktemp("corpus"), np.random.default_rng(0)
    for i in range(20):
        (folder / f"{i:02d}.txt").write_text(story(random, 30))
    (folder / "other.txt").write_text(
        "Москва — столица. 東京は大きい。 It is 🙂 here. Да, да. " * 20
    )
    return folder


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    path = tmp_path_factory.mktemp("labelled") / "train.tsv"
    rows = [f"{LINES[i % 2]} {WORDS[i % 15]} {WORDS[i % 7]}\t{i % 2}" for i in range(80)]
    path.write_text("sentence\tlabel\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def runs(corpus, tmp_path_factory):
    """One tiny run of each method, made when it is asked for."""
    made = {}

    def get(method):
        if method not in made:
            out = tmp_path_factory.mktemp("runs") / method
            encoder = {"encoder": f"{method}-tiny", "encoder_options": {**TINY}}
            encoder["encoder_options"] |= {"embedding": 16} if method == "albert" else {}
            kind = {"bert": "wordpiece:300", "albert": "unigram:120"}.get(method, "bpe:320")
            told = {**QUICK, **encoder, "tokenizer": kind}
            made[method] = selfwise.pretrain(method, data=corpus, out=out, **told)
        return made[method]

    return get


@pytest.mark.parametrize("method", METHODS)
def test_a_run_on_text_says_what_it_found_and_measures_held_out_text(runs, method):
    run = runs(method)
    found = read_record(run.folder).info
    assert found.documents == 21
    assert 0 < found.held_out_tokens < found.tokens
    assert 2 < found.unigram_entropy < 8
    assert found.vocab == run.tokenizer.vocabulary.size
    lines = [json.loads(t) for t in (run.folder / "metrics.jsonl").read_text().splitlines()]
    held = [name for name in lines[-1] if name.startswith("val/")]
    assert held
    assert all(math.isfinite(lines[-1][name]) for name in held)
    measured = perplexity(run)
    assert abs(measured["unigram_entropy"] - found.unigram_entropy) < 1e-3
    term = held[0].removeprefix("val/")
    assert measured[term] == pytest.approx(lines[-1][held[0]], abs=0.5)


@pytest.mark.parametrize("method", METHODS[:3])
@pytest.mark.parametrize("text", ["the [MASK] sea", "[MASK] столица <mask>", "東[MASK]は🙂"])
def test_gaps_are_filled_in_any_script(runs, method, text):
    gaps, joint = fill(runs(method), text, top_k=3)
    assert len(joint.pieces) == len(joint.texts) == 3
    assert joint.probabilities == sorted(joint.probabilities, reverse=True)
    assert not any("[MASK]" in one or "<mask>" in one for one in joint.texts)
    assert len(gaps) == text.count("[MASK]") + text.count("<mask>")
    for gap in gaps:
        assert len(gap.pieces) == len(gap.texts) == 3
        assert gap.probabilities == sorted(gap.probabilities, reverse=True)
        special = {
            runs(method).tokenizer.piece(i) for i in runs(method).tokenizer.vocabulary.special
        }
        assert not set(gap.pieces) & special


def test_the_best_filling_is_that_of_the_full_model(runs):
    run = runs("roberta")
    words, vocabulary = run.tokenizer, run.tokenizer.vocabulary
    ids = [vocabulary.first, *words.encode(["the"])[0], vocabulary.mask]
    place = len(ids) - 1
    ids += [*words.encode([" sea"])[0], vocabulary.last]
    batch = selfwise.core.types.TextBatch(torch.tensor([ids]), torch.zeros(1, dtype=torch.long))
    with torch.no_grad():
        hidden = run.encoder.eval()(batch).tokens[0, place : place + 1]
        logits = run.method.head(hidden, run.encoder.token.weight)[0]
    logits[list(vocabulary.special)] = -torch.inf
    found = fill(run, "the <mask> sea", top_k=1).gaps[0]
    assert fill(run, "the <mask> sea", top_k=1).joint == found
    assert found.pieces == [words.piece(int(logits.argmax()))]


def test_a_filled_text_is_the_users_own_outside_its_gaps(runs):
    text = "A [MASK] сидит 漢 🙂,  old [MASK]!"
    for method in METHODS[:3]:
        gaps, joint = fill(runs(method), text, top_k=2)
        for gap in (*gaps, joint):
            for filled in gap.texts:
                assert filled.startswith("A ")
                assert " сидит 漢 🙂,  old " in filled
                assert filled.endswith("!")
        assert all(one.endswith("old [MASK]!") for one in gaps[0].texts)
        assert all(one.startswith("A [MASK] ") for one in gaps[1].texts)


def test_gaps_are_filled_together_from_left_to_right(runs):
    """The second gap is filled by a model that sees what stands in the first one."""
    run = runs("bert")
    number = {run.tokenizer.piece(i): i for i in range(run.tokenizer.vocabulary.size)}
    gaps, joint = fill(run, "the [MASK] old [MASK] sea", top_k=4)
    first = dict(zip(gaps[0].pieces, gaps[0].probabilities))
    ids = [run.tokenizer.vocabulary.first, *run.tokenizer.encode(["the"])[0].tolist()]
    place = len(ids)
    for pieces, chance in zip(joint.pieces, joint.probabilities):
        one, two = pieces.split(" ")
        with torch.no_grad():
            old, sea = (run.tokenizer.encode([word])[0].tolist() for word in ("old", "sea"))
            mask, last = run.tokenizer.vocabulary.mask, run.tokenizer.vocabulary.last
            text = torch.tensor([[*ids, number[one], *old, mask, *sea, last]])
            batch = selfwise.core.types.TextBatch(text, torch.zeros(1, dtype=torch.long))
            batch = batch._replace(segment=torch.zeros_like(text))
            hidden = run.encoder.eval()(batch).tokens[0, place + 1 + len(old)][None]
            logits = run.method.head(hidden, run.encoder.token.weight)[0]
        logits[list(run.tokenizer.vocabulary.special)] = -torch.inf
        assert chance == pytest.approx(first[one] * float(logits.softmax(0)[number[two]]), rel=1e-4)


def test_positions_that_were_not_trained_are_not_used(runs, monkeypatch):
    run, seen = runs("gpt"), []
    original = type(run.encoder).extend

    def spy(self, ids, cache=None):
        seen.append(ids.shape[1] + (0 if cache is None else cache.size))
        return original(self, ids, cache)

    monkeypatch.setattr(type(run.encoder), "extend", spy)
    generating.generate(run, "the old sea", max_new_tokens=80, seed=3)
    assert max(seen) <= 32 < run.encoder.length
    with pytest.raises(ValueError, match="rows of 32"):
        fill(runs("bert"), "the sea " * 40 + "[MASK]")
    texts = ["sea " * 30, "sea " * 60]
    long, cut = selfwise.embed(runs("bert"), texts, window="first").vectors
    assert np.allclose(long, cut, atol=1e-5)
    long, whole = selfwise.embed(runs("bert"), ["sea " * 30 + "old", "sea " * 60 + "old"]).vectors
    assert not np.allclose(long, whole, atol=1e-5)


def test_the_recorded_tokenizer_is_the_kind_or_the_path(runs):
    assert runs("bert").record.option("tokenizer") == "wordpiece:300"


def test_bits_per_byte_count_every_target(runs, tmp_path):
    lines = ["the old sea", "a boat", "far green island"]
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(lines))
    run = runs("gpt")
    values = perplexity(run, path, documents="line")
    total, vocabulary = 0.0, run.tokenizer.vocabulary
    for line in lines:
        ids = [vocabulary.first, *run.tokenizer.encode([line])[0].tolist(), vocabulary.last]
        batch = selfwise.core.types.TextBatch(
            torch.tensor([ids[:-1]]), torch.zeros(1, dtype=torch.long)
        )
        with torch.no_grad():
            hidden = run.encoder.eval()(batch).tokens[0]
            scores = (hidden @ run.encoder.token.weight.T).log_softmax(-1)
        total -= float(scores[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].sum())
    size = sum(len(line) for line in lines)
    assert values["bits_per_byte"] == pytest.approx(total / math.log(2) / size, rel=1e-4)


def test_generation_is_a_function_of_the_seed_and_goes_beyond_the_positions(runs):
    run = runs("gpt")
    told = {"max_new_tokens": 90, "temperature": 1.0}
    one = generating.generate(run, "the old", **told, seed=1)
    assert one == generating.generate(run, "the old", **told, seed=1)
    assert one != generating.generate(run, "the old", **told, seed=2)
    assert one.startswith("the old")
    greedy = {
        generating.generate(run, "the", max_new_tokens=5, temperature=0, seed=s) for s in range(3)
    }
    assert len(greedy) == 1
    assert greedy == {generating.generate(run, "the", max_new_tokens=5, top_k=1, seed=3)}


def test_greedy_generation_is_the_argmax_of_the_full_model(runs):
    run = runs("gpt")
    ids = [run.tokenizer.vocabulary.first, *run.tokenizer.encode(["the old"])[0].tolist()]
    for _ in range(6):
        batch = selfwise.core.types.TextBatch(torch.tensor([ids]), torch.zeros(1, dtype=torch.long))
        with torch.no_grad():
            hidden = run.encoder.eval()(batch).tokens[0, -1]
        ids.append(int((hidden @ run.encoder.token.weight.T).argmax()))
    assert generating.generate(
        run, "the old", max_new_tokens=6, temperature=0
    ) == run.tokenizer.decode(ids)


def test_draws_follow_the_distribution():
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    draws = torch.Generator().manual_seed(0)

    def shares(**told):
        options = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, **told}
        drawn = [generating._draw_token(logits, draws, **options) for _ in range(4000)]
        return np.bincount(drawn, minlength=4) / 4000

    expected = logits.double().softmax(0).numpy()
    assert np.abs(shares() - expected).max() < 0.03
    two = expected[:2] / expected[:2].sum()
    assert np.abs(shares(top_k=2)[:2] - two).max() < 0.03
    assert shares(top_k=2)[2:].sum() == 0
    # 0.644 + 0.237 = 0.881: the second token reaches 0.8, and the third is out
    assert np.abs(shares(top_p=0.8)[:2] - two).max() < 0.03
    assert shares(top_p=0.8)[2:].sum() == 0
    hot = (logits.double() / 2).softmax(0).numpy()
    assert np.abs(shares(temperature=2.0) - hot).max() < 0.03


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_embeddings_do_not_depend_on_what_shares_the_batch(runs, pooling):
    texts = ["the sea", "a small boat went out to the far green island again and again", "calm"]
    for method in ("bert", "gpt"):
        run = runs(method)
        together = selfwise.embed(run, texts, pooling=pooling).vectors
        alone = np.concatenate([selfwise.embed(run, [t], pooling=pooling).vectors for t in texts])
        assert together.shape == (3, 32)
        assert np.allclose(together, alone, atol=1e-5)
        blind = (method, pooling) == ("gpt", "cls")  # the first token sees no other
        assert np.allclose(together[0], together[1]) == blind


def test_a_probe_stands_beside_bag_of_words_and_the_untrained_encoder(runs, labelled):
    run = runs("bert")
    told = {"train": labelled, "seeds": 1, "quiet": True}
    score = selfwise.probe(run, **told)
    assert {row["competitor"] for row in score.rows()} == {"pretrained", "untrained", "raw input"}
    assert score.result("raw input", None).mean == 1.0  # the words give the label away
    by_layer = selfwise.probe(run, **told, layer=0, pooling="cls", kind="knn")
    assert by_layer.n_test == 16
    with pytest.raises(ValueError, match="layer 2 does not exist: the encoder has layers 0 to 1"):
        selfwise.probe(run, **told, layer=2)
    for wrong in ({"kind": "finetune"}, {"supervised_baseline": True}, {"kind": "sgd"}):
        with pytest.raises(ValueError, match=r"frozen|bags of words"):
            selfwise.probe(run, **told, **wrong)


def test_texts_are_retrieved_beside_bags_of_words(runs, labelled):
    told = {"train": labelled, "test": labelled, "kind": "retrieval", "quiet": True}
    found = selfwise.probe(runs("bert"), **told)
    assert list(found.by_competitor) == ["pretrained", "untrained", "raw input"]
    assert found.to_dict()["queries"] == 80
    texts = open_texts(labelled)
    bags = measure_retrieval(fit_bag_of_words(texts, texts).test, texts.labels)
    assert np.array_equal(found.by_competitor["raw input"][0].values["MAP@R"], bags.values["MAP@R"])
    assert 0 < found.mean("MAP@R") <= 1.0


@pytest.mark.parametrize("method", METHODS)
def test_export_and_import_give_the_same_model(runs, method, tmp_path):
    run = runs(method)
    export_run(run.folder, out=tmp_path / "hf")
    again = import_weights(method, tmp_path / "hf", out=tmp_path / "run")
    ours, theirs = (dict(r.method.named_parameters()) for r in (run, again))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert again.tokenizer.fingerprint == run.tokenizer.fingerprint
    ids = [run.tokenizer.encode(["the small boat, Москва 🙂"])[0].tolist()]
    batch = selfwise.core.types.TextBatch(torch.tensor(ids), torch.zeros(1, dtype=torch.long))
    with torch.no_grad():
        pair = (r.encoder.eval()(batch).tokens for r in (run, again))
        assert torch.equal(*pair)
    with pytest.raises(ValueError, match="pretrain"):
        selfwise.resume(again.folder)


def test_an_imported_run_is_trained_further_with_its_tokenizer_and_heads(runs, corpus, tmp_path):
    run = runs("bert")
    export_run(run.folder, out=tmp_path / "hf")
    start = import_weights("bert", tmp_path / "hf", out=tmp_path / "start")
    told = {**QUICK, "steps": 1, "lr": 0.0, "weight_decay": 0.0}
    more = selfwise.pretrain(
        "bert", data=corpus, out=tmp_path / "on", init_from=start.folder, **told
    )
    assert more.tokenizer.fingerprint == run.tokenizer.fingerprint
    ours, theirs = (dict(r.method.named_parameters()) for r in (run, more))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_table_with_more_rows_than_tokens_is_trained_further(runs, corpus, tmp_path):
    export_run(runs("roberta").folder, out=tmp_path / "hf")
    weights = load_file(tmp_path / "hf" / "model.safetensors")
    told = json.loads((tmp_path / "hf" / "config.json").read_text())
    for name, weight in weights.items():
        if len(weight) == told["vocab_size"]:
            weights[name] = torch.cat([weight, torch.zeros(8, *weight.shape[1:])])
    told["vocab_size"] += 8
    (tmp_path / "hf" / "config.json").write_text(json.dumps(told))
    save_file(weights, tmp_path / "hf" / "model.safetensors")
    start = import_weights("roberta", tmp_path / "hf", out=tmp_path / "start")
    assert fill(start, "the <mask> sea", top_k=1).gaps[0].pieces
    more = {**QUICK, "steps": 1}
    run = selfwise.pretrain(
        "roberta", data=corpus, out=tmp_path / "r", init_from=start.folder, **more
    )
    assert run.encoder.vocab == told["vocab_size"]


def test_a_run_resumes_in_the_middle_of_an_epoch(runs, corpus, tmp_path):
    record = runs("albert").record
    out = tmp_path / "again"
    keep = {n: record.option(n) for n in ("encoder", "tokenizer", *QUICK) if n not in ("quiet",)}
    keep["encoder_options"] = record.encoder_options
    selfwise.pretrain("albert", data=corpus, out=out, **{**keep, "save_every": 6}, quiet=True)
    newest = out / "checkpoints" / "step-00000012"
    expected = (newest / "model.safetensors").read_bytes()
    log = (out / "metrics.jsonl").read_bytes()
    for path in newest.iterdir():
        path.unlink()
    newest.rmdir()
    selfwise.resume(out, quiet=True)
    assert (newest / "model.safetensors").read_bytes() == expected
    assert (out / "metrics.jsonl").read_bytes() == log


def test_a_step_may_be_a_number_of_tokens(corpus, runs, tmp_path):
    told = {n: v for n, v in QUICK.items() if n != "batch_size"} | {"steps": 1}
    told |= {"tokenizer": str(runs("bert").folder / "tokenizer")}
    told |= {"encoder": "bert-tiny", "encoder_options": TINY}
    run = selfwise.pretrain("bert", data=corpus, out=tmp_path / "r", batch_tokens=200, **told)
    assert run.record.option("batch_size") == 6  # 192 of 200 tokens, in rows of 32
    with pytest.raises(ValueError, match="leave out one of them"):
        selfwise.pretrain(
            "bert", data=corpus, out=tmp_path / "s", batch_tokens=200, batch_size=2, **told
        )


@pytest.mark.run
def test_the_embedded_corpus_needs_no_file(tmp_path):
    encoder = {"encoder": "gpt-tiny", "encoder_options": {**TINY, "length": 32}}
    told = {**QUICK, "steps": 2, "tokenizer": "chars", **encoder, "monitor_every": 0}
    run = selfwise.pretrain("gpt", data="python-docs", out=tmp_path / "run", **told)
    assert read_record(run.folder).info.tokens > 100_000


def refused(capsys, *arguments, what: tuple[str, ...]) -> None:
    """One line on stderr with all these words, exit code 2."""
    capsys.readouterr()
    assert cli.main([str(a) for a in arguments]) == 2
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("selfwise: ")]
    assert len(lines) == 1, error
    assert "Traceback" not in error
    for word in what:
        assert word in lines[0], lines[0]


@pytest.mark.run
def test_wrong_input_gets_one_line(runs, corpus, labelled, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)) * 10)
    (tmp_path / "latin.txt").write_bytes("Caf\xe9 au lait".encode("latin-1"))
    one = ("Only one sentence", "and another one", "and a third", "and a fourth")
    (tmp_path / "one.txt").write_text("\n\n".join(one))
    (tmp_path / "rows.jsonl").write_text('{"body": "some text"}\n' * 40)
    out = tmp_path / "run"
    small = ["--out", out, "--steps", "2", "--batch-size", "4", "--max-length", "32", "--quiet"]
    bert = ["pretrain", "bert", *small, "--tokenizer", runs("bert").folder / "tokenizer"]
    gpt = ["pretrain", "gpt", *small, "--tokenizer", runs("gpt").folder / "tokenizer"]
    gpt += ["--data", corpus]
    embed = ["embed", runs("bert").folder, "--data", labelled]
    long = [*bert, "--data", corpus, "--encoder.length", "512"]
    cases = [
        ([*bert, "--data", tmp_path / "nothing"], ("nothing",)),
        ([*bert, "--data", tmp_path / "empty"], ("empty",)),
        ([*bert, "--data", tmp_path / "empty.txt"], ("empty",)),
        ([*bert, "--data", tmp_path / "binary.txt"], ("binary.txt",)),
        ([*bert, "--data", tmp_path / "latin.txt"], ("latin.txt", "3")),
        ([*bert, "--data", tmp_path / "one.txt", "--documents", "blank"], ("sentence",)),
        ([*bert, "--data", tmp_path / "rows.jsonl", "--text-column", "bodi"], ("bodi", "body")),
        ([*bert, "--data", corpus / "00.txt"], ("documents", "blank")),
        (replace_options([*bert, "--data", corpus], "--batch-size", "100000"), ("100000", "rows")),
        (replace_options(long, "--max-length", "600"), ("600", "512")),
        ([*bert, "--data", corpus, "--encoder", "gpt-tiny"], ("bert",)),
        ([*bert, "--data", corpus, "--encoder", "bert-mimi"], ("bert-mini",)),
        ([*bert, "--data", corpus, "--image-size", "32"], ("--image-size",)),
        ([*bert, "--data", corpus, "--val-fraction", "1"], ("--val-fraction",)),
        ([*gpt, "--encoder", "bert-tiny"], ("causal",)),
        (["fill", runs("gpt").folder, "the [MASK]"], ("generate",)),
        (["fill", runs("bert").folder, "no gap"], ("[MASK]",)),
        (["generate", runs("bert").folder], ("fill",)),
        (["generate", runs("gpt").folder, "--top-p", "0"], ("--top-p",)),
        ([*embed, "--out", tmp_path / "x.npz", "--pooling", "men"], ("mean",)),
        (
            ["probe", runs("bert").folder, "--train", labelled, "--label-column", "lable"],
            ("label",),
        ),
        (["import", "brt", tmp_path, "--out", out], ("bert",)),
        (["import", "bert", tmp_path / "empty", "--out", out], ("config.json",)),
        (["export", runs("bert").folder, "--to", "hff", "--out", tmp_path / "o"], ("hf",)),
        (["tokenizer", corpus, "--kind", "wordpeice", "--out", tmp_path / "t"], ("wordpiece",)),
    ]  # fmt: skip
    for arguments, words in cases:
        refused(capsys, *arguments, what=words)
        assert not out.exists(), arguments


@pytest.mark.run
def test_a_tokenizer_without_the_mask_is_refused(corpus, tmp_path, capsys, real_data):
    told = ["--data", corpus, "--out", tmp_path / "r", "--steps", "2", "--batch-size", "4"]
    gpt2 = ["--tokenizer", real_data / "vocab" / "gpt2" / "encoder.json"]
    refused(capsys, "pretrain", "roberta", *told, *gpt2, what=("mask",))
