"""Published tokenizers: the ids of transformers and SentencePiece, and damaged files."""

import json
import multiprocessing
import os
import pickle
import shutil

import numpy as np
import pytest

from selfwise.tokenizers.tokenizer import Tokenizer, train_tokenizer
from tests.tokenizers.test_tokenizer import CORPUS, MIXED, RUSSIAN

# ruff: noqa: RUF001
PLAIN = [
    "Hello world, it's me!",
    RUSSIAN,
    "今日は天気がいい。私は学生です。",
    "😀👍🏽 👨\u200d👩\u200d👧 ok",
    "e\u0301te\u0301 ﬁne ①",
    " foo\xa0bar\u3000baz x\t\ty\n\nz",
    "한국어 테스트",
    "مرحبا بالعالم",
    " lead",
    "trail ",
    "",
    "a  b",
    "İstanbul ẞ ß Ünïcode",
    "~ zero\u200dwidth",
    '(x) "y" - . – £5 €6',
]


@pytest.fixture
def vocab(real_data):
    return real_data / "vocab"


def same(ours: Tokenizer, theirs, texts: list[str]) -> None:
    for text in texts:
        wanted = theirs(text, add_special_tokens=False)["input_ids"]
        assert ours.encode([text])[0].tolist() == wanted, text


def test_ids_are_those_of_transformers(vocab):
    from tokenizers import AddedToken
    from transformers import BertTokenizerFast, GPT2TokenizerFast, RobertaTokenizerFast

    for name, lower in [("bert-base-uncased", True), ("bert-base-cased", False)]:
        folder = vocab / name
        theirs = BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=lower)
        same(Tokenizer.load(folder), theirs, PLAIN)
    gpt2 = vocab / "gpt2"
    theirs = GPT2TokenizerFast(str(gpt2 / "encoder.json"), str(gpt2 / "vocab.bpe"))
    same(Tokenizer.load(gpt2), theirs, PLAIN)
    roberta = vocab / "roberta-base"
    files = str(roberta / "vocab.json"), str(roberta / "merges.txt")
    mask = AddedToken("<mask>", lstrip=True)  # as in the tokenizer.json of the authors
    theirs = RobertaTokenizerFast(*files, mask_token=mask)
    ours = Tokenizer.load(roberta)
    same(ours, theirs, PLAIN)
    text = "The cat <mask> sat."
    wanted = theirs(text, add_special_tokens=False)["input_ids"]
    assert ours.encode([text], special=True)[0].tolist() == wanted
    assert ours.library.encode("a", "b").ids == theirs("a", "b")["input_ids"]


def test_case_is_told_by_the_config_or_by_the_vocabulary(vocab, tmp_path):
    shutil.copy(vocab / "bert-base-uncased" / "vocab.txt", tmp_path)
    assert Tokenizer.load(tmp_path).encode(["Hello"])[0].tolist() == [7592]
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert Tokenizer.load(tmp_path).encode(["Hello"])[0].tolist() != [7592]


def test_ids_are_those_of_sentencepiece_on_its_albert_model(vocab):
    import sentencepiece

    path = vocab / "albert-german-30k" / "30k-clean.model"
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(path))
    ours = Tokenizer.load(path)
    assert ours.vocabulary[3:] == (0, 1, 2, 3, 4)
    for text in [*PLAIN, "Die Würde des Menschen ist unantastbar.", MIXED.replace("[MASK]", "")]:
        assert ours.encode([text])[0].tolist() == theirs.encode(text), text


OPTIONS = {
    "unigram": {"model_type": "unigram"},
    "bytes": {"model_type": "bpe", "byte_fallback": True, "character_coverage": 0.98},
    "bpe": {"model_type": "bpe"},
    "as it is": {
        "model_type": "bpe",
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
    },
    "folded": {"model_type": "unigram", "normalization_rule_name": "nmt_nfkc_cf"},
    "albert": {
        "model_type": "unigram",
        "user_defined_symbols": ["(", ")", "cat"],
        "control_symbols": ["[CLS]", "[SEP]", "[MASK]"],
        "pad_id": 0,
        "unk_id": 1,
        "bos_id": -1,
        "eos_id": -1,
    },
}


