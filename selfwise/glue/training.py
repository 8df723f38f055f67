"""One training on a GLUE task: batches of similar length, an epoch after the other."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from copy import deepcopy
from statistics import fmean
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from selfwise.core.device import autocast
from selfwise.core.memory import keep_freed_memory
from selfwise.core.rng import init_seed, seed_global, shuffle_indices
from selfwise.core.types import TextEncoder, to_device
from selfwise.evaluation.features.text import pad_rows
from selfwise.evaluation.features.text_rows import TokenRow
from selfwise.glue.classifier import ClassifierHead, copy_encoder, predict_rows
from selfwise.glue.finetune_recipes import FinetuneRecipe, FinetuneSetting
from selfwise.glue.metrics import compute_metrics
from selfwise.glue.tasks import GlueTask
from selfwise.runs.run_yaml import RunRecord
from selfwise.tokenizers.tokenizer import Tokenizer
from selfwise.training import schedules
from selfwise.training.optimizers import build_optimizer

SORTED_BATCHES = 32  # batches that are sorted by length together

# finished steps of one training, all its steps, and the current work
Progress = Callable[[int, int, str], None]


class TokenizedSplit(NamedTuple):
    """A split as rows of tokens."""

    rows: list[TokenRow]
    truth: np.ndarray | None  # classes (n,), or scores

    def take(self, places: np.ndarray) -> "TokenizedSplit":
        """Return some of its examples, in the order of `places`."""
        assert self.truth is not None
        return TokenizedSplit([self.rows[i] for i in places], self.truth[places])


class FinetuneTrial(NamedTuple):
    """A trained model, and its scores on the split that judges."""

    setting: FinetuneSetting
    model: ClassifierHead
    value: float | None  # `average_metrics` on the judge, at that epoch
    epoch: int
    curve: tuple[dict[str, float], ...]
    examples: int


@runtime_checkable
class TextRun(Protocol):
    """A run on text, as fine-tuning needs it."""

    @property
    def encoder(self) -> TextEncoder: ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def record(self) -> RunRecord: ...


class FinetuneJob(NamedTuple):
    """The common part of all trainings on a task."""

    run: TextRun
    task: GlueTask
    recipe: FinetuneRecipe
    seed: int
    start: dict[str, Tensor] | None
    device: torch.device | str
    progress: Progress | None

    def run_trial(
        self, setting: FinetuneSetting, train: TokenizedSplit, judge: TokenizedSplit | None
    ) -> FinetuneTrial | None:
        """The model after the last epoch, or after the best; None if it diverges."""
        try:
            return self._train_setting(setting, train, judge)
        except FloatingPointError:
            return None

    def predict(self, model: ClassifierHead, rows: list[TokenRow]) -> np.ndarray:
        """Its predictions (n,)."""
        device, precision = self.device, self.recipe.precision
        return predict_rows(model, rows, self.run.tokenizer, device=device, precision=precision)

    def _build_model(self) -> ClassifierHead:
        encoder = copy_encoder(self.run.encoder, self.start)
        with init_seed(self.seed, f"glue head {self.task.name}"):
            return ClassifierHead(encoder, len(self.task.labels), self.recipe).to(self.device)

    def _train_setting(
        self, setting: FinetuneSetting, train: TokenizedSplit, judge: TokenizedSplit | None
    ) -> FinetuneTrial:
        model, early = self._build_model(), self.recipe.early
        steps_per_epoch = -(-len(train.rows) // setting.batch)
        steps = self.recipe.steps or self.recipe.epochs * steps_per_epoch
        curve: list[dict[str, float]] = []
        value: float | None = None
        epoch, best_state = 0, None
        with _fork_random_state(self.device), keep_freed_memory():
            for last in self._run_epochs(model, setting, train, steps_per_epoch, steps):
                if judge is None:
                    epoch = last
                    continue
                assert judge.truth is not None
                predicted = self.predict(model, judge.rows)
                curve.append(compute_metrics(self.task, judge.truth, predicted))
                score = fmean(curve[-1].values())  # as `average_metrics`
                if not early or value is None or score > value:
                    value, epoch = score, last
                    best_state = deepcopy(model.state_dict()) if early else None
        if best_state is not None:
            model.load_state_dict(best_state)
        return FinetuneTrial(setting, model.cpu(), value, epoch, tuple(curve), len(train.rows))

    def _run_epochs(
        self,
        model: ClassifierHead,
        setting: FinetuneSetting,
        train: TokenizedSplit,
        steps_per_epoch: int,
        steps: int,
    ) -> Iterator[int]:
        """Train, and yield the number of every epoch that is done, from 1.

        Raises FloatingPointError after an epoch in which the loss was not a number.
        """
        recipe = self.recipe
        warmup = round(recipe.warmup * steps) if recipe.warmup < 1 else round(recipe.warmup)
        optimizer = build_optimizer(
            "adamw",
            model,
            lr=setting.rate,
            weight_decay=recipe.weight_decay,
            betas=recipe.betas,
            eps=recipe.eps,
        )
        lengths = np.array([len(row.ids) for row in train.rows])
        for epoch in range(-(-steps // steps_per_epoch)):
            first, total = epoch * steps_per_epoch, torch.zeros((), device=self.device)
            model.train()
            places = batch_epoch(lengths, setting.batch, self.seed, self.task.name, epoch)
            for step, rows in enumerate(places[: steps - first], start=first):
                factor = schedules.compute_factor(recipe.schedule, step, steps=steps, warmup=warmup)
                for group in optimizer.param_groups:
                    group["lr"] = setting.rate * factor
                total += self._train_batch(model, optimizer, train.take(rows), step)
                if self.progress is not None:
                    self.progress(step + 1, steps, str(setting))
            if not bool(total.isfinite()):
                raise FloatingPointError("the loss is no longer a number")
            yield epoch + 1

    def _train_batch(
        self, model: ClassifierHead, optimizer: Optimizer, data: TokenizedSplit, step: int
    ) -> Tensor:
        seed_global(torch.device(self.device), self.seed, "glue dropout", self.task.name, step)
        batch = to_device(pad_rows(data.rows, model.encoder, self.run.tokenizer), self.device)
        truth = torch.from_numpy(data.truth).to(self.device, non_blocking=True)
        optimizer.zero_grad(set_to_none=True)
        with autocast(self.device, self.recipe.precision):
            loss = model.loss(batch, truth)
        loss.backward()
        if self.recipe.clip:
            clip_grad_norm_(model.parameters(), self.recipe.clip)
        optimizer.step()
        return loss.detach()


def batch_epoch(
    lengths: np.ndarray, batch: int, seed: int, name: str, epoch: int
) -> list[np.ndarray]:
    """Return places of every example once, in batches of similar length, in an order of the epoch.

    Within windows of 32 batches of a random order examples are sorted, so that little is padding;
    then the batches are put in a random order. The last of the last window may be smaller.
    """
    order = shuffle_indices(len(lengths), seed, "glue order", name, epoch)
    batches = []
    for first in range(0, len(order), SORTED_BATCHES * batch):
        part = order[first : first + SORTED_BATCHES * batch]
        part = part[np.argsort(-lengths[part], kind="stable")]
        batches += np.split(part, range(batch, len(part), batch))
    return [batches[i] for i in shuffle_indices(len(batches), seed, "glue batches", name, epoch)]


def _fork_random_state(device: torch.device | str) -> AbstractContextManager[None]:
    """Restores torch's global random state at the end."""
    device = torch.device(device)
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
