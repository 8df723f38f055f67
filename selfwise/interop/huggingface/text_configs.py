"""Hugging Face's config.json to the options of our encoders, and back."""

from selfwise.core.errors import did_you_mean
from selfwise.core.types import Vocabulary
from selfwise.interop.huggingface.config_fields import MAX_SIZE, merge_fields
from selfwise.interop.types import EncoderOptions, JsonObject

MODEL_TYPES = {"bert": "bert", "roberta": "roberta", "albert": "albert", "gpt2": "gpt"}
# gelu_new, gelu_fast and gelu_pytorch_tanh are the same function, written in three ways
ACTIVATIONS = {"gelu": "gelu", "relu": "relu"}
ACTIVATIONS |= dict.fromkeys(("gelu_new", "gelu_fast", "gelu_pytorch_tanh"), "gelu_tanh")
_ACTIVATION_NAMES = {"gelu": "gelu", "relu": "relu", "gelu_tanh": "gelu_new"}

# our option: their field
_BERT_FIELDS = {
    "depth": "num_hidden_layers",
    "dim": "hidden_size",
    "heads": "num_attention_heads",
    "ff": "intermediate_size",
    "eps": "layer_norm_eps",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "segments": "type_vocab_size",
}
_GPT2_FIELDS = {
    "depth": "n_layer",
    "dim": "n_embd",
    "heads": "n_head",
    "length": "n_positions",
    "eps": "layer_norm_epsilon",
    "dropout": "resid_pdrop",
    "attention_dropout": "attn_pdrop",
}
# their values where config.json is silent, as in transformers' configuration classes
_BERT_DEFAULTS: JsonObject = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}
_DEFAULTS: dict[str, JsonObject] = {
    "bert": _BERT_DEFAULTS,
    "roberta": {**_BERT_DEFAULTS, "vocab_size": 50265, "pad_token_id": 1},
    "albert": {
        **{**_BERT_DEFAULTS, "vocab_size": 30000, "hidden_act": "gelu_new", "embedding_size": 128},
        **{"hidden_size": 4096, "num_attention_heads": 64, "intermediate_size": 16384},
        **{"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    },
    "gpt": {
        **{"vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12},
        **{"activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "n_inner": None},
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.1),
    },
}
# fields that change what is computed, and the only value of each that we compute
_ALLOWED_VALUES: dict[str, tuple[object, ...]] = {
    "position_embedding_type": ("absolute", None),
    "is_decoder": (False, None),
    "add_cross_attention": (False, None),
    "tie_word_embeddings": (True, None),
    "num_hidden_groups": (1, None),
    "inner_group_num": (1, None),
    "scale_attn_weights": (True, None),
    "scale_attn_by_inverse_layer_idx": (False, None),
}
# what a family of theirs cannot be without
_FIXED_OPTIONS: dict[str, EncoderOptions] = {
    "bert": {"norm": "post", "causal": False, "shared": False, "widen": False, "offset": 0},
    "roberta": {"norm": "post", "causal": False, "shared": False, "widen": False},
    "albert": {"norm": "post", "causal": False, "shared": True, "offset": 0},
    "gpt": {"norm": "pre", "causal": True, "shared": False, "segments": 0, "offset": 0},
}


def read_config(config: JsonObject) -> tuple[str, EncoderOptions, int]:
    """(family, options of its encoder, size of the vocabulary) of a config.json.

    Raises ValueError with one sentence for what our encoders do not compute.
    """
    model_type = str(config.get("model_type", ""))
    if model_type not in MODEL_TYPES:
        raise ValueError(
            f"config.json: model_type {model_type!r} cannot be imported"
            f"{did_you_mean(model_type, MODEL_TYPES)}"
        )
    family = MODEL_TYPES[model_type]
    for name, allowed in _ALLOWED_VALUES.items():
        if name in config and config[name] not in allowed:
            raise ValueError(
                f"config.json: {name} is {config[name]!r}, but selfwise's encoders have only "
                f"{allowed[0]!r}"
            )
    fields = merge_fields(config, _DEFAULTS[family])
    options = _read_gpt2(fields) if family == "gpt" else _read_bert(family, fields)
    activation_field = "activation_function" if family == "gpt" else "hidden_act"
    if fields[activation_field] not in ACTIVATIONS:
        raise ValueError(
            f"config.json: {activation_field} {fields[activation_field]!r} is not supported"
            f"{did_you_mean(str(fields[activation_field]), ACTIVATIONS)}"
        )
    return (
        family,
        options | {"activation": ACTIVATIONS[fields[activation_field]]},
        int(fields["vocab_size"]),
    )


def _read_bert(family: str, fields: JsonObject) -> EncoderOptions:
    options = {ours: fields[theirs] for ours, theirs in _BERT_FIELDS.items()}
    pad = fields["pad_token_id"]
    if family == "roberta" and (type(pad) is not int or not 0 <= pad <= MAX_SIZE):
        raise ValueError(
            f"config.json: pad_token_id is {pad!r}, but RoBERTa counts its positions from the "
            "padding token on; set it to the id of <pad> (1 in the published models)"
        )
    offset = pad + 1 if family == "roberta" else 0
    options |= {"offset": offset, "length": fields["max_position_embeddings"] - offset}
    options["embedding"] = fields["embedding_size"] if family == "albert" else fields["hidden_size"]
    # RoBERTa was trained without a pooler: that of RobertaModel is one drawn at random
    options["pooler"] = family != "roberta"
    return options | {"shared": family == "albert", "widen": family == "albert"}


def _read_gpt2(fields: JsonObject) -> EncoderOptions:
    options = {ours: fields[theirs] for ours, theirs in _GPT2_FIELDS.items()}
    options["ff"] = fields["n_inner"] or 4 * options["dim"]
    fixed = {"embedding": options["dim"], "segments": 0, "offset": 0, "pooler": False}
    return options | fixed | {"shared": False, "widen": False}


def write_config(family: str, options: EncoderOptions, vocabulary: Vocabulary) -> JsonObject:
    """Return the config.json of an encoder, without `architectures`.

    Raises ValueError with one sentence for what transformers' class of the family cannot be.
    """
    if family not in _FIXED_OPTIONS:
        raise ValueError(
            f"an encoder of the family {family!r} has no counterpart among transformers' "
            f"{', '.join(_FIXED_OPTIONS)}"
        )
    fixed = _FIXED_OPTIONS[family] | {"embedding_norm": family != "gpt"}
    for name, value in fixed.items():
        if options[name] != value:
            raise ValueError(
                f"transformers' {family} has {name} {value!r}, and this encoder has "
                f"{options[name]!r}, so it cannot be exported to that class"
            )
    model_types = {ours: theirs for theirs, ours in MODEL_TYPES.items()}
    config: JsonObject = {"model_type": model_types[family]}
    config |= {"vocab_size": vocabulary.size, "tie_word_embeddings": True, "dtype": "float32"}
    config |= {"initializer_range": 0.02, "pad_token_id": vocabulary.pad}
    if family == "gpt":
        return config | _write_gpt2(options, vocabulary)
    return config | _write_bert(family, options, vocabulary)


def _write_bert(family: str, options: EncoderOptions, vocabulary: Vocabulary) -> JsonObject:
    config = {theirs: options[ours] for ours, theirs in _BERT_FIELDS.items()}
    config["type_vocab_size"] = max(1, options["segments"])
    config["hidden_act"] = _ACTIVATION_NAMES[options["activation"]]
    config["max_position_embeddings"] = options["length"]
    config["position_embedding_type"] = "absolute"
    if family == "albert":
        config |= {"embedding_size": options["embedding"], "classifier_dropout_prob": 0.1}
        config |= {"num_hidden_groups": 1, "inner_group_num": 1}
    if family != "bert":
        config |= {"bos_token_id": vocabulary.first, "eos_token_id": vocabulary.last}
    if family == "roberta":
        if vocabulary.pad is None:
            raise ValueError(
                "transformers' RoBERTa counts positions from the padding token on, and this "
                "run's tokenizer has none"
            )
        config["max_position_embeddings"] = vocabulary.pad + 1 + options["length"]
    return config


def _write_gpt2(options: EncoderOptions, vocabulary: Vocabulary) -> JsonObject:
    config = {theirs: options[ours] for ours, theirs in _GPT2_FIELDS.items()}
    config |= {"n_inner": options["ff"], "embd_pdrop": options["dropout"]}
    config["activation_function"] = _ACTIVATION_NAMES[options["activation"]]
    return config | {"bos_token_id": vocabulary.first, "eos_token_id": vocabulary.last}
