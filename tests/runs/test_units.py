"""Speech and patches from end to end: units, training, iterations, embed, probe, resume."""

import json
import math
import shutil

import numpy as np
import pytest
import torch

import selfwise
from selfwise.cli import main as cli
from selfwise.core import memory
from selfwise.data.audio.open import RecordingChunks, open_recordings
from selfwise.modalities.audio import targets as audio_targets
from selfwise.modalities.image import targets as image_targets
from selfwise.modalities.reading_options import ReadingOptions
from selfwise.runs.create import pretrain
from selfwise.runs.open import load
from selfwise.runs.resume import pretrain_or_resume
from selfwise.runs.run_yaml import read_record
from selfwise.targets.codebook import Codebook
from selfwise.workflows.iterate import iterate
from tests.helpers import unit_cases as cases

UNITS = {"hubert": audio_targets, "beit": image_targets}


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """Units and decoded files of the tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("SELFWISE_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    return cases.voices(tmp_path_factory.mktemp("speech") / "voices")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return cases.pictures(tmp_path_factory.mktemp("images") / "pictures")


@pytest.fixture(scope="module")
def runs(voices, pictures, tmp_path_factory):
    """One tiny run of each kind, made when it is asked for."""
    made, root = {}, tmp_path_factory.mktemp("runs")

    def get(name):
        if name not in made:
            out = root / name
            if name == "hubert":
                made[name] = pretrain("hubert", data=voices, out=out, **cases.SPEECH)
            elif name == "fsq":
                made[name] = pretrain("fsq", data=pictures, out=out, **cases.CODEC)
            else:
                units = {"targets": str(get("fsq").folder)} if name == "beit of codes" else {}
                made[name] = pretrain("beit", data=pictures, out=out, **cases.PATCHES, **units)
        return made[name]

    return get


def done(*arguments) -> None:
    assert cli.main([str(word) for word in arguments]) == 0


def test_a_run_on_speech_is_complete(runs, voices):
    run = runs("hubert")
    record = read_record(run.folder)
    found, units = record.info, record.needs["num_clusters"]
    assert (found.examples, found.held_out_examples, found.left_out) == (11, 3, 0)
    assert units["of"] == "MFCC"
    assert 1 < units["perplexity"] <= units["in use"] <= units["num_clusters"] == 6
    assert record.option("num_clusters") == 6
    lines = cases.logged(run.folder)
    assert math.isfinite(lines[-1]["masked_loss"])
    assert math.isfinite(lines[-1]["val/masked_loss"])
    assert (run.folder / "targets" / "codebook.safetensors").is_file()
    assert not (run.folder / "left_out.txt").exists()
    assert run.facts.targets.trained.count_labels().sum() == units["frames"]
    assert len(run.facts.targets.held_out) == 3
    again = load(run.folder)
    assert again.weights == run.weights
    assert again.step == 4


def test_speech_is_embedded(runs, voices, tmp_path):
    run = runs("hubert")
    done("embed", run.folder, "--data", voices, "--out", tmp_path / "v.npz")
    with np.load(tmp_path / "v.npz") as table:
        assert table["vectors"].shape == (14, 32)
        assert np.isfinite(table["vectors"]).all()
        assert set(table["labels"]) == {"low", "high"}
    layers = [selfwise.embed(run, voices, layer=k).vectors for k in (0, 1, -1)]
    assert not np.allclose(layers[0], layers[1])
    assert np.array_equal(layers[1], layers[2])
    with pytest.raises(ValueError, match="layer 2 does not exist: the encoder has layers 0 to 1"):
        selfwise.embed(run, voices, layer=2)


def test_all_layers_are_filed_by_one_pass(voices, runs, monkeypatch, tmp_path):
    from selfwise.modalities.audio import modality

    run, passes = runs("hubert"), []
    original = modality.listening.extract_layers

    def counted(*told, **more):
        passes.append(1)
        return original(*told, **more)

    monkeypatch.setattr(modality.listening, "extract_layers", counted)
    other = cases.voices(tmp_path / "others", 4)
    for layer in (0, 1, -2):
        found = selfwise.embed(run, other, layer=layer).vectors
        examples = run.modality.open_examples(run, other, ReadingOptions())
        exact = modality.listening.extract_features(run.encoder, examples, layer=layer)
        assert np.allclose(found, exact, atol=1e-5)
    assert len(passes) == 1


@pytest.mark.run
@pytest.mark.parametrize("kind", ["linear", "weighted", "knn"])
def test_a_probe_of_speech_stands_beside_mfcc_and_the_untrained_encoder(
    runs, voices, kind, tmp_path
):
    run, told = runs("hubert"), {"kind": kind, "seeds": 1, "quiet": True}
    score = selfwise.probe(run, train=voices, **told)
    assert {row["competitor"] for row in score.rows()} == {"pretrained", "untrained", "raw input"}
    assert score.n_test == 2
    csv = cases.table(voices, tmp_path / "known.csv")
    by_table = selfwise.probe(run, train=csv, test=voices, **told)
    assert by_table.n_test == 14
    done("probe", run.folder, "--train", csv, "--test", csv, "--kind", kind, "--seeds", 1)
    with pytest.raises(ValueError, match="every layer" if kind == "weighted" else "0 to 1"):
        selfwise.probe(run, train=voices, **told, layer=7)


def test_speech_is_retrieved_beside_mfcc(runs, voices):
    told = {"train": voices, "test": voices, "kind": "retrieval", "quiet": True}
    found = selfwise.probe(runs("hubert"), **told, layer=0)
    assert list(found.by_competitor) == ["pretrained", "untrained", "raw input"]
    assert found.to_dict()["n_test"] == 14
    assert all(0 <= row["mean"] <= 1 for row in found.rows())


@pytest.mark.run
def test_the_search_holds_out_groups_where_there_are_some(runs, voices, tmp_path, monkeypatch):
    from selfwise.evaluation.probes import frozen as frozen_probes

    seen, original = [], frozen_probes.fit_linear

    def spy(x, y, test, *, groups=None, **told):
        seen.append(groups)
        return original(x, y, test, groups=groups, **told)

    monkeypatch.setattr(frozen_probes, "fit_linear", spy)
    csv, told = cases.table(voices, tmp_path / "known.csv"), {"test": voices, "quiet": True}
    selfwise.probe(runs("hubert"), train=csv, **told, seeds=2, labels_per_class="2,all")
    assert all(groups is not None and len(set(groups)) > 1 for groups in seen)
    assert {len(groups) for groups in seen} == {4, 14}
    seen.clear()
    selfwise.probe(runs("hubert"), train=voices, **told, seeds=1)
    assert seen
    assert all(groups is None for groups in seen)
    seen.clear()  # one speaker: nobody to hold out
    alone = cases.table(voices, tmp_path / "alone.csv", groups=1)
    selfwise.probe(runs("hubert"), train=alone, **told, seeds=1)
    assert all(groups is None for groups in seen)


def test_units_are_learned_from_what_is_trained_on_alone(runs, voices, tmp_path):
    other = tmp_path / "voices"
    shutil.copytree(voices, other)
    held = _held_out(voices)
    assert len(held) == 3
    for number, name in enumerate(held):  # other sounds of the same length
        path, info = other / name, cases.soundfile.info(other / name)
        seconds, frames = info.frames / info.samplerate, info.frames
        cases.voice(path, 100 + number, rate=info.samplerate, seconds=seconds)
        assert cases.soundfile.info(path).frames == frames
    ours, theirs = runs("hubert").folder, tmp_path / "run"
    pretrain("hubert", data=other, out=theirs, **cases.SPEECH)
    for name in ("codebook.safetensors", "trained/units.npy"):
        assert (ours / "targets" / name).read_bytes() == (theirs / "targets" / name).read_bytes()
    assert cases.weights(ours) == cases.weights(theirs)
    held_out = [(run / "targets" / "held_out" / "units.npy").read_bytes() for run in (ours, theirs)]
    assert held_out[0] != held_out[1]
    losses = [cases.logged(run)[-1]["val/masked_loss"] for run in (ours, theirs)]
    assert losses[0] != losses[1]
    # and the codebook is not the same whatever it is learned from
    trained = next(p for p in sorted(other.rglob("*.wav")) if str(p.relative_to(other)) not in held)
    info = cases.soundfile.info(trained)
    cases.voice(trained, 200, rate=info.samplerate, seconds=info.frames / info.samplerate)
    changed = pretrain("hubert", data=other, out=tmp_path / "changed", **cases.SPEECH)
    pair = [Codebook.load(folder / "targets").centres for folder in (changed.folder, theirs)]
    assert not pair[0].equal(pair[1])


def _held_out(voices) -> list[str]:
    return list(open_recordings(voices).split(cases.SPEECH["val_fraction"], seed=0)[1].ids)


@pytest.mark.parametrize("kind", UNITS)
def test_memory_is_kept_while_units_are_learned(kind, voices, pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "cache"))
    learn, seen = UNITS[kind].learn_codebook, []

    def looks(*parts, **told):
        seen.append(memory._inside[0])
        return learn(*parts, **told)

    monkeypatch.setattr(UNITS[kind], "learn_codebook", looks)
    data, told = (voices, cases.SPEECH) if kind == "hubert" else (pictures, cases.PATCHES)
    pretrain(kind, data=data, out=tmp_path / "run", **told)
    assert seen == [1]
    assert memory._inside == [0]


@pytest.mark.parametrize("kind", ["hubert", "beit", "beit of codes"])
def test_a_run_on_units_resumes_exactly(runs, kind, tmp_path, own_cache):
    whole, run = runs(kind).folder, tmp_path / "run"
    shutil.copytree(whole, run)
    shutil.rmtree(run / "checkpoints" / "step-00000004")
    hidden = own_cache.with_name("hidden")  # a run has its units, even where caches are gone
    own_cache.rename(hidden)
    try:
        done("resume", run, "--quiet")
    finally:
        shutil.rmtree(own_cache, ignore_errors=True)
        hidden.rename(own_cache)
    assert cases.weights(run) == cases.weights(whole)
    assert (run / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


@pytest.mark.run
@pytest.mark.parametrize("warm", [False, True])
def test_the_second_iteration_has_the_units_of_the_firsts_layer(runs, voices, tmp_path, warm):
    out = tmp_path / "runs"
    told = [
        *cases.flags(cases.SPEECH),
        "--next-target-layer",
        0,
        "--next-num-clusters",
        5,
        "--next-steps",
        2,
    ]
    words = ["iterate", "hubert", "--data", voices, "--out", out, *told, "--iterations", 2]
    done(*words, *(["--warm"] if warm else []))
    first, second = (load(out / f"iteration-{k}") for k in (1, 2))
    assert cases.weights(first.folder) == cases.weights(runs("hubert").folder)
    told, units = second.record.options, second.record.needs["num_clusters"]
    assert told["targets"] == str(first.folder.resolve())
    assert (told["steps"], told["target_layer"], told["num_clusters"]) == (2, 0, 5)
    assert told["init_from"] == (str(first.folder.resolve()) if warm else "")
    assert units["num_clusters"] == 5
    assert units["of"] == "layer 0 of iteration-1 (step 4)"
    # each frame's unit is the nearest centre of what that layer says of it
    book, labels = second.facts.targets.codebook, second.facts.targets.trained
    trained = open_recordings(voices).split(0.2, seed=0)[0]
    batch = RecordingChunks(trained)[0]
    with torch.no_grad():
        tokens = first.encoder.eval().hidden(batch)[0].tokens
    for row, i, extent in zip(tokens, batch.index.tolist(), batch.extent.tolist()):
        count = selfwise.core.types.count_frames(extent)
        assert np.array_equal(labels.read_labels(i, 0, count), book(row[:count]).numpy())
    # the same again finds all of it done
    before = cases.content(out)
    done(*words, *(["--warm"] if warm else []))
    assert cases.content(out) == before


@pytest.mark.parametrize("kind", ["hubert", "beit"])
def test_weights_that_a_run_starts_from(kind, runs, voices, pictures, tmp_path):
    """The encoder and the mask, which is a part of what it reads; the head is drawn anew."""
    earlier = runs(kind)
    data, shape = (voices, cases.SPEECH) if kind == "hubert" else (pictures, cases.PATCHES)
    told = {**shape, "steps": 1, "lr": 0.0, "init_from": earlier.folder, "seed": 9}
    run = pretrain(kind, data=data, out=tmp_path / "run", **told)
    ours, theirs = run.method.state_dict(), earlier.method.state_dict()
    same = {name for name in ours if ours[name].equal(theirs[name])}
    assert {name for name in ours if name.startswith("encoder.")} | {"mask_embedding"} <= same
    assert "code_embeddings" not in same
    assert "head.weight" not in same


def test_units_are_learned_once(runs, voices, tmp_path, monkeypatch):
    runs("hubert")
    monkeypatch.setattr(audio_targets, "learn_codebook", None)  # a call would be an error
    run = pretrain("hubert", data=voices, out=tmp_path / "run", **{**cases.SPEECH, "seed": 5})
    assert run.facts.targets.codebook.centres.equal(runs("hubert").facts.targets.codebook.centres)


def test_iterations_go_on_in_python_where_data_are_arrays(tmp_path):
    random = np.random.default_rng(0)
    pitches = enumerate(random.uniform(0.1, 0.9, 6))
    data = [np.sin(np.arange(6000 + 500 * i) * f).astype(np.float32) for i, f in pitches]
    told = {"data": data, "out": tmp_path / "runs", **cases.SPEECH, "val_fraction": 0.2}
    iterate("hubert", iterations=1, **told)
    run = iterate("hubert", iterations=2, **told)
    assert run.folder.name == "iteration-2"


def test_other_options_than_those_of_the_run_are_refused(runs, voices):
    told = {**cases.SPEECH, "num_clusters": 7}
    with pytest.raises(ValueError, match="clusters 6, not 7"):
        pretrain_or_resume("hubert", data=voices, out=runs("hubert").folder, **told)


def test_a_tokenizer_shows_what_it_keeps(runs):
    run = runs("fsq")
    picture = cases.Image.open(run.folder / "reconstructions.png")
    assert picture.width > 100
    last = cases.logged(run.folder)[-1]
    assert 0 < last["reconstruction_mse"] < 1
    assert 0 < last["codes_used"] <= 1
    assert 1 <= last["code_perplexity"] <= 16


def test_beit_predicts_the_codes_of_a_tokenizer(runs, pictures):
    run, tokenizer = runs("beit of codes"), runs("fsq")
    about = run.record.needs["targets"]
    assert about["of"] == "fsq fsq (step 4)"
    assert about["num_clusters"] == 16 == run.method.targets.size
    assert 1 <= about["perplexity"] <= about["in use"] <= 16
    assert (run.folder / "targets" / "reconstructions.png").is_file()
    x = _views(pictures)
    assert run.method.targets(x).equal(tokenizer.method.codes(x))
    # the run has them, also where the tokenizer is gone
    assert load(run.folder).method.targets(x).equal(tokenizer.method.codes(x))


def test_beit_predicts_clusters_of_patches(runs):
    run = runs("beit")
    about = run.record.needs["targets"]
    assert (about["of"], about["num_clusters"], about["patch"]) == ("patches", 8, 4)
    assert (run.folder / "targets" / "reconstructions.png").is_file()
    assert math.isfinite(cases.logged(run.folder)[-1]["mim_loss"])


@pytest.mark.run
def test_beit_predicts_clusters_of_a_layer_of_an_earlier_run(runs, pictures, tmp_path):
    earlier = runs("beit of codes")
    told = {**cases.PATCHES, "targets": str(earlier.folder), "target_layer": -1}
    done("pretrain", "beit", "--data", pictures, "--out", tmp_path / "r", *cases.flags(told))
    run = load(tmp_path / "r")
    about = run.record.needs["targets"]
    assert (about["layer"], about["num_clusters"]) == (1, 8)
    x = _views(pictures)
    with torch.no_grad():
        tokens = earlier.encoder.eval().hidden(x)[1].tokens
    book = Codebook.load(run.folder / "targets")
    expected = book(tokens.flatten(0, 1)).view(len(x), -1)
    assert run.method.targets(x).equal(expected)


def _views(pictures):
    from selfwise.data.image import open_images
    from selfwise.evaluation.features.image import iterate_views

    (x,) = iterate_views(open_images(pictures), [np.arange(6)], size=16)
    return x


@pytest.mark.run
@pytest.mark.parametrize("warm", [False, True])
def test_iterations_of_images(runs, pictures, tmp_path, warm):
    more = {"iterations": 2, "next_target_layer": 0, "next_num_clusters": 5, "warm": warm}
    run = iterate("beit", data=pictures, out=tmp_path / "runs", **cases.PATCHES, **more)
    first = load(tmp_path / "runs" / "iteration-1")
    assert cases.weights(first.folder) == cases.weights(runs("beit").folder)
    about = run.record.needs["targets"]
    assert (about["of"], about["num_clusters"]) == ("beit iteration-1 (step 4)", 5)
    assert about["layer"] == 0
    assert run.record.option("init_from") == (str(first.folder.resolve()) if warm else "")


@pytest.mark.run
def test_beit_is_probed_by_layer(runs, pictures):
    told = {"train": pictures, "seeds": 1, "quiet": True}
    scores = [selfwise.probe(runs("beit"), **told, layer=k) for k in (0, -1)]
    assert all(score.n_test == 4 for score in scores)
    with pytest.raises(ValueError, match="weighted is for speech"):
        selfwise.probe(runs("beit"), **told, kind="weighted")
    with pytest.raises(ValueError, match="layer 2 does not exist"):
        selfwise.probe(runs("beit"), **told, layer=2)


def test_what_is_shown_of_a_run_has_its_units(runs, capsys):
    done("show", runs("hubert").folder)
    said = capsys.readouterr().out
    assert "MFCC" in said
    assert json.dumps(6) in said
