"""`isthmus advise`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from isthmus.cli.commands import whole_or_auto
from isthmus.cli.data_options import DEFAULTS, DataOptions, warnings_as_lines, with_option_groups
from isthmus.cli.options import (
    Data,
    Head,
    Json,
    Recipe,
    Seed,
    console_for,
    write_json_facts,
)
from isthmus.errors import DataError


@with_option_groups
def advise(
    data: Data,
    widths: Annotated[
        str, typer.Option("--widths", help="Widths to compare, such as 8,16,32; or auto.")
    ] = "auto",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File for a plot: NAME.png; NAME.svg is written beside it."
        ),
    ] = None,
    recipe: Recipe = "fast",
    max_epochs: Annotated[str, typer.Option(help="Maximum number of epochs.")] = "auto",
    n_labels: Annotated[
        str, typer.Option(help="Number of labels to fit the head on; auto is ten per class.")
    ] = "auto",
    n_draws: Annotated[int, typer.Option(help="Number of random draws of these labels.")] = 5,
    head: Head = "linear",
    max_rows: Annotated[
        str, typer.Option(help="Maximum number of instances, drawn at random; auto is 10000.")
    ] = "auto",
    seed: Seed = 0,
    reading: DataOptions = DEFAULTS,
    json: Json = None,
) -> None:
    """Compare widths of the code (--n-components), and recommend one.

    For each width, and for PCA of that width, prints what is measured on instances held out from
    DATA (from its training part, where it has two parts): the squared reconstruction error, the
    share of variance explained and, with labels, the accuracy of a head fitted on a few of them.
    Instances without a label, or with -1, are only reconstructed.

    The recommended width is the narrowest whose accuracy is within one standard error of the
    best; without labels, the knee of the reconstruction error.
    """
    chosen = _widths(widths)
    if output is not None:
        from isthmus._core import require
        from isthmus.cli.results import check_suffix

        check_suffix(output, ".png", ".svg")
        # Refused before minutes of training.
        require("matplotlib", extra="report", purpose="drawing pictures")
    console = console_for(json)
    train = reading.read(data, sample=True).train
    from isthmus.evaluation import advise as advise_on

    with warnings_as_lines():
        advice = advise_on(
            train,
            widths=chosen,
            recipe=recipe,
            max_epochs=whole_or_auto("--max-epochs", max_epochs),
            n_labels=whole_or_auto("--n-labels", n_labels),
            n_draws=n_draws,
            head=head,
            max_rows=whole_or_auto("--max-rows", max_rows),
            random_state=seed,
            verbose=True,
        )
    console.print(advice.summary(), soft_wrap=True)
    facts: dict[str, Any] = {"dataset": train.name} | advice.to_dict()
    facts["output"] = None
    if output is not None:
        from isthmus.plots import plot_widths, save_figure

        written = save_figure(plot_widths(advice), output.parent, output.stem)
        facts["output"] = [str(path) for path in written]
        console.print(f"picture {' and '.join(facts['output'])}", soft_wrap=True)
    words = ["fit", data, "-o", "BUNDLE", "--n-components", str(advice.n_components)]
    words += reading.for_later_files(same=True)
    console.print(f"next    isthmus {shlex.join(words)}", soft_wrap=True)
    write_json_facts(json, facts)


def _widths(text: str) -> list[int] | Literal["auto"]:
    if text == "auto":
        return "auto"
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() for part in parts):
        raise DataError(f"got --widths {text}, expected whole numbers such as 8,16,32, or auto")
    return [int(part) for part in parts]
