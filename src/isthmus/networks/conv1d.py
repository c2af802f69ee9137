"""Convolutional encoder and mirrored decoder for windows of time series of any length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

Shape = tuple[int, int]  # (channels, time steps)

LONGEST = 64  # positions that are left after folding, at most
KERNEL = 5  # positions that one convolution sees


class FoldTime(nn.Module):
    """Fold neighbouring time steps into channels: (b, c, t) -> (b, c k, ⌈t/k⌉).

    A length that `k` does not divide is padded with zeros at its end. A convolution then
    works on k times fewer positions with k times more channels, which for series of few
    channels is several times faster and loses nothing. It is to series what
    `conv.SpaceToDepth` is to images.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pad, then fold."""
        missing = -x.shape[-1] % self.steps
        if missing:
            x = functional.pad(x, (0, missing))
        batch, channels, length = x.shape
        x = x.reshape(batch, channels, length // self.steps, self.steps)
        return x.transpose(2, 3).reshape(batch, channels * self.steps, length // self.steps)


class UnfoldTime(nn.Module):
    """Undo `FoldTime`: (b, c k, ⌈t/k⌉) -> (b, c, t)."""

    def __init__(self, steps: int, length: int) -> None:
        super().__init__()
        self.steps, self.length = steps, length

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Unfold, then cut the padding off."""
        batch, channels, length = x.shape
        x = x.reshape(batch, channels // self.steps, self.steps, length).transpose(2, 3)
        return x.reshape(batch, channels // self.steps, -1)[..., : self.length]


def conv1d_encoder(input_shape: Shape, n_components: int, channels: Sequence[int]) -> nn.Sequential:
    """Build `(batch, c, t) -> (batch, n_components)`.

    Time steps are folded into channels, then comes a convolution over five positions for
    each entry of `channels` (from the second on with stride 2 while there are more than
    four positions), then one linear layer to the code, which has no activation.
    """
    steps, lengths = _lengths(input_shape, len(channels))
    layers: list[nn.Module] = [FoldTime(steps)]
    widths = (input_shape[0] * steps, *channels)
    for (before, after), (long, short) in zip(pairwise(widths), pairwise(lengths), strict=True):
        stride = 1 if long == short else 2
        convolution = nn.Conv1d(before, after, KERNEL, stride=stride, padding=KERNEL // 2)
        layers += [convolution, nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * lengths[-1], n_components))


def conv1d_decoder(input_shape: Shape, n_components: int, channels: Sequence[int]) -> nn.Sequential:
    """Build the mirror image: `(batch, n_components) -> (batch, c, t)`, the exact length."""
    steps, lengths = _lengths(input_shape, len(channels))
    shape = (channels[-1], lengths[-1])
    layers: list[nn.Module] = [nn.Linear(n_components, math.prod(shape)), nn.Unflatten(1, shape)]
    widths = (*reversed(channels), input_shape[0] * steps)
    for (before, after), (short, long) in zip(
        pairwise(widths), pairwise(reversed(lengths)), strict=True
    ):
        layers += [nn.ReLU(), _convolution_back(before, after, short, long)]
    return nn.Sequential(*layers, UnfoldTime(steps, input_shape[1]))


def conv1d_channels(input_shape: Shape) -> tuple[int, ...]:
    """Choose the stages: one of 64 channels, whatever the length.

    A long series is folded more instead. More stages reconstruct no better from the few
    windows that there often are, and their codes tell classes apart less well: with each
    the code comes nearer to a linear map of the window (compared on series made for it,
    with 60 training windows each).
    """
    return (64,)


def _convolution_back(before: int, after: int, short: int, long: int) -> nn.Module:
    if short == long:
        return nn.Conv1d(before, after, KERNEL, padding=KERNEL // 2)
    # What the strided convolution rounded away has to be said again on the way back.
    extra = long - 1 - (short - 1) * 2
    return nn.ConvTranspose1d(
        before, after, KERNEL, stride=2, padding=KERNEL // 2, output_padding=extra
    )


def _fold(input_shape: Shape) -> int:
    """Time steps that are folded together: 8 from 32 on, 4 from 16 on, 2 from 4 on, else 1.

    Twice as many from 513 on, and so on: at most 64 positions are left.
    """
    length = input_shape[1]
    few = 8 if length >= 32 else 4 if length >= 16 else 2 if length >= 4 else 1
    return max(few, 2 ** math.ceil(math.log2(length / LONGEST)))


def _lengths(input_shape: Shape, stages: int) -> tuple[int, list[int]]:
    """Steps folded together, and the number of positions after the fold and each stage."""
    steps = _fold(input_shape)
    folded = -(-input_shape[1] // steps)
    lengths = [folded, folded]
    for _ in range(stages - 1):
        lengths.append(_halve(lengths[-1]))
    return steps, lengths


def _halve(length: int) -> int:
    return -(-length // 2) if length > 4 else length
