"""Checkpoints: from time to time all that is needed to go on as if nothing had happened.

A folder with `last.safetensors` (weights, optimiser state, and in its header the epoch,
the history and which run this is) and `best.safetensors` (weights of the best epoch).
Each epoch starts from a seed of its own; within one, the state of the generators is kept too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from isthmus.errors import CheckpointError, TrainingError
from isthmus.storage import no_space, write_bytes
from isthmus.training.optimizer import Optimizer, State
from isthmus.training.state import Middle, Progress

LAST, BEST = "last.safetensors", "best.safetensors"
#: Seconds of an epoch after which it is worth a checkpoint before it ends.
EVERY = 600.0


@contextmanager
def held(folder: str | Path) -> Iterator[None]:
    """Hold a folder as the only run that writes checkpoints there.

    Raises
    ------
    CheckpointError
        When another run holds it.
    """
    lock = FileLock(Path(folder) / ".lock", timeout=0)
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        # Held by the operating system: a process that was killed holds nothing.
        lock.acquire()
    except Timeout as error:
        raise CheckpointError(
            f"{folder} is being written by another run; wait for it, or choose another folder "
            "(checkpoint_dir, on the command line another --output)"
        ) from error
    except (OSError, NotImplementedError):
        pass  # no locks here; that nothing can be written is said when it is
    try:
        yield
    finally:
        lock.release()


class Checkpoints:
    """Where a run's checkpoints live, and whether to go on from one.

    Parameters
    ----------
    folder : path
    run : dict
        Plain JSON values that decide the weights: settings, architecture, data. A
        checkpoint of another run is refused.
    resume : bool
        Go on from the last checkpoint when there is one; otherwise start anew.
    """

    def __init__(self, folder: str | Path, run: dict[str, Any], *, resume: bool = False) -> None:
        self.folder = Path(folder)
        self.run = json.loads(json.dumps(run))
        self.resume = resume
        self._written = time.monotonic()

    def epochs_done(self) -> int:
        """Return how many epochs a resumed run need not do again."""
        if not (self.resume and (self.folder / LAST).exists()):
            return 0
        _, header = _read(self.folder / LAST)
        return int(header["epoch"])

    def is_due(self) -> bool:
        """Return whether so much time has passed that a checkpoint is due within the epoch."""
        return time.monotonic() - self._written >= EVERY

    def restore(self, network: nn.Module, optimizer: Optimizer, progress: Progress) -> Progress:
        """Put the last checkpoint into network and optimiser, and return how far it came.

        Raises
        ------
        CheckpointError
            When it is damaged, or of a run with other parameters or data.
        """
        if not (self.resume and (self.folder / LAST).exists()):
            return progress
        tensors, header = _read(self.folder / LAST)
        self._refuse_other_run(header["run"])
        network.load_state_dict(_under("network", tensors))
        optimizer.load(_by_parameter(_under("optimizer", tensors)))
        progress.epoch = header["epoch"]
        progress.finished = header["finished"]
        progress.history = header["history"]
        progress.best_epoch = header["best_epoch"]
        if header.get("middle") is not None:
            states = _under("randomness", tensors)
            progress.middle = Middle(
                **header["middle"], randomness=[states[name] for name in sorted(states)]
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

        Raises
        ------
        TrainingError
            When it cannot be written, for want of space or otherwise.
        """
        try:
            self._write(network, optimizer, progress, improved)
        except OSError as error:
            what = "no space left for" if no_space(error) else "cannot write"
            why = "make room" if no_space(error) else f"see to it ({error.strerror or error})"
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
        middle = None
        if progress.middle is not None:
            middle = asdict(progress.middle)
            states = enumerate(middle.pop("randomness"))
            tensors |= {f"randomness.{at}": state for at, state in states}
        header = {
            "epoch": progress.epoch,
            "middle": middle,
            "finished": progress.finished,
            "best_epoch": progress.best_epoch,
            "history": progress.history,
            "run": self.run,
        }
        write_bytes(self.folder / LAST, _pack(tensors, header))
        self._written = time.monotonic()

    def _refuse_other_run(self, other: dict[str, Any]) -> None:
        names = sorted(set(self.run) | set(other))
        different = [
            f"{name} (there {other.get(name)!r}, now {self.run.get(name)!r})"
            for name in names
            if other.get(name) != self.run.get(name)
        ]
        if different:
            raise CheckpointError(
                f"the checkpoint in {self.folder} is of another run; it differs in "
                f"{', '.join(different)}; use the same parameters and data, or another folder"
            )


def _pack(tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> bytes:
    packed = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    return save(packed, metadata={"state": json.dumps(header)})


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads(file.metadata()["state"])
            return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"the checkpoint {path} cannot be read ({error}); delete it to start anew"
        ) from error


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    start = f"{prefix}."
    return {
        name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)
    }


def _by_parameter(tensors: dict[str, torch.Tensor]) -> State:
    state: State = {}
    for path, value in tensors.items():
        index, name = path.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    return state
