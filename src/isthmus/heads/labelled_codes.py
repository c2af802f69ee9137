"""The codes and labels that a classifier keeps, so that labels can be added without encoding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.errors import DataError
from isthmus.heads.labels import known_labels, labelled_rows

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
        """Return these and the other instances; of one that is in both the other label counts.

        Raises
        ------
        DataError
            When one has numbers for labels and the other names.
        """
        known = [known_labels(y) for y in (self.y, other.y) if len(labelled_rows(y))]
        kinds = {"number" if y.dtype.kind in "iufb" else "name" for y in known}
        if len(kinds) > 1:
            raise DataError(
                f"got labels such as {known[1][0]!r} to add to labels such as {known[0][0]!r}; "
                "expected numbers with numbers, or names with names"
            )
        kept = ~np.isin(self.hashes, other.hashes)
        return LabelledCodes(
            np.concatenate([self.codes[kept], other.codes]),
            np.concatenate([self.y[kept], other.y]),
            np.concatenate([self.hashes[kept], other.hashes]),
        )
