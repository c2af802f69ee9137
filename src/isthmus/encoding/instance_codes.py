"""What heads take of a frozen encoder: its identity, codes, row hashes and samples of a stream."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import singledispatch
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from isthmus._core import LearnedTable, shown, user_path, write_bytes
from isthmus.autoencoder import InstanceEncoder, read_on_rank_zero
from isthmus.data import InMemory, Instances, Schema, StoredCodes, as_instances, fingerprint
from isthmus.data.formats import read_npy
from isthmus.data.preprocessing import describe_empty_rows, issue_warnings
from isthmus.data.streaming import MAX_SAMPLED, Stream
from isthmus.errors import CalibrationWarning, DataError, FrozenError
from isthmus.training import FitCallbacksMixin, draw_seed

RandomState = int | np.random.RandomState | None


def is_fitted(estimator: Any) -> bool:
    """Return whether an estimator has been fitted.

    Parameters
    ----------
    estimator : object

    Returns
    -------
    bool
    """
    try:
        check_is_fitted(estimator)
    except (NotFittedError, TypeError):
        return False
    return True


def check_is_encoder(encoder: Any) -> None:
    """Check that a head was given an encoder.

    Parameters
    ----------
    encoder : object

    Raises
    ------
    TypeError
        When it was not; a model of another library is one once it is in a `FrozenEncoder`.
    """
    if not isinstance(encoder, InstanceEncoder):
        raise TypeError(
            f"got encoder={encoder!r}, expected an isthmus.Autoencoder, fitted or not, or an "
            "isthmus.FrozenEncoder around a model that was trained elsewhere"
        )


def fit_if_not_trained(
    encoder: InstanceEncoder, instances: Instances, channel_names: Sequence[str] | None = None
) -> Any:
    """Return an encoder; one that `fit` does not train, and that is not fitted, fitted.

    Parameters
    ----------
    encoder : Autoencoder or FrozenEncoder
    instances : Instances
    channel_names : sequence of str, optional
        See `Autoencoder.fit`.

    Returns
    -------
    Autoencoder or FrozenEncoder
    """
    if encoder.trainable or is_fitted(encoder):
        return encoder
    return clone(encoder).fit(instances, channel_names=channel_names)


class FrozenEncoderMixin(FitCallbacksMixin, LearnedTable, BaseEstimator):
    """Base of heads: `clone` copies the `encoder` only where it is not fitted."""

    encoder: Any
    encoder_: InstanceEncoder
    encoder_digest_: str
    #: Parameters from which `fit` learns what decides.
    parameters_of_fit: ClassVar[tuple[str, ...]] = ()
    parameters_at_fit_: Mapping[str, Any] = MappingProxyType({})

    def __sklearn_clone__(self) -> Self:
        # A fitted encoder is shared and not cloned, as by sklearn.frozen.FrozenEstimator.
        fitted = is_fitted(self.encoder)
        parameters = {
            name: value if name == "encoder" and fitted else clone(value, safe=False)
            for name, value in self.get_params(deep=False).items()
        }
        twin = type(self)(**parameters)
        if hasattr(self, "_skl_callbacks"):  # as sklearn.clone does
            twin.set_callbacks(*self._skl_callbacks)
        return twin

    def set_params(self, **parameters: Any) -> Self:
        """Set parameters; those of a fitted encoder are refused.

        As in scikit-learn they count from the next fit on. A fitted head that is asked to decide
        before warns that its decisions are those of the parameters it was fitted with.

        Parameters
        ----------
        **parameters
            As for scikit-learn's `set_params`.

        Returns
        -------
        self

        Raises
        ------
        FrozenError
            When a parameter such as `encoder__n_components` is given and the encoder is fitted:
            it would have no effect.

        Examples
        --------
        >>> from isthmus import AnomalyDetector, Autoencoder
        >>> detector = AnomalyDetector(Autoencoder())
        >>> detector = detector.set_params(false_alarm_rate=0.05, encoder__n_components=4)
        >>> detector.false_alarm_rate, detector.encoder.n_components
        (0.05, 4)
        >>> X = np.random.default_rng(0).normal(size=(300, 8))
        >>> detector.set_params(encoder__max_epochs=2).fit(X).check_encoder_unchanged()
        >>> detector.set_params(false_alarm_rate=0.1).parameter_at_fit("false_alarm_rate")
        0.05
        >>> detector.record_parameters("false_alarm_rate")  # as `set_false_alarm_rate` does
        """
        inner = [name for name in parameters if name.startswith("encoder__")]
        if inner and "encoder" not in parameters and is_fitted(self.encoder):
            raise FrozenError(
                f"got {inner[0]!r}, and the encoder is fitted and is not trained again; pass "
                "one that is not, as in CodeClassifier(Autoencoder()), to search its parameters"
            )
        return super().set_params(**parameters)

    @property
    def n_features_in_(self) -> int:
        """Values in one instance."""
        return self.encoder_.n_features_in_

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Column names, when the encoder was fitted on a DataFrame."""
        return self.encoder_.feature_names_in_

    def check_encoder_unchanged(self) -> None:
        """Check that the encoder is the one that the head was fitted on.

        Raises
        ------
        FrozenError
            When it was trained further or adopted other weights since, or its weights changed.
        """
        encoder = self.encoder_
        fitted_on = (self.encoder_digest_, getattr(self, "decoder_digest_", None))
        for name, before, now in zip(
            ("encoder", "decoder"),
            fitted_on,
            (encoder.digest_, encoder.decoder_digest_),
            strict=True,
        ):
            if before is not None and now is not None and before != now:
                raise FrozenError(
                    f"the {name} has other weights than when this head was fitted: digest "
                    f"{now[:12]}, expected {before[:12]}; it was trained further, or adopt_weights "
                    "was called: fit the head again, or load the bundle again (isthmus.load_bundle)"
                )
        encoder.check_frozen(quick=True)
        self._warn_of_new_parameters()

    def record_parameters(self, *names: str) -> None:
        """Record the values of parameters from which what decides was just learned.

        Parameters
        ----------
        *names : str
            None: all of `parameters_of_fit`.
        """
        given = {name: getattr(self, name) for name in names or self.parameters_of_fit}
        self.parameters_at_fit_ = {**self.parameters_at_fit_, **given}

    def parameter_at_fit(self, name: str) -> Any:
        """Return a parameter as decisions rest on it, also where it has been set anew since.

        Parameters
        ----------
        name : str

        Returns
        -------
        object
        """
        return self.parameters_at_fit_.get(name, getattr(self, name))

    def _warn_of_new_parameters(self) -> None:
        for name, before in self.parameters_at_fit_.items():
            now = getattr(self, name)
            if now is before or now == before:
                continue
            how = f"call set_{name}({shown(now)}), or " if hasattr(self, f"set_{name}") else ""
            message = (
                f"{name}={shown(now)} was set after the fit and does not count until the next: "
                f"decisions are those of {name}={shown(before)}; {how}fit again"
            )
            warnings.warn(message, CalibrationWarning, stacklevel=4)


