"""Warnings about training columns: extreme values, row order, identifiers, repeated labels."""

from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from isthmus.data.columns import Column
from isthmus.data.fingerprint import repeated_row_warnings
from isthmus.data.instances import Instances, as_instances
from isthmus.data.preprocessing.column_inputs import CategoryInputs, ValueInputs
from isthmus.data.preprocessing.images import ImageVariety
from isthmus.data.preprocessing.preprocessor import Preprocessor
from isthmus.data.preprocessing.scaling import usual_range
from isthmus.data.preprocessing.series import SeriesPreprocessor
from isthmus.data.preprocessing.tables import TablePreprocessor, describe_alike
from isthmus.data.schema import Schema
from isthmus.errors import DataWarning

#: Minimum number of values for a statement about their order.
MIN_ORDERED = 20
#: Share of the steps from row to row, from which dates follow the order of the rows: several
#: tables one after the other restart at each.
MIN_DATE_STEPS = 0.95
#: Minimum share of distinct values of an identifier; where its name is one, half suffice.
MIN_DISTINCT, MIN_DISTINCT_NAMED = 0.95, 0.5
#: Rows that are compared to recognise an identifier, at most.
MAX_COMPARED = 5_000
#: Level of the test for more missing values than at fit, for all columns together.
MISSING_LEVEL = 1e-4
_NAME_OF_IDENTIFIER = re.compile(
    r"(^|[_\W])(id|ids|uid|guid|nr|no|num|number|index|idx|key|serial|row|rownum|customer|order)"
    r"([_\W]|$)|[a-z](Id|ID|Nr|No)$",
)


class WarningText(str):
    """A warning that names a row of X.

    Attributes
    ----------
    named : tuple of (row, step, place)
        See `DataWarning`.
    """

    named: tuple[int, int | None, str]

    def __new__(cls, text: str, row: int, step: int | None, place: str) -> WarningText:
        """Make the text of a warning."""
        made = super().__new__(cls, text)
        made.named = (row, step, place)
        return made


class RowOrder:
    """Number of steps up and down from each value of a column to the next, by chunks.

    Examples
    --------
    >>> order = RowOrder()
    >>> order.update(np.array([1.0, 2.0]))
    >>> order.update(np.array([5.0, 5.0]))
    >>> order.n, order.n_up, order.n_down
    (4, 2, 0)
    """

    def __init__(self) -> None:
        self.n = self.n_up = self.n_down = 0
        self.first = self.last = np.nan

    def update(self, values: np.ndarray) -> None:
        """Add the next values, shape (n,); NaN is skipped.

        Parameters
        ----------
        values : float array of shape (n,)
        """
        values = values[~np.isnan(values)]
        if not len(values):
            return
        own = RowOrder()
        own.n, own.first, own.last = len(values), float(values[0]), float(values[-1])
        own.n_up = int((values[1:] > values[:-1]).sum())
        own.n_down = int((values[1:] < values[:-1]).sum())
        self.extend(own)

    def extend(self, later: RowOrder) -> None:
        """Add the steps of later rows.

        Parameters
        ----------
        later : RowOrder
        """
        if not later.n:
            return
        if self.n:
            self.n_up += self.last < later.first
            self.n_down += self.last > later.first
        else:
            self.first = later.first
        self.n, self.last = self.n + later.n, later.last
        self.n_up, self.n_down = self.n_up + later.n_up, self.n_down + later.n_down

    def describe(self, name: str, column: Column, fix: str) -> str | None:
        """Return the warning about a column of numbers or dates that follows the row order."""
        if column.type not in ("number", "date") or self.n < MIN_ORDERED:
            return None
        steps = self.n - 1
        direction = "increases" if self.n_up >= self.n_down else "decreases"
        share = max(self.n_up, self.n_down) / steps
        # A meter or a counter stands still at times, and never goes back.
        counts = min(self.n_up, self.n_down) == 0 and share * steps >= MIN_ORDERED
        if share < (MIN_DATE_STEPS if column.type == "date" else 1) and not counts:
            return None
        how = f"in {share:.0%} of the rows" + (" and never goes back" if counts else "")
        how = "strictly from row to row" if share == 1 else how
        like = "a time" if column.type == "date" else "a row number, a meter or a time"
        if column.type == "date" and direction == "increases":
            option = name.removeprefix("column ").strip("'")
            fix += (
                ". If this is a long table of readings, a row for each time point, read it with "
                f"kind='series', time={option!r} (on the command line --kind series --time "
                f"{shlex.quote(option)})"
            )
        return (
            f"{name} {direction} {how}, like {like}: in rows to come its values lie beyond those "
            f"at fit, and normal rows are called abnormal for that alone; {fix}"
        )


