"""A power cut at any moment of a write leaves a folder to continue from, or one that is named."""

import json
from inspect import unwrap
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from selfwise.core.files import read_json, write_file
from selfwise.core.make_once import copy_finished
from selfwise.evaluation.features.image import load_or_compute
from selfwise.glue.submission import FILES, TaskAnswers, check_submission, write_submission
from selfwise.interop.huggingface.folder import create_folder, write_json, write_weights
from selfwise.interop.word2vec import write_word2vec
from selfwise.methods import find_method
from selfwise.runs.create import BEGUN, _make_folder, check_free
from selfwise.runs.lengthen import Continuation, apply_continuation
from selfwise.runs.run_yaml import has_record, read_record, write_record
from selfwise.training.checkpoint import find_latest, list_checkpoints, save_checkpoint
from selfwise.training.config import TrainingConfig, resolve_training
from selfwise.training.listeners import NO_LISTENERS
from selfwise.training.recorder import open_recorder
from selfwise.training.step import TrainState
from selfwise.workflows.embed import EmbeddingTable, _write_table
from tests.helpers.power_cut import PowerCut
from tests.helpers.show_cases import settings

EVERY = 2  # steps from one checkpoint to the next


def options(steps):
    config = TrainingConfig(steps=steps, save_every=EVERY, log_every=1, keep_last=1)
    return resolve_training(config, find_method("rotation"), num_workers=0)


def train(out, steps, promise=lambda: None, *, total=6):
    """Do the steps of a run that are left, up to `steps`; return the step where it began."""
    model = nn.Linear(2, 2)
    state = TrainState(
        torch.device("cpu"),
        model,
        torch.optim.SGD(model.parameters()),
        SimpleNamespace(scaler=None),
    )
    with open_recorder(
        state, options(total), out, {}, listeners=NO_LISTENERS, quiet=True
    ) as recorder:
        for step in range(recorder.step + 1, steps + 1):
            recorder.write_values(step, {"loss": 1.0 / step}, {"seconds": 1.0})
            if step % EVERY == 0:
                recorder.save_checkpoint(step, state)
                promise()
    return recorder.step


