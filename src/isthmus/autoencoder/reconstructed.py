"""What one pass through encoder and decoder gives."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Reconstructed:
    """A batch of instances as the network sees and rebuilds them.

    Attributes
    ----------
    inputs, outputs : tensor of shape (batch, *network_shape)
        In the network's units: [0, 1] for images, standardised otherwise.
    codes : tensor of shape (batch, n_components)
    errors : tensor of shape (batch,), float64
        Reconstruction errors.
    """

    inputs: torch.Tensor
    codes: torch.Tensor
    outputs: torch.Tensor
    errors: torch.Tensor
