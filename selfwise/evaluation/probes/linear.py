"""Linear classifiers on frozen features: L-BFGS with a search, and SimCLR's SGD protocol."""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from scipy.sparse import issparse
from threadpoolctl import threadpool_limits
from torch import nn

from selfwise.core.progress import format_all
from selfwise.core.rng import shuffle_indices
from selfwise.evaluation.probes.label_checks import describe_equal_labels
from selfwise.evaluation.probes.matrix import Matrix, list_blocks
from selfwise.evaluation.probes.scalers import build_scaler

# scikit-learn takes a second to import, and few runs need it: functions import it

# lambda in: mean cross-entropy + lambda / 2 |W|^2 on standardized features, strongest first.
# The same at every number of labels, where scikit-learn's C = 1 / (lambda n) would not be.
PENALTIES = (10.0, 1.0, 0.1, 0.01, 1e-3, 1e-4)
FOLDS = 5
MAX_ALL_FOLDS = (
    2000  # labels: up to here every fold is held out in turn, because one alone is too small
)
MAX_SINGLE_GROUPS = 10  # up to this number of groups, each is a separate fold
ITERATIONS = 1000
# numbers in the features: below, threads wait for each other longer than they multiply; on a busy
# machine with two of them a probe of 1,297 x 64 took 20 s where one takes 0.2 s
SINGLE_THREAD_SIZE = 2**21


class LinearFit(NamedTuple):
    """Predictions of a linear probe on the test examples, and its regularization."""

    predicted: Int64[np.ndarray, "m"]
    C: float  # inverse regularization as scikit-learn counts it, chosen on held-out labels
    searched: tuple[tuple[float, float], ...]  # (C, accuracy on held-out labels), as tried

    @property
    def cross_validated(self) -> float | None:
        """Accuracy of the chosen C on held-out training labels; None if none could be held out."""
        return max((accuracy for _, accuracy in self.searched), default=None)


def fit_linear(
    train: Matrix,
    labels: Int64[np.ndarray, "n"],
    test: Matrix,
    *,
    seed: int = 0,
    penalties: Sequence[float] = PENALTIES,
    groups: Int64[np.ndarray, "n"] | None = None,
) -> LinearFit:
    """Multinomial logistic regression by L-BFGS, its regularization chosen on training labels.

    Features are standardized on the part that is fitted; bags of words (sparse) are not. A fifth of
    the training labels, drawn by class, is held out to choose the penalty (each fifth in turn up to
    2,000 labels; fewer folds where no class has five examples), from strong to weak until the
    accuracy has fallen twice; of equal penalties the strongest wins, also where every class has one
    example and nothing can be held out. Then all labels are fitted; those of `test` are not seen.

    With `groups` (for example speakers) `split_group_folds` holds out whole groups, so that the
    penalty is chosen for unseen groups. `seed` then decides nothing.

    Raises ValueError if there are no examples, a feature is not finite, all labels are equal, or
    there is one group.
    """
    from sklearn.linear_model import LogisticRegression

    check_features(train, labels, test)
    searched = search_linear(train, labels, seed=seed, penalties=penalties, groups=groups)
    with threadpool_limits(1 if train.size < SINGLE_THREAD_SIZE else None):
        chosen = choose_best(searched, _list_strengths(penalties, len(labels)))
        scale = build_scaler(train)
        model = LogisticRegression(C=chosen, tol=1e-4, max_iter=ITERATIONS)
        model.fit(scale.fit_transform(train), labels)
        predicted = model.predict(scale.transform(test))
    return LinearFit(predicted.astype(np.int64), chosen, tuple(searched))


def search_linear(
    train: Matrix,
    labels: Int64[np.ndarray, "n"],
    *,
    seed: int = 0,
    penalties: Sequence[float] = PENALTIES,
    groups: Int64[np.ndarray, "n"] | None = None,
) -> list[tuple[float, float]]:
    """Return each C that was tried and its accuracy on held-out labels, as `fit_linear` describes.

    The list is empty if nothing can be held out. Raises ValueError as `fit_linear` does.
    """
    check_features_finite("training", train)
    check_two_classes(labels)
    parts = split_folds(labels, seed=seed) if groups is None else split_group_folds(labels, groups)
    with threadpool_limits(1 if train.size < SINGLE_THREAD_SIZE else None):
        folds = [_Fold(train, labels, held_out) for held_out in parts]
        return search_penalty(folds, _list_strengths(penalties, len(labels)))


