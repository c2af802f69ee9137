"""What may watch a training run."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from torch import nn


class Listener(AbstractContextManager["Listener"]):
    """Told of every step and epoch; entered before training, left after it."""

    def step_ended(self, n_instances: int) -> None:
        """Hear that a batch was trained on."""

    def epoch_ended(self, record: dict[str, Any], network: nn.Module, improved: bool) -> None:
        """Hear that an epoch is over: its record in the history, and whether it is the best."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close what was opened."""
