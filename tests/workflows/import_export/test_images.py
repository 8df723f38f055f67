"""BEiT from Hugging Face's and timm's folders to a run, and from a run to Hugging Face's."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import selfwise
from selfwise.cli import main as cli
from selfwise.core.types import ImageBatch
from selfwise.runs.run_yaml import read_record
from selfwise.views.image.augment import evaluation_view
from selfwise.workflows.export import export_run
from selfwise.workflows.import_weights import import_weights
from tests.helpers.vit_cases import hidden_patches, images, theirs, timms

ENCODER = {"encoder": "beit-tiny", "encoder_options": {"depth": 2, "dim": 32, "heads": 2}}
QUICK = {"steps": 2, "batch_size": 8, "monitor_every": 0, "quiet": True, "save_every": 2}
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """Units are kept where caches are: not in the user's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFWISE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def pictures():
    """Forty images of 16 px: blobs on a slope, two classes."""
    rng = np.random.default_rng(0)
    slope = np.linspace(0, 120, 16)[None, :, None, None]
    found = np.broadcast_to(slope, (40, 16, 16, 3)) + rng.integers(0, 60, (40, 1, 1, 3))
    found[::2, 4:12, 4:12] += 60
    return (found.astype(np.uint8), np.arange(40) % 2)


@pytest.fixture(scope="module")
def run(pictures, tmp_path_factory):
    """A short run of the method beit."""
    out = tmp_path_factory.mktemp("runs") / "beit"
    told = {**ENCODER, "num_clusters": 8, "image_size": 16, **QUICK}
    return selfwise.pretrain("beit", data=pictures[0], out=out, **told)


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """The run as a folder of Hugging Face's."""
    out = tmp_path_factory.mktemp("hf") / "beit"
    export_run(run.folder, out=out)
    return out


def saved(model, folder):
    """The model as transformers saves it."""
    model.save_pretrained(folder)
    return folder


