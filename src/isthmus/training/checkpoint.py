"""Checkpoints, and the state of a run that they hold.

A folder with `last.safetensors` (weights, optimiser state, and in its header the epoch,
the history and which run this is) and `best.safetensors` (weights of the best epoch).
Each epoch starts from a seed of its own; within one, the state of the generators is kept too.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

from isthmus._core import folder_lock, reading, user_path, write_bytes
from isthmus.distributed import ProcessGroup
from isthmus.errors import CheckpointError, OutputError, TrainingError, is_disk_full
from isthmus.training.optimizer import Optimizer, OptimizerState

State = dict[str, torch.Tensor]
#: In place of a file's SHA-256 while that is computed.
_NO_DIGEST = "0" * 64


@dataclass
class EpochPosition:
    """How far a run has got within an epoch.

    Attributes
    ----------
    step : int
        Steps done.
    values : dict of str to list of float
        Of each of these steps the losses, by name.
    weights : list of int
        Of each of these steps the number of instances.
    seconds : float
    random_states : list of tensors
        States of the run's generators: the CPU's, and a GPU's when it is trained on one.
    """

    step: int = 0
    values: dict[str, list[float]] = field(default_factory=dict)
    weights: list[int] = field(default_factory=list)
    seconds: float = 0.0
    random_states: list[torch.Tensor] = field(default_factory=list)


@dataclass
class Progress:
    """How far a run has got.

    Attributes
    ----------
    epoch : int
        Epochs done.
    finished : bool
    interrupted : bool
        Whether Ctrl-C ended the run, and the weights are the best until then.
    best_epoch : int or None
    best_state : dict or None
        Weights of the best epoch.
    history : list of dict
        A record an epoch.
    position : EpochPosition or None
        Where the next epoch was interrupted.
    """

    epoch: int = 0
    finished: bool = False
    interrupted: bool = False
    best_epoch: int | None = None
    best_state: State | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    position: EpochPosition | None = None


def copy_state(network: nn.Module) -> State:
    """Copy a network's parameters and buffers to CPU memory."""
    return {
        name: value.detach().to("cpu", copy=True) for name, value in network.state_dict().items()
    }


def broadcast_state(
    network: nn.Module,
    optimizer: Optimizer,
    progress: Progress,
    device: torch.device,
    group: ProcessGroup,
) -> Progress:
    """Broadcast rank 0's weights, optimiser state and progress to all processes.

    Modules passed by the caller may start from other weights in every process, and only rank 0's
    machine need have the checkpoint.
    """
    names = ("epoch", "finished", "best_epoch", "history", "position")
    received = group.broadcast({name: getattr(progress, name) for name in names})
    best = progress.best_state
    if best is None and received["best_epoch"] is not None:
        state = network.state_dict()
        best = {name: torch.empty_like(value, device="cpu") for name, value in state.items()}
    tensors = list(network.state_dict().values())
    tensors += [value for state in optimizer.state.values() for value in state.values()]
    group.broadcast_tensors(tensors, device)
    if best is not None:
        # A state read from a file has its names in another order.
        group.broadcast_tensors([best[name] for name in sorted(best)], device)
    return replace(progress, best_state=best, **received)


_ANEW = "it is damaged: delete it to start anew"
LAST, BEST = "last.safetensors", "best.safetensors"
#: Seconds between two checkpoints within an epoch.
CHECKPOINT_SECONDS = 600.0


@contextmanager
def lock_checkpoints(folder: str | Path) -> Iterator[None]:
    """Hold a folder as the only run that writes checkpoints there; a thread may hold it again.

    Hold it until the folder is deleted, if it is: another run may then have begun to write there.

    Parameters
    ----------
    folder : path

    Yields
    ------
    None

    Raises
    ------
    CheckpointError
        When another run holds it.
    """
    target = user_path(folder)
    with ExitStack() as entered:
        with suppress(OSError):
            target.parent.mkdir(parents=True, exist_ok=True)
        try:
            entered.enter_context(folder_lock(target, wait=0.0))
        except OutputError as error:
            if error.errno is None:
                raise CheckpointError(
                    f"{folder} is being written by another run; wait for it, or choose another "
                    "folder (checkpoint_dir, on the command line another --output)"
                ) from error
            # Where no lock can be written, the first checkpoint raises.
        yield


