"""Published weights in and out: round trips, old names, folders, and what gets one sentence."""

import json
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file, save_file

from selfwise.core.types import Vocabulary
from selfwise.encoders import text
from selfwise.interop.huggingface.folder import read_folder, write_folder
from selfwise.interop.huggingface.text import from_hf, to_hf
from tests.helpers.hf_cases import CONFIGS, imported, logits, ours, theirs
from tests.helpers.text_cases import VOCAB, batch, ids

families = pytest.mark.parametrize("family", CONFIGS)
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [f"w{i}" for i in range(5, VOCAB)]
ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *PIECES[5:]]


def vocabulary(family: str, **roles) -> Vocabulary:
    own = {"pad": 0, "unknown": 1, "first": 2, "last": 3, "mask": 4}
    if family == "roberta":
        own = {"first": 0, "pad": 1, "last": 2, "unknown": 3, "mask": 4}
    starts = torch.ones(VOCAB, dtype=torch.bool)
    return Vocabulary(VOCAB, starts, tuple(range(5)), **(own | roles))


def exported(family, encoder, heads, **roles):
    options, weights = asdict(encoder.shape), encoder.state_dict()
    return to_hf(family, options, weights, heads.state_dict(), vocabulary(family, **roles))


def same(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def tokenizer(family: str) -> str:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    pieces = ROBERTA if family == "roberta" else PIECES
    model = models.WordLevel({p: i for i, p in enumerate(pieces)}, unk_token=pieces[1])
    made = Tokenizer(model)
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if family == "gpt":  # ours add ends for every method
        ends = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        made.post_processor = processors.Sequence([processors.ByteLevel(), ends])
    return made.to_str()


def written(folder, family, model=None):
    encoder, heads = ours(imported(model or theirs(family)))
    config, weights = exported(family, encoder, heads)
    write_folder(
        folder, config, weights, tokenizer=tokenizer(family), vocabulary=vocabulary(family),
        length=encoder.length,
    )  # fmt: skip
    return encoder, heads


@families
def test_import_export_import_is_bitwise(family):
    first = imported(theirs(family))
    encoder, heads = ours(first)
    again = from_hf(*exported(family, encoder, heads))
    assert again[:1] + again[4:] == first[:1] + first[4:]
    assert again.options == first.options
    same(first.encoder, again.encoder)
    same(first.head, again.head)


@families
def test_every_value_moves_and_none_is_shared(family):
    model = theirs(family)
    encoder, heads = ours(imported(model))
    _, weights = exported(family, encoder, heads)
    own = model.state_dict()
    folded = ("token_type_embeddings", "position_embeddings") if family == "roberta" else ()
    for name, weight in weights.items():
        if not name.rsplit(".", 2)[-2].endswith(folded or ("nothing",)):
            assert torch.equal(weight, own[name]), name
    assert len({w.data_ptr() for w in weights.values()}) == len(weights)


@families
def test_the_class_in_architectures_loads_without_a_missing_or_unexpected_key(family, tmp_path):
    import transformers

    encoder, heads = written(tmp_path / "out", family)
    saved = theirs(family)
    saved.save_pretrained(tmp_path / "theirs")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == [type(saved).__name__]
    kind = getattr(transformers, config["architectures"][0])
    model, info = kind.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info.values()), info
    part = batch(segments=family in ("bert", "albert"))
    given = {"input_ids": part.ids} | ({"token_type_ids": part.segment} if encoder.segments else {})
    with torch.no_grad():
        found = model.eval()(**given)[0]
        expected = logits(encoder, heads, encoder(part).tokens)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert load_file(tmp_path / "out" / "model.safetensors").keys() == (
        load_file(tmp_path / "theirs" / "model.safetensors").keys()
    )
    for auto in (transformers.AutoModel, transformers.AutoModelForMaskedLM):
        if (family, auto.__name__) == ("gpt", "AutoModelForMaskedLM"):
            continue  # GPT-2 has no such class
        reports = [
            auto.from_pretrained(tmp_path / name, output_loading_info=True)[1]
            for name in ("out", "theirs")
        ]
        assert {k: sorted(v) for k, v in reports[0].items()} == (
            {k: sorted(v) for k, v in reports[1].items()}
        )


