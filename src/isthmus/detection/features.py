"""Features of an instance for a detector: its code and its residual; and columns for a monitor."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils.validation import check_array
from torch.nn import functional

from isthmus.autoencoder import InstanceEncoder
from isthmus.data import Instances, Schema, StoredCodes, as_instances, take_rows
from isthmus.data.preprocessing import (
    describe_empty_rows,
    describe_missing,
    issue_warnings,
    more_missing_values,
)
from isthmus.encoding import check_encoder, encoder_identity
from isthmus.errors import DataError

#: Images and series of more values than this have their residuals pooled; tables never.
MAX_UNPOOLED_VALUES = 1024
#: Cells of a pooled residual, at most: along a side of an image, and in time.
POOLED_SIDE, POOLED_STEPS = 8, 32
#: Calibration rows whose columns are stored, at most.
MAX_STORED_ROWS = 2000
#: Methods that use residuals alone, or statistics of them.
NEED_DECODER = ("reconstruction", "series")
#: Statistics of a channel in a window, in order; see `window_statistics`.
WINDOW_STATISTICS = (
    "deviation",
    "mean change",
    "largest change",
    "rise from half to half",
    "rise from end to end",
    "lowest",
    "highest",
    "residual",
)


@dataclass(frozen=True, eq=False)
class Features:
    """Codes and residuals of n instances.

    Attributes
    ----------
    codes : float32 array of shape (n, n_components)
    residuals : float32 array of shape (n, k)
        Input minus reconstruction, one for each network input. Of images and series of more
        than 1,024 values the root of the summed squares in each cell of a coarse grid. Either
        way the squares add up to the squared residual of the instance.
    signed : bool
        Whether residuals are differences, not roots of squares.
    explained : float
        Total variance of the reconstructions of the training rows, in the same units as squared
        residuals. NaN where they are only to be scored. Of an encoder without decoder, whose k is
        0, the width of the code: its variance is 1 a column on average.
    missing : boolean array of shape (n, m) or None
        Which values of the rows of a table are missing; None where that is not known, as of
        codes that an earlier isthmus stored.
    statistics : float32 array of shape (n, 8 c) or None
        Of windows of series with c channels, see `window_statistics`; None of other instances and
        of stored codes.
    """

    codes: np.ndarray
    residuals: np.ndarray
    explained: float
    signed: bool = True
    missing: np.ndarray | None = None
    statistics: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def n_channels(self) -> int:
        """Number of channels of windows of series, 0 of other instances."""
        return 0 if self.statistics is None else self.statistics.shape[1] // len(WINDOW_STATISTICS)

    def residual_lengths(self) -> np.ndarray:
        """Return the length of each instance's residual, float64 of shape (n,)."""
        lengths = np.empty(len(self.residuals))
        for first in range(0, len(lengths), 1024):  # in float64, which takes twice the memory
            part = slice(first, first + 1024)
            lengths[part] = np.linalg.norm(self.residuals[part].astype(np.float64), axis=1)
        return lengths

    def take(self, rows: np.ndarray) -> Features:
        """Return the instances at these row numbers.

        Parameters
        ----------
        rows : integer array of shape (k,)

        Returns
        -------
        Features
        """
        return replace(
            self,
            codes=self.codes[rows],
            residuals=self.residuals[rows],
            missing=None if self.missing is None else self.missing[rows],
            statistics=None if self.statistics is None else self.statistics[rows],
        )

    def followed_by(self, other: Features) -> Features:
        """Return these instances followed by those of `other`, from the same encoder."""
        return replace(
            self,
            codes=np.concatenate([self.codes, other.codes]),
            residuals=np.concatenate([self.residuals, other.residuals]),
            missing=_joined([self.missing, other.missing]),
            statistics=_joined([self.statistics, other.statistics]),
        )


def extract_features(
    encoder: InstanceEncoder, X: Any, fit_rows: np.ndarray | None = None
) -> Features:
    """Return codes and residuals of instances from a fitted autoencoder, in one pass.

    Parameters
    ----------
    encoder : fitted Autoencoder or FrozenEncoder
    X : array or DataFrame like the one it was fitted on, StoredCodes or Instances
        Of codes only the decoder is run, for `explained`.
    fit_rows : integer array, optional
        Row numbers from which `explained` is computed, all when left out. Calibration rows must
        not be among them, or they are not exchangeable with rows to come; nor abnormal ones.

    Returns
    -------
    Features
    """
    if not encoder.has_decoder:
        return _codes_alone(_all_codes(as_instances(X), encoder), encoder)
    variance = _Variance(fit_rows)
    found = _extract(as_instances(X), encoder, variance.update)
    signed = _signed(encoder, found.residuals)
    return replace(found, explained=variance.total(), signed=signed)


