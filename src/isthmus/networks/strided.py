"""Strided convolutional encoders with a dense decoder, for images of up to 64 x 64."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from isthmus.networks.dense import dense_decoder

Shape = tuple[int, int, int]  # (channels, height, width)

SMALLEST_SIDE = 4  # strides stop here: the linear layer sees the whole of it


def strided_encoder(
    input_shape: Shape, n_components: int, channels: Sequence[int]
) -> nn.Sequential:
    """Build `(batch, c, h, w) -> (batch, n_components)`.

    A 5x5 convolution, then a 3x3 one for each further entry of `channels`, with stride 2 along
    sides longer than four; then one linear layer to the code, which has no activation. All but the
    first are followed by batch normalisation (Ioffe and Szegedy, 2015): it is as good without, and
    over so many values normalisation takes longer than the convolution.
    """
    layers: list[nn.Module] = []
    before, size = input_shape[0], input_shape[1:]
    for index, after in enumerate(channels):
        stride = (_stride(size[0]), _stride(size[1]))
        if index:
            layers.append(nn.Conv2d(before, after, 3, stride, 1, bias=False))
            layers.append(nn.BatchNorm2d(after))
        else:
            layers.append(nn.Conv2d(before, after, 5, stride, 2))
        layers.append(nn.ReLU())
        before, size = after, (-(-size[0] // stride[0]), -(-size[1] // stride[1]))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * math.prod(size), n_components))


def strided_decoder(input_shape: Shape, n_components: int, channels: Sequence[int]) -> nn.Module:
    """Build `(batch, n_components) -> (batch, c, h, w)`, dense, with one hidden layer.

    That is as wide as the image has values, rounded to a power of two, 128 to 1,024.

    Dense layers make far better use of a CPU than transposed convolutions, and what a decoder
    cannot do, the code need not hold: it is dropped after training.
    """
    del channels  # the other half's
    width = 2 ** round(math.log2(math.prod(input_shape)))
    return dense_decoder(input_shape, n_components, (min(1024, max(128, width)),))


def strided_channels(input_shape: Shape) -> tuple[int, ...]:
    """Choose a stage for each halving of the longer side down to four, two at least.

    Of 32, 64, then 128 channels.
    """
    longest, stages = max(input_shape[1:]), 0
    while longest > SMALLEST_SIDE:
        longest, stages = -(-longest // 2), stages + 1
    return (32, 64, *(128,) * (stages - 2))


def _stride(side: int) -> int:
    return 2 if side > SMALLEST_SIDE else 1
