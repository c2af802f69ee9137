"""Stored codes in place of instances: what heads check before they take them."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.autoencoder import Autoencoder
from isthmus.data.codes import StoredCodes
from isthmus.errors import DataError
from isthmus.heads.frozen import is_fitted
from isthmus.heads.identity import encoder_identity


def check_encoder(encoder: Autoencoder, X: Any) -> None:
    """Check that stored codes are of this encoder; instances always pass.

    Raises
    ------
    DataError
        When the encoder is not fitted, or has other weights or other preprocessing.
    """
    if not isinstance(X, StoredCodes):
        return
    if not is_fitted(encoder):
        raise DataError(
            f"{X.name} holds codes, and an encoder that is not fitted learns from instances; "
            "pass those, or the encoder that made the codes"
        )
    if X.digest != encoder.digest_:
        raise DataError(
            f"{X.name} holds codes of another encoder (digest {X.digest[:12]}, expected "
            f"{encoder.digest_[:12]}); encode the instances again with this one"
        )
    if X.identity != encoder_identity(encoder):
        raise DataError(
            f"{X.name} holds codes of another encoder: the weights are the same, the preprocessing "
            "is not; encode the instances again with this one"
        )


def residuals_of(X: StoredCodes) -> np.ndarray:
    """Return the residuals beside stored codes, float32 of shape (n, k).

    Raises
    ------
    DataError
        When they were not stored.
    """
    if X.residuals is None:
        raise _lacks(X, "residuals")
    return X.residuals


def row_hashes(encoder: Autoencoder, X: Any) -> np.ndarray:
    """Return a hash of each instance, uint64 of shape (n,), those stored beside codes.

    Raises
    ------
    DataError
        When they were not stored, or are of another encoder.
    """
    if not isinstance(X, StoredCodes):
        return encoder.row_hashes(X)
    check_encoder(encoder, X)
    if X.hashes is None:
        raise _lacks(X, "row hashes")
    return X.hashes


def _lacks(X: StoredCodes, what: str) -> DataError:
    return DataError(
        f"{X.name} holds codes without {what}, expected those beside them; encode the instances "
        "again with --for-heads (in Python score(..., what='encode', for_heads=True))"
    )
