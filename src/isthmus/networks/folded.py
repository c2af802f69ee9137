"""A convolution after nearest-neighbour upsampling, on the image before it."""

from __future__ import annotations

import torch
from torch.nn import functional

# Along one axis: what the two pixels met take of a kernel's three weights. At even places of
# the doubled image the first two weights fall on one pixel, at odd places the last two.
_SHARES = [[[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]]


def double_convolve(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, padding: int, *, relu: bool = False
) -> torch.Tensor:
    """Double every pixel in both directions, then convolve 3 x 3.

    The doubled image is never made: each of its 2 x 2 places is an output channel of a 2 x 2
    convolution on the small image, with weights added up from the 3 x 3 ones, and the
    channels are then laid out as pixels. Four of nine multiplications are left, and gradients
    reach the 3 x 3 weights through the sums.

    Parameters
    ----------
    x : tensor of shape (batch, c, h, w)
    weight : tensor of shape (o, c, 3, 3)
    bias : tensor of shape (o,)
    padding : {0, 1}
        Zeros around the doubled image.
    relu : bool, default=False
        With a ReLU after it.

    Returns
    -------
    tensor of shape (batch, o, 2 h + 2 padding - 2, 2 w + 2 padding - 2)

    Examples
    --------
    >>> x, weight = torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3)
    >>> double_convolve(x, weight, torch.zeros(1), padding=1)[0, 0, :2, :3].tolist()
    [[4.0, 6.0, 6.0], [6.0, 9.0, 9.0]]
    """
    shares = torch.tensor(_SHARES, dtype=weight.dtype, device=weight.device)
    # Outputs come in the order that pixel_shuffle expects: channel, row, column.
    small = torch.einsum("auy,bvx,ocyx->oabcuv", shares, shares, weight).flatten(0, 2)
    out = functional.conv2d(x, small, bias.repeat_interleave(4), padding=padding)
    if relu:
        out = out.relu()
    image = functional.pixel_shuffle(out, 2)
    # A zero of padding stands for two zeros around the doubled image: one too many.
    return image[..., 1:-1, 1:-1] if padding else image
