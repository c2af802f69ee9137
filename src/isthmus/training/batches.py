"""Batches of tensors from the rows of an array, and labelled rows held out of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import nn

from isthmus.distributed import current_generator, shard_bounds

Batch = tuple[torch.Tensor, ...]

#: Most bytes of prepared rows that are cached: with small networks, preparing them batch by batch
#: takes as long as training on them.
CACHE_BYTES = 2**25
#: Rows prepared at a time for the cache, because preparing takes memory of its own.
_CACHE_ROWS = 8192
#: Fewer labels than this are all trained on.
MIN_TO_HOLD_OUT = 50


class TrainingRows:
    """Rows that training goes through, in batches: their number and the steps of an epoch."""

    def __len__(self) -> int:
        raise NotImplementedError

    def steps(self, batch_size: int) -> int:
        """Return the number of training batches in an epoch.

        Parameters
        ----------
        batch_size : int

        Returns
        -------
        int
        """
        full, rest = divmod(len(self), batch_size)
        # Batch normalisation cannot train on a single instance.
        return full + (rest > 1 or (rest == 1 and full == 0))


class Batches(TrainingRows):
    """Batches of some rows of `X`, and of `y` when there is one.

    Parameters
    ----------
    X : array of shape (n, ...)
        Held as it is, uint8 images too: of those only a batch at a time is turned into floats.
        Other rows are prepared once when they take at most `CACHE_BYTES` in all. On a GPU all
        rows are, and stay there, when they take at most a quarter of its free memory.
    rows : integer array
        Rows of `X` to make batches of.
    prepare : callable or None
        From rows of `X` to a float32 array for the network, each row by itself. None where `X` is
        float32 as the network gets it; on a CPU it is not cached then.
    y : integer array of shape (n,), optional
    """

    def __init__(
        self,
        X: np.ndarray,
        rows: np.ndarray,
        prepare: Callable[[np.ndarray], np.ndarray] | None,
        y: np.ndarray | None = None,
    ) -> None:
        self.X, self.rows, self.y = X, rows, y
        self.prepare = prepare or _as_is
        self._cache: tuple[torch.device, torch.Tensor | None] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def shuffled(
        self,
        batch_size: int,
        device: torch.device,
        rank: int = 0,
        world_size: int = 1,
        first_step: int = 0,
    ) -> Iterator[Batch]:
        """Yield an epoch's batches, in an order drawn from the generator of the run.

        With several processes, this rank's shard of each batch. A later `first_step`, counted
        from 0, resumes an epoch.

        Parameters
        ----------
        batch_size : int
        device : torch.device
        rank, world_size : int
        first_step : int

        Yields
        ------
        tuple of tensors
            Instances, and labels where there are any.
        """
        cpu = torch.device("cpu")
        order = torch.randperm(len(self), device=cpu, generator=current_generator(cpu)).numpy()
        for step in range(first_step, self.steps(batch_size)):
            positions = order[step * batch_size : (step + 1) * batch_size]
            yield self.batch(
                positions[slice(*shard_bounds(len(positions), rank, world_size))], device
            )

    def in_order(
        self, batch_size: int, device: torch.device, rank: int = 0, world_size: int = 1
    ) -> Iterator[Batch]:
        """Yield every row once, in order; with several processes, this rank's shards.

        Parameters
        ----------
        batch_size : int
        device : torch.device
        rank, world_size : int

        Yields
        ------
        tuple of tensors
        """
        for first in range(0, len(self), batch_size):
            positions = np.arange(first, min(first + batch_size, len(self)))
            yield self.batch(
                positions[slice(*shard_bounds(len(positions), rank, world_size))], device
            )

    def batch(self, positions: np.ndarray, device: torch.device) -> Batch:
        """Return the rows at these positions, as tensors on the device.

        Parameters
        ----------
        positions : int array of shape (k,)
        device : torch.device

        Returns
        -------
        tuple of tensors
        """
        prepared = self.prepared(device)
        rows = self.rows[positions]
        if prepared is None:
            x = to_tensor(self.prepare(self.X[rows]), device)
        else:
            at = torch.from_numpy(positions).to(device)
            x = _channels_last(prepared.index_select(0, at))
        if self.y is None:
            return (x,)
        return (x, torch.from_numpy(self.y[rows]).to(device))

    def prepared(self, device: torch.device) -> torch.Tensor | None:
        """Return all rows, prepared at the first call, or None when they are not to be cached.

        Parameters
        ----------
        device : torch.device

        Returns
        -------
        tensor or None
        """
        if self._cache is None or self._cache[0] != device:
            self._cache = (device, self._prepare_all(device))
        return self._cache[1]

    def _prepare_all(self, device: torch.device) -> torch.Tensor | None:
        max_bytes = _max_cache_bytes(device, self.X.dtype)
        if not max_bytes or (self.prepare is _as_is and device.type == "cpu"):
            return None
        first = self.prepare(self.X[self.rows[:1]])
        if first.nbytes * len(self) > max_bytes:
            return None
        prepared = torch.empty((len(self), *first.shape[1:]), device=device, dtype=torch.float32)
        for start in range(0, len(self), _CACHE_ROWS):
            chunk = slice(start, start + _CACHE_ROWS)
            prepared[chunk] = torch.from_numpy(self.prepare(self.X[self.rows[chunk]])).to(device)
        return prepared


class StackedBatches(TrainingRows):
    """Batches for several networks that are trained as one, each on rows of its own.

    Each network goes through its rows in an order of its own, all of them before any comes again,
    and every batch is full.

    Parameters
    ----------
    rows : sequence of float32 tensors of shape (n, ...)
        The prepared rows of each network, on a CPU.
    n_rows : int
        Of an epoch, which has as many steps as so many rows make.
    """

    def __init__(self, rows: Sequence[torch.Tensor], n_rows: int) -> None:
        self.n_rows = n_rows
        self.sizes = [len(of_network) for of_network in rows]
        # A batch is cut out of columns: products of few columns are slow.
        self._columns = torch.cat([of_network.flatten(1) for of_network in rows]).T.contiguous()

    def __len__(self) -> int:
        return self.n_rows

    def shuffled(
        self,
        batch_size: int,
        device: torch.device,
        rank: int = 0,
        world_size: int = 1,
        first_step: int = 0,
    ) -> Iterator[Batch]:
        """Yield an epoch's batches `(x,)`, x of shape (networks, values, batch).

        They are not sharded: each process trains on all of them.

        Parameters
        ----------
        batch_size, device, rank, world_size, first_step
            As for `Batches.shuffled`.

        Yields
        ------
        tuple of one tensor
        """
        steps, orders, first = self.steps(batch_size), [], 0
        draw: dict[str, Any] = {"device": device, "generator": current_generator(device)}
        for n in self.sizes:
            rounds = math.ceil(steps * batch_size / n)
            order = torch.cat([torch.randperm(n, **draw) for _ in range(rounds)])
            orders.append(first + order[: steps * batch_size].view(steps, batch_size))
            first += n
        for positions in torch.stack(orders, dim=1)[first_step:]:
            x = self._columns.index_select(1, positions.flatten())
            yield (x.view(len(x), *positions.shape).transpose(0, 1),)


def hold_out_labelled(
    y: np.ndarray, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Split labelled rows into a training part and one for early stopping.

    Parameters
    ----------
    y : integer array of shape (n,)
        Classes; each is held out in proportion.
    fraction : float in [0, 1)
    seed : int

    Returns
    -------
    train, held_out : arrays of row numbers
        `held_out` is None where there is too little to spare: fewer than 50 labels, a
        class with a single one, or fewer rows than classes in a part.
    """
    rows, classes = np.arange(len(y)), np.bincount(y)
    n_held_out = math.ceil(len(y) * fraction)
    smaller_part = min(n_held_out, len(y) - n_held_out)
    if len(y) < MIN_TO_HOLD_OUT or smaller_part < len(classes) or classes[classes > 0].min() < 2:
        return rows, None
    train, held_out = train_test_split(rows, test_size=n_held_out, stratify=y, random_state=seed)
    return np.sort(train), np.sort(held_out)


