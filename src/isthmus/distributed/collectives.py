"""Collective operations: rows, results and batch statistics exchanged between processes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from isthmus.distributed.process_group import ProcessGroup, cpu_group
from isthmus.distributed.sharding import Shard, all_reduce_sum, current_shard


def exchange_rows(parcels: Sequence[np.ndarray], counts: Sequence[int]) -> np.ndarray:
    """Send each worker the rows that are for it, and return those that came from all.

    Parameters
    ----------
    parcels : sequence of arrays of shape (k_i, ...)
        For each worker, this one too, in the order of their ranks; of one dtype and row shape.
    counts : sequence of int
        How many rows each worker sends to this one.

    Returns
    -------
    array of shape (sum(counts), ...)
        In the order of the ranks.
    """
    like = parcels[0]
    # As bytes: gloo sums no integers of 16 bits, but what it only carries may be anything.
    sent = torch.from_numpy(np.concatenate([_as_bytes(rows) for rows in parcels]))
    got = torch.empty((sum(counts), sent.shape[1]), dtype=torch.uint8)
    lengths = [len(rows) for rows in parcels]
    distributed.all_to_all_single(got, sent, list(counts), lengths, group=cpu_group())
    return got.numpy().view(like.dtype).reshape(-1, *like.shape[1:])


def _as_bytes(rows: np.ndarray) -> np.ndarray:
    n_bytes = rows.itemsize * int(np.prod(rows.shape[1:]))
    return np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), n_bytes)


#: Seconds after which those who still work say so to those who wait.
STILL_THERE = 30.0

#: Whether what a worker does is of no use any more, as an earlier one failed or one is gone.
Needless = Callable[[], bool]


def run_and_wait(workers: ProcessGroup, work: Callable[[Needless], None]) -> Exception | None:
    """Let every worker call `work`, and return once all are through, with this one's error if any.

    Work that fails makes that of all later workers needless.

    Raises
    ------
    RuntimeError
        When another worker is gone, as torch says it.
    """
    cpu_group()  # made by all at this point
    saying = _Saying(workers)
    saying.start()
    try:
        work(saying.needless.is_set)
    except Exception as error:
        saying.end(failed=True)
        return error
    except BaseException:
        saying.leave()
        raise
    saying.end(failed=False)
    return None


class _Saying(threading.Thread):
    """Says to the others how far this worker is, in another thread than the one that works."""

    def __init__(self, workers: ProcessGroup) -> None:
        super().__init__(name="isthmus-still-there", daemon=True)
        self.needless = threading.Event()
        self._rank = workers.rank
        # Whether this worker is through, and the number of the first that failed as it knows it.
        self._state = [0, workers.size]
        self._through, self._left = threading.Event(), False
        self._lost: Exception | None = None

    def run(self) -> None:
        """Say it every now and then, until all are through or one is gone."""
        try:
            while not self._said():
                pass
        except Exception as error:
            self._lost = error
            self.needless.set()

    def end(self, *, failed: bool) -> None:
        """Say that this worker is through, and wait until all are."""
        self._state = [1, self._rank if failed else self._state[1]]
        self._through.set()
        self.join()
        if self._lost is not None:
            raise self._lost

    def leave(self) -> None:
        """Say nothing any more."""
        self._left = True
        self._through.set()

    def _said(self) -> bool:
        """Say it once, as soon as there is anything to say; return whether that was the end."""
        self._through.wait(STILL_THERE)
        if self._left:
            return True
        told = torch.tensor(self._state)
        distributed.all_reduce(told, distributed.ReduceOp.MIN, group=cpu_group())
        all_through, first_failed = told.tolist()
        if first_failed < self._rank:
            self.needless.set()
        return bool(all_through)


class ShareResult(Protocol):
    """What one worker has gathered from its share of something that has an order."""

    def extend(self, later: Self) -> None:
        """Take in what the next worker has gathered."""


G = TypeVar("G", bound=ShareResult)
T = TypeVar("T")


def run_on_rank_zero(workers: ProcessGroup, make: Callable[[], T]) -> T:
    """Return what `make` gives the first worker, which alone calls it; an error is raised by all.

    Raises
    ------
    TrainingError
        When another worker is gone.

    Examples
    --------
    >>> run_on_rank_zero(ProcessGroup.find(), lambda: 1)
    1
    """
    if workers.size == 1:
        return make()
    made: list[Any] = [None, None]

    def work(needless: Needless) -> None:
        if workers.is_first:
            made[0] = make()

    with workers.watched("start all again"):
        made[1] = run_and_wait(workers, work)
        distributed.broadcast_object_list(made, src=0, group=cpu_group())
    if made[1] is not None:
        raise made[1]
    return made[0]


def run_on_all_ranks(
    workers: ProcessGroup, own: G, gather: Callable[[G, Needless], None], finish: Callable[[G], T]
) -> T:
    """Let each worker gather a share, and return to all what comes of the shares in order.

    Parameters
    ----------
    workers : Workers
    own : Gathered
        Of this worker, empty. All are sent to the first one after another, which puts them
        together.
    gather : callable
        Fills `own` with this worker's share. It may leave early once its second argument, when
        called, says that what it gathers is needless.
    finish : callable
        From all that was gathered to what is returned; the first worker alone calls it.

    Raises
    ------
    Exception
        The first of `gather` in the order of the shares, unless what was gathered before raises
        one when it is put together; else that of `finish`. It is raised by all.
    TrainingError
        When another worker is gone.

    Examples
    --------
    >>> def gather(own, needless):
    ...     own.extend([1, 2])
    >>> run_on_all_ranks(ProcessGroup.find(), [], gather, sum)
    3
    """
    if workers.size == 1:
        gather(own, lambda: False)
        return finish(own)
    with workers.watched("start all again"):
        share = own, run_and_wait(workers, lambda needless: gather(own, needless))
        if workers.is_first:
            whole, wrong = merge_shares(itertools.chain([share], _received(workers)))
        else:
            distributed.send_object_list([share], dst=0, group=cpu_group())

    def make() -> T:
        if wrong is not None:
            raise wrong
        return finish(whole)

    return run_on_rank_zero(workers, make)


def merge_shares(shares: Iterable[tuple[G, Exception | None]]) -> tuple[G, Exception | None]:
    """Return what was gathered in shares that come in order, and the first error among them.

    A share whose gathering failed has what came before the error.
    """
    each = iter(shares)
    whole, wrong = next(each)
    for own, error in each:  # to the end, so that nobody waits who has something to send
        if wrong is None:
            try:
                whole.extend(own)
            except Exception as too_much:
                wrong = too_much
            else:
                wrong = error
    return whole, wrong


def _received(workers: ProcessGroup) -> Iterator[Any]:
    """Give to the first worker what the others send, one after another."""
    for rank in range(1, workers.size):
        share = [None]
        distributed.recv_object_list(share, src=rank, group=cpu_group())
        yield share[0]


@contextmanager
def synchronized_batch_norm(network: nn.Module) -> Iterator[None]:
    """Let the batch normalisations of a network see whole batches within the block.

    torch's own SyncBatchNorm does so on GPUs alone, and would stay in the network.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
    for layer in layers:
        layer.forward = partial(_forward, layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _forward(layer: _BatchNorm, x: torch.Tensor) -> torch.Tensor:
    part = current_shard()
    if part is None or not (layer.training or layer.running_mean is None):
        return type(layer).forward(layer, x)
    mean, variance = _statistics(layer, x.float(), part)
    if layer.training and layer.running_mean is not None:
        n = x.numel() / x.shape[1] / part.share
        _follow(layer, mean.detach(), variance.detach() * (n / (n - 1)))
    scale = torch.rsqrt(variance + layer.eps)
    if layer.weight is not None:
        scale = scale * layer.weight
    offset = -mean * scale
    if layer.bias is not None:
        offset = offset + layer.bias
    return (x.float() * _along(scale, x) + _along(offset, x)).to(x.dtype)


def _statistics(
    layer: _BatchNorm, x: torch.Tensor, part: Shard
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and variance of each channel over the whole batch."""
    over = [axis for axis in range(x.ndim) if axis != 1]
    variance, mean = torch.var_mean(x, dim=over, correction=0)
    # Moments about a value near the mean: about zero, digits would be lost where the mean is large.
    about = torch.zeros_like(mean) if layer.running_mean is None else layer.running_mean.clone()
    mean = mean - about
    first, second = all_reduce_sum(torch.stack([mean, variance + mean.square()]) * part.share)
    return first + about, (second - first.square()).clamp(min=0)


def _follow(layer: _BatchNorm, mean: torch.Tensor, variance: torch.Tensor) -> None:
    """Move the running statistics towards a batch's, as torch does."""
    assert layer.running_mean is not None
    assert layer.running_var is not None
    assert layer.num_batches_tracked is not None
    layer.num_batches_tracked.add_(1)
    step = layer.momentum
    if step is None:  # the mean over all batches
        step = 1.0 / float(layer.num_batches_tracked)
    layer.running_mean.lerp_(mean, step)
    layer.running_var.lerp_(variance, step)


def _along(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return a value a channel in the shape that goes with x."""
    return values.view(1, -1, *(1,) * (x.ndim - 2))
