"""Trials of a search: short runs with equal weights before training, equal batches and views."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from time import monotonic

from selfwise.core.config_class import spell_option
from selfwise.core.process import limit_threads
from selfwise.evaluation.monitors.held_out_loss import HeldOutLoss
from selfwise.evaluation.monitors.view_agreement import LabelFreeScore
from selfwise.methods import Method
from selfwise.modalities.trial_data import TrialData
from selfwise.runs.prepare import PreparedRun, change_options
from selfwise.runs.successive_halving import HELD_OUT_LOSS, Trial
from selfwise.runs.tune_config import TUNED
from selfwise.runs.tune_settings import Setting
from selfwise.training.config import ResolvedTraining
from selfwise.training.loop import fit

Score = Callable[[Method], dict[str, float]]
# The best rate of Adam falls with the length of a run to this power (arXiv:2409.19913, section 4,
# for language models).
HORIZON_EXPONENT = 0.32
MAX_HIGHER_RATE = 4.0  # times the rate of the run; more has not been measured


@dataclass(frozen=True)
class Trials:
    """What all trials of a search share."""

    prepared: PreparedRun
    base: ResolvedTraining
    """The options of the run with the default setting."""
    data: TrialData
    score: Score

    def run(self, setting: Setting, steps: int, number: int) -> Trial:
        """Train a setting for some steps and measure it."""
        begun, seed = monotonic(), self.prepared.seed
        own = {
            name: value
            for name, value in setting.items()
            if name not in ResolvedTraining.model_fields
        }
        prepared = self.prepared
        if own:
            prepared = change_options(prepared, own, dict.fromkeys(own, TUNED))
        options = fit_options(self.base, setting, steps)
        method, values = deepcopy(prepared.method), dict[str, float]()
        try:
            fit(method, self.data.source, options, seed=seed, quiet=True)
            with limit_threads(options.cpu_threads):
                values = self.score(method)
        except FloatingPointError:
            pass  # the loss became NaN or infinite; a trial without values is the worst
        return Trial(number, steps, seed, values, round(monotonic() - begun, 3))


def fit_options(base: ResolvedTraining, setting: Setting, steps: int) -> ResolvedTraining:
    """Return the options of a trial: a whole schedule within its steps, and nothing to write.

    A warm-up in steps becomes the same fraction of fewer steps. The rate of a setting is that of
    the run. Adam's is higher in a trial, because the best rate falls with the length of a run
    (Bjorck et al. 2024, arXiv:2409.19913).
    """
    values = {
        name: value for name, value in setting.items() if name in ResolvedTraining.model_fields
    }
    options = base.replace(**values)
    if options.warmup >= 1:
        options = options.replace(warmup=options.warmup / base.steps)
    if options.optimizer == "adamw":
        higher = min((base.steps / steps) ** HORIZON_EXPONENT, MAX_HIGHER_RATE)
        options = options.replace(lr=options.lr * higher)
    return options.replace(
        steps=steps, compile=False, logger="", keep_best="", monitor_every=0, knn_every=0
    ).fix_warmup()


def split_data(prepared: PreparedRun) -> TrialData:
    """Return the batches of the trials and the examples that judge them."""
    return prepared.data.split_for_trials(
        prepared.source,
        prepared.method,
        batch_size=prepared.training.batch_size,
        seed=prepared.seed,
    )


def make_trials(prepared: PreparedRun, base: ResolvedTraining, judge: str) -> Trials:
    """Return what the trials share.

    Raises ValueError if the method has no two views, and the label-free score needs them.
    """
    data, seed = split_data(prepared), prepared.seed
    if judge == HELD_OUT_LOSS:
        loss = HeldOutLoss(data.held_out, seed=seed, every=1)
        return Trials(prepared, base, data, lambda method: {HELD_OUT_LOSS: loss.total(method)})
    views = deepcopy(prepared.method).to(base.device)
    score = LabelFreeScore(views, data.held_out, seed=seed)
    if not score.has_pair():
        raise ValueError(
            f"{spell_option('tune_options')} needs a method that makes two views of an image, "
            f"because other options than lr and warmup change the meaning of its loss, and "
            f"{prepared.record.method} makes one"
        )
    return Trials(prepared, base, data, score)
