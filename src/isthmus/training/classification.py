"""Training a network to name classes: heads on codes, and the supervised control."""

from __future__ import annotations

import math

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional

from isthmus.training.rows import Batch

FEWEST_TO_HOLD_OUT = 50


def cross_entropy(network: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    """Objective for labelled batches `(x, y)`: cross-entropy, with accuracy beside it."""
    x, y = batch
    logits = network(x).float()
    return {
        "loss": functional.cross_entropy(logits, y),
        "accuracy": (logits.argmax(dim=1) == y).float().mean(),
    }


def hold_out(y: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Split row numbers into those to train on and those to stop by.

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
    if len(y) < FEWEST_TO_HOLD_OUT or smaller_part < len(classes) or classes[classes > 0].min() < 2:
        return rows, None
    train, held_out = train_test_split(rows, test_size=n_held_out, stratify=y, random_state=seed)
    return np.sort(train), np.sort(held_out)
