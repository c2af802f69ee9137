"""Stored codes where a command takes instances, and labels that came later."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.reading import Reading, warnings_as_lines
from isthmus.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console

LabelsFrom = Annotated[
    Path | None,
    typer.Option(
        "--labels-from",
        help="With stored codes: a .csv or .parquet with the labels (their column is --label) and "
        "the codes' key columns. Only rows that have a label there are taken.",
    ),
]


def read_instances_or_codes(
    reading: Reading,
    data: str,
    bundle: Path,
    labels_from: Path | None,
    console: Console,
    *,
    sample: bool = True,
    stream: bool = False,
) -> Any:
    """Load data as `Reading.read` does, or leave a stream as it is; stored codes as a data set."""
    from isthmus.data.code_files import is_stored_codes

    if not is_stored_codes(data):
        if labels_from is not None:
            raise DataError(
                f"got --labels-from {labels_from}, which is for codes that isthmus encode wrote, "
                f"and {data} holds none; leave it out"
            )
        return reading.open(data, bundle) if stream else reading.read(data, bundle, sample=sample)
    from isthmus.data import Dataset, load_codes
    from isthmus.data.tables import read_table

    labels = None if labels_from is None else read_table(labels_from)
    with warnings_as_lines():
        codes = load_codes(data, label=reading.label, labels=labels)
    console.print(
        f"{data} holds stored codes: {len(codes):,} of them are taken, the encoder is not run",
        soft_wrap=True,
        markup=False,
    )
    return Dataset(codes, codes.y, name=data)


def holds_codes(data: Any) -> bool:
    """Return whether a data set is of stored codes."""
    from isthmus.data.instances import as_instances

    return as_instances(data.train.X).encoded
