"""Settings and added tokens beside a vocabulary: the ids of transformers, or a sentence."""

import json
import shutil

import pytest

from selfwise.tokenizers.tokenizer import Tokenizer

# ruff: noqa: RUF001

WORDS = [
    "naïve",
    "Müsste",
    "中文字",
    "한국어",
    "مرحبا",
    "👩\u200d👩\u200d👧",
    "a\tb",
    "x\xa0y",
    "e\u0301t\u00e9",
]
WORDS += [
    "https://a.b/c?d=e",
    "\x01ctrl\x7f",
    "İstanbul",
    "ẞß",
    "ﬁne",
    "½",
    "ＡＢ",
    "<new>",
    "glued<new>on",
]
WORDS += [
    "plain ",
    "  two",
    "\u3000wide",
    "don't",
    "``quoted''",
    "x" * 120,
    "1,2",
    "<NEW>",
    "new_tok",
    "new_toks",
]
TEXTS = ["", " ", "\n", "word " * 300, *WORDS, *(f"{a} {b}" for a in WORDS for b in WORDS[::5])]
TEXTS += [f"{word}<new>{word} new_tok {word}" for word in WORDS]
NEW = {"content": "<new>", "special": False, "normalized": False}
TOKEN = {"content": "new_tok", "special": False, "single_word": True, "lstrip": True}


def folder(source, path, cls, files, settings, added=()):
    for name, target in files.items():
        shutil.copy(source / name, path / target)
    size = len(Tokenizer.load(path).library.get_vocab())
    decoder = {str(size + i): token for i, token in enumerate(added)}
    told = {"tokenizer_class": cls, **settings}
    if decoder:
        told["added_tokens_decoder"] = decoder
    (path / "tokenizer_config.json").write_text(json.dumps(told))
    return path


def check(path, cls):
    import transformers

    theirs = getattr(transformers, cls).from_pretrained(path)
    ours = Tokenizer.load(path)
    got = [one.tolist() for one in ours.encode(TEXTS)]
    for text, ids in zip(TEXTS, got):
        assert ids == theirs(text, add_special_tokens=False)["input_ids"], text


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"do_lower_case": False},
        {"do_lower_case": True, "strip_accents": False},
        {"do_lower_case": False, "strip_accents": True},
        {"tokenize_chinese_chars": False},
    ],
)
def test_wordpiece_follows_its_settings(real_data, tmp_path, settings):
    source = real_data / "vocab" / "bert-base-uncased"
    check(folder(source, tmp_path, "BertTokenizer", {"vocab.txt": "vocab.txt"}, settings,
                 [NEW, TOKEN]), "BertTokenizer")  # fmt: skip


@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize("cls", ["GPT2Tokenizer", "RobertaTokenizer"])
def test_bytes_follow_their_settings(real_data, tmp_path, cls, prefix):
    files = {"vocab.json": "vocab.json", "merges.txt": "merges.txt"}
    source = real_data / "vocab" / "roberta-base"
    settings = {"add_prefix_space": prefix, "errors": "replace", "trim_offsets": True}
    roles = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "</s>")
    check(folder(source, tmp_path, cls, files, settings | roles, [NEW, TOKEN]), cls)


@pytest.mark.parametrize(
    "settings", [{}, {"do_lower_case": False}, {"keep_accents": True}, {"remove_space": True}]
)
def test_albert_follows_its_settings(real_data, tmp_path, settings):
    import unicodedata

    import sentencepiece

    source = real_data / "vocab" / "albert-german-30k"
    path = folder(
        source, tmp_path, "AlbertTokenizer", {"30k-clean.model": "spiece.model"}, settings
    )
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(path / "spiece.model"))
    ours = Tokenizer.load(path)
    for text in TEXTS:
        given = " ".join(text.split()).replace("``", '"').replace("''", '"')
        if not settings.get("keep_accents"):
            given = unicodedata.normalize("NFKD", given)
            given = "".join(c for c in given if unicodedata.category(c) != "Mn")
        if settings.get("do_lower_case", True):
            given = "".join(map(str.lower, given))
        assert ours.encode([text])[0].tolist() == theirs.encode(given), text


def test_xlm_roberta_has_the_ids_of_fairseq(tmp_path):
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["say what and where is here"] * 50),
        model_prefix=str(tmp_path / "sentencepiece.bpe"), vocab_size=40, minloglevel=2,
        hard_vocab_limit=False,
    )  # fmt: skip
    (tmp_path / "sentencepiece.bpe.vocab").unlink()
    theirs = sentencepiece.SentencePieceProcessor(
        model_file=str(tmp_path / "sentencepiece.bpe.model")
    )
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "XLMRobertaTokenizer"}')
    ours = Tokenizer.load(tmp_path)
    for text in TEXTS:
        wanted = [i + 1 if i else 3 for i in theirs.encode(text)]
        assert ours.encode([text])[0].tolist() == wanted, text
    assert (ours.id("<s>"), ours.id("<pad>"), ours.id("<mask>")) == (0, 1, theirs.vocab_size() + 1)


VOCAB = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n@@b\n"


@pytest.mark.parametrize(
    ("name", "told", "message"),
    [
        ("tokenizer_config.json", {"tokenizer_class": "BertJapaneseTokenizer"}, "tokenizer class"),
        ("tokenizer_config.json", {"tokenizer_class": "RobertaTokenizer"}, "tokenizer class"),
        ("tokenizer_config.json", {"do_lowercase": True}, "'do_lowercase' is not supported.*did"),
        ("tokenizer_config.json", {"word_tokenizer_type": "mecab"}, "is not supported"),
        ("tokenizer_config.json", {"add_prefix_space": True}, "is not supported"),
        ("tokenizer_config.json", {"do_lower_case": "no"}, "expected true or false"),
        ("tokenizer_config.json", {"do_basic_tokenize": False}, "do_basic_tokenize is false"),
        ("tokenizer_config.json", {"never_split": ["a-b"]}, "never_split has 'a-b'"),
        (
            "tokenizer_config.json",
            {"sp_model_kwargs": {"enable_sampling": True}},
            "most likely pieces",
        ),
        ("tokenizer_config.json", {"added_tokens_decoder": {"x": 1}}, "added_tokens_decoder has"),
        ("added_tokens.json", {"new": 3}, "'new' should have the id 3"),
        (
            "added_tokens.json",
            {"new": 9},
            "'new' should have the id 9, but the vocabulary gives it 7",
        ),
        ("added_tokens.json", {"new": "7"}, "expected a number"),
    ],
)
def test_what_is_not_understood_is_one_sentence(tmp_path, name, told, message):
    (tmp_path / "vocab.txt").write_text(VOCAB)
    (tmp_path / name).write_text(json.dumps(told))
    with pytest.raises(ValueError, match=message) as error:
        Tokenizer.load(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_older_files_and_the_prefix_of_pieces(tmp_path):
    (tmp_path / "vocab.txt").write_text(VOCAB)
    (tmp_path / "added_tokens.json").write_text('{"new": 7, "<e1>": 8}')
    (tmp_path / "special_tokens_map.json").write_text('{"additional_special_tokens": ["<e1>"]}')
    (tmp_path / "tokenizer_config.json").write_text('{"wordpieces_prefix": "@@"}')
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.encode(["ab new"])[0].tolist() == [5, 6, 7]
    assert 8 not in tokenizer.encode(["<e1>"])[0]
    assert tokenizer.encode(["a<e1>"], special=True)[0].tolist() == [5, 8]
