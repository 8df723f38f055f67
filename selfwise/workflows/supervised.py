"""Competitors that train with labels: fine-tuning a run, and the same network from scratch."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
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


def train_from_scratch(run: Run, train: Images, test: Images, *, device: str) -> Competitor:
    """Train a new encoder with the labels alone.

    Views, batch (or all labels, if they are fewer) and number of steps are those of the run. A
    fifth of the labels chooses the learning rate.
    """
    training = _training_options(run, steps=run.record.steps, device=device)
    return _make_competitor(run, train, test, training, run.build_untrained, SCRATCH_RATES)


def finetune_pretrained(run: Run, train: Images, test: Images, *, device: str) -> Competitor:
    """Fine-tune a copy of the run's encoder."""
    return _make_finetuned(run, train, test, lambda seed: run.encoder, TUNING_RATES, device)


def finetune_untrained(run: Run, train: Images, test: Images, *, device: str) -> Competitor:
    """Fine-tune untrained encoders, which may also choose among higher learning rates."""
    return _make_finetuned(
        run, train, test, run.build_untrained, (*TUNING_RATES, *SCRATCH_RATES), device
    )


def _make_finetuned(
    run: Run,
    train: Images,
    test: Images,
    build_encoder: Callable[[int], Any],
    rates: tuple[float, ...],
    device: str,
) -> Competitor:
    training = _training_options(run, steps=LEAST_STEPS, device=device)
    return _make_competitor(run, train, test, training, build_encoder, rates, epochs=TUNING_EPOCHS)


def _make_competitor(
    run: Run,
    train: Images,
    test: Images,
    training: ResolvedTraining,
    build_encoder: Callable[[int], Any],
    rates: tuple[float, ...],
    *,
    epochs: int = 0,
) -> Competitor:
    def predict(rows: np.ndarray, seed: int) -> np.ndarray:
        batch = min(training.batch_size, len(rows))
        steps = max(training.steps, epochs * len(rows) // batch)
        options = training.replace(batch_size=batch, steps=steps)
        build = _make_classifier_builder(run, train, build_encoder)
        part = train.take(rows)
        return finetune(build, part, test, options, size=run.size, seed=seed, rates=rates)

    return predict


def _make_classifier_builder(
    run: Run, train: Images, build_encoder: Callable[[int], Any]
) -> Callable[[int], Method]:
    """Build `supervised` with the views of the run, around a copy of an encoder."""
    classify = partial(
        methods.find_method("supervised"), size=run.size, classes=len(train.classes or [])
    )
    if augment := getattr(run.method, "augment", None):
        classify = partial(
            classify,
            min_crop_scale=augment.scale[0],
            flip_prob=augment.flip,
            jitter_strength=augment.strength,
            blur_prob=augment.blur,
        )

    def build(seed: int) -> Method:
        encoder = deepcopy(build_encoder(seed))
        with init_seed(seed, "classifier"):
            return classify(encoder)

    return build


def _training_options(run: Run, *, steps: int, device: str) -> ResolvedTraining:
    """Return optimizer and schedule of `supervised`, with the batch and threads of the run."""
    own = run.record.training
    paper = methods.find_method("supervised").paper
    target_device = resolve_device(device)
    return ResolvedTraining(
        steps=steps,
        batch_size=own.batch_size,
        optimizer=paper.optimizer,
        lr=paper.lr,
        weight_decay=paper.weight_decay,
        warmup=paper.warmup,
        schedule=paper.schedule,
        grad_clip=paper.grad_clip,
        cpu_threads=own.cpu_threads,
        device=target_device,
        precision=match_precision(own, target_device),
        num_workers=0,
    )
