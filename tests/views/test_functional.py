"""Views, targets and probes as functions of plain tensors, without a run folder."""

import pytest
import torch

import selfwise
from selfwise import targets, views


def test_a_mask_of_tokens_is_bert_s():
    ids = torch.arange(10, 74).repeat(400, 1)
    view = views.mask_tokens(ids, mask=4, vocab_size=1000, special=(0, 1, 10), seed=3)
    assert view.where.shape == view.target.shape == view.chosen.shape == (400, 10)  # 15 % of 64
    assert torch.equal(view.target, ids.gather(1, view.where))
    assert view.chosen.all()
    assert not (view.target == 10).any()  # special
    seen = view.batch.ids.gather(1, view.where)
    share_masked = (seen == 4).float().mean()
    share_same = (seen == view.target).float().mean()
    assert share_masked == pytest.approx(0.8, abs=0.03)
    assert share_same == pytest.approx(0.1, abs=0.03)
    rest = torch.ones_like(ids, dtype=torch.bool).scatter(1, view.where, False)
    assert torch.equal(view.batch.ids[rest], ids[rest])


def test_draws_of_masks_are_functions_of_the_seed():
    ids = torch.arange(10, 74).repeat(4, 1)
    one, two, other = (
        views.mask_tokens(ids, mask=4, vocab_size=99, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(one.batch.ids, two.batch.ids)
    assert not torch.equal(one.batch.ids, other.batch.ids)


def test_padding_is_never_masked():
    ids, valid = torch.full((50, 20), 7), torch.arange(20).expand(50, 20) < 8
    view = views.mask_tokens(ids, mask=4, vocab_size=99, valid=valid, share=0.5, seed=0)
    assert (view.chosen.sum(dim=1) == 4).all()
    assert valid.gather(1, view.where)[view.chosen].all()
    with pytest.raises(ValueError, match="share must be above 0 and below 1, got 1"):
        views.mask_tokens(ids, mask=4, vocab_size=99, share=1.0)


def test_masked_spans_of_frames():
    waves, ids = torch.zeros(6, 32_000), torch.arange(99).expand(6, 99)
    view = views.mask_spans(waves, ids, seed=0)
    assert torch.equal(view.target[view.chosen], ids.gather(1, view.where)[view.chosen])
    assert torch.equal(view.mask.sum(dim=1), view.chosen.sum(dim=1))
    assert float(view.mask.float().mean()) == pytest.approx(0.57, abs=0.08)
    with pytest.raises(ValueError, match="32000 samples have 99 frames, got 100 targets"):
        views.mask_spans(waves, torch.zeros(6, 100, dtype=torch.long))


def test_k_means_finds_clusters_that_lie_apart():
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = centres.repeat_interleave(30, dim=0) + 0.1 * torch.randn(
        90, 2, generator=torch.Generator().manual_seed(0)
    )
    found = targets.fit_kmeans(points, 3, seed=0)
    groups = found.ids.reshape(3, 30)
    assert (groups == groups[:, :1]).all()
    assert len(groups[:, 0].unique()) == 3
    assert torch.equal(found.ids, targets.assign_clusters(points, found.centres))


def test_parts_are_found_by_tab():
    for part, names in {
        "views": ["mask_spans", "mask_tokens", "simclr"],
        "encoders": ["build_image_encoder", "build_speech_encoder", "build_text_encoder"],
        "probes": ["fit_linear", "measure_retrieval", "predict_knn"],
        "targets": ["fit_kmeans", "compute_mfcc"],
        "losses": ["nt_xent", "triplet_loss"],
        "testing": ["check_method"],
    }.items():
        module = getattr(selfwise, part)
        assert part in dir(selfwise)
        for name in names:
            assert name in dir(module)
            assert callable(getattr(module, name))
    with pytest.raises(AttributeError, match="no attribute 'build_video_encoder'"):
        selfwise.encoders.build_video_encoder  # noqa: B018
