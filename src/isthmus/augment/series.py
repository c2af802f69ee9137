"""Views of a window of a time series: jitter, scaling, crop."""

from __future__ import annotations

from functools import partial

import torch

from isthmus.workers import drawn, drawn_like

JITTER = 0.1  # standard deviation, in those of the channel
SCALING = 0.1  # standard deviation of a channel's factor around 1
CROP = 0.2  # most that is cut off, of the length


def jitter(x: torch.Tensor, strength: float) -> torch.Tensor:
    """Add normal noise, 0.1 standard deviations of a channel, to (batch, c, t)."""
    return x + JITTER * strength * drawn_like(torch.randn_like, x)


def scaling(x: torch.Tensor, strength: float) -> torch.Tensor:
    """Multiply each channel by a factor drawn around 1 with standard deviation 0.1.

    With jitter the augmentations of Um et al. (2017) that suit sensors at large.
    """
    channels = x.shape[1]
    factors = drawn(lambda n: torch.randn(n, channels, 1, device=x.device), len(x))
    return x * (1 + SCALING * strength * factors)


def crop(x: torch.Tensor, strength: float) -> torch.Tensor:
    """Cut up to a fifth of the length off, and stretch the rest to the old length."""
    rows, length = len(x), x.shape[2]
    draw = partial(drawn, lambda n: torch.rand(n, 1, device=x.device), rows)
    kept = 1 - CROP * min(strength, 1 / CROP / 2) * draw()
    start = (1 - kept) * draw()
    steps = torch.linspace(0, 1, length, device=x.device)
    at = (start + kept * steps) * (length - 1)
    left = at.floor().long().clamp(max=max(0, length - 2))
    share = (at - left)[:, None, :]
    index = left[:, None, :].expand_as(x)
    after = (index + 1).clamp(max=length - 1)
    return x.gather(2, index) * (1 - share) + x.gather(2, after) * share
