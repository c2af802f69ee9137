"""A frozen encoder: shared, identified by its digest, its codes cached or stored."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from isthmus._core import LearnedTable, write_bytes
from isthmus.autoencoder import Autoencoder
from isthmus.data import Instances, as_instances, fingerprint
from isthmus.errors import FrozenError
from isthmus.networks import digest


def is_fitted(estimator: Any) -> bool:
    """Return whether an estimator has been fitted."""
    try:
        check_is_fitted(estimator)
    except (NotFittedError, TypeError):
        return False
    return True


class FrozenEncoderMixin(LearnedTable, BaseEstimator):
    """What heads have in common: an `encoder` that is cloned only while it is not fitted."""

    encoder: Any

    def __sklearn_clone__(self) -> Self:
        # A fitted encoder is handed on as it is, like sklearn.frozen.FrozenEstimator.
        fitted = is_fitted(self.encoder)
        parameters = {
            name: value if name == "encoder" and fitted else clone(value, safe=False)
            for name, value in self.get_params(deep=False).items()
        }
        return type(self)(**parameters)

    def set_params(self, **parameters: Any) -> Self:
        """Set parameters; those of an encoder that is fitted cannot be.

        Raises
        ------
        FrozenError
            When a parameter such as `encoder__n_components` is given and the encoder is fitted:
            nothing would learn again.
        """
        inner = [name for name in parameters if name.startswith("encoder__")]
        if inner and "encoder" not in parameters and is_fitted(self.encoder):
            raise FrozenError(
                f"got {inner[0]!r}, and the encoder is fitted: it would not learn again; pass "
                "one that is not, as in CodeClassifier(Autoencoder()), to search its parameters"
            )
        return super().set_params(**parameters)


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


def encode_cached(encoder: Autoencoder, X: Any, cache_dir: str | Path | None = None) -> np.ndarray:
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
