"""Codes on disk, so that the same instances are never encoded twice."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.autoencoder import Autoencoder
from isthmus.data.fingerprint import fingerprint
from isthmus.storage import write_bytes


def encode(encoder: Autoencoder, X: Any, cache_dir: str | Path | None = None) -> np.ndarray:
    """Return the codes of `X`, from the cache when it has them.

    Parameters
    ----------
    encoder : fitted Autoencoder
    X : array or DataFrame
    cache_dir : path, optional
        A file there is named after the encoder's digest and the data's fingerprint, so
        that another encoder or other data can never meet it.

    Returns
    -------
    array of shape (n, n_components), float32
    """
    if cache_dir is None:
        return encoder.transform(X)
    file = Path(cache_dir) / f"{encoder.digest_[:32]}-{fingerprint(X)[:32]}.npy"
    if file.exists():
        return np.load(file, allow_pickle=False)
    codes = encoder.transform(X)
    buffer = io.BytesIO()
    np.save(buffer, codes, allow_pickle=False)
    write_bytes(file, buffer.getvalue())
    return codes
