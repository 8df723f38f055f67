"""Settings and added tokens in Hugging Face's files next to a vocabulary."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfwise.core.errors import did_you_mean
from selfwise.tokenizers.library import tokenizers

MAX_DIGITS = 10  # of an id
CONFIG_FILE, ADDED_FILE, SPECIAL_FILE = (
    "tokenizer_config.json",
    "added_tokens.json",
    "special_tokens_map.json",
)
WORDPIECE_FAMILIES = ("Bert", "DistilBert", "Electra", "ConvBert", "MobileBert", "Lxmert", "Funnel")
BYTE_FAMILIES = ("GPT2", "Roberta", "Bart", "Longformer", "LED")
SENTENCEPIECE_FAMILIES = ("Albert", "XLMRoberta", "T5", "Llama")
_ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
ROLES = tuple(f"{role}_token" for role in _ROLES)
_TOKEN_LISTS = ("additional_special_tokens", "extra_special_tokens")
# these change no id of a text: what is around it, how it is cut, how it is shown, where it is from
_HARMLESS_SETTINGS = {
    *("tokenizer_class", "added_tokens_decoder", *ROLES, *_TOKEN_LISTS, "sp_model_kwargs"),
    *("model_max_length", "max_length", "max_len", "truncation", "truncation_side", "stride"),
    *("truncation_strategy", "padding", "padding_side", "pad_to_multiple_of", "pad_token_type_id"),
    *("model_input_names", "clean_up_tokenization_spaces", "errors", "trim_offsets", "use_fast"),
    *("name_or_path", "special_tokens_map_file", "tokenizer_file", "vocab_file", "merges_file"),
    *("full_tokenizer_file", "chat_template", "processor_class", "backend", "is_local"),
    *("add_bos_token", "add_eos_token", "init_inputs", "return_token_type_ids", "verbose"),
    *("transformers_version", "model_type", "spaces_between_special_tokens", "from_slow"),
    *("use_default_system_prompt", "split_special_tokens", "fix_mistral_regex", "device_map"),
    *("local_files_only", "model_specific_special_tokens", "max_source_length", "_commit_hash"),
}
_FORM_SETTINGS = {
    "wordpiece": {
        *("do_lower_case", "strip_accents", "tokenize_chinese_chars", "wordpieces_prefix"),
        *("never_split", "do_basic_tokenize", "clean_text"),
    },
    "bytes": {"add_prefix_space"},
    "sentencepiece": {
        *("do_lower_case", "keep_accents", "remove_space", "legacy", "add_dummy_prefix"),
        *("add_prefix_space", "extra_ids"),
    },
}
_FORM_FAMILIES = {
    "wordpiece": WORDPIECE_FAMILIES,
    "bytes": BYTE_FAMILIES,
    "sentencepiece": SENTENCEPIECE_FAMILIES,
}


@dataclass(frozen=True)
class TokenizerSettings:
    """The files' contents; `family` is the tokenizer class without its ending, or empty."""

    path: Path  # of tokenizer_config.json
    family: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    added: "Mapping[int, tokenizers.AddedToken]" = field(default_factory=dict)
    special: Sequence[str] = ()  # names, in the order in which they would be added

    def read_flag(self, name: str, default: bool | None) -> bool | None:
        """A setting that is true or false. Raises ValueError for anything else."""
        value = self.config.get(name, default)
        if value is not None and not isinstance(value, bool):
            raise ValueError(f"{self.path}: {name} is {value!r}; expected true or false")
        return default if value is None else value

    def read_word(self, name: str, default: str) -> str:
        """Return a setting that is a string, or a token with its flags."""
        value = self.config.get(name)
        value = value.get("content") if isinstance(value, Mapping) else value
        return value if isinstance(value, str) and value else default


def read_settings(
    vocabulary: Path, form: str, read_json: Callable[[Path], Mapping[str, Any]]
) -> TokenizerSettings:
    """Read the settings next to a vocabulary of a form: wordpiece, bytes or sentencepiece.

    Raises ValueError with one sentence for a class or a setting that is not understood.
    """
    path = vocabulary.with_name(CONFIG_FILE)
    config = read_json(path) if path.is_file() else {}
    family = _read_family(path, config, form)
    if not config and form == "sentencepiece":
        family = _family_of_model(vocabulary.with_name("config.json"), read_json)
    allowed = _HARMLESS_SETTINGS | _FORM_SETTINGS[form]
    for name, value in config.items():
        if name not in allowed and value not in (None, False, [], {}):
            hint = did_you_mean(name, sorted(allowed)) if name not in _all_settings() else ""
            raise ValueError(
                f"{path}: the setting {name!r} is not supported, and could change the ids"
                f"{hint}; save the "
                "tokenizer as tokenizer.json, which is complete, or remove the setting"
            )
    _refuse_sampling(path, config)
    special = _read_special_names(path, config, read_json)
    return TokenizerSettings(
        path, family, config, _read_added_tokens(path, config, special, read_json), special
    )


def _all_settings() -> set[str]:
    return _HARMLESS_SETTINGS.union(*_FORM_SETTINGS.values())