def describe_extremes(
    name: str, value: float, place: str, n: int, inputs: ValueInputs, column: Column
) -> str:
    """Return the warning about extreme values that were left out of a column's scale.

    Parameters
    ----------
    name : str
    value : float
        One of them.
    place : str
        Where it is.
    n : int
        How many there are, 0 for unknown.
    inputs : ValueInputs
        Of the column.
    column : Column

    Returns
    -------
    str
    """
    others = f", and {n - 1:,} more such values" if n > 1 else ""
    scales = abs(value - inputs.fill) / inputs.scale
    low, high = (_text(bound, column) for bound in (inputs.usual.low, inputs.usual.high))  # type: ignore[union-attr]
    return (
        f"{name} holds {_text(value, column)} in {place}, {scales:,.4g} scales from its "
        f"median{others}; mean and scale are those of the values from {low} to {high}; leave the "
        "cell empty if the value is missing"
    )


def column_warnings(X: Any, schema: Schema, preprocessor: Preprocessor) -> list[str]:
    """Return warnings about the columns, or the images, of training data in memory.

    Parameters
    ----------
    X : array of shape (n, *schema.shape), or Instances
        Checked, in the order of the rows. Instances say where they are from.
    schema : Schema
    preprocessor : Preprocessor
        Learned from these rows or from some of them.

    Returns
    -------
    list of str
    """
    instances = as_instances(X)
    X = instances.held
    if isinstance(preprocessor, SeriesPreprocessor):
        copies = repeated_row_warnings(X, series=True) if instances.points is None else []
        return [*_channel_warnings(instances, schema, preprocessor), *copies]
    if not isinstance(preprocessor, TablePreprocessor):
        variety = ImageVariety()
        variety.update(X)
        return variety.warnings() or repeated_row_warnings(X)
    found, ordered = list[str](), set[int]()
    for at, (inputs, column) in enumerate(zip(preprocessor.inputs, schema.types, strict=True)):
        name, fix = column_name(schema, at), leave_out(schema, at)
        if isinstance(inputs, CategoryInputs):
            found += describe_alike(name, column)
            continue
        values = X[:, at].astype(np.float64)
        # Of these rows, which may be more than the preprocessor was learned from.
        if (usual := usual_range(values[~np.isnan(values)])) is not None:
            n, row = int(usual[0].outside(values).sum()), _farthest(values, inputs.fill)
            place = instances.place(row)
            inputs = replace(inputs, usual=usual[0])
            text = describe_extremes(name, float(values[row]), place, n, inputs, column)
            found.append(WarningText(text, row, None, place))
        order = RowOrder()
        order.update(X[:, at])
        if (of_order := order.describe(name, column, fix)) is not None:
            ordered.add(at)
            found.append(of_order)
    step = max(1, len(X) // MAX_COMPARED)
    return [*found, *identifier_warnings(X[::step], schema, ordered), *repeated_row_warnings(X)]


def issue_warnings(texts: Sequence[str]) -> None:
    """Issue a `DataWarning` for each text."""
    for text in texts:
        row = text.named if isinstance(text, WarningText) else ()
        warnings.warn(DataWarning(text, *row), stacklevel=2)


def identifier_warnings(X: np.ndarray, schema: Schema, leave: set[int]) -> list[str]:
    """Return warnings about columns of whole numbers that look like identifiers.

    A column is one when nearly all of its values are distinct whole numbers, equally frequent
    over their range, and their ranks are unrelated to those of every other column of numbers. A
    name such as "customer" or "order_no" stands for the last two.

    Parameters
    ----------
    X : array of shape (n, m)
        Rows drawn from the training data.
    schema : Schema
    leave : set of int
        Columns not to look at.

    Returns
    -------
    list of str
    """
    numbers = [at for at, column in enumerate(schema.types) if column.type == "number"]
    found = []
    for at in numbers:
        values = (column := X[:, at].astype(np.float64))[~np.isnan(column)]
        if at in leave or len(values) < 50 or (values != np.round(values)).any():
            continue
        share = len(np.unique(values)) / len(values)
        name = schema.columns[at] if schema.columns else ""
        named = bool(_NAME_OF_IDENTIFIER.search(name) or _NAME_OF_IDENTIFIER.search(name.lower()))
        if share < (MIN_DISTINCT_NAMED if named else MIN_DISTINCT):
            continue
        if named or (_is_uniform(values) and _is_unrelated(X, at, numbers)):
            found.append(
                f"{column_name(schema, at)} holds {share:.0%} distinct whole numbers, like an "
                "identifier, and is learned as a quantity: rows are called abnormal for a number "
                f"beyond those at fit; {leave_out(schema, at)}"
            )
    return found


#: Labelled rows that a column is compared with, at most, and columns.
MAX_LABELLED, MAX_COLUMNS = 2_000, 2_000
#: Fewest labelled rows for each value of a column that repeats the label, and of the second class.
MIN_ROWS_OF_VALUE, MIN_ROWS_OF_CLASS = 10, 5


def repeated_label_warnings(X: Any, y: Any) -> list[str]:
    """Return warnings about columns of a table that repeat the label.

    A column does where each of its values, a missing one among them, occurs with one label alone.
    One of numbers has as many values as there are labels: others may separate classes well.

    Parameters
    ----------
    X : array of shape (n, m), or DataFrame
    y : array of shape (n,)
        Labels, missing ones None or NaN.

    Returns
    -------
    list of str

    Examples
    --------
    >>> X = np.array([[at % 2, at] for at in range(40)], dtype=float)
    >>> [text[:26] for text in repeated_label_warnings(X, ["ok", "bad"] * 20)]
    ['column 0 repeats the label']
    """
    if getattr(X, "ndim", 0) != 2:
        return []
    labelled = np.flatnonzero(pd.notna(np.asarray(y)))
    labels = pd.factorize(np.asarray(y)[labelled])[0]
    if len(labelled) > MAX_LABELLED:
        drawn = np.sort(np.random.default_rng(0).choice(len(labelled), MAX_LABELLED, replace=False))
        labelled, labels = labelled[drawn], labels[drawn]
    of_classes = np.sort(np.bincount(labels))
    if len(of_classes) < 2 or of_classes[-2] < MIN_ROWS_OF_CLASS:
        return []
    frame = X if isinstance(X, pd.DataFrame) else pd.DataFrame(X)
    frame, found = frame.iloc[labelled, :MAX_COLUMNS], []
    for at, (name, column) in enumerate(frame.items()):
        numeric = pd.api.types.is_numeric_dtype(column)
        if numeric and column.iloc[:100].nunique() > len(of_classes):
            continue  # most columns, without a second look
        try:
            values, distinct = pd.factorize(column.astype(object), use_na_sentinel=False)
        except TypeError:  # lists, which are refused where the table is checked
            continue
        pure = len(np.unique(values * len(of_classes) + labels)) == len(distinct) > 1
        numbers = numeric and len(distinct) != len(of_classes)
        if pure and not numbers and len(labels) >= MIN_ROWS_OF_VALUE * len(distinct):
            called = str(name) if isinstance(X, pd.DataFrame) else at
            found.append(
                f"column {called!r} repeats the label: in labelled rows each of its values occurs "
                "with one label alone, so that figures are too good, and later rows are misjudged, "
                "where it is filled in only once the label is known; " + _leave_out(called)
            )
    return found


def more_missing_values(
    n_missing: np.ndarray, n: int, preprocessor: Preprocessor, n_fit: int
) -> list[dict[str, Any]]:
    """Return the columns of a table that lack values more often than at fit.

    The test is Fisher's exact one, one-sided, at `MISSING_LEVEL` over the number of columns.

    Parameters
    ----------
    n_missing : int array of shape (m,)
        Number of rows without a value in each column.
    n : int
        Number of rows.
    preprocessor : Preprocessor
    n_fit : int
        Number of training rows.

    Returns
    -------
    list of dict
        `column`, its name or number; `n_missing`, of `n`; `share`; `share_at_fit`; `p_value`.

    Examples
    --------
    >>> X = np.array([[1.0, 2.0], [np.nan, 3.0], [2.0, 5.0], [4.0, 4.0]])
    >>> prepare = TablePreprocessor.learn(X, Schema.learn(X))
    >>> found = more_missing_values(np.array([80, 0]), 100, prepare, n_fit=400)
    >>> [(one["column"], one["share"], one["share_at_fit"]) for one in found]
    [(0, 0.8, 0.25)]
    """
    if not isinstance(preprocessor, TablePreprocessor) or not n:
        return []
    from scipy.stats import hypergeom  # takes longer to load than all else here

    shares, names = preprocessor.missing_shares, preprocessor.schema.columns
    at_fit = np.round(shares * n_fit)
    p_values = hypergeom.sf(n_missing - 1, n_fit + n, at_fit + n_missing, n)
    return [
        {
            "column": int(at) if names is None else names[at],
            "n_missing": int(n_missing[at]),
            "n": n,
            "share": float(n_missing[at] / n),
            "share_at_fit": float(shares[at]),
            "p_value": float(p_values[at]),
        }
        for at in np.flatnonzero(p_values * len(shares) <= MISSING_LEVEL)
    ]


def describe_missing(found: dict[str, Any]) -> str:
    """Return the warning about a column that `more_missing_values` found."""
    return (
        f"column {found['column']!r} lacks the value in {found['n_missing']:,} of "
        f"{found['n']:,} rows ({100 * found['share']:.3g} %), and lacked it in "
        f"{100 * found['share_at_fit']:.3g} % at fit; see that its source still delivers: a row "
        "is called abnormal for a missing value only where that was rare at fit"
    )


def describe_empty_rows(n_empty: int, n: int) -> list[str]:
    """Return the warning about rows of a table without any value; nothing where there are none.

    Parameters
    ----------
    n_empty, n : int

    Returns
    -------
    list of str

    Examples
    --------
    >>> describe_empty_rows(0, 5)
    []
    """
    if not n_empty:
        return []
    return [
        f"{n_empty:,} of {n:,} rows have no value in any column: what is decided of them follows "
        "from what usually stands in the columns and says nothing of the rows; leave them out, or "
        "see that their source still delivers"
    ]


def column_name(schema: Schema, at: int) -> str:
    """Return how a column of a table, or a channel, is called in a message."""
    word = "channel" if schema.kind == "series" else "column"
    return f"{word} {at if schema.columns is None else repr(schema.columns[at])}"


def leave_out(schema: Schema, at: int) -> str:
    """Return how to leave a column out, for a message."""
    return _leave_out(at if schema.columns is None else schema.columns[at])


def _leave_out(column: int | str) -> str:
    if isinstance(column, int):
        return f"leave it out: np.delete(X, {column}, axis=1)"
    return (
        f"leave it out: load(..., drop=[{column!r}]) or X.drop(columns={column!r}), on the "
        f"command line --drop {column!r}"
    )


def _channel_warnings(
    instances: Instances, schema: Schema, preprocessor: SeriesPreprocessor
) -> list[str]:
    found: list[str] = []
    X, points = instances.held, instances.points
    # A reading is in several windows, and counts once.
    readings = X if points is None else points.values[points.covered]
    for channel in range(X.shape[2]):
        usual = usual_range(X[..., channel].ravel().astype(np.float64))
        if usual is None:
            continue
        outside = usual[0].outside(readings[..., channel])
        inputs = replace(channel_inputs(preprocessor, channel), usual=usual[0])
        at = _farthest(X[..., channel].ravel().astype(np.float64), inputs.fill)
        window, step = divmod(at, X.shape[1])
        name = (
            f"channel {channel}" if not schema.columns else f"channel {schema.columns[channel]!r}"
        )
        place = instances.place(window, step)
        text = describe_extremes(
            name,
            float(X[window, step, channel]),
            place,
            int(outside.sum()),
            inputs,
            Column(),
        )
        found.append(WarningText(text, window, step, place))
    return found


def channel_inputs(preprocessor: SeriesPreprocessor, channel: int) -> ValueInputs:
    """Return mean, scale and usual range of a channel as those of a column."""
    mean, scale = float(preprocessor.mean[channel]), float(preprocessor.scale[channel])
    usual = preprocessor.usual[channel] if preprocessor.usual else None
    return ValueInputs(mean, mean, scale, usual=usual)


def _farthest(values: np.ndarray, middle: float) -> int:
    """Return the row, the first of several, of the value farthest from the middle, as a stream."""
    low, high = int(np.nanargmin(values)), int(np.nanargmax(values))
    return high if values[high] - middle > middle - values[low] else low


def _text(value: float, column: Column) -> str:
    if column.type != "date":
        return f"{value:.6g}"
    moment: Any = datetime.fromtimestamp(value, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def _is_uniform(values: np.ndarray) -> bool:
    """Return whether values are equally frequent over their range, by Kolmogorov and Smirnov."""
    values = np.sort(values)
    expected = (values - values[0]) / max(values[-1] - values[0], 1.0)
    n = len(values)
    distance = np.abs(expected - (np.arange(n) + 0.5) / n).max()
    return bool(distance < 1.36 / np.sqrt(n))


def _is_unrelated(X: np.ndarray, at: int, others: Sequence[int]) -> bool:
    """Return whether no other column's ranks correlate with those of a column."""
    others = [other for other in others if other != at]
    rows = ~np.isnan(X[:, [at, *others]].astype(np.float64)).any(axis=1)
    if not others or rows.sum() < 50:
        return False
    ranks = X[rows][:, [at, *others]].argsort(axis=0).argsort(axis=0).astype(np.float64)
    ranks -= ranks.mean(axis=0)
    norms = np.sqrt((ranks**2).sum(axis=0)) + 1e-12
    related = np.abs(ranks[:, 1:].T @ ranks[:, 0]) / (norms[1:] * norms[0])
    limit = (2 + np.sqrt(2 * np.log(len(others) + 1))) / np.sqrt(rows.sum())
    return bool(related.max() < limit)
