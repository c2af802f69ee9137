"""Groups of instances: of which machine, person or place each one is.

A group is a label by which decisions are calibrated, and no feature. It is compared as text: a
number as it is written without needless decimals, 7 and 7.0 as "7", text as it is. Text that is
written in several ways, such as "7", "7.0" and "007" in one CSV file, names several groups, of
which `warn_of_alike` warns at fit. Later files may write a group in another way than the file of
the fit: a group that was not there at fit is the one that reads as the same number, "007" or "7.0"
for 7, where exactly one does (`match_groups`); where several do, it is none of them. Empty text
stands for no group.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any, cast

import numpy as np
import pandas as pd

from isthmus._core import shown
from isthmus.data.instances import InMemory, Instances, as_instances
from isthmus.data.labels import is_missing, label_text
from isthmus.data.places import joined_chunks
from isthmus.errors import DataError, DataWarning

#: The group of an instance without one.
NO_GROUP = ""
#: The group column of files of images: the name of the folder that each lies in.
FOLDER = "folder"
#: Between the parts of a group that several columns name.
SEPARATOR = ", "
#: A number as text: its sign, whole part without leading zeros, decimals without trailing ones.
NUMBER = re.compile(r"(-?)0*([0-9]+)(?:\.([0-9]*?)0*)?")
#: Groups that a warning names, at most.
MAX_NAMED = 5


def group_text(value: Any) -> str:
    """Return a group as text; a missing one is `NO_GROUP`.

    Parameters
    ----------
    value : hashable
        Of several columns a tuple of their values, which is missing where one of them is.

    Returns
    -------
    str

    Examples
    --------
    >>> group_text(7.0), group_text("pump"), group_text(("north", 2)), group_text(None)
    ('7', 'pump', 'north, 2', '')
    """
    parts = list(value) if isinstance(value, tuple) else [value]
    plain = [one.item() if isinstance(one, np.generic) else one for one in parts]
    if not plain or any(is_missing(one) for one in plain):
        return NO_GROUP
    texts = [label_text(one) for one in plain]
    if len(texts) > 1:  # ("a, b", "c") and ("a", "b, c") are two groups
        texts = [text.replace(",", ",,") for text in texts]
    return SEPARATOR.join(texts)


def as_groups(groups: Any, n_instances: int) -> np.ndarray:
    """Return the groups of instances as text.

    Parameters
    ----------
    groups : array of shape (n,), (n, k), or DataFrame of k columns
        A hashable label for each instance; of k columns all of them together name the group.
    n_instances : int
        n.

    Returns
    -------
    object array of shape (n,)
        Text, empty where the group is missing.

    Raises
    ------
    DataError
        When there is not one group for each instance, or a group is no label.

    Examples
    --------
    >>> as_groups([1.0, "b", None], 3).tolist()
    ['1', 'b', '']
    """
    if isinstance(groups, pd.DataFrame):
        columns = [groups.iloc[:, at].tolist() for at in range(groups.shape[1])]
    else:
        plain = groups.tolist() if hasattr(groups, "tolist") else groups
        rows = list(plain) if isinstance(plain, Sequence) and not isinstance(plain, str) else None
        if rows is None:
            raise DataError(
                f"got groups={shown(groups)}, expected an array with the group of each instance"
            )
        wide = getattr(groups, "ndim", 1) == 2
        columns = [list(column) for column in zip(*rows, strict=True)] if wide else [rows]
    lengths = {len(column) for column in columns} or {0}
    if lengths != {n_instances}:
        raise DataError(
            f"got {n_instances:,} instances and {max(lengths):,} groups; expected one group for "
            "each instance"
        )
    values = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
    texts: dict[Any, str] = {}
    for value in values:
        if not isinstance(value, Hashable):
            raise DataError(
                f"got the group {shown(value)}, expected a label such as text or a number"
            )
        if (type(value), value) not in texts:  # True equals 1, and is another group
            texts[type(value), value] = group_text(value)
    found = np.empty(n_instances, dtype=object)
    found[:] = [texts[type(value), value] for value in values]
    return found


def read_groups(
    X: Any, groups: Any = None, columns: Sequence[str] = ()
) -> tuple[Instances, np.ndarray | None]:
    """Return instances without their group columns, and the group of each.

    Parameters
    ----------
    X : array, DataFrame, Dataset, Stream or StoredCodes of n instances
    groups : array of shape (n,), or name or tuple of names of columns, optional
        Columns are those of a DataFrame, which are then no features, or the keys of a data set.
        By default those that the data set was loaded with, see `isthmus.load`.
    columns : sequence of str
        Names of the columns at fit: without `groups` they are looked for in X, unless it is a data
        set that was loaded with others, and they are no features in any case.

    Returns
    -------
    instances : Instances
    groups : object array of shape (n,), or None
        As `as_groups` gives them; None where nothing says them.

    Raises
    ------
    DataError
        When a column is not there, or there is not one group for each instance.

    Examples
    --------
    >>> frame = pd.DataFrame({"machine": ["a", "b"], "load": [0.5, 0.7]})
    >>> instances, groups = read_groups(frame, "machine")
    >>> instances.held.columns.tolist(), groups.tolist()
    (['load'], ['a', 'b'])
    """
    keys: pd.DataFrame | None = getattr(X, "keys", None)
    keys = keys if isinstance(keys, pd.DataFrame) else None
    # What the data set was loaded with goes before the columns at fit.
    own_columns = getattr(X, "group_columns", ())
    stated = bool(own_columns) and keys is not None and set(own_columns) <= set(keys.columns)
    instances = as_instances(X)
    held = instances.held
    named = _named(groups)
    frame = held if isinstance(held, pd.DataFrame) else None
    if frame is not None and not instances.encoded:
        there = {str(name): name for name in frame.columns}
        found = columns if named is None else named
        own = [there[name] for name in found if name in there]
        if own and len(own) == len(found):
            if named is not None or (groups is None and not stated):
                groups, named = frame[own], None
            instances = replace(cast(InMemory, instances), X=frame.drop(columns=own))
    if named is not None or (groups is None and columns and not stated):
        found = columns if named is None else named
        if keys is not None and set(found) <= set(map(str, keys.columns)):
            groups, named = keys[list(found)], None
    if named is not None:
        raise DataError(
            f"got groups={shown(groups)}, which names no column of {instances.name}; pass an array "
            "with the group of each instance, or load the table with load(..., group=COLUMN) (on "
            "the command line --group COLUMN)"
        )
    if groups is None and keys is not None and stated:  # also of stored codes
        groups = keys[list(own_columns)]
    if groups is None and not instances.in_memory and instances.group_columns:
        parts = (chunk.groups for chunk in instances.chunks(keys=True))
        return instances, joined_chunks(len(instances), (one for one in parts if one is not None))
    if groups is None:
        return instances, instances.groups
    if not instances.in_memory:
        raise DataError(
            f"got groups beside {instances.name}, which is read chunk by chunk; name their column "
            "with load(..., group=COLUMN) (on the command line --group COLUMN)"
        )
    return instances, as_groups(groups, len(instances))


def check_group_columns(groups: Sequence[str], source: Any, *, table: bool, images: bool) -> None:
    """Check that a source has columns, or folders, that can name groups.

    Parameters
    ----------
    groups : sequence of str
        As `isthmus.load` got them.
    source : path, array or the like
    table, images : bool
        Whether it is a table, or image files.

    Raises
    ------
    DataError
        When it has none.
    """
    if not groups or table or (images and tuple(groups) == (FOLDER,)):
        return
    shown_groups = groups[0] if len(groups) == 1 else tuple(groups)
    if images:
        raise DataError(
            f"got group={shown_groups!r}, and files of images have the group {FOLDER!r} alone, the "
            "sub-folder that they lie in; pass that, a Parquet file of images with the column, or "
            "groups= where the detector is fitted"
        )
    raise DataError(
        f"got group={shown_groups!r}, which names a column, and {_name_of(source)} is no table; "
        "pass the group of each instance as groups= where the detector is fitted"
    )


def _name_of(source: Any) -> str:
    return str(source) if isinstance(source, str | os.PathLike) else "the source"


def with_group_columns(data: Any, groups: Sequence[str]) -> Any:
    """Return a data set, or both parts of one, whose key columns of these names are the groups.

    Raises
    ------
    DataError
        When it has no such keys.
    """
    if not groups:
        return data
    if data.test is not None:
        parts = (with_group_columns(part, groups) for part in (data.train, data.test))
        return type(data)(*parts)
    keys = data.keys
    if keys is not None and FOLDER not in keys and tuple(groups) == (FOLDER,) and "file" in keys:
        # The sub-folders are no classes then.
        folders = [PurePath(file).parent.name for file in keys["file"]]
        data = replace(data, y=None, class_names=None, keys=keys.assign(**{FOLDER: folders}))
    elif keys is None or not set(groups) <= set(map(str, keys.columns)):
        raise DataError(
            f"got group={tuple(groups)!r}, and {data.name} has no such columns; leave it out"
        )
    return replace(data, group_columns=tuple(groups))


def _named(groups: Any) -> tuple[str, ...] | None:
    """Return the columns that `groups` names; None where it holds the groups themselves."""
    if isinstance(groups, str):
        return (groups,)
    names = isinstance(groups, tuple) and groups and all(isinstance(one, str) for one in groups)
    return groups if names else None


def group_number(group: str) -> str:
    """Return a group with each number in it as it is written for short, other text as it is.

    Parameters
    ----------
    group : str
        As `group_text` gives it, of one column or several.

    Examples
    --------
    >>> group_number("007"), group_number("7.50"), group_number("north, 02"), group_number("1e3")
    ('7', '7.5', 'north, 2', '1e3')
    """
    parts = []
    for part in group.split(SEPARATOR):
        found = NUMBER.fullmatch(part)
        whole, decimals = (found[1] + found[2], found[3] or "") if found else (part, "")
        parts.append(f"{whole}.{decimals}" if decimals else whole)
    return SEPARATOR.join(parts)


def match_groups(groups: np.ndarray, names: Iterable[str]) -> np.ndarray:
    """Return groups as those at fit are written.

    A group that is not among them is the one that reads as the same number, where exactly one
    does; otherwise it stays as it is.

    Parameters
    ----------
    groups : object array of shape (n,)
        As `as_groups` gives them.
    names : iterable of str
        Groups at fit.

    Returns
    -------
    object array of shape (n,)

    Examples
    --------
    >>> groups = np.array(["007", "7.0", "8", "a", "1.0"], dtype=object)
    >>> match_groups(groups, ["7", "a", "1", "01"]).tolist()
    ['7', '7', '8', 'a', '1.0']
    """
    there, by_number = set(names), dict[str, list[str]]()
    new = {one for one in groups.tolist() if one not in there and one != NO_GROUP}
    if not new:
        return groups
    for name in there:
        by_number.setdefault(group_number(name), []).append(name)
    alike = {one: by_number.get(group_number(one), []) for one in new}
    written = {one: names[0] for one, names in alike.items() if len(names) == 1}
    found = np.empty(len(groups), dtype=object)
    found[:] = [written.get(one, one) for one in groups.tolist()]
    return found


def warn_of_alike(names: Iterable[str]) -> None:
    """Warn of groups at fit that are the same number, written in several ways.

    Parameters
    ----------
    names : iterable of str

    Warns
    -----
    DataWarning
        Which they are, and how they become one.
    """
    by_number: dict[str, list[str]] = {}
    for name in names:
        by_number.setdefault(group_number(name), []).append(name)
    alike = [" and ".join(map(repr, sorted(one))) for one in by_number.values() if len(one) > 1]
    if alike:
        more = f" and {len(alike) - MAX_NAMED} more" if len(alike) > MAX_NAMED else ""
        warnings.warn(
            f"groups that read as one number are written in several ways and are groups of their "
            f"own: {', '.join(alike[:MAX_NAMED])}{more}; write them alike where they are one",
            DataWarning,
            stacklevel=3,
        )


def group_codes(groups: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the sorted names of groups, and the position of each instance's; -1 without one.

    Parameters
    ----------
    groups : object array of shape (n,)

    Returns
    -------
    names : tuple of str
    codes : int array of shape (n,)

    Examples
    --------
    >>> group_codes(np.array(["b", "", "a"], dtype=object))
    (('a', 'b'), array([ 1, -1,  0]))
    """
    names = sorted({one for one in groups.tolist() if one != NO_GROUP})
    position = {name: at for at, name in enumerate(names)} | {NO_GROUP: -1}
    return tuple(names), np.array([position[one] for one in groups.tolist()], dtype=np.int64)
