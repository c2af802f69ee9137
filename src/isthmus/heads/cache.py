"""Codes on disk, so that the same instances are never encoded twice."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.autoencoder import Autoencoder
from isthmus.data.fingerprint import fingerprint
from isthmus.data.instances import as_instances
from isthmus.heads.identity import encoder_identity
from isthmus.heads.stored import check_encoder
from isthmus.storage import write_bytes


def encode(encoder: Autoencoder, X: Any, cache_dir: str | Path | None = None) -> np.ndarray:
    """Return the codes of `X`, from the cache when it has them.

    Parameters
    ----------
    encoder : fitted Autoencoder
    X : array, DataFrame, StoredCodes or Instances
    cache_dir : path, optional
        A file there is named after encoder and data: all that decides the codes, so that
        another encoder or other data can never meet it.

    Returns
    -------
    array of shape (n, n_components), float32
    """
    instances = as_instances(X)
    check_encoder(encoder, instances)
    return instances.codes_by(lambda held: _encode(encoder, held, cache_dir))


def _encode(encoder: Autoencoder, X: Any, cache_dir: str | Path | None) -> np.ndarray:
    if cache_dir is None:
        return np.asarray(encoder.transform(X))  # a DataFrame after set_output("pandas")
    file = Path(cache_dir) / f"{encoder_identity(encoder)[:32]}-{fingerprint(X)[:32]}.npy"
    if file.exists():
        return np.load(file, allow_pickle=False)
    codes = np.asarray(encoder.transform(X))
    buffer = io.BytesIO()
    np.save(buffer, codes, allow_pickle=False)
    write_bytes(file, buffer.getvalue())
    return codes
