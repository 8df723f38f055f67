"""Intervals of shares are those of the papers, and of scipy."""

import pytest
from scipy.stats import binomtest

from selfwise.evaluation.scores.proportions import compare_shares, wilson_interval


@pytest.mark.parametrize(("right", "n"), [(0, 7), (7, 7), (13, 40), (490, 500), (1, 100_000)])
def test_wilson_is_that_of_scipy(right, n):
    expected = binomtest(right, n).proportion_ci(method="wilson")
    assert wilson_interval(right / n, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [  # Newcombe 1998, Statistics in Medicine 17, table II, method 10; m and n are equal in these
        ((9, 10), (3, 10), (0.1705, 0.8090)),
        ((10, 10), (0, 10), (0.6075, 1.0000)),
    ],
)
def test_differences_are_those_of_the_paper(a, b, expected):
    got = compare_shares(a[0] / a[1], b[0] / b[1], n=a[1])
    assert got == pytest.approx(expected, abs=5e-5)


def test_a_difference_has_the_sign_of_its_order():
    low, high = compare_shares(0.9, 0.7, n=500)
    assert compare_shares(0.7, 0.9, n=500) == pytest.approx((-high, -low))
    assert low > 0


@pytest.mark.parametrize(("share", "n"), [(0.5, 0), (1.1, 10), (-0.1, 10)])
def test_what_is_no_share_is_refused(share, n):
    with pytest.raises(ValueError, match="needs a fraction from 0 to 1"):
        wilson_interval(share, n)
