"""What heads need of an encoder: schema, codes, row hashes, a digest; whoever trained it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import singledispatchmethod
from typing import Any, ClassVar, NoReturn

import numpy as np
import pandas as pd
from sklearn.base import TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from isthmus._core import isolated_from_host
from isthmus.autoencoder.shared_reading import learn_from_stream
from isthmus.autoencoder.training_rows import HeldOut, TrainingRowHashes, row_hashes
from isthmus.data import (
    Instances,
    Schema,
    as_instances,
    check_step,
    over_chunks,
    repeated_row_warnings,
)
from isthmus.data.preprocessing import (
    Preprocessor,
    SeriesPreprocessor,
    column_warnings,
    issue_warnings,
    learn_preprocessor,
)
from isthmus.data.streaming import Stream
from isthmus.errors import DataError
from isthmus.training import FitCallbacksMixin


class InstanceEncoder(FitCallbacksMixin, TransformerMixin):
    """An encoder as heads, evaluation, bundles and exports use it.

    `Autoencoder` and `FrozenEncoder` are the two. What needs a decoder is left out where
    `has_decoder` is False; the methods that do raise a `DataError`.

    Attributes
    ----------
    trainable : bool
        Whether `fit` trains it. If not, `fit` learns schema and preprocessing alone, and any
        rows may do so.
    has_decoder : bool
        Whether it reconstructs instances.
    schema_ : Schema
    preprocessor_ : Preprocessor
        Of row hashes and of the baseline of raw features; of an autoencoder of its inputs too.
    n_components_ : int
        Width of the code.
    digest_ : str
        SHA-256 of the encoder.
    decoder_digest_ : str or None
        SHA-256 of the decoder; None where there is none.
    spec_ : dict
        Plain values that determine the codes together with weights, schema and preprocessing.
    training_row_hashes_ : TrainingRowHashes
        Of the rows that it was trained on, as far as that is known.
    held_out_ : HeldOut
    """

    trainable: ClassVar[bool] = True
    has_decoder: ClassVar[bool] = True

    kind: Any
    schema_: Schema
    preprocessor_: Preprocessor
    n_components_: int
    n_features_in_: int
    feature_names_in_: np.ndarray
    digest_: str
    decoder_digest_: str | None
    spec_: dict[str, Any]
    training_row_hashes_: TrainingRowHashes
    held_out_: HeldOut

    @property
    def n_training_rows_(self) -> int:
        """Number of rows that schema and preprocessing were learned from, equal ones once."""
        return len(self.training_row_hashes_.hashes)

    def encoder_digest(self) -> str:
        """Return the digest of the encoder as it is now, which `digest_` was at fit.

        Returns
        -------
        str

        Raises
        ------
        NotImplementedError
            In this base class.
        """
        raise NotImplementedError

    def check_frozen(self, *, quick: bool = False) -> None:
        """Check that the encoder is the one that `digest_` was computed from.

        Parameters
        ----------
        quick : bool, default=False
            Look only at torch's counts of changes.

        Raises
        ------
        FrozenError
            When it is not.
        """
        raise NotImplementedError

    def encoded_batches(self, X: Any) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Yield codes, and of a table which values are missing, batch by batch.

        Parameters
        ----------
        X : array or DataFrame like the one at `fit`, or Stream

        Yields
        ------
        codes : float32 array of shape (batch, n_components_)
        missing : boolean array of shape (batch, m) or None
        """
        for batch in self.reconstruct(X):
            yield batch.codes.numpy(), batch.missing

    def untrained(self, random_state: int | np.random.RandomState | None = None) -> Any:
        """Return the same encoder with fresh random weights; None where none can be drawn.

        Parameters
        ----------
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        InstanceEncoder or None
        """
        return None

    def reconstruct(self, X: Any) -> Iterator[Any]:
        """Yield inputs, codes, reconstructions and errors, where there is a decoder.

        Parameters
        ----------
        X : array or DataFrame like the one at `fit`, or Stream

        Raises
        ------
        DataError
            Where there is no decoder.
        """
        self._refuse_without_decoder()

    def reconstruction_error(self, X: Any) -> np.ndarray:
        """Return the reconstruction error of each instance, where there is a decoder.

        Parameters
        ----------
        X : array or DataFrame like the one at `fit`, or Stream

        Raises
        ------
        DataError
            Where there is no decoder.
        """
        self._refuse_without_decoder()

    def decode(self, codes: np.ndarray) -> Iterator[Any]:
        """Yield the network's outputs for codes, where there is a decoder.

        Parameters
        ----------
        codes : float32 array of shape (n, n_components_)

        Raises
        ------
        DataError
            Where there is no decoder.
        """
        self._refuse_without_decoder()

    def inverse_transform(self, X: Any) -> Any:
        """Reconstruct instances from codes, where there is a decoder.

        Parameters
        ----------
        X : array of shape (n, n_components_)
            Codes.

        Raises
        ------
        DataError
            Where there is no decoder.
        """
        self._refuse_without_decoder()

    def _refuse_without_decoder(self) -> NoReturn:
        raise DataError(
            f"got {type(self).__name__}, which has no decoder, and reconstructions, residuals and "
            "errors need one; train isthmus.Autoencoder instead, or leave them out"
        )

    def warn_about_columns(self, X: Any) -> None:
        """Issue a `DataWarning` about columns of X that may mislead a model; see `fit`.

        Parameters
        ----------
        X : array or DataFrame like the one at `fit`, or Stream
            Of a stream, or of stored codes, nothing is warned of here.
        """
        instances = as_instances(X)
        if instances.in_memory and not instances.encoded:
            checked = instances.checked(self._check)
            issue_warnings(column_warnings(checked, self.schema_, self.preprocessor_))

    def warn_about_repeated_rows(self, X: Any) -> None:
        """Issue a `DataWarning` where more rows of X equal another one than chance explains.

        Parameters
        ----------
        X : array or DataFrame like the one at `fit`, or Stream
            Of a stream, of stored codes, or of windows of a long table, nothing is warned of here.
        """
        instances = as_instances(X)
        if instances.in_memory and not instances.encoded and instances.points is None:
            X, series = instances.checked(self._check).held, self.schema_.kind == "series"
            issue_warnings(repeated_row_warnings(X, series=series))

    @isolated_from_host()
    @over_chunks
    def row_hashes(self, X: Any) -> np.ndarray:
        """Return the hash of each instance's standardised values.

        Parameters
        ----------
        X : array or DataFrame like the one at `fit`

        Returns
        -------
        uint64 array of shape (n,)

        Examples
        --------
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> from isthmus import Autoencoder
        >>> from isthmus.data import as_instances
        >>> from isthmus.networks import Networks
        >>> X = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
        >>> encoder = Autoencoder(n_components=3, max_epochs=2, random_state=0)
        >>> encoder.plan_fit(as_instances(X)).carry_out()
        >>> hashes = encoder.row_hashes(X)
        >>> hashes.shape, bool((encoder.hash_checked_rows(X) == hashes).all())
        ((200,), True)
        >>> encoder.warn_about_columns(X)
        >>> encoder.warn_about_repeated_rows(X)
        >>> [codes.shape for codes, missing in encoder.encoded_batches(X)]
        [(200, 3)]
        >>> encoder.check_frozen()
        >>> encoder.encoder_digest() == encoder.digest_
        True
        >>> encoder.untrained(random_state=1).encoder_digest() == encoder.digest_
        False
        >>> encoder.save(Path(mkdtemp()) / "bundle")
        >>> names = ["schema_", "preprocessor_", "loss_", "training_", "history_", "held_out_"]
        >>> learned = {name: getattr(encoder, name) for name in names}
        >>> networks = Networks(encoder.encoder_, encoder.decoder_, 3, encoder.spec_)
        >>> again = Autoencoder.restored(encoder.get_params(), learned, networks)
        >>> again.digest_ == encoder.digest_
        True
        """
        return self.hash_checked_rows(self._check(X))

    def hash_checked_rows(self, X: np.ndarray) -> np.ndarray:
        """Return the hash of each checked instance.

        Parameters
        ----------
        X : array of shape (n, *schema_.shape)

        Returns
        -------
        uint64 array of shape (n,)
        """
        step, prepare = self._inference_batch(), self.preprocessor_.to_hash
        parts = [row_hashes(prepare(X[first : first + step])) for first in range(0, len(X), step)]
        return np.concatenate(parts)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "digest_")

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True  # in tables
        return tags

    @property
    def _n_features_out(self) -> int:
        return self.n_components_

    @property
    def _usual_kind(self) -> str:
        """Kind of instances for which neither person nor data say one."""
        return "auto"

    @singledispatchmethod
    def _learn_schema(self, instances: Instances) -> Instances:
        """Check training instances, and learn their schema and preprocessing."""
        X = instances.held
        kind = self.kind if self.kind != "auto" or instances.kind is None else instances.kind
        kind = self._usual_kind if kind == "auto" else kind
        n_dimensions = X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim
        if kind in ("auto", "table") and n_dimensions not in (3, 4):
            if isinstance(X, pd.DataFrame):
                self.schema_ = Schema.learn(X)
                # It keeps names and number of columns, and refuses names of which some are text.
                texts = any(isinstance(name, str) for name in X.columns)
                named = X.iloc[:0].rename(columns=str) if texts else X
                validate_data(self, named, skip_check_array=True)
                X = self.schema_.check(X)
            else:
                X = validate_data(self, X, ensure_min_samples=2, ensure_all_finite="allow-nan")
                self.schema_ = Schema.learn(X)
        else:
            X = np.asarray(X)
            self.schema_ = Schema.learn(X, kind).with_step(instances.step)
            if instances.channel_names is not None:
                self.schema_ = self.schema_.with_channel_names(instances.channel_names)
            self.n_features_in_ = self.schema_.n_features
            self.__dict__.pop("feature_names_in_", None)
        if len(X) < 2:
            raise DataError(f"got {len(X)} instance, expected at least two to learn from")
        self.preprocessor_ = learn_preprocessor(X, self.schema_)
        return instances.checked(lambda _: X)

    def _name_channels(self, names: Sequence[str]) -> None:
        self.schema_ = self.schema_.with_channel_names(names)
        assert isinstance(self.preprocessor_, SeriesPreprocessor)
        # Its warnings name channels too.
        self.preprocessor_ = replace(self.preprocessor_, schema=self.schema_)

    @_learn_schema.register
    def _learn_schema_of_stream(self, stream: Stream) -> Instances:
        if self.kind not in ("auto", stream.kind):
            raise DataError(
                f"got kind={self.kind!r}, and {stream.name} holds {stream.kind}; leave kind out"
            )
        self.schema_, self.preprocessor_ = learn_from_stream(stream)
        self.__dict__.pop("feature_names_in_", None)
        self._name_features()
        return stream

    def _name_features(self) -> None:
        """Set number and names of the features from the schema."""
        self.n_features_in_ = self.schema_.n_features
        if self.schema_.kind == "table" and self.schema_.columns is not None:
            self.feature_names_in_ = np.asarray(self.schema_.columns, dtype=object)

    def _check_training_instances(self, instances: Instances) -> Instances:
        """Check instances to train further on."""
        checked = instances.checked(self._check)
        check_step(instances.step, self.schema_.step)
        return checked

    def _check(self, X: Any) -> np.ndarray:
        """Check instances to predict on and return them as an array."""
        check_is_fitted(self)
        if self.schema_.kind == "table":
            if isinstance(X, pd.DataFrame) or self.schema_.column_types is not None:
                return self.schema_.check(X)
            X = validate_data(self, X, reset=False, ensure_all_finite="allow-nan")
        return self.schema_.check(X)

    def _inference_batch(self) -> int:
        # Larger batches are not faster, and activations of images take memory.
        values = math.prod(self.preprocessor_.network_shape)
        return max(1, min(1024, 2**22 // values, max(64, 2**19 // values)))
