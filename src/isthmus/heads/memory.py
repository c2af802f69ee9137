"""What a detector keeps of its rows, so that it can decide anew without any training."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from isthmus.autoencoder import Autoencoder
from isthmus.data.instances import Instances
from isthmus.errors import CalibrationError, DataError
from isthmus.heads.detector_labels import ABNORMAL
from isthmus.heads.stored import row_hashes
from isthmus.heads.views import Views, view


@dataclass(frozen=True, eq=False)
class Fold:
    """Rows that calibrate, and the encoder that has not seen them.

    Attributes
    ----------
    held_out : integer array
        Row numbers that calibrate.
    encoder : Autoencoder or None
        None where it is the detector's own.
    views : Views or None
        Of all rows, through that encoder.
    """

    held_out: np.ndarray
    encoder: Autoencoder | None = None
    views: Views | None = None


@dataclass(frozen=True, eq=False)
class Memory:
    """Views of all rows, their labels, and the folds.

    Attributes
    ----------
    views : Views
        Of n rows, through the detector's encoder.
    y : int8 array of shape (n,)
        1 normal, -1 abnormal, 0 unknown.
    hashes : uint64 array of shape (n,)
        By which a row is known again when a label for it comes.
    folds : list of Fold
    seed : int
    """

    views: Views
    y: np.ndarray
    hashes: np.ndarray
    folds: list[Fold]
    seed: int

    def views_of(self, fold: Fold) -> Views:
        """Return the views of all rows through the fold's encoder."""
        return self.views if fold.views is None else fold.views

    def training_rows(self, fold: Fold) -> np.ndarray:
        """Return the rows that a score is fitted on while the fold's calibrate."""
        return np.setdiff1d(np.arange(len(self.y)), self.calibration_rows(fold))

    def calibration_rows(self, fold: Fold) -> np.ndarray:
        """Return the fold's rows that have not been found abnormal since."""
        return fold.held_out[self.y[fold.held_out] != ABNORMAL]

    def check_suffices(self) -> None:
        """Check that rows are left to learn from and to calibrate on."""
        calibrating = sum(len(self.calibration_rows(fold)) for fold in self.folds)
        learning = min(
            int((self.y[self.training_rows(fold)] != ABNORMAL).sum()) for fold in self.folds
        )
        if calibrating < 1 or learning < 2:
            raise CalibrationError(
                f"{learning} normal rows are left to learn from and {calibrating} to calibrate "
                "on, expected at least 2 and 1; bring more normal rows, or fit anew"
            )

    def with_labels(self, encoder: Autoencoder, instances: Instances, y: np.ndarray) -> Memory:
        """Return a memory with labels changed and new rows added.

        A row that is here gets the label; a calibration row found abnormal calibrates no
        more. New rows train and never calibrate: they were picked to be looked at, which
        rows that calibrate must not be.
        """
        hashes = row_hashes(encoder, instances)
        labels = self.y.copy()
        for digest, label in zip(hashes, y, strict=True):
            labels[self.hashes == digest] = label
        new = np.flatnonzero(~np.isin(hashes, self.hashes))
        if not len(new):
            return replace(self, y=labels)
        if instances.encoded and any(fold.encoder is not None for fold in self.folds):
            raise DataError(
                f"{instances.name} holds codes of one encoder, and the detector was calibrated "
                "with several (calibration='cross'), which have to see rows that are new to it; "
                "pass the instances themselves"
            )
        views = view(encoder, instances).take(new)
        folds = [
            fold
            if fold.encoder is None or fold.views is None
            else replace(
                fold, views=fold.views.followed_by(view(fold.encoder, instances).take(new))
            )
            for fold in self.folds
        ]
        return Memory(
            self.views.followed_by(views),
            np.concatenate([labels, y[new]]),
            np.concatenate([self.hashes, hashes[new]]),
            folds,
            self.seed,
        )
