"""Dense networks, strided convolutions with a dense decoder, and a fast dropout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from isthmus.distributed import current_generator


def dense_encoder(
    input_shape: tuple[int, ...], n_components: int, hidden: Sequence[int]
) -> nn.Sequential:
    """Build `(batch, *input_shape) -> (batch, n_components)`.

    The code itself has no activation. Without hidden layers the network is linear, and
    trained on squared error it spans the principal subspace (Baldi and Hornik, 1989).
    """
    return nn.Sequential(nn.Flatten(), *_layers([math.prod(input_shape), *hidden, n_components]))


def dense_decoder(
    input_shape: tuple[int, ...], n_components: int, hidden: Sequence[int]
) -> nn.Sequential:
    """Build the mirror image: `(batch, n_components) -> (batch, *input_shape)`."""
    layers = _layers([n_components, *reversed(hidden), math.prod(input_shape)])
    return nn.Sequential(*layers, nn.Unflatten(1, input_shape))


def hidden_sizes(n_features: int) -> tuple[int, ...]:
    """Choose hidden layers: one, as wide as the input rounded to a power of two, 128 to 512."""
    return (min(512, max(128, 2 ** round(math.log2(n_features)))),)


def _layers(widths: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return layers[:-1]  # no activation after the last


Shape = tuple[int, int, int]  # (channels, height, width)

MIN_SIDE = 4  # sides are not halved further: the linear layer takes all positions


def strided_encoder(
    input_shape: Shape, n_components: int, channels: Sequence[int]
) -> nn.Sequential:
    """Build `(batch, c, h, w) -> (batch, n_components)`.

    A 5x5 convolution, then a 3x3 one for each further entry of `channels`, with stride 2 along
    sides longer than four; then one linear layer to the code, which has no activation. All but the
    first are followed by batch normalisation (Ioffe and Szegedy, 2015): after the first, with the
    most values, it takes longer than the convolution and improves nothing.
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

    Dense layers use a CPU far better than transposed convolutions, and a decoder need not mirror
    its encoder.
    """
    del channels  # of the encoder
    width = 2 ** round(math.log2(math.prod(input_shape)))
    return dense_decoder(input_shape, n_components, (min(1024, max(128, width)),))


def strided_channels(input_shape: Shape) -> tuple[int, ...]:
    """Choose a stage for each halving of the longer side down to four, two at least.

    Of 32, 64, then 128 channels.
    """
    longest, stages = max(input_shape[1:]), 0
    while longest > MIN_SIDE:
        longest, stages = -(-longest // 2), stages + 1
    return (32, 64, *(128,) * (stages - 2))


def _stride(side: int) -> int:
    return 2 if side > MIN_SIDE else 1


class Dropout(nn.Module):
    """Set a share `p` of the values to zero in training, and scale the rest up.

    On a CPU, torch draws a number for each value, which takes longer than all else in a small
    network. Here the eight bytes of a 64-bit number serve eight values, which rounds `p` to a
    multiple of 1/256; on other devices each value has a number of its own.

    Parameters
    ----------
    p : float in [0, 1)

    Examples
    --------
    >>> layer = Dropout(0.25)
    >>> x = layer(torch.ones(1000, 1000))
    >>> [round(value, 2) for value in x.unique().tolist()], round(x.mean().item(), 2)
    ([0.0, 1.33], 1.0)
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.n_of_256 = max(1, round((1 - p) * 256))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a tensor of the same shape."""
        if not self.training or self.n_of_256 == 256:
            return x
        generator = current_generator(x.device)
        if x.device.type != "cpu":
            kept = torch.empty_like(x).bernoulli_(1 - self.p, generator=generator)
            return x * kept.div_(1 - self.p)
        draws = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device="cpu")
        draws.random_(-(2**63), None, generator=generator)
        mask = draws.view(torch.uint8)[: x.numel()].view(x.shape) < self.n_of_256
        return x * mask.to(x.dtype).mul_(256 / self.n_of_256)

    def extra_repr(self) -> str:
        """Show the share in the module's repr."""
        return f"p={self.p}"
