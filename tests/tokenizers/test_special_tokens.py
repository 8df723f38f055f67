"""The names of special tokens in ordinary text are text, in every kind of tokenizer."""

import io
import json

import pytest
from tokenizers import AddedToken
from tokenizers import Tokenizer as Library

from selfwise.tokenizers.tokenizer import TOKENIZER_KINDS, Tokenizer, train_tokenizer

CORPUS = ["say what and where is here"] * 50 + ["[ ] M A S K E P C L U N D < / > s p a d k m"] * 5
NAMES = "[MASK] [PAD] [UNK] [CLS] [SEP] <s> </s> <pad> <unk> <mask>"
TEXTS = [NAMES, NAMES.replace(" ", ""), "say[MASK]and <s>here</s>"]


def special_ids(tokenizer: Tokenizer) -> list[int]:
    ids = [i for one in tokenizer.encode(TEXTS) for i in one.tolist()]
    return [i for i in ids if i in tokenizer.vocabulary.special]


@pytest.mark.parametrize("kind", TOKENIZER_KINDS)
def test_no_text_gives_a_special_id_even_after_save_and_load(kind, tmp_path):
    vocab = {"wordpiece": 120, "bpe": 300, "unigram": 80, "chars": None, "words": None}[kind]
    made = train_tokenizer(kind, CORPUS, vocab_size=vocab)
    made.save(tmp_path)
    for tokenizer in (made, Tokenizer.load(tmp_path)):
        unknown = tokenizer.vocabulary.unknown
        assert set(special_ids(tokenizer)) <= {unknown}
        if kind == "words":
            continue  # nothing but [PAD] and [UNK] is special
        mask = "<mask>" if kind == "bpe" else "[MASK]"
        assert tokenizer.vocabulary.mask in tokenizer.encode([f"say {mask}"], special=True)[0]


@pytest.mark.parametrize("kind", ["wordpiece", "words", "unigram"])
def test_a_special_token_that_is_a_word_is_text(kind):
    made = json.loads(
        train_tokenizer(
            "wordpiece" if kind == "words" else kind, CORPUS, vocab_size=100
        ).library.to_str()
    )
    if kind == "words":
        names = list(dict.fromkeys(["[UNK]", "[MASK]", "NAME", "say", "here"]))
        made["model"] = {
            "type": "WordLevel",
            "vocab": {n: i for i, n in enumerate(names)},
            "unk_token": "[UNK]",
        }
        made["pre_tokenizer"] = {"type": "WhitespaceSplit"}
        made["added_tokens"], made["post_processor"] = [], None
    library = Library.from_str(json.dumps(made))
    library.add_special_tokens(["NAME"])
    library.add_tokens([AddedToken("plainly", normalized=False)])
    tokenizer = Tokenizer(library)
    ids = tokenizer.encode(["say NAME [MASK] plainly"])[0].tolist()
    assert tokenizer.id("NAME") not in ids
    assert tokenizer.vocabulary.mask not in ids
    assert tokenizer.id("plainly") in ids  # an added token that is not special is text


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_control_symbols_are_text_as_in_sentencepiece(model_type, tmp_path):
    import sentencepiece

    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*CORPUS, *["</s> [MASK]"] * 50]),
        model_writer=out,
        model_type=model_type,
        vocab_size=90,
        hard_vocab_limit=False,
        control_symbols=["[MASK]", "[SEP]", "here", "wh"],
        minloglevel=2,
    )
    (tmp_path / "m.model").write_bytes(out.getvalue())
    theirs = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    ours = Tokenizer.load(tmp_path / "m.model")
    for text in [*TEXTS, "say [MASK] and here </s> where"]:
        assert ours.encode([text])[0].tolist() == theirs.encode(text), text
