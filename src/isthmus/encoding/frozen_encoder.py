"""`FrozenEncoder`: an encoder that was trained elsewhere, in the place of an `Autoencoder`."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin
from sklearn.utils.validation import check_is_fitted

from isthmus._core import LearnedTable, each_isolated, isolated_from_host
from isthmus.autoencoder import HeldOut, InstanceEncoder, TrainingRowHashes
from isthmus.data import as_instances, over_chunks
from isthmus.data.preprocessing import restore_instances
from isthmus.encoding.encoder_backends import PRECOMPUTED, Backend, backend_of
from isthmus.errors import DataError, FrozenError, IsthmusError
from isthmus.training import as_fit_task, draw_seed

#: Instances on which an encoder is tried at fit.
N_TRIED = 8
#: Codes of the same instances that differ by more, relative to how far codes lie apart, are others.
TOLERANCE = 1e-3


class FrozenEncoder(LearnedTable, InstanceEncoder, ClassNamePrefixFeaturesOutMixin, BaseEstimator):
    """Take the codes of an encoder that was trained elsewhere: a backbone, an ONNX file, PCA.

    It stands where an `Autoencoder` does: in `CodeClassifier`, `AnomalyDetector`, evaluation,
    report, bundles and exports. It is never trained: `fit` learns only what instances look like,
    and copies the model. It has no decoder, so there are no reconstructions, residuals and
    explanations by feature, and detectors decide by codes alone.

    Parameters
    ----------
    model : torch.nn.Module, path, transformer, callable or "precomputed"
        A module from a batch to one tensor of codes, which stays on its device; an ONNX file with
        one input, whose first output is the code (needs the extra `onnx`); a fitted transformer of
        scikit-learn; a function from instances to codes; `"precomputed"` where the columns of a
        table are the codes, such as embeddings that were stored. Codes of more than one dimension
        are flattened.
    preprocess : callable, optional
        From instances, in the units of the data, to what the model takes. It gets an array of
        shape (n, h, w[, c]), (n, t, c) or (n, m) with the dtype at fit, or a DataFrame where it was
        fitted on one. Each instance must be prepared by itself. Without it a module and an ONNX
        file get float32: images in [0, 1] with the channels first, series as (n, c, t) and tables
        as (n, m), unscaled; a transformer gets one row an instance, a function the instances.
    kind : {"auto", "images", "series", "table"}, default="auto"
        What the instances are; see `Autoencoder`.
    batch_size : int or None, default=None
        Instances that are encoded at a time; None is up to 1,024, fewer of large ones.

    Attributes
    ----------
    schema_ : Schema
    n_components_ : int
        Width of the code.
    digest_ : str
        SHA-256: of a module's parameters and buffers, of the ONNX file, of a transformer's
        attributes; of a function of its name and of the codes that it gives for instances drawn at
        random.
    n_training_rows_ : int
        Instances given to `fit`.

    Raises
    ------
    DataError
        In `fit`, when the model cannot encode the instances, gives codes that are not finite, or
        other codes for an instance when others stand beside it.
    FrozenError
        Where the model has other weights, or gives other codes, than at `fit`.

    Notes
    -----
    Which rows the model was trained on is not known. Where a detector's rows are among them, its
    false-alarm rate is not promised: fit it on others.

    Examples
    --------
    >>> from sklearn.decomposition import PCA
    >>> from isthmus import CodeClassifier, load
    >>> digits = load("digits")
    >>> pca = PCA(16, random_state=0).fit(digits.train.X.reshape(-1, 64))
    >>> classifier = CodeClassifier(FrozenEncoder(pca)).fit(digits.train.X, digits.train.y)
    >>> classifier.encoder_.n_components_, classifier.score(digits.test.X, digits.test.y) > 0.9
    (16, True)
    >>> encoder = classifier.encoder_
    >>> encoder.transform(digits.test.X).shape, encoder.gives_codes_of_fit()
    ((360, 16), True)
    >>> [codes.shape for codes, missing in encoder.encoded_batches(digits.test.X)]
    [(360, 16)]
    >>> encoder.check_frozen()
    >>> encoder.encoder_digest() == encoder.digest_, encoder.untrained() is None
    (True, True)
    >>> names = ["schema_", "preprocessor_", "spec_", "trial_codes_"]
    >>> learned = {name: getattr(encoder, name) for name in names}
    >>> again = FrozenEncoder.restored(encoder.backend_, {"model": pca}, learned)
    >>> again.encoder_digest() == encoder.digest_
    True
    """

    trainable: ClassVar[bool] = False
    has_decoder: ClassVar[bool] = False
    decoder_digest_: None = None
    backend_: Backend
    trial_codes_: np.ndarray | None
    _checked_versions: Any

    def __init__(
        self,
        model: Any,
        preprocess: Callable[[Any], Any] | None = None,
        *,
        kind: str = "auto",
        batch_size: int | None = None,
    ) -> None:
        self.model = model
        self.preprocess = preprocess
        self.kind = kind
        self.batch_size = batch_size

    def __sklearn_clone__(self) -> Self:
        # The model is never fitted, and shared; `fit` takes a copy of it.
        return type(self)(**self.get_params(deep=False))

    @as_fit_task
    @isolated_from_host()
    def fit(self, X: Any, y: Any = None, *, channel_names: Sequence[str] | None = None) -> Self:
        """Learn what instances look like, and try the model on a few of them; train nothing.

        Parameters
        ----------
        X : array, DataFrame, Dataset or Stream
        y : ignored
        channel_names : sequence of str, optional
            Of windows of series in an array; see `Autoencoder.fit`.

        Returns
        -------
        self

        Raises
        ------
        DataError
            When X holds codes, or the model does not take such instances.
        """
        self.__dict__.pop("digest_", None)
        instances = as_instances(X)
        if instances.encoded:
            raise DataError(
                f"got codes that {instances.name} holds, expected instances like those to encode; "
                f"to take numbers as codes, pass them as a table, with model={PRECOMPUTED!r}"
            )
        self._learn_schema(instances)
        if channel_names is not None:
            self._name_channels(channel_names)
        few = instances.at_most(N_TRIED, 0, label=False, schema=self.schema_)[0]
        self.n_rows_ = len(instances)
        self._take(backend_of(self.model))
        self._try(_rows(few, 0, N_TRIED))
        self._measure(self.backend_)
        return self

    @isolated_from_host()
    @over_chunks
    def transform(self, X: Any) -> np.ndarray:
        """Return the codes of instances.

        Parameters
        ----------
        X : array or DataFrame like the one at `fit`, or Stream

        Returns
        -------
        array of shape (n, n_components_), float32
        """
        checked = self._check(X)
        codes = np.empty((len(checked), self.n_components_), dtype=np.float32)
        for first, part in self._code_batches(X, checked):
            codes[first : first + len(part)] = part
        return codes

    def encoded_batches(self, X: Any) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Yield codes, and of a table which values are missing, batch by batch.

        Parameters
        ----------
        X : array or DataFrame like the one at `fit`, or Stream

        Returns
        -------
        iterator of (codes, missing)
            As `Autoencoder.encoded_batches` yields them.
        """
        check_is_fitted(self)
        return each_isolated(
            batch for chunk in as_instances(X).map(self._encoded) for batch in chunk
        )

    def _encoded(self, X: Any) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        checked = self._check(X)
        for first, codes in self._code_batches(X, checked):
            rows = checked[first : first + len(codes)]
            yield codes, np.isnan(rows) if self.schema_.kind == "table" else None

    def encoder_digest(self) -> str:
        """Return the digest of the model as it is now.

        Returns
        -------
        str
            SHA-256 in hexadecimal digits.
        """
        return self._digest()

    def check_frozen(self, *, quick: bool = False) -> None:
        """Check that the model has the weights that it had at fit, and gives the same codes.

        Parameters
        ----------
        quick : bool, default=False
            Look only at torch's counts of changes.

        Raises
        ------
        FrozenError
            When it has other weights, or gives other codes for instances drawn at random.
        """
        check_is_fitted(self)
        versions = self.backend_.versions()
        if quick and versions == self._checked_versions:
            return
        if (found := self._digest()) != self.digest_:
            raise FrozenError(
                f"the encoder changed after it was fitted: digest {found[:12]}, expected "
                f"{self.digest_[:12]}; fit it, and its heads, again"
            )
        self._checked_versions = versions

    def untrained(self, random_state: int | np.random.RandomState | None = None) -> Self | None:
        """Return the same encoder with fresh random weights; None where none can be drawn.

        They are drawn by `reset_parameters` of a module's layers.

        Parameters
        ----------
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        FrozenEncoder or None
        """
        check_is_fitted(self)
        fresh = self.backend_.untrained(draw_seed(random_state))
        if fresh is None:
            return None
        twin = copy.copy(self)
        twin._measure(fresh)  # noqa: SLF001
        return twin

    @classmethod
    @isolated_from_host()
    def restored(
        cls, backend: Backend, parameters: Mapping[str, Any], learned: Mapping[str, Any]
    ) -> Self:
        """Rebuild a fitted encoder from its backend, parameters and fitted attributes.

        Parameters
        ----------
        backend : Backend
            The model, loaded.
        parameters : mapping
            Those of the constructor.
        learned : mapping
            The fitted attributes by name.

        Returns
        -------
        FrozenEncoder
        """
        encoder = cls(**parameters)
        for name, value in learned.items():
            setattr(encoder, name, value)
        encoder._name_features()
        encoder._take(backend)
        encoder.n_components_ = encoder.spec_["n_components"]
        encoder.held_out_ = HeldOut.empty(encoder.n_components_)
        encoder._checked_versions = backend.versions()
        return encoder

    @isolated_from_host()
    def gives_codes_of_fit(self) -> bool:
        """Return whether instances drawn at random have the codes that they had at fit.

        True where the model refused such instances at fit, as nothing can then be compared.

        Returns
        -------
        bool
        """
        then = self.trial_codes_
        now = then if then is None else self._codes_of_drawn()
        return then is None or (now is not None and _alike(then, now))

    @property
    def n_training_rows_(self) -> int:
        """Number of instances given to `fit`."""
        return self.n_rows_

    def _take(self, backend: Backend) -> None:
        """Take a backend, before it has encoded anything."""
        if backend.kind == PRECOMPUTED and (
            self.schema_.kind != "table" or self.schema_.column_types is not None
        ):
            raise DataError(
                f"got {self.schema_.kind} with model={PRECOMPUTED!r}, expected a table of which "
                "all columns are numbers, one code a row; leave other columns out"
            )
        self.backend_ = backend
        self.training_row_hashes_ = TrainingRowHashes(np.empty(0, np.uint64), 0.0)

    def _measure(self, backend: Backend) -> None:
        """Set the backend, with the facts that tell it from others."""
        self.backend_ = backend
        self.trial_codes_ = self._codes_of_drawn()
        self.spec_ = self._spec()
        self.digest_ = self._digest()
        self._checked_versions = backend.versions()

    def _try(self, few: Any) -> None:
        """Encode a few instances, together and the first alone, and learn the width of the code."""
        given = self._as_at_fit(few, self.schema_.check(few))
        try:
            together, alone = self._run(given), self._run(_rows(given, 0, 1))
        except IsthmusError:
            raise
        except Exception as error:  # whatever a model of others raises
            raise DataError(
                f"{self.backend_.name} cannot encode {self.schema_.kind} of shape "
                f"{self.schema_.shape}: {type(error).__name__}: {error}; pass preprocess=, a "
                "function from instances to what it takes"
            ) from error
        if len(together) != len(given) or not together.shape[1]:
            raise DataError(
                f"{self.backend_.name} gave codes of shape {together.shape} for {len(given)} "
                "instances, expected one row each; let preprocess or the model keep the first axis"
            )
        self.n_components_ = together.shape[1]
        self.held_out_ = HeldOut.empty(self.n_components_)
        self._check_finite(together, 0)
        if not _alike(together, np.concatenate([alone, self._run(given)[1:]])):
            raise FrozenError(
                f"{self.backend_.name} gives an instance another code when it is encoded again, or "
                "beside other instances; leave out what is random, and what is computed over a "
                "batch, such as dropout or batch normalisation in training mode"
            )

    def _code_batches(self, X: Any, checked: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield codes of instances and the number of the first, batch by batch."""
        step = self._inference_batch() if self.batch_size is None else self.batch_size
        given = self._as_at_fit(X, checked)
        for first in range(0, len(checked), step):
            codes = self._run(_rows(given, first, first + step))
            self._check_finite(codes, first)
            yield first, codes

    def _run(self, given: Any) -> np.ndarray:
        if self.preprocess is not None:
            given = self.preprocess(given)
        elif self.backend_.takes_network_inputs:
            given = self._network_inputs(given)
        codes = self.backend_.run(given)
        return np.ascontiguousarray(codes.reshape(len(codes), -1))

    def _network_inputs(self, given: Any) -> np.ndarray:
        """Return what a module takes where nothing else prepares the instances."""
        if self.schema_.kind == "images":
            return self.preprocessor_.to_network(given)
        if self.schema_.kind == "series":
            return np.ascontiguousarray(given.transpose(0, 2, 1), dtype=np.float32)
        if self.schema_.column_types is not None:
            raise DataError(
                "got a table of which some columns are no numbers; pass preprocess=, a function "
                f"from a DataFrame to what {self.backend_.name} takes"
            )
        return np.ascontiguousarray(given, dtype=np.float32)

    def _as_at_fit(self, X: Any, checked: np.ndarray) -> Any:
        """Return checked instances in the units at fit, a DataFrame where they came as one."""
        schema = self.schema_
        if schema.kind == "table" and schema.columns is not None:
            if schema.column_types is None:
                return pd.DataFrame(checked, columns=list(schema.columns))
            table = X if isinstance(X, pd.DataFrame) else pd.DataFrame(np.asarray(X))
            if set(schema.columns) <= set(map(str, table.columns)):
                return table.set_axis(list(map(str, table.columns)), axis=1)[list(schema.columns)]
            return table.set_axis(list(schema.columns), axis=1)
        if schema.kind == "images" and (checked.dtype == np.uint8) != (schema.dtype == "uint8"):
            scale = np.float32(255 if schema.dtype == "uint8" else 1 / 255)
            return restore_instances(schema, checked.astype(np.float32) * scale)
        return checked

    def _check_finite(self, codes: np.ndarray, first: int) -> None:
        wrong = ~np.isfinite(codes).all(axis=1)
        if wrong.any():
            raise DataError(
                f"{self.backend_.name} gives a code that is not finite for row "
                f"{first + int(wrong.argmax())}, counting from 0, and {int(wrong.sum())} of its "
                "batch; fill what is missing in preprocess, or leave such rows out"
            )

    def _codes_of_drawn(self) -> np.ndarray | None:
        """Return the codes of instances drawn at random; None where the model refuses such.

        They are drawn in the range of the data, and are no instance of it.
        """
        shape = self.preprocessor_.network_shape
        values = np.random.default_rng(0).random((N_TRIED, *shape), dtype=np.float32)
        drawn = restore_instances(self.schema_, self.preprocessor_.from_network(values))
        try:
            return self._run(self._as_at_fit(drawn, self.schema_.check(drawn)))
        except Exception:  # a model of others may refuse them in any way
            return None

    def _spec(self) -> dict[str, Any]:
        name = getattr(self.preprocess, "__qualname__", type(self.preprocess).__name__)
        codes = b"" if self.trial_codes_ is None else self.trial_codes_.tobytes()
        return {
            "architecture": f"{self.backend_.kind} {self.backend_.name}",
            "n_components": self.n_components_,
            "preprocess": None if self.preprocess is None else name,
            "codes": hashlib.sha256(codes).hexdigest(),
        }

    def _digest(self) -> str:
        """Return the digest of the model; of functions, that of the codes that they give."""
        own, codes = self.backend_.digest(), self.trial_codes_
        opaque = own is None or self.preprocess is not None
        same = not opaque or self.gives_codes_of_fit()
        if own is not None and same:
            return own
        codes = codes if same else self._codes_of_drawn()
        content = b"" if codes is None else codes.tobytes()
        return hashlib.sha256(self.backend_.name.encode() + content).hexdigest()

    def _learned(self) -> dict[str, Any]:
        return {
            "code": f"{self.n_components_:,} numbers of {self.schema_.n_features:,}",
            "instances": f"{self.schema_.kind}, {' x '.join(map(str, self.schema_.shape))}",
            "encoder": f"{self.backend_.kind}, {self.backend_.name}, trained elsewhere",
            "decoder": "none: no reconstructions and no residuals",
            "digest": self.digest_[:12],
        }


def _rows(X: Any, first: int, end: int) -> Any:
    return X.iloc[first:end] if isinstance(X, pd.DataFrame) else X[first:end]


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether codes are the same up to rounding."""
    if one.shape != other.shape:
        return False
    finite = one[np.isfinite(one)]
    scale = float(np.abs(finite).max()) if finite.size else 0.0
    return bool(np.allclose(one, other, rtol=0, atol=TOLERANCE * scale + 1e-12, equal_nan=True))
