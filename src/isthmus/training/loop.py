"""The one training loop: autoencoders, heads and the supervised control all run it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from isthmus.distributed import SINGLE_PROCESS, ProcessGroup, sharded, synchronized_batch_norm
from isthmus.errors import TrainingError
from isthmus.training.batches import Batch, Batches, move_to_device
from isthmus.training.callbacks import Callback
from isthmus.training.checkpoint import (
    Checkpoints,
    EpochPosition,
    Progress,
    broadcast_state,
    copy_state,
    lock_checkpoints,
    random_state,
    restore_random_state,
)
from isthmus.training.device import derived_seed, isolated_random_state
from isthmus.training.losses import LossMeans
from isthmus.training.optimizer import Optimizer
from isthmus.training.stream_batches import StreamBatches

Objective = Callable[[nn.Module, Batch], dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes
    ----------
    max_epochs, batch_size : int
    optimizer : {"adamw", "adadelta"}
    lr : float
        The highest learning rate of the run.
    weight_decay : float
    schedule : {"cosine", "constant"}
        See `learning_rate_factor`.
    patience : int or None
        Stop after so many epochs without a better validation value.
    seed : int
    device : torch.device
    precision : torch.dtype
        Of the forward pass; weights stay float32.
    best_by : str
        The entry of the epoch's record that decides which epoch was best: the lowest
        wins, or the highest when its name ends in "accuracy", and of equally accurate
        epochs the one with the lowest validation loss.
    """

    max_epochs: int
    batch_size: int
    lr: float
    seed: int
    device: torch.device
    precision: torch.dtype = torch.float32
    optimizer: str = "adamw"
    weight_decay: float = 1e-4
    schedule: str = "cosine"
    patience: int | None = None
    best_by: str = "validation_loss"

    def plain(self) -> dict[str, Any]:
        """Return what decides the weights, as plain JSON values."""
        device = self.device.type
        return self.__dict__ | {"device": device, "precision": str(self.precision)}


def train(
    network: nn.Module,
    objective: Objective,
    rows: Batches | StreamBatches,
    validation: Batches | None,
    settings: Settings,
    listeners: Sequence[Callback] = (),
    checkpoints: Checkpoints | None = None,
    workers: ProcessGroup = SINGLE_PROCESS,
) -> Progress:
    """Train a network in place; afterwards it has the weights of its best epoch.

    Parameters
    ----------
    network : torch.nn.Module
    objective : callable
        From network and batch to mean values; the one named `"loss"` is minimised.
    rows : Rows or StreamRows
    validation : Rows or None
        Without validation rows the last epoch counts as the best.
    settings : Settings
    listeners : sequence of Listener
        Told of every step and epoch.
    checkpoints : Checkpoints, optional
        Written after every epoch, and within long ones; may hold an earlier run to continue.
    workers : Workers
        Of each batch every worker takes its part. All end with the same weights and history;
        the first alone tells listeners, and reads and writes checkpoints.

    Returns
    -------
    Progress
        `history` has one record an epoch: `epoch`, `train_*`, `validation_*`, `lr`,
        `seconds`, `instances_per_second`.

    Raises
    ------
    TrainingError
        When the loss becomes NaN or infinite, a batch has fewer instances than there are
        workers, another worker is gone, or a checkpoint cannot be written.
    CheckpointError
        When the checkpoints are another run's, damaged, or being written by one.
    """
    if settings.batch_size < workers.size:
        raise TrainingError(
            f"got batch_size={settings.batch_size} and {workers.size} workers, expected an "
            "instance of each batch for every worker; pass a larger batch_size, or start fewer"
        )
    move_to_device(network, settings.device)
    trainable = [p for p in network.parameters() if p.requires_grad]
    decay = settings.weight_decay if settings.optimizer == "adamw" else 0.0
    optimizer = Optimizer(trainable, settings.optimizer, decay)
    progress = Progress()
    if not workers.is_first:
        listeners = ()

    with isolated_random_state(settings.seed, settings.device), ExitStack() as entered:
        entered.enter_context(workers.watched(_how_to_go_on(checkpoints)))
        if checkpoints is not None and workers.is_first:
            entered.enter_context(lock_checkpoints(checkpoints.folder))
            progress = checkpoints.restore(network, optimizer, progress)
        if workers.size > 1:
            progress = broadcast_state(network, optimizer, progress, settings.device, workers)
            entered.enter_context(synchronized_batch_norm(network))
        for listener in listeners:
            entered.enter_context(listener)
        while not progress.finished and progress.epoch < settings.max_epochs:
            trained, seconds = _train_epoch(
                network, objective, rows, optimizer, settings, progress, listeners, checkpoints,
                workers,
            )  # fmt: skip
            progress.epoch, progress.middle = progress.epoch + 1, None
            record: dict[str, Any] = {"epoch": progress.epoch}
            record |= {f"train_{name}": value for name, value in trained.items()}
            if validation is not None:
                found = measure(network, objective, validation, settings, workers)
                record |= {f"validation_{name}": value for name, value in found.items()}
            record |= {
                "lr": optimizer.lr,
                "seconds": seconds,
                "instances_per_second": len(rows) / seconds,
            }
            progress.history.append(record)
            _check_finite_record(record, settings)
            improved = validation is not None and _is_best(progress.history, settings.best_by)
            if improved:
                progress.best_epoch = progress.epoch
                progress.best_state = copy_state(network)
            progress.finished = _is_over(progress, settings)
            if checkpoints is not None and workers.is_first:
                checkpoints.write(network, optimizer, progress, improved)
            for listener in listeners:
                listener.epoch_ended(record, network, improved)

    if progress.best_state is not None:
        network.load_state_dict(progress.best_state)
    network.eval()
    return progress


