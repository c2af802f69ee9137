"""One worker's part of a batch, and what has to be known of the whole batch all the same.

Several workers should train as one process would. So random numbers are drawn for the whole
batch, by every worker alike, and each takes its own; and what is about a batch as a whole gets
the rows of all. Where nothing is shared these functions return what they are given.
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
    """Rows `first` to `stop`, counted from 0 and without the last, of a batch of `n`."""

    first: int
    stop: int
    n: int

    @property
    def share(self) -> float:
        """Which share of the batch this is, in (0, 1)."""
        return (self.stop - self.first) / self.n


_current: ContextVar[Shard | None] = ContextVar("part", default=None)


def shard_bounds(n: int, rank: int, size: int) -> tuple[int, int]:
    """Return the first row of a worker's part of `n` rows, and the one after its last.

    Fewer rows than workers are not divided: each worker takes all of them.

    Examples
    --------
    >>> [shard_bounds(7, rank, 3) for rank in range(3)], shard_bounds(2, 1, 3)
    ([(0, 2), (2, 4), (4, 7)], (0, 2))
    """
    if n < size:
        return 0, n
    return rank * n // size, (rank + 1) * n // size


def current_shard() -> Shard | None:
    """Return the part that is being worked on, or None where nothing is shared."""
    return _current.get()


def sharded(part: Shard | None) -> AbstractContextManager[None]:
    """Work on one part of a batch within the block; None is the whole batch."""
    return nullcontext() if part is None else _set(part)


def unsharded() -> AbstractContextManager[None]:
    """Work on a whole batch within the block, every worker alike."""
    return nullcontext() if _current.get() is None else _set(None)


@contextmanager
def _set(part: Shard | None) -> Iterator[None]:
    before = _current.set(part)
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
        Rows at hand: this worker's, once or several times over.
    dim : int, default=0

    Examples
    --------
    >>> with sharded(Shard(2, 3, 4)):  # the third of four rows, and views of it
    ...     draw_for_batch(torch.arange, 2).tolist()
    [2, 6]
    """
    part = _current.get()
    if part is None:
        return draw(n)
    return _taken(draw(part.n * (n // (part.stop - part.first))), part, dim)


def draw_like(draw: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Draw a random number for each value of x, by `torch.randn_like` or `torch.rand_like`."""

    def draw_rows(n: int) -> torch.Tensor:
        # The layout in memory decides which number comes where.
        last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        shape = (n, *x.shape[1:])
        return draw(torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout))

    return draw(x) if _current.get() is None else draw_for_batch(draw_rows, len(x))


def local_shard(x: torch.Tensor) -> torch.Tensor:
    """Return this worker's rows of a whole batch, or of several in a row."""
    part = _current.get()
    return x if part is None else _taken(x, part, 0)


def all_gather(x: torch.Tensor) -> torch.Tensor:
    """Return the rows of all workers, in their order; gradients find their way back."""
    part = _current.get()
    if part is None:
        return x
    rows = x.unflatten(0, (-1, part.stop - part.first))
    around = (0, 0) * (x.ndim - 1) + (part.first, part.n - part.stop)
    # Sums of parts with zeros around them: no other way joins parts of unequal length.
    return all_reduce_sum(torch.nn.functional.pad(rows, around)).flatten(0, 1)


def rescaled_sum(total: torch.Tensor) -> torch.Tensor:
    """Return a sum over the whole batch times this worker's share, from the sum over its part.

    What is divided by it has, averaged over workers by their shares, the sum over the whole batch
    below the line.
    """
    part = _current.get()
    return total if part is None else all_reduce_sum(total) * part.share


def all_reduce_sum(x: torch.Tensor) -> torch.Tensor:
    """Return the sum of a tensor over the workers; its gradient is summed over them too."""
    return _Summed.apply(x)


# torch.distributed.nn has the same, and warns that it will go.
class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return _Summed.apply(gradients[0])


def _taken(x: torch.Tensor, part: Shard, dim: int) -> torch.Tensor:
    rows = x.unflatten(dim, (-1, part.n)).narrow(dim + 1, part.first, part.stop - part.first)
    return rows.flatten(dim, dim + 1)
