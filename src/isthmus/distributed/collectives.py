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


def exchange_rows(rows_by_rank: Sequence[np.ndarray], counts: Sequence[int]) -> np.ndarray:
    """Send each process its rows, and return the rows received from all (all-to-all).

    Parameters
    ----------
    rows_by_rank : sequence of arrays of shape (k_i, ...)
        The rows for each rank, this one too; of one dtype and row shape.
    counts : sequence of int
        How many rows each rank sends to this one.

    Returns
    -------
    array of shape (sum(counts), ...)
        In the order of the ranks.
    """
    like = rows_by_rank[0]
    # As bytes: gloo does not sum 16-bit integers, but it transfers bytes of any meaning.
    sent = torch.from_numpy(np.concatenate([_as_bytes(rows) for rows in rows_by_rank]))
    received = torch.empty((sum(counts), sent.shape[1]), dtype=torch.uint8)
    lengths = [len(rows) for rows in rows_by_rank]
    distributed.all_to_all_single(received, sent, list(counts), lengths, group=cpu_group())
    return received.numpy().view(like.dtype).reshape(-1, *like.shape[1:])


def _as_bytes(rows: np.ndarray) -> np.ndarray:
    n_bytes = rows.itemsize * int(np.prod(rows.shape[1:]))
    return np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), n_bytes)


class PartialResult(Protocol):
    """What one process computed from its share of a sequence."""

    def extend(self, later: Self) -> None:
        """Append the result of the share that follows.

        Parameters
        ----------
        later : PartialResult
            Of the same type.
        """


P = TypeVar("P", bound=PartialResult)
T = TypeVar("T")

#: Whether the work of this process is cancelled, as a lower rank failed or a process is lost.
IsCancelled = Callable[[], bool]


def run_on_rank_zero(group: ProcessGroup, make: Callable[[], T]) -> T:
    """Call `make` on rank 0 alone, and return its result to all; all raise its error.

    Parameters
    ----------
    group : ProcessGroup
    make : callable
        Without arguments; its result can be pickled.

    Returns
    -------
    object
        What `make` returned on rank 0.

    Raises
    ------
    TrainingError
        When another process is lost.

    Examples
    --------
    >>> run_on_rank_zero(ProcessGroup.find(), lambda: 1)
    1
    """
    if group.world_size == 1:
        return make()
    outcome: list[Any] = [None, None]  # result, error

    def work(is_cancelled: IsCancelled) -> None:
        if group.is_rank_zero:
            outcome[0] = make()

    with group.explain_lost_process("start all again"):
        outcome[1] = run_with_heartbeat(group, work)
        distributed.broadcast_object_list(outcome, src=0, group=cpu_group())
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def run_on_all_ranks(
    group: ProcessGroup,
    result: P,
    work: Callable[[P, IsCancelled], None],
    finish: Callable[[P], T],
) -> T:
    """Let each process work on a share, and return to all what `finish` makes of all results.

    Parameters
    ----------
    group : ProcessGroup
    result : PartialResult
        Of this process, empty. Rank 0 receives those of all ranks one after another, and
        merges them in order.
    work : callable
        Fills `result` from this process's share. It may return early once its second argument,
        when called, returns True.
    finish : callable
        From the merged result to what is returned; rank 0 alone calls it.

    Returns
    -------
    object
        What `finish` returned.

    Raises
    ------
    Exception
        The first error of `work` in the order of the ranks, unless merging the results before it
        raises one; else that of `finish`. It is raised by all.
    TrainingError
        When another process is lost.

    Examples
    --------
    >>> def work(numbers, is_cancelled):
    ...     numbers.extend([1, 2])
    >>> run_on_all_ranks(ProcessGroup.find(), [], work, sum)
    3
    """
    if group.world_size == 1:
        work(result, lambda: False)
        return finish(result)
    with group.explain_lost_process("start all again"):
        own = result, run_with_heartbeat(group, lambda is_cancelled: work(result, is_cancelled))
        if group.is_rank_zero:
            merged, error = merge_results(itertools.chain([own], _receive_results(group)))
        else:
            distributed.send_object_list([own], dst=0, group=cpu_group())

    def make() -> T:
        if error is not None:
            raise error
        return finish(merged)

    return run_on_rank_zero(group, make)


def merge_results(results: Iterable[tuple[P, Exception | None]]) -> tuple[P, Exception | None]:
    """Merge results in the order of their shares, and return the first error among them.

    A result with an error holds what was computed before the error.
    """
    each = iter(results)
    merged, first_error = next(each)
    for result, error in each:  # to the end, as each process waits until its result is received
        if first_error is None:
            try:
                merged.extend(result)
            except Exception as while_merging:
                first_error = while_merging
            else:
                first_error = error
    return merged, first_error