@families
def test_the_tokenizer_loads_with_its_special_tokens(family, tmp_path):
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    written(tmp_path / "out", family)
    made = AutoTokenizer.from_pretrained(tmp_path / "out")
    mask = (ROBERTA if family == "roberta" else PIECES)[4]
    assert made.mask_token == mask
    assert made.mask_token_id == 4
    assert made.model_max_length == 40
    coded = made("w5 w6", "w7")
    if family == "gpt":
        assert coded["input_ids"] == [5, 6, 7]
        assert made.eos_token_id == 3
    elif family == "roberta":
        assert coded["input_ids"] == [0, 5, 6, 2, 2, 7, 2]
        assert (made.pad_token_id, made.cls_token_id, made.bos_token_id) == (1, 0, 0)
    else:
        assert coded["input_ids"] == [2, 5, 6, 3, 7, 3]
        assert coded["token_type_ids"] == [0, 0, 0, 0, 1, 1]
    assert ("token_type_ids" in coded) == (family in ("bert", "albert"))
    if family != "gpt":
        assert made(f"w5 {mask}w6")["input_ids"][1:-1] == [5, 4, 6]
        alone = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
        assert alone.encode(f"w5 {mask}w6").ids[1:-1] == [5, 4, 6]


@families
def test_an_untrained_encoder_can_be_exported_and_comes_back(family):
    encoder = text.build_text_encoder(f"{family}-tiny", vocab=VOCAB)
    config, weights = exported(family, encoder, torch.nn.ModuleDict()) if family in (
        "bert", "albert", "gpt"
    ) else (None, None)  # fmt: skip
    if config is None:
        with pytest.raises(ValueError, match="neither a language head nor a pooler"):
            exported(family, encoder, torch.nn.ModuleDict())
        return
    again = from_hf(config, weights)
    same(dict(encoder.state_dict()), again.encoder)
    known = asdict(encoder.shape)
    assert {k: known[k] for k in again.options} == again.options
    assert text.build_text_encoder(family, vocab=VOCAB, **again.options).shape == encoder.shape


def test_albert_of_equal_widths_has_no_mapping_here_and_the_identity_there():
    encoder = text.build_text_encoder("albert-tiny", vocab=VOCAB)
    assert encoder.widen is None
    config, weights = exported("albert", encoder, torch.nn.ModuleDict())
    mapping = weights["encoder.embedding_hidden_mapping_in.weight"]
    assert torch.equal(mapping, torch.eye(128))
    assert not from_hf(config, weights).options["widen"]
    mapping[0, 1] = 0.5
    assert from_hf(config, weights).options["widen"]


def test_the_one_segment_of_roberta_becomes_part_of_the_positions():
    model = theirs("roberta")
    found = imported(model)
    own = model.roberta.embeddings
    expected = own.position_embeddings.weight + own.token_type_embeddings.weight
    assert torch.equal(found.encoder["position.weight"], expected)
    assert found.options["segments"] == 0
    encoder, heads = ours(found)
    _, weights = exported("roberta", encoder, heads)
    assert weights["roberta.embeddings.token_type_embeddings.weight"].eq(0).all()


def test_roberta_counts_from_the_padding_token_of_the_tokenizer():
    encoder, heads = ours(imported(theirs("roberta")))
    config, weights = exported("roberta", encoder, heads, pad=4, mask=1)
    table = weights["roberta.embeddings.position_embeddings.weight"]
    assert config["pad_token_id"] == 4
    assert config["max_position_embeddings"] == len(table) == 45
    assert torch.equal(table[5:], encoder.position.weight[2:])
    with pytest.raises(ValueError, match="tokenizer has none"):
        exported("roberta", encoder, heads, pad=None)


def test_heads_that_were_not_trained_are_not_exported():
    encoder, heads = ours(imported(theirs("bert")))
    del heads["next"]
    config, weights = exported("bert", encoder, heads)
    assert config["architectures"] == ["BertForMaskedLM"]
    assert not any("pooler" in n or "seq_relationship" in n for n in weights)
    found = from_hf(config, weights)
    assert found.missing == ["pooler.weight", "pooler.bias", "next.weight", "next.bias"]
    same(found.head, heads.state_dict())


