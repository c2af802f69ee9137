"""Which part of a data set a command works on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.errors import DataError

if TYPE_CHECKING:
    from isthmus.data import Dataset, Splits

Part = Annotated[
    str, typer.Option("--part", help="Of data with two parts: train, test or all, in that order.")
]


def part_of(data: Dataset | Splits, part: str) -> Dataset:
    """Return the training part, the test part, or both one after the other."""
    if part not in ("train", "test", "all"):
        raise DataError(f"got --part {part}, expected train, test or all")
    if data.test is None:
        return data.train
    if part != "all":
        return data.train if part == "train" else data.test
    import numpy as np
    import pandas as pd

    from isthmus.data import Dataset

    train, test = data.train, data.test
    if isinstance(train.X, pd.DataFrame):
        X = pd.concat([train.X, test.X], ignore_index=True)
    else:
        X = np.concatenate([train.X, test.X])
    both = train.y is not None and test.y is not None
    y = np.concatenate([train.y, test.y]) if both else None
    return Dataset(X, y, train.schema, train.class_names, train.name)


def labelled_part(data: Dataset) -> Dataset:
    """Return the instances that have a label, their labels as numbers or text."""
    import numpy as np

    from isthmus.heads.labels import known_labels, labelled_rows, partial_labels

    y = partial_labels(np.asarray(data.y))
    rows = labelled_rows(y)
    if not len(rows):
        raise DataError(f"none of {len(data):,} rows to test on has a label; label some of them")
    return replace(data.take(rows), y=known_labels(y))
