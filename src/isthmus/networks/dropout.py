"""Dropout that draws one random byte for each value instead of a whole number."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Dropout(nn.Module):
    """Set a share `p` of the values to zero in training, and scale the rest up.

    On a CPU, drawing a number for each value takes torch longer than a small network takes
    for all else. Eight bytes of every 64-bit draw serve here, which rounds `p` to a
    multiple of 1/256; on other devices torch's own dropout runs.

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
        self.kept_of_256 = max(1, round((1 - p) * 256))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a tensor of the same shape."""
        if not self.training or self.kept_of_256 == 256:
            return x
        if x.device.type != "cpu":
            return functional.dropout(x, self.p, training=True)
        draws = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        mask = draws.view(torch.uint8)[: x.numel()].view(x.shape) < self.kept_of_256
        return x * mask.to(x.dtype).mul_(256 / self.kept_of_256)

    def extra_repr(self) -> str:
        """Show the share in the module's repr."""
        return f"p={self.p}"
