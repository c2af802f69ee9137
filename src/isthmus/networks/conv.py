"""Convolutional encoders and mirrored decoders, for images and for windows of series."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

Shape = tuple[int, int, int]  # (channels, height, width)
Size = tuple[int, int]  # (height, width)

MIN_SIDE = 8  # sides are not halved further: the linear layer takes all positions


class SpaceToDepth(nn.Module):
    """Fold blocks of pixels into channels: (b, c, h, w) -> (b, c k², ⌈h/k⌉, ⌈w/k⌉).

    Sides that `k` does not divide are padded with zeros. A convolution then works on
    k² times fewer positions with k² times more channels, which for images of few
    channels is several times faster and loses no information.

    Parameters
    ----------
    block : int
        k, the side of a block.
    """

    def __init__(self, block: int) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pad, then fold.

        Parameters
        ----------
        x : tensor of shape (b, c, h, w)

        Returns
        -------
        tensor
        """
        missing = [-side % self.block for side in x.shape[-2:]]
        if any(missing):
            x = functional.pad(x, (0, missing[1], 0, missing[0]))
        return functional.pixel_unshuffle(x, self.block)


class DepthToSpace(nn.Module):
    """Invert `SpaceToDepth`: (b, c k², ⌈h/k⌉, ⌈w/k⌉) -> (b, c, h, w).

    Parameters
    ----------
    block : int
    size : (h, w)
        Of the images.
    """

    def __init__(self, block: int, size: Size) -> None:
        super().__init__()
        self.block, self.size = block, size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Unfold, then remove the padding.

        Parameters
        ----------
        x : tensor of shape (b, c k², ⌈h/k⌉, ⌈w/k⌉)

        Returns
        -------
        tensor of shape (b, c, h, w)
        """
        return functional.pixel_shuffle(x, self.block)[..., : self.size[0], : self.size[1]]


def conv_encoder(input_shape: Shape, n_components: int, channels: Sequence[int]) -> nn.Sequential:
    """Build `(batch, c, h, w) -> (batch, n_components)`.

    Pixels are folded into channels, then comes a 3x3 convolution for each entry of
    `channels` (from the second on with stride 2 along sides longer than eight), then
    one linear layer to the code, which has no activation.
    """
    block, sizes = _sizes(input_shape, len(channels))
    layers: list[nn.Module] = [SpaceToDepth(block)]
    widths = (input_shape[0] * block**2, *channels)
    for (before, after), (large, small) in zip(pairwise(widths), pairwise(sizes), strict=True):
        stride = _stride(large, small)
        layers += [nn.Conv2d(before, after, 3, stride=stride, padding=1), nn.ReLU()]
    flat = channels[-1] * math.prod(sizes[-1])
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, n_components))


def conv_decoder(input_shape: Shape, n_components: int, channels: Sequence[int]) -> nn.Sequential:
    """Build the mirror image: `(batch, n_components) -> (batch, c, h, w)`, the exact size."""
    block, sizes = _sizes(input_shape, len(channels))
    shape = (channels[-1], *sizes[-1])
    layers: list[nn.Module] = [nn.Linear(n_components, math.prod(shape)), nn.Unflatten(1, shape)]
    widths = (*reversed(channels), input_shape[0] * block**2)
    for (before, after), (small, large) in zip(
        pairwise(widths), pairwise(reversed(sizes)), strict=True
    ):
        layers += [nn.ReLU(), _transposed_conv2d(before, after, small, large)]
    return nn.Sequential(*layers, DepthToSpace(block, input_shape[1:]))


def conv_channels(input_shape: Shape) -> tuple[int, ...]:
    """Choose the stages: one, and one more for each halving down to eight.

    The last stage has 64 channels, each before it half as many, 16 at least: `(64,)`
    for 28x28, `(16, 32, 64)` for 128x128.
    """
    longest = -(-max(input_shape[1:]) // _block(input_shape))
    stages = 1
    while longest > MIN_SIDE:
        longest = _halve(longest)
        stages += 1
    return tuple(max(16, 64 >> i) for i in reversed(range(stages)))


def _transposed_conv2d(before: int, after: int, small: Size, large: Size) -> nn.Module:
    stride = _stride(large, small)
    if stride == (1, 1):
        return nn.Conv2d(before, after, 3, padding=1)
    # The strided convolution rounded sizes up; output_padding restores the exact size.
    extra = (
        large[0] - 1 - (small[0] - 1) * stride[0],
        large[1] - 1 - (small[1] - 1) * stride[1],
    )
    return nn.ConvTranspose2d(before, after, 3, stride=stride, padding=1, output_padding=extra)


def _block(input_shape: Shape) -> int:
    """Return the side of the blocks that are folded: 4 from 16 pixels on, 2 from 4 on, else 1."""
    shortest = min(input_shape[1:])
    return 4 if shortest >= 16 else 2 if shortest >= 4 else 1


def _sizes(input_shape: Shape, stages: int) -> tuple[int, list[Size]]:
    """Return the block size, and height and width after the fold and after each stage."""
    block = _block(input_shape)
    folded = (-(-input_shape[1] // block), -(-input_shape[2] // block))
    sizes = [folded, folded]
    for _ in range(stages - 1):
        sizes.append((_halve(sizes[-1][0]), _halve(sizes[-1][1])))
    return block, sizes


def _halve(side: int) -> int:
    return -(-side // 2) if side > MIN_SIDE else side


def _stride(large: Size, small: Size) -> Size:
    return (1 if large[0] == small[0] else 2, 1 if large[1] == small[1] else 2)


WindowShape = tuple[int, int]  # (channels, time steps)

MAX_LENGTH = 64  # positions after folding, at most
KERNEL = 5


class FoldTime(nn.Module):
    """Fold neighbouring time steps into channels: (b, c, t) -> (b, c k, ⌈t/k⌉).

    A length that `k` does not divide is padded with zeros at its end. A convolution then
    works on k times fewer positions with k times more channels, which for series of few
    channels is several times faster and loses no information, as `SpaceToDepth` does for images.

    Parameters
    ----------
    steps : int
        k, the time steps that become channels.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pad, then fold.

        Parameters
        ----------
        x : tensor of shape (b, c, t)

        Returns
        -------
        tensor of shape (b, c k, ⌈t/k⌉)
        """
        missing = -x.shape[-1] % self.steps
        if missing:
            x = functional.pad(x, (0, missing))
        batch, channels, length = x.shape
        x = x.reshape(batch, channels, length // self.steps, self.steps)
        return x.transpose(2, 3).reshape(batch, channels * self.steps, length // self.steps)


class UnfoldTime(nn.Module):
    """Invert `FoldTime`: (b, c k, ⌈t/k⌉) -> (b, c, t).

    Parameters
    ----------
    steps : int
    length : int
        t, of the series.
    """

    def __init__(self, steps: int, length: int) -> None:
        super().__init__()
        self.steps, self.length = steps, length

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Unfold, then remove the padding.

        Parameters
        ----------
        x : tensor of shape (b, c k, ⌈t/k⌉)

        Returns
        -------
        tensor of shape (b, c, t)
        """
        batch, channels, length = x.shape
        x = x.reshape(batch, channels // self.steps, self.steps, length).transpose(2, 3)
        return x.reshape(batch, channels // self.steps, -1)[..., : self.length]


def conv1d_encoder(
    input_shape: WindowShape, n_components: int, channels: Sequence[int]
) -> nn.Sequential:
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


def conv1d_decoder(
    input_shape: WindowShape, n_components: int, channels: Sequence[int]
) -> nn.Sequential:
    """Build the mirror image: `(batch, n_components) -> (batch, c, t)`, the exact length."""
    steps, lengths = _lengths(input_shape, len(channels))
    shape = (channels[-1], lengths[-1])
    layers: list[nn.Module] = [nn.Linear(n_components, math.prod(shape)), nn.Unflatten(1, shape)]
    widths = (*reversed(channels), input_shape[0] * steps)
    for (before, after), (short, long) in zip(
        pairwise(widths), pairwise(reversed(lengths)), strict=True
    ):
        layers += [nn.ReLU(), _transposed_conv1d(before, after, short, long)]
    return nn.Sequential(*layers, UnfoldTime(steps, input_shape[1]))


def conv1d_channels(input_shape: WindowShape) -> tuple[int, ...]:
    """Choose the stages: one of 64 channels, whatever the length.

    A long series is folded more instead. More stages reconstruct no better from the few
    windows that there often are, and their codes separate classes less well: with each stage
    the code is closer to a linear map of the window (compared on synthetic series with 60
    training windows each).
    """
    return (64,)


def _transposed_conv1d(before: int, after: int, short: int, long: int) -> nn.Module:
    if short == long:
        return nn.Conv1d(before, after, KERNEL, padding=KERNEL // 2)
    # The strided convolution rounded sizes up; output_padding restores the exact size.
    extra = long - 1 - (short - 1) * 2
    return nn.ConvTranspose1d(
        before, after, KERNEL, stride=2, padding=KERNEL // 2, output_padding=extra
    )


def _fold(input_shape: WindowShape) -> int:
    """Return how many time steps are folded together.

    8 from a length of 32 on, 4 from 16 on, 2 from 4 on, else 1; twice as many from 513 on, and so
    on: at most 64 positions remain.
    """
    length = input_shape[1]
    few = 8 if length >= 32 else 4 if length >= 16 else 2 if length >= 4 else 1
    return max(few, 2 ** math.ceil(math.log2(length / MAX_LENGTH)))


def _lengths(input_shape: WindowShape, stages: int) -> tuple[int, list[int]]:
    """Return the steps folded together, and the positions after the fold and each stage."""
    steps = _fold(input_shape)
    folded = -(-input_shape[1] // steps)
    lengths = [folded, folded]
    for _ in range(stages - 1):
        lengths.append(_halve_length(lengths[-1]))
    return steps, lengths


def _halve_length(length: int) -> int:
    return -(-length // 2) if length > 4 else length