def encoder_identity(encoder: InstanceEncoder) -> str:
    """Return a SHA-256 of all that determines the codes: weights, layers and preprocessing.

    Weights alone are not enough: the same table in other units gives the same weights.

    Parameters
    ----------
    encoder : fitted Autoencoder or FrozenEncoder

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> from isthmus import Autoencoder
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
    return _identity(encoder.encoder_digest(), rest)


def identity_in_manifest(facts: Mapping[str, Any]) -> str:
    """Return the `encoder_identity` of a saved encoder from its manifest entry.

    Parameters
    ----------
    facts : mapping
        The entry of the encoder.

    Returns
    -------
    str
    """
    rest = [facts["architecture"], facts["schema"], facts["preprocessing"]]
    return _identity(facts["digest"], rest)


def data_fingerprint(hashes: np.ndarray, y: np.ndarray) -> str:
    """Return a SHA-256 of labelled rows, in their order.

    Parameters
    ----------
    hashes : uint64 array of shape (n,)
        Of the standardised rows (`Autoencoder.row_hashes`), so that neither dtype nor the order of
        a table's columns matters.
    y : array of shape (n,)

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    return hashlib.sha256((fingerprint(hashes) + fingerprint(y)).encode()).hexdigest()


def _identity(weights: str, rest: list[Any]) -> str:
    return hashlib.sha256((weights + json.dumps(rest)).encode()).hexdigest()


def check_encoder(encoder: InstanceEncoder, instances: Instances) -> None:
    """Check that stored codes were made by this encoder; other instances always pass.

    Parameters
    ----------
    encoder : Autoencoder or FrozenEncoder
    instances : Instances

    Raises
    ------
    DataError
        When the encoder is not fitted, or has other weights or other preprocessing.
    """
    made_by = encoder.digest_ if is_fitted(encoder) else None
    instances.check_made_by(made_by, lambda: encoder_identity(encoder))


def row_hashes(encoder: InstanceEncoder, instances: Instances) -> np.ndarray:
    """Return a hash of each instance, uint64 of shape (n,); of stored codes the stored ones.

    Parameters
    ----------
    encoder : fitted Autoencoder or FrozenEncoder
    instances : Instances

    Returns
    -------
    uint64 array of shape (n,)

    Raises
    ------
    DataError
        When they were not stored, or are of another encoder.
    """
    check_encoder(encoder, instances)
    return instances.row_hashes(encoder.row_hashes)


