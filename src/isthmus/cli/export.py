"""`isthmus export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus.cli.data_options import AS_IT_COMES, Reading, reads_data
from isthmus.cli.options import BundlePath, Json, Part, console_for, write_json_facts


@reads_data
def export(
    bundle: BundlePath,
    data: Annotated[
        str | None,
        typer.Argument(
            help="Rows to measure parity on: a name or path, as for `isthmus predict`. Without "
            "any, rows rebuilt from codes that the heads keep."
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for the graph and what is beside it.")
    ] = Path("exported"),
    head: Annotated[
        list[str] | None, typer.Option("--head", help="Export this head alone; may be repeated.")
    ] = None,
    residual: Annotated[
        bool,
        typer.Option(
            "--residual", help="Give the squared residual of each value and the reconstruction too."
        ),
    ] = False,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Write a variant with networks in float16 too.")
    ] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Write a variant with networks in eight bits too.")
    ] = False,
    tolerance: Annotated[
        float, typer.Option(help="Largest deviation from the library, relative to the value.")
    ] = 1e-4,
    known: Annotated[
        int,
        typer.Option(
            min=0,
            help="Keep so many of the rows of the data, with their labels, in known.npz. Without, "
            "known.npz holds none of them, but codes that the heads keep, rebuilt.",
        ),
    ] = 0,
    part: Part = "all",
    reading: Reading = AS_IT_COMES,
    json: Json = None,
) -> None:
    """Write the whole decision, from raw instance to verdict, as one ONNX graph.

    Beside model.onnx come predict.py, which needs numpy and onnxruntime and nothing else, a
    README.md, and known.npz with instances that a new one may be compared with.

    Every output of the graph is compared with the library's on all rows of the data. The export
    fails when one is off by more than --tolerance, or a decision differs for a row that is not
    as near to its threshold; then nothing is written.
    """
    console = console_for(json)
    rows: Any = None
    if data is not None:
        loaded = reading.read(data, bundle, sample=True)
        rows = loaded.part(part)
    from isthmus.export import export_bundle, parity_lines

    variants = [name for name, asked in (("fp16", fp16), ("int8", int8)) if asked]
    with console.status("exporting"):
        facts = export_bundle(
            bundle,
            output,
            rows,
            head,
            residual=residual,
            variants=variants,
            tolerance=tolerance,
            known=known,
        )
    names = ", ".join(one["name"] for one in facts["outputs"])
    console.print(f"outputs      {names}", markup=False)
    for line in parity_lines(facts):
        console.print(line, markup=False, soft_wrap=True)
    for name, speed in facts["rows_per_second"].items():
        size = facts["files"][name]
        console.print(f"{name:<18}{size / 1e6:8.2f} MB{speed:12,.0f} rows/s", markup=False)
        if name in facts["variants"]:
            for line in parity_lines({"parity": facts["variants"][name]}):
                console.print(f"  {line}", markup=False, soft_wrap=True)
    console.print(f"known        {_known(facts['known'])}", markup=False)
    console.print(f"exported     {output}", markup=False)
    write_json_facts(json, facts)


def _known(known: dict[str, Any] | None) -> str:
    if known is None:
        return "none: no head keeps codes, and no rows were to be kept (--known)"
    if known["rebuilt"]:
        return f"{known['n']:,} rebuilt from codes that heads keep"
    return f"{known['n']:,} of the rows given; they are in known.npz"