def test_label_1_of_next_is_random_on_both_sides():
    """transformers' documentation of `next_sentence_label`: 1 is a random sequence."""
    from transformers import BertForPreTraining

    lines = BertForPreTraining.forward.__doc__.splitlines()
    assert any("1" in line and "random" in line for line in lines if "indicates" in line)


OLD = {
    "gamma and beta": lambda n: n.replace("Norm.weight", "Norm.gamma").replace(
        "Norm.bias", "Norm.beta"
    ),
    "no prefix": lambda n: n.removeprefix("bert."),
}


@pytest.mark.parametrize("how", OLD)
def test_old_names_and_copies(how):
    model = theirs("bert")
    weights = {OLD[how](name): w for name, w in model.state_dict().items()}
    weights["embeddings.position_ids" if how == "no prefix" else "bert.embeddings.position_ids"] = (
        torch.arange(40)[None]
    )
    weights["classifier.weight"] = torch.zeros(2, 2)
    if how != "no prefix":
        del weights["cls.predictions.bias"]  # its copy is there
    found, expected = from_hf(model.config.to_dict(), weights), imported(model)
    same(found.encoder, expected.encoder)
    same(found.head, expected.head)
    assert found.notes == ["classifier.weight has no counterpart in selfwise and was left out"]
    assert not expected.notes


def test_half_precision_becomes_float32():
    model = theirs("gpt").half()
    found = imported(model)
    assert {w.dtype for w in found.encoder.values()} == {torch.float32}


