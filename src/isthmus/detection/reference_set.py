"""The reference set of a detector: features, labels and hashes of the rows it was fitted on.

`build_reference_set` sets calibration rows aside and trains encoders where needed; rows and labels
that come later are added by `updates.py`, without training an encoder.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_array

from isthmus.autoencoder import (
    Autoencoder,
    InstanceEncoder,
    TrainingRowHashes,
    carry_out_together,
    read_on_rank_zero,
)
from isthmus.data import ABNORMAL, NORMAL, InMemory, Instances, Schema, describe_row
from isthmus.data.streaming import MAX_SAMPLED, Stream
from isthmus.data.windows import overlapping_stride
from isthmus.detection.calibration import (
    MIN_ROWS_FOR_SPLIT,
    choose_calibration,
    draw_calibration_rows,
    n_folds,
)
from isthmus.detection.contamination import screened_rows
from isthmus.detection.features import ColumnReference, Features, extract_features
from isthmus.detection.group_rows import draw_by_group, splits_well
from isthmus.detection.timeline import MIN_WINDOWS_FOR_SPLIT, HeldOutBlock, Timeline
from isthmus.encoding import (
    check_encoder,
    is_fitted,
    row_hashes,
    schema_if_fitted,
)
from isthmus.errors import CalibrationError, CalibrationWarning, TrainingError
from isthmus.training import raising_interrupts

#: Normal rows from which "auto" splits though some groups then have too few rows for the rate:
#: training six encoders takes long.
MIN_GROUPED_ROWS_FOR_SPLIT = 20_000


@dataclass(frozen=True, eq=False)
class Fold:
    """Calibration rows, and an encoder that was not trained on them.

    Attributes
    ----------
    held_out : integer array
        Row numbers of the calibration rows.
    encoder : Autoencoder or None
        None where it is the detector's encoder.
    features : Features or None
        Of all rows, from that encoder.
    purged : integer array or None
        Windows that share time points with calibration rows, not fitted on while these calibrate.
    """

    held_out: np.ndarray
    encoder: InstanceEncoder | None = None
    features: Features | None = None
    purged: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class ReferenceSet:
    """Features of all rows, their labels, and the folds.

    Attributes
    ----------
    features : Features
        Of n rows, from the detector's encoder.
    y : int8 array of shape (n,)
        1 normal, -1 abnormal, 0 unknown.
    hashes : uint64 array of shape (n,)
        By which later labels are matched to rows.
    folds : list of Fold
    seed : int
    overlapping_stride : int or None
        Of windows of series that share rows with each other; None of others, after loading, and
        where calibration rows were given.
    timeline : Timeline or None
        Where the rows lie in time, of windows whose time points are scored.
    groups : object array of shape (n,) or None
        Group of each row as text, empty where it has none, of a detector fitted with groups.
    columns : ColumnReference or None
        Of a table the columns of some rows that calibrate, for a monitor.
    trimmed : int array or None
        Row numbers that are not fitted on, see `contamination.py`, unless labelled normal since.
    """

    features: Features
    y: np.ndarray
    hashes: np.ndarray
    folds: list[Fold]
    seed: int
    overlapping_stride: int | None = None
    timeline: Timeline | None = None
    groups: np.ndarray | None = None
    columns: ColumnReference | None = None
    trimmed: np.ndarray | None = None

    def features_of(self, fold: Fold) -> Features:
        """Return the features of all rows from the fold's encoder."""
        return self.features if fold.features is None else fold.features

    def training_rows(self, fold: Fold) -> np.ndarray:
        """Return the rows that a score is fitted on while those of the fold calibrate it."""
        rows = np.setdiff1d(self.fitted_rows(), self.calibration_rows(fold))
        return rows if fold.purged is None else np.setdiff1d(rows, fold.purged)

    def fitted_rows(self) -> np.ndarray:
        """Return the rows that a score is fitted on where all of them are."""
        rows = np.arange(len(self.y))
        if self.trimmed is None:
            return rows
        return np.setdiff1d(rows, self.trimmed[self.y[self.trimmed] != NORMAL])

    def calibration_rows(self, fold: Fold) -> np.ndarray:
        """Return the fold's rows that are not labelled abnormal."""
        return fold.held_out[self.y[fold.held_out] != ABNORMAL]

    def check_suffices(self) -> None:
        """Check that enough rows are left to fit and to calibrate on.

        Raises
        ------
        CalibrationError
            When fewer than two normal rows or no calibration rows are left.
        """
        n_calibration = sum(len(self.calibration_rows(fold)) for fold in self.folds)
        n_fit = min(
            int((self.y[self.training_rows(fold)] != ABNORMAL).sum()) for fold in self.folds
        )
        if n_calibration < 1 or n_fit < 2:
            raise CalibrationError(
                f"{n_fit} normal rows are left to fit on and {n_calibration} to calibrate "
                "on, expected at least 2 and 1; bring more normal rows, or fit anew"
            )


