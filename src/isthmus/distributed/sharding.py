"""Shards of a batch: what one process computes on, and what needs the rows of all.

Several processes train as one would. Random numbers are drawn for the whole batch by every
process alike, and each uses those of its own rows; what depends on a batch as a whole gathers the
rows of all. Where a batch is not sharded these functions return what they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed


@dataclass(frozen=True)
class Shard:
    """The rows `first` to `stop - 1`, counted from 0, of a batch of `n`."""

    first: int
    stop: int
    n: int

    @property
    def fraction(self) -> float:
        """Share of the batch's rows in this shard, in (0, 1)."""
        return (self.stop - self.first) / self.n


def shard_bounds(n: int, rank: int, world_size: int) -> tuple[int, int]:
    """Return the first row of a rank's shard of `n` rows, and the one after its last.

    Fewer rows than processes are not sharded: each process takes all of them.

    Examples
    --------
    >>> [shard_bounds(7, rank, 3) for rank in range(3)], shard_bounds(2, 1, 3)
    ([(0, 2), (2, 4), (4, 7)], (0, 2))
    """
    if n < world_size:
        return 0, n
    return rank * n // world_size, (rank + 1) * n // world_size


_current: ContextVar[Shard | None] = ContextVar("shard", default=None)


def current_shard() -> Shard | None:
    """Return the shard set by `sharded`, or None where a batch is not sharded."""
    return _current.get()


def sharded(shard: Shard | None) -> AbstractContextManager[None]:
    """Compute on one shard of a batch within the block; None is the whole batch."""
    return nullcontext() if shard is None else _set(shard)


def unsharded() -> AbstractContextManager[None]:
    """Compute on a whole batch within the block, every process alike."""
    return nullcontext() if _current.get() is None else _set(None)


@contextmanager
def _set(shard: Shard | None) -> Iterator[None]:
    before = _current.set(shard)
    try:
        yield
    finally:
        _current.reset(before)


def draw_for_batch(draw: Callable[[int], torch.Tensor], n: int, dim: int = 0) -> torch.Tensor:
    """Draw random numbers for n rows, the same that one process would draw for them.

    Parameters
    ----------
    draw : callable
        From a number of rows to a tensor with as many along `dim`.
    n : int
        Number of local rows: the shard's, or a multiple of it when a batch holds several views.
    dim : int, default=0

    Examples
    --------
    >>> with sharded(Shard(2, 3, 4)):  # two views of the third of four rows
    ...     draw_for_batch(torch.arange, 2).tolist()
    [2, 6]
    """
    shard = _current.get()
    if shard is None:
        return draw(n)
    n_views = n // (shard.stop - shard.first)
    return _rows_of_shard(draw(shard.n * n_views), shard, dim)


def draw_like(draw: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Draw a random number for each value of x, by `torch.randn_like` or `torch.rand_like`."""

    def draw_rows(n: int) -> torch.Tensor:
        # The layout in memory decides in which order the numbers are filled in.
        last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        shape = (n, *x.shape[1:])
        return draw(torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout))

    return draw(x) if _current.get() is None else draw_for_batch(draw_rows, len(x))


def local_shard(x: torch.Tensor) -> torch.Tensor:
    """Return this process's rows of a whole batch, or of several views of it, concatenated."""
    shard = _current.get()
    return x if shard is None else _rows_of_shard(x, shard, 0)


def _rows_of_shard(x: torch.Tensor, shard: Shard, dim: int) -> torch.Tensor:
    rows = x.unflatten(dim, (-1, shard.n)).narrow(dim + 1, shard.first, shard.stop - shard.first)
    return rows.flatten(dim, dim + 1)


def all_gather(x: torch.Tensor) -> torch.Tensor:
    """Return the rows of all processes in the order of their ranks; gradients flow back."""
    shard = _current.get()
    if shard is None:
        return x
    rows = x.unflatten(0, (-1, shard.stop - shard.first))
    around = (0, 0) * (x.ndim - 1) + (shard.first, shard.n - shard.stop)
    # A sum of shards padded with zeros: torch's all_gather needs shards of equal length.
    return all_reduce_sum(torch.nn.functional.pad(rows, around)).flatten(0, 1)


def rescaled_sum(local_sum: torch.Tensor) -> torch.Tensor:
    """Return the sum over the whole batch times the shard's fraction, given the shard's sum.

    A ratio with this as its denominator, averaged over the processes weighted by their
    fractions, has the sum over the whole batch as its denominator.
    """
    shard = _current.get()
    return local_sum if shard is None else all_reduce_sum(local_sum) * shard.fraction


def all_reduce_sum(x: torch.Tensor) -> torch.Tensor:
    """Return the sum of a tensor over the processes; its gradient is summed over them too."""
    return _AllReduceSum.apply(x)


# torch.distributed.nn has the same, and warns that it will be removed.
class _AllReduceSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return _AllReduceSum.apply(gradients[0])
