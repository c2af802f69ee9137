"""Images, codes and tables of numbers that every side of a comparison reads."""

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


def numbers(n: int, m: int) -> np.ndarray:
    """Return float32 numbers of shape (n, m): mixtures of half as many, and noise."""
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(n, m // 2)) @ rng.normal(size=(m // 2, m))
    return np.float32(mixed + 0.5 * rng.normal(size=(n, m)))
