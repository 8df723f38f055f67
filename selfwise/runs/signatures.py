"""Signatures for notebooks: the options that a function with `**options` takes."""

from collections.abc import Callable
from inspect import Parameter, Signature, signature
from typing import Any

from selfwise.core.config_class import Config
from selfwise.modalities import NAMES, find_modality
from selfwise.training.config import TrainingConfig


def list_options(function: Callable[..., Any]) -> Signature:
    """Return the signature of a function that trains a method, with all options except the
    methods'."""
    own = signature(function)
    listed = {n: p for n, p in own.parameters.items() if p.kind is not Parameter.VAR_KEYWORD}
    kinds: list[type[Config]] = [TrainingConfig, *(find_modality(n).reading for n in NAMES)]
    for kind in kinds:
        for name, field in kind.model_fields.items():
            default = Parameter.empty if field.is_required() else field.default
            option = Parameter(
                name, Parameter.KEYWORD_ONLY, default=default, annotation=field.annotation
            )
            listed.setdefault(name, option)
    rest = Parameter("options", Parameter.VAR_KEYWORD, annotation=Any)
    return own.replace(parameters=[*listed.values(), rest])