def _max_cache_bytes(device: torch.device, dtype: np.dtype) -> int:
    """Return how many bytes of prepared rows may be cached on a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 4
    return 0 if dtype == np.uint8 else CACHE_BYTES


def to_tensor(values: np.ndarray, device: torch.device) -> torch.Tensor:
    """Move a prepared float32 array to the device; images with the channels last in memory.

    That layout spares convolutions on CPUs a conversion at every layer.

    Parameters
    ----------
    values : float32 array of shape (n, ...)
    device : torch.device

    Returns
    -------
    tensor of the same shape
    """
    return _channels_last(torch.from_numpy(values)).to(device, non_blocking=True)


def _channels_last(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def move_to_device(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to a device, with its convolutions in the memory layout of `to_tensor`.

    The layout decides the order of summation, so a loaded network needs the layout it had in
    training to give the same codes to the last bit.

    Parameters
    ----------
    network : torch.nn.Module
    device : torch.device

    Returns
    -------
    torch.nn.Module
        The network itself.
    """
    return network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@contextmanager
def channels_last_gradients(network: nn.Module) -> Iterator[None]:
    """Give gradients of images the memory layout of the images, within the block.

    A layer that flattens images returns gradients with the channels first. Those of the ReLU
    before it, read in one layout and written in the other, would take four times as long.
    """

    def convert_gradient(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        x = inputs[0]
        if x.requires_grad and x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
            x.register_hook(_channels_last)

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Flatten)]
    hooks = [layer.register_forward_pre_hook(convert_gradient) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _as_is(values: np.ndarray) -> np.ndarray:
    return values