def test_export_and_import_give_the_same_model(run, exported, tmp_path):
    again = import_weights("beit", exported, out=tmp_path / "run")
    ours, theirs = (r.method.state_dict() for r in (run, again))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert again.encoder.shape == run.encoder.shape
    assert again.record.imported["drawn anew"] == []
    export_run(again.folder, out=tmp_path / "hf")
    one, two = (load_file(f / "model.safetensors") for f in (exported, tmp_path / "hf"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_transformers_loads_the_folder_without_a_missing_or_unexpected_key(run, exported):
    import transformers

    told = json.loads((exported / "config.json").read_text())
    assert told["architectures"] == ["BeitForMaskedImageModeling"]
    kind = transformers.BeitForMaskedImageModeling
    model, info = kind.from_pretrained(exported, output_loading_info=True)
    assert not any(info.values()), info
    x, hidden = images(2, size=16), hidden_patches(2, 16)
    method = run.method.eval()
    with torch.no_grad():
        expected = model.eval()(2 * x - 1, bool_masked_pos=hidden).logits
        tokens = method.encoder.embed(x)
        tokens = torch.where(hidden[..., None], method.mask_embedding, tokens)
        found = method.head(method.encoder.trunk(tokens).tokens)
    torch.testing.assert_close(found, expected, **CLOSE)


@pytest.mark.parametrize("size", [16, 96])
def test_the_preprocessor_makes_the_images_that_we_evaluate(size, run, exported, tmp_path):
    from transformers import AutoImageProcessor

    from selfwise.interop.huggingface.beit_configs import write_preprocessor

    folder = exported
    if size != 16:
        folder = tmp_path
        (folder / "preprocessor_config.json").write_text(json.dumps(write_preprocessor(size, 3)))
    processor = AutoImageProcessor.from_pretrained(folder)
    assert type(processor).__name__.startswith("BeitImageProcessor")
    smooth = torch.linspace(0, 255, 150)[:, None] * torch.linspace(0.3, 1, 120)
    x = torch.stack([smooth, smooth.flip(1), smooth.flip(0)]).round().to(torch.uint8)
    found = processor(images=x, return_tensors="pt")["pixel_values"][0]
    batch = ImageBatch(x[None], torch.zeros(1, dtype=torch.int64))
    expected = evaluation_view(batch, size, fraction=0.875 if size > 64 else 1.0)[0]
    assert found.shape == (3, size, size)
    assert ((found + 1) / 2 - expected).abs().max() < 0.03


def test_an_imported_run_embeds_is_probed_and_trained_further(exported, pictures, tmp_path):
    start = import_weights("beit", exported, out=tmp_path / "start")
    found = selfwise.embed(start, pictures[0])
    assert found.vectors.shape == (40, 32)
    score = selfwise.probe(start, train=pictures, test=pictures, seeds=1, kind="knn", quiet=True)
    assert {row["competitor"] for row in score.rows()} >= {"pretrained", "untrained"}
    told = {**QUICK, "steps": 1, "lr": 0.0, "weight_decay": 0.0, "num_clusters": 8}
    more = selfwise.pretrain(
        "beit", data=pictures[0], out=tmp_path / "on", init_from=start.folder, **told
    )
    ours, theirs = (r.encoder.state_dict() for r in (start, more))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    with pytest.raises(ValueError, match="was imported, so it has no training to resume"):
        selfwise.resume(start.folder)


def test_a_published_checkpoint_of_transformers_becomes_a_run(tmp_path):
    model = theirs(bias="own")
    folder = saved(model, tmp_path / "hf")
    run = import_weights("beit", folder, out=tmp_path / "run")
    x, hidden = images(), hidden_patches()
    with torch.no_grad():
        expected = model(2 * x - 1, bool_masked_pos=hidden).logits
        tokens = torch.where(hidden[..., None], run.method.mask_embedding, run.encoder.embed(x))
        found = run.method.head(run.encoder.trunk(tokens).tokens)
    torch.testing.assert_close(found, expected, **CLOSE)
    assert run.record.option("encoder.shared_bias") is False
    assert run.size == 32


def test_what_a_checkpoint_lacks_is_drawn_anew_and_named(tmp_path):
    folder = saved(theirs("BeitForImageClassification", use_mask_token=False), tmp_path / "hf")
    run = import_weights("beit", folder, out=tmp_path / "run")
    said = run.record.imported
    assert said["drawn anew"] == ["mask_embedding", "head.weight", "head.bias"]
    assert any("classifier.weight has no counterpart in selfwise" in note for note in said["notes"])
    assert run.method.head.weight.shape == (512, 32)
    assert run.method.head.weight.std() > 0.005
    export_run(run.folder, out=tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["architectures"] == (
        ["BeitModel"]
    )


@pytest.mark.parametrize("norm", ["tokens", "pooled"])
def test_an_encoder_without_the_method_is_a_beit_model(norm, pictures, tmp_path):
    import transformers

    shape = {**ENCODER["encoder_options"], "norm": norm, "shared_bias": False}
    told = {**ENCODER, "encoder_options": shape, "image_size": 16, **QUICK, "steps": 1}
    run = selfwise.pretrain("simclr", data=pictures[0], out=tmp_path / "run", **told)
    export_run(run.folder, out=tmp_path / "hf")
    kind = transformers.BeitModel
    model, info = kind.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not any(info.values()), info
    x = images(2, size=16)
    with torch.no_grad():
        expected, found = model.eval()(2 * x - 1), run.encoder.eval()(x)
    torch.testing.assert_close(found.tokens, expected.last_hidden_state[:, 1:], **CLOSE)
    if norm == "pooled":
        torch.testing.assert_close(found.pooled, expected.pooler_output, **CLOSE)


def test_timms_folder_becomes_a_run(tmp_path):
    model = timms()
    folder = tmp_path / "timm"
    folder.mkdir()
    save_file(model.state_dict(), folder / "model.safetensors")
    statistics = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    told = {"architecture": "beit_base_patch16_224", "pretrained_cfg": statistics}
    (folder / "config.json").write_text(json.dumps(told))
    run = import_weights("beit", folder, out=tmp_path / "run")
    x = images()
    mean, std = (torch.tensor(statistics[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        expected = model.forward_head(model.forward_features((x - mean) / std), pre_logits=True)
        torch.testing.assert_close(run.encoder.eval()(x).pooled, expected, **CLOSE)
    assert "weights were rescaled" in "".join(run.record.imported["notes"])


@pytest.mark.parametrize("told", [None, [1], {"mean": None, "std": [{}]}, {"mean": "abc"}])
def test_statistics_that_are_none_get_a_sentence(told, tmp_path):
    folder = tmp_path / "timm"
    folder.mkdir()
    save_file(timms().state_dict(), folder / "model.safetensors")
    config = {"architecture": "beit_base_patch16_224", "pretrained_cfg": told}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"^config\.json: \w+ must be "):
        import_weights("beit", folder, out=tmp_path / "run")


@pytest.mark.run
def test_onnx_has_tokens_and_pooled(run, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    export_run(run.folder, to="onnx", out=tmp_path / "onnx")
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "model.onnx")
    x = images(7, size=16)
    tokens, pooled = session.run(["tokens", "pooled"], {"x": x.numpy()})
    with torch.no_grad():
        expected = run.encoder.eval()(x)
    torch.testing.assert_close(torch.from_numpy(tokens), expected.tokens, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.from_numpy(pooled), expected.pooled, rtol=1e-4, atol=1e-4)


def test_the_command_line(exported, tmp_path, capsys):
    assert cli.main(["import", "beit", str(exported), "--out", str(tmp_path / "run")]) == 0
    assert read_record(tmp_path / "run").method == "beit"
    out = str(tmp_path / "hf")
    assert cli.main(["export", str(tmp_path / "run"), "--to", "hf", "--out", out]) == 0
    assert cli.main(["export", str(tmp_path / "run"), "--to", "hf", "--out", out]) == 2
    assert "exists already" in capsys.readouterr().err


def test_other_image_encoders_are_refused(pictures, tmp_path):
    tiny = {
        "encoder": "resnet18",
        "encoder_options": {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8]},
    }
    told = {**tiny, "image_size": 16, **QUICK, "steps": 1}
    run = selfwise.pretrain("simclr", data=pictures[0], out=tmp_path / "run", **told)
    with pytest.raises(ValueError, match=r"the encoder resnet18, .*only beit enc"):
        export_run(run.folder, out=tmp_path / "hf")
    assert not (tmp_path / "hf").exists()


def broken(folder, change=None, weights=None):
    """A copy of what transformers saved, with another config or other weights."""
    saved(theirs(), folder)
    told = json.loads((folder / "config.json").read_text()) | (change or {})
    (folder / "config.json").write_text(json.dumps(told))
    if weights:
        found = weights(load_file(folder / "model.safetensors"))
        save_file(found, folder / "model.safetensors")
    return folder


BROKEN = [
    ({"model_type": "vit"}, None, "model_type 'vit' cannot be imported as images"),
    ({"hidden_act": "relu"}, None, "hidden_act is 'relu'"),
    ({"use_relative_position_bias": True}, None, "are both true"),
    ({"use_mean_pooling": False}, None, "which then has two norms"),
    ({"image_size": [32, 64]}, None, "image_size is [32, 64], but selfwise's images are squares"),
    ({"hidden_size": 64}, None, "does not fit the rest"),
    ({"use_absolute_position_embeddings": True}, None, "no weight beit.embeddings.position_embed"),
    ({}, lambda w: {n: t for n, t in w.items() if "key" not in n}, "attention.key.weight"),
    ({}, lambda w: {n: t[..., :-1].contiguous() for n, t in w.items()}, "does not fit the rest"),
]


@pytest.mark.parametrize(("change", "weights", "message"), BROKEN)
def test_checkpoints_that_do_not_fit_get_one_sentence(change, weights, message, tmp_path):
    folder = broken(tmp_path / "hf", change, weights)
    with pytest.raises(ValueError, match=r"config\.json|checkpoint") as error:
        import_weights("beit", folder, out=tmp_path / "run")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_other_mistakes_get_one_sentence(exported, tmp_path):
    for family, told, message in (
        ("beitt", {}, "unknown family 'beitt'; did you mean 'beit'?"),
        ("beit", {"tokenizer": "x"}, "--tokenizer is for text, and beit is for image"),
        ("hubert", {}, "model_type 'beit' cannot be imported as speech"),
        ("bert", {}, "model_type 'beit' cannot be imported"),
    ):
        with pytest.raises(ValueError, match=r"family|--tokenizer|model_type") as error:
            import_weights(family, exported, out=tmp_path / "run", **told)
        assert message in str(error.value)
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text('{"model_type": "beit"}')
    (pickled / "pytorch_model.bin").write_bytes(b"no")
    with pytest.raises(ValueError, match="a pickle that could run code"):
        import_weights("beit", pickled, out=tmp_path / "run")
