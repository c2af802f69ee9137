"""What an encoder keeps of instances that it was not trained on, to tell later what has changed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from isthmus.autoencoder.estimator import Autoencoder

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


def hold_out(
    encoder: Autoencoder,
    X: np.ndarray,
    hashes: np.ndarray,
    validation_fraction: float,
    seed: int,
) -> HeldOut:
    """Keep what a trained encoder makes of `MOST_KEPT` rows of its validation part at most.

    Parameters
    ----------
    encoder : Autoencoder
        With its final weights.
    X : array of shape (n, *schema.shape)
        All instances at `fit`, checked.
    hashes : uint64 array of shape (n,)
        Theirs.
    validation_fraction : float
    seed : int
        Of the run: the same rows come out after a resume.
    """
    rows = np.sort(split_rows(len(X), validation_fraction, seed)[0][:MOST_KEPT])
    if not len(rows):
        return HeldOut.none(encoder.n_components_)
    parts = list(encoder._rebuild(X[rows]))
    distinct, counts = np.unique(hashes, return_counts=True)
    return HeldOut(
        np.concatenate([part.codes.numpy() for part in parts]),
        np.concatenate([part.errors.numpy() for part in parts]),
        counts[np.searchsorted(distinct, hashes[rows])] > 1,
    )