def fit_sgd(
    train: Float[np.ndarray, "n d"],
    labels: Int64[np.ndarray, "n"],
    test: Float[np.ndarray, "m d"],
    *,
    seed: int = 0,
    batch: int = 4096,
    epochs: int = 90,
    device: torch.device | str = "cpu",
) -> Int64[np.ndarray, "m"]:
    """Return predictions by the SGD protocol of SimCLR (arXiv:2002.05709, appendix B.6), for large
    sets.

    Nesterov momentum 0.9, learning rate 0.1 batch / 256 with a cosine to 0, no warm-up, no weight
    decay, features as they are (not standardized). The paper augments by crops; here the features
    are fixed. The classifier starts at zero: the problem is convex. The last, smaller batch of an
    epoch is left out, as in the authors' code.

    Raises ValueError if there are no examples, a feature is not finite, all labels are equal, or
    the fit diverges.
    """
    check_features(train, labels, test)
    check_two_classes(labels)
    x, y = torch.from_numpy(train).to(device), torch.from_numpy(labels).to(device)
    batch, classes = min(batch, len(x)), int(labels.max()) + 1
    head = nn.utils.skip_init(nn.Linear, x.shape[1], classes, device=device, dtype=x.dtype)
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    steps_per_epoch = len(x) // batch
    for epoch in range(epochs):
        order = torch.from_numpy(shuffle_indices(len(x), seed, "sgd probe", epoch)).to(device)
        for step, rows in enumerate(order[: steps_per_epoch * batch].view(steps_per_epoch, batch)):
            share = (epoch * steps_per_epoch + step) / (epochs * steps_per_epoch)
            rate = 0.1 * batch / 256 * 0.5 * (1 + math.cos(math.pi * share))
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            F.cross_entropy(head(x[rows]), y[rows]).backward()
            optimizer.step()
    if not bool(head.weight.isfinite().all()):
        raise ValueError("the SGD probe diverged: its features are too large; use --kind linear")
    with torch.no_grad():
        return head(torch.from_numpy(test).to(device)).argmax(dim=1).cpu().numpy()


def split_folds(labels: Int64[np.ndarray, "n"], *, seed: int) -> list[Int64[np.ndarray, "_"]]:
    """Return rows to hold out, one array for each fit of the search; the same share of every class.

    A class's only example is never held out. No arrays if every class has one example.
    """
    _, class_numbers, counts = np.unique(labels, return_inverse=True, return_counts=True)
    folds = min(FOLDS, int(counts.max()))
    order = shuffle_indices(len(labels), seed, "held out")
    order = order[np.argsort(class_numbers[order], kind="stable")]
    order = order[counts[class_numbers[order]] > 1]
    # dealt in turn, class after class: sizes differ by one at most, within a class and in all
    parts = [np.sort(order[fold::folds]) for fold in range(folds)] if folds > 1 else []
    return parts if len(labels) <= MAX_ALL_FOLDS else parts[:1]


def split_group_folds(
    labels: Int64[np.ndarray, "n"], groups: Int64[np.ndarray, "n"]
) -> list[Int64[np.ndarray, "_"]]:
    """Return rows to hold out, one array for each fit of the search: whole groups, never a part of
    one.

    Each of up to 10 groups in turn. More are dealt to five folds, the largest first and always to
    the smallest fold; above 2,000 labels one of these is held out. A fold is left out if all other
    labels are equal, for nothing could be learned from them.

    Raises ValueError if there is one group.
    """
    names, group_numbers, counts = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise ValueError(
            f"folds by group need two groups, but {format_all(len(groups), 'example', 'are')} of "
            "one group"
        )
    fold_of = np.arange(len(names))
    if len(names) > MAX_SINGLE_GROUPS:
        sizes = np.zeros(FOLDS, dtype=np.int64)
        for group in np.argsort(-counts, kind="stable"):
            fold_of[group] = sizes.argmin()
            sizes[fold_of[group]] += counts[group]
    parts = [np.flatnonzero(fold_of[group_numbers] == fold) for fold in range(fold_of.max() + 1)]
    parts = [held_out for held_out in parts if len(np.unique(np.delete(labels, held_out))) > 1]
    return parts[:1] if len(names) > MAX_SINGLE_GROUPS and len(labels) > MAX_ALL_FOLDS else parts


