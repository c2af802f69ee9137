"""Means of losses over the batches of an epoch."""

from __future__ import annotations

import math

import numpy as np
import torch

from isthmus.errors import TrainingError


class Means:
    """Means over batches of unequal size, left on the device until they are looked at.

    Then they become plain numbers: a small tensor kept from every step would keep the memory
    around it from being used again.

    Parameters
    ----------
    values : dict of str to list of float, optional
        Of batches that came before.
    weights : list of int
        Instances in each of these.
    """

    def __init__(
        self, values: dict[str, list[float]] | None = None, weights: list[int] | None = None
    ) -> None:
        self.values = {name: list(numbers) for name, numbers in (values or {}).items()}
        self.weights = list(weights or [])
        self.new: list[dict[str, torch.Tensor]] = []

    def add(self, values: dict[str, torch.Tensor], weight: int) -> None:
        """Take in the mean values of a batch."""
        self.new.append({name: value.detach() for name, value in values.items()})
        self.weights.append(weight)

    def check_finite(self, epoch: int, lr: float) -> None:
        """Look at the losses that are new.

        Raises
        ------
        TrainingError
            When one is NaN or infinite.
        """
        checked = self.look()
        losses = self.values["loss"][checked:]
        if not all(map(math.isfinite, losses)):
            at = [math.isfinite(loss) for loss in losses].index(False)
            raise TrainingError(
                f"the loss became {losses[at]} at step {checked + at + 1} of epoch {epoch}; "
                f"try a smaller lr (it was {lr:.3g} there), and look for extreme values in the data"
            )

    def result(self) -> dict[str, float]:
        """Return the means over all batches."""
        self.look()
        return {
            name: float(np.average(values, weights=self.weights))
            for name, values in self.values.items()
        }

    def look(self) -> int:
        """Turn what is new into numbers; return how many steps were looked at before."""
        looked = len(self.weights) - len(self.new)
        for name in self.new[0] if self.new else ():
            found = [values[name] for values in self.new]
            numbers = [found[0].item()] if len(found) == 1 else torch.stack(found).tolist()
            self.values.setdefault(name, []).extend(numbers)
        self.new = []
        return looked
