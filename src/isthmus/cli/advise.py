"""`isthmus advise`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from isthmus.cli.data_options import AS_IT_COMES, Reading, reads_data, warnings_as_lines
from isthmus.cli.options import (
    Data,
    Head,
    Json,
    Recipe,
    Seed,
    console_for,
    whole_or_auto,
    write_json_facts,
)
from isthmus.errors import DataError


@reads_data
def advise(
    data: Data,
    widths: Annotated[
        str, typer.Option("--widths", help="Widths to try, such as 8,16,32; or auto.")
    ] = "auto",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Picture: NAME.png, and NAME.svg beside it."),
    ] = None,
    recipe: Recipe = "fast",
    max_epochs: Annotated[str, typer.Option(help="Most passes over the data.")] = "auto",
    n_labels: Annotated[
        str, typer.Option(help="Labels that the head gets; auto is ten a class.")
    ] = "auto",
    n_draws: Annotated[int, typer.Option(help="How often these labels are drawn anew.")] = 5,
    head: Head = "linear",
    max_rows: Annotated[
        str, typer.Option(help="Instances used at most, drawn at random; auto is 10000.")
    ] = "auto",
    seed: Seed = 0,
    reading: Reading = AS_IT_COMES,
    json: Json = None,
) -> None:
    """Advise on the width of the code, --n-components: try several, and PCA beside them.

    Prints a line for each width, measured on instances held out from DATA (from its training
    part, where there are two): the squared error of reconstructions, the share of the
    variance that they keep and, with labels, the accuracy after a few of them. Instances
    without a label, or with -1, are only reconstructed.

    Recommended is the narrowest width whose accuracy is within one standard error of the
    best; without labels, the knee of the error.
    """
    chosen = _widths(widths)
    if output is not None:
        from isthmus._core import require
        from isthmus.cli.results import check_suffix

        check_suffix(output, ".png", ".svg")
        # Said now, and not after minutes of training.
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
    console.print(advice.summary(), soft_wrap=True, markup=False)
    facts: dict[str, Any] = {"dataset": train.name} | advice.to_dict()
    facts["output"] = None
    if output is not None:
        from isthmus.plots import plot_widths, save_figure

        written = save_figure(plot_widths(advice), output.parent, output.stem)
        facts["output"] = [str(path) for path in written]
        console.print(f"picture {' and '.join(facts['output'])}", soft_wrap=True)
    source = shlex.quote(data)
    console.print(
        f"next    isthmus fit {source} -o BUNDLE --n-components {advice.n_components}",
        soft_wrap=True,
        markup=False,
    )
    write_json_facts(json, facts)


def _widths(text: str) -> list[int] | Literal["auto"]:
    if text == "auto":
        return "auto"
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() for part in parts):
        raise DataError(f"got --widths {text}, expected whole numbers such as 8,16,32, or auto")
    return [int(part) for part in parts]