EncoderAndReference = tuple[InstanceEncoder, str, ReferenceSet]


def build_reference_set(
    given: InstanceEncoder,
    instances: Instances,
    y: np.ndarray,
    calibration: str,
    rate: float | str,
    seed: int,
    channel_names: Sequence[str] | None = None,
    timeline: Timeline | None = None,
    groups: np.ndarray | None = None,
    bound: float | None = None,
) -> EncoderAndReference:
    """Set calibration rows aside, train the encoders that are needed, and take all features.

    Parameters
    ----------
    given : Autoencoder
        If fitted, used as it is.
    instances : Instances
    y : int8 array of shape (n,)
    calibration : {"auto", "split", "cross"}
    rate : float or "auto"
        The false-alarm rate that the calibration rows must be able to hold.
    seed : int
    channel_names : sequence of str, optional
        Of series, for an encoder that is trained here.
    timeline : Timeline or None
        Where instances lie in time, of windows that are calibrated by blocks of time.
    groups : object array of shape (n,), optional
        By which calibration rows are drawn.
    bound : float in (0, 0.5), optional
        Largest share of abnormal rows without a label, see `contamination.py`.

    Returns
    -------
    encoder, calibration, reference_set
        With the calibration chosen: `"split"` or `"cross"`.

    Raises
    ------
    CalibrationError
        When a fitted encoder has seen some of the rows, or the rate needs more rows.
    TrainingError
        When several encoders would be trained, and a run is to be resumed.

    Warns
    -----
    CalibrationWarning
        When the instances are windows of series that share rows with each other.
    """
    fitted = is_fitted(given)
    if fitted:
        check_not_trained_on(given, instances)
    normal = np.flatnonzero(y != ABNORMAL)
    of_normal = None if groups is None or timeline is not None else groups[normal]
    grouped = None if of_normal is None else (of_normal, rate)
    if n_encoders(given, calibration, len(normal), timeline, grouped, bound) > 1:
        given = _without_checkpoints(given)
    calibration = _choose_calibration(calibration, len(normal), timeline, grouped)
    split = calibration == "split"
    if timeline is None:
        rng = np.random.default_rng([seed, 1])
        if of_normal is None:
            drawn = draw_calibration_rows(calibration, len(normal), rate, rng)
        else:
            drawn = draw_by_group(calibration, of_normal, rate, rng)
        held_out = [HeldOutBlock(normal[rows]) for rows in drawn]
    else:
        held_out = [block.among(normal) for block in timeline.blocks(split=split)]
    learning = held_out[0].others(normal) if split else normal
    blocks = [] if split or fitted else held_out
    trained_on = [learning, *(block.others(normal) for block in blocks)]
    trimmed = None
    if bound is not None:
        first = given if fitted else _train(given, instances, [learning], seed, channel_names)[0]
        of_first = extract_features(first, instances, learning)
        trimmed = screened_rows(of_first, y, learning, bound, seed)
        trained_on = [np.setdiff1d(rows, trimmed) for rows in trained_on]
        learning = trained_on[0]
    # Those of series take a second each, and their progress would hide all else that is said.
    quiet = timeline is not None
    encoders: list[Any] = [given]
    if not fitted:
        encoders = _train(given, instances, trained_on, seed, channel_names, quiet=quiet)
    encoder, *of_folds = encoders
    features = extract_features(encoder, instances, learning)
    folds = []
    if not of_folds:
        folds = [Fold(block.windows, purged=block.purged) for block in held_out]
    for block, trained, rows in zip(blocks, of_folds, trained_on[1:], strict=True):
        of_fold = extract_features(trained, instances, rows)
        folds.append(Fold(block.windows, trained, of_fold, block.purged))
    stride = None if timeline is not None else _warn_of_overlap(encoder, instances)
    hashes = row_hashes(encoder, instances)
    reference_set = ReferenceSet(features, y, hashes, folds, seed, stride, timeline, groups)
    rows = np.concatenate([reference_set.calibration_rows(fold) for fold in folds])
    columns = ColumnReference.draw(encoder, instances, rows, seed)
    return encoder, calibration, replace(reference_set, columns=columns, trimmed=trimmed)


