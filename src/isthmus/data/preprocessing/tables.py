"""Preprocessing of tables: columns standardised and asinh-scaled, categories one-hot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd

from isthmus.data.columns import Column
from isthmus.data.labels import alike_texts
from isthmus.data.preprocessing.column_inputs import (
    MAX_MAGNITUDE,
    N_SHOWN,
    CategoryInputs,
    ValueInputs,
    learn_columns,
    learn_inputs,
)
from isthmus.data.preprocessing.scaling import (
    HASH_STANDARDISED,
    asinh_scale,
    sinh_unscale,
    warn_of_other_scale,
)
from isthmus.data.schema import Schema


@dataclass(frozen=True)
class TablePreprocessor:
    """Convert each column of a table to one or more network inputs.

    Numbers, booleans and dates are filled with the median where they are missing and
    standardised with mean and standard deviation of the training rows; if values were
    missing at fit, a standardised 0/1 flag is added. Categories become one 0 or 1 for each
    level, scaled so that the column has variance one in total (see `CategoryInputs`).
    Every input is then asinh-scaled (see `asinh_scale`).

    Attributes
    ----------
    schema : Schema
    inputs : tuple of ValueInputs or CategoryInputs
        One for each column.
    hashes_inputs : bool, default=False
        Whether row hashes are those of the network inputs, as in the first bundles.

    Examples
    --------
    >>> X = np.array([[0.0, 5.0], [2.0, 5.0]])
    >>> prepare = TablePreprocessor.learn(X, Schema.learn(X))
    >>> prepare.to_network(X).round(2).tolist()
    [[-0.9599999785423279, 0.0], [0.9599999785423279, 0.0]]
    >>> frame = pd.DataFrame({"width": [1.0, None, 2.0], "kind": ["nut", "nut", "bolt"]})
    >>> schema = Schema.learn(frame)
    >>> prepare = TablePreprocessor.learn(schema.check(frame), schema)
    >>> prepare.network_shape, prepare.feature_names
    ((4,), ['width', 'kind'])
    >>> prepare.from_network(prepare.to_network(schema.check(frame)))
       width  kind
    0    1.0   nut
    1    1.5   nut
    2    2.0  bolt
    """

    schema: Schema
    inputs: tuple[ValueInputs | CategoryInputs, ...]
    hashes_inputs: bool = False

    @classmethod
    def learn(cls, X: np.ndarray, schema: Schema) -> Self:
        """Learn the inputs of each column.

        Parameters
        ----------
        X : array of shape (n, m)
            Checked by the schema.
        schema : Schema

        Returns
        -------
        TablePreprocessor

        Raises
        ------
        DataError
            When a column has no value at all, or is text whose values hardly repeat.
        """
        names, types = schema.columns or range(X.shape[1]), schema.types

        def learn(at: int) -> ValueInputs | CategoryInputs:
            return learn_inputs(X[:, at], types[at], f"column {names[at]!r}")

        n_present = (~np.isnan(X)).sum(axis=0).tolist()
        return cls(schema, tuple(learn_columns(names, n_present, len(X), learn)))

    @property
    def network_shape(self) -> tuple[int, ...]:
        """`(width,)`: all columns' inputs, side by side."""
        return (sum(inputs.width for inputs in self.inputs),)

    @property
    def feature_names(self) -> list[str]:
        """Names of the m columns; "column 0" and so on when they came without."""
        names = self.schema.columns
        return [f"column {at}" for at in range(len(self.inputs))] if names is None else list(names)

    @property
    def missing_shares(self) -> np.ndarray:
        """Share of the training rows without a value in each column, (m,)."""
        return np.array([inputs.missing_share for inputs in self.inputs])

    def to_network(self, X: np.ndarray) -> np.ndarray:
        """Fill, standardise and asinh-scale: (n, m) as checked to (n, width) float32.

        Parameters
        ----------
        X : float64 array of shape (n, m)

        Returns
        -------
        float32 array of shape (n, width)
        """
        arrays = self._arrays
        standardised = self._standardise(X, fill=True)
        names = self.schema.columns or range(len(self.inputs))
        warn_of_other_scale(standardised, [f"column {names[at]!r}" for at in arrays.columns])
        scaled = asinh_scale(standardised)
        if len(arrays.at) == self.network_shape[0]:
            return scaled
        out = np.empty((len(X), *self.network_shape), dtype=np.float32)
        out[:, arrays.at] = scaled
        if arrays.flagged.size:
            flags = np.isnan(X[:, arrays.columns[arrays.flagged]])
            out[:, arrays.at[arrays.flagged] + 1] = np.where(flags, arrays.flag[1], arrays.flag[0])
        for column, first, rows in arrays.categories:
            positions = X[:, column]
            # A missing value has the last row, an unknown category the row before.
            row_of = np.where(np.isnan(positions), len(rows) - 1, positions).astype(np.intp)
            out[:, first : first + rows.shape[1]] = rows[row_of]
        return out

    def to_hash(self, X: np.ndarray) -> np.ndarray:
        """Standardise numbers, booleans and dates, and leave categories as checked: (n, m).

        Parameters
        ----------
        X : float64 array of shape (n, m)

        Returns
        -------
        float32 array
        """
        if self.hashes_inputs:
            return self.to_network(X)
        with np.errstate(over="ignore"):
            out = X.astype(np.float32)
            out[:, self._arrays.columns] = self._standardise(X, fill=False)
        out[np.isnan(out)] = np.nan  # one bit pattern for all that is missing
        return out

    def to_training(self, X: np.ndarray) -> np.ndarray:
        """Clip extreme values to the usual range of their column, then as `to_network`.

        Parameters
        ----------
        X : float64 array of shape (n, m)

        Returns
        -------
        float32 array of shape (n, width)
        """
        if not self._arrays.limited:
            return self.to_network(X)
        low, high = self._arrays.limits
        return self.to_network(np.clip(X, low, high))

    def from_network(self, values: np.ndarray) -> Any:
        """Return reconstructions in the columns and units of the data.

        Parameters
        ----------
        values : array of shape (n, width)

        Returns
        -------
        array of shape (n, m), float32, or DataFrame of shape (n, m)
            A DataFrame when not all columns are numbers, with their names and order:
            numbers in float32, booleans rounded, dates to the second in their own dtype,
            categories the most likely one; rare ones that share a level are "other values".
            No value is missing. Numbers are clipped to the range of float32.
        """
        arrays = self._arrays
        plain = sinh_unscale(values)
        inputs_of_values = plain if plain.shape[1] == len(arrays.at) else plain[:, arrays.at]
        restored_values = inputs_of_values * arrays.spread
        restored_values += arrays.mean
        if self.schema.column_types is None:
            return _as_float32(restored_values)
        place_of = {int(column): at for at, column in enumerate(arrays.columns)}
        first = {column: at for column, at, _ in arrays.categories}
        restored: dict[str, Any] = {}
        for at, (name, column) in enumerate(
            zip(self.feature_names, self.schema.types, strict=True)
        ):
            inputs = self.inputs[at]
            if isinstance(inputs, CategoryInputs):
                group = plain[:, first[at] : first[at] + inputs.width]
                names = pd.Index(inputs.names(column))
                codes = inputs.most_likely(group)
                if column.dtype == "category":
                    labels = names.unique()
                    restored[name] = pd.Categorical(names.take(codes), categories=labels)
                else:
                    restored[name] = names.take(codes)
            elif column.type == "date":
                restored[name] = column.restore_dates(restored_values[:, place_of[at]])
            elif column.type == "boolean":
                restored[name] = restored_values[:, place_of[at]] >= 0.5
            else:
                restored[name] = _as_float32(restored_values[:, place_of[at]])
        return pd.DataFrame(restored)

    def per_feature(self, values: np.ndarray) -> np.ndarray:
        """Sum over the inputs of each column: (n, width) to (n, m).

        Parameters
        ----------
        values : array of shape (n, width)

        Returns
        -------
        array of shape (n, m)
        """
        if values.shape[1] == len(self.inputs):
            return values
        return np.add.reduceat(values, self._arrays.first, axis=1)

    def to_dict(self) -> dict[str, Any]:
        """Return the learned parameters of each column, in order.

        Returns
        -------
        dict
        """
        columns = {"columns": [inputs.to_dict() for inputs in self.inputs]}
        return columns if self.hashes_inputs else columns | HASH_STANDARDISED

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], schema: Schema) -> Self:
        """Rebuild for the same schema.

        Parameters
        ----------
        plain : mapping
        schema : Schema

        Returns
        -------
        TablePreprocessor
        """
        learned = zip(plain["columns"], schema.types, strict=True)
        inputs = tuple(_read(inputs, column.type) for inputs, column in learned)
        return cls(schema, inputs, not HASH_STANDARDISED.items() <= plain.items())

    def _standardise(self, X: np.ndarray, *, fill: bool) -> np.ndarray:
        """Standardise the k value columns: (n, m) as checked to (n, k) float64."""
        arrays = self._arrays
        selected = X if len(arrays.columns) == X.shape[1] else X[:, arrays.columns]
        # One copy, then in place: a whole table may be large.
        values = selected.astype(np.float64)
        np.clip(values, -MAX_MAGNITUDE, MAX_MAGNITUDE, out=values)
        if fill and selected.dtype.kind == "f" and (missing := np.isnan(values)).any():
            np.copyto(values, arrays.fill, where=missing)
        # Far beyond all training values the division may overflow; `asinh_scale` bounds that.
        with np.errstate(over="ignore"):
            values -= arrays.mean
            values /= arrays.scale
        return values

    @cached_property
    def _arrays(self) -> _ColumnArrays:
        """Constants of all value columns as arrays: few NumPy calls per batch."""
        first = np.cumsum([0, *(inputs.width for inputs in self.inputs)])[:-1]
        values = [
            (at, inputs) for at, inputs in enumerate(self.inputs) if isinstance(inputs, ValueInputs)
        ]
        columns = np.array([at for at, _ in values], dtype=np.intp)
        share = np.array([inputs.missing_share for _, inputs in values])
        scale = np.array([inputs.scale for _, inputs in values])
        flagged = np.flatnonzero(share)
        p = share[flagged]
        flag = asinh_scale((np.array([[0.0], [1.0]]) - p) / np.sqrt(p * (1 - p)))  # (2, n_flagged)
        categories = tuple(
            (at, int(first[at]), asinh_scale(inputs.rows))
            for at, inputs in enumerate(self.inputs)
            if isinstance(inputs, CategoryInputs)
        )
        limits = np.array([[-np.inf], [np.inf]]).repeat(len(self.inputs), axis=1)
        for at, inputs in values:
            if inputs.usual is not None:
                limits[:, at] = inputs.usual.low, inputs.usual.high
        return _ColumnArrays(
            first=first,
            columns=columns,
            at=first[columns],
            fill=np.array([inputs.fill for _, inputs in values]),
            mean=np.array([inputs.mean for _, inputs in values]),
            scale=scale,
            spread=np.where([inputs.constant for _, inputs in values], 0.0, scale),
            flagged=flagged,
            flag=flag,
            categories=categories,
            limited=any(inputs.usual is not None for _, inputs in values),
            limits=limits,
        )


