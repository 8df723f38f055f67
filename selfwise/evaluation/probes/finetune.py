"""Training with labels, through the same loop: fine-tuning, and supervised from scratch."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Int64

from selfwise.core.device import autocast
from selfwise.data.image import Images, ImageSource
from selfwise.evaluation.features.image import evaluation_mode, iterate_views
from selfwise.evaluation.probes.linear import split_folds
from selfwise.methods.method import Method
from selfwise.training.config import ResolvedTraining
from selfwise.training.loop import fit

# seed -> a method with `predict(x) -> logits`, with the weights that it starts from
BuildMethod = Callable[[int], Method]
PREDICT_BATCH = 512  # examples predicted together


def finetune(
    build: BuildMethod,
    train: Images,
    test: Images,
    options: ResolvedTraining,
    *,
    size: int,
    seed: int,
    rates: Sequence[float] = (),
) -> Int64[np.ndarray, "m"]:
    """Train on all of `train`, return the predicted class of each test example.

    Training and predictions run on the device and in the precision of `options`. With several
    `rates`, a held-out fifth of `train` chooses the learning rate; if every class has one example
    and nothing can be held out, the middle rate is used. The final training uses all of `train`. If
    a rate diverges, the next best replaces it. The test examples choose nothing.

    Raises ValueError if every rate diverges.
    """
    for rate in _rank_rates(build, train, options, size=size, seed=seed, rates=rates):
        try:
            return _train_and_predict(
                build, train, test, options.replace(lr=rate), size=size, seed=seed
            )
        except FloatingPointError:  # with the held-out fifth as well it is too high
            continue
    tried = ", ".join(f"{rate:g}" for rate in rates or [options.lr])
    raise ValueError(
        f"training on {len(train)} labels diverged at every learning rate tried ({tried}): the "
        "loss or the outputs became NaN or infinite; use lower learning rates"
    )


def _rank_rates(
    build: BuildMethod,
    train: Images,
    options: ResolvedTraining,
    *,
    size: int,
    seed: int,
    rates: Sequence[float],
) -> list[float]:
    """Return the rates to train with, best first; without those that diverge in the search."""
    if len(rates) < 2:
        return list(rates) or [options.lr]
    assert train.labels is not None
    parts = split_folds(train.labels, seed=seed)
    if not parts:
        ascending = sorted(rates)
        middle = len(rates) // 2
        return ascending[middle::-1]  # should it diverge, the smaller ones
    train_rows = np.setdiff1d(np.arange(len(train)), parts[0])
    part, rest, truth = train.take(train_rows), train.take(parts[0]), train.labels[parts[0]]
    scores: dict[float, float] = {}
    for rate in rates:
        try:
            rate_options = options.replace(lr=rate)
            predicted = _train_and_predict(build, part, rest, rate_options, size=size, seed=seed)
        except FloatingPointError:
            continue
        scores[rate] = float((predicted == truth).mean())
    return sorted(scores, key=lambda rate: -scores[rate])  # stable: of equals the first


def _train_and_predict(
    build: BuildMethod,
    train: Images,
    test: Images,
    options: ResolvedTraining,
    *,
    size: int,
    seed: int,
) -> Int64[np.ndarray, "m"]:
    """Raise FloatingPointError if the loss or the outputs become NaN or infinite."""
    method = build(seed)
    options = options.replace(batch_size=min(options.batch_size or len(train), len(train)))
    source = ImageSource(train, batch=options.batch_size, seed=seed, labelled=True)
    fit(method, source, options, seed=seed, quiet=True)
    return _predict(method, test, options, size=size)


def _predict(
    method: Method, images: Images, options: ResolvedTraining, *, size: int
) -> Int64[np.ndarray, "m"]:
    device = next(method.parameters()).device  # where the loop has put it
    rows = np.split(np.arange(len(images)), range(PREDICT_BATCH, len(images), PREDICT_BATCH))
    with evaluation_mode(method, device) as model, autocast(device, options.precision):
        image_views = iterate_views(
            images, rows, size=size, device=device, workers=options.num_workers
        )
        logits = torch.cat([model.predict(view) for view in image_views])  # type: ignore[operator]
    if not bool(logits.isfinite().all()):
        raise FloatingPointError("the weights became NaN or infinite")
    return logits.argmax(dim=1).cpu().numpy()
