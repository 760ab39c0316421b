"""Convolutions of every kernel and stride the nets use, against PyTorch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from hotlap.nets.layers import Conv2d


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (2, 1), (3, 1), (3, 2)])
def test_a_convolution_and_its_gradients_are_pytorchs(kernel, stride, layout):
    generator = torch.Generator().manual_seed(0)
    conv = Conv2d(3, 5, kernel, stride=stride).double()
    conv.reset(generator)
    x = torch.randn(2, 3, 9, 12, generator=generator, dtype=torch.float64)
    x = x.contiguous(memory_format=layout).requires_grad_()
    padded = F.pad(x, (0, 1, 0, 1)) if kernel == 2 else x
    want = F.conv2d(padded, conv.weight, stride=stride, padding=kernel // 2 if kernel % 2 else 0)
    got = conv(x)
    assert got.shape == want.shape == (2, 5, -(-9 // stride), -(-12 // stride))
    upstream = torch.randn(want.shape, generator=generator, dtype=torch.float64)
    pairs = zip(
        (got, *torch.autograd.grad(got, (x, conv.weight), upstream)),
        (want, *torch.autograd.grad(want, (x, conv.weight), upstream)),
        strict=True,
    )
    for a, b in pairs:
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-12)  # float64; sums in another order


def test_few_channels_on_larger_images_do_not_crash():
    """A strided 1x1 convolution of 4 channels, channels-last in float32: PyTorch 2.13's own one crashes."""
    conv = Conv2d(4, 6, 1, stride=2).to(memory_format=torch.channels_last)
    conv.reset(torch.Generator().manual_seed(0))
    x = torch.ones(32, 4, 48, 64).contiguous(memory_format=torch.channels_last).requires_grad_()
    (grad,) = torch.autograd.grad(conv(x).sum(), x)
    assert grad[:, :, 1::2].abs().max() == 0
    assert grad[:, :, ::2, ::2].abs().min() > 0
