"""Instances, or stored codes in their place, beside the encoder that a head works on."""

from __future__ import annotations

import numpy as np

from isthmus.autoencoder import Autoencoder
from isthmus.data.instances import Instances
from isthmus.heads.frozen import is_fitted
from isthmus.heads.identity import encoder_identity


def check_encoder(encoder: Autoencoder, instances: Instances) -> None:
    """Check that stored codes are of this encoder; instances always pass.

    Raises
    ------
    DataError
        When the encoder is not fitted, or has other weights or other preprocessing.
    """
    made_by = encoder.digest_ if is_fitted(encoder) else None
    instances.check_made_by(made_by, lambda: encoder_identity(encoder))


def row_hashes(encoder: Autoencoder, instances: Instances) -> np.ndarray:
    """Return a hash of each instance, uint64 of shape (n,), those stored beside codes.

    Raises
    ------
    DataError
        When they were not stored, or are of another encoder.
    """
    check_encoder(encoder, instances)
    return instances.row_hashes(encoder.row_hashes)