REFUSED = {
    "position_embedding_type is 'relative_key'": {"position_embedding_type": "relative_key"},
    "hidden_act 'silu' is not supported": {"hidden_act": "silu"},
    "model_type 'brt' cannot be imported; did you mean 'bert'": {"model_type": "brt"},
    "is_decoder is True": {"is_decoder": True},
    "tie_word_embeddings is False": {"tie_word_embeddings": False},
    "word_embeddings.weight does not fit its config.json": {"vocab_size": VOCAB + 3},
    "position_embeddings.weight does not fit": {"max_position_embeddings": 77},
    "intermediate.dense.weight does not fit": {"intermediate_size": 50},
    "no weight bert.encoder.layer.3.attention.self.query.weight": {"num_hidden_layers": 4},
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_cannot_be_imported_gets_one_sentence(sentence):
    model = theirs("bert")
    with pytest.raises(ValueError, match=r"\w") as found:
        from_hf({**model.config.to_dict(), **REFUSED[sentence]}, model.state_dict())
    assert sentence in str(found.value)
    assert "\n" not in str(found.value)


def test_an_output_table_of_its_own_is_refused():
    model = theirs("bert")
    weights = model.state_dict()
    weights["cls.predictions.decoder.weight"] = weights["cls.predictions.decoder.weight"] + 1
    with pytest.raises(ValueError, match=r"cls\.predictions\.decoder\.weight differs"):
        from_hf(model.config.to_dict(), weights)


def test_what_cannot_be_exported_gets_one_sentence():
    gpt1 = text.build_text_encoder("gpt1-tiny", vocab=VOCAB)
    with pytest.raises(ValueError, match="'gpt1' has no counterpart among transformers'"):
        exported("gpt1", gpt1, torch.nn.ModuleDict())
    shared = text.build_text_encoder("bert-tiny", vocab=VOCAB, shared=True)
    with pytest.raises(ValueError, match="bert has shared False, and this encoder has True"):
        exported("bert", shared, torch.nn.ModuleDict())
    small = text.build_text_encoder("bert-tiny", vocab=VOCAB - 1)
    with pytest.raises(ValueError, match="tokenizer has 61 tokens, and the encoder a vocab"):
        exported("bert", small, torch.nn.ModuleDict())


def test_shards_are_read_and_must_be_whole(tmp_path):
    model = theirs("bert")
    model.save_pretrained(tmp_path / "a", max_shard_size="30KB")
    assert len(list((tmp_path / "a").glob("*.safetensors"))) > 1
    config, weights = read_folder(tmp_path / "a")
    same(from_hf(config, weights).encoder, imported(model).encoder)
    index = tmp_path / "a" / "model.safetensors.index.json"
    told = json.loads(index.read_text())
    name = next(iter(told["weight_map"]))
    (tmp_path / "x").write_bytes((tmp_path / "a" / told["weight_map"][name]).read_bytes())
    for wrong, sentence in (("../x", "names '../x'"), ("none", "names 'none'")):
        index.write_text(json.dumps({"weight_map": told["weight_map"] | {name: wrong}}))
        with pytest.raises(ValueError, match=sentence):
            read_folder(tmp_path / "a")
    index.write_text(
        json.dumps({"weight_map": told["weight_map"] | {"more": told["weight_map"][name]}})
    )
    with pytest.raises(ValueError, match="lists more, but"):
        read_folder(tmp_path / "a")


def test_pickles_and_broken_folders_get_one_sentence(tmp_path):
    def sentence() -> str:
        with pytest.raises(ValueError, match=r"\w") as found:
            read_folder(tmp_path / "x")
        return str(found.value)

    assert "is not a folder" in sentence()
    (tmp_path / "x").mkdir()
    assert "has no config.json" in sentence()
    (tmp_path / "x" / "config.json").write_text("{")
    assert "is not JSON" in sentence()
    (tmp_path / "x" / "config.json").write_text("[]")
    assert "must hold names and values" in sentence()
    (tmp_path / "x" / "config.json").write_text("{}")
    assert "has neither model.safetensors nor" in sentence()
    (tmp_path / "x" / "pytorch_model.bin").write_bytes(b"x")
    assert "pytorch_model.bin, a pickle" in sentence()
    (tmp_path / "x" / "model.safetensors").write_bytes(b"x")
    assert "cannot be read as safetensors" in sentence()
    save_file({"a": torch.zeros(1)}, tmp_path / "x" / "model.safetensors")
    assert read_folder(tmp_path / "x")[1].keys() == {"a"}


def test_a_folder_is_not_written_over(tmp_path):
    written(tmp_path / "out", "bert")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        *("config.json", "model.safetensors", "special_tokens_map.json"),
        *("tokenizer.json", "tokenizer_config.json"),
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    with pytest.raises(ValueError, match="exists already"):
        written(tmp_path / "out", "bert")


def test_ids_go_through_an_exported_model_as_through_ours(tmp_path):
    """What a user does: text to AutoTokenizer to AutoModel, against our own ids."""
    from transformers import AutoModel, AutoTokenizer

    encoder, _ = written(tmp_path / "out", "roberta")
    made = AutoTokenizer.from_pretrained(tmp_path / "out")
    given = made(["w5 w9 w17", "w30"], padding=True, return_tensors="pt")
    model = AutoModel.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        found = model(**given).last_hidden_state
        for row, n in ((0, 5), (1, 3)):
            alone = given["input_ids"][row : row + 1, :n]
            expected = encoder(batch()._replace(ids=alone, index=torch.arange(1))).tokens[0]
            torch.testing.assert_close(found[row, :n], expected, rtol=1e-5, atol=1e-5)
    assert ids().max() < VOCAB


def test_roberta_without_a_padding_token_is_one_sentence():
    model = theirs("roberta")
    for pad in (None, -1):
        with pytest.raises(ValueError, match=r"pad_token_id is .*counts its positions"):
            from_hf({**model.config.to_dict(), "pad_token_id": pad}, model.state_dict())


@pytest.mark.parametrize("name", ["gpt2", "GPT-2", "GPT2"])
def test_gpt2_is_a_name_of_its_family(tmp_path, name):
    from selfwise.workflows.import_weights import import_weights

    with pytest.raises(ValueError, match=r"neither model.safetensors|is not a folder"):
        import_weights(name, tmp_path / "none", out=tmp_path / "out")
    with pytest.raises(ValueError, match="unknown family 'gpt22'; did you mean 'gpt'"):
        import_weights("gpt22", tmp_path / "none", out=tmp_path / "out")
