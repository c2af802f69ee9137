"""`isthmus suggest`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.data_options import AS_IT_COMES, Reading, reads_data
from isthmus.cli.options import BundlePath, Data, Json, Part, console_for, write_json_facts

if TYPE_CHECKING:
    import pandas as pd


@reads_data
def suggest(
    bundle: BundlePath,
    data: Data,
    n: Annotated[int, typer.Option("-n", "--number", min=1, help="How many rows.")] = 20,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File for the rows: .csv or .parquet.")
    ] = None,
    head: Annotated[str | None, typer.Option(help="Name of the head; the one fitted last.")] = None,
    part: Part = "train",
    reading: Reading = AS_IT_COMES,
    json: Json = None,
) -> None:
    """Say which rows to look at next: those in doubt, and unlike each other.

    A line a row, the most informative first. row: its number in DATA, counting from 0. For a
    detector anomaly_score, p_value and, as the reason, what the network rebuilds worst, with
    its share. For a classifier doubt, 1 less the gap between the two likeliest classes, and
    these as the reason. --label leaves that column out.
    """
    from isthmus.cli.results import check_suffix, write_table

    if output is not None:
        check_suffix(output, ".csv", ".parquet")
    instances = reading.read(data, bundle).part(part)
    from isthmus.bundle import load_bundle

    table = load_bundle(bundle).head(head).suggestions(instances.X, n)
    if instances.windows is not None:
        import pandas as pd

        where = instances.windows.take(table["row"].to_numpy())
        table = pd.concat([where.to_frame(), table], axis=1)
    console = console_for(json)
    console.print(f"{len(table):,} of {len(instances):,} rows to look at, counting from 0")
    for text in _lines(table):
        console.print(text, soft_wrap=True, markup=False)
    if output is not None:
        write_table(output, table)
        console.print(f"rows in {output}", soft_wrap=True)
    plain = [_plain(row) for row in table.astype(object).to_dict("records")]
    facts: dict[str, Any] = {"n": len(table), "rows": plain}
    write_json_facts(json, facts | {"output": None if output is None else str(output)})


def _lines(table: pd.DataFrame) -> list[str]:
    return table.to_string(index=False, float_format=lambda value: f"{value:.4f}").splitlines()


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    """Return a row as JSON can hold it: NumPy's numbers as Python's, times as text."""
    values = {name: getattr(value, "item", lambda v=value: v)() for name, value in row.items()}
    simple = str | int | float | None
    return {n: value if isinstance(value, simple) else str(value) for n, value in values.items()}
