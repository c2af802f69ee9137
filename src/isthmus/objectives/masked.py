"""What is hidden should be told from what is seen."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch.nn import functional

from isthmus.errors import TrainingError
from isthmus.objectives.base import Batch, Network, Objective, Task, Values, check_share, is_count
from isthmus.objectives.errors import errors_per_value, mean_error
from isthmus.workers import drawn, drawn_like, evened


class Masked(Objective):
    """Hide parts of the instance and minimise the error there, and a little everywhere.

    With M the hidden ones of a batch's N values and w `visible`: (Σ_{i in M} e_i +
    w Σ_{i not in M} e_i) divided by (|M| + w (N - |M|)). Hidden are patches of images, spans of
    series (all channels at once) and single columns of tables; they become zero, black or a
    column's mean. With `visible`
    of 0 this is the loss of masked autoencoders (He et al., 2022); but then nothing teaches the
    decoder to rebuild what is seen, and residuals mean nothing. In evaluation mode nothing is
    hidden, and all values count alike.

    Parameters
    ----------
    share : float in (0, 1], default=0.5
        Of the patches, spans or columns that are hidden, each drawn on its own.
    size : int or "auto", default="auto"
        Side of a patch in pixels, or length of a span in time steps. `"auto"` is a seventh of
        the shorter side, or a sixteenth of the window.
    visible : float in [0, 1], default=0.2
        Weight of the values that are seen.

    Raises
    ------
    TrainingError
        When a number is out of range.

    Examples
    --------
    >>> Masked(share=0.3)
    Masked(share=0.3, size='auto', visible=0.2)
    """

    options = ("share", "size", "visible")

    def __init__(
        self, share: float = 0.5, size: int | Literal["auto"] = "auto", visible: float = 0.2
    ) -> None:
        super().__init__()
        self.share, self.size, self.visible = share, size, visible

    def _prepare(self, task: Task) -> None:
        check_share("share", self.share, above=True)
        check_share("visible", self.visible)
        extent = task.input_shape[1:]  # of an image or a series; a table has none
        if self.size == "auto":
            side = math.ceil(min(extent) / (7 if len(extent) == 2 else 16)) if extent else 1
        elif is_count(self.size) and int(self.size) <= min(extent, default=1):
            side = int(self.size)
        else:
            raise TrainingError(
                f"got size={self.size!r}, expected 1 to {min(extent, default=1)} "
                f"for instances of shape {task.input_shape}, or 'auto'"
            )
        self.side = side

    def forward(self, network: Network, batch: Batch) -> Values:
        """Return `{"loss": weighted mean error}` for a batch `(x,)`."""
        (x,) = batch
        if not self.training:
            return {"loss": mean_error(network(x), x, self.task.loss)}
        seen = self.draw(x)
        errors = errors_per_value(network(x * seen).float(), x, self.task.loss)
        weights = (1 - seen + self.visible * seen).expand_as(errors)
        return {"loss": (errors * weights).sum() / evened(weights.sum()).clamp(min=1e-12)}

    def draw(self, x: torch.Tensor) -> torch.Tensor:
        """Return 1 where a value is seen and 0 where it is hidden, to be multiplied with x."""
        extent = x.shape[2:]
        if not extent:
            return (drawn_like(torch.rand_like, x) >= self.share).to(x.dtype)
        coarse = [math.ceil(side / self.side) for side in extent]
        draw = drawn(lambda n: torch.rand(n, 1, *coarse, device=x.device), len(x))
        cells = (draw >= self.share).to(x.dtype)
        blocks = functional.interpolate(cells, scale_factor=float(self.side), mode="nearest")
        for axis, side in enumerate(extent, start=2):
            blocks = blocks.narrow(axis, 0, side)
        return blocks
