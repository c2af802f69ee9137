"""Rows of an array as batches of tensors, prepared only when they are needed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

Batch = tuple[torch.Tensor, ...]


class Rows:
    """Some rows of `X`, and of `y` when there is one.

    Parameters
    ----------
    X : array of shape (n, ...)
        Kept as it is, uint8 images too: only a batch is ever turned into floats.
    rows : integer array
        Which rows of `X` belong.
    prepare : callable
        From `X[some rows]` to a float32 array for the network.
    y : integer array of shape (n,), optional
    """

    def __init__(
        self,
        X: np.ndarray,
        rows: np.ndarray,
        prepare: Callable[[np.ndarray], np.ndarray],
        y: np.ndarray | None = None,
    ) -> None:
        self.X, self.rows, self.prepare, self.y = X, rows, prepare, y

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, positions: np.ndarray, device: torch.device) -> Batch:
        """Return the rows at these positions, as tensors on the device."""
        rows = self.rows[positions]
        x = to_tensor(self.prepare(self.X[rows]), device)
        if self.y is None:
            return (x,)
        return (x, torch.from_numpy(self.y[rows]).to(device))


def to_tensor(values: np.ndarray, device: torch.device) -> torch.Tensor:
    """Move a prepared float32 array to the device; images with the channels last in memory.

    That layout spares convolutions on CPUs a conversion at every layer.
    """
    x = torch.from_numpy(values)
    if x.ndim == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    return x.to(device, non_blocking=True)


def place(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to a device, its convolutions laid out like `to_tensor` lays images.

    The layout decides in which order sums are made, so a network that is loaded must have
    the one it had in training to give the same codes to the last bit.
    """
    return network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