def _read_family(path: Path, config: Mapping[str, Any], form: str) -> str:
    name = config.get("tokenizer_class")
    if name is None or name in ("PreTrainedTokenizerFast", "TokenizersBackend"):
        return ""
    family = str(name).removesuffix("Fast").removesuffix("Tokenizer")
    if "auto_map" in config or family not in _FORM_FAMILIES[form]:
        listed = ", ".join(f"{form_family}Tokenizer" for form_family in _FORM_FAMILIES[form])
        raise ValueError(
            f"{path}: the tokenizer class {name!r} cannot be read from such files (supported: "
            f"{listed}); save the tokenizer as tokenizer.json, which is complete"
        )
    return family


def _family_of_model(path: Path, read_json: Callable[[Path], Mapping[str, Any]]) -> str:
    """Return the tokenizer of a model: Hugging Face takes it where tokenizer_config.json is
    missing."""
    kind = read_json(path).get("model_type") if path.is_file() else None
    return {"albert": "Albert", "xlm-roberta": "XLMRoberta", "t5": "T5"}.get(str(kind), "")


def _refuse_sampling(path: Path, config: Mapping[str, Any]) -> None:
    kwargs = config.get("sp_model_kwargs") or {}
    if not isinstance(kwargs, Mapping):
        raise ValueError(f"{path}: sp_model_kwargs is {kwargs!r}; expected an object")
    wrong = [name for name, value in kwargs.items() if name != "nbest_size" and value
             and (name != "alpha" or kwargs.get("enable_sampling"))]  # fmt: skip
    if wrong:
        raise ValueError(
            f"{path}: sp_model_kwargs has {wrong[0]} {kwargs[wrong[0]]!r}, but selfwise always "
            "divides a text into its most likely pieces; remove it"
        )


def _read_added_tokens(
    path: Path,
    config: Mapping[str, Any],
    special: Sequence[str],
    read_json: Callable[[Path], Mapping[str, Any]],
) -> "dict[int, tokenizers.AddedToken]":
    """Return the tokens that were added, by id: as the newest file says it, else the older ones."""
    tokens: "dict[int, tokenizers.AddedToken]" = {}
    older = path.with_name(ADDED_FILE)
    for content, number in (read_json(older) if older.is_file() else {}).items():
        if type(number) is not int or number < 0:
            raise ValueError(f"{older}: the id of {content!r} is {number!r}; expected a number")
        is_special = content in special
        tokens[number] = tokenizers.AddedToken(
            content, special=is_special, normalized=not is_special
        )
    newer = config.get("added_tokens_decoder") or {}
    if not isinstance(newer, Mapping):
        raise ValueError(f"{path}: added_tokens_decoder must be an object")
    for number, token in newer.items():
        is_id = str(number).isascii() and str(number).isdigit() and len(str(number)) < MAX_DIGITS
        if not is_id or not isinstance(token, Mapping) or "content" not in token:
            raise ValueError(f"{path}: added_tokens_decoder has {number!r}: {token!r}; expected an "
                             "id and an object with its content")  # fmt: skip
        tokens[int(number)] = _build_token(token)
    return tokens


def _build_token(token: Mapping[str, Any]) -> "tokenizers.AddedToken":
    special = bool(token.get("special", False))
    return tokenizers.AddedToken(
        str(token["content"]),
        single_word=bool(token.get("single_word", False)),
        lstrip=bool(token.get("lstrip", False)),
        rstrip=bool(token.get("rstrip", False)),
        normalized=bool(token.get("normalized", not special)),
        special=special,
    )


def _read_special_names(
    path: Path, config: Mapping[str, Any], read_json: Callable[[Path], Mapping[str, Any]]
) -> list[str]:
    older = path.with_name(SPECIAL_FILE)
    settings = {**(read_json(older) if older.is_file() else {}), **config}
    names = [_token_content(settings[role]) for role in ROLES if settings.get(role)]
    for part in _TOKEN_LISTS:
        names += [
            _token_content(added_token)
            for added_token in settings.get(part) or []
            if isinstance(settings[part], list)
        ]
    return list(dict.fromkeys(names))


def _token_content(token: object) -> str:
    return str(token.get("content", "") if isinstance(token, Mapping) else token)


def add_tokens(
    library: "tokenizers.Tokenizer", settings: TokenizerSettings
) -> "tokenizers.Tokenizer":
    """Put the added tokens at their ids. Raises ValueError where something else has the id."""
    for number, token in sorted(settings.added.items()):
        if library.id_to_token(number) in (None, token.content):
            library.add_tokens([token])
        actual = library.token_to_id(token.content)
        if actual != number:
            instead = (
                f"gives it {actual:,}" if actual is not None else "gives that to another token"
            )
            raise ValueError(
                f"{settings.path.parent}: the added token {token.content!r} should have the id "
                f"{number:,}, but the vocabulary {instead}"
            )
    for content in settings.special:
        if content and library.token_to_id(content) is None:
            library.add_special_tokens([content])
    return _set_flags(library, settings)


def _set_flags(
    library: "tokenizers.Tokenizer", settings: TokenizerSettings
) -> "tokenizers.Tokenizer":
    """Return the flags of the tokens that the vocabulary declared before: the files know better."""
    added = {token.content: token for token in settings.added.values()}
    config = json.loads(library.to_str())
    for token in config["added_tokens"]:
        better = added.get(token["content"])
        if better is not None:
            names = ("single_word", "lstrip", "rstrip", "normalized", "special")
            token |= {name: getattr(better, name) for name in names}
    return tokenizers.Tokenizer.from_str(json.dumps(config))