def _warn_of_overlap(encoder: InstanceEncoder, instances: Instances) -> int | None:
    """Warn of windows that share rows; return their stride, None where they share none."""
    if instances.encoded or encoder.schema_.kind != "series":
        return None
    stride = overlapping_stride(np.asarray(instances.held))
    if stride is not None:
        window = encoder.schema_.shape[0]
        warnings.warn(
            f"windows of {window} rows were cut with a stride of {stride}: windows that calibrate "
            "share rows with windows that were fitted on, so p-values are too small, and more "
            "normal windows than the false-alarm rate will be called abnormal; cut the normal "
            f"data with stride={window} (on the command line --stride {window}), or pass windows "
            "of another recording as X_calibration",
            CalibrationWarning,
            stacklevel=3,
        )
    return stride


def n_encoders(
    given: InstanceEncoder,
    calibration: str,
    n_normal: int,
    timeline: Timeline | None = None,
    grouped: tuple[np.ndarray, float | str] | None = None,
    bound: float | None = None,
) -> int:
    """Return how many encoders `build_reference_set` trains on so many normal rows.

    0 when the encoder is fitted; 1 with split calibration, on the rows that do not calibrate; with
    cross calibration one on all rows and one for each fold. `grouped` are the groups of the normal
    rows and the false-alarm rate, if there are groups. With a bound one more screens rows.

    Raises
    ------
    CalibrationError
        When the calibration is unknown or there are too few rows.

    Examples
    --------
    >>> n_encoders(Autoencoder(), "auto", 500), n_encoders(Autoencoder(), "auto", 5000)
    (6, 1)
    """
    if is_fitted(given) or not given.trainable:
        return 0
    first = 1 if bound is None else 2
    if _choose_calibration(calibration, n_normal, timeline, grouped) == "split":
        return first
    return first + (n_folds(n_normal) if timeline is None else len(timeline.blocks()))


def _choose_calibration(
    calibration: str,
    n_normal: int,
    timeline: Timeline | None,
    grouped: tuple[np.ndarray, float | str] | None = None,
) -> str:
    """Return "split" or "cross"; of groups that "split" leaves too few rows "cross" for longer."""
    most = MIN_ROWS_FOR_SPLIT if timeline is None else MIN_WINDOWS_FOR_SPLIT
    if grouped is not None and not splits_well(*grouped):
        most = MIN_GROUPED_ROWS_FOR_SPLIT
    return choose_calibration(calibration, n_normal, most)


