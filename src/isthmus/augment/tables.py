"""Views of a row of a table: some of its values from other rows."""

from __future__ import annotations

import torch

from isthmus.workers import drawn, drawn_like, whole

SHARE = 0.3


def corruption(x: torch.Tensor, strength: float) -> torch.Tensor:
    """Take 30 % of the values of (batch, m) from other rows of the batch.

    The feature corruption of SCARF (Bahri et al., 2022), at half of its rate.
    """
    width = x.shape[1]
    rows = drawn(lambda n: torch.randint(n, (n, width), device=x.device), len(x))
    other = whole(x).gather(0, rows)
    return torch.where(drawn_like(torch.rand_like, x) < SHARE * strength, other, x)
