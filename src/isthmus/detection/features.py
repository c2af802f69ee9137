"""Features of an instance for a detector: its code and its residual."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from isthmus.autoencoder import Autoencoder
from isthmus.data import Instances, StoredCodes, as_instances
from isthmus.encoding import check_encoder, encoder_identity

#: Residuals of tables, and of images and series of at most so many values, are kept whole.
MOST_WHOLE = 1024
#: Those of larger ones are pooled to at most so many places a side or in time.
POOLED_SIDE, POOLED_STEPS = 8, 32


@dataclass(frozen=True, eq=False)
class Features:
    """Codes and residuals of n instances.

    Attributes
    ----------
    codes : float32 array of shape (n, n_components)
    residuals : float32 array of shape (n, k)
        Input minus reconstruction, one for each network input. Of images and series of more
        than 1,024 values the root of the summed squares in each cell of a coarse grid. Either
        way the squares add up to the squared residual of the instance.
    signed : bool
        Whether residuals are differences, not roots of squares.
    explained : float
        Total variance of the reconstructions of the rows that are learned from, in the same
        units as squared residuals.
    """

    codes: np.ndarray
    residuals: np.ndarray
    explained: float
    signed: bool = True

    def __len__(self) -> int:
        return len(self.codes)

    def residual_lengths(self) -> np.ndarray:
        """Return the length of each instance's residual, float64 of shape (n,)."""
        lengths = np.empty(len(self.residuals))
        for first in range(0, len(lengths), 1024):  # in float64, which takes twice the memory
            part = slice(first, first + 1024)
            lengths[part] = np.linalg.norm(self.residuals[part].astype(np.float64), axis=1)
        return lengths

    def take(self, rows: np.ndarray) -> Features:
        """Return the instances at these row numbers."""
        return replace(
            self,
            codes=self.codes[rows],
            residuals=self.residuals[rows],
        )

    def followed_by(self, other: Features) -> Features:
        """Return these instances and then those of `other`, seen through the same encoder."""
        return replace(
            self,
            codes=np.concatenate([self.codes, other.codes]),
            residuals=np.concatenate([self.residuals, other.residuals]),
        )


def extract_features(encoder: Autoencoder, X: Any, learning: np.ndarray | None = None) -> Features:
    """Return codes and residuals of instances from a fitted autoencoder, in one pass.

    Parameters
    ----------
    encoder : fitted Autoencoder
    X : array or DataFrame like the one it was fitted on, StoredCodes or Instances
        Of codes only the decoder is run, for `explained`.
    learning : integer array, optional
        Row numbers from which `explained` is learned, all when left out. Calibration rows
        must have no part in it, or they are not like rows to come; nor abnormal ones.
    """
    variance = _Variance(learning)
    codes, residuals = _codes_and_residuals(as_instances(X), encoder, variance.update)
    return Features(codes, residuals, variance.total(), _signed(encoder, residuals))


@singledispatch
def _codes_and_residuals(
    instances: Instances, encoder: Autoencoder, rebuilt: Callable[[torch.Tensor], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Return codes and residuals of instances, and hand on each batch of reconstructions."""
    codes, residuals = [], []
    for batch in encoder.reconstruct(instances):
        codes.append(batch.codes.numpy())
        residuals.append(summary(batch.inputs - batch.outputs).numpy())
        rebuilt(batch.outputs)
    return np.concatenate(codes), np.concatenate(residuals)


@_codes_and_residuals.register(StoredCodes)
def _stored_codes_and_residuals(
    stored: StoredCodes, encoder: Autoencoder, rebuilt: Callable[[torch.Tensor], None]
) -> tuple[np.ndarray, np.ndarray]:
    check_encoder(encoder, stored)
    codes, residuals = stored.codes, stored.stored_residuals()
    for outputs in encoder.decode(codes):
        rebuilt(outputs)
    return codes, residuals


def extract_features_in_chunks(encoder: Autoencoder, X: Any) -> Iterator[Features]:
    """Yield the features of instances batch by batch, for scoring only.

    Residuals of all of them would take as much memory as the instances in float32. `explained`
    is NaN: scores are fitted with it, and need it no more.
    """
    instances = as_instances(X)
    if instances.encoded:
        yield extract_features(encoder, instances)
        return
    for batch in encoder.reconstruct(instances):
        residuals = summary(batch.inputs - batch.outputs).numpy()
        yield Features(batch.codes.numpy(), residuals, math.nan, _signed(encoder, residuals))


def _signed(encoder: Autoencoder, residuals: np.ndarray) -> bool:
    return residuals.shape[1] == math.prod(encoder.preprocessor_.network_shape)


class _Variance:
    """Total variance of the rows at these numbers, or of all, that come batch by batch."""

    def __init__(self, rows: np.ndarray | None) -> None:
        self.rows = rows
        self.sum = self.squares = torch.zeros(())
        self.seen = self.counted = 0

    def update(self, batch: torch.Tensor) -> None:
        values = batch.flatten(1).double()
        numbers = np.arange(self.seen, self.seen + len(batch))
        if self.rows is not None:
            values = values[torch.from_numpy(np.isin(numbers, self.rows))]
        self.seen, self.counted = self.seen + len(batch), self.counted + len(values)
        self.sum, self.squares = self.sum + values.sum(0), self.squares + (values**2).sum(0)

    def total(self) -> float:
        n = max(1, self.counted)
        return float((self.squares / n - (self.sum / n) ** 2).clamp(min=0).sum())


def n_residuals(network_shape: tuple[int, ...]) -> int:
    """Return the length of the residual that `summary` gives of an instance."""
    return summary(torch.zeros((1, *network_shape))).shape[1]


def summary(residual: torch.Tensor) -> torch.Tensor:
    """Return residuals (batch, m), (batch, c, t) or (batch, c, h, w) as (batch, k)."""
    if residual.ndim == 2 or math.prod(residual.shape[1:]) <= MOST_WHOLE:
        return residual.flatten(1)
    if residual.ndim == 3:
        steps = min(POOLED_STEPS, residual.shape[2])
        pooled = functional.adaptive_avg_pool1d(residual**2, steps)
    else:
        sides = [min(POOLED_SIDE, side) for side in residual.shape[2:]]
        pooled = functional.adaptive_avg_pool2d(residual**2, (sides[0], sides[1]))
    cells = math.prod(residual.shape[1:]) / math.prod(pooled.shape[1:])  # places in one cell
    return (pooled * cells).sqrt().flatten(1)


def stored_codes(encoder: Autoencoder, X: Any, *, for_heads: bool = False) -> StoredCodes:
    """Return the codes of instances, as `isthmus encode` writes them, with what made them.

    Parameters
    ----------
    encoder : fitted Autoencoder
    X : array or DataFrame of n instances
    for_heads : bool
        Add row hashes and residuals, from which detectors can be fitted.
    """
    made_by = encoder.digest_, encoder_identity(encoder)
    if not for_heads:
        return StoredCodes(encoder.transform(X), *made_by)
    seen = extract_features(encoder, X)
    return StoredCodes(seen.codes, *made_by, encoder.row_hashes(X), seen.residuals)
