"""The training loop, which autoencoders, heads and the supervised baseline share.

Also the objective of heads and of the baseline, and the means of losses over batches.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from isthmus.distributed import (
    SINGLE_PROCESS,
    ProcessGroup,
    RandomGenerators,
    own_generators,
    redirected_draws,
    sharded,
    synchronized_batch_norm,
)
from isthmus.errors import TrainingError
from isthmus.training.batches import (
    Batch,
    Batches,
    StackedBatches,
    channels_last_gradients,
    move_to_device,
)
from isthmus.training.callbacks import BusyCores, Callback
from isthmus.training.checkpoint import (
    Checkpoints,
    EpochPosition,
    Progress,
    broadcast_state,
    copy_state,
    lock_checkpoints,
)
from isthmus.training.device import derived_seed, one_thread_if_small
from isthmus.training.optimizer import Optimizer
from isthmus.training.stream_batches import StreamBatches

Objective = Callable[[nn.Module, Batch], dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes
    ----------
    max_epochs, batch_size : int
    optimizer : {"adamw", "adadelta", "muon"}
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
    best_by : str or None
        The entry of the epoch's record that decides which epoch was best: the lowest
        wins, or the highest when its name ends in "accuracy", and of equally accurate
        epochs the one with the lowest validation loss. None: the last epoch.
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
    best_by: str | None = "validation_loss"

    def plain(self) -> dict[str, Any]:
        """Return what decides the weights, as plain JSON values.

        Returns
        -------
        dict
        """
        device = self.device.type
        return self.__dict__ | {"device": device, "precision": str(self.precision)}


def train(
    network: nn.Module,
    objective: Objective,
    batches: Batches | StackedBatches | StreamBatches,
    validation: Batches | None,
    settings: Settings,
    callbacks: Sequence[Callback] = (),
    checkpoints: Checkpoints | None = None,
    group: ProcessGroup = SINGLE_PROCESS,
    *,
    keep_interrupted: bool = False,
    multiply_adds: int | None = None,
) -> Progress:
    """Train a network in place; afterwards it has the weights of its best epoch.

    Parameters
    ----------
    network : torch.nn.Module
    objective : callable
        From network and batch to mean values; the one named `"loss"` is minimised.
    batches : Batches, StackedBatches or StreamBatches
        Of the training rows.
    validation : Batches or None
        Without validation rows the last epoch counts as the best.
    settings : Settings
    callbacks : sequence of Callback
        Called after every step and epoch.
    checkpoints : Checkpoints, optional
        Written after every epoch, and within long ones; may hold an earlier run to continue.
    group : ProcessGroup
        Each process trains on its shard of every batch. All end with the same weights and
        history; rank 0 alone calls the callbacks, and reads and writes checkpoints.
    keep_interrupted : bool, default=False
        Return on KeyboardInterrupt, with the weights of the best epoch so far, or the last without
        validation rows. Raised all the same before the end of an epoch, and within
        `raising_interrupts`.
    multiply_adds : int, optional
        Of the network for one instance. On a CPU a network for which they are few is trained on
        one thread, see `isthmus.training.one_thread_if_small`.

    Returns
    -------
    Progress
        `history` has one record an epoch: `epoch`, `train_*`, `validation_*`, `lr`,
        `seconds`, `instances_per_second`.

    Raises
    ------
    TrainingError
        When the loss becomes NaN or infinite, a batch has fewer instances than there are
        processes, another process is lost, or a checkpoint cannot be written.
    CheckpointError
        When the checkpoints are another run's, damaged, or being written by one.
    """
    if settings.batch_size < group.world_size:
        raise TrainingError(
            f"got batch_size={settings.batch_size} and {group.world_size} workers, expected an "
            "instance of each batch for every worker; pass a larger batch_size, or start fewer"
        )
    move_to_device(network, settings.device)
    trainable = [p for p in network.parameters() if p.requires_grad]
    decay = 0.0 if settings.optimizer == "adadelta" else settings.weight_decay
    matrices = [p for p in getattr(network, "decoder", network).parameters() if p.ndim >= 2]
    optimizer = Optimizer(trainable, settings.optimizer, decay, output_weights=matrices[-1:])
    progress = Progress()
    if not group.is_rank_zero:
        callbacks = ()

    generators = RandomGenerators(settings.seed, settings.device)
    with own_generators(generators), ExitStack() as entered:
        entered.enter_context(group.explain_lost_process(_how_to_resume(checkpoints)))
        if multiply_adds is not None and settings.device.type == "cpu":
            entered.enter_context(one_thread_if_small(multiply_adds * settings.batch_size))
        n_threads = torch.get_num_threads() if settings.device.type == "cpu" else 1
        if n_threads > 1 and group.is_rank_zero:
            callbacks = (*callbacks, BusyCores(n_threads))
        if checkpoints is not None and group.is_rank_zero:
            entered.enter_context(lock_checkpoints(checkpoints.folder))
            progress = checkpoints.restore(network, optimizer, progress)
            # It may go on for more epochs than it was planned for.
            progress.finished = progress.finished and _is_over(progress, settings)
        if group.world_size > 1:
            progress = broadcast_state(network, optimizer, progress, settings.device, group)
            entered.enter_context(synchronized_batch_norm(network))
        entered.enter_context(channels_last_gradients(network))
        for callback in callbacks:
            entered.enter_context(callback)
        entered.enter_context(_ends_run(progress, network, keep_interrupted))
        while not progress.finished and progress.epoch < settings.max_epochs:
            trained, seconds = _train_epoch(
                network, objective, batches, optimizer, settings, progress, callbacks, checkpoints,
                group, generators,
            )  # fmt: skip
            progress.epoch, progress.position = progress.epoch + 1, None
            record: dict[str, Any] = {"epoch": progress.epoch}
            record |= {f"train_{name}": value for name, value in trained.items()}
            if validation is not None:
                found = measure(network, objective, validation, settings, group)
                record |= {f"validation_{name}": value for name, value in found.items()}
            record |= {
                "lr": optimizer.lr,
                "seconds": seconds,
                "instances_per_second": len(batches) / seconds,
            }
            progress.history.append(record)
            _check_finite_record(record, settings)
            best_by = None if validation is None else settings.best_by
            improved = best_by is not None and _is_best(progress.history, best_by)
            if improved:
                progress.best_epoch = progress.epoch
                progress.best_state = copy_state(network)
            elif best_by is None and keep_interrupted:
                progress.best_state = copy_state(network)
            progress.finished = _is_over(progress, settings)
            if checkpoints is not None and group.is_rank_zero:
                checkpoints.write(network, optimizer, progress, improved)
            asked = [callback.on_epoch_end(record, network, improved) for callback in callbacks]
            progress.finished |= group.broadcast(any(asked))

    if progress.best_state is not None:
        network.load_state_dict(progress.best_state)
    network.eval()
    return progress


def measure(
    network: nn.Module,
    objective: Objective,
    batches: Batches,
    settings: Settings,
    group: ProcessGroup = SINGLE_PROCESS,
) -> dict[str, float]:
    """Return the objective's mean values over all rows, in evaluation mode, without gradients."""
    network.eval()
    totals, draws = LossMeans(), _draws_of(network)
    size = settings.batch_size
    local_batches = batches.in_order(size, settings.device, group.rank, group.world_size)
    with torch.no_grad():
        for step, batch in enumerate(local_batches):
            n = min(size, len(batches) - step * size)
            shard = group.shard(n)
            with sharded(shard), _autocast(settings), draws():
                values = objective(network, batch)
            totals.add(group.weight_by_shard(values, shard), n)
    return group.average(totals.result(), settings.device)


