"""Callbacks of training: progress bar, TensorBoard, best weights."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from isthmus._core import (
    NotebookBar,
    check_writable,
    errors_naming,
    is_quiet,
    require,
    user_path,
    write_json,
)
from isthmus.networks import write_weights


class Callback(AbstractContextManager["Callback"]):
    """Called after every step and epoch; entered before training, exited after it."""

    def on_step_end(self, n_instances: int) -> None:
        """Act after a step on a batch of `n_instances`.

        Parameters
        ----------
        n_instances : int
        """

    def on_epoch_end(
        self, record: dict[str, Any], network: nn.Module, improved: bool
    ) -> bool | None:
        """Act after an epoch: its record of the history, and whether it is the best so far.

        True ends the training, with the weights of the best epoch.

        Parameters
        ----------
        record : dict
            The epoch's part of `history_`: `epoch`, losses, `seconds` and others.
        network : torch.nn.Module
            That is trained.
        improved : bool

        Returns
        -------
        bool or None
        """
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close what was opened."""


class ProgressBar(Callback):
    """A bar on the terminal or in a notebook: epoch, loss, instances per second, time left.

    Where standard error is neither, plain lines are printed: after the epoch in which a tenth of
    the training ends, and where epochs are longer than a tenth, after each. Nothing is shown with
    `--quiet`.

    Parameters
    ----------
    title : str
    n_instances, max_epochs : int
    start_epoch : int
        Epochs that an earlier run has already done.
    """

    def __init__(self, title: str, n_instances: int, max_epochs: int, start_epoch: int = 0) -> None:
        self.console = Console(stderr=True)
        self.title, self.max_epochs = title, max_epochs
        self.n_all, self.n_done = max(1, n_instances * max_epochs), n_instances * start_epoch
        self.facts, self.printed = "", 10 * start_epoch // max(1, max_epochs)
        self.unprinted = ""
        self.notebook: NotebookBar | None = None
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("epoch {task.fields[epoch]}/{task.fields[max_epochs]}"),
            TextColumn("{task.fields[facts]}"),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=is_quiet() or not self.console.is_terminal,
        )
        self.task = self.bar.add_task(
            title,
            total=n_instances * max_epochs,
            completed=n_instances * start_epoch,
            epoch=start_epoch + 1,
            max_epochs=max_epochs,
            facts="",
        )

    def __enter__(self) -> ProgressBar:
        """Show the bar."""
        if self.console.is_jupyter and not is_quiet():
            self.notebook = NotebookBar(self.title)
        if not self.bar.disable:
            self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the bar; where lines are printed, print the last epoch's."""
        if not self.bar.disable:  # see `with_progress`
            self.bar.stop()
        if self.unprinted:
            self._print(self.unprinted)

    def on_step_end(self, n_instances: int) -> None:
        """Advance the bar."""
        self.bar.advance(self.task, n_instances)
        self.n_done += n_instances
        if self.notebook is not None:
            self.notebook.show(min(1.0, self.n_done / self.n_all), self.facts)

    def on_epoch_end(self, record: dict[str, Any], network: nn.Module, improved: bool) -> None:
        """Show the epoch's losses and speed."""
        facts = describe_record(record)
        epoch = record["epoch"]
        self.bar.update(self.task, epoch=min(epoch + 1, self.max_epochs), facts=facts)
        self.facts = f"epoch {epoch}/{self.max_epochs}  {facts}"
        if self.notebook is not None:
            self.notebook.show(min(1.0, self.n_done / self.n_all), self.facts)
        elif not self.console.is_terminal and not is_quiet():
            tenth = 10 * epoch // self.max_epochs
            self.unprinted = f"{self.title}: {self.facts}"
            if tenth > self.printed or epoch == 1:
                self.printed = tenth
                self._print(self.unprinted)

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True)
        self.unprinted = ""


def describe_record(record: dict[str, Any]) -> str:
    """Format a history record's losses and speed as one short line."""
    parts = [f"loss {record['train_loss']:.4f}"]
    for name in ("validation_loss", "validation_accuracy"):
        if name in record:
            parts.append(f"{name.replace('_', ' ')} {record[name]:.4f}")
    return "  ".join([*parts, f"{record['instances_per_second']:,.0f} instances/s"])


