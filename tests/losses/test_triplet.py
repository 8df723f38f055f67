"""The triplet loss by hand, and against torch's."""

from inspect import unwrap

import pytest
import torch

from selfwise.losses.triplet import triplet_loss
from tests.losses.test_contrastive import embeddings


def test_triplet_by_hand():
    anchor = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
    positive = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    negative = torch.tensor([[0.0, 2.0], [1.0, 1.3], [0.0, 2.0]])
    # squared distances: (1, 4), (0, 0.09), (4, 0); margin 0.2
    expected = (0 + 0.11 + 4.2) / 3
    assert triplet_loss(anchor, positive, negative).item() == pytest.approx(expected, rel=1e-5)
    torch_loss = torch.nn.TripletMarginWithDistanceLoss(
        distance_function=lambda x, y: (x - y).square().sum(1), margin=0.7
    )
    a, p = embeddings(20, 5)
    n, _ = embeddings(20, 5, seed=1)
    torch.testing.assert_close(triplet_loss(a, p, n, 0.7), torch_loss(a, p, n))


@pytest.mark.parametrize("margin", [0.0, -0.1])
def test_triplet_refuses_a_margin_of_zero(margin):
    a, p = embeddings(2, 2)
    with pytest.raises(ValueError, match="margin must be above 0"):
        triplet_loss(a, p, p, margin)


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_triplet_refuses_shapes_that_would_broadcast(wrong):
    three = [torch.ones(5, 4)] * 3
    three[wrong] = torch.ones(1, 4)
    with pytest.raises(ValueError, match=r"must have one shape \(n, d\), got anchor") as error:
        unwrap(triplet_loss)(*three)
    assert "(1, 4)" in str(error.value)
