"""Which part of a data set a command works on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.errors import DataError

if TYPE_CHECKING:
    from isthmus.data import Dataset

Part = Annotated[
    str, typer.Option("--part", help="Of data with two parts: train, test or all, in that order.")
]


def labelled_part(data: Dataset) -> Dataset:
    """Return the instances that have a label, their labels as numbers or text."""
    import numpy as np

    from isthmus.heads.labels import known_labels, labelled_rows, partial_labels

    y = partial_labels(np.asarray(data.y))
    rows = labelled_rows(y)
    if not len(rows):
        raise DataError(f"none of {len(data):,} rows to test on has a label; label some of them")
    return replace(data.take(rows), y=known_labels(y))
