"""The state of a run, read from its folder, for the rules on what to do next."""

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from selfwise.core.plugins import FROM_PYTHON
from selfwise.evaluation.scores.names import RAW_NAMES
from selfwise.runs.logs_and_scores import Logged, read_metrics, read_scores
from selfwise.runs.run_yaml import RunRecord, read_record
from selfwise.runs.score_groups import ScoreGroup, group_scores
from selfwise.training import checkpoint
from selfwise.workflows.verdict import Verdict, choose_main_score, read_verdicts


class NextStep(NamedTuple):
    """A thing to do, and the reason."""

    text: str
    command: str = ""


class Situation(NamedTuple):
    """The state of a run, read from its folder, for the rules."""

    folder: Path
    record: RunRecord
    step: int  # of the newest checkpoint
    log: Logged
    scores: Sequence[ScoreGroup]  # of the newest weights
    verdicts: Sequence[Verdict]

    @property
    def main_score(self) -> ScoreGroup | None:
        """Return the score that decides the verdict."""
        return choose_main_score(self.scores) if self.scores else None

    @property
    def disappoints(self) -> bool:
        """Whether some label budget is no better than a baseline."""
        return self.verdicts[0].level in ("no better", "mixed")

    @property
    def raw_name(self) -> str:
        return RAW_NAMES[self.record.modality]

    @property
    def passes(self) -> float:
        """How often the run sees each example; 0 if unknown."""
        record = self.record
        examples = int(record.info.examples)
        return record.steps * record.training.batch_size / examples if examples else 0.0


def read_situation(folder: Path) -> Situation:
    """Read what the rules need from a run folder."""
    record = read_record(folder)
    newest, _ = checkpoint.find_latest(folder / "checkpoints")
    step = newest.step if newest else 0
    groups = group_scores(read_scores(folder), step=step)
    verdicts = read_verdicts(folder, record.modality)
    log = read_metrics(folder)
    return Situation(folder, record, step, log, [g for g in groups if g.newest], verdicts)


def format_pretrain_command(run: Situation, suffix: str, **options: object) -> str:
    """Format the command that trains the run again with other options; "" for data from Python."""
    if FROM_PYTHON in (run.record.data, run.record.method, run.record.encoder_name):
        return ""
    config = quote(str(run.folder / "run.yaml"))
    flags = " ".join(
        f"--{name.replace('_', '-')} {quote(str(value))}" for name, value in options.items()
    )
    out = quote(f"{run.folder}-{suffix}")
    return f"selfwise pretrain {quote(run.record.method)} --config {config} {flags} --out {out}"
