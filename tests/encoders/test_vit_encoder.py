"""BEiT's vision transformer, one test for each sentence of the paper and its code."""

from dataclasses import asdict
from math import sqrt

import pytest
import torch

from selfwise.core.rng import generator
from selfwise.core.types import PatchEncoder
from selfwise.encoders import beit as beit_encoders
from selfwise.interop.huggingface.beit import to_hf
from selfwise.nn.patch_transformer import PatchBlock
from selfwise.nn.relative_position import RelativeBias, count_table_entries, relative_position_index
from tests.helpers.vit_cases import images, randomise

SMALL = {"depth": 3, "dim": 32, "heads": 4, "patch": 8}


def small(**options) -> beit_encoders.ViT:
    told = {"in_channels": 3, "size": 32, **SMALL, **options}
    encoder = beit_encoders.build_beit_encoder("beit-tiny", **told)
    randomise(encoder)
    return encoder.eval()


def places(b: int = 3, k: int = 5, n: int = 16) -> torch.Tensor:
    return torch.rand(b, n, generator=generator(2, "where")).argsort(dim=1)[:, :k]


@pytest.mark.parametrize("size", ["base", "large"])
def test_base_and_large_are_those_of_the_paper(size):
    import transformers

    depth, dim, heads, scale = {"base": (12, 768, 12, 0.1), "large": (24, 1024, 16, 1e-5)}[size]
    config = transformers.BeitConfig(
        hidden_size=dim, num_hidden_layers=depth, num_attention_heads=heads,
        intermediate_size=4 * dim, use_mask_token=True, use_shared_relative_position_bias=True,
    )  # fmt: skip
    with torch.device("meta"):
        model = transformers.BeitForMaskedImageModeling(config)
        ours = beit_encoders.ViT(f"beit-{size}", in_channels=3, size=224)
    count = sum(p.numel() for n, p in model.named_parameters() if not n.startswith("lm_head"))
    assert sum(p.numel() for p in ours.parameters()) == count - dim  # theirs has the mask token
    shape = ours.shape
    assert (shape.patch, shape.layer_scale, shape.drop_path, shape.eps) == (16, scale, 0.1, 1e-6)
    assert (shape.shared_bias, shape.absolute, ours.position) == (True, False, None)
    assert ours.grid == (14, 14)
    assert ours.bias.table.shape == (27 * 27 + 3, heads)


