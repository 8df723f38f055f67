"""Scores and tables in a notebook: one line as text, a table as HTML, every text escaped."""

import re

import numpy as np
import pytest

from selfwise.core.html_table import write_html_table
from selfwise.evaluation.probes.retrieval import measure_retrieval
from selfwise.evaluation.scores.probe_score import (
    REQUIRED,
    ProbeComparison,
    ProbeResult,
    ProbeScore,
)
from selfwise.evaluation.scores.retrieval_score import compare_retrieval
from selfwise.glue.scores import GlueScores
from selfwise.profiling.bench_report import BenchReport, FlopRates, StepSeconds
from selfwise.tokenizers.tokenizer import train_tokenizer
from selfwise.workflows.embed import EmbeddingTable
from selfwise.workflows.fill import Candidates, Filling

ODD = "<b>&\"'"
ESCAPED = "&lt;b&gt;&amp;&quot;&#x27;"
TAGS = re.compile("</?(table|caption|tr|th|td|p)>")


def probe_score() -> ProbeScore:
    names = ("pretrained", "untrained", "raw input", ODD)
    results = tuple(ProbeResult(name, None, (0.7, 0.8), 10) for name in names)
    compared = tuple(ProbeComparison(name, None, 0.1, (0.05, 0.15), None) for name in names[1:])
    return ProbeScore("knn", results, compared, (0, 1), 1_500, warnings=(ODD,))


def bench_report() -> BenchReport:
    options = {"precision": "float32", "device": "cpu", "encoder": ODD, "batch_size": 16}
    return BenchReport(
        date="",
        method="simclr",
        modality="image",
        options=options | {"cpu_threads": 1, "num_workers": 0, "devices": 1},
        found={},
        environment={"cpu": "a processor"},
        cores=2,
        steps=5,
        seconds=2.0,
        examples_per_second=123.4,
        amount_per_second=123.4,
        step_seconds=StepSeconds(median=0.1, p10=0.1, p90=0.2, mean=0.1),
        waiting=0.0,
        flops=FlopRates(flops=1e9, products=1e11, side=64),
        utilisation=0.1,
        memory=2**20,
        tried=[],
        no_gain=[],
        advice=[ODD],
    )


SHOWN = {
    "probe": probe_score(),
    "bench": bench_report(),
    "embed": EmbeddingTable(np.zeros((3, 8), np.float32), [ODD, "b", "c"], ["x", "y", "x"]),
    "fill": Filling([Candidates([ODD], [0.5], ["a text"])], Candidates([ODD], [0.5], ["a text"])),
    "glue": GlueScores("frozen", [], {"cola": ODD}),
}


@pytest.mark.parametrize("name", SHOWN)
def test_html_has_tags_of_a_table_and_escapes_every_text(name):
    html = SHOWN[name]._repr_html_()
    assert html.startswith("<table>")
    assert html.count("<tr>") == html.count("</tr>")
    assert ESCAPED in html
    assert not re.search("[<>\"']", TAGS.sub("", html))


def test_a_probe_score_is_its_accuracy_beside_the_baselines():
    assert repr(probe_score()) == (
        "ProbeScore(knn, accuracy 75.0 ± 7.1 % of 1,500 test examples with all labels; against "
        "untrained: +10.0 points (95 % interval +5.0 to +15.0), above the noise; "
        "raw input: +10.0 points (95 % interval +5.0 to +15.0), above the noise; "
        f"{ODD}: +10.0 points (95 % interval +5.0 to +15.0), above the noise)"
    )
    assert probe_score()._repr_html_().count("<td>75.0 ± 7.1</td>") == 4


def test_a_retrieval_score_is_its_measures_beside_the_baselines():
    truth = np.repeat(np.arange(3), 10)
    found = measure_retrieval(np.eye(3, dtype=np.float32)[truth], truth)
    score = compare_retrieval({name: [found] for name in REQUIRED})
    assert repr(score) == (
        "RetrievalScore(recall@1 100.0 %, MAP@R 100.0 % of 30 queries; in recall@1 against "
        "untrained: +0.0 points (95 % interval +0.0 to +0.0), within the noise; "
        "raw input: +0.0 points (95 % interval +0.0 to +0.0), within the noise)"
    )
    assert "<tr><th>recall@1</th><td>100.0</td>" in score._repr_html_()


def test_other_results_are_one_line():
    assert str(SHOWN["bench"]) == SHOWN["bench"].text()
    assert repr(SHOWN["bench"]) == (
        "BenchReport(simclr, 123 images a second, 10.0 % of the fastest product)"
    )
    assert repr(SHOWN["embed"]) == "EmbeddingTable(3 vectors of width 8, labels of 2 classes)"
    assert repr(SHOWN["fill"]) == "Filling(1 gap; most likely 'a text' with 50.0%)"
    assert repr(SHOWN["glue"]) == "GlueScores(frozen on no task)"
    tokenizer = train_tokenizer("chars", ["abc cab"])
    assert repr(tokenizer) == f"Tokenizer({tokenizer.vocabulary.size} tokens)"


def test_a_table_without_head_or_notes_has_its_rows_alone():
    html = write_html_table([("a", "1"), ("b", "2")])
    assert html.splitlines()[1:-1] == [
        "<tr><th>a</th><td>1</td></tr>",
        "<tr><th>b</th><td>2</td></tr>",
    ]
