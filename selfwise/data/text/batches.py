"""Batches of text by step, read by a plan that is made once an epoch and kept on the disk."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import ClassVar

import numpy as np
import torch

from selfwise.core.files import cache_dir, digest
from selfwise.core.rng import hash_keys, shuffle_indices
from selfwise.core.types import EmptyPlan, EpochPlan, RowSampler, TextBatch, Vocabulary, shard_slice
from selfwise.data.text import epoch_plans
from selfwise.data.text.corpus import Corpus
from selfwise.data.text.mixture import draw_layers, select_sentences

FORMAT = 3  # to be raised whenever a plan becomes another, or is written in another way
READ_TRIES = 3  # to read a plan that others may remove


class TextSource:
    """Rows of `length` tokens. Batch `step` is a pure function of the corpus, seed and step.

    An epoch has as many full batches as the plan of the first one; a later plan, which may be a
    few rows longer or shorter, is read in another order from its beginning again, or not to the
    end. `weights` are the proportions of the sources in an epoch; without them every document is
    read once.

    Raises ValueError if the text makes fewer rows than a batch has.
    """

    modality: ClassVar[str] = "text"
    unit: ClassVar[str] = "tokens"

    def __init__(
        self,
        corpus: Corpus,
        draw: RowSampler,
        *,
        length: int,
        batch: int,
        seed: int,
        vocabulary: Vocabulary,
        weights: Sequence[float] = (),
    ):
        self.weights = tuple(weights)
        self.corpus, self.draw, self.length, self.size = corpus, draw, length, batch
        self.seed, self.vocabulary = seed, vocabulary
        facts = (FORMAT, _describe_plan(draw.plan), length, seed, _vocabulary_key(vocabulary))
        self.key = digest(corpus.fingerprint, repr((*facts, self.weights) if weights else facts))
        self.plan = lru_cache(maxsize=1)(self._load_plan)
        rows = self.plan(0).size
        if not 1 <= batch <= rows:
            raise ValueError(
                f"batch {batch} does not fit the data of {rows} rows of {length} tokens; "
                f"use a batch of 1 to {rows}, or a smaller --max-length"
            )
        self.steps_per_epoch = rows // batch

    @property
    def scale(self) -> int:
        """Tokens in an example."""
        return self.length

    def batch(self, step: int) -> TextBatch:
        """Return the batch of a step, counted from 0 over all epochs."""
        return self.read_part(step, 0, 1)[0]

    def read_part(self, step: int, index: int, count: int) -> tuple[TextBatch, int, int]:
        """Return the part `index` of `count` of a step's batch, its first row, and rows of the
        batch."""
        epoch, position = divmod(step, self.steps_per_epoch)
        plan, shard = self.plan(epoch), shard_slice(self.size, index, count)
        places = (position * self.size + np.arange(self.size)[shard]) % plan.size
        rows = self.rows(_order(plan.size, self.seed, epoch)[places], epoch)
        return rows, shard.start, self.size

    def rows(self, rows: np.ndarray, epoch: int = 0) -> TextBatch:
        """Return some rows of an epoch's plan."""
        tokens, plan = self.corpus.tokens, self.plan(epoch)
        batch = self.draw.collate(
            tokens, plan, rows, length=self.length, vocabulary=self.vocabulary
        )
        return batch._replace(epoch=torch.full((len(rows),), epoch))

    def __getitem__(self, step: int) -> TextBatch:
        return self.batch(step)

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "plan"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self.plan = lru_cache(maxsize=1)(self._load_plan)

    def _load_plan(self, epoch: int) -> EpochPlan:
        """Return the plan of an epoch: read if it is on the disk, else made and written there."""
        home = cache_dir("plans") / self.key / f"{epoch:08d}"
        for _ in range(READ_TRIES):
            try:
                if not home.is_dir():
                    epoch_plans.write_plan(self._plan_slices(epoch), home)
                    epoch_plans.remove_past_plans(home.parent, epoch)
                return epoch_plans.read_plan(home)
            except FileNotFoundError:  # a worker or a run that is further on has just removed it
                continue
        return epoch_plans.join_plans(self._plan_slices(epoch))

    def _plan_slices(self, epoch: int) -> Iterator[EpochPlan]:
        """Yield the plans of one share of the documents after another; shares without a row left
        out.

        Raises EmptyPlan if none has a row.
        """
        rows, empty = 0, EmptyPlan("there are no documents")
        for number, spans in enumerate(self._share_spans(epoch)):
            keys = (epoch, number) if number else (epoch,)
            random = np.random.Generator(np.random.Philox(hash_keys(self.seed, "plan", *keys)))
            try:
                plan = self.draw.plan(
                    *spans,
                    length=self.length,
                    vocabulary=self.vocabulary,
                    random=random,
                )
            except EmptyPlan as error:
                empty = EmptyPlan(str(error))
                continue
            rows += plan.size
            yield plan
        if not rows:
            raise empty

    def _share_spans(self, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Yield the documents of an epoch in shares, with their sentences."""
        # where documents are paired, a share has others to pair one with
        min_documents = epoch_plans.MIN_PAIRED if self.draw.needs_sentences else 1
        slices = partial(
            epoch_plans.slice_documents, length=self.length, min_documents=min_documents
        )
        if not self.weights:
            yield from map(self.corpus.spans, slices(self.corpus.documents))
            return
        for layer in draw_layers(self.corpus, self.weights, seed=self.seed, epoch=epoch):
            for part in slices(layer):
                yield layer[part], select_sentences(self.corpus.sentences, layer[part])


@lru_cache(maxsize=2)
def _order(n: int, seed: int, epoch: int) -> np.ndarray:
    return shuffle_indices(n, seed, "rows", epoch)


def _describe_plan(plan: Callable[..., object]) -> str:
    """Return the dependencies of a plan besides the data: its function and bound options."""
    if isinstance(plan, partial):
        return f"{_describe_plan(plan.func)} {plan.args} {sorted(plan.keywords.items())}"
    return f"{plan.__module__}.{plan.__qualname__}"


def _vocabulary_key(vocabulary: Vocabulary) -> tuple[object, ...]:
    return tuple(vocabulary._replace(starts=None))  # type: ignore[arg-type]
