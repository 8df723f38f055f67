"""Fields of a config.json have the types of their defaults."""

import pytest

from selfwise.interop.huggingface.config_fields import merge_fields

DEFAULTS = {"hidden_size": 8, "eps": 1e-5, "act": "gelu", "bias": False, "conv": [1, 2]}
DEFAULTS |= {"n_inner": None, "image_size": 32, "pad_token_id": 0}


def test_right_fields_are_merged():
    config = {"hidden_size": 16, "eps": 0, "bias": True, "conv": [3], "n_inner": 5, "other": "x"}
    config |= {"image_size": [32, 32], "pad_token_id": None}
    assert merge_fields(config, DEFAULTS) == {**DEFAULTS, **config}
    assert merge_fields({"n_inner": None}, DEFAULTS) == DEFAULTS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("hidden_size", value) for value in ("8", 8.0, True, -1, 2**31, None, [8], {})),
        *(("eps", value) for value in ("x", None, -0.1, 2, float("nan"), float("inf"), True)),
        ("eps", 10**400),
        *(("act", value) for value in (5, None, ["gelu"], {})),
        *(("bias", value) for value in (0, "false", None)),
        *(("conv", value) for value in (5, "x", [1.5], [None], [[1]])),
        *(("n_inner", value) for value in ("x", 1.5, -1)),
        *(("image_size", value) for value in ([], ["x"], [1.5], "32")),
    ],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_a_field_of_another_type_is_named(name, value):
    with pytest.raises(ValueError, match=f"^config.json: {name} must be "):
        merge_fields({name: value}, DEFAULTS)
