"""Strided convolutions on maps of a pixel or two: the numbers and gradients of float32."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from selfwise.core.rng import generator
from selfwise.encoders import image as image_encoders
from selfwise.nn import strided_conv
from selfwise.nn.channels_last import supports_channels_last
from selfwise.nn.strided_conv import SmallMapConv2d, guard_small_maps

SIZES = [(1, 1), (4, 1), (1, 4), (2, 2), (5, 3)]


def convolution(stride: int, **options) -> nn.Conv2d:
    made = nn.Sequential(nn.Conv2d(16, 16, 3, stride, padding=1, **options))
    guard_small_maps(made)
    return made[0]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stride", [2, 3])
def test_the_gradient_in_bf16_is_that_of_float32(size, stride):
    conv, x = convolution(stride), torch.randn(64, 16, *size, generator=generator(0, "maps"))
    for _ in range(8):
        conv.zero_grad()
        unwritten = torch.full((16 * 16 * 9 * 4,), torch.nan)
        del unwritten  # what the memory holds that the kernel would have read
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = conv(x)
        found.float().square().sum().backward()
        weight = conv.weight.detach().bfloat16().float().requires_grad_()
        bias = conv.bias.detach().bfloat16().float()
        right = F.conv2d(x.bfloat16().float(), weight, bias, stride, 1)
        right.square().sum().backward()
        torch.testing.assert_close(found.float(), right, rtol=0.02, atol=0.02)
        worst = (conv.weight.grad - weight.grad).abs().max()
        assert worst < 0.03 * weight.grad.abs().max()  # a NaN is not less


@pytest.mark.parametrize("size", SIZES)
def test_it_is_the_same_convolution(size):
    x = torch.randn(2, 16, *size, generator=generator(0, "maps"))
    conv = convolution(2, groups=4, bias=False)
    torch.testing.assert_close(conv(x), F.conv2d(x, conv.weight, None, 2, 1, 1, 4))


def test_strided_convolutions_alone_are_guarded_in_every_timm_model():
    encoder = image_encoders.build_image_encoder(
        "resnet18", in_channels=3, size=32, stem="half", layers=[1, 1, 1, 1]
    )
    strided = [m for m in encoder.modules() if isinstance(m, nn.Conv2d) and m.stride != (1, 1)]
    # those without padding, the 1 x 1 of shortcuts, change nothing
    assert len(strided) == 7
    assert all(type(m) is SmallMapConv2d for m in strided)
    others = [m for m in encoder.modules() if isinstance(m, nn.Conv2d) and m.stride == (1, 1)]
    assert others
    assert all(type(m) is nn.Conv2d for m in others)


def test_what_is_not_a_plain_convolution_stays():
    class Own(nn.Conv2d):
        pass

    made = nn.Sequential(
        Own(4, 4, 3, 2, padding=1),
        nn.Conv2d(4, 4, 3, 2, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 4, 3, padding="same"),
    )
    guard_small_maps(made)
    assert [type(part) for part in made] == [Own, nn.Conv2d, nn.Conv2d]


def test_a_strided_point_of_few_channels_keeps_channels_first():
    def takes(**told: int) -> bool:
        made = nn.Conv2d(**{"in_channels": 16, "out_channels": 8, "kernel_size": 1} | told)
        return supports_channels_last(nn.Sequential(nn.Conv2d(3, 16, 3, stride=2), made))

    assert takes(stride=2)
    assert takes(in_channels=4)
    assert takes(in_channels=4, stride=2, kernel_size=3)
    assert not takes(in_channels=4, stride=2)
    assert not takes(in_channels=24, stride=2)
    assert not takes(groups=2)
    assert not supports_channels_last(nn.Linear(2, 2))
    assert not supports_channels_last(nn.ConvTranspose2d(16, 16, 2))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3])
def test_gradients_with_channels_last_are_those_of_channels_first(stride, kernel):
    conv = nn.Conv2d(16, 32, kernel, stride, padding=kernel // 2)
    x = torch.randn(5, 16, 7, 7, generator=generator(0, "maps")).requires_grad_()
    found = []
    for order in (torch.contiguous_format, torch.channels_last):
        conv.to(memory_format=order)
        y = conv(x)
        weight = torch.linspace(-1, 1, y.numel()).view(y.shape)
        found.append((y, *torch.autograd.grad((y * weight).sum(), [x, *conv.parameters()])))
    assert found[1][0].is_contiguous(memory_format=torch.channels_last)
    for first, last in zip(*found):
        torch.testing.assert_close(first, last, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("height", "width", "laid"),
    [(1, 1, True), (1, 5, True), (5, 1, True), (2, 1, True), (2, 2, False), (2, 5, False)],
)
def test_zeros_are_laid_around_maps_narrower_than_the_stride(monkeypatch, height, width, laid):
    """The fault of bf16 needs a processor that shows it; which maps are padded does not."""
    conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
    guard_small_maps(conv)
    seen = []
    original = strided_conv.F.conv2d
    spy = lambda *told: seen.append(told[4]) or original(*told)  # noqa: E731
    monkeypatch.setattr(strided_conv.F, "conv2d", spy)
    conv(torch.zeros(1, 3, height, width))
    assert (seen == [0]) == laid  # no padding is left to the convolution