@pytest.mark.run
def test_a_run_continues_after_any_power_cut(tmp_path, monkeypatch):
    train(tmp_path / "whole", 6)
    whole = (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    (tmp_path / "root").mkdir()
    with PowerCut(tmp_path / "root", monkeypatch) as cut:
        train(tmp_path / "root" / "run", 4, cut.acknowledge)
    count = 0
    for moment, root in cut.states(tmp_path / "state"):
        begun = train(root / "run", 6)
        assert begun >= EVERY * moment.acknowledged, moment.event
        assert (root / "run" / "metrics.jsonl").read_bytes() == whole
        assert [path.name for path in list_checkpoints(root / "run" / "checkpoints")] == [
            "step-00000006"
        ]
        count += 1
    assert count > 20


def watched(tmp_path, monkeypatch, write):
    """Yield the states of a folder in which `write(folder, promise)` runs."""
    (tmp_path / "root").mkdir(exist_ok=True)
    with PowerCut(tmp_path / "root", monkeypatch) as cut:
        write(tmp_path / "root", cut.acknowledge)
    assert cut.acknowledged
    return cut.states(tmp_path / "state")


def write_json_records(root, promise):
    for number in (1, 2):
        write_file(root / "new" / "tune.json", json.dumps({"format": 1, "number": number}))
        promise()


def write_scores(root, promise):
    for number in (1, 2):
        write_file(root / "run" / "glue" / f"cola-{number}.json", json.dumps({"format": 1}))
        promise()


def write_pages(root, promise):
    for number in (1, 2):
        write_file(root / "report.html", f"page {number} " * 1000 + "end")
        promise()


@pytest.mark.parametrize(
    ("write", "name"), [(write_json_records, "new/tune.json"), (write_pages, "report.html")]
)
def test_a_file_is_whole_and_as_new_as_promised(tmp_path, monkeypatch, write, name):
    for moment, root in watched(tmp_path, monkeypatch, write):
        path = root / name
        assert path.is_file() or not moment.acknowledged, moment.event
        if not path.is_file():
            continue
        if name == "report.html":
            assert path.read_text().endswith("end")
            assert int(path.read_text().split()[1]) >= moment.acknowledged
        else:
            assert read_json(path, 1, lambda content: content["number"]) >= moment.acknowledged


def test_each_promised_record_of_several_is_there(tmp_path, monkeypatch):
    for moment, root in watched(tmp_path, monkeypatch, write_scores):
        for number in range(1, moment.acknowledged + 1):
            path = root / "run" / "glue" / f"cola-{number}.json"
            assert json.loads(path.read_text()) == {"format": 1}, moment.event


def write_embeddings(root, promise):
    table = EmbeddingTable(np.ones((50, 8), np.float32), [str(n) for n in range(50)], None)
    for suffix in ("npz", "parquet"):
        _write_table(table, root / f"vectors.{suffix}")
        promise()


def test_embeddings_are_whole(tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    for moment, root in watched(tmp_path, monkeypatch, write_embeddings):
        found = [root / f"vectors.{suffix}" for suffix in ("npz", "parquet")]
        assert all(path.is_file() for path in found[: moment.acknowledged]), moment.event
        if found[0].is_file():
            assert np.load(found[0])["vectors"].sum() == 400
        if found[1].is_file():
            assert len(pq.read_table(found[1])) == 50


def write_export(root, promise):
    with create_folder(root / "exports" / "hf") as partial:
        write_json(partial / "config.json", {"a": 1})
        write_weights(partial / "model.safetensors", {"w": torch.ones(100)})
        (partial / "inner").mkdir()
        (partial / "inner" / "README.md").write_text("card " * 100)
    promise()
    (root / "cache").mkdir()
    write_file(root / "cache" / "about.json", "{}")
    copy_finished(root / "cache", root / "run" / "targets")
    promise()


def test_folders_are_whole_or_not_there(tmp_path, monkeypatch):
    from safetensors.torch import load_file

    for moment, root in watched(tmp_path, monkeypatch, write_export):
        folder = root / "exports" / "hf"
        assert folder.is_dir() or not moment.acknowledged, moment.event
        if folder.is_dir():
            assert load_file(folder / "model.safetensors")["w"].sum() == 100
            assert (folder / "inner" / "README.md").read_text() == "card " * 100
        targets = root / "run" / "targets"
        assert targets.is_dir() or moment.acknowledged < 2, moment.event
        if targets.is_dir():
            assert (targets / "about.json").read_text() == "{}"


def write_word_vectors(root, promise):
    with create_folder(root / "exports" / "words") as partial:
        write_word2vec(partial, ["sea", "calm"], np.ones((2, 3), np.float32))
    promise()


def test_exported_word_vectors_are_whole(tmp_path, monkeypatch):
    for moment, root in watched(tmp_path, monkeypatch, write_word_vectors):
        folder = root / "exports" / "words"
        assert folder.is_dir() or not moment.acknowledged, moment.event
        if folder.is_dir():
            assert (folder / "vectors.vec").read_text() == "2 3\nsea 1 1 1\ncalm 1 1 1\n"
            assert len((folder / "vectors.bin").read_bytes()) == 4 + 4 + 5 + 2 * (12 + 1)


def file_features(root, promise):
    for number in (1, 2):
        features = np.full((50, 8), number, np.float32)
        load_or_compute(root / "run" / "features", [number], lambda found=features: found)
        promise()


def test_features_in_the_cache_are_whole_or_not_there(tmp_path, monkeypatch):
    for moment, root in watched(tmp_path, monkeypatch, file_features):
        for number in (1, 2):
            computed = []

            def compute(number=number, computed=computed):
                computed.append(number)
                return np.full((50, 8), number, np.float32)

            found = load_or_compute(root / "run" / "features", [number], compute)
            assert (found == number).all(), moment.event
            assert not computed or number > moment.acknowledged, moment.event


def submit(root, promise):
    answers = {
        name: TaskAnswers(["0", "1"], np.zeros(2, int if file.task.labels else float))
        for name, file in FILES.items()
    }
    write_submission(answers, root / "glue.zip")
    promise()


def test_a_submission_is_whole(tmp_path, monkeypatch):
    ids = {name: ["0", "1"] for name in FILES}
    for moment, root in watched(tmp_path, monkeypatch, submit):
        path = root / "glue.zip"
        assert path.is_file() or not moment.acknowledged, moment.event
        if path.is_file():
            check_submission(path, ids)


def create_run(root, promise):
    def save(out):
        write_file(out / "tokenizer" / "tokenizer.json", "{}")

    unwrap(_make_folder)(root / "runs" / "a", settings(), SimpleNamespace(save=save))
    promise()
    write_record(root / "runs" / "a", settings(temperature=0.4))
    promise()


def test_a_run_folder_is_a_run_or_can_be_begun_again(tmp_path, monkeypatch):
    refused = set()
    for moment, root in watched(tmp_path, monkeypatch, create_run):
        out = root / "runs" / "a"
        assert has_record(out) or not moment.acknowledged, moment.event
        if has_record(out):
            temperature = read_record(out).get("temperature")
            assert temperature in ([0.2, 0.4], [0.4])[moment.acknowledged // 2], moment.event
            assert (out / "tokenizer" / "tokenizer.json").read_text() == "{}"
            continue
        try:
            check_free(out, "simclr")
        except ValueError as error:
            refused.add(str(error).replace(str(out), "RUN"))
    assert refused == set()
    assert not (tmp_path / "root" / "runs" / "a" / BEGUN).exists()


def lengthen(root, promise):
    run = root / "run"
    record = read_record(run)
    write_record(run, apply_continuation(run, record, Continuation(40, 60, 90, True, "longer")))
    promise()


def test_a_lengthened_run_never_continues_from_a_later_checkpoint(tmp_path, monkeypatch):
    run = tmp_path / "root" / "run"
    write_record(run, settings())
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters())
    for step in (20, 40, 50, 60):
        save_checkpoint(run / "checkpoints", step, model, optimizer, {})
    for moment, root in watched(tmp_path, monkeypatch, lengthen):
        record = read_record(root / "run")
        newest, torn = find_latest(root / "run" / "checkpoints")
        assert newest is not None
        assert newest.step >= 40
        assert record.steps == 90 or not moment.acknowledged, moment.event
        if record.steps == 90:
            assert (newest.step, torn) == (40, []), moment.event