def encode_cached(
    encoder: InstanceEncoder, X: Any, cache_dir: str | Path | None = None
) -> np.ndarray:
    """Return the codes of `X`, from the cache where they are there.

    Parameters
    ----------
    encoder : fitted Autoencoder or FrozenEncoder
    X : array, DataFrame, StoredCodes or Instances
    cache_dir : path, optional
        Files there are named by the hashes of encoder and data, so that codes of another encoder
        or of other data are never returned.

    Returns
    -------
    array of shape (n, n_components), float32

    Warns
    -----
    DataWarning
        When rows of a table have no value in any column.
    """
    instances = as_instances(X)
    check_encoder(encoder, instances)
    return instances.codes_by(lambda held: _encode_and_warn(encoder, held, cache_dir))


def _encode_and_warn(encoder: InstanceEncoder, X: Any, cache_dir: str | Path | None) -> np.ndarray:
    codes = _encode(encoder, X, cache_dir)  # which checks the instances
    issue_warnings(describe_empty_rows(*count_empty_rows(encoder, X)))
    return codes


@contextmanager
def restored_on_failure(*heads: Any) -> Iterator[None]:
    """Leave heads as they were where the block fails; None is no head.

    Parameters
    ----------
    *heads : CodeClassifier, AnomalyDetector or None

    Yields
    ------
    None
    """
    before = [(head, dict(head.__dict__)) for head in heads if head is not None]
    try:
        yield
    except BaseException:
        for head, attributes in before:
            head.__dict__.clear()
            head.__dict__.update(attributes)
        raise


def count_empty_rows(encoder: InstanceEncoder, X: Any) -> tuple[int, int]:
    """Return how many rows of a table in memory have no value in any column, and how many it has.

    Of images, series and codes it is 0 and 0.

    Parameters
    ----------
    encoder : fitted Autoencoder or FrozenEncoder
    X : array, DataFrame or Instances

    Returns
    -------
    n_empty, n : int
    """
    instances = as_instances(X)
    if instances.encoded or encoder.schema_.kind != "table":
        return 0, 0
    held = instances.held
    if hasattr(held, "columns"):  # a frame, in which text may be a missing value
        held = encoder.schema_.check(held)
    missing = np.asarray(pd.isna(held))
    return int(missing.all(axis=1).sum()), len(missing)


def _encode(encoder: InstanceEncoder, X: Any, cache_dir: str | Path | None) -> np.ndarray:
    if cache_dir is None:
        return np.asarray(encoder.transform(X))  # a DataFrame after set_output("pandas")
    file = user_path(cache_dir) / f"{encoder_identity(encoder)[:32]}-{fingerprint(X)[:32]}.npy"
    if file.exists():
        return read_npy(file)
    codes = np.asarray(encoder.transform(X))
    buffer = io.BytesIO()
    np.save(buffer, codes, allow_pickle=False)
    write_bytes(file, buffer.getvalue())
    return codes


@singledispatch
def labelled_sample(
    instances: Instances, encoder: InstanceEncoder, y: Any, random_state: RandomState
) -> tuple[Instances, Any]:
    """Return instances and labels; of a stream a random sample of both.

    Of a stream `MAX_SAMPLED` instances at most are drawn. Stored codes and datasets of torch are
    taken whole, with their own labels where `y` is None.

    Parameters
    ----------
    instances : Instances
    encoder : Autoencoder or FrozenEncoder
    y : array of shape (n,) or None
    random_state : int, RandomState instance or None

    Returns
    -------
    instances : Instances
    y : array or None

    Raises
    ------
    DataError
        When a stream or stored codes have no labels, or codes are of another encoder.
    """
    return instances, instances.labels if y is None else y


@labelled_sample.register(StoredCodes)
def _labelled_codes(
    codes: StoredCodes, encoder: InstanceEncoder, y: Any, random_state: RandomState
) -> tuple[Instances, Any]:
    check_encoder(encoder, codes)
    if y is None and codes.y is None:
        raise DataError(
            f"{codes.name} holds codes without labels; name their column with load_codes(..., "
            "label=COLUMN), or pass y"
        )
    return codes, codes.y if y is None else y


@labelled_sample.register(Stream)
def _labelled_of_stream(
    stream: Stream, encoder: InstanceEncoder, y: Any, random_state: RandomState
) -> tuple[Instances, Any]:
    stream.check_labelled()
    seed, schema = draw_seed(random_state), schema_if_fitted(encoder)
    X, labels = read_on_rank_zero(stream, lambda: stream.at_most(MAX_SAMPLED, seed, schema=schema))
    return InMemory(X), labels


def schema_if_fitted(encoder: InstanceEncoder) -> Schema | None:
    """Return the schema of a fitted encoder, with which a stream need not learn its own.

    Parameters
    ----------
    encoder : Autoencoder or FrozenEncoder

    Returns
    -------
    Schema or None
    """
    return encoder.schema_ if is_fitted(encoder) else None
