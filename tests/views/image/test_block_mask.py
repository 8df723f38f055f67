"""Block-wise masks, against the loop of the BEiT paper (arXiv:2106.08254, algorithm 1)."""

import math
import random

import numpy as np
import pytest
import torch

from selfwise.core.rng import Rng, generator
from selfwise.views.image import block_mask
from selfwise.views.image.block_mask import check_block_grid, count_masked_patches, draw_block_masks

PAPER = (14, 14)


def by_loop(chance, *, grid, target, least) -> tuple[np.ndarray, int]:
    """One image at a time: the mask, and how many blocks it is made of."""
    mask, blocks_placed = np.zeros(grid, bool), 0
    while (left := target - mask.sum()) > 0:
        for _ in range(10):
            area = chance.uniform(least, left)
            aspect = math.exp(chance.uniform(math.log(0.3), math.log(1 / 0.3)))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if h >= grid[0] or w >= grid[1]:
                continue
            top, start = chance.randint(0, grid[0] - h), chance.randint(0, grid[1] - w)
            block = mask[top : top + h, start : start + w]
            if 0 < block.size - block.sum() <= left:
                block[:] = True
                blocks_placed += 1
                break
        else:
            break
    return mask, blocks_placed


def drawn(n: int, grid=PAPER, seed: int = 0, **options):
    return draw_block_masks(n, grid, Rng(generator(seed, "masks")), **options)


@pytest.fixture(scope="module")
def many():
    return drawn(8000).covered


def test_the_statistics_of_the_authors_code(many):
    """Measured on it: 74.5 of 196 on average, exactly 75 in about 68 %, 66 or a little less."""
    count = many.sum(dim=1)
    assert float(count.float().mean()) == pytest.approx(74.48, abs=0.06)
    assert float((count == 75).float().mean()) == pytest.approx(0.67, abs=0.025)
    assert 60 <= int(count.min()) <= 68
    assert int(count.max()) == 75


def test_every_patch_is_hidden_as_often_as_by_the_loop(many):
    chance = random.Random(0)
    loop = np.mean([by_loop(chance, grid=PAPER, target=75, least=16)[0] for _ in range(3000)], 0)
    ours = many.float().mean(dim=0).view(PAPER).numpy()
    assert np.abs(ours - loop).max() < 0.045  # 4.5 standard deviations of the loop's
    assert ours[0, 0] < 0.06  # blocks leave corners alone
    assert ours[6, 6] > 0.5


def test_neighbours_are_hidden_together_as_often_as_by_the_loop(many):
    """What makes blocks of patches: the edges between what is hidden and what is not are few."""
    chance = random.Random(1)
    loop = np.stack([by_loop(chance, grid=PAPER, target=75, least=16)[0] for _ in range(2000)])
    ours = many.view(-1, *PAPER).numpy()
    edges = [(m[:, 1:] != m[:, :-1]).sum(axis=(1, 2)) for m in (ours, loop)]
    spread = edges[1].std() / math.sqrt(len(loop))
    assert abs(edges[0].mean() - edges[1].mean()) < 5 * spread
    assert edges[0].std() == pytest.approx(edges[1].std(), rel=0.08)


def test_four_blocks_on_average(monkeypatch):
    """4.1 in the authors' code; counted by how often a first fit is found."""
    placed = 0
    first_fit = block_mask._first_fit

    def counting(*given):
        nonlocal placed
        found, block = first_fit(*given)
        placed += int(found.sum())
        return found, block

    monkeypatch.setattr(block_mask, "_first_fit", counting)
    drawn(2000)
    assert placed / 2000 == pytest.approx(4.13, abs=0.1)


def test_the_first_block_is_a_rectangle_of_16_patches_or_more(monkeypatch):
    monkeypatch.setattr(block_mask, "BLOCKS", 1)
    masks = drawn(3000).covered.view(-1, *PAPER)
    down, across = masks.any(dim=2).sum(dim=1), masks.any(dim=1).sum(dim=1)
    assert torch.equal(down * across, masks.sum(dim=(1, 2)))  # nothing missing inside
    # 16 before the sides are rounded: 3 x 4 has 12, of 2.5 x 6.4 there are 2 x 6
    assert 10 <= int((down * across).min()) <= 16
    assert int((down * across).max()) <= 75
    # 0.3 to 1 / 0.3, the sides rounded
    assert float((down / across).min()) > 0.2
    assert float((down / across).max()) < 5
    assert (down > across).float().mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("grid", "target", "least"), [((8, 8), 24, 64 * 16 / 196), ((4, 4), 6, 16 * 16 / 196)]
)
def test_the_same_share_on_other_grids(grid, target, least):
    assert count_masked_patches(grid) == target
    chance = random.Random(0)
    loop = np.stack(
        [by_loop(chance, grid=grid, target=target, least=least)[0] for _ in range(2000)]
    ).sum(axis=(1, 2))
    count = drawn(4000, grid).covered.sum(dim=1)
    assert float(count.float().mean()) == pytest.approx(loop.mean(), abs=0.08)
    assert float((count == target).float().mean()) == pytest.approx(
        (loop == target).mean(), abs=0.04
    )
    assert int(count.max()) == target


def test_where_lists_the_hidden_patches_first():
    found = drawn(300)
    assert found.where.shape == found.chosen.shape == (300, 75)
    for row, where, chosen in zip(found.covered, found.where, found.chosen):
        assert len(set(where.tolist())) == 75
        assert sorted(where[chosen].tolist()) == row.nonzero()[:, 0].tolist()
        assert not row[where[~chosen]].any()


def test_a_slice_of_the_batch_has_the_slice_of_the_masks():
    whole = drawn(32).covered
    part = draw_block_masks(8, PAPER, Rng(generator(0, "masks"), slice(16, 24), 32)).covered
    assert torch.equal(part, whole[16:24])


def test_images_have_masks_of_their_own():
    masks = drawn(64).covered
    assert len({tuple(row) for row in masks.tolist()}) == 64
    assert not torch.equal(masks, drawn(64, seed=1).covered)


@pytest.mark.parametrize(("grid", "words"), [((1, 1), "1 x 1"), ((1, 8), "2 x 2 patches")])
def test_what_cannot_be_masked_is_named(grid, words):
    with pytest.raises(ValueError, match=words):
        check_block_grid(grid)
    check_block_grid((2, 2))