def measure(
    network: nn.Module,
    objective: Objective,
    rows: Batches,
    settings: Settings,
    workers: ProcessGroup = SINGLE_PROCESS,
) -> dict[str, float]:
    """Return the objective's values over `rows`, in evaluation mode, without gradients."""
    network.eval()
    totals = LossMeans()
    size = settings.batch_size
    batches = rows.in_order(size, settings.device, workers.rank, workers.size)
    with torch.no_grad():
        for step, batch in enumerate(batches):
            n = min(size, len(rows) - step * size)
            part = workers.part(n)
            with sharded(part), _autocast(settings):
                values = objective(network, batch)
            totals.add(workers.weighted(values, part), n)
    return workers.averaged(totals.result(), settings.device)


def learning_rate_factor(step: int, total: int, schedule: str) -> float:
    """Return the share of the highest learning rate to use at a step (0-based).

    `"constant"` is 1. `"cosine"` rises linearly over the first tenth, then falls along
    half a cosine to nearly zero at the last step.

    Examples
    --------
    >>> [round(learning_rate_factor(step, 20, "cosine"), 2) for step in (0, 1, 10, 19)]
    [0.5, 1.0, 0.54, 0.01]
    """
    if schedule == "constant":
        return 1.0
    rise = max(1, total // 10)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise + 1) / (total - rise + 1)))


def _train_epoch(
    network: nn.Module,
    objective: Objective,
    rows: Batches | StreamBatches,
    optimizer: Optimizer,
    settings: Settings,
    progress: Progress,
    listeners: Sequence[Callback],
    checkpoints: Checkpoints | None,
    workers: ProcessGroup,
) -> tuple[dict[str, float], float]:
    """Train for the next epoch, or what is left of it; return mean losses and seconds."""
    network.train()
    epoch, middle = progress.epoch + 1, progress.middle or EpochPosition()
    torch.manual_seed(derived_seed(settings.seed, epoch))
    steps = rows.steps(settings.batch_size)
    # Reading a loss waits for the device; a GPU is asked only now and then.
    look_every = 1 if settings.device.type == "cpu" else 100
    totals = LossMeans(middle.values, middle.weights)
    size = settings.batch_size
    started = time.perf_counter() - middle.seconds
    batches = rows.shuffled(size, settings.device, workers.rank, workers.size, middle.step)
    for step, batch in enumerate(batches, middle.step):
        if step == middle.step and middle.randomness:
            # Only now, as the order of the instances is drawn with the first batch.
            restore_random_state(middle.randomness, settings.device)
        n = min(size, len(rows) - step * size)
        part = workers.part(n)
        factor = learning_rate_factor(
            (epoch - 1) * steps + step, steps * settings.max_epochs, settings.schedule
        )
        with sharded(part), _autocast(settings):
            values = objective(network, batch)
        values = workers.weighted(values, part)
        values["loss"].backward()
        values = workers.reduce(optimizer.parameters, values)
        optimizer.step(settings.lr * factor)
        optimizer.zero_grad()
        totals.add(values, n)
        if (step + 1) % look_every == 0 or step == steps - 1:
            totals.check_finite(epoch, optimizer.lr)
        for listener in listeners:
            listener.step_ended(n)
        if checkpoints is not None and workers.is_first and checkpoints.is_due():
            totals.check_finite(epoch, optimizer.lr)
            seconds, drawn = time.perf_counter() - started, random_state(settings.device)
            here = EpochPosition(step + 1, totals.values, totals.weights, seconds, drawn)
            checkpoints.write(network, optimizer, replace(progress, middle=here), improved=False)
    return totals.result(), time.perf_counter() - started


def _how_to_go_on(checkpoints: Checkpoints | None) -> str:
    if checkpoints is None:
        return "start all again; with a checkpoint_dir they could go on from the last epoch"
    return "start all again with --resume (resume=True) to go on from the last checkpoint"


def _check_finite_record(record: dict[str, Any], settings: Settings) -> None:
    value = record.get("validation_loss", 0.0)
    if not math.isfinite(value):
        raise TrainingError(
            f"the validation loss became {value} in epoch {record['epoch']}; try a smaller lr "
            f"(the highest was {settings.lr:.3g}), and look for extreme values in the data"
        )


def _is_best(history: Sequence[dict[str, Any]], best_by: str) -> bool:
    if best_by.endswith("accuracy"):
        # Accuracy on a few held-out labels is coarse: among equals the lower loss wins.
        values = [(-record[best_by], record["validation_loss"]) for record in history]
    else:
        values = [(record[best_by], 0.0) for record in history]
    return all(values[-1] < earlier for earlier in values[:-1])


def _is_over(progress: Progress, settings: Settings) -> bool:
    if progress.epoch >= settings.max_epochs:
        return True
    if settings.patience is None or progress.best_epoch is None:
        return False
    return progress.epoch - progress.best_epoch >= settings.patience


def _autocast(settings: Settings) -> AbstractContextManager[Any]:
    device, enabled = settings.device.type, settings.precision == torch.bfloat16
    if not enabled and not torch.is_autocast_enabled(device):
        return nullcontext()  # entering the other takes as long as a small layer
    return torch.autocast(device, dtype=torch.bfloat16, enabled=enabled)
