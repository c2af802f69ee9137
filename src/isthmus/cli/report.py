"""`isthmus report`."""

from __future__ import annotations

import json as json_files
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus._core import require, return_freed_memory
from isthmus.bundle import read_normal
from isthmus.cli.data_options import (
    DEFAULTS,
    DataOptions,
    print_sampling,
    warnings_as_lines,
    with_option_groups,
)
from isthmus.cli.options import (
    BundlePath,
    Json,
    Normal,
    Seed,
    console_for,
    window_label_facts,
    write_json_facts,
)
from isthmus.errors import DataError


@with_option_groups
def report(
    bundle: BundlePath,
    data: Annotated[
        str | None,
        typer.Argument(help="Data to report on: a name or path, as for isthmus evaluate."),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="File for the page; the same as .json and .md is written beside it.",
        ),
    ] = Path("report.html"),
    normal: Normal = None,
    head: Annotated[
        str,
        typer.Option(help="Head that is fitted on the code and on the baselines, to compare them."),
    ] = "linear",
    baselines: Annotated[
        str,
        typer.Option(
            help="Baselines to compare with: none, fast or all. They need a training part."
        ),
    ] = "fast",
    split: Annotated[
        float | None,
        typer.Option(help="Share of the data to hold out for testing, where it has no test part."),
    ] = None,
    earlier: Annotated[
        Path | None, typer.Option(help="An earlier bundle, to report what has changed since.")
    ] = None,
    advice: Annotated[
        Path | None,
        typer.Option(help="JSON of isthmus advise, to report on the width of the code."),
    ] = None,
    plots: Annotated[
        bool, typer.Option("--plots", help="Also write each plot as PNG and SVG.")
    ] = False,
    seed: Seed = 0,
    reading: DataOptions = DEFAULTS,
    json: Json = None,
) -> None:
    """Write a report on a bundle as one HTML page.

    It covers the data, the code, the comparison with baselines, the heads, and what has changed
    since the fit. The page needs no network and no other file. Without data it covers the encoder
    alone. Heads are tested on the test part of data with two parts, otherwise on all of it. Of data
    read in chunks 20,000 rows drawn at random are described and shown, and heads are tested on
    all rows.
    """
    for module in ("jinja2", "matplotlib"):  # before data is read
        require(module, extra="report", purpose="writing a report")
    console = console_for(json)
    loaded = None
    if data is not None:
        meant = read_normal(bundle, detects=True) if normal is None else normal
        loaded = reading.open(data, bundle, normal=meant)
        if split is not None and not loaded.in_memory:
            print_sampling(loaded)
    from isthmus.report import write_report

    with console.status("reading the bundle") as status, warnings_as_lines():

        def show(step: str) -> None:
            return_freed_memory()  # of the chapter before
            status.update(step)

        facts = write_report(
            bundle,
            output,
            loaded,
            test_fraction=split,
            normal=normal,
            head=head,
            baselines=None if baselines == "none" else baselines,
            seed=seed,
            earlier=earlier,
            advice=None if advice is None else _read_advice(advice),
            command=f"isthmus {shlex.join(sys.argv[1:])}",
            plots=plots,
            on_progress=show,
        )
    console.print(facts["summary"])
    console.print(f"report       {output}")
    write_json_facts(json, facts | window_label_facts(console, loaded))


def _read_advice(path: Path) -> Any:
    try:
        return json_files.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"cannot read {path} ({error}); write it with: isthmus advise DATA --json {path}"
        ) from error