def check_two_classes(labels: Int64[np.ndarray, "n"], *, what: str = "a linear probe") -> None:
    """Raise ValueError if all labels are equal, since every prediction is right then."""
    if len(np.unique(labels)) < 2:
        raise ValueError(f"{what} needs two classes, but {describe_equal_labels(len(labels))}")


def check_features(train: Matrix, labels: Int64[np.ndarray, "n"], test: Matrix) -> None:
    """Raise ValueError unless there are examples to learn from and to test, and only numbers."""
    assert train.shape[0] == len(labels), (train.shape, labels.shape)
    assert train.shape[1] == test.shape[1], (train.shape, test.shape)
    for name, features in (("training", train), ("test", test)):
        check_features_finite(name, features)


def check_features_finite(name: str, features: Matrix) -> None:
    """Raise ValueError unless there are examples, and only numbers."""
    if not features.shape[0]:
        raise ValueError(f"a probe needs {name} examples, and there are none")
    for block in list_blocks(features):
        if not np.isfinite(block.data if issparse(block) else block).all():
            raise ValueError(f"the {name} features have values that are not finite")


class _Fold:
    """One split of the training examples, and a classifier that starts where it stopped last."""

    def __init__(self, train: Matrix, labels: np.ndarray, held_out: np.ndarray):
        from sklearn.linear_model import LogisticRegression

        fitted_rows = np.setdiff1d(np.arange(len(labels)), held_out, assume_unique=True)
        fitted = train[fitted_rows]
        scale = build_scaler(fitted)
        self.x, self.y = scale.fit_transform(fitted), labels[fitted_rows]
        self.held_out, self.truth = scale.transform(train[held_out]), labels[held_out]
        # ten times the tolerance of the final fit: a third of the time, and on CIFAR-10's pixels
        # at most half a point of accuracy away
        self.model = LogisticRegression(tol=1e-3, max_iter=ITERATIONS, warm_start=True)

    def count_correct(self, C: float) -> int:
        self.model.set_params(C=C).fit(self.x, self.y)
        return int((self.model.predict(self.held_out) == self.truth).sum())


@runtime_checkable
class ProbeFold(Protocol):
    """One split of the training examples, with a classifier."""

    truth: np.ndarray  # labels of the held-out examples

    def count_correct(self, C: float) -> int:
        """Return how many of the held-out examples are right after a fit on the other examples."""
        ...


def search_penalty(folds: Sequence[ProbeFold], grid: Sequence[float]) -> list[tuple[float, float]]:
    """(C, accuracy on what the folds hold out) down the grid, until it has fallen twice."""
    searched: list[tuple[float, float]] = []
    for C in grid if folds else []:
        num_correct = sum(fold.count_correct(C) for fold in folds)
        searched.append((C, num_correct / sum(len(fold.truth) for fold in folds)))
        highest = max(accuracy for _, accuracy in searched)
        if len(searched) > 2 and all(accuracy < highest for _, accuracy in searched[-2:]):
            break
    return searched


def choose_best(searched: Sequence[tuple[float, float]], grid: Sequence[float]) -> float:
    """Return the C of the highest accuracy, of equals the first; the grid's first if none was
    tried."""
    return max(searched, key=lambda tried: tried[1])[0] if searched else grid[0]


def _list_strengths(penalties: Sequence[float], n: int) -> list[float]:
    """Return C of each penalty with n labels, the strongest penalty first."""
    return [1 / (penalty * n) for penalty in sorted(penalties, reverse=True)]