class Checkpoints:
    """The checkpoints of one training run in a folder, to write and to resume from.

    Parameters
    ----------
    folder : path
    run : dict
        Plain JSON values that decide the weights: settings, architecture, data. A
        checkpoint of another run is refused, but for one with fewer `max_epochs`: it goes on.
    resume : bool
        Go on from the last checkpoint when there is one; otherwise start anew.
    """

    def __init__(self, folder: str | Path, run: dict[str, Any], *, resume: bool = False) -> None:
        self.folder = user_path(folder)
        self.run = json.loads(json.dumps(run))
        self.resume = resume
        self._written = time.monotonic()

    def epochs_done(self) -> int:
        """Return how many epochs a resumed run need not do again.

        Returns
        -------
        int
        """
        if not (self.resume and (self.folder / LAST).exists()):
            return 0
        with reading(self.folder / LAST, CheckpointError, _ANEW):
            _, header = _read(self.folder / LAST)
            return int(header["epoch"])

    def is_due(self) -> bool:
        """Return whether so much time has passed that a checkpoint is due within the epoch.

        Returns
        -------
        bool
        """
        return time.monotonic() - self._written >= CHECKPOINT_SECONDS

    def restore(self, network: nn.Module, optimizer: Optimizer, progress: Progress) -> Progress:
        """Load the last checkpoint into network and optimiser, and return its progress.

        Parameters
        ----------
        network : torch.nn.Module
        optimizer : Optimizer
        progress : Progress
            Returned where there is no checkpoint.

        Returns
        -------
        Progress

        Raises
        ------
        CheckpointError
            When it is damaged, or of a run with other parameters or data.
        """
        if not (self.resume and (self.folder / LAST).exists()):
            return progress
        with reading(self.folder / LAST, CheckpointError, _ANEW):
            return self._restore(network, optimizer, progress)

    def _restore(self, network: nn.Module, optimizer: Optimizer, progress: Progress) -> Progress:
        tensors, header = _read(self.folder / LAST)
        self._check_same_run(header["run"])
        network.load_state_dict(_with_prefix("network", tensors))
        optimizer.load(_by_parameter(_with_prefix("optimizer", tensors)))
        progress.epoch = header["epoch"]
        progress.finished = header["finished"]
        progress.history = header["history"]
        progress.best_epoch = header["best_epoch"]
        if header.get("middle") is not None:
            states = _with_prefix("randomness", tensors)
            progress.position = EpochPosition(
                **header["middle"], random_states=[states[name] for name in sorted(states)]
            )
        if progress.best_epoch is not None:
            progress.best_state, best = _read(self.folder / BEST)
            # A run that died between the two files left the best of the epoch it would
            # have recorded next; any other than these two is from another run.
            if best["epoch"] not in (progress.best_epoch, progress.epoch + 1):
                raise CheckpointError(
                    f"{self.folder / BEST} holds epoch {best['epoch']}, but {LAST} beside it "
                    f"names epoch {progress.best_epoch} as the best; delete both to start anew"
                )
        return progress

    def write(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        progress: Progress,
        improved: bool,
    ) -> None:
        """Write the last checkpoint, and the best one when the epoch that ended is it.

        Parameters
        ----------
        network : torch.nn.Module
        optimizer : Optimizer
        progress : Progress
        improved : bool
            Whether the epoch that ended is the best so far.

        Raises
        ------
        TrainingError
            When it cannot be written, for want of space or otherwise.
        """
        try:
            self._write(network, optimizer, progress, improved)
        except OSError as error:
            what = "no space left for" if is_disk_full(error) else "cannot write"
            why = (
                "free some space"
                if is_disk_full(error)
                else f"see to it ({error.strerror or error})"
            )
            raise TrainingError(
                f"{what} a checkpoint in {self.folder}; the one "
                f"before stands, if there was one: {why}, and go on with resume (on the command "
                "line --resume)"
            ) from error

    def _write(
        self, network: nn.Module, optimizer: Optimizer, progress: Progress, improved: bool
    ) -> None:
        if improved and progress.best_state is not None:
            # The best goes first: dying between the two leaves a `last` that will
            # compute this same best again.
            header = {"epoch": progress.best_epoch, "run": self.run}
            write_bytes(self.folder / BEST, _pack(progress.best_state, header))
        tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
        for index, state in optimizer.state.items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        position = None
        if progress.position is not None:
            position = asdict(progress.position)
            states = enumerate(position.pop("random_states"))
            tensors |= {f"randomness.{at}": state for at, state in states}
        header = {
            "epoch": progress.epoch,
            "middle": position,
            "finished": progress.finished,
            "best_epoch": progress.best_epoch,
            "history": progress.history,
            "run": self.run,
        }
        write_bytes(self.folder / LAST, _pack(tensors, header))
        self._written = time.monotonic()

    def _check_same_run(self, other: dict[str, Any]) -> None:
        names = set(self.run) | set(other)
        there, now = other.get("max_epochs"), self.run.get("max_epochs")
        if isinstance(there, int) and isinstance(now, int) and there < now:
            names -= {"max_epochs", "patience"}  # which is a share of the epochs by default
        different = [
            f"{name} (there {other.get(name)!r}, now {self.run.get(name)!r})"
            for name in sorted(names)
            if other.get(name) != self.run.get(name)
        ]
        if different:
            raise CheckpointError(
                f"the checkpoint in {self.folder} is of another run; it differs in "
                f"{', '.join(different)}; use the same parameters and data, or another folder"
            )


def _pack(tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> bytes:
    packed = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    content = save(packed, metadata={"state": json.dumps(header), "digest": _NO_DIGEST})
    found = hashlib.sha256(content).hexdigest()
    return content.replace(_NO_DIGEST.encode(), found.encode(), 1)


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    with reading(path, CheckpointError, _ANEW), safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        header, digest = json.loads(metadata["state"]), metadata.get("digest")
        if digest is not None:  # the first checkpoints have none
            content = path.read_bytes().replace(digest.encode(), _NO_DIGEST.encode(), 1)
            if hashlib.sha256(content).hexdigest() != digest:
                raise CheckpointError(f"{path} has another SHA-256 than it states; {_ANEW}")
        return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118


def _with_prefix(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    start = f"{prefix}."
    return {
        name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)
    }


def _by_parameter(tensors: dict[str, torch.Tensor]) -> OptimizerState:
    state: OptimizerState = {}
    for path, value in tensors.items():
        index, name = path.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    return state
