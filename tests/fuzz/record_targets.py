"""Damaged records in a run folder: scores, tables of GLUE, a search, word vectors."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import selfwise
from selfwise.glue.read import open_glue
from selfwise.glue.task_results import _read_results
from selfwise.glue.tasks import TASKS
from selfwise.report.sections import glue, tuning
from selfwise.report.sections import scores as score_sections
from selfwise.runs.successive_halving import Rung, Search, Trial
from selfwise.runs.tune_messages import describe_trial, format_table
from selfwise.runs.tune_record import TuneRecord, read_tune_record, write_tune_record
from selfwise.runs.unfinished import find_unfinished
from selfwise.runs.vectors_record import VectorsRecord, read_vectors_record, write_vectors_record
from tests.fuzz.model_targets import write_run
from tests.fuzz.targets import Target
from tests.glue.test_report import left as leave_table
from tests.glue.test_report import task
from tests.helpers.show_cases import score


def write_score(path: Path) -> None:
    write_run(path.parent.parent / "run.yaml")
    path.write_text(json.dumps(score(2, budgets=(2,), seeds=2)))


def read_scores(path: Path) -> None:
    run = path.parent.parent
    selfwise.show([run])
    score_sections.build_sections([run])


def write_glue_table(path: Path) -> None:
    write_run(path.parent.parent / "run.yaml")
    leave_table(path.parent.parent, "frozen", step=0)


def read_glue_table(path: Path) -> None:
    run = path.parent.parent
    selfwise.show([run])
    glue.build_sections([run])
    glue.write_lead(run)


def write_search(path: Path) -> None:
    write_run(path.with_name("run.yaml"))
    settings = [{"lr": 0.1, "temperature": 0.2}, {"lr": 0.3, "temperature": 0.1}]
    trials = [Trial(i, 20, 0, {"held_out_loss": 2.0 - i, "x": 1.0}, 1.5) for i in range(2)]
    search = Search(settings, "held_out_loss", [(2, 20)], [Rung(20, (0, 1))], trials, 1)
    record = TuneRecord({"method": "simclr"}, "f", 0, 400, 50, 5, 0.1, 1.0, search)
    write_tune_record(path.parent, record)


def read_search(path: Path) -> None:
    selfwise.show([path.parent])
    tuning.build_sections([path.parent])
    record = read_tune_record(path.parent)
    assert record is not None
    assert record.rest + record.seconds < 2**60
    if record.search.chosen is not None:
        format_table(record)
    for trial in record.search.trials:
        describe_trial(record.search, trial)
    for number in range(len(record.search.rungs)):
        sorted(record.search.score(trial) for trial in record.search.trials_of(number))


def write_vectors(path: Path) -> None:
    write_vectors_record(path.parent, VectorsRecord({"method": "bert"}, "f", 1.5))


def read_vectors(path: Path) -> None:
    record = read_vectors_record(path.parent)
    assert record is not None
    assert f"{record.fingerprint}{record.seconds + 1:.0f}"
    found = find_unfinished(path.parent)
    assert found is not None
    found.config.get("method")


def write_task_results(path: Path) -> None:
    fit = {"tried": [[{"layer": 1}, 0.5]], "predicted": {"sst2": [0.0, 1.0]}}
    found = task("sst2", ["accuracy"])
    found |= {"ids": {"SST-2.tsv": ["0", "1"]}, "done": True, "rows": {"dev": 2}}
    path.write_text(json.dumps(found | {"fits": [one | fit for one in found["fits"]]}))


SST2 = next(task for task in TASKS if task.name == "sst2")


def write_parquet(path: Path) -> None:
    names = {"names": ["negative", "positive"], "_type": "ClassLabel"}
    facts = {"info": {"features": {"label": names}}}
    rows = {"sentence": ["good sea", "bad boat"] * 5, "label": [1, 0] * 5, "idx": list(range(10))}
    found = pa.table(rows).replace_schema_metadata({"huggingface": json.dumps(facts)})
    pq.write_table(found, path)


def read_parquet(path: Path) -> None:
    open_glue(path.parent.parent, SST2, "train")


RECORD_TARGETS = [
    Target("score", "run/scores/linear-00000000.json", "json", write_score, read_scores),
    Target("glue table", "run/glue/frozen-0.json", "json", write_glue_table, read_glue_table),
    Target("glue results", "out/sst2.json", "json", write_task_results, _read_results),
    Target("tune.json", "run/tune.json", "json", write_search, read_search),
    Target("init_tokens.json", "run/init_tokens.json", "json", write_vectors, read_vectors),
    Target("glue .parquet", "data/sst2/train-00000-of-00001.parquet", "bytes", write_parquet,
           read_parquet, "train-"),
]  # fmt: skip
