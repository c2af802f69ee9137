"""Which instances a head knows already: on them its figures would flatter it."""

from __future__ import annotations

import numpy as np

from isthmus.data.instances import Instances
from isthmus.heads.binding import Head
from isthmus.heads.classifier import CodeClassifier
from isthmus.heads.stored import row_hashes


def known_to(head: Head, hashes: np.ndarray) -> np.ndarray:
    """Return which instances a head was fitted or calibrated on, boolean of shape (n,).

    Parameters
    ----------
    head : fitted CodeClassifier or AnomalyDetector
        A bundle of an earlier isthmus may hold classifiers that know none.
    hashes : uint64 array of shape (n,)
        As `Autoencoder.row_hashes` gives them.
    """
    if isinstance(head, CodeClassifier):
        return np.isin(hashes, head.fitted_on_)
    return np.isin(hashes, head.memory_.hashes)


def count_known(head: Head, instances: Instances, rows: np.ndarray) -> int:
    """Count the instances at these positions that a head knows; 0 of codes without hashes."""
    if not instances.has_row_hashes:
        return 0
    return int(known_to(head, row_hashes(head.encoder_, instances)[rows]).sum())
