"""Losses: means over the batches of an epoch, and cross-entropy with held-out labels."""

from __future__ import annotations

import math

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional

from isthmus.errors import TrainingError
from isthmus.training.batches import Batch


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


#: Fewer labels than this are all trained on.
MIN_TO_HOLD_OUT = 50


def cross_entropy(network: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    """Objective for labelled batches `(x, y)`: cross-entropy, with accuracy beside it."""
    x, y = batch
    logits = network(x).float()
    return {
        "loss": functional.cross_entropy(logits, y),
        "accuracy": (logits.argmax(dim=1) == y).float().mean(),
    }


def hold_out_labelled(
    y: np.ndarray, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Split labelled rows into a training part and one for early stopping.

    Parameters
    ----------
    y : integer array of shape (n,)
        Classes; each is held out in proportion.
    fraction : float in [0, 1)
    seed : int

    Returns
    -------
    train, held_out : arrays of row numbers
        `held_out` is None where there is too little to spare: fewer than 50 labels, a
        class with a single one, or fewer rows than classes in a part.
    """
    rows, classes = np.arange(len(y)), np.bincount(y)
    n_held_out = math.ceil(len(y) * fraction)
    smaller_part = min(n_held_out, len(y) - n_held_out)
    if len(y) < MIN_TO_HOLD_OUT or smaller_part < len(classes) or classes[classes > 0].min() < 2:
        return rows, None
    train, held_out = train_test_split(rows, test_size=n_held_out, stratify=y, random_state=seed)
    return np.sort(train), np.sort(held_out)
