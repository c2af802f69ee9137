"""Codes seen lately, to find the nearest among."""

from __future__ import annotations

import torch
from torch import nn

MOST = 2**14  # searching more takes longer than it brings


class SeenCodes(nn.Module):
    """A ring of codes and what they were expanded to, the oldest overwritten first.

    Its state is saved and loaded with the network's, so a run that is resumed goes on as if it had
    never stopped.

    Parameters
    ----------
    n_rows : int
        Training instances. A quarter of them is kept, 16,384 at most: an instance then rarely
        meets itself as it was an epoch ago.
    n_components, width : int
        Of codes, and of what they are expanded to.
    """

    codes: torch.Tensor
    expanded: torch.Tensor
    count: torch.Tensor

    def __init__(self, n_rows: int, n_components: int, width: int) -> None:
        super().__init__()
        self.n_rows, size = n_rows, max(1, min(MOST, n_rows // 4))
        self.register_buffer("codes", torch.zeros(size, n_components))
        self.register_buffer("expanded", torch.zeros(size, width))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def ready(self) -> bool:
        """Return whether every instance was seen once: before, codes tell little."""
        return int(self.count) >= self.n_rows

    def nearest(self, codes: torch.Tensor) -> torch.Tensor:
        """Return what the nearest code seen was expanded to, for codes (n, n_components)."""
        # One neighbour on the device that trains: `isthmus.nearest_neighbors` is NumPy's.
        # Half the squared distance is |code|²/2 - query · code + what the query alone decides.
        nearness = torch.addmm(self.codes.square().sum(1).mul_(-0.5), codes, self.codes.T)
        return self.expanded[nearness.argmax(dim=1)]

    def add(self, codes: torch.Tensor, expanded: torch.Tensor) -> None:
        """Keep a batch of codes in place of the oldest ones."""
        size = len(self.codes)
        self.count += len(codes)
        codes, expanded = codes[-size:], expanded[-size:]
        places = (self.count - 1 - torch.arange(len(codes), device=codes.device).flip(0)) % size
        self.codes[places], self.expanded[places] = codes, expanded