class TensorBoard(Callback):
    """Losses, learning rate and reconstruction pictures for TensorBoard.

    Parameters
    ----------
    log_dir : path
        Folder that `tensorboard --logdir` is pointed at.
    examples : array of shape (n, *input_shape), float32, optional
        Network inputs to show beside their reconstructions, when they are images.
    to_picture : callable, optional
        From the network's output tensor to values in [0, 1].

    Raises
    ------
    MissingExtraError
        When tensorboard is not installed.
    """

    def __init__(
        self,
        log_dir: str | Path,
        examples: np.ndarray | None = None,
        to_picture: Callable[[torch.Tensor], torch.Tensor] = torch.sigmoid,
    ) -> None:
        require("tensorboard", extra="tensorboard", purpose="log_dir= (curves in TensorBoard)")
        from torch.utils.tensorboard import SummaryWriter

        check_writable(Path(log_dir) / "events")
        with errors_naming(Path(log_dir)):
            self.writer = SummaryWriter(str(user_path(log_dir)))
        self.examples, self.to_picture = examples, to_picture

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write out what is still buffered."""
        self.writer.close()

    def on_epoch_end(self, record: dict[str, Any], network: nn.Module, improved: bool) -> None:
        """Write the epoch's numbers, and the pictures if there are any."""
        epoch = record["epoch"]
        for name, value in record.items():
            if name != "epoch":
                part, _, what = name.partition("_")
                split = part in ("train", "validation")
                self.writer.add_scalar(f"{part}/{what}" if split else name, value, epoch)
        if self.examples is None:
            return
        x = torch.from_numpy(self.examples)
        network.eval()
        with torch.no_grad():
            device = next(network.parameters()).device
            back = self.to_picture(network(x.to(device))).float().cpu()
        rows = torch.cat([torch.cat(list(part), dim=-1) for part in (x, back)], dim=-2)
        if rows.shape[0] in (1, 3):
            self.writer.add_image("originals over reconstructions", rows, epoch)


class Usage(NamedTuple):
    """Of this process until now: seconds passed, seconds of all cores, times it had to make way."""

    passed: float
    of_cores: float
    n_made_way: int

    @classmethod
    def now(cls) -> Usage | None:
        """Read it from the operating system, None where that does not tell (Windows)."""
        try:
            import resource
        except ModuleNotFoundError:
            return None
        n_made_way = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        return cls(time.perf_counter(), time.process_time(), n_made_way)


class BusyCores(Callback):
    """Warn once where other programs keep the cores that the threads of a training need.

    Threads wait for each other some hundred times a step. Where one of them waits for a core, all
    do, and one thread may be several times as fast as two. The number of threads decides how sums
    are rounded, and so the weights: it is left to the person.

    Parameters
    ----------
    n_threads : int
        Of the training, 2 or more.
    read : callable, optional
        Returns a `Usage`, or None, and then nothing is done.
    """

    #: Seconds after which usage is looked at, again and again until there is a warning.
    SECONDS = 5.0
    #: Least share of its cores that a training gets on a machine without other work, or so.
    SHARE = 0.6
    #: Times a second that a process must make way where others keep its cores busy.
    MADE_WAY = 50.0

    def __init__(self, n_threads: int, read: Callable[[], Usage | None] = Usage.now) -> None:
        self.n_threads, self.read = n_threads, read
        self.since: Usage | None = None
        self.warned = False

    def on_step_end(self, n_instances: int) -> None:
        """Look at the usage, and warn."""
        now = None if self.warned else self.read()
        if now is None:
            return
        if self.since is None:
            self.since = now
            return
        passed = now.passed - self.since.passed
        if passed < self.SECONDS:
            return
        n_cores = (now.of_cores - self.since.of_cores) / passed
        made_way = (now.n_made_way - self.since.n_made_way) / passed
        self.since = now
        if n_cores < self.SHARE * self.n_threads and made_way > self.MADE_WAY:
            self.warned = True
            warnings.warn(
                f"other programs use the cores: training has {self.n_threads} threads, which wait "
                f"for each other, and had {n_cores:.1f} cores in the last {passed:.0f} seconds; "
                "one thread may be faster now: set OMP_NUM_THREADS=1 in the environment, which "
                "changes how sums are rounded, and so the weights",
                stacklevel=2,
            )


class BestWeights(Callback):
    """Write `weights-EPOCH-ACCURACY.safetensors` after each epoch that is the best so far.

    Parameters
    ----------
    folder : path
        `architecture.json` is written there too.
    architecture : dict
        Plain JSON values that describe the network.
    """

    def __init__(self, folder: str | Path, architecture: dict[str, Any]) -> None:
        self.folder = user_path(folder)
        write_json(self.folder / "architecture.json", architecture)

    def on_epoch_end(self, record: dict[str, Any], network: nn.Module, improved: bool) -> None:
        """Write the weights if this epoch is the best so far (each one when none is held out)."""
        held_out = "validation_accuracy" in record
        if improved or not held_out:
            accuracy = record["validation_accuracy" if held_out else "train_accuracy"]
            name = f"weights-{record['epoch']:02d}-{accuracy:.4f}.safetensors"
            write_weights(self.folder / name, network)