@pytest.mark.parametrize("name", OPTIONS)
def test_ids_are_those_of_sentencepiece(name, tmp_path):
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for text in CORPUS for line in text.split(".")] * 3 + PLAIN),
        model_prefix=str(tmp_path / "m"),
        vocab_size=330 if name != "bytes" else 480,
        minloglevel=2,
        num_threads=1,
        hard_vocab_limit=False,
        **OPTIONS[name],
    )
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "m.model"))
    ours = Tokenizer.load(tmp_path / "m.model")
    assert ours.vocabulary.size == theirs.vocab_size()
    marks = ["ﾊﾝｶｸ ｶﾞ", "H\u0332e\u0332 D\uff9e", "℃ ½ ㎏ …‥", "Ａｂ\u0301c"]
    for text in [*PLAIN, *marks, "the cat (sat) on the hat", *CORPUS[1:]]:
        assert ours.encode([text])[0].tolist() == theirs.encode(text), text
    if name == "albert":
        assert ours.vocabulary[3:] == (0, 1, 2, 3, 4)
    again = pickle.loads(pickle.dumps(ours))
    assert again.fingerprint == ours.fingerprint


def written(folder, **files):
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


GPT2 = json.dumps({"Ġ": 0, "a": 1, "b": 2, "ab": 3})


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        ("tokenizer.json", {"tokenizer__json": "{"}, "is not JSON"),
        ("tokenizer.json", {"tokenizer__json": "{}"}, "model must hold names and values"),
        ("tokenizer.json", {"tokenizer__json": b"\xff\xfe"}, "not UTF-8 at byte 0"),
        ("vocab.txt", {"vocab__txt": "[UNK]\na\na\n"}, r"line 3: 'a' is already line 2"),
        ("vocab.txt", {"vocab__txt": "a\nb\n"}, r"no \[UNK\] among the 2 lines"),
        ("vocab.json", {"vocab__json": GPT2}, "merges.txt must be in the same folder"),
        ("merges.txt", {"merges__txt": "a b"}, "vocab.json must be in the same folder"),
        ("vocab.json", {"vocab__json": GPT2, "merges__txt": "a c"}, "line 1: 'a c' does not join"),
        ("vocab.json", {"vocab__json": "[1]", "merges__txt": ""}, "must hold names and values"),
        ("vocab.json", {"vocab__json": "{]", "merges__txt": ""}, "not JSON"),
        ("vocab.json", {"vocab__json": '{"a": 0}', "merges__txt": ""}, "not a byte-level"),
        ("m.model", {"m__model": b"\x00\x01nothing"}, "not a SentencePiece model, or damaged"),
        ("m.model", {"m__model": b""}, "not a SentencePiece model, or damaged"),
        ("m.bin", {"m__bin": b""}, "this is not the name of a tokenizer file"),
        (".", {}, "this folder contains no tokenizer"),
        ("none.json", {}, "does not exist"),
    ],
)
def test_damaged_files_are_one_sentence(tmp_path, name, files, message):
    written(tmp_path, **files)
    with pytest.raises(ValueError, match=message) as told:
        Tokenizer.load(tmp_path / name)
    assert "\n" not in str(told.value)
    assert str(tmp_path) in str(told.value)


def _encode_in_child(tokenizer: Tokenizer, texts: list[str], results) -> None:
    results.put((len(tokenizer.encode(texts)), os.environ["TOKENIZERS_PARALLELISM"]))


def test_forked_processes_encode_and_never_wait_forever(capfd):
    tokenizer = train_tokenizer("bpe", CORPUS, vocab_size=300)
    texts = [f"{text} {i}" for i in range(200) for text in CORPUS]
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    tokenizer.encode(texts)  # with the library's threads, which a fork does not copy
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    new = [text + " new" for text in texts]
    child = context.Process(target=_encode_in_child, args=(tokenizer, new, results))
    child.start()
    assert results.get(timeout=30) == (len(texts), "false")
    child.join(10)
    assert child.exitcode == 0
    assert os.environ.get("TOKENIZERS_PARALLELISM") == before
    assert "parallelism" not in capfd.readouterr().err.lower()


def test_encode_gives_one_array_for_each_text():
    tokenizer = train_tokenizer("chars", ["abc"])
    assert tokenizer.encode([]) == []
    found = tokenizer.encode(["ab", "", "c"])
    assert [one.tolist() for one in found] == [[5, 6], [], [7]]
    assert all(isinstance(one, np.ndarray) for one in found)