def _receive_results(group: ProcessGroup) -> Iterator[Any]:
    """Yield on rank 0 the results that the other ranks send, in order."""
    for rank in range(1, group.world_size):
        received = [None]
        distributed.recv_object_list(received, src=rank, group=cpu_group())
        yield received[0]


#: Seconds between two heartbeats of a process that still works.
HEARTBEAT_SECONDS = 30.0


def run_with_heartbeat(
    group: ProcessGroup, work: Callable[[IsCancelled], None]
) -> Exception | None:
    """Call `work` on every process, and return this one's error, if any, once all are done.

    Processes that are done wait, however long the others work, because these send heartbeats. An
    error cancels the work of all higher ranks.

    Raises
    ------
    RuntimeError
        torch's, when another process is lost.
    """
    cpu_group()  # created by all at this point
    heartbeat = _Heartbeat(group)
    heartbeat.start()
    try:
        work(heartbeat.cancelled.is_set)
    except Exception as error:
        heartbeat.finish(failed=True)
        return error
    except BaseException:
        heartbeat.abort()
        raise
    heartbeat.finish(failed=False)
    return None


class _Heartbeat(threading.Thread):
    """Reports to the other processes that this one still works, while it works."""

    def __init__(self, group: ProcessGroup) -> None:
        super().__init__(name="isthmus-heartbeat", daemon=True)
        self.cancelled = threading.Event()
        self._rank = group.rank
        # Whether this process is done, and the lowest rank that failed (world size if none did).
        self._state = [0, group.world_size]
        self._done, self._aborted = threading.Event(), False
        self._error: Exception | None = None

    def run(self) -> None:
        """Send heartbeats until all processes are done or one is lost."""
        try:
            while not self._beat():
                pass
        except Exception as error:
            self._error = error
            self.cancelled.set()

    def finish(self, *, failed: bool) -> None:
        """Report that this process is done, and wait until all are."""
        self._state = [1, self._rank if failed else self._state[1]]
        self._done.set()
        self.join()
        if self._error is not None:
            raise self._error

    def abort(self) -> None:
        """Send no more heartbeats."""
        self._aborted = True
        self._done.set()

    def _beat(self) -> bool:
        """Send one heartbeat when it is due; return whether it was the last."""
        self._done.wait(HEARTBEAT_SECONDS)
        if self._aborted:
            return True
        state = torch.tensor(self._state)
        distributed.all_reduce(state, distributed.ReduceOp.MIN, group=cpu_group())
        all_done, first_failed = state.tolist()
        if first_failed < self._rank:
            self.cancelled.set()
        return bool(all_done)


@contextmanager
def synchronized_batch_norm(network: nn.Module) -> Iterator[None]:
    """Let batch normalisation use the statistics of whole batches within the block.

    torch's own SyncBatchNorm works on GPUs alone, and would stay in the network.

    Parameters
    ----------
    network : torch.nn.Module

    Yields
    ------
    None
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
    shard = current_shard()
    if shard is None or not (layer.training or layer.running_mean is None):
        return type(layer).forward(layer, x)
    mean, variance = _batch_statistics(layer, x.float(), shard)
    if layer.training and layer.running_mean is not None:
        n = x.numel() / x.shape[1] / shard.fraction
        _update_running_statistics(layer, mean.detach(), variance.detach() * (n / (n - 1)))
    scale = torch.rsqrt(variance + layer.eps)
    if layer.weight is not None:
        scale = scale * layer.weight
    offset = -mean * scale
    if layer.bias is not None:
        offset = offset + layer.bias
    return (x.float() * _per_channel(scale, x) + _per_channel(offset, x)).to(x.dtype)


def _batch_statistics(
    layer: _BatchNorm, x: torch.Tensor, shard: Shard
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and variance of each channel over the whole batch."""
    dims = [axis for axis in range(x.ndim) if axis != 1]
    variance, mean = torch.var_mean(x, dim=dims, correction=0)
    # Moments about a value near the mean: about zero, digits would be lost where the mean is large.
    about = torch.zeros_like(mean) if layer.running_mean is None else layer.running_mean.clone()
    mean = mean - about
    moments = torch.stack([mean, variance + mean.square()]) * shard.fraction
    first, second = all_reduce_sum(moments)
    return first + about, (second - first.square()).clamp(min=0)


def _update_running_statistics(
    layer: _BatchNorm, mean: torch.Tensor, variance: torch.Tensor
) -> None:
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


def _per_channel(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Reshape one value a channel so that it broadcasts over x."""
    return values.view(1, -1, *(1,) * (x.ndim - 2))
