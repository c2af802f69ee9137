"""A data set in memory: instances, optional labels and their schema."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from isthmus._core import shown
from isthmus.data.array_checks import Kind
from isthmus.data.groups import as_groups
from isthmus.data.instances import InMemory, Instances, InstanceSource, as_instances, take_rows
from isthmus.data.labels import MISSING, as_labels, factorize_labels, label_text
from isthmus.data.places import as_range, check_part, describe_row, in_file, with_line
from isthmus.data.schema import Schema
from isthmus.data.windows import TimePoints, Windows, split_windows
from isthmus.errors import DataError


# Compared by identity: == of arrays is elementwise.
@dataclass(frozen=True, eq=False, repr=False)
class Dataset(InstanceSource):
    """Instances `X`, optional labels `y`, and their schema.

    Attributes
    ----------
    X : array of shape (n, h, w), (n, h, w, c), (n, t, c) or (n, m), or DataFrame of (n, m)
        Or `StoredCodes` of n instances, whose schema is that of the codes.
    y : array of shape (n,) or None
        Labels, unchanged: integers, strings or floats; NaN or None where one is missing.
    schema : Schema
        Learned from `X` when not given, where `(n, a, b)` is read as images; for windows of
        series pass `Schema.learn(X, "series")`.
    class_names : tuple of str or None
        Display names of the sorted distinct labels.
    name : str
        Source of the data, for messages.
    windows : Windows or None
        Positions of the instances in the long table they were cut from, for `split`.
    keys : DataFrame of shape (n, k) or None
        Columns that identify the instances, such as a file name, as text. They are no features
        and are copied to every output.
    reading : dict or None
        What reading the source did not take or changed, as plain values, such as `files_skipped`,
        `frames_unused` and `resized_from` of images, and the first, the last and the number of
        `rows` where a range was taken.
    rows : integer array of shape (n,) or None
        Number of each instance in its source, counting from 0; None where all are there in order.
    line_of : callable or None
        Returns the line of the file (from 1) in which a row of the source (from 0) begins.
    group_columns : tuple of str
        Those of the key columns that name the group of an instance, see `groups`.
    file_of : callable or None
        Of rows of several files, file and row in it of a row number, see `Stream.file_of`.
    points : TimePoints or None
        Of windows cut from a long table, its time points; of some of the windows those that they
        cover. None of other data, of streams, and of both parts of a split taken together.

    Raises
    ------
    DataError
        When `X` is not usable (see `Schema.learn`), or labels and instances do not match.

    Examples
    --------
    >>> import numpy as np
    >>> data = Dataset(np.random.default_rng(0).normal(size=(20, 3)), y=np.arange(20) % 2)
    >>> data.kind, len(data), data.split(0.25, random_state=0).test.X.shape
    ('table', 20, (5, 3))
    >>> data
    Dataset('data', 20 rows of 3 columns, 2 classes)
    >>> some = data.take(np.array([4, 7, 9])).take_range("1:3")
    >>> some.row_numbers().tolist(), some.place(0), some.reading_facts()["reading"]["rows"]["n"]
    ([7, 9], 'row 7, counting from 0', 2)
    >>> len(data.part("all").instances())
    20
    """

    X: Any
    y: np.ndarray | None = None
    schema: Schema = None  # type: ignore[assignment]  # learned below, never None after
    class_names: tuple[str, ...] | None = None
    name: str = "data"
    windows: Windows | None = None
    keys: pd.DataFrame | None = None
    reading: dict[str, Any] | None = None
    rows: np.ndarray | None = None
    line_of: Callable[[int], int | None] | None = None
    points: TimePoints | None = None
    group_columns: tuple[str, ...] = ()
    file_of: Callable[[int], tuple[str, int] | None] | None = None
    in_memory: ClassVar[Literal[True]] = True

    def __post_init__(self) -> None:
        instances = as_instances(self.X)
        values = instances.values
        if not instances.encoded:
            object.__setattr__(self, "X", values)
        if vars(self)["schema"] is None:
            object.__setattr__(self, "schema", Schema.learn(values))
        if self.keys is not None and len(self.keys) != len(self.X):
            raise DataError(
                f"got {len(self.X)} instances and {len(self.keys)} rows of keys; expected one for "
                "each instance"
            )
        if self.y is None:
            return
        object.__setattr__(self, "y", as_labels(self.y))
        if len(self.y) != len(self.X):
            raise DataError(
                f"got {len(self.X)} instances and {len(self.y)} labels; "
                "expected one label for each instance"
            )
        if self.class_names is None:
            object.__setattr__(self, "class_names", distinct_names(self.y))

    def __repr__(self) -> str:
        if self.kind == "images":
            size = "x".join(str(side) for side in self.schema.shape)
            content = f"{len(self)} images of {size} {self.schema.dtype}"
        elif self.kind == "series":
            steps, channels = self.schema.shape
            content = f"{len(self)} series of {steps} time steps"
            content += f" and {channels} channels" if channels > 1 else ""
        else:
            content = f"{len(self)} rows of {self.schema.n_features} columns"
        labels = "no labels" if self.class_names is None else f"{len(self.class_names)} classes"
        return f"Dataset({self.name!r}, {content}, {labels})"

    def __len__(self) -> int:
        return len(self.X)

    @property
    def kind(self) -> Kind:
        """`"images"`, `"series"` or `"table"`."""
        return self.schema.kind

    @property
    def channel_names(self) -> tuple[str, ...] | None:
        """Names of the channels of series, for `Autoencoder.fit`; None without names."""
        return self.schema.columns if self.kind == "series" else None

    @property
    def groups(self) -> np.ndarray | None:
        """Group of each instance as text, empty where it has none, (n,); None without groups.

        Of a table or of images those of the columns that `load(..., group=...)` named, of windows
        those of the long table.
        """
        if self.group_columns and self.keys is not None:
            return as_groups(self.keys[list(self.group_columns)], len(self))
        if self.windows is not None and self.windows.group is not None:
            return as_groups(self.windows.group, len(self))
        return None

    @property
    def has_labels(self) -> bool:
        """Whether there are labels."""
        return self.y is not None

    @property
    def window_label(self) -> str | None:
        """The rule for labels of windows, see `load`; None of other data, and without labels."""
        return None if self.windows is None else self.windows.label_rule

    @property
    def train(self) -> Dataset:
        """The data set itself, so that all results of `load` have a `train`."""
        return self

    @property
    def test(self) -> None:
        """None: there is no test set; `split` makes one."""
        return None

    def part(self, name: str) -> Dataset:
        """Return the data set itself, which has no train and test data; see `Splits.part`.

        Parameters
        ----------
        name : {"train", "test", "all"}

        Returns
        -------
        Dataset
        """
        check_part(name)
        return self

    def take(self, rows: np.ndarray) -> Dataset:
        """Return the instances at these row numbers, with the same schema.

        Parameters
        ----------
        rows : integer array of shape (k,), or boolean array of shape (n,)
            `points` are then those that these windows cover.

        Returns
        -------
        Dataset
        """
        rows = np.asarray(rows)
        X = take_rows(self.X, rows)
        y = None if self.y is None else self.y[rows]
        windows = None if self.windows is None else self.windows.take(rows)
        keys = None if self.keys is None else take_rows(self.keys, rows)
        points = None
        if windows is not None and windows.first_position is not None and self.points is not None:
            points, first = self.points.take_windows(windows.first_position)
            windows = replace(windows, first_position=first)
        return replace(
            self,
            X=X,
            y=y,
            windows=windows,
            keys=keys,
            rows=self.row_numbers()[rows],
            points=points,
        )

    def instances(self) -> Instances:
        """Return the instances with labels, kind and names, as estimators take them.

        Returns
        -------
        Instances
        """
        stored = as_instances(self.X)
        if stored.encoded:
            return stored
        of_series = self.channel_names, self.kind, self.points, self.schema.step
        groups = None if self.windows is not None else self.groups
        return InMemory(self.X, self.name, self.y, *of_series, self.place, groups)

    def row_numbers(self) -> np.ndarray:
        """Return the number of each instance in its source, counting from 0.

        Returns
        -------
        int array of shape (n,)
        """
        return np.arange(len(self)) if self.rows is None else self.rows

    def place(self, row: int, step: int | None = None) -> str:
        """Return where an instance is in its source, in words.

        Parameters
        ----------
        row : int
            Its position in `X`.
        step : int, optional
            Of a series, the time step.

        Returns
        -------
        str
        """
        number = int(self.row_numbers()[row])
        if self.kind != "series":
            found = None if self.file_of is None else self.file_of(number)
            return in_file(describe_row(number, self._line(number)), found)
        first_position = None if self.windows is None else self.windows.first_position
        if step is not None and first_position is not None and self.points is not None:
            at = int(self.points.rows[first_position[row] + step])
            return describe_row(at, self._line(at))
        words = f"window {number}" + ("" if step is None else f", time step {step}")
        words += ", counting from 0"
        if self.windows is None or step is None:
            return words
        first, last = int(self.windows.first_row[row]), int(self.windows.last_row[row])
        if last - first + 1 != self.schema.shape[0]:  # rows of other groups lie between
            return words
        return with_line(f"{words}: row {first + step} of the table", self._line(first + step))

    def _line(self, row: int) -> int | None:
        return None if self.line_of is None else self.line_of(row)

    def reading_facts(self) -> dict[str, Any]:
        """Return `reading` under that name, empty where nothing was left out or changed.

        Returns
        -------
        dict
        """
        return {"reading": self.reading} if self.reading else {}

    def take_range(self, rows: slice | str) -> Dataset:
        """Return a range of the instances.

        Parameters
        ----------
        rows : slice or str
            Such as `slice(100, 200)` or "100:200", counting from 0.

        Returns
        -------
        Dataset

        Raises
        ------
        DataError
            When it is no range, or there is no instance in it.
        """
        chosen = np.arange(len(self))[as_range(rows)]
        if len(chosen) == 0:
            raise DataError(
                f"rows={shown(rows)} names none of the {len(self)} instances of {self.name}"
            )
        ends = {"first": int(chosen[0]), "last": int(chosen[-1]), "n": len(chosen)}
        return replace(self.take(chosen), reading={**(self.reading or {}), "rows": ends})

    def identifiers(self) -> pd.DataFrame:
        """Return the columns that identify the instances: those of windows, then the keys.

        Returns
        -------
        DataFrame of shape (n, k)
            With a `RangeIndex`. Without either it is `row`, the number in the source, for some of
            its instances; for all of them k is 0.

        Examples
        --------
        >>> data = Dataset(np.eye(2), keys=pd.DataFrame({"part": ["007", "7"]}))
        >>> data.take(np.array([1])).identifiers()
          part
        0    7
        """
        columns = [pd.DataFrame(index=pd.RangeIndex(len(self)))]
        if self.windows is not None:
            columns.append(self.windows.to_frame())
        if self.keys is not None:
            # The keys of windows of a stream say where these are, too.
            known = columns[-1].columns
            columns.append(self.keys.drop(columns=known, errors="ignore").reset_index(drop=True))
        named = set() if self.keys is None else set(self.keys.columns)
        if self.windows is None and not named - {*self.group_columns} and self.rows is not None:
            columns.append(pd.DataFrame({"row": self.rows}))
        return pd.concat(columns, axis=1)

    def split(self, test_fraction: float = 0.2, random_state: int | None = None) -> Splits:
        """Split into a training and a test set.

        Windows of a long table are split by groups, or by time within each group, and
        training windows that share a row with a test window are dropped: see
        `isthmus.data.windows.split_windows`. Other data is split at random. The split
        is stratified by class when every class has at least two instances and both sets can
        hold an instance of each class. The order of the instances is unchanged.

        Parameters
        ----------
        test_fraction : float in (0, 1)
        random_state : int or None

        Returns
        -------
        Splits

        Raises
        ------
        DataError
            When there are too few instances for both sets.
        """
        if self.windows is not None:
            train_rows, test_rows = split_windows(self.windows, test_fraction, random_state, self.y)
            return Splits(self.take(train_rows), self.take(test_rows))
        from sklearn.model_selection import train_test_split

        stratify = None
        if self.y is not None:
            counts = pd.Series(self.y).value_counts(dropna=False)
            n_test = round(len(self) * test_fraction)
            if counts.min() >= 2 and len(counts) <= min(n_test, len(self) - n_test):
                stratify = pd.factorize(self.y, use_na_sentinel=False)[0]
        try:
            train, test = train_test_split(
                np.arange(len(self)),
                test_size=test_fraction,
                random_state=random_state,
                stratify=stratify,
            )
        except ValueError as error:
            raise DataError(
                f"cannot set {test_fraction:.0%} of {len(self)} instances aside; "
                "expected a fraction between 0 and 1 that leaves instances in both parts"
            ) from error
        return Splits(self.take(np.sort(train)), self.take(np.sort(test)))


@dataclass(frozen=True, eq=False)
class Splits:
    """A training set and a test set of the same data.

    Attributes
    ----------
    train, test : Dataset
        Both with instances of the same shape.

    Raises
    ------
    DataError
        When the instances of the two differ in kind or shape.

    Examples
    --------
    >>> data = Dataset(np.arange(40.0).reshape(20, 2), y=np.arange(20) % 2)
    >>> splits = data.split(0.25, random_state=0)
    >>> len(splits.train), len(splits.test), len(splits.part("all"))
    (15, 5, 20)
    """

    train: Dataset
    test: Dataset
    in_memory: ClassVar[Literal[True]] = True

    def __post_init__(self) -> None:
        if self.train.schema.shape != self.test.schema.shape:
            raise DataError(
                f"training instances have shape {self.train.schema.shape}, "
                f"test instances {self.test.schema.shape}; expected the same in both"
            )

    @property
    def window_label(self) -> str | None:
        """The rule for labels of windows, see `load`."""
        return self.train.window_label

    def part(self, name: str) -> Dataset:
        """Return the training data, the test data, or both.

        Parameters
        ----------
        name : {"train", "test", "all"}
            `"all"` is the training part followed by the test part.

        Returns
        -------
        Dataset
        """
        check_part(name)
        if name != "all":
            return self.train if name == "train" else self.test
        train, test = self.train, self.test
        if isinstance(train.X, pd.DataFrame):
            X = pd.concat([train.X, test.X], ignore_index=True)
        else:
            X = np.concatenate([train.X, test.X])
        y = keys = None
        if train.y is not None and test.y is not None:
            y = np.concatenate([train.y, test.y])
        if train.keys is not None and test.keys is not None:
            keys = pd.concat([train.keys, test.keys], ignore_index=True)
        return Dataset(
            X, y, train.schema, train.class_names, train.name, keys=keys, reading=train.reading
        )

    @property
    def name(self) -> str:
        """Source of the data."""
        return self.train.name

    @property
    def kind(self) -> Kind:
        """`"images"`, `"series"` or `"table"`."""
        return self.train.kind

    @property
    def schema(self) -> Schema:
        """The schema of the training data."""
        return self.train.schema

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes, from the training labels."""
        return self.train.class_names


def distinct_names(y: np.ndarray) -> tuple[str, ...]:
    """Return the sorted distinct labels as text; missing ones and empty text are left out.

    Examples
    --------
    >>> distinct_names(np.array([2.0, np.nan, 1.0])), distinct_names(np.array(["nut", ""]))
    (('1', '2'), ('nut',))
    """
    y = np.asarray(y)
    labelled = y[MISSING.has_label(y)]
    try:
        distinct = list(pd.unique(pd.Series(labelled)))
    except TypeError:  # no labels at all, such as lists
        distinct = factorize_labels(labelled)[0]
    try:
        distinct.sort()
    except TypeError:  # numbers and text together
        distinct.sort(key=str)
    return tuple(label_text(label) for label in distinct)
