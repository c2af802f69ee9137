"""Views of a row of a table: some of its values from other rows."""

from __future__ import annotations

import torch

SHARE = 0.3


def corruption(x: torch.Tensor, strength: float) -> torch.Tensor:
    """Take 30 % of the values of (batch, m) from other rows of the batch.

    The feature corruption of SCARF (Bahri et al., 2022), at half of its rate.
    """
    other = x.gather(0, torch.randint(len(x), x.shape, device=x.device))
    return torch.where(torch.rand_like(x) < SHARE * strength, other, x)
