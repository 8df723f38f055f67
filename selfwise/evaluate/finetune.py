"""Training with labels, through the same loop: fine-tuning, and supervised from scratch."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Int64

from selfwise.data import Images, Source
from selfwise.evaluate.features import reading, views
from selfwise.evaluate.linear import held_out
from selfwise.methods.method import Method
from selfwise.train.fit import fit
from selfwise.train.options import Options

# seed -> a method with `predict(x) -> logits`, with the weights that it starts from
Make = Callable[[int], Method]


def finetune(
    make: Make,
    train: Images,
    test: Images,
    options: Options,
    *,
    size: int,
    seed: int,
    rates: Sequence[float] = (),
) -> Int64[np.ndarray, "m"]:
    """Train on all of `train`, return the predicted class of each test example.

    With several `rates` the learning rate is the one that does best on a fifth of `train` that
    is held out for that; then all of `train` is used with it. The test examples choose nothing.
    """
    if len(rates) > 1:
        assert train.labels is not None
        asked = held_out(train.labels, seed=seed)[0]
        kept = np.setdiff1d(np.arange(len(train)), asked)
        known = train.labels[asked]
        scores = []
        for rate in rates:
            tried = replace(options, lr=rate)
            part, rest = train.take(kept), train.take(asked)
            predicted = finetune(make, part, rest, tried, size=size, seed=seed)
            scores.append((predicted == known).mean())
        options = replace(options, lr=rates[int(np.argmax(scores))])
    method = make(seed)
    batch = min(options.batch or len(train), len(train))
    source = Source(train, batch=batch, seed=seed, labelled=True)
    fit(method, source, replace(options, batch=batch), seed=seed, quiet=True)
    return _predict(method, test, size=size)


def _predict(method: Method, images: Images, *, size: int) -> Int64[np.ndarray, "m"]:
    device = next(method.parameters()).device
    rows = [np.arange(i, min(i + 512, len(images))) for i in range(0, len(images), 512)]
    with reading(method, device) as model:  # type: ignore[arg-type]
        found = [
            model.predict(view).argmax(dim=1)  # type: ignore[operator]
            for view in views(images, rows, size=size, device=device)
        ]
    return torch.cat(found).cpu().numpy()