class _ColumnArrays(NamedTuple):
    """Arrays over the k value columns, and the tables of the category columns."""

    first: np.ndarray  # (m,) first input of each column
    columns: np.ndarray  # (k,) which columns hold values
    at: np.ndarray  # (k,) their inputs
    fill: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    spread: np.ndarray  # the scale, 0 where the column was constant
    flagged: np.ndarray  # which of the k have an input for missing
    flag: np.ndarray  # (2, n_flagged) the flag for a present and for a missing value
    categories: tuple[tuple[int, int, np.ndarray], ...]  # column, first input, rows
    limited: bool  # whether extreme values were left out of the scale of a column
    limits: np.ndarray  # (2, m) usual range of each column, infinite where there is none


def _read(plain: Mapping[str, Any], type_: str) -> ValueInputs | CategoryInputs:
    return (CategoryInputs if type_ == "category" else ValueInputs).from_dict(plain)


def _as_float32(values: np.ndarray) -> np.ndarray:
    largest = np.finfo(np.float32).max
    return np.clip(values, -largest, largest).astype(np.float32)


def describe_alike(name: str, column: Column) -> list[str]:
    """Return the warning about categories that differ in case or spaces alone, if there are any.

    Parameters
    ----------
    name : str
        What the column is called.
    column : Column

    Returns
    -------
    list of str

    Examples
    --------
    >>> said = Column("category", ("yes", "no", "Yes "))
    >>> print(describe_alike("column 'ok'", said)[0].partition(", which")[0])
    column 'ok' holds 'yes', 'Yes '
    """
    alike = alike_texts(column.categories)
    if not alike:
        return []
    named = ", ".join(map(repr, alike[:N_SHOWN])) + ", ..." * (len(alike) > N_SHOWN)
    return [
        f"{name} holds {named}, which differ in case or spaces alone, and are learned as "
        "categories of their own; write each in one way where they mean the same"
    ]
