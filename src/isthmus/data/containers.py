"""Tables and arrays of other libraries, as DataFrames of pandas and arrays of NumPy.

Tables are converted with their column names: those of polars, pyarrow, modin and cuDF, and arrays
with named fields. Masked cells are missing values. Tensors and datasets of torch become arrays.
What has its values elsewhere, or no values in rows and columns, is refused with the call that
gives a table or an array.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
import pandas as pd

from isthmus.errors import DataError

#: Up to here a float64 holds every whole number.
MAX_EXACT_INTEGER = 2**53
#: Bytes up to which a dataset of torch is read into memory.
LARGEST_DATASET = 8 * 2**30
_EXPECTED = "expected an array (n, m), DataFrame, tensor or Stream"
# Calls that give a DataFrame, as various libraries name them. PySpark's `collect` gives a list.
_CALLS = ("toPandas", "compute", "to_pandas", "to_pandas_df", "df", "collect", "to_dataframe")


def as_array_or_frame(X: Any) -> Any:
    """Return a table or array of another library as pandas or NumPy holds it.

    Parameters
    ----------
    X : Any

    Returns
    -------
    DataFrame, array or `X` itself
        A table with column names becomes a DataFrame with the same names; a masked array of rows
        and columns has NaN (None among objects) where it is masked; an array, or a list of rows,
        in which there is text becomes a DataFrame; tensors and map-style datasets of torch become
        arrays. Anything else is returned unchanged.

    Raises
    ------
    DataError
        When `X` is sparse, a lazy table, a dataset of torch that cannot be read in order, or holds
        masked cells in images or series; with the call that gives values in memory.

    Examples
    --------
    >>> as_array_or_frame(np.array([(1, 2.5)], dtype=[("a", int), ("b", float)]))
       a    b
    0  1  2.5
    >>> as_array_or_frame(np.ma.masked_equal([[1, -9], [2, 3]], -9))
    array([[ 1., nan],
           [ 2.,  3.]])
    """
    if isinstance(X, pd.DataFrame | pd.Series | str | bytes | os.PathLike):
        return X
    if isinstance(X, np.ndarray):
        return _mixed_table(_plain_array(X))
    torch = sys.modules.get("torch")  # nobody has a tensor without it
    if isinstance(X, list | tuple):
        if torch is not None and any(isinstance(row, torch.Tensor) for row in X):
            return [tensor_values(row) if isinstance(row, torch.Tensor) else row for row in X]
        if any(isinstance(row, np.ma.MaskedArray) for row in X):
            return _plain_array(np.ma.stack(X))
        return _mixed_table(X)
    if torch is not None:
        if isinstance(X, torch.Tensor):
            return tensor_values(X)
        if _is_dataset(X):
            return with_labels(X)[0]
    if hasattr(X, "toarray") or hasattr(X, "todense"):
        raise DataError(
            f"got a sparse {type(X).__name__}, expected a dense array; sparse instances are not "
            f"supported, pass {'X.toarray()' if hasattr(X, 'toarray') else 'X.todense()'}"
        )
    return _table_by_name(X)


def with_labels(X: Any) -> tuple[Any, Any]:
    """Return what `as_array_or_frame` does, and the labels of a dataset of torch.

    Returns
    -------
    X : DataFrame, array or `X` itself
    y : list or array of shape (n,), or None
        The second of each pair, where all are a number, text, True or False; None otherwise, and
        of anything but a dataset or `DataLoader` of torch.

    Raises
    ------
    DataError
        As `as_array_or_frame` does.
    """
    if not _is_dataset(X):
        return as_array_or_frame(X), None
    from torch.utils.data import DataLoader

    return _read_dataset(_dataset_of(X) if isinstance(X, DataLoader) else X)


def _is_dataset(X: Any) -> bool:
    """Return whether X is a dataset or a `DataLoader` of torch."""
    torch = sys.modules.get("torch")  # nobody has one without it
    if torch is None:
        return False
    return isinstance(X, torch.utils.data.DataLoader | torch.utils.data.Dataset)


def _mixed_table(X: Any) -> Any:
    """Return an array or list of rows with text in it as a DataFrame, others unchanged."""
    if isinstance(X, pd.DataFrame):
        return X
    if isinstance(X, np.ndarray):
        if X.ndim != 2 or X.dtype.kind not in "OU":
            return X
        rows: Any = X.tolist()
    else:
        rows = X
        if not all(isinstance(row, list | tuple) for row in rows):
            return X
    if not any(isinstance(cell, str) for row in rows for cell in row):
        return X
    # Each column gets the type of its own cells.
    frame = pd.DataFrame(X if isinstance(X, np.ndarray) else rows, dtype=object)
    return pd.DataFrame({name: column_of_objects(frame[name]) for name in frame})


def arrow_to_frame(table: Any, exact: Collection[str] = ()) -> pd.DataFrame:
    """Turn an Arrow table into a DataFrame that keeps types where values are missing.

    Parameters
    ----------
    table : pyarrow.Table
    exact : collection of str
        Columns of decimal numbers that stay such, as those of keys do: databases write long
        numbers as decimals, which a float would round. Those of other columns become floats.

    Returns
    -------
    DataFrame of shape (n, m)
        Integers and truth values with missing ones in pandas' nullable types.

    Examples
    --------
    >>> import pyarrow as pa
    >>> frame = arrow_to_frame(pa.table({"serial": [2**53 + 1, None], "ok": [True, None]}))
    >>> frame["serial"][0], frame["ok"][0]
    (np.int64(9007199254740993), np.True_)
    """
    import pyarrow as pa

    for position, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type) and field.name not in exact:
            column = table.column(position).cast(pa.float64())
            table = table.set_column(position, field.name, column)
    frame = table.to_pandas(types_mapper={pa.bool_(): pd.BooleanDtype()}.get)
    if frame.columns.is_unique:
        for field, column in zip(table.schema, table.columns, strict=True):
            missing = pa.types.is_integer(field.type) and column.null_count
            if missing and field.name in frame.columns:
                frame[field.name] = _nullable_integers(column).set_axis(frame.index)
    return frame


def _nullable_integers(column: Any) -> pd.Series:
    """Return Arrow integers of which some are missing without a detour by floats."""
    import pyarrow as pa

    name = f"{'U' if pa.types.is_unsigned_integer(column.type) else ''}Int{column.type.bit_width}"
    return column.to_pandas(types_mapper={column.type: pd.api.types.pandas_dtype(name)}.get)


def column_of_objects(values: Sequence[Any] | np.ndarray | pd.Series) -> pd.Series:
    """Return Python values, None or NaN where one is missing, as a column of their common type.

    Integers stay what they are: beside a missing one or a fraction none becomes a float that
    differs from it.

    Examples
    --------
    >>> column_of_objects([2**53 + 1, None]).tolist()
    [9007199254740993, <NA>]
    >>> column_of_objects([1, None, 0.5]).tolist()
    [1.0, nan, 0.5]
    """
    column = pd.Series(values, dtype=object)
    missing = column.isna()
    present = column[~missing]
    integers = [one for one in present if isinstance(one, int) and not isinstance(one, bool)]
    if missing.any() and integers and len(integers) == len(present):
        try:
            return column.where(~missing, None).astype("Int64")
        except (OverflowError, TypeError, ValueError):  # more than 64 bits
            return column
    if len(integers) < len(present) and any(abs(one) > MAX_EXACT_INTEGER for one in integers):
        return column
    return column.infer_objects()


def check_rows(X: Any) -> Any:
    """Check that an object can be read as instances, two to four dimensions, and return it.

    Raises
    ------
    DataError
        When it is a path, an iterator, a mapping, a number, or of other dimensions.
    """
    if isinstance(X, str | bytes | os.PathLike):
        raise DataError(
            f"got the path {X!r}, expected instances; read them first: "
            f"isthmus.load({os.fspath(X)!r}).train.X"
        )
    if isinstance(X, Iterator):
        raise DataError(
            f"got a {type(X).__name__}, which can be read only once, expected an array; pass "
            "numpy.stack(list(X)), or files that isthmus.load opens as a Stream"
        )
    if isinstance(X, Mapping) and not hasattr(X, "shape"):
        raise DataError(f"got a {type(X).__name__}, expected a table; pass pandas.DataFrame(X)")
    if isinstance(X, list | tuple):
        try:
            shape: tuple[int, ...] | None = np.shape(X)
        except ValueError as error:
            raise DataError(
                f"got a {type(X).__name__} of {len(X)} rows with different lengths, expected as "
                "many values in each; fill them up, or leave some rows out"
            ) from error
    else:
        shape = getattr(X, "shape", None)
        if shape is None and hasattr(X, "__array__"):
            shape = np.asarray(X).shape
    if shape is None and (not hasattr(X, "__len__") or isinstance(X, Set)):
        raise DataError(f"got X={X!r}, a {type(X).__name__}; {_EXPECTED}")
    if getattr(getattr(X, "dtype", None), "kind", None) == "c":
        raise DataError(
            f"got instances of dtype {X.dtype}, expected real numbers (Complex data not "
            "supported); pass X.real, or both parts: numpy.concatenate([X.real, X.imag], axis=-1)"
        )
    if shape is not None and not 2 <= len(shape) <= 4:
        raise DataError(
            f"got instances of shape {tuple(shape)}, expected (n, m) for tables, (n, h, w) or "
            f"(n, h, w, c) for images, or (n, t, c) for series; {_reshaped(X, len(shape))}"
        )
    return X


def tensor_values(tensor: Any) -> np.ndarray:
    """Return a tensor's values as an array, without its gradients."""
    if tensor.is_meta:
        raise DataError("got a tensor on the device meta, which has no values; move the data")
    if not tensor.is_floating_point() or tensor.dtype.itemsize >= 4:
        exact = tensor
    else:
        exact = tensor.float()  # NumPy has no bfloat16
    values: np.ndarray = exact.detach().to_dense().cpu().resolve_conj().resolve_neg().numpy()
    return values


