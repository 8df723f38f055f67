"""Competitors that train with labels: fine-tuning a run, and the same network from scratch."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np

from selfwise import methods
from selfwise.core.device import match_precision, resolve_device
from selfwise.core.rng import init_seed
from selfwise.data.image import Images
from selfwise.evaluation.probes.finetune import finetune
from selfwise.evaluation.probes.label_curve import Competitor
from selfwise.methods import Method
from selfwise.runs.open import Run
from selfwise.training.config import ResolvedTraining

# SimCLR tunes by SGD with Nesterov momentum and a search over rates (appendix B.5)
TUNING_RATES = (0.005, 0.02, 0.08)
SCRATCH_RATES = (0.02, 0.1, 0.5)
TUNING_EPOCHS, LEAST_STEPS = 60, 200


def from_scratch(run: Run, known: Images, asked: Images, *, device: str) -> Competitor:
    """Supervised training of a fresh encoder on the same labels.

    The same views, batch (or all labels, if they are fewer) and number of steps as the run; the
    learning rate is chosen on a fifth of the labels.
    """
    options = _options(run, steps=run.record.steps, device=device)
    return _competitor(run, known, asked, options, run.build_untrained, SCRATCH_RATES)


def tuned(run: Run, known: Images, asked: Images, *, device: str) -> Competitor:
    """Fine-tuning of the run's encoder, which is copied first."""
    return _tuning(run, known, asked, lambda seed: run.encoder, TUNING_RATES, device)


def tuned_from_fresh(run: Run, known: Images, asked: Images, *, device: str) -> Competitor:
    """The same training of untrained encoders, which may choose among higher rates too."""
    return _tuning(run, known, asked, run.build_untrained, (*TUNING_RATES, *SCRATCH_RATES), device)


def _tuning(
    run: Run,
    known: Images,
    asked: Images,
    encoder: Callable[[int], Any],
    rates: tuple[float, ...],
    device: str,
) -> Competitor:
    options = _options(run, steps=LEAST_STEPS, device=device)
    return _competitor(run, known, asked, options, encoder, rates, epochs=TUNING_EPOCHS)


def _competitor(
    run: Run,
    known: Images,
    asked: Images,
    options: ResolvedTraining,
    encoder: Callable[[int], Any],
    rates: tuple[float, ...],
    *,
    epochs: int = 0,
) -> Competitor:
    def predict(rows: np.ndarray, seed: int) -> np.ndarray:
        batch = min(options.batch, len(rows))
        steps = max(options.steps, epochs * len(rows) // batch)
        told = options.replace(batch=batch, steps=steps)
        make = _classifier(run, known, encoder)
        part = known.take(rows)
        return finetune(make, part, asked, told, size=run.size, seed=seed, rates=rates)

    return predict


def _classifier(run: Run, known: Images, encoder: Callable[[int], Any]) -> Callable[[int], Method]:
    """`supervised` with the views of the run, around a copy of an encoder."""
    kind = methods.find_method("supervised")
    views = _views(run.method)
    shape = {"size": run.size, "classes": len(known.classes or [])}

    def make(seed: int) -> Method:
        start = deepcopy(encoder(seed))
        with init_seed(seed, "classifier"):
            return kind(start, **shape, **views)

    return make


def _views(method: Method) -> dict[str, float]:
    """The options of `supervised` that make the views of another method on images."""
    augment = getattr(method, "augment", None)
    if augment is None:
        return {}
    names = ("flip", "strength", "blur")
    return {"crop": augment.scale[0], **{name: getattr(augment, name) for name in names}}


def _options(run: Run, *, steps: int, device: str) -> ResolvedTraining:
    """The optimiser and schedule of `supervised`, with the batch and threads of the run."""
    training = run.record.training
    paper = methods.find_method("supervised").paper
    place = resolve_device(device)
    return ResolvedTraining(
        steps=steps,
        batch=training.batch,
        optimizer=paper.optimizer,
        lr=paper.lr,
        weight_decay=paper.weight_decay,
        warmup=paper.warmup,
        schedule=paper.schedule,
        clip=paper.clip,
        threads=training.threads,
        device=place,
        precision=match_precision(training, place),
        workers=0,
    )
