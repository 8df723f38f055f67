"""What to do next with a run: the rules of docs/choosing.md, as functions of the run's state.

A rule returns a sentence and a command, or None where it does not apply. To add one, write the
function and put it into `RULES`.
"""

from collections.abc import Callable
from pathlib import Path

from selfwise.workflows.next_steps import score_rules, training_rules
from selfwise.workflows.next_steps.situation import NextStep, Situation, read_situation

MAX_STEPS = 5  # shown of one run

Rule = Callable[[Situation], NextStep | None]
RULES: tuple[Rule, ...] = (  # the most urgent first
    training_rules.resume_unfinished,
    training_rules.mend_collapse,
    score_rules.measure,
    training_rules.keep_best_weights,
    score_rules.add_test_examples,
    score_rules.draw_labels_again,
    score_rules.probe_another_layer,
    score_rules.combine_with_raw,
    training_rules.harden_task,
    training_rules.ease_task,
    training_rules.enlarge_batch,
    training_rules.start_from_published,
    training_rules.try_another_method,
    training_rules.train_longer,
    score_rules.export_encoder,
    score_rules.add_supervised_baseline,
    score_rules.repeat_with_seed,
)


def list_next_steps(folder: Path) -> list[NextStep]:
    """List what to do next with a run, the most urgent step first.

    Raises ValueError for a folder that is not a run, or for a broken score file.
    """
    situation = read_situation(folder)
    steps = [step for rule in RULES if (step := rule(situation)) is not None]
    return steps[:MAX_STEPS]
