"""Everything that is trained at once: encoder, decoder, and what an objective adds."""

from __future__ import annotations

import torch
from torch import nn

from isthmus.networks import Networks
from isthmus.objectives import Objective


class Model(nn.Module):
    """Encoder and decoder as objectives see them.

    The objective is a part of it, so that optimiser, checkpoints and best weights cover the
    parameters that it has of its own.
    """

    def __init__(self, networks: Networks, objective: Objective) -> None:
        super().__init__()
        self.encoder, self.decoder = networks.encoder, networks.decoder
        self.objective = objective

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the decoder makes of the code."""
        return self.decoder(self.encoder(x))
