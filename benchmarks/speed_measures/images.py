"""The images and codes that both sides read, from one file."""

from __future__ import annotations

from typing import Any

import numpy as np


def read_images(options: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return training and test images, uint8 of shape (n, h, w)."""
    with np.load(options["images"]) as file:
        return file["train"], file["test"]


def read_codes(options: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return standardised codes and labels to learn from, and those to test on."""
    with np.load(options["codes"]) as file:
        return tuple(file[name] for name in ("train", "y_train", "test", "y_test"))
