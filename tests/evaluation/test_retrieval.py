"""Retrieval by hand, by what the paper says, and against a loop in float64."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from selfwise.evaluation.probes.retrieval import KS, MAP, PRECISION, measure_retrieval

NAMES = [*(f"recall@{k}" for k in KS), PRECISION, MAP]


def on_circle(*degrees: float) -> np.ndarray:
    """Unit vectors in the plane, so that a cosine falls with the angle between two."""
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def signs(n: int, classes: int, d: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of 1 and -1, whose cosines are exact and often the same; classes of other sizes."""
    random = np.random.default_rng(seed)
    share = np.arange(1, classes + 1) / np.arange(1, classes + 1).sum()
    y = random.choice(classes, n, p=share)
    return (random.integers(0, 2, (n, d)) * 2 - 1).astype(np.float32), y


def clouds(n: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    y = random.integers(0, classes, n)
    return random.standard_normal((classes, 12))[y] + random.standard_normal((n, 12)), y


def looped(x: np.ndarray, y: np.ndarray, ks=KS) -> dict[str, list[float]]:
    """Query by query and rank by rank; of equally similar examples those of other classes first."""
    found: dict[str, list[float]] = {name: [] for name in [*(f"recall@{k}" for k in ks), *NAMES]}
    x = x.astype(np.float64)
    for q in range(len(y)):
        others = [i for i in range(len(y)) if i != q]
        R = sum(y[i] == y[q] for i in others)
        if not R:
            continue
        cosine = {i: x[i] @ x[q] / np.sqrt((x[i] @ x[i]) * (x[q] @ x[q])) for i in others}
        right = [y[i] == y[q] for i in sorted(others, key=lambda i: (-cosine[i], y[i] == y[q]))]
        for k in ks:
            found[f"recall@{k}"].append(float(any(right[:k])))
        found[PRECISION].append(sum(right[:R]) / R)
        precisions = [sum(right[:i]) / i if right[i - 1] else 0.0 for i in range(1, R + 1)]
        found[MAP].append(sum(precisions) / R)
    return {name: values for name, values in found.items() if values}


def same(found, expected, atol: float = 1e-12) -> None:
    for name, values in expected.items():
        np.testing.assert_allclose(found.values[name], values, rtol=0, atol=atol, err_msg=name)


def test_five_points_by_hand():
    """Neighbours, nearest first: 0: baab, 10: aaab, 25: baab, 45: abba, 81: aaba."""
    found = measure_retrieval(
        on_circle(0, 10, 25, 45, 81), np.array([0, 1, 0, 0, 1]), ks=(1, 2, 3, 4)
    )
    by_hand = {
        "recall@1": [0, 0, 0, 1, 0],
        "recall@2": [1, 0, 1, 1, 0],
        "recall@3": [1, 0, 1, 1, 1],
        "recall@4": [1, 1, 1, 1, 1],
        PRECISION: [0.5, 0, 0.5, 0.5, 0],
        MAP: [0.25, 0, 0.25, 0.5, 0],
    }
    same(found, by_hand)
    assert list(found.values) == list(by_hand)
    assert found.queries.tolist() == [0, 1, 2, 3, 4]
    assert found.left_out == 0
    assert found.mean("recall@2") == 0.6
    assert found.mean(MAP) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("ranks", "precision", "at_r"),
    [
        ([1], 0.1, 0.1),
        ([1, 10], 0.2, 0.12),
        ([1, 2], 0.2, 0.2),
        (range(1, 11), 1.0, 1.0),
        ([11], 0.0, 0.0),
    ],
)
def test_examples_of_the_paper(ranks, precision, at_r):
    """R is 10, and the ten are found at these ranks, the rest of them behind rank 20."""
    right = [rank in ranks or rank > 20 for rank in range(1, 31 - len(ranks))]
    y = np.array([1, *right], dtype=np.int64)
    found = measure_retrieval(on_circle(0, *np.linspace(3, 85, len(right))), y)
    assert (y == 1).sum() == 11
    assert found.values[PRECISION][0] == pytest.approx(precision)
    assert found.values[MAP][0] == pytest.approx(at_r)
    assert found.values["recall@1"][0] == (1 in ranks)


@pytest.mark.parametrize(("n", "classes"), [(150, 4), (90, 30), (60, 2)])
def test_measures_are_those_of_a_loop(n, classes):
    x, y = clouds(n, classes)
    expected = looped(x, y)
    same(measure_retrieval(x, y), expected)
    same(measure_retrieval(x.astype(np.float32), y), expected)  # no two cosines are so near
    assert 0.05 < np.mean(expected[MAP]) < 0.95


@pytest.mark.parametrize("classes", [3, 12])
def test_of_equally_similar_examples_those_of_other_classes_come_first(classes):
    x, y = signs(70, classes)
    same(measure_retrieval(x, y), looped(x, y))