def _plain_array(X: np.ndarray) -> Any:
    """Return an array without mask and named fields."""
    if X.dtype.names is not None:
        if X.ndim != 1:
            raise DataError(
                f"got an array with named fields of shape {X.shape}, expected (n,), a record for "
                "each instance; use X.ravel() where each is one"
            )
        columns = {name: _plain_array(X[name]) for name in X.dtype.names}
        wide = next((name for name, column in columns.items() if np.ndim(column) != 1), None)
        if wide is not None:
            raise DataError(
                f"the field {wide!r} holds several values in each record, expected one; pass a "
                "DataFrame with a column for each"
            )
        return pd.DataFrame(columns)
    if not isinstance(X, np.ma.MaskedArray):
        return X if X.dtype.isnative else X.astype(X.dtype.newbyteorder("="))
    if not np.ma.is_masked(X):
        return _plain_array(np.asarray(X.data))
    if X.ndim > 2:
        masked = np.ma.getmaskarray(X).reshape(len(X), -1).any(axis=1)
        raise DataError(
            f"{int(masked.sum())} of {len(X)} instances of shape {X.shape[1:]} hold masked values, "
            f"the first is instance {int(masked.argmax())}, counting from 0; images and series may "
            "miss none: fill them, or leave those instances out, "
            f"X[~X.mask.any(axis={tuple(range(1, X.ndim))})]"
        )
    if X.dtype.kind in "biuf":
        return np.ma.filled(X.astype(X.dtype if X.dtype.kind == "f" else np.float64), np.nan)
    if X.dtype.kind == "M":
        return X.filled(np.datetime64("NaT"))
    return np.ma.filled(X.astype(object), None)


