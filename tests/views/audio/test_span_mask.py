"""One test for each sentence about span masks: HuBERT section II-B, and fairseq's code."""

import numpy as np
import pytest
import torch

from selfwise.core.rng import Rng, generator
from selfwise.core.types import AudioBatch, count_frames
from selfwise.views.audio.span_mask import SpanMask, count_valid_frames
from tests.helpers import speech_cases
from tests.helpers.chance import near


def draw(count, *, t: int | None = None, seed: int = 0, **options) -> torch.Tensor:
    count = torch.as_tensor(count)
    return SpanMask(**options).draw(count, t or int(count.max()), Rng(generator(seed, "spans")))


def same(t: int, rows: int = 4000) -> torch.Tensor:
    return torch.full((rows,), t)


def published(t: int, rows: int = 3000, *, share: float = 0.8, length: int = 10) -> np.ndarray:
    """What a loop over rows, spans and frames hides, in rows of more than two spans."""
    random, found = np.random.default_rng(0), np.zeros((rows, t), dtype=bool)
    for row in found:
        spans = max(2, int(share * t / length + random.random()))
        for start in random.choice(t - length, spans, replace=False):
            row[start : start + length] = True
    return found


@pytest.mark.parametrize(("t", "spread"), [(249, 4.4), (500, 3.1), (781, 2.5)])
def test_57_percent_are_hidden(t, spread):
    share = draw(same(t)).double().mean(dim=1)
    assert float(share.mean()) == pytest.approx(0.5675, abs=0.004)
    assert 100 * float(share.std()) == pytest.approx(spread, rel=0.05)


@pytest.mark.parametrize("t", [21, 49, 249])
def test_a_frame_is_hidden_as_often_as_in_a_loop(t):
    ours, theirs = draw(same(t)).double(), published(t)
    for a, b in zip(ours.mean(dim=0).tolist(), theirs.mean(axis=0).tolist()):
        assert abs(a - b) < 4.5 * (b * (1 - b) * (1 / 4000 + 1 / 3000)) ** 0.5 + 1e-9
    share, other = ours.mean(dim=1), theirs.mean(axis=1)
    error = (float(share.var()) / 4000 + other.var() / 3000) ** 0.5
    assert abs(float(share.mean()) - other.mean()) < 4.5 * error
    assert float(share.std()) == pytest.approx(other.std(), rel=0.08)


def test_the_number_of_spans_is_rounded_up_or_down_at_random():
    """int(mask_prob * size / mask_length + rand); spans of one frame can be counted."""
    hidden = draw(same(63), length=1, share=0.3).sum(dim=1)  # 18.9
    assert set(hidden.tolist()) == {18, 19}
    assert near(float((hidden == 19).float().mean()), 4000, 0.9)


def test_starts_differ():
    """Without replacement: as many spans as there are places fill all of them."""
    assert (draw(same(30, 100), length=1, share=1.0).sum(dim=1) == 29).all()


def test_there_are_two_spans_at_least():
    assert (draw(same(40), length=1, share=0.01).sum(dim=1) == 2).all()
    hidden = draw(same(400), length=10, share=0.01).sum(dim=1)
    assert hidden.max() == 20
    assert hidden.min() >= 11


def test_starts_are_uniform_and_the_last_frame_is_seen():
    """From [0, T - length): the first frame is hidden only by the first start."""
    hidden = draw(same(100, 20_000)).double().mean(dim=0)
    assert near(float(hidden[0]), 20_000, 8 / 90)
    assert near(float(hidden[98]), 20_000, 8 / 90)
    assert hidden[99] == 0


@pytest.mark.parametrize("length", [1, 4, 10])
def test_hidden_frames_come_in_spans(length):
    for row in draw(same(80, 300), length=length).tolist():
        runs = "".join("x" if hidden else " " for hidden in row).split()
        assert min(map(len, runs)) >= length


def test_short_rows_hide_something_and_show_something():
    count = torch.arange(2, 40).repeat(300)
    hidden = draw(count).sum(dim=1)
    assert (hidden >= 1).all()
    assert (hidden < count).all()
    # half of the row at least
    assert (hidden >= torch.minimum(count // 2, torch.tensor(10))).all()
    assert not draw(torch.tensor([1, 0]), t=5).any()
    # spans of 5 in a row of 10: two that overlap but for one frame, up to all but the last frame
    ten = draw(same(10)).sum(dim=1)
    assert (int(ten.min()), int(ten.max())) == (6, 9)


def test_spans_stay_inside_their_row():
    count = torch.arange(12, 72).repeat(50)
    mask = draw(count, t=100)
    assert not mask[torch.arange(100) >= (count - 1)[:, None]].any()
    # and hide as much as without padding
    share = (mask.sum(dim=1) / count)[count == 49]
    assert float(share.mean()) == pytest.approx(0.578, abs=0.06)
    every = draw(torch.full((4000,), 49), t=200).sum(dim=1) / 49
    assert float(every.mean()) == pytest.approx(0.578, abs=0.01)


def test_no_row_depends_on_another():
    a, b = draw([90, 40, 60], t=90), draw([90, 70, 13], t=90)
    assert torch.equal(a[0], b[0])
    assert not torch.equal(a[1], b[1])


@pytest.mark.parametrize("options", [{}, {"length": 3}, {"share": 1.0}, {"share": 0.1}])
def test_all_hidden_frames_have_a_place(options):
    spans = SpanMask(**options)
    for t in (1, 2, 3, 7, 19, 20, 21, 50, 125):
        k = spans.max_masked(t)
        assert 1 <= k <= max(1, t - 1)
        assert draw(torch.arange(t + 1).repeat(200), t=t, **options).sum(dim=1).max() <= k
    # a full batch wastes few: at 5 s, 200 places for 142 hidden frames
    assert SpanMask().max_masked(249) == 200


def test_the_view_lists_the_hidden_frames_and_their_units():
    batch = speech_cases.tones()
    view = SpanMask().mask_frames(batch, Rng(generator(0)))
    k = SpanMask().max_masked(speech_cases.WIDEST)
    assert view.where.shape == view.chosen.shape == view.target.shape == (16, k)
    for i in range(16):
        assert len(set(view.where[i].tolist())) == k
        listed = view.where[i][view.chosen[i]]
        assert listed.tolist() == view.mask[i].nonzero()[:, 0].tolist()
        assert torch.equal(view.target[i][view.chosen[i]], batch.units[i, listed])
    assert (view.target[~view.chosen] == 0).all()
    assert all(a is b for a, b in zip(view.batch, batch))


def test_a_frame_is_real_if_all_its_samples_are():
    extent = torch.tensor([0, 79, 399, 400, 719, 720, 16_000, 190_800])
    batch = AudioBatch(torch.zeros(8, 190_800), torch.arange(8), extent)
    assert count_valid_frames(batch).tolist() == [0, 0, 0, 1, 1, 2, 49, 596]
    assert count_valid_frames(batch).tolist() == [count_frames(n) for n in extent.tolist()]
    assert count_valid_frames(batch._replace(extent=None)).tolist() == [596] * 8
