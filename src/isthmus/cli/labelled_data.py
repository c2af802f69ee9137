"""Instances or codes that heads are fitted, tested or updated on, and their columns in outputs."""

from __future__ import annotations

import functools
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.data_options import DataOptions, warnings_as_lines
from isthmus.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from isthmus.data import Dataset

LabelsFrom = Annotated[
    Path | None,
    typer.Option(
        "--labels-from",
        help="With stored codes: a .csv or .parquet file with labels (in the column --label) and "
        "the key columns of the codes. Only rows with a label in it are used.",
    ),
]


def _print_stored_rule(console: Console, given: str | None, bundle: Path, head: str | None) -> None:
    """Print whether labels of windows follow the rule that is stored in a bundle."""
    from isthmus.bundle import read_window_label

    stored, _ = read_window_label(bundle, head)
    if stored is not None and given is None:
        console.print(
            f"labels of windows follow the rule stored in {bundle}: {stored}",
            soft_wrap=True,
        )
    elif stored not in (None, given):
        print(
            f"warning: labels of windows follow --window-label {given}, and those that heads of "
            f"{bundle} were fitted on followed {stored}",
            file=sys.stderr,
        )


def read_instances_or_codes(
    reading: DataOptions,
    data: str,
    bundle: Path,
    labels_from: Path | None,
    console: Console,
    *,
    sample: bool = True,
    stream: bool = False,
    normal: str | None = None,
    head: str | None = None,
    by_point: bool | None = None,
) -> Any:
    """Load instances as `DataOptions.read` or, with `stream`, `open` does; or stored codes."""
    from isthmus.data import is_stored_codes

    if not is_stored_codes(data):
        if labels_from is not None:
            raise DataError(
                f"got --labels-from {labels_from}, which is for codes that isthmus encode wrote, "
                f"and {data} holds none; leave it out"
            )
        read = reading.open if stream else functools.partial(reading.read, sample=sample)
        loaded = read(data, bundle, normal=normal, head=head, by_point=by_point)
        if loaded.window_label is not None:
            _print_stored_rule(console, reading.window_label, bundle, head)
        return loaded
    if reading.group:
        raise DataError(
            f"got --group {reading.group[0]}, and {data} holds codes, which have no groups; give "
            "the instances themselves in place of their codes, or in Python the group of each "
            "beside them: fit(load_codes(...), groups=...)"
        )
    from isthmus.data import Dataset, load_codes
    from isthmus.data.formats import read_table

    labels = None if labels_from is None else read_table(labels_from, label=reading.label)[0]
    with warnings_as_lines():
        codes = load_codes(data, label=reading.label, labels=labels)
    console.print(
        f"{data} holds stored codes: {len(codes):,} of them are taken, the encoder is not run",
        soft_wrap=True,
    )
    return Dataset(codes, codes.y, name=data)


def input_columns(data: Dataset, label: str | None) -> pd.DataFrame:
    """Return the columns of a table as they were read, the label last, for an output.

    Parameters
    ----------
    data : Dataset of n rows of a DataFrame
    label : str or None
        Name of the column of labels.

    Returns
    -------
    DataFrame of n rows, with a `RangeIndex`
    """
    columns: pd.DataFrame = data.X.reset_index(drop=True)
    return columns if label is None or data.y is None else columns.assign(**{label: data.y})


def check_detector_labels_of(data: Dataset, normal: str | None) -> None:
    """Check labels for a detector before work begins: an error names the file.

    The fit warns of them, so that nothing does here.
    """
    from isthmus.detection import labels_for_detector

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        labels_for_detector(data, normal)