def _table_by_name(X: Any) -> Any:
    """Return an eager dataframe as one of pandas; refuse a lazy one."""
    if isinstance(X, Mapping | Set | Iterator | int | float | complex) or X is None:
        return X
    import narwhals as nw

    pyarrow = sys.modules.get("pyarrow")
    if pyarrow is not None and isinstance(X, pyarrow.RecordBatch):
        X = pyarrow.Table.from_batches([X])
    table = nw.from_native(X, pass_through=True)
    if isinstance(table, nw.DataFrame):
        names = [str(name) for name in table.columns]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise DataError(f"more than one column is called {twice!r}; give each its own name")
        frame = table.to_pandas()
        for column in table.iter_columns():
            if column.dtype.is_integer() and column.null_count():
                frame[column.name] = _nullable_integers(column.to_arrow())
        return frame
    if isinstance(table, nw.LazyFrame) or _is_table_elsewhere(X):
        call = next((name for name in _CALLS if callable(getattr(X, name, None))), None)
        if call is not None:
            raise DataError(
                f"got a {type(X).__module__}.{type(X).__qualname__}, whose rows are not in memory, "
                f"expected a DataFrame or an array; pass X.{call}()"
            )
    return X


def _is_table_elsewhere(X: Any) -> bool:
    """Return whether an object has columns, and no values of its own."""
    members = dir(type(X))
    return "__array__" not in members and any(
        name in members for name in ("columns", "column_names", "schema", "data_vars")
    )


def _dataset_of(loader: Any) -> Any:
    """Return the dataset of a DataLoader whose batches are its instances, each once."""
    from torch.utils import data

    dataset, sampler = loader.dataset, loader.sampler
    unchanged = loader.collate_fn in (data.default_collate, data.default_convert)
    ordered = isinstance(sampler, data.SequentialSampler)
    shuffled = isinstance(sampler, data.RandomSampler) and not sampler.replacement
    if not unchanged or not (ordered or shuffled) or isinstance(dataset, data.IterableDataset):
        odd = "its own collate_fn" if not unchanged else f"a {type(sampler).__name__}"
        odd = "an IterableDataset" if isinstance(dataset, data.IterableDataset) else odd
        raise DataError(
            f"got a DataLoader with {odd}, expected one that gives each instance of its dataset "
            "once; pass its instances as one array: numpy.concatenate([batch[0] for batch in "
            "loader]) where batches are (instances, labels)"
        )
    if shuffled:
        warnings.warn(
            "got a DataLoader that shuffles: its dataset is read in its own order, so that row i "
            "of any result is of loader.dataset[i]; pass loader.dataset",
            stacklevel=3,
        )
    return dataset