def test_the_order_of_the_examples_decides_nothing():
    x, y = signs(80, 5)
    found, order = measure_retrieval(x, y), np.random.default_rng(1).permutation(80)
    shuffled = measure_retrieval(x[order], y[order])
    back = order.argsort()
    place = {int(q): i for i, q in enumerate(shuffled.queries)}
    rows = [place[int(back[q])] for q in found.queries]
    for name in NAMES:
        assert np.array_equal(shuffled.values[name][rows], found.values[name])


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_features_that_are_all_the_same_find_nothing(value):
    y = np.repeat([0, 1, 2], 10)
    found = measure_retrieval(np.full((30, 4), value, np.float32), y)
    assert all(found.mean(name) == 0 for name in NAMES)


def test_length_does_not_matter():
    x, y = clouds(60, 3)
    scaled = x * np.random.default_rng(0).uniform(0.01, 100, (60, 1))
    same(measure_retrieval(scaled, y), measure_retrieval(x, y).values)


def test_examples_whose_class_has_no_other_are_searched_but_no_queries():
    x, y = on_circle(0, 10, 20, 45, 80), np.array([5, 9, 5, 2, 5])
    found = measure_retrieval(x, y)
    assert found.queries.tolist() == [0, 2, 4]
    assert found.left_out == 2
    assert found.values["recall@1"].tolist() == [0, 0, 0]  # 9 or 2 stands before
    assert found.values["recall@2"].tolist() == [1, 1, 1]
    same(found, looped(x, y))
    alone = measure_retrieval(x[[0, 2, 4, 3]], np.array([5, 5, 5, 2]))
    assert alone.values["recall@1"].tolist() == [1, 1, 0]


@pytest.mark.parametrize("cells", [1, 400, 2000])
def test_parts_do_not_matter(cells, monkeypatch):
    x, y = signs(100, 9)
    whole = measure_retrieval(x, y)
    monkeypatch.setattr("selfwise.evaluation.probes.retrieval.MAX_SIMILARITIES", cells)
    parts = measure_retrieval(x, y)
    assert np.array_equal(parts.queries, whole.queries)
    assert all(np.array_equal(parts.values[name], whole.values[name]) for name in NAMES)


def test_no_more_similarities_than_allowed_are_held(monkeypatch):
    from selfwise.evaluation.probes import retrieval as module

    seen, original = [], module._rank_classmates

    def spy(similarity, own, query, **told):
        seen.append((similarity.numel(), own.shape))
        return original(similarity, own, query, **told)

    monkeypatch.setattr(module, "_rank_classmates", spy)
    monkeypatch.setattr(module, "MAX_SIMILARITIES", 1000)
    x, y = clouds(90, 3)
    y[:30], y[30:] = 99, np.repeat(np.arange(30), 2)  # a class of thirty, and thirty of two
    measure_retrieval(x, y)
    assert max(cells for cells, _ in seen) <= 1000
    assert sum(rows for _, (rows, _) in seen) == 90
    assert [width for _, (_, width) in seen] == [2] * 5 + [30] * 4  # small classes by themselves


def test_bags_of_words_are_searched_as_their_dense_form(monkeypatch):
    random = np.random.default_rng(0)
    words = np.arange(10) < 4  # four of ten, so that every cosine is exact
    bags = np.stack([random.permutation(words) for _ in range(80)]).astype(np.float32)
    bags *= 2.0 ** random.integers(0, 4, (80, 1))  # texts of other lengths
    bags[3] = bags[70] = 0  # no known word: as far from all
    y = random.integers(0, 4, 80)
    expected = measure_retrieval(bags, y)
    monkeypatch.setattr("selfwise.evaluation.probes.retrieval.MAX_SIMILARITIES", 900)
    found = measure_retrieval(csr_matrix(bags), y)
    assert all(np.array_equal(found.values[name], expected.values[name]) for name in NAMES)
    assert found.values["recall@8"][3] == found.values[MAP][70] == 0
    assert 0.01 < found.mean(MAP) < 0.95


def test_more_neighbours_than_there_are():
    x, y = clouds(12, 2)
    found = measure_retrieval(x, y, ks=(1, 11, 500))
    assert found.mean("recall@11") == found.mean("recall@500") == 1
    same(found, {"recall@1": looped(x, y)["recall@1"]})


def test_the_features_and_labels_are_left_as_they_were():
    x, y = clouds(40, 3)
    x = x.astype(np.float32)
    before = x.copy(), y.copy()
    measure_retrieval(x, y)
    assert np.array_equal(x, before[0])
    assert np.array_equal(y, before[1])


def test_wrong_input_is_one_sentence():
    x, y = clouds(20, 2)
    x = x.astype(np.float32)
    for wrong, labels, told, message in (
        (x[:0], y[:0], {}, "needs test examples, and there are none"),
        (
            np.where(x > 2, np.float32("inf"), x),
            y,
            {},
            "test features have values that are not fin",
        ),
        (csr_matrix(np.where(x > 2, np.nan, x)), y, {}, "test features have values that are not f"),
        (x, y * 0, {}, "two classes, .* with two examples; all 20 labels are equal"),
        (x, np.arange(20), {}, "two classes, .* with two examples; all 20 labels are different"),
        (x[:1], y[:1], {}, "with two examples; there is one label"),
        (x, y, {"ks": (1, 0)}, "recall@k needs k >= 1, got 1, 0"),
        (x, y, {"ks": ()}, "recall@k needs k >= 1, got none"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            measure_retrieval(wrong, labels, **told)
        assert len(str(caught.value).splitlines()) == 1
