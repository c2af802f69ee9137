"""`isthmus report`."""

from __future__ import annotations

import json as json_files
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus._core import return_freed_memory
from isthmus.cli.data_options import AS_IT_COMES, Reading, print_sampling, reads_data
from isthmus.cli.options import BundlePath, Json, Seed, console_for, write_json_facts
from isthmus.errors import DataError


@reads_data
def report(
    bundle: BundlePath,
    data: Annotated[
        str | None,
        typer.Argument(help="What to look at: a name or path, as for `isthmus evaluate`."),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The page; .json and .md go beside it.")
    ] = Path("report.html"),
    normal: Annotated[
        str | None,
        typer.Option("--normal", help="Label that means normal, for detectors: others are not."),
    ] = None,
    head: Annotated[
        str, typer.Option(help="Of the chapter that compares code and baselines.")
    ] = "linear",
    baselines: Annotated[
        str, typer.Option(help="none, fast or all; they need data with a training part.")
    ] = "fast",
    split: Annotated[
        float | None,
        typer.Option(help="Share of data with one part that is set aside for testing."),
    ] = None,
    earlier: Annotated[
        Path | None, typer.Option(help="An earlier bundle, to say what has changed since.")
    ] = None,
    advice: Annotated[
        Path | None, typer.Option(help="What `isthmus advise --json` wrote, on the width.")
    ] = None,
    plots: Annotated[
        bool, typer.Option("--plots", help="Write each picture as PNG and SVG too.")
    ] = False,
    seed: Seed = 0,
    reading: Reading = AS_IT_COMES,
    json: Json = None,
) -> None:
    """Write one page on a bundle: the data, the code, what it is worth, heads, what changed.

    The page needs no network and nothing beside it. Without data it tells of the encoder alone.
    Heads decide on the test part of data that has two, else on all of it. Of data read chunk by
    chunk it shows and describes 20,000 rows drawn at random, and says so; heads decide on all.
    """
    console = console_for(json)
    loaded = None
    if data is not None:
        loaded = reading.open(data, bundle)
        if split is not None and not loaded.in_memory:
            print_sampling(loaded)
    from isthmus.report import write_report

    with console.status("reading the bundle") as status:

        def tell(words: str) -> None:
            return_freed_memory()  # of the chapter before
            status.update(words)

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
            tell=tell,
        )
    console.print(facts["summary"], markup=False)
    console.print(f"report       {output}", markup=False)
    write_json_facts(json, facts)


def _read_advice(path: Path) -> Any:
    try:
        return json_files.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"cannot read {path} ({error}); write it with: isthmus advise DATA --json {path}"
        ) from error