def build_calibrated_set(
    given: InstanceEncoder,
    instances: Instances,
    y: np.ndarray,
    calibrating: Instances,
    seed: int,
    channel_names: Sequence[str] | None = None,
    groups: np.ndarray | None = None,
) -> EncoderAndReference:
    """Build a reference set from rows to fit on and calibration rows given beside them.

    `groups` are those of the rows to fit on and then of those that calibrate.

    Raises
    ------
    CalibrationError
        When calibration rows are among the rows that the encoder or the score is fitted on.
    """
    normal = np.flatnonzero(y != ABNORMAL)
    if is_fitted(given):
        check_not_trained_on(given, calibrating)
        encoder = given
    else:
        (encoder,) = _train(given, instances, [normal], seed, channel_names)
    hashes = [row_hashes(encoder, rows) for rows in (instances, calibrating)]
    fitted_on = TrainingRowHashes.from_hashes(hashes[0])
    overlap = fitted_on.overlap(hashes[1])
    if int(overlap.sum()) > fitted_on.max_overlap_by_chance(len(overlap)):
        raise CalibrationError(
            f"{int(overlap.sum())} of {len(overlap)} rows of X_calibration are in X as well, "
            f"the first is {describe_row(int(overlap.argmax()))}; a threshold set on "
            "rows that were fitted on would be too low: pass rows that are not in X, or "
            "leave X_calibration out, and rows are set aside"
        )
    features = extract_features(encoder, instances, normal).followed_by(
        extract_features(encoder, calibrating)
    )
    labels = np.concatenate([y, np.zeros(len(overlap), dtype=np.int8)])
    fold = Fold(np.arange(len(y), len(labels)))
    built = ReferenceSet(features, labels, np.concatenate(hashes), [fold], seed, groups=groups)
    columns = ColumnReference.draw(encoder, calibrating, fold.held_out, seed, first=len(y))
    return encoder, "split", replace(built, columns=columns)


def detection_encoder(given: Any, seed: int) -> Autoencoder:
    """Return a clone of an encoder to train, with the recipe for detection and a seed."""
    encoder = clone(given)
    if encoder.recipe == "default":
        encoder.set_params(recipe="detection")
    if encoder.random_state is None:
        encoder.set_params(random_state=seed)
    return encoder


def _without_checkpoints(given: Any) -> Autoencoder:
    """Return the encoder without a checkpoint folder: several trainings cannot share one."""
    if given.resume:
        raise TrainingError(
            "got resume=True, and a detector with cross calibration, which 'auto' takes for fewer "
            f"than {MIN_ROWS_FOR_SPLIT:,} normal rows, trains several encoders, which keep no "
            "checkpoint; leave resume out (on the command line: leave --resume out)"
        )
    encoder: InstanceEncoder = clone(given)
    return encoder.set_params(checkpoint_dir=None)


def _train(
    given: Any,
    instances: Instances,
    trained_on: Sequence[np.ndarray],
    seed: int,
    channel_names: Sequence[str] | None,
    *,
    quiet: bool = False,
) -> list[Autoencoder]:
    """Return an encoder for each array of row numbers; all but the first are quiet if asked."""
    encoders, X = [detection_encoder(given, seed) for _ in trained_on], instances.held
    names = instances.channel_names if channel_names is None else channel_names
    if not hasattr(X, "iloc"):  # array-likes; sparse ones are refused by name
        X = check_array(X, dtype=None, allow_nd=True, ensure_2d=False, ensure_all_finite=False)
    for encoder in encoders[1:] if quiet else []:
        encoder.set_params(verbose=False)
    planned = (
        encoder.plan_fit(
            InMemory(_safe_indexing(X, rows), kind=instances.kind, step=instances.step),
            channel_names=names,
            warn=False,
        )
        for encoder, rows in zip(encoders, trained_on, strict=True)
    )
    if len(encoders) == 1:
        next(planned).carry_out()
    else:  # one that was trained for fewer epochs would not be like the others
        with raising_interrupts():
            carry_out_together(planned)
    return encoders


