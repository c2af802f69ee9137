"""`isthmus export`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus._core import require
from isthmus.cli.data_options import DEFAULTS, DataOptions, with_option_groups
from isthmus.cli.options import (
    BundlePath,
    Json,
    Part,
    console_for,
    window_label_facts,
    write_json_facts,
)


@with_option_groups
def export(
    bundle: BundlePath,
    data: Annotated[
        str | None,
        typer.Argument(
            help="Rows to measure parity on: a name or path, as for isthmus predict. By default "
            "reconstructions of codes stored by the heads."
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for the graph and the files beside it.")
    ] = Path("exported"),
    head: Annotated[
        list[str] | None, typer.Option("--head", help="Export only this head; may be repeated.")
    ] = None,
    residual: Annotated[
        bool,
        typer.Option(
            "--residual",
            help="Also output the reconstruction, and the squared residual of each value.",
        ),
    ] = False,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Also write a variant with networks in float16.")
    ] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Also write a variant with networks in int8.")
    ] = False,
    tolerance: Annotated[
        float, typer.Option(help="Maximum relative deviation from the library.")
    ] = 1e-4,
    known: Annotated[
        int,
        typer.Option(
            min=0,
            help="Number of rows of DATA to write, with their labels, into known.npz. With 0 it "
            "holds reconstructions of codes stored by the heads.",
        ),
    ] = 0,
    part: Part = "all",
    reading: DataOptions = DEFAULTS,
    json: Json = None,
) -> None:
    """Export a bundle as one ONNX graph, from the raw instance to the decision.

    Beside model.onnx it writes predict.py, which needs only numpy and onnxruntime, a README.md,
    and known.npz with reference instances to compare new ones with.

    Every output of the graph is compared with that of the library on all rows of the data. The
    export fails, and writes nothing, when an output deviates by more than --tolerance, or a
    decision differs for a row whose score is not within it of the threshold.
    """
    for module in ("onnx", "onnxruntime"):  # before data is read
        require(module, extra="onnx", purpose="exporting")
    console = console_for(json)
    rows: Any = None
    loaded: Any = None
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
    console.print(f"outputs      {names}", soft_wrap=True)
    for line in parity_lines(facts):
        console.print(line, soft_wrap=True)
    for name, speed in facts["rows_per_second"].items():
        size = facts["files"][name]
        console.print(f"{name:<18}{size / 1e6:8.2f} MB{speed:12,.0f} rows/s")
        if name in facts["variants"]:
            for line in parity_lines({"parity": facts["variants"][name]}):
                console.print(f"  {line}", soft_wrap=True)
    console.print(f"references   {_known(facts['known'])}", soft_wrap=True)
    console.print(f"exported     {output}", soft_wrap=True)
    script = shlex.join(["python", str(output / "predict.py")])
    rows_file = "NEW.csv" if facts["schema"]["columns"] else "NEW.npy"
    console.print(f"next         {script} {rows_file} decisions.csv", soft_wrap=True)
    console.print(f"or           {shlex.join(['isthmus', 'serve', str(output)])}", soft_wrap=True)
    write_json_facts(json, facts | window_label_facts(console, loaded))


def _known(known: dict[str, Any] | None) -> str:
    if known is None:
        return "none: no codes are stored by the heads, and no rows were requested (--known)"
    if known["rebuilt"]:
        return f"{known['n']:,} instances, rebuilt from codes that heads store, in known.npz"
    return f"{known['n']:,} of the rows given, in known.npz"
