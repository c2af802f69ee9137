"""`isthmus suggest`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.data_options import DEFAULTS, DataOptions, warnings_as_lines, with_option_groups
from isthmus.cli.options import BundlePath, Data, Json, Part, console_for, write_json_facts

if TYPE_CHECKING:
    import pandas as pd


@with_option_groups
def suggest(
    bundle: BundlePath,
    data: Data,
    n: Annotated[int, typer.Option("-n", "--number", min=1, help="Number of rows.")] = 20,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File for the rows: .csv or .parquet.")
    ] = None,
    head: Annotated[
        str | None, typer.Option(help="Name of the head; by default the one fitted last.")
    ] = None,
    part: Part = "train",
    reading: DataOptions = DEFAULTS,
    json: Json = None,
) -> None:
    """List the rows that are most worth labelling next: uncertain, and unlike each other.

    Prints a line for each row, the most informative first. row is its number in DATA, counting
    from 0. For a detector the columns are anomaly_score, p_value and, as the reason, the value
    with the largest residual and its share. For a classifier they are doubt, 1 minus the gap
    between the probabilities of the two likeliest classes, and these classes as the reason. The
    column --label is no feature.
    """
    from isthmus.cli.results import check_suffix, write_table

    if output is not None:
        check_suffix(output, ".csv", ".parquet")
    instances = reading.read(data, bundle).part(part)
    from isthmus.bundle import load_bundle
    from isthmus.data import with_identifiers

    with warnings_as_lines():
        table = load_bundle(bundle).head(head).suggestions(instances.X, n)
    rows = table["row"].to_numpy()
    table["row"] = instances.row_numbers()[rows]
    identifiers = instances.identifiers().iloc[rows]
    if instances.keys is None:
        identifiers = identifiers.drop(columns="row", errors="ignore")
    table = with_identifiers(identifiers, table)
    console = console_for(json)
    console.print(f"{len(table):,} of {len(instances):,} rows to look at, counting from 0")
    for text in _lines(table):
        console.print(text, soft_wrap=True, markup=False)
    if output is not None:
        write_table(output, table)
        console.print(f"rows in {output}", soft_wrap=True)
    plain = [_plain(row) for row in table.astype(object).to_dict("records")]
    facts: dict[str, Any] = {"n": len(table), "rows": plain} | instances.reading_facts()
    write_json_facts(json, facts | {"output": None if output is None else str(output)})


def _lines(table: pd.DataFrame) -> list[str]:
    return table.to_string(index=False, float_format=lambda value: f"{value:.4f}").splitlines()


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    """Return a row as plain values for JSON: numbers of Python, times as text."""
    values = {name: getattr(value, "item", lambda v=value: v)() for name, value in row.items()}
    simple = str | int | float | None
    return {n: value if isinstance(value, simple) else str(value) for n, value in values.items()}
