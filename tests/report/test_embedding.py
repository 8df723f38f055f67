"""The map and the neighbours: what lies together is alike, and the same again."""

import numpy as np
import pytest

from selfwise.modalities.reading_options import ReadingOptions
from selfwise.report.page.parts import Map, Strip
from selfwise.report.sections import embedding
from selfwise.report.sections.embedding import build_sections, find_nearest, project_tsne
from selfwise.runs.open import load


def directions(seed: int = 0, each: int = 20) -> np.ndarray:
    """Unit vectors around three axes."""
    random = np.random.default_rng(seed)
    made = np.repeat(np.eye(3, 8), each, axis=0) + 0.1 * random.standard_normal((3 * each, 8))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def run(home):
    return load(home / "run")


@pytest.fixture(scope="module")
def examples(run):
    return run.modality.open_examples(run, str(run.folder.parent / "photos"), ReadingOptions())


def test_what_is_alike_lies_together():
    points = project_tsne(directions(), seed=0)
    assert points.min() == 0
    assert points.max() == 1
    middles = points.reshape(3, 20, 2).mean(axis=1)
    spread = np.linalg.norm(points.reshape(3, 20, 2) - middles[:, None], axis=2).mean()
    between = np.linalg.norm(middles[:, None] - middles[None], axis=2)[np.triu_indices(3, 1)].min()
    assert between > 4 * spread
    assert (project_tsne(directions(), seed=0) == points).all()


def test_the_nearest_are_of_the_highest_cosine_and_others():
    vectors = directions()
    found, cosines = find_nearest(vectors, np.array([0, 25]), 5)
    for row, others, told in zip([0, 25], found, cosines):
        by_hand = vectors @ vectors[row]
        by_hand[row] = -2
        assert set(others) == set(np.argsort(-by_hand)[:5])
        assert told == pytest.approx(np.sort(by_hand)[::-1][:5])
    same = np.tile(np.eye(1, 8, dtype=np.float32), (4, 1))
    assert find_nearest(same, np.array([1]), 3)[0].tolist() == [[0, 2, 3]]


def test_pictures_names_and_classes_belong_together(run, examples):
    mapped, near = build_sections(run, examples, seed=0)
    points = next(part for part in mapped.parts if isinstance(part, Map))
    assert len(points.points) == len(points.names) == len(points.pictures) == len(points.groups)
    assert sorted(points.names) == sorted(examples.ids)
    for name, group, shown in zip(points.names, points.groups, points.pictures):
        assert name.startswith(f"{group}/")
        assert shown.alt == f"{name}, {group}"
    strips = [part for part in near.parts if isinstance(part, Strip)]
    assert len(strips) == embedding.NUM_QUERIES
    assert all(len(s.pictures) == embedding.NUM_NEAREST + 1 and s.lead == 1 for s in strips)
    for strip in strips:
        asked, *others = [picture.alt for picture in strip.pictures]
        assert asked not in others
        cosines = [float(p.caption.split("\n")[0].split(" · ")[-1]) for p in strip.pictures[1:]]
        assert cosines == sorted(cosines, reverse=True)


@pytest.mark.run
def test_the_share_of_neighbours_of_the_same_class_is_beside_chance(run, examples):
    about = build_sections(run, examples, seed=0)[0].about
    assert "The encoder never saw the classes." in about
    assert "(by chance 31 %)" in about  # 11 of 35 others


def test_large_data_are_drawn_from(run, examples, monkeypatch):
    monkeypatch.setattr(embedding, "MAX_EXAMPLES", 20)
    first, second = (build_sections(run, examples, seed=seed)[0].parts[0].names for seed in (0, 1))
    assert len(first) == len(second) == 20
    assert first != second


def test_what_cannot_be_drawn_is_said(run, examples, monkeypatch):
    few = build_sections(run, examples.take(np.arange(5)), seed=0)
    assert few[0].about == "The data have 5 examples; a map needs at least 12."
    for filled, words in ((1.0, "it has collapsed"), (np.nan, "not finite numbers")):
        same = np.full((len(examples), 8), filled, dtype=np.float32)
        told = lambda *a, same=same, **k: lambda encoder, some: same  # noqa: E731
        monkeypatch.setattr(type(run), "modality", Fixed(run.modality, told))
        found = build_sections(run, examples, seed=0)
        monkeypatch.undo()
        assert len(found) == 1
        assert words in found[0].about
        assert not found[0].parts


class Fixed:
    """A modality whose features are others."""

    def __init__(self, modality, make_embed):
        self.modality, self.make_embed = modality, make_embed

    def __getattr__(self, name):
        return getattr(self.modality, name)
