"""Checkpoints: after every epoch all that is needed to go on as if nothing had happened.

A folder with `last.safetensors` (weights, optimiser state, and in its header the epoch,
the history and which run this is) and `best.safetensors` (weights of the best epoch).
Random generators need not be kept: each epoch starts from a seed of its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from isthmus.errors import CheckpointError
from isthmus.storage import write_bytes
from isthmus.training.optimizer import Optimizer, State

if TYPE_CHECKING:
    from isthmus.training.loop import Progress

LAST, BEST = "last.safetensors", "best.safetensors"


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

    def epochs_done(self) -> int:
        """Return how many epochs a resumed run need not do again."""
        if not (self.resume and (self.folder / LAST).exists()):
            return 0
        _, header = _read(self.folder / LAST)
        return int(header["epoch"])

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
        """Write the last checkpoint, and the best one when this epoch is it."""
        if improved and progress.best_state is not None:
            # The best goes first: dying between the two leaves a `last` that will
            # compute this same best again.
            header = {"epoch": progress.best_epoch, "run": self.run}
            write_bytes(self.folder / BEST, _pack(progress.best_state, header))
        tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
        for index, state in optimizer.state.items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        header = {
            "epoch": progress.epoch,
            "finished": progress.finished,
            "best_epoch": progress.best_epoch,
            "history": progress.history,
            "run": self.run,
        }
        write_bytes(self.folder / LAST, _pack(tensors, header))

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
