"""The codes and labels that a classifier keeps, so that labels can be added without encoding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: With more instances than this nothing is kept: they would fill the bundle of every head.
MOST_KEPT = 20_000


@dataclass(frozen=True, eq=False)
class LabelledCodes:
    """Codes, labels and hashes of n instances, unlabelled ones among them where a head uses those.

    Attributes
    ----------
    codes : float32 array of shape (n, n_components)
    y : array of shape (n,)
        None where an instance is unlabelled, see `isthmus.heads.labels.partial_labels`.
    hashes : uint64 array of shape (n,)
        By which an instance is known again when another label for it comes.
    """

    codes: np.ndarray
    y: np.ndarray
    hashes: np.ndarray

    def followed_by(self, other: LabelledCodes) -> LabelledCodes:
        """Return these and the other instances; of one that is in both the other label counts."""
        kept = ~np.isin(self.hashes, other.hashes)
        return LabelledCodes(
            np.concatenate([self.codes[kept], other.codes]),
            np.concatenate([self.y[kept], other.y]),
            np.concatenate([self.hashes[kept], other.hashes]),
        )
