"""The network inputs of one column of a table: values and one-hot categories."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self, TypeVar

import numpy as np

from isthmus.data.columns import Column
from isthmus.data.places import ColumnErrors
from isthmus.data.preprocessing.scaling import (
    Moments,
    UsualRange,
    usual_from_dict,
    usual_range,
    usual_to_dict,
)
from isthmus.errors import DataError

T = TypeVar("T")

#: Maximum number of levels of a category column; the rare categories share one.
MAX_LEVELS = 50
#: Minimum share of the training rows (and at least two rows) for a level of its own.
MIN_SHARE = 0.001
#: Columns without a value that an error names before it counts the others.
N_SHOWN = 5
#: Maximum number of distinct values of a category column.
MAX_CATEGORIES = 10_000

#: Values are clipped to this magnitude: sums of squares of larger ones overflow float64.
MAX_MAGNITUDE = 1e150
_DAY = 86_400.0


@dataclass(frozen=True)
class ValueInputs:
    """Inputs of a column of numbers, booleans or dates: the value, and a missing flag.

    Attributes
    ----------
    fill : float
        Median of the training values, used in place of a missing one.
    mean, scale : float
        Mean and standard deviation of the training values, missing ones filled.
    missing_share : float in [0, 1)
        Share of the training rows without a value; unless it is 0 there is a missing flag.
    constant : bool
        Whether all training values are the same, up to rounding.
    usual : UsualRange or None
        Range of the training values that mean and scale are computed from, where a few extreme
        ones were left out (see `usual_range`); None where all count.

    Notes
    -----
    A constant column has no deviation. Its scale is a thousandth of its value (of 1 when
    that is 0, of a day for dates), so that a new value in it counts: one that is
    half or twice as large is hundreds of scales away. Its reconstruction is the constant.
    """

    fill: float
    mean: float
    scale: float
    missing_share: float = 0.0
    constant: bool = False
    usual: UsualRange | None = None

    @classmethod
    def learn(cls, values: np.ndarray, column: Column) -> Self:
        """Learn from values of shape (n,), float64, NaN where missing; not all are.

        Parameters
        ----------
        values : float64 array of shape (n,)
        column : Column

        Returns
        -------
        ValueInputs
        """
        values = np.clip(values, -MAX_MAGNITUDE, MAX_MAGNITUDE)
        missing = np.isnan(values)
        n_missing = int(missing.sum())
        present = values[~missing] if n_missing else values
        fill = float(np.median(present))
        moments = Moments()
        if (found := usual_range(present)) is not None:
            return cls.of(found[1], fill, n_missing, len(values), column, found[0])
        moments.update(np.where(missing, fill, values) if n_missing else values)
        return cls._build(moments, fill, n_missing / len(values), column)

    @classmethod
    def of(
        cls,
        moments: Moments,
        fill: float,
        n_missing: int,
        n_rows: int,
        column: Column,
        usual: UsualRange | None = None,
    ) -> Self:
        """Build from the moments of the usual values, clipped to `MAX_MAGNITUDE`.

        Parameters
        ----------
        moments : Moments
            Of all `n_rows - n_missing` values, or of some of them drawn at random.
        fill : float
            Takes the place of a missing value.
        n_missing, n_rows : int
        column : Column
        usual : UsualRange, optional

        Returns
        -------
        ValueInputs
        """
        if n_missing:
            weight = round(n_missing * moments.n / (n_rows - n_missing))
            moments.add(weight, fill, 0.0, fill, fill)
        return cls._build(moments, fill, n_missing / n_rows, column, usual)

    @classmethod
    def _build(
        cls,
        moments: Moments,
        fill: float,
        missing_share: float,
        column: Column,
        usual: UsualRange | None = None,
    ) -> Self:
        mean, deviation = float(moments.mean), float(moments.deviation)
        constant = bool(moments.constant)
        if constant:
            size = _DAY if column.type == "date" else abs(fill) or 1.0
            mean, deviation = fill, max(size / 1000, np.finfo(np.float64).tiny)
        return cls(fill, mean, deviation, missing_share, constant, usual)

    @property
    def width(self) -> int:
        """Number of inputs: 2 when values were missing at fit, else 1."""
        return 2 if self.missing_share else 1

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; `from_dict` is the inverse.

        Returns
        -------
        dict
        """
        return {
            "fill": self.fill,
            "mean": self.mean,
            "scale": self.scale,
            "missing_share": self.missing_share,
            "constant": self.constant,
        } | usual_to_dict(self.usual)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Rebuild from the result of `to_dict`.

        Parameters
        ----------
        plain : mapping

        Returns
        -------
        ValueInputs
        """
        return cls(**(dict(plain) | {"usual": usual_from_dict(plain)}))


@dataclass(frozen=True)
class CategoryInputs:
    """Inputs of a category column: one per level, and one for missing if any were at fit.

    Attributes
    ----------
    levels : tuple of int
        The input of each category, by its position among the column's categories; rare
        ones share the same.
    shares : tuple of float
        Share of the training rows in each level, the means of the inputs.
    scale : float
        √Σ p(1 - p) over the shares p: divided by it, the inputs have variance one in total.
    missing_level : int
        The level of a missing value: the last one if values were missing at fit, else the
        most frequent.
    """

    levels: tuple[int, ...]
    shares: tuple[float, ...]
    scale: float
    missing_level: int

    @classmethod
    def learn(cls, positions: np.ndarray, column: Column) -> Self:
        """Learn from positions of shape (n,), float64, NaN where missing; not all are.

        Parameters
        ----------
        positions : float64 array of shape (n,)
        column : Column

        Returns
        -------
        CategoryInputs
        """
        present = positions[~np.isnan(positions)].astype(np.intp)
        counts = np.bincount(present, minlength=len(column.categories))
        return cls.of(counts, len(positions))

    @classmethod
    def of(cls, counts: np.ndarray, n_rows: int) -> Self:
        """Build from the row count of each category; the rest of `n_rows` are missing.

        Parameters
        ----------
        counts : int array of shape (n_categories,)
        n_rows : int

        Returns
        -------
        CategoryInputs
        """
        levels = _levels(counts, max(2, int(np.ceil(MIN_SHARE * n_rows))))
        sizes = np.bincount(levels, weights=counts)
        missing_level = int(sizes.argmax())
        n_missing = n_rows - int(counts.sum())
        if n_missing:
            missing_level = len(sizes)
            sizes = np.append(sizes, n_missing)
        shares = sizes / n_rows
        total = float((shares * (1 - shares)).sum())
        # A single level is constant: see the constant columns of `ValueInputs`.
        scale = float(np.sqrt(total)) if len(sizes) > 1 else 1 / 1000
        return cls(tuple(levels.tolist()), tuple(shares.tolist()), scale, missing_level)

    @property
    def width(self) -> int:
        """Number of inputs."""
        return len(self.shares)

    @property
    def missing_share(self) -> float:
        """Share of the training rows without a value."""
        has_level = self.missing_level == self.n_category_levels
        return self.shares[self.missing_level] if has_level else 0.0

    @property
    def n_category_levels(self) -> int:
        """Number of levels that stand for categories, not for a missing value."""
        return max(self.levels) + 1

    @cached_property
    def rows(self) -> np.ndarray:
        """Inputs of each category, then of an unknown one, then of a missing value.

        Shape (len(levels) + 2, width), float64, before asinh scaling. A category's level is 1 and
        the others are 0. An unknown one has -1 everywhere: it is farther from each known
        category than these are from one another, and from all that they add up to.
        """
        n = len(self.levels)
        raw = np.zeros((n + 2, self.width))
        raw[np.arange(n), self.levels] = 1
        raw[n] = -1
        raw[n + 1, self.missing_level] = 1
        return (raw - self.shares) / self.scale

    def most_likely(self, inputs: np.ndarray) -> np.ndarray:
        """Return the most likely category level of inputs of shape (n, width), never missing.

        Parameters
        ----------
        inputs : array of shape (n, width)

        Returns
        -------
        int array of shape (n,)
        """
        of_categories = inputs[:, : self.n_category_levels]
        shares = np.array(self.shares[: self.n_category_levels], dtype=np.float32)
        return (of_categories * np.float32(self.scale) + shares).argmax(axis=1)

    def names(self, column: Column) -> list[Any]:
        """Return the name of each level: its category, or "other values" for shared ones.

        Parameters
        ----------
        column : Column

        Returns
        -------
        list
        """
        members: list[list[Any]] = [[] for _ in range(self.n_category_levels)]
        for category, level in zip(column.categories, self.levels, strict=True):
            members[level].append(category)
        return [group[0] if len(group) == 1 else "other values" for group in members]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; `from_dict` is the inverse.

        Returns
        -------
        dict
        """
        return {
            "levels": list(self.levels),
            "shares": list(self.shares),
            "scale": self.scale,
            "missing_level": self.missing_level,
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Rebuild from the result of `to_dict`.

        Parameters
        ----------
        plain : mapping

        Returns
        -------
        CategoryInputs
        """
        return cls(
            tuple(plain["levels"]),
            tuple(plain["shares"]),
            plain["scale"],
            plain["missing_level"],
        )


def learn_inputs(values: np.ndarray, column: Column, name: str) -> ValueInputs | CategoryInputs:
    """Learn the inputs of one column.

    Parameters
    ----------
    values : array of shape (n,)
        The column of the matrix that `Schema.check` returns.
    column : Column
    name : str
        Name of the column in errors.

    Raises
    ------
    DataError
        When the values of a text column hardly repeat.
    """
    values = values.astype(np.float64, copy=False)
    check_repeats(len(values) - int(np.isnan(values).sum()), column, name)
    if column.type == "category":
        return CategoryInputs.learn(values, column)
    return ValueInputs.learn(values, column)


def learn_columns(
    names: Sequence[int | str], n_present: Sequence[int], n_rows: int, learn: Callable[[int], T]
) -> list[T]:
    """Learn each column of a table; what is wrong with any of them is in one error.

    Parameters
    ----------
    names : sequence of m str, or int of columns without names
    n_present : sequence of m int
        Rows with a value in each column.
    n_rows : int
    learn : callable
        From the position of a column to what is learned of it.

    Returns
    -------
    list of m

    Raises
    ------
    DataError
        When no row has a value in a column, and those that `learn` raises.

    Examples
    --------
    >>> learn_columns(["a", "b"], [9, 8], 9, lambda at: at + 1)
    [1, 2]
    >>> try:
    ...     learn_columns(["a", "b", "c"], [0, 9, 0], 9, lambda at: at + 1)
    ... except DataError as error:
    ...     print(str(error).split(";")[0])
    2 columns have no value in any of 9 rows, 'a' and 'c'
    """
    learned: list[T] = []
    errors = ColumnErrors(heading="problems of columns that nothing can be learned from")
    with errors:
        _check_values([name for name, n in zip(names, n_present, strict=True) if not n], n_rows)
    for at, n in enumerate(n_present):
        with errors:
            learned += [learn(at)] if n else []
    errors.check()
    return learned


def _check_values(empty: Sequence[int | str], n_rows: int) -> None:
    """Check that there are no columns without a value; all that have none are in one error."""
    if not empty:
        return
    if len(empty) == 1:
        raise DataError(
            f"column {empty[0]!r} has no value in any of {n_rows} rows, expected at least one; "
            f"{_drop(f'column {empty[0]!r}')}"
        )
    quoted = [repr(name) for name in empty]
    shown, more = quoted[:N_SHOWN], len(quoted) - N_SHOWN
    last = [f"{more:,} more"] if more > 0 else [shown.pop()]
    options = " ".join(f"--drop {shlex.quote(name)}" for name in empty if isinstance(name, str))
    fix = f": drop=[{', '.join(quoted)}] (on the command line {options})" if options else ""
    raise DataError(
        f"{len(empty):,} columns have no value in any of {n_rows} rows, {', '.join(shown)} and "
        f"{last[0]}; drop the columns{fix}"
    )


def check_repeats(n_present: int, column: Column, name: str) -> None:
    """Check that the values of a category repeat.

    Parameters
    ----------
    n_present : int
        Rows with a value.
    column : Column
    name : str
        What to call the column.

    Raises
    ------
    DataError
        As `learn_inputs` does.
    """
    n_distinct = len(column.categories)
    if n_distinct > MAX_CATEGORIES or (n_distinct > 10 and 2 * n_distinct > n_present):
        raise DataError(
            f"{name} holds {n_distinct:,} different values in {n_present:,} rows, which looks like "
            f"a name or free text, expected categories that repeat; {_drop(name)}; or, if it says "
            "which row is which, pass it in keys= (--key); or put its values into fewer groups "
            f"(at most {MAX_CATEGORIES:,}, each of several rows)"
        )


def _drop(name: str) -> str:
    """Return how to leave out a column, of which errors have the name: column 'a', or column 1."""
    quoted = name.removeprefix("column ")
    if quoted.isdigit():
        return "drop the column"
    return f"drop the column: drop=[{quoted}] (on the command line --drop {quoted})"


def _levels(counts: np.ndarray, min_count: int) -> np.ndarray:
    """Return the level of each category; rare categories share the last one.

    The rule is that of scikit-learn's `OneHotEncoder(min_frequency=min_count,
    max_categories=MAX_LEVELS)`: common categories in their order, then the rare ones.
    """
    rare = counts < min_count
    n_common = int((~rare).sum())
    if n_common + bool(rare.any()) > MAX_LEVELS:
        common = np.argsort(counts, kind="stable")[::-1][: MAX_LEVELS - 1]
        rare = np.ones(len(counts), dtype=bool)
        rare[common] = False
        n_common = len(common)
    levels = np.cumsum(~rare) - 1
    return np.where(rare, n_common, levels)
