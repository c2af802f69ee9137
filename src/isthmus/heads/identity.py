"""What a head is bound to, and what it was fitted on, each as one short string."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from isthmus.autoencoder import Autoencoder
from isthmus.data.fingerprint import fingerprint
from isthmus.networks import digest


def encoder_identity(encoder: Autoencoder) -> str:
    """Hash what decides the codes: weights as they are now, layers, and preprocessing.

    Weights alone are not enough: the same table in other units gives the same weights.

    Parameters
    ----------
    encoder : fitted Autoencoder

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> import copy
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(100, 6))
    >>> encoder = Autoencoder(max_epochs=2, random_state=0).fit(X)
    >>> other = copy.copy(encoder)
    >>> other.preprocessor_ = Autoencoder(max_epochs=1).fit(1000 * X).preprocessor_
    >>> encoder.digest_ == other.digest_, encoder_identity(encoder) == encoder_identity(other)
    (True, False)
    """
    rest = [encoder.spec_, encoder.schema_.to_dict(), encoder.preprocessor_.to_dict()]
    return _identity(digest(encoder.encoder_), rest)


def identity_in_manifest(facts: Mapping[str, Any]) -> str:
    """Return `encoder_identity` of a saved encoder from its entry in the manifest."""
    rest = [facts["architecture"], facts["schema"], facts["preprocessing"]]
    return _identity(facts["digest"], rest)


def data_fingerprint(hashes: np.ndarray, y: np.ndarray) -> str:
    """Return a SHA-256 of labelled rows, in their order.

    Parameters
    ----------
    hashes : uint64 array of shape (n,)
        Of the rows as the network sees them (`Autoencoder.row_hashes`), so that neither dtype
        nor the order of a table's columns matters.
    y : array of shape (n,)

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    return hashlib.sha256((fingerprint(hashes) + fingerprint(y)).encode()).hexdigest()


def _identity(weights: str, rest: list[Any]) -> str:
    return hashlib.sha256((weights + json.dumps(rest)).encode()).hexdigest()
