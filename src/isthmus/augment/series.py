"""Views of a window of a time series: jitter, scaling, crop."""

from __future__ import annotations

import torch

JITTER = 0.1  # standard deviation, in those of the channel
SCALING = 0.1  # standard deviation of a channel's factor around 1
CROP = 0.2  # most that is cut off, of the length


def jitter(x: torch.Tensor, strength: float) -> torch.Tensor:
    """Add normal noise, 0.1 standard deviations of a channel, to (batch, c, t)."""
    return x + JITTER * strength * torch.randn_like(x)


def scaling(x: torch.Tensor, strength: float) -> torch.Tensor:
    """Multiply each channel by a factor drawn around 1 with standard deviation 0.1.

    With jitter the augmentations of Um et al. (2017) that suit sensors at large.
    """
    factors = torch.randn(*x.shape[:2], 1, device=x.device)
    return x * (1 + SCALING * strength * factors)


def crop(x: torch.Tensor, strength: float) -> torch.Tensor:
    """Cut up to a fifth of the length off, and stretch the rest to the old length."""
    rows, length = len(x), x.shape[2]
    kept = 1 - CROP * min(strength, 1 / CROP / 2) * torch.rand(rows, 1, device=x.device)
    start = (1 - kept) * torch.rand(rows, 1, device=x.device)
    steps = torch.linspace(0, 1, length, device=x.device)
    at = (start + kept * steps) * (length - 1)
    left = at.floor().long().clamp(max=max(0, length - 2))
    share = (at - left)[:, None, :]
    index = left[:, None, :].expand_as(x)
    after = (index + 1).clamp(max=length - 1)
    return x.gather(2, index) * (1 - share) + x.gather(2, after) * share
