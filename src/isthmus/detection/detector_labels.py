"""Labels of a detector, read by one rule: 1 normal, -1 abnormal, 0 unlabelled."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from isthmus._core import shown
from isthmus.data import (
    ABNORMAL,
    DETECTION,
    LOOK_MISSING,
    MISSING,
    NORMAL,
    Dataset,
    Instances,
    appearance,
    are_normal,
    as_labels,
    as_normal_value,
    describe_row,
    factorize_labels,
    label_text,
    read_as_binary,
)
from isthmus.data.preprocessing import issue_warnings, repeated_label_warnings
from isthmus.data.windows import TimePoints, says_abnormal
from isthmus.detection.timeline import Timeline
from isthmus.errors import DataError

UNKNOWN = 0
#: Distinct labels that a message shows.
MAX_SHOWN = 10


class DetectorLabelReader:
    """Read the labels of a detector, in one or several chunks, as 1, -1 and 0.

    With `normal` the label that matches it (see `isthmus.data.ClassMatcher`) is normal, any other
    is abnormal and a missing one is unlabelled. Without it labels are those of scikit-learn: 1
    normal, -1 abnormal, 0 or missing unlabelled. Labels that are only 0 and 1, or True and False,
    as numbers, truth values or text, mean opposite things to different people (1 is the anomaly
    in PyOD and most tables, and the normal class in scikit-learn) and are refused without
    `normal`; only zeros are taken, because unlabelled and normal instances count alike.

    Parameters
    ----------
    normal : str, int, float or bool, optional
        The label that means normal.
    source : str
        Where the labels are from, for messages.
    stated : bool, default=True
        Whether `normal` was stated together with these labels, and not when the detector was
        fitted.

    Attributes
    ----------
    counts : Counter
        Number of instances by label as text; those without a label are left out.

    Raises
    ------
    DataError
        When `normal` is no single label.

    Examples
    --------
    >>> reader = DetectorLabelReader(normal=0)
    >>> reader.read(np.array([0.0, 1.0, np.nan])).tolist()
    [1, -1, 0]
    >>> reader.check()
    """

    def __init__(self, normal: Any = None, source: str = "y", *, stated: bool = True) -> None:
        self.normal = as_normal_value(normal)
        self.source, self.stated = source, stated
        self.counts: Counter[str] = Counter()
        self._abnormal: set[str] = set()
        self._normal_found = False
        # Whether -1 occurred, and whether only 1, 0 and -1 did, as numbers.
        self._signs, self._only_signs = False, True
        # Distinct labels that read as 0 or 1, and whether any other label occurred.
        self._binary: dict[str, Any] = {}
        self._others = False

    def read(self, y: Any, first_row: int = 0) -> np.ndarray:
        """Return the labels of a chunk as int8 of shape (n,): 1, -1 and 0.

        Parameters
        ----------
        y : array of shape (n,)
        first_row : int, default=0
            Number of the chunk's first row, for messages.

        Raises
        ------
        DataError
            When a label has no meaning for a detector, or several labels may be `normal`.
        """
        y = as_labels(y)
        rows = np.flatnonzero(MISSING.has_label(y))
        labels, places = factorize_labels(y[rows])
        times = np.bincount(places, minlength=len(labels))
        for label, n in zip(labels, times.tolist(), strict=True):
            self.counts[label_text(label)] += n
            binary = read_as_binary(label)
            if binary is None:
                self._others = True
            else:
                self._binary.setdefault(label_text(label), label)
        self._signs |= any(_is_number(one) and one == ABNORMAL for one in labels)
        self._only_signs &= all(_is_number(one) and one in (1, 0, -1) for one in labels)
        if self.normal is None:
            if not self._others and not all(map(_is_number, self._binary.values())):
                self._refuse_binary()
            return self._check_signs(y, first_row)
        means_normal = are_normal(labels, self.normal)
        self._normal_found |= any(means_normal)
        self._abnormal |= {
            label_text(one) for one, is_ in zip(labels, means_normal, strict=True) if not is_
        }
        found = np.full(len(y), UNKNOWN, dtype=np.int8)
        if labels:
            found[rows] = np.where(means_normal, NORMAL, ABNORMAL)[places]
        return found

    def check(self, *, may_lack_normal: bool = False) -> None:
        """Check the labels of all chunks together.

        Parameters
        ----------
        may_lack_normal : bool, default=False
            Whether labels may all be abnormal where `normal` was stated when the detector was
            fitted. This is a warning; without it an error.

        Raises
        ------
        DataError
            When labels are only 0 and 1 and `normal` is not given, when no label is `normal`,
            or when labels are 1 and -1 and `normal` is the value of an earlier fit.
        """
        if self.normal is None:
            if not self._others and "1" in self.counts:
                self._refuse_binary()
            return
        if not self.counts:
            return
        self._warn_of_alike()
        value = read_as_binary(self.normal)
        other = (self._only_signs and value is None) or (self._signs and value == 0)
        if not self.stated and other and not (value is None and self._normal_found):
            raise DataError(
                f"{self.source}: got labels of 1, 0 and -1 ({self._shown()}) for a detector that "
                f"was fitted with normal={shown(self.normal)}; say what is normal here: normal=1 "
                "for labels of 1 and -1 (on the command line --normal 1)"
            )
        # Of 0 and 1 (or True and False) both meanings are clear, although one does not occur:
        # "00" for 0 is another label.
        occurs = any(read_as_binary(one) == value for one in self._binary.values())
        # Beside -1, which means abnormal, 0 means unlabelled and not normal.
        clear = not self._others or (self._only_signs and value == 1)
        binary = clear and value is not None and not occurs
        if self._normal_found or (binary and self._same_kind()):
            return
        problem = (
            f"got normal={shown(self.normal)}, and no label in {self.source} is that: they are "
            f"{self._shown()}"
        )
        if may_lack_normal and not self.stated:
            warnings.warn(
                f"{problem}; all are taken as abnormal, because the detector was fitted with this "
                "value; pass normal= (on the command line --normal) where they mean something else",
                stacklevel=3,
            )
            return
        raise DataError(f"{problem}; name one of them (on the command line --normal VALUE)")

    def facts(self) -> dict[str, Any]:
        """Return `normal` and, in `labels`, the number of instances by label; empty without it."""
        if self.normal is None:
            return {}
        return {"normal": self.normal, "labels": dict(sorted(self.counts.items()))}

    def _warn_of_alike(self) -> None:
        """Warn of abnormal labels that look like the normal one, or like none."""
        looks = appearance(self.normal)
        alike = [one for one in self._abnormal if appearance(one) in (looks, *LOOK_MISSING)]
        if alike:
            warnings.warn(
                f"{self.source}: {sum(self.counts[one] for one in alike):,} labels are taken as "
                f"abnormal that look like normal={shown(self.normal)}, or like no label: "
                f"{', '.join(map(repr, sorted(alike)[:MAX_SHOWN]))}; write labels in one way, and "
                "leave unlabelled instances without one (None, NaN, an empty cell)",
                stacklevel=4,
            )

    def _same_kind(self) -> bool:
        """Return whether labels of 0 and 1, or of True and False, are written as `normal` is."""
        kinds = {isinstance(read_as_binary(one), bool) for one in self._binary.values()}
        return kinds <= {isinstance(read_as_binary(self.normal), bool)}

    def _refuse_binary(self) -> None:
        truths = any(isinstance(read_as_binary(one), bool) for one in self._binary.values())
        values: list[Any] = [False, True] if truths else [0, 1]
        counts = [0, 0]
        for text, label in self._binary.items():
            values[int(read_as_binary(label) or 0)] = label
            counts[int(read_as_binary(label) or 0)] += self.counts[text]
        zero, one = (shown(value) for value in values)
        given = " and ".join(text for text, n in zip((zero, one), counts, strict=True) if n)
        words = " or ".join(f"--normal {label_text(value)}" for value in values)
        raise DataError(
            f"{self.source}: got labels that are only {given} ({self._shown(in_order=True)}), "
            f"which have two readings: with normal={zero} {counts[0]:,} are normal and "
            f"{counts[1]:,} abnormal, with normal={one} {counts[1]:,} are normal and "
            f"{counts[0]:,} abnormal; pass the one that is meant (on the command line {words}), "
            "and leave unlabelled instances without a label (None, NaN, an empty cell)"
        )

    def _shown(self, *, in_order: bool = False) -> str:
        found = sorted(self.counts.items()) if in_order else self.counts.most_common()
        listed = ", ".join(f"{text}: {n:,}" for text, n in found[:MAX_SHOWN])
        return listed + ", ..." * (len(found) > MAX_SHOWN)

    def _check_signs(self, y: np.ndarray, first_row: int) -> np.ndarray:
        try:
            return check_detector_labels(y, len(y))
        except DataError as error:
            where = f", rows {first_row:,} and on" if first_row else ""
            raise DataError(f"{self.source}{where}: {error}") from error


def read_detector_labels(
    y: Any,
    n_instances: int,
    normal: Any = None,
    *,
    source: str = "y",
    stated: bool = True,
    may_lack_normal: bool = False,
) -> np.ndarray:
    """Read the labels of a detector and return them as int8 of shape (n,): 1, -1 and 0.

    Parameters
    ----------
    y : array of shape (n,) or None
        None is all unlabelled.
    n_instances : int
    normal, source, stated, may_lack_normal
        See `DetectorLabelReader`.

    Raises
    ------
    DataError
        When labels cannot be read (see `DetectorLabelReader`), or there are too few or too many.

    Examples
    --------
    >>> read_detector_labels(["ok", "worn", None], 3, normal="ok").tolist()
    [1, -1, 0]
    """
    reader = DetectorLabelReader(normal, source, stated=stated)
    if y is None:
        return np.full(n_instances, UNKNOWN, dtype=np.int8)
    labels = as_labels(y)
    _check_length(labels, n_instances)
    found = reader.read(labels)
    reader.check(may_lack_normal=may_lack_normal)
    return found


def check_detector_labels(y: Any, n_instances: int) -> np.ndarray:
    """Check labels that are 1, -1 and 0 and return them as int8 of shape (n,); None is all unknown.

    For labels that were read already; those of a person are read by `read_detector_labels`.
    Missing labels are unknown, see `DETECTION`.

    Raises
    ------
    DataError
        When a label is none of 1, -1 and 0, or there are too few or too many.
    """
    if y is None:
        return np.zeros(n_instances, dtype=np.int8)
    labels = as_labels(y)
    _check_length(labels, n_instances)
    rows = np.flatnonzero(DETECTION.has_label(labels))
    given = pd.Series(labels[rows])
    wrong = ~given.isin([NORMAL, ABNORMAL]).to_numpy()
    if given.dtype.kind in "bO":  # True equals 1 in Python, but may mean either of the two
        wrong |= given.map(lambda label: isinstance(label, bool | np.bool_)).to_numpy(dtype=bool)
    if wrong.any():
        row = int(rows[wrong.argmax()])
        others = sorted({shown(label) for label in given[wrong]})[:5]
        raise DataError(
            f"got the label {shown(labels[row])} in {describe_row(row)}, expected 1 "
            "(normal), -1 (abnormal) or 0 (unlabelled); name the value that means normal with "
            "normal= (on the command line --normal VALUE), or translate the values "
            f"{', '.join(others)} first, as in numpy.where(y == 'broken', -1, 1)"
        )
    found = np.full(n_instances, UNKNOWN, dtype=np.int8)
    found[rows] = given.to_numpy().astype(np.int8)
    return found


def labels_for_detector(
    data: Dataset, normal: Any = None, *, stated: bool = True
) -> np.ndarray | None:
    """Return the labels of a data set for a detector: 1, -1 and 0; None when it has none.

    Parameters
    ----------
    data : Dataset
    normal : str, int, float or bool, optional
        The label that means normal, see `DetectorLabelReader`.
    stated : bool, default=True
        Whether it was stated together with these labels, and not when the detector was fitted.

    Raises
    ------
    DataError
        When labels cannot be read (see `DetectorLabelReader`), no label is `normal`, or it is
        stated for data without labels.

    Examples
    --------
    >>> data = Dataset(np.zeros((3, 2)), ["ok", "bent", None])
    >>> labels_for_detector(data, normal="ok").tolist()
    [1, -1, 0]
    """
    if data.y is not None and (normal is None or MISSING.has_label(data.y).any()):
        return read_detector_labels(
            data.y, len(data), normal, source=data.name, stated=stated, may_lack_normal=True
        )
    if normal is not None and stated:
        what = "has no labels" if data.y is None else "has labels that are all missing"
        raise DataError(
            f"got normal={shown(normal)} (on the command line --normal {normal}), and {data.name} "
            f"{what}; name their column with label= (on the command line --label COLUMN)"
        )
    return None if data.y is None else np.full(len(data), UNKNOWN, dtype=np.int8)


def check_labels_suffice(y: np.ndarray, method: str) -> None:
    """Check that there are instances to fit on, and abnormal ones where the method needs them.

    Raises
    ------
    DataError
        When they do not.
    """
    if len(y) and (y == ABNORMAL).all():
        raise DataError(
            f"all {len(y)} labels are -1 (abnormal); a detector is fitted on normal "
            "instances: add some (1), or unlabelled ones (0), or say which label means normal "
            "with normal="
        )
    if method in ("head", "blend") and not (y == ABNORMAL).any():
        raise DataError(
            f"got method={method!r} and no instance labelled -1 (abnormal); pass y with "
            "some, or method='combined', which needs no labels"
        )


def warn_of_labels(X: Any, y: np.ndarray, normal: str | float | None) -> None:
    """Warn where labels make most instances of a fit abnormal, and where a column repeats them.

    Parameters
    ----------
    X : array or DataFrame of n instances, or StoredCodes
    y : array of shape (n,)
        1 normal, -1 abnormal, 0 unlabelled.
    normal : str, int, float, bool or None
        None where no value was stated.
    """
    abnormal = int((y == ABNORMAL).sum())
    if normal is not None and 2 * abnormal > len(y):
        warnings.warn(
            f"with normal={shown(normal)} {abnormal:,} of {len(y):,} instances are abnormal, and a "
            "detector is fitted on mostly normal ones; check that normal= (on the command line "
            "--normal) is not the label of the abnormal ones",
            stacklevel=3,
        )
    issue_warnings(repeated_label_warnings(X, np.where(y == UNKNOWN, np.nan, y)))


def _check_length(labels: np.ndarray, n_instances: int) -> None:
    if len(labels) != n_instances:
        raise DataError(
            f"got {n_instances} instances and {len(labels)} labels; expected one label for each"
        )


def _plain(label: Any) -> Any:
    return label.item() if isinstance(label, np.generic) else label


def _is_number(label: Any) -> bool:
    return isinstance(label, int | float) and not isinstance(label, bool)


def read_labels_of(
    instances: Instances, y: Any, normal: Any, timeline: Timeline | None
) -> np.ndarray:
    """Return the labels that a detector is fitted on, int8 of shape (n,): 1, -1 and 0.

    Parameters
    ----------
    instances : Instances
    y : array of shape (n,) or None
        Without it a data set's own labels are read: of windows those of their time points, a
        window being abnormal where one of them is.
    normal : str, int, float, bool or None
        See `DetectorLabelReader`.
    timeline : Timeline or None
        Where windows lie among the time points.

    Returns
    -------
    int8 array of shape (n,)

    Raises
    ------
    DataError
        See `read_detector_labels`.
    """
    points = instances.points
    if y is not None or points is None or timeline is None or points.y is None:
        own = instances.labels if y is None and instances.kind is not None else y
        return read_detector_labels(own, len(instances), normal)
    labels = read_detector_labels(points.y, len(points), normal, source=instances.name)
    return label_windows(labels, timeline.first, timeline.window)


def normal_by_column_name(points: TimePoints | None) -> int | None:
    """Return 0 where the labels of time points are 0 and 1 in a column such as "anomaly".

    Parameters
    ----------
    points : TimePoints or None

    Returns
    -------
    int or None

    Warns
    -----
    UserWarning
        That 0 is taken as normal.

    Examples
    --------
    >>> normal_by_column_name(None) is None
    True
    """
    if points is None or points.y is None or not says_abnormal(points.label_column):
        return None
    labels = factorize_labels(points.y[MISSING.has_label(points.y)])[0]
    if not labels or any(read_as_binary(label) is None for label in labels):
        return None
    warnings.warn(
        f"the labels in column {points.label_column!r} are 0 and 1; 0 is taken as normal, as the "
        "name says; pass normal=1 (on the command line --normal 1) where it is 1",
        stacklevel=2,
    )
    return 0


def label_windows(labels: np.ndarray, first: np.ndarray, window: int) -> np.ndarray:
    """Return the labels of windows from those of their time points.

    Parameters
    ----------
    labels : int8 array of shape (m,)
        1 normal, -1 abnormal, 0 unlabelled.
    first : int array of shape (n,)
        Position of the first time point of each window.
    window : int
        Time points of a window.

    Returns
    -------
    int8 array of shape (n,)
        -1 where a time point is abnormal, 1 where all are labelled normal, 0 elsewhere.

    Examples
    --------
    >>> label_windows(np.array([1, 1, -1, 0]), np.array([0, 1, 2]), 2).tolist()
    [1, -1, -1]
    """
    counts = [np.concatenate([[0], np.cumsum(labels == one)]) for one in (ABNORMAL, NORMAL)]
    abnormal, normal = (count[first + window] - count[first] for count in counts)
    return np.where(abnormal > 0, ABNORMAL, np.where(normal == window, NORMAL, UNKNOWN)).astype(
        np.int8
    )
