"""`isthmus evaluate`."""

from __future__ import annotations

from typing import Annotated

import typer

from isthmus.cli.common import (
    BundlePath,
    Data,
    DataDir,
    Json,
    Label,
    Resize,
    Seed,
    console_for,
    read_data,
    write_facts,
)
from isthmus.cli.parts import part_of
from isthmus.errors import DataError


def evaluate(
    bundle: BundlePath,
    data: Data,
    head: Annotated[str | None, typer.Option(help="Name of the head; the one fitted last.")] = None,
    label: Label = None,
    train: Annotated[
        str | None,
        typer.Option(help="What the head was fitted on, for the controls; path or name."),
    ] = None,
    controls: Annotated[
        str, typer.Option(help="none, fast or all; they need training data.")
    ] = "none",
    seed: Seed = 0,
    data_dir: DataDir = None,
    resize: Resize = None,
    json: Json = None,
) -> None:
    """Test a bundle's head on labelled instances.

    Of data with two parts the test part is used, and the training part for the controls.
    """
    console = console_for(json)
    options = {"data_dir": data_dir, "label": label, "resize": resize}
    loaded = read_data(data, **options)  # type: ignore[arg-type]
    test = part_of(loaded, "test")
    if test.y is None:
        raise DataError(f"{data} has no labels; name the column with --label COLUMN")
    fitted_on = None if loaded.test is None else loaded.train
    if train is not None:
        fitted_on = read_data(train, **options).train  # type: ignore[arg-type]
    if controls != "none" and fitted_on is None:
        raise DataError(
            "controls are fitted on the training instances; name them with --train, or leave "
            "--controls out"
        )
    from isthmus import evaluation
    from isthmus.bundle import load_bundle
    from isthmus.cli.telling import print_evaluation

    loaded_bundle = load_bundle(bundle)
    found = evaluation.evaluate(
        loaded_bundle.head(head),
        test.X,
        test.y,
        X_train=None if fitted_on is None else fitted_on.X,
        y_train=None if fitted_on is None else fitted_on.y,
        controls=None if controls == "none" else controls,
        random_state=seed,
        verbose=True,
    )
    print_evaluation(console, found)
    write_facts(json, found | {"digest": loaded_bundle.encoder.digest_})