@singledispatch
def _all_codes(
    instances: Instances, encoder: InstanceEncoder
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return all codes, and of a table which values are missing."""
    codes, missing = zip(*encoder.encoded_batches(instances), strict=True)
    return np.concatenate(codes), _joined(missing)


@_all_codes.register(StoredCodes)
def _all_stored_codes(
    stored: StoredCodes, encoder: InstanceEncoder
) -> tuple[np.ndarray, np.ndarray | None]:
    check_encoder(encoder, stored)
    return stored.codes, stored.missing


def _codes_alone(batch: tuple[np.ndarray, np.ndarray | None], encoder: InstanceEncoder) -> Features:
    """Return the features of instances of an encoder without decoder: codes, no residuals."""
    codes, missing = batch
    none = np.empty((len(codes), 0), dtype=np.float32)
    return Features(codes, none, float(encoder.n_components_), signed=False, missing=missing)


@singledispatch
def _extract(
    instances: Instances, encoder: InstanceEncoder, rebuilt: Callable[[torch.Tensor], None]
) -> Features:
    """Return the features but for `explained`; call `rebuilt` with each reconstruction."""
    codes, residuals, missing, statistics = [], [], [], []
    for batch in encoder.reconstruct(instances):
        codes.append(batch.codes.numpy())
        residuals.append(pool_residuals(batch.inputs - batch.outputs).numpy())
        missing.append(batch.missing)
        statistics.append(_statistics(encoder, batch.inputs, batch.outputs))
        rebuilt(batch.outputs)
    return Features(
        np.concatenate(codes),
        np.concatenate(residuals),
        math.nan,
        missing=_joined(missing),
        statistics=_joined(statistics),
    )


@_extract.register(StoredCodes)
def _extract_stored(
    stored: StoredCodes, encoder: InstanceEncoder, rebuilt: Callable[[torch.Tensor], None]
) -> Features:
    check_encoder(encoder, stored)
    if stored.missing is None and encoder.schema_.kind == "table":
        text = (
            "an earlier isthmus stored these codes, without the missing values of their rows: "
            "a detector takes none for unusual, as with missing='ignore'; encode the rows again "
            "to have them count"
        )
        issue_warnings([text])
    codes, residuals = stored.codes, stored.stored_residuals()
    for outputs in encoder.decode(codes):
        rebuilt(outputs)
    return Features(codes, residuals, math.nan, missing=stored.missing)


def _joined(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Return the rows of parts that follow each other, None where they are not known of all."""
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


def extract_features_in_chunks(encoder: InstanceEncoder, X: Any) -> Iterator[Features]:
    """Yield the features of instances batch by batch, for scoring only.

    The residuals of all instances would take as much memory as the instances in float32.
    `explained` is NaN: scores need it only when they are fitted.

    Warns
    -----
    DataWarning
        After the last batch, when columns of a table lack values more often than at fit, or rows
        have none at all.
    """
    n_missing, n, n_empty = np.zeros(1, np.intp), 0, 0
    for features in _feature_batches(encoder, as_instances(X)):
        if features.missing is not None:
            n_missing, n = n_missing + features.missing.sum(axis=0), n + len(features)
            n_empty += int(features.missing.all(axis=1).sum())
        yield features
    found = more_missing_values(n_missing, n, encoder.preprocessor_, n_training_rows(encoder))
    issue_warnings([*map(describe_missing, found), *describe_empty_rows(n_empty, n)])


def _feature_batches(encoder: InstanceEncoder, instances: Instances) -> Iterator[Features]:
    if instances.encoded:
        yield extract_features(encoder, instances)
        return
    if not encoder.has_decoder:
        yield from (_codes_alone(one, encoder) for one in encoder.encoded_batches(instances))
        return
    for batch in encoder.reconstruct(instances):
        residuals = pool_residuals(batch.inputs - batch.outputs).numpy()
        signed = _signed(encoder, residuals)
        statistics = _statistics(encoder, batch.inputs, batch.outputs)
        yield Features(batch.codes.numpy(), residuals, math.nan, signed, batch.missing, statistics)


def n_training_rows(encoder: InstanceEncoder) -> int:
    """Return the number of rows that an encoder was trained on, equal ones counted once."""
    return encoder.n_training_rows_


def missing_value_facts(encoder: InstanceEncoder, X: Any) -> list[dict[str, Any]]:
    """Return the columns in which instances in memory lack values more often than at fit.

    Returns
    -------
    list of dict
        See `isthmus.data.preprocessing.more_missing_values`; empty for images, series and codes.
    """
    instances = as_instances(X)
    if encoder.schema_.kind != "table" or instances.encoded:
        return []
    missing = np.isnan(encoder.schema_.check(instances.held).astype(np.float64))
    n_missing, n_fit = missing.sum(axis=0), n_training_rows(encoder)
    return more_missing_values(n_missing, len(missing), encoder.preprocessor_, n_fit)


def _signed(encoder: InstanceEncoder, residuals: np.ndarray) -> bool:
    return residuals.shape[1] == math.prod(encoder.preprocessor_.network_shape)


class _Variance:
    """Total variance of the rows at these row numbers, or of all, from batches in order."""

    def __init__(self, rows: np.ndarray | None) -> None:
        self.rows = rows
        self.sum = self.squares = torch.zeros((), dtype=torch.float64)
        self.n_rows = self.n_counted = 0

    def update(self, batch: torch.Tensor) -> None:
        values = batch.flatten(1).double()
        numbers = np.arange(self.n_rows, self.n_rows + len(batch))
        if self.rows is not None:
            values = values[torch.from_numpy(np.isin(numbers, self.rows))]
        self.n_rows, self.n_counted = self.n_rows + len(batch), self.n_counted + len(values)
        self.sum, self.squares = self.sum + values.sum(0), self.squares + (values**2).sum(0)

    def total(self) -> float:
        n = max(1, self.n_counted)
        return float((self.squares / n - (self.sum / n) ** 2).clamp(min=0).sum())


def n_residuals(network_shape: tuple[int, ...]) -> int:
    """Return the number of values in the residual of an instance, see `pool_residuals`."""
    return pool_residuals(torch.zeros((1, *network_shape))).shape[1]


def pool_residuals(residual: torch.Tensor) -> torch.Tensor:
    """Pool residuals (batch, m), (batch, c, t) or (batch, c, h, w) to (batch, k).

    Squares are summed over the cells of a coarse grid, so that the squared length stays.
    """
    if residual.ndim == 2 or math.prod(residual.shape[1:]) <= MAX_UNPOOLED_VALUES:
        return residual.flatten(1)
    if residual.ndim == 3:
        steps = min(POOLED_STEPS, residual.shape[2])
        pooled = functional.adaptive_avg_pool1d(residual**2, steps)
    else:
        sides = [min(POOLED_SIDE, side) for side in residual.shape[2:]]
        pooled = functional.adaptive_avg_pool2d(residual**2, (sides[0], sides[1]))
    cells = math.prod(residual.shape[1:]) / math.prod(pooled.shape[1:])  # values in one cell
    return (pooled * cells).sqrt().flatten(1)


def _statistics(
    encoder: InstanceEncoder, inputs: torch.Tensor, outputs: torch.Tensor
) -> np.ndarray | None:
    return window_statistics(inputs, outputs).numpy() if encoder.schema_.kind == "series" else None


def window_statistics(inputs: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """Return the statistics of windows of series, from network inputs and reconstructions.

    Parameters
    ----------
    inputs, outputs : float32 tensors of shape (n, c, t)
        With t of 2 or more; channels standardised.

    Returns
    -------
    float32 tensor of shape (n, 8 c)
        In the order of `WINDOW_STATISTICS`, each for all channels: the standard deviation over
        time; mean and maximum of the magnitude of the change from one time step to the next; mean
        of the second half minus that of the first; last value minus first; minimum; maximum; root
        mean square of the residual.

    Examples
    --------
    >>> window = torch.tensor([[[3.0, 5.0, 3.0, 5.0]]])
    >>> window_statistics(window, window - 4.0).tolist()
    [[1.0, 2.0, 2.0, 0.0, 2.0, 3.0, 5.0, 4.0]]
    """
    # In float64: where a statistic hardly varies, the last bits of a float32 would count.
    residuals, inputs = (inputs - outputs).double(), inputs.double()
    changes = (inputs[..., 1:] - inputs[..., :-1]).abs()
    half = inputs.shape[-1] // 2
    return torch.cat(
        [
            inputs.std(dim=-1, correction=0),
            changes.mean(dim=-1),
            changes.amax(dim=-1),
            inputs[..., half:].mean(dim=-1) - inputs[..., :half].mean(dim=-1),
            inputs[..., -1] - inputs[..., 0],
            inputs.amin(dim=-1),
            inputs.amax(dim=-1),
            residuals.square().mean(dim=-1).sqrt(),
        ],
        dim=1,
    ).float()


def compute_stored_codes(
    encoder: InstanceEncoder, X: Any, *, for_heads: bool = False
) -> StoredCodes:
    """Return the codes of instances as `isthmus encode` writes them, with the encoder's identity.

    Parameters
    ----------
    encoder : fitted Autoencoder or FrozenEncoder
    X : array or DataFrame of n instances
    for_heads : bool
        Add row hashes, residuals and, of a table, which values are missing, from which detectors
        can be fitted.
    """
    encoder.check_frozen()
    if for_heads and not encoder.has_decoder:
        raise DataError(
            f"got for_heads=True, which stores residuals, and {type(encoder).__name__} has no "
            "decoder; leave it out (on the command line --for-heads): classifiers take codes "
            "alone, and detectors are fitted on the instances"
        )
    made_by = encoder.digest_, encoder_identity(encoder)
    if not for_heads:
        return StoredCodes(encoder.transform(X), *made_by)
    features = extract_features(encoder, X)
    hashes = encoder.row_hashes(X)
    return StoredCodes(
        features.codes, *made_by, hashes, features.residuals, missing=features.missing
    )


@dataclass(frozen=True, eq=False)
class ColumnReference:
    """The columns of a table in some rows that calibrate.

    Attributes
    ----------
    values : float64 array of shape (k, m)
        As the schema gives them: NaN is missing, a category its position.
    rows : int array of shape (k,)
        Which rows of the reference set these are.
    """

    values: np.ndarray
    rows: np.ndarray

    @classmethod
    def draw(
        cls,
        encoder: InstanceEncoder,
        instances: Instances,
        rows: np.ndarray,
        seed: int,
        first: int = 0,
    ) -> Self | None:
        """Draw at most 2,000 of these rows; None where instances are no table, or stored codes.

        Parameters
        ----------
        encoder : fitted Autoencoder or FrozenEncoder
        instances : Instances
        rows : int array
            Rows of the reference set that calibrate, all of them among the instances.
        seed : int
        first : int, default=0
            Which row of the reference set the first instance is.
        """
        if instances.encoded or encoder.schema_.kind != "table":
            return None
        rng = np.random.default_rng([seed, 9])
        rows = np.sort(rng.permutation(rows)[:MAX_STORED_ROWS])
        return cls(column_values(encoder, take_rows(instances.held, rows - first)), rows)

    def alone(self, schema: Schema) -> np.ndarray:
        """Return which cells hold a category that no other row holds, boolean of shape (k, m).

        To a model of the other rows it would have been one never seen.
        """
        found = np.zeros(self.values.shape, dtype=bool)
        for at, column in enumerate(schema.types):
            if column.type == "category":
                own = self.values[:, at]
                _, place, counts = np.unique(own, return_inverse=True, return_counts=True)
                found[:, at] = (counts[place] == 1) & ~np.isnan(own)
        return found

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self | None:
        """Rebuild from the state of a reference set; None in bundles of an earlier isthmus."""
        if "columns" not in state:
            return None
        return cls(state["columns"]["values"], state["columns"]["rows"])

    def state(self) -> dict[str, Any]:
        """Return the arrays by name."""
        return {"values": self.values, "rows": self.rows}


def column_values(encoder: InstanceEncoder, X: Any) -> np.ndarray:
    """Return the columns of a table as numbers.

    Parameters
    ----------
    encoder : InstanceEncoder
    X : instances (n, m)

    Returns
    -------
    float64 array of shape (n, m)
        NaN is missing, a category its position, one that was not there at fit their number.
    """
    if isinstance(X, np.ndarray) and encoder.schema_.column_types is None:
        X = check_array(X, ensure_all_finite="allow-nan")  # numbers may be objects
    return encoder.schema_.check(X).astype(np.float64)


def check_has_features(encoder: InstanceEncoder, method: str) -> None:
    """Check that an encoder gives the features that a method of `AnomalyDetector` needs.

    Raises
    ------
    DataError
        When it has no decoder, and the method needs residuals.
    """
    if not encoder.has_decoder and method in NEED_DECODER:
        raise DataError(
            f"got method={method!r}, which needs residuals, and {type(encoder).__name__} "
            "has no decoder; take 'combined', 'neighbours' or 'mahalanobis' (on the command "
            "line --method)"
        )
