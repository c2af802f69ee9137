"""What an encoder keeps of instances that it was not trained on, to tell later what has changed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from isthmus.autoencoder.coder import Coder

#: Instances that are kept at most: enough for a test, little on disk.
MOST_KEPT = 1000


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Codes and reconstruction errors of instances of the validation part.

    No weight was fitted to them, so they are what new instances of the same source look like
    to the encoder. Two things they did decide: which epoch was kept, and, with all other
    instances, the preprocessing. Windows that were cut from one series overlap windows that
    were trained on, and each other: then these are not independent of the training part, and
    their errors are lower than those of a series never seen.

    Attributes
    ----------
    codes : float32 array of shape (k, n_components)
    errors : float64 array of shape (k,)
        As `Autoencoder.reconstruction_error` gives them.
    repeated : boolean array of shape (k,)
        Whether another instance at `fit` was equal.

    Examples
    --------
    >>> from isthmus import Autoencoder
    >>> X = np.random.default_rng(0).normal(size=(500, 8))
    >>> encoder = Autoencoder(n_components=3, max_epochs=2, random_state=0).fit(X)
    >>> encoder.held_out_.codes.shape, encoder.held_out_.errors.shape
    ((50, 3), (50,))
    """

    codes: np.ndarray
    errors: np.ndarray
    repeated: np.ndarray

    def __len__(self) -> int:
        return len(self.errors)

    @classmethod
    def none(cls, n_components: int) -> HeldOut:
        """Keep nothing: there was no validation part, or it is not known."""
        codes = np.empty((0, n_components), dtype=np.float32)
        return cls(codes, np.empty(0), np.empty(0, dtype=bool))


def split_rows(n: int, validation_fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the validation part.

    Returns
    -------
    validation, training : integer arrays
        Row numbers in random order: the first k are k rows drawn at random.
    """
    order = np.random.default_rng([seed, 0]).permutation(n)
    n_validation = math.floor(n * validation_fraction)
    return order[:n_validation], order[n_validation:]


def kept_of(drawn: np.ndarray) -> np.ndarray:
    """Return which rows, given in random order, are kept: sorted."""
    return np.sort(drawn[:MOST_KEPT])


def hold_out(encoder: Coder, X: np.ndarray, repeated: np.ndarray) -> HeldOut:
    """Keep what a trained encoder makes of some rows of its validation part.

    Parameters
    ----------
    encoder : Coder
        With its final weights.
    X : array of shape (k, *schema.shape)
        The rows, checked; `MOST_KEPT` at most.
    repeated : boolean array of shape (k,)
        Whether another instance at `fit` was equal.
    """
    if not len(X):
        return HeldOut.none(encoder.n_components_)
    parts = list(encoder._rebuild(X))
    return HeldOut(
        np.concatenate([part.codes.numpy() for part in parts]),
        np.concatenate([part.errors.numpy() for part in parts]),
        repeated,
    )


def is_repeated(hashes: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return which of the rows with hashes `own`, which are among `hashes`, are not alone."""
    distinct, counts = np.unique(hashes, return_counts=True)
    return counts[np.searchsorted(distinct, own)] > 1
