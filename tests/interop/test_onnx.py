"""Text encoders as ONNX models, run with onnxruntime."""

import sys

import pytest
import torch

from selfwise.core.types import TextBatch
from selfwise.interop import onnx
from selfwise.interop.onnx import export_text
from tests.helpers.text_cases import encoder_of, ids


@pytest.mark.parametrize("family", ["bert", "albert", "gpt"])
def test_onnxruntime_finds_what_torch_finds(family, tmp_path):
    import onnxruntime

    encoder, path = encoder_of(family), tmp_path / "encoder.onnx"
    assert export_text(encoder, path) < 1e-4
    assert [p.name for p in tmp_path.iterdir()] == ["encoder.onnx"]
    session = onnxruntime.InferenceSession(path)
    tokens = ids(4, 11)
    valid = torch.arange(11) < torch.tensor([11, 3, 8, 1])[:, None]
    found = session.run(["tokens", "pooled"], {"ids": tokens.numpy(), "valid": valid.numpy()})
    with torch.no_grad():
        expected = encoder(TextBatch(tokens, torch.arange(4), valid))
    torch.testing.assert_close(torch.from_numpy(found[1]), expected.pooled, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        torch.from_numpy(found[0])[valid], expected.tokens[valid], rtol=1e-4, atol=1e-4
    )


def test_a_model_with_other_numbers_is_not_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "MAX_DIFFERENCE", -1.0)
    with pytest.raises(
        ValueError, match=r"bert cannot be exported to ONNX: .* differs from torch by"
    ):
        export_text(encoder_of("bert"), tmp_path / "encoder.onnx")
    assert not list(tmp_path.iterdir())


def test_without_the_extra_one_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as where it is not installed
    with pytest.raises(ValueError, match=r"^--to onnx needs the extra.*selfwise\[export\]"):
        export_text(encoder_of("bert"), tmp_path / "encoder.onnx")