def check_not_trained_on(encoder: InstanceEncoder, instances: Instances) -> None:
    """Raise CalibrationError for rows that a fitted encoder was trained on."""
    overlap = encoder.training_row_hashes_.overlap(row_hashes(encoder, instances))
    if int(overlap.sum()) > encoder.training_row_hashes_.max_overlap_by_chance(len(overlap)):
        raise CalibrationError(
            f"{int(overlap.sum())} of {len(overlap)} rows were among those the encoder was "
            f"trained on, the first is {describe_row(int(overlap.argmax()))}; a "
            "threshold set on them would be too low: pass rows that are new to it, or an "
            "encoder that is not fitted, AnomalyDetector(Autoencoder()).fit(X), which sets "
            "rows aside by itself (on the command line: isthmus fit DATA -o BUNDLE --detector)"
        )


@singledispatch
def detector_sample(
    instances: Instances, encoder: InstanceEncoder, y: Any, seed: int
) -> tuple[InstanceEncoder, Instances, Any]:
    """Return encoder, instances and labels; of a long stream a random fifth at most.

    A stream of up to `MAX_SAMPLED` instances is taken whole. Of a longer one an encoder that
    is not fitted is trained on the rows that are not drawn: those drawn are then new to it, and
    some of them can calibrate.

    Raises
    ------
    DataError
        When stored codes are of another encoder.
    """
    check_encoder(encoder, instances)
    unread = instances.labels is not None and instances.kind is None
    if y is None and unread and not instances.encoded:
        warnings.warn(
            f"the labels that came with {len(instances):,} instances are not used; pass them as y, "
            "with normal= unless 1 is normal and -1 abnormal",
            stacklevel=5,
        )
    return encoder, instances, y


@detector_sample.register(Stream)
def _detector_sample_of_stream(
    stream: Stream, encoder: InstanceEncoder, y: Any, seed: int
) -> tuple[InstanceEncoder, Instances, Any]:
    n = stream.n_rows
    if stream.kind == "series" and encoder.kind == "auto" and not is_fitted(encoder):
        encoder = clone(encoder).set_params(kind="series")  # as arrays they could be images
    rows = stream.draw(n if n <= MAX_SAMPLED else min(MAX_SAMPLED, n // 5), [seed, 3])
    if len(rows) < n and not is_fitted(encoder):
        encoder = detection_encoder(encoder, seed).fit(stream.without(rows))
    schema = schema_if_fitted(encoder)
    X, groups = _drawn_rows(stream, rows, schema)
    return encoder, InMemory(X, channel_names=stream.channel_names, groups=groups), None


def _drawn_rows(
    stream: Stream, rows: np.ndarray, schema: Schema | None
) -> tuple[Any, np.ndarray | None]:
    """Return rows of a stream and their groups, None where it has none."""

    def read() -> tuple[Any, np.ndarray | None]:
        drawn = stream.take(rows, label=False, schema=schema)
        return drawn.X, drawn.instances().groups

    return read_on_rank_zero(stream, read)


def trains_before_sampling(encoder: InstanceEncoder, instances: Instances) -> bool:
    """Return whether `detector_sample` trains the encoder, on the rows that are not drawn."""
    sampled = not instances.in_memory and instances.n_rows > MAX_SAMPLED
    return sampled and encoder.trainable and not is_fitted(encoder)


@singledispatch
def calibration_sample(instances: Instances, encoder: InstanceEncoder, seed: int) -> Instances:
    """Return instances; of a stream `MAX_SAMPLED` at most, drawn at random."""
    return instances


@calibration_sample.register(Stream)
def _calibration_sample_of_stream(stream: Stream, encoder: InstanceEncoder, seed: int) -> Instances:
    rows, schema = stream.draw(MAX_SAMPLED, [seed, 4]), schema_if_fitted(encoder)
    X, groups = _drawn_rows(stream, rows, schema)
    return InMemory(X, groups=groups)