def cross_entropy(network: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    """Objective for labelled batches `(x, y)`: cross-entropy, with accuracy beside it.

    Parameters
    ----------
    network : torch.nn.Module
    batch : (x, y)

    Returns
    -------
    dict of str to tensor
    """
    x, y = batch
    logits = network(x).float()
    return {
        "loss": functional.cross_entropy(logits, y),
        "accuracy": (logits.argmax(dim=1) == y).float().mean(),
    }


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


class LossMeans:
    """Weighted means over batches, whose values stay on the device until they are read.

    Values that were read are held as plain numbers: small tensors of every step would fragment the
    device's memory.

    Parameters
    ----------
    values : dict of str to list of float, optional
        Of earlier batches.
    weights : list of int
        Instances in each of these.
    """

    def __init__(
        self, values: dict[str, list[float]] | None = None, weights: list[int] | None = None
    ) -> None:
        self.values = {name: list(numbers) for name, numbers in (values or {}).items()}
        self.weights = list(weights or [])
        self._unread: list[dict[str, torch.Tensor]] = []

    def add(self, values: dict[str, torch.Tensor], weight: int) -> None:
        """Add the mean values of a batch of `weight` instances."""
        self._unread.append({name: value.detach() for name, value in values.items()})
        self.weights.append(weight)

    def check_finite(self, epoch: int, lr: float) -> None:
        """Check the losses added since the last check.

        Raises
        ------
        TrainingError
            When one is NaN or infinite.
        """
        checked = self._read()
        losses = self.values["loss"][checked:]
        if not all(map(math.isfinite, losses)):
            at = [math.isfinite(loss) for loss in losses].index(False)
            raise TrainingError(
                f"the loss became {losses[at]} at step {checked + at + 1} of epoch {epoch}; "
                f"try a smaller lr (it was {lr:.3g} there), and look for extreme values in the data"
            )

    def result(self) -> dict[str, float]:
        """Return the means over all batches."""
        self._read()
        return {
            name: float(np.average(values, weights=self.weights))
            for name, values in self.values.items()
        }

    def _read(self) -> int:
        """Read values from the device; return how many steps were read before."""
        n_read = len(self.weights) - len(self._unread)
        for name in self._unread[0] if self._unread else ():
            found = [values[name] for values in self._unread]
            numbers = [found[0].item()] if len(found) == 1 else torch.stack(found).tolist()
            self.values.setdefault(name, []).extend(numbers)
        self._unread = []
        return n_read


def _train_epoch(
    network: nn.Module,
    objective: Objective,
    batches: Batches | StackedBatches | StreamBatches,
    optimizer: Optimizer,
    settings: Settings,
    progress: Progress,
    callbacks: Sequence[Callback],
    checkpoints: Checkpoints | None,
    group: ProcessGroup,
    generators: RandomGenerators,
) -> tuple[dict[str, float], float]:
    """Train for the next epoch, or the rest of it; return mean losses and seconds."""
    network.train()
    epoch, position = progress.epoch + 1, progress.position or EpochPosition()
    generators.seed(derived_seed(settings.seed, epoch))
    draws = _draws_of(network)
    steps = batches.steps(settings.batch_size)
    # Reading a loss synchronises with the device; on a GPU that is done every 100 steps.
    check_every = 1 if settings.device.type == "cpu" else 100
    totals = LossMeans(position.values, position.weights)
    size = settings.batch_size
    started = time.perf_counter() - position.seconds
    local_batches = batches.shuffled(
        size, settings.device, group.rank, group.world_size, position.step
    )
    for step, batch in enumerate(local_batches, position.step):
        if step == position.step and position.random_states:
            # Only now, as drawing the order of the instances with the first batch moved them.
            generators.restore(position.random_states)
        n = min(size, len(batches) - step * size)
        shard = group.shard(n)
        factor = learning_rate_factor(
            (epoch - 1) * steps + step, steps * settings.max_epochs, settings.schedule
        )
        with sharded(shard), _autocast(settings), draws():
            values = objective(network, batch)
        values = group.weight_by_shard(values, shard)
        values["loss"].backward()
        values = group.average_gradients(optimizer.parameters, values)
        optimizer.step(settings.lr * factor)
        optimizer.zero_grad()
        totals.add(values, n)
        if (step + 1) % check_every == 0 or step == steps - 1:
            totals.check_finite(epoch, optimizer.lr)
        for callback in callbacks:
            callback.on_step_end(n)
        if checkpoints is not None and group.is_rank_zero and checkpoints.is_due():
            totals.check_finite(epoch, optimizer.lr)
            seconds, drawn = time.perf_counter() - started, generators.states()
            here = EpochPosition(step + 1, totals.values, totals.weights, seconds, drawn)
            checkpoints.write(network, optimizer, replace(progress, position=here), improved=False)
    return totals.result(), time.perf_counter() - started


_raises_interrupts: ContextVar[bool] = ContextVar("raises_interrupts", default=False)


@contextmanager
def raising_interrupts() -> Iterator[None]:
    """Let KeyboardInterrupt end the block, which trains several networks one after another.

    Yields
    ------
    None
    """
    before = _raises_interrupts.set(True)
    try:
        yield
    finally:
        _raises_interrupts.reset(before)


@contextmanager
def _ends_run(progress: Progress, network: nn.Module, keep_interrupted: bool) -> Iterator[None]:
    """End the block on KeyboardInterrupt where weights of an epoch are to be used."""
    try:
        yield
    except KeyboardInterrupt as stop:
        wanted = keep_interrupted and not _raises_interrupts.get()
        # A subclass stands for another signal.
        if not wanted or progress.best_state is None or type(stop) is not KeyboardInterrupt:
            raise
        progress.interrupted = True
        progress.epoch = len(progress.history)


def _how_to_resume(checkpoints: Checkpoints | None) -> str:
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
        # Accuracy on a few held-out labels is coarse: ties go to the lower loss.
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


#: Layers of torch that draw no random numbers.
_DRAWLESS = (
    *(nn.Sequential, nn.ModuleList, nn.Identity, nn.Flatten, nn.Unflatten, nn.Upsample),
    *(nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d),
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.ReLU),
)


def _draws_of(network: nn.Module) -> Callable[[], AbstractContextManager[Any]]:
    """Return the context to run a network in: layers of others may draw random numbers."""
    for module in network.modules():
        ours = type(module).__module__.startswith("isthmus.")
        if not ours and type(module) not in _DRAWLESS:
            return redirected_draws
    return nullcontext


def _autocast(settings: Settings) -> AbstractContextManager[Any]:
    device, enabled = settings.device.type, settings.precision == torch.bfloat16
    if not enabled and not torch.is_autocast_enabled(device):
        return nullcontext()  # entering torch.autocast takes as long as a small layer
    # torch keeps the bfloat16 copies of weights in one cache for all threads, emptied when the
    # outermost block of a thread ends: within a caller's block they would outlive an update.
    return torch.autocast(device, dtype=torch.bfloat16, enabled=enabled, cache_enabled=False)
