"""A progress bar on the terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from isthmus.training.listeners import Listener


class ProgressBar(Listener):
    """A line on the terminal: epoch, loss, instances per second, time left.

    Where standard error is no terminal, one plain line an epoch is printed instead.

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
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("epoch {task.fields[epoch]}/{task.fields[max_epochs]}"),
            TextColumn("{task.fields[facts]}"),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
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
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar away."""
        self.bar.stop()

    def step_ended(self, n_instances: int) -> None:
        """Move the bar on."""
        self.bar.advance(self.task, n_instances)

    def epoch_ended(self, record: dict[str, Any], network: nn.Module, improved: bool) -> None:
        """Show the epoch's losses and speed."""
        facts = record_in_words(record)
        epoch = record["epoch"]
        self.bar.update(self.task, epoch=min(epoch + 1, self.max_epochs), facts=facts)
        if not self.console.is_terminal:
            self.console.print(
                f"{self.title}: epoch {epoch}/{self.max_epochs}  {facts}",
                highlight=False,
                soft_wrap=True,
            )


def record_in_words(record: dict[str, Any]) -> str:
    """Put a history record's losses and speed into one short line."""
    parts = [f"loss {record['train_loss']:.4f}"]
    for name in ("validation_loss", "validation_accuracy"):
        if name in record:
            parts.append(f"{name.replace('_', ' ')} {record[name]:.4f}")
    return "  ".join([*parts, f"{record['instances_per_second']:,.0f} instances/s"])
