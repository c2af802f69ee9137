"""Rows of an array as batches of tensors, prepared only when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from isthmus.distributed import shard_bounds

Batch = tuple[torch.Tensor, ...]

#: So many bytes of prepared rows are kept: with small networks preparing them batch by batch
#: takes as long as training on them.
KEPT_BYTES = 2**25
#: Rows that are prepared at a time to be kept, because preparing takes memory of its own.
_PART = 8192


class Batches:
    """Some rows of `X`, and of `y` when there is one.

    Parameters
    ----------
    X : array of shape (n, ...)
        Kept as it is, uint8 images too: of those only a batch is ever turned into floats.
        Other rows are prepared once when they take at most `KEPT_BYTES` in all. On a GPU all
        rows are, and stay there, when they take at most a quarter of its free memory.
    rows : integer array
        Which rows of `X` belong.
    prepare : callable
        From `X[some rows]` to a float32 array for the network, each row by itself.
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
        self._kept: tuple[torch.device, torch.Tensor | None] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def steps(self, batch_size: int) -> int:
        """Return how many batches of training an epoch has."""
        return n_steps(len(self), batch_size)

    def shuffled(
        self,
        batch_size: int,
        device: torch.device,
        rank: int = 0,
        size: int = 1,
        first_step: int = 0,
    ) -> Iterator[Batch]:
        """Give an epoch's batches, in an order drawn from torch's generator.

        With several workers, the part of each batch that falls to the one of this rank; from a
        later step, counted from 0, as the epoch would have gone on.
        """
        order = torch.randperm(len(self)).numpy()
        for step in range(first_step, self.steps(batch_size)):
            positions = order[step * batch_size : (step + 1) * batch_size]
            yield self.batch(positions[slice(*shard_bounds(len(positions), rank, size))], device)

    def in_order(
        self, batch_size: int, device: torch.device, rank: int = 0, size: int = 1
    ) -> Iterator[Batch]:
        """Give every row once, as they lie; with several workers, this one's parts."""
        for first in range(0, len(self), batch_size):
            positions = np.arange(first, min(first + batch_size, len(self)))
            yield self.batch(positions[slice(*shard_bounds(len(positions), rank, size))], device)

    def batch(self, positions: np.ndarray, device: torch.device) -> Batch:
        """Return the rows at these positions, as tensors on the device."""
        kept = self._all(device)
        rows = self.rows[positions]
        if kept is None:
            x = to_tensor(self.prepare(self.X[rows]), device)
        else:
            at = torch.from_numpy(positions).to(device)
            x = _laid_out(kept.index_select(0, at))
        if self.y is None:
            return (x,)
        return (x, torch.from_numpy(self.y[rows]).to(device))

    def _all(self, device: torch.device) -> torch.Tensor | None:
        """Return all rows, prepared at the first call, or None when they are not to be kept."""
        if self._kept is None or self._kept[0] != device:
            self._kept = (device, self._prepare_all(device))
        return self._kept[1]

    def _prepare_all(self, device: torch.device) -> torch.Tensor | None:
        most = _most_kept(device, self.X.dtype)
        if not most:
            return None
        first = self.prepare(self.X[self.rows[:1]])
        if first.nbytes * len(self) > most:
            return None
        prepared = torch.empty((len(self), *first.shape[1:]), device=device)
        for start in range(0, len(self), _PART):
            part = slice(start, start + _PART)
            prepared[part] = torch.from_numpy(self.prepare(self.X[self.rows[part]])).to(device)
        return prepared


def n_steps(n_rows: int, batch_size: int) -> int:
    """Return how many batches of training so many rows make."""
    whole, rest = divmod(n_rows, batch_size)
    # Batch normalisation cannot train on a single instance.
    return whole + (rest > 1 or (rest == 1 and whole == 0))


def _most_kept(device: torch.device, dtype: np.dtype) -> int:
    """Return how many bytes of prepared rows are kept on a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 4
    return 0 if dtype == np.uint8 else KEPT_BYTES


def to_tensor(values: np.ndarray, device: torch.device) -> torch.Tensor:
    """Move a prepared float32 array to the device; images with the channels last in memory.

    That layout spares convolutions on CPUs a conversion at every layer.
    """
    return _laid_out(torch.from_numpy(values)).to(device, non_blocking=True)


def _laid_out(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def move_to_device(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to a device, its convolutions laid out like `to_tensor` lays images.

    The layout decides in which order sums are made, so a network that is loaded must have
    the one it had in training to give the same codes to the last bit.
    """
    return network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
