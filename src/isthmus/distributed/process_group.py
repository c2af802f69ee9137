"""The process group: which process this is, and how processes communicate."""

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

#: How long a worker waits for the others before it gives up. The longest waits are for the
#: slowest to read its data, and for the first to write a checkpoint.
TIMEOUT = timedelta(minutes=10)

_known: dict[str, Any] = {}


def cpu_group() -> distributed.ProcessGroup:
    """Return a group of all workers for what does not belong to a training step.

    All must ask for it the first time at the same point. It moves what is in a machine's memory,
    and another thread than the one that trains may use it.
    """
    world = distributed.group.WORLD
    if _known.get("of") is not world:
        _known.update(of=world, group=distributed.new_group(backend="gloo", timeout=TIMEOUT))
    return _known["group"]


#: What torchrun, and whoever else starts processes of one run, says in the environment.
_SAID = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train together, seen from one of them.

    Attributes
    ----------
    rank : int
        Number of this one, from 0.
    size : int
        How many there are; 1 is a process on its own.

    Examples
    --------
    >>> ProcessGroup.find()
    ProcessGroup(rank=0, size=1)
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def find(cls) -> ProcessGroup:
        """Return the workers that this process belongs to, and join them when it has not yet.

        That are those of torch's default process group, else those that torchrun started.
        """
        if not distributed.is_available():
            return SINGLE_PROCESS  # torch can be built without
        if not distributed.is_initialized():
            if not all(name in os.environ for name in _SAID) or os.environ["WORLD_SIZE"] == "1":
                return SINGLE_PROCESS
            _join()
            atexit.register(_leave)
        return cls(distributed.get_rank(), distributed.get_world_size())

    @property
    def is_first(self) -> bool:
        """Whether this is the worker that writes files and talks to people."""
        return self.rank == 0

    def part(self, n: int) -> Shard | None:
        """Return this worker's part of a batch of n rows, or None when it is not divided."""
        if self.size == 1 or n < self.size:
            return None
        return Shard(*shard_bounds(n, self.rank, self.size), n)

    def device(self, device: torch.device) -> torch.device:
        """Return this worker's own GPU where others on its machine use GPUs too.

        Raises
        ------
        TrainingError
            When the machine has fewer GPUs than workers.
        """
        if self.size == 1 or str(device) != "cuda":
            return device
        number, n_devices = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if number >= n_devices:
            raise TrainingError(
                f"got worker {number + 1} on a machine with {n_devices} GPU(s), expected one for "
                f"each; start {n_devices} at most (--nproc-per-node), or train on the CPU"
            )
        torch.cuda.set_device(number)
        return torch.device("cuda", number)

    def from_first(self, plain: Any) -> Any:
        """Return what the first worker gives, plain values."""
        if self.size == 1:
            return plain
        told = [plain]
        distributed.broadcast_object_list(told, src=0)
        return told[0]

    def check_same(self, facts: Mapping[str, Any]) -> None:
        """Check that every worker has the same facts, plain values by name.

        Raises
        ------
        DataError
            When one has others; it names the first that differs.
        """
        if self.size == 1:
            return
        told: list[Any] = [None] * self.size
        distributed.all_gather_object(told, dict(facts))
        for name in facts:
            for rank, other in enumerate(told):
                if other[name] != told[0][name]:
                    raise DataError(
                        f"got {name} {told[0][name]} on worker 0 and {other[name]} on worker "
                        f"{rank}, expected the same on all; give every worker the same files "
                        "and the same options"
                    )

    @torch.no_grad()
    def copy_from_first(self, tensors: Iterable[torch.Tensor], device: torch.device) -> None:
        """Overwrite tensors by the first worker's, in place; they travel on `device`."""
        if self.size == 1:
            return
        for tensor in tensors:
            travelling = tensor.to(device).contiguous()
            distributed.broadcast(travelling, src=0)
            tensor.copy_(travelling)

    @torch.no_grad()
    def reduce(
        self, parameters: Sequence[torch.Tensor], values: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Average gradients over the workers, in place, and return the averages of values.

        All go in one piece. Buckets that travel while the backward pass still runs, as
        `DistributedDataParallel` has them, are for networks whose step takes much longer; and
        with the losses in it every worker knows all that is decided by, at no cost.
        """
        if self.size == 1:
            return dict(values)
        gradients = [p.grad for p in parameters if p.grad is not None]
        told = torch.stack([value.detach() for value in values.values()])
        bucket = torch.cat([*(gradient.flatten() for gradient in gradients), told])
        distributed.all_reduce(bucket)
        bucket /= self.size
        *parts, told = bucket.split([*(gradient.numel() for gradient in gradients), len(told)])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        return dict(zip(values, told.unbind(), strict=True))

    def averaged(self, values: Mapping[str, float], device: torch.device) -> dict[str, float]:
        """Return the averages over the workers of numbers; they travel on `device`."""
        if self.size == 1:
            return dict(values)
        exact = torch.float32 if device.type == "mps" else torch.float64
        told = torch.tensor(list(values.values()), dtype=exact, device=device)
        distributed.all_reduce(told)
        return dict(zip(values, (told / self.size).tolist(), strict=True))

    def weighted(
        self, values: Mapping[str, torch.Tensor], part: Shard | None
    ) -> dict[str, torch.Tensor]:
        """Weight means over a part, so that their mean over workers is that over the batch."""
        if part is None:
            return dict(values)
        return {name: value * (self.size * part.share) for name, value in values.items()}

    @contextmanager
    def watched(self, fix: str) -> Iterator[None]:
        """Turn what torch says when another worker is gone into an error that says how to go on.

        Raises
        ------
        TrainingError
            When another worker ended, or did not answer for `TIMEOUT`.
        """
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or isinstance(error, TrainingError) or not is_process_lost(error):
                raise
            raise TrainingError(
                f"another of the {self.size} workers ended or no longer answers; {fix}"
            ) from error


SINGLE_PROCESS = ProcessGroup()


def is_process_lost(error: BaseException | None) -> bool:
    """Return whether torch says by an error that another worker is gone."""
    # gloo raises a plain RuntimeError that names its own source file.
    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and "gloo" in str(error).lower()
    )


def _join() -> None:
    # torchrun keeps its store when it starts workers again, and with it the addresses at which
    # those before them could be reached; under a prefix of their own nobody reads these.
    store, rank, size = next(distributed.rendezvous("env://", timeout=TIMEOUT))
    start = f"isthmus-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    distributed.init_process_group(
        store=distributed.PrefixStore(start, store), rank=rank, world_size=size, timeout=TIMEOUT
    )


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
