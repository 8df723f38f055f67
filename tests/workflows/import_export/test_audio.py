"""HuBERT from Hugging Face's folder to a run, and from a run to Hugging Face's."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import selfwise
from selfwise.core.types import AudioBatch
from selfwise.workflows.export import export_run
from selfwise.workflows.import_weights import import_weights
from tests.helpers.audio_cases import noise

SHAPE = {
    **{"stem": "wave", "depth": 2, "dim": 32, "heads": 2, "stem_dim": 16},
    **{"position_kernel": 8, "position_groups": 4},
}
ENCODER = {"encoder": "hubert-tiny", "encoder_options": SHAPE}
QUICK = {
    "steps": 2,
    "monitor_every": 0,
    "quiet": True,
    "save_every": 2,
    "batch_seconds": 4.0,
    "max_clip_seconds": 2.0,
}
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """Units are kept where caches are: not in the user's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFWISE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def clips():
    """Twelve clips of noise at two pitches."""
    time = np.arange(9_000) / 16_000
    tones = [np.sin(2 * np.pi * (300 + 500 * (i % 2)) * time) for i in range(12)]
    return [(0.3 * t + noise(9_000, seed=i)[:, 0]).astype(np.float32) for i, t in enumerate(tones)]


@pytest.fixture(scope="module")
def run(clips, tmp_path_factory):
    """A short run of the method hubert."""
    out = tmp_path_factory.mktemp("runs") / "hubert"
    told = {**ENCODER, "num_clusters": 8, "val_fraction": 0.0, **QUICK}
    return selfwise.pretrain("hubert", data=clips, out=out, **told)


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """The run as a folder of Hugging Face's."""
    out = tmp_path_factory.mktemp("hf") / "hubert"
    export_run(run.folder, out=out)
    return out


def wave(clips, n=3):
    return torch.from_numpy(np.stack(clips[:n]))


@pytest.mark.run
def test_transformers_loads_the_folder_without_a_missing_or_unexpected_key(run, exported, clips):
    import transformers

    told = json.loads((exported / "config.json").read_text())
    assert told["architectures"] == ["HubertModel"]
    model, info = transformers.HubertModel.from_pretrained(exported, output_loading_info=True)
    assert not any(info.values()), info
    processor = transformers.AutoFeatureExtractor.from_pretrained(exported)
    given = processor(clips[:3], sampling_rate=16_000, return_tensors="pt")
    batch = AudioBatch(wave(clips), torch.arange(3))
    with torch.no_grad():
        expected = model.eval()(given["input_values"]).last_hidden_state
        found = run.encoder.eval()(batch).tokens
    torch.testing.assert_close(found, expected, **CLOSE)


def test_export_and_import_give_the_same_encoder(run, exported, tmp_path):
    again = import_weights("hubert", exported, out=tmp_path / "run")
    ours, theirs = (r.encoder.state_dict() for r in (run, again))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert torch.equal(run.method.mask_embedding, again.method.mask_embedding)
    said = again.record.imported
    assert said["drawn anew"] == [
        "code_embeddings",
        "final_projection.weight",
        "final_projection.bias",
    ]
    export_run(again.folder, out=tmp_path / "hf")
    one, two = (load_file(f / "model.safetensors") for f in (exported, tmp_path / "hf"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_an_imported_run_embeds_is_probed_and_trained_further(exported, clips, tmp_path):
    start = import_weights("hubert", exported, out=tmp_path / "start")
    assert selfwise.embed(start, clips).vectors.shape == (12, 32)
    labelled = (clips, np.arange(12) % 2)
    told = {"train": labelled, "test": labelled, "seeds": 1, "kind": "knn", "quiet": True}
    score = selfwise.probe(start, **told)
    assert {row["competitor"] for row in score.rows()} >= {"pretrained", "untrained", "raw input"}
    still = {"steps": 1, "lr": 0.0, "weight_decay": 0.0, "num_clusters": 8, "val_fraction": 0.0}
    more = selfwise.pretrain(
        "hubert", data=clips, out=tmp_path / "on", init_from=start.folder, **{**QUICK, **still}
    )
    ours, theirs = (r.encoder.state_dict() for r in (start, more))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    with pytest.raises(ValueError, match="was imported, so it has no training to resume"):
        selfwise.resume(start.folder)


def test_a_log_mel_encoder_has_no_counterpart(clips, tmp_path):
    told = {**ENCODER, "encoder_options": {**SHAPE, "stem": "logmel"}, "num_clusters": 8}
    told |= {**QUICK, "steps": 1}
    run = selfwise.pretrain("hubert", data=clips, out=tmp_path / "run", **told)
    with pytest.raises(ValueError, match="this encoder has the stem 'logmel'"):
        export_run(run.folder, out=tmp_path / "hf")
    assert not (tmp_path / "hf").exists()


@pytest.mark.run
def test_onnx_has_tokens_and_pooled(run, clips, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    export_run(run.folder, to="onnx", out=tmp_path / "onnx")
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "model.onnx")
    x = wave(clips, 2)[:, :7_000]
    tokens, pooled = session.run(["tokens", "pooled"], {"x": x.numpy()})
    with torch.no_grad():
        expected = run.encoder.eval()(AudioBatch(x, torch.arange(2)))
    torch.testing.assert_close(torch.from_numpy(tokens), expected.tokens, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.from_numpy(pooled), expected.pooled, rtol=1e-4, atol=1e-4)