def test_patches_have_4_px_in_small_images_and_16_in_others():
    for size, patch in ((32, 4), (64, 4), (80, 16), (224, 16)):
        encoder = beit_encoders.build_beit_encoder("beit-tiny", in_channels=1, size=size)
        assert (encoder.shape.patch, encoder.grid) == (patch, (size // patch,) * 2)
    mini = beit_encoders.build_beit_encoder("beit-mini", in_channels=3, size=32).shape
    assert (mini.dim, mini.heads, mini.depth, mini.patch) == (192, 3, 6, 4)


@pytest.mark.parametrize("grid", [(3, 3), (2, 4)])
def test_pairs_at_the_same_distance_share_an_entry_and_the_class_token_has_three(grid):
    found, (rows, columns) = relative_position_index(*grid), grid
    n, seen = rows * columns, {}
    assert found.shape == (n + 1, n + 1)
    for i in range(n + 1):
        for j in range(n + 1):
            if 0 in (i, j):
                key = ("class", i > 0, j > 0)
            else:
                (a, b), (c, d) = divmod(i - 1, columns), divmod(j - 1, columns)
                key = (a - c, b - d)
            assert seen.setdefault(key, int(found[i, j])) == found[i, j]
    assert sorted(seen.values()) == list(range(count_table_entries(*grid)))
    # in the order of the code: class to patch, patch to class, class to class
    last = count_table_entries(*grid) - 1
    assert (found[0, 1], found[1, 0], found[0, 0]) == (last - 2, last - 1, last)


def test_the_bias_is_added_to_the_scores_of_every_head():
    bias = RelativeBias((2, 2), 3)
    with torch.no_grad():
        bias.table.copy_(torch.arange(bias.table.numel()).view_as(bias.table))
    found = bias()[0]
    for head in range(3):
        for i in range(5):
            for j in range(5):
                assert found[head, i, j] == bias.table[relative_position_index(2, 2)[i, j], head]


@pytest.mark.parametrize("shared", [True, False])
def test_a_shared_table_is_looked_up_once(shared, monkeypatch):
    calls, encoder, forward = [], small(shared_bias=shared), RelativeBias.forward
    monkeypatch.setattr(RelativeBias, "forward", lambda *a: calls.append(1) or forward(*a))
    encoder(images())
    encoder.forward_at(encoder.embed(images()), places())
    assert len(calls) == 2 * (1 if shared else 3)


def test_order_is_known_from_the_bias_alone():
    encoder = small()
    tokens = encoder.embed(images())
    order = torch.randperm(16, generator=generator(0, "order"))
    with torch.no_grad():
        there, moved = encoder.trunk(tokens).tokens, encoder.trunk(tokens[:, order]).tokens
        assert (there[:, order] - moved).abs().max() > 0.1
        encoder.bias.table.zero_()
        there, moved = encoder.trunk(tokens).tokens, encoder.trunk(tokens[:, order]).tokens
    torch.testing.assert_close(there[:, order], moved)


def test_gray_is_zero_and_pooled_is_the_mean_of_the_patches():
    encoder, x = small(), images()
    gray = encoder.embed(torch.full_like(x, 0.5))
    assert torch.equal(gray, encoder.patches.bias.expand_as(gray))
    found = encoder(x)
    assert (found.tokens.shape, found.grid) == ((3, 16, 32), (4, 4))
    torch.testing.assert_close(found.pooled, found.tokens.mean(dim=1))
    black, white = (encoder.embed(torch.full_like(x, v))[0, 0] for v in (0.0, 1.0))
    torch.testing.assert_close((black + white) / 2, encoder.patches.bias, atol=1e-5, rtol=0)


def test_patches_are_in_raster_order():
    encoder, x = small(), images()
    before = encoder.embed(x)
    x[:, :, 8:16, 24:32] = 0.25  # the second row, the last column
    changed = (encoder.embed(x) != before).any(dim=(0, 2))
    assert changed.nonzero().flatten().tolist() == [7]


@pytest.mark.parametrize("options", [{}, {"shared_bias": False}, {"relative": False},
                                     {"norm": "pooled"}, {"absolute": True}])  # fmt: skip
def test_reading_some_patches_is_reading_all_of_them(options):
    encoder, where = small(**options), places()
    grads = []
    for some in (True, False):
        encoder.zero_grad()
        tokens = encoder.embed(images())
        if some:
            found = encoder.forward_at(tokens, where)
        else:
            found = encoder.trunk(tokens).tokens
            found = found.gather(1, where[..., None].expand(-1, -1, 32))
        grads.append([found, *torch.autograd.grad(found.square().sum(), encoder.parameters(),
                                                  allow_unused=True)])  # fmt: skip
    for a, b in zip(*grads):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert grads[0][0].std() > 0.3


@pytest.mark.parametrize("norm", ["tokens", "pooled"])
def test_every_block_is_shown_and_the_last_is_the_output(norm):
    encoder, x = small(norm=norm), images()
    with torch.no_grad():
        found, output, layers = encoder.hidden(x), encoder(x), encoder.layers(x)
    assert len(found) == 3
    assert torch.equal(found[-1].tokens, output.tokens)
    assert torch.equal(found[-1].pooled, output.pooled)
    for part, layer in zip(found[:-1], layers[1:]):
        assert torch.equal(part.tokens, layer[:, 1:])
        torch.testing.assert_close(part.pooled, layer[:, 1:].mean(dim=1))
    deviation = (output.tokens if norm == "tokens" else output.pooled).std()
    assert 0.5 < deviation < 2


def test_the_initialisation_is_cut_at_one_deviation_and_falls_with_depth():
    encoder = beit_encoders.build_beit_encoder("beit-small", in_channels=3, size=32, depth=4)
    for name, p in encoder.named_parameters():
        if "scale" in name:
            assert (p == 0.1).all(), name
        elif p.ndim == 1:
            assert (p == float("norm" in name and "weight" in name)).all(), name
        elif "table" in name:
            assert not p.any()
        else:
            limit = 0.02
            if name.endswith(("attention.out.weight", "mlp.down.weight")):
                limit /= sqrt(2 * (int(name.split(".")[1]) + 1))
            assert 0.97 * limit < p.abs().max() <= limit * (1 + 1e-6), name
            # a normal that is cut at one deviation has 0.54 of it left
            assert 0.5 < p.std() / limit < 0.58, name
    assert not any("k_bias" in name or "qkv.bias" in name for name, _ in encoder.named_parameters())


def test_large_starts_with_a_smaller_layer_scale():
    with torch.device("meta"):
        large = beit_encoders.ViT("beit-large", in_channels=3, size=224)
    assert large.shape.layer_scale == 1e-5


def test_images_skip_parts_at_a_rate_that_grows_with_depth():
    encoder = small(drop_path=0.4, depth=5)
    rates = [block.drop_path for block in encoder.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    block: PatchBlock = encoder.blocks[-1].train()
    x = torch.ones(4000, 2, 32)
    torch.manual_seed(0)
    found = block._scale_and_drop(x, None)
    assert found.unique().tolist() == pytest.approx([0.0, 1 / 0.6])
    assert (found == found[:, :1, :1]).all()  # the image as a whole
    assert (found[:, 0, 0] == 0).float().mean() == pytest.approx(0.4, abs=0.03)
    torch.manual_seed(0)
    assert torch.equal(found, block._scale_and_drop(x, None))
    assert torch.equal(block.eval()._scale_and_drop(x, None), x)


def test_weights_are_a_function_of_the_seed_alone():
    state = torch.random.get_rng_state()
    a, b, c = (
        beit_encoders.build_beit_encoder("beit-tiny", in_channels=3, size=32, seed=s)
        for s in (0, 0, 1)
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    for (name, p), q, r in zip(a.named_parameters(), b.parameters(), c.parameters()):
        assert torch.equal(p, q)
        assert p.unique().numel() < 3 or not torch.equal(p, r), name


def test_gradients_reach_everything_and_are_the_same_twice():
    encoder, found = small().train(), []
    for threads in (2, 2):
        torch.set_num_threads(threads)
        encoder.zero_grad()
        encoder.forward_at(encoder.embed(images(16)), places(16)).square().sum().backward()
        found.append([p.grad.clone() for p in encoder.parameters()])
    assert all(g.abs().max() > 0 for g in found[0])
    assert all(torch.equal(a, b) for a, b in zip(*found))


def test_half_precision_is_close():
    encoder, x = small(), images()
    with torch.no_grad():
        full = encoder(x)
        with torch.autocast("cpu", torch.bfloat16):
            half = encoder(x)
    assert (half.pooled - full.pooled).abs().max() < 0.05
    with torch.autocast("cpu", torch.bfloat16):
        encoder.forward_at(encoder.embed(x), places()).float().square().sum().backward()
    assert torch.isfinite(encoder.bias.table.grad).all()


def test_it_is_an_encoder_of_patches():
    assert isinstance(small(), PatchEncoder)
    assert beit_encoders.list_beit_encoders() == [
        f"beit-{s}" for s in ("tiny", "mini", "small", "base", "large")
    ]


def test_an_encoder_alone_is_a_beit_model():
    encoder = small()
    told = {"size": 32, "channels": 3}
    config, weights = to_hf(asdict(encoder.shape), encoder.state_dict(), {}, **told)
    assert config["architectures"] == ["BeitModel"]
    assert not any(name.startswith("beit.") for name in weights)
    assert len(weights) == len(encoder.state_dict()) + 2 * 3  # queries, keys, values


ERRORS = [
    ("beit-minni", {}, "unknown vision transformer 'beit-minni'; did you mean 'beit-mini'?"),
    ("beit-tiny", {"size": 30}, "patches of 4 px, which do not divide images of 30 px; the "
                                "nearest size is 32"),
    ("beit-tiny", {"size": 226}, "the nearest size is 224"),
    ("beit-tiny", {"size": 12, "patch": 16}, "larger than images of 12 px"),
    ("beit-tiny", {"size": 224, "patch": 0}, "patch must be at least 1"),
    ("beit-tiny", {"layerscale": 0.1}, "no option 'layerscale'; did you mean 'layer_scale'?"),
    ("beit-tiny", {"drop_path": 1.0}, "drop_path must be at least 0 and below 1"),
    ("beit-tiny", {"heads": 5}, "5 heads do not divide its width of 64"),
    ("beit-tiny", {"norm": "poold"}, "unknown norm 'poold'; did you mean 'pooled'?"),
    ("beit-tiny", {"depth": "six"}, "depth must be a whole number, not 'six'"),
    ("beit-tiny", {"eps": 0.0}, "eps must be above 0"),
    ("beit-tiny", {"layer_scale": -1.0}, "layer_scale must be at least 0, not -1.0"),
    ("beit-tiny", {"in_channels": 4}, "images of 1 or 3 channels, not 4"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "message"), ERRORS)
def test_mistakes_get_one_sentence(name, options, message):
    with pytest.raises(ValueError, match="beit-") as error:
        beit_encoders.build_beit_encoder(name, **{"in_channels": 3, "size": 32, **options})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_images_of_another_size_get_one_sentence():
    with pytest.raises(ValueError, match=r"built for images of \(3, 32, 32\), not \(3, 40, 40\)"):
        small()(images(size=40))
