"""The process group: the rank of this process, and what all processes exchange in training."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from isthmus.distributed.sharding import Shard, shard_bounds
from isthmus.errors import DataError, TrainingError

#: How long a process waits for the others before it gives up. The longest waits are for the
#: slowest to read its data, and for rank 0 to write a checkpoint.
TIMEOUT = timedelta(minutes=10)

#: What torchrun, like other launchers of several processes, sets in the environment.
_LAUNCH_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train together, and which of them this one is.

    Attributes
    ----------
    rank : int
        Number of this process, from 0.
    world_size : int
        Number of processes; 1 without others.

    Examples
    --------
    >>> ProcessGroup.find()
    ProcessGroup(rank=0, world_size=1)
    """

    rank: int = 0
    world_size: int = 1

    @classmethod
    def find(cls) -> ProcessGroup:
        """Return this process's group, which it joins when it has not yet.

        The group is torch's default process group, else the one that torchrun started.

        Returns
        -------
        ProcessGroup
            Of one process where there is no other.
        """
        if not distributed.is_available():
            return SINGLE_PROCESS  # torch can be built without
        if not distributed.is_initialized():
            launched = all(name in os.environ for name in _LAUNCH_VARIABLES)
            if not launched or os.environ["WORLD_SIZE"] == "1":
                return SINGLE_PROCESS
            _init_process_group()
            atexit.register(_destroy_process_group)
        return cls(distributed.get_rank(), distributed.get_world_size())

    @property
    def is_rank_zero(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def shard(self, n: int) -> Shard | None:
        """Return this process's shard of a batch of n rows, or None when it is not sharded.

        Parameters
        ----------
        n : int

        Returns
        -------
        Shard or None
        """
        if self.world_size == 1 or n < self.world_size:
            return None
        return Shard(*shard_bounds(n, self.rank, self.world_size), n)

    def local_device(self, device: torch.device) -> torch.device:
        """Return this process's own GPU where others on its machine use GPUs too.

        Parameters
        ----------
        device : torch.device

        Returns
        -------
        torch.device

        Raises
        ------
        TrainingError
            When the machine has fewer GPUs than processes.
        """
        if self.world_size == 1 or str(device) != "cuda":
            return device
        local_rank, n_devices = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local_rank >= n_devices:
            raise TrainingError(
                f"got worker {local_rank + 1} on a machine with {n_devices} GPU(s), expected one "
                f"for each; start {n_devices} at most (--nproc-per-node), or train on the CPU"
            )
        torch.cuda.set_device(local_rank)
        return torch.device("cuda", local_rank)

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's value, which consists of plain values.

        Parameters
        ----------
        value : object
            Plain values.

        Returns
        -------
        object
        """
        if self.world_size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    @torch.no_grad()
    def broadcast_tensors(self, tensors: Iterable[torch.Tensor], device: torch.device) -> None:
        """Overwrite tensors by rank 0's, in place; they are sent from and to `device`.

        Parameters
        ----------
        tensors : iterable of tensors
        device : torch.device
        """
        if self.world_size == 1:
            return
        for tensor in tensors:
            on_device = tensor.to(device).contiguous()
            distributed.broadcast(on_device, src=0)
            tensor.copy_(on_device)

    def check_equal(self, values: Mapping[str, Any]) -> None:
        """Check that every process has the same plain values, by name.

        Parameters
        ----------
        values : mapping of str to plain values

        Raises
        ------
        DataError
            When a process has others; it names the first value that differs.
        """
        if self.world_size == 1:
            return
        by_rank: list[Any] = [None] * self.world_size
        distributed.all_gather_object(by_rank, dict(values))
        for name in values:
            for rank, other in enumerate(by_rank):
                if other[name] != by_rank[0][name]:
                    raise DataError(
                        f"got {name} {by_rank[0][name]} on worker 0 and {other[name]} on worker "
                        f"{rank}, expected the same on all; give every worker the same files "
                        "and the same options"
                    )

    @torch.no_grad()
    def average_gradients(
        self, parameters: Sequence[torch.Tensor], values: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Average gradients over the processes, in place, and return the averages of values.

        All are sent in one bucket. Buckets that are sent while the backward pass still runs, as
        `DistributedDataParallel` has them, are for networks whose step takes much longer; and
        with the losses in the bucket every process takes the same decisions at no cost.

        Parameters
        ----------
        parameters : sequence of tensors
            Those without a gradient are left out.
        values : mapping of str to scalar tensors

        Returns
        -------
        dict of str to scalar tensor
        """
        if self.world_size == 1:
            return dict(values)
        gradients = [p.grad for p in parameters if p.grad is not None]
        averages = torch.stack([value.detach() for value in values.values()])
        bucket = torch.cat([*(gradient.flatten() for gradient in gradients), averages])
        distributed.all_reduce(bucket)
        bucket /= self.world_size
        lengths = [*(gradient.numel() for gradient in gradients), len(averages)]
        *averaged, averages = bucket.split(lengths)
        for gradient, average in zip(gradients, averaged, strict=True):
            gradient.copy_(average.view_as(gradient))
        return dict(zip(values, averages.unbind(), strict=True))

    def average(self, values: Mapping[str, float], device: torch.device) -> dict[str, float]:
        """Return the averages of numbers over the processes; they are sent from `device`.

        Parameters
        ----------
        values : mapping of str to float
        device : torch.device

        Returns
        -------
        dict of str to float
        """
        if self.world_size == 1:
            return dict(values)
        exact = torch.float32 if device.type == "mps" else torch.float64
        sums = torch.tensor(list(values.values()), dtype=exact, device=device)
        distributed.all_reduce(sums)
        return dict(zip(values, (sums / self.world_size).tolist(), strict=True))

    def weight_by_shard(
        self, values: Mapping[str, torch.Tensor], shard: Shard | None
    ) -> dict[str, torch.Tensor]:
        """Weight a shard's means so that their mean over processes is the mean over the batch.

        Parameters
        ----------
        values : mapping of str to scalar tensors
        shard : Shard or None
            None: a whole batch, whose values stay as they are.

        Returns
        -------
        dict of str to scalar tensor
        """
        if shard is None:
            return dict(values)
        return {name: value * (self.world_size * shard.fraction) for name, value in values.items()}

    @contextmanager
    def explain_lost_process(self, fix: str) -> Iterator[None]:
        """Turn torch's error about a lost process into one that says what to do.

        Parameters
        ----------
        fix : str
            What to do, the end of the message.

        Yields
        ------
        None

        Raises
        ------
        TrainingError
            When another process ended, or did not answer for `TIMEOUT`.
        """
        try:
            yield
        except RuntimeError as error:
            is_ours = isinstance(error, TrainingError)
            if self.world_size == 1 or is_ours or not is_process_lost(error):
                raise
            raise TrainingError(
                f"another of the {self.world_size} workers ended or no longer answers; {fix}"
            ) from error


SINGLE_PROCESS = ProcessGroup()


def is_process_lost(error: BaseException | None) -> bool:
    """Return whether an error is torch's about another process that is lost.

    Parameters
    ----------
    error : BaseException or None

    Returns
    -------
    bool
    """
    # gloo raises a plain RuntimeError that names its own source file.
    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and "gloo" in str(error).lower()
    )


_cpu_groups: dict[str, Any] = {}


def cpu_group() -> distributed.ProcessGroup:
    """Return torch's group of all processes for transfers outside of training steps.

    All processes must call this the first time at the same point. The group transfers what is in
    main memory, and another thread than the one that trains may use it.

    Returns
    -------
    torch.distributed.ProcessGroup
    """
    world = distributed.group.WORLD
    if _cpu_groups.get("world") is not world:
        group = distributed.new_group(backend="gloo", timeout=TIMEOUT)
        _cpu_groups.update(world=world, group=group)
    return _cpu_groups["group"]


def _init_process_group() -> None:
    # torchrun keeps its store when it restarts processes, and with it the addresses of those
    # before them; with a prefix for each restart these are not read.
    store, rank, world_size = next(distributed.rendezvous("env://", timeout=TIMEOUT))
    start = f"isthmus-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    distributed.init_process_group(
        store=distributed.PrefixStore(start, store),
        rank=rank,
        world_size=world_size,
        timeout=TIMEOUT,
    )


def _destroy_process_group() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