def _read_dataset(dataset: Any) -> tuple[np.ndarray, Any]:
    """Return the instances of a map-style dataset of torch, in order, as one array, and labels.

    Labels are the second of pairs, see `with_labels`. Images with the channels first, as torch has
    them, become (n, h, w, c), and (n, h, w) with one channel.
    """
    from torch.utils import data

    if isinstance(dataset, data.TensorDataset):
        y = tensor_values(dataset.tensors[1]) if len(dataset.tensors) == 2 else None
        labelled = y is not None and y.size == len(y)
        return _channels_last(tensor_values(dataset.tensors[0])), y if labelled else None
    name = type(dataset).__name__
    get: Callable[[int], Any] = dataset.__getitem__
    try:
        n = len(dataset)
        item = get(0) if n else None
        first = _instance(item, name) if n else None
    except (TypeError, NotImplementedError) as error:
        raise DataError(
            f"got a {name}, whose instances have no number, expected a dataset with __len__ and "
            "__getitem__; pass numpy.stack([instance for instance in dataset])"
        ) from error
    if first is None:
        raise DataError(f"got a {name} without instances, expected at least one")
    if n * first.nbytes > LARGEST_DATASET:
        raise DataError(
            f"got a {name} of {n:,} instances, which take {n * first.nbytes / 2**30:,.1f} GiB, "
            f"expected at most {LARGEST_DATASET / 2**30:g} GiB; write them to .npy or .parquet "
            "files and pass isthmus.load of their folder, which reads them chunk by chunk"
        )
    values = np.empty((n, *first.shape), first.dtype)
    labels = []
    for at in range(n):
        item = item if at == 0 else get(at)
        one = first if at == 0 else _instance(item, name)
        labels += _label(item)
        if one.shape != first.shape or not np.can_cast(one.dtype, first.dtype, "same_kind"):
            raise DataError(
                f"instance {at} of the {name} is {one.dtype} of shape {one.shape}, expected "
                f"{first.dtype} of shape {first.shape} as the first; make all alike in the dataset"
            )
        values[at] = one
    return _channels_last(values), labels if len(labels) == n else None


def _instance(item: Any, name: str) -> np.ndarray:
    """Return the instance of an item of a dataset: itself, or the first of a pair."""
    one = item[0] if isinstance(item, tuple | list) and np.ndim(item[0]) > 0 else item
    if type(one).__name__ == "Tensor":
        return tensor_values(one)
    values = None if isinstance(one, str | bytes | Mapping) else np.asarray(one)
    if values is None or values.dtype.kind not in "biuf" or values.ndim == 0:
        raise DataError(
            f"got a {name} whose items are of type {type(item).__name__}, expected tensors, or "
            "pairs of a tensor and a label; pass numpy.stack([item[...] for item in dataset])"
        )
    return values


def _label(item: Any) -> list[Any]:
    """Return the label of an item of a dataset in a list, which is empty where there is none."""
    if not isinstance(item, tuple | list) or len(item) != 2 or np.ndim(item[0]) == 0:
        return []
    one = item[1]
    if type(one).__name__ == "Tensor" and one.ndim == 0:
        one = one.item()
    return [one] if one is None or isinstance(one, str | bool | int | float | np.generic) else []


def _channels_last(values: np.ndarray) -> np.ndarray:
    if values.ndim != 4 or values.shape[1] not in (1, 3, 4) or values.shape[3] <= 4:
        return values
    return values[:, 0] if values.shape[1] == 1 else np.moveaxis(values, 1, -1)


def _reshaped(X: Any, n_dimensions: int) -> str:
    if n_dimensions == 0:
        return "pass rows of values, also where there is one"
    if isinstance(X, pd.Series):
        return "pass X.to_frame() if it is one column, X.to_frame().T if it is one instance"
    if n_dimensions == 1:
        return (
            "Reshape your data by X.reshape(-1, 1) if it is one column, by X.reshape(1, -1) if it "
            "is one instance"
        )
    return (
        "take the frames of videos and the slices of volumes as instances, "
        "X.reshape(-1, *X.shape[2:]), or all values as a row, X.reshape(len(X), -1)"
    )


def as_plain_array(source: Any) -> np.ndarray:
    """Return an array of numbers given in any form, such as lists of lists.

    Raises
    ------
    DataError
        When it is none.
    """
    try:
        values = np.asarray(source)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"cannot make an array of the {type(source).__name__} given; "
            "expected rows of numbers, all of the same length"
        ) from error
    if values.ndim == 0:
        raise DataError(f"got {source!r:.60}, expected a name, a path, an array or a DataFrame")
    return values
