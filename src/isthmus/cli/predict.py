"""`isthmus predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.common import (
    BundlePath,
    Data,
    DataDir,
    Json,
    Label,
    Resize,
    console_for,
    read_data,
    write_facts,
)
from isthmus.cli.parts import Part, part_of


def predict(
    bundle: BundlePath,
    data: Data,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File for the predictions: .csv or .parquet."),
    ] = None,
    head: Annotated[str | None, typer.Option(help="Name of the head; the one fitted last.")] = None,
    part: Part = "test",
    label: Label = None,
    data_dir: DataDir = None,
    resize: Resize = None,
    json: Json = None,
) -> None:
    """Predict the class of each instance, with its probability.

    --label leaves that column out. Of data with two parts the test part is predicted.
    """
    from isthmus.cli.tables import check_suffix, write_table

    if output is not None:
        check_suffix(output, ".csv", ".parquet")
    X = part_of(read_data(data, data_dir=data_dir, label=label, resize=resize), part).X
    import numpy as np
    import pandas as pd

    from isthmus.bundle import load_bundle

    loaded = load_bundle(bundle)
    classifier = loaded.head(head)
    predicted = classifier.predict(X)
    table = pd.DataFrame({"prediction": predicted})
    if hasattr(classifier, "predict_proba"):
        probabilities = classifier.predict_proba(X)
        table["probability"] = probabilities.max(axis=1)
        for column, name in enumerate(classifier.classes_):
            table[f"probability_{name}"] = probabilities[:, column]
    table["reconstruction_error"] = loaded.encoder.reconstruction_error(X)
    console = console_for(json)
    labels, counts = np.unique(predicted, return_counts=True)
    share = {str(name): int(count) for name, count in zip(labels, counts, strict=True)}
    console.print(
        f"{len(predicted):,} instances: " + ", ".join(f"{k}: {v}" for k, v in share.items())
    )
    console.print("first: " + " ".join(str(value) for value in predicted[:10]))
    facts = {
        "n": len(predicted),
        "counts": share,
        "first_predictions": predicted[:10].tolist(),
        "digest": loaded.encoder.digest_,
        "output": None if output is None else str(output),
    }
    if output is not None:
        write_table(output, table)
        console.print(f"predictions in {output}", soft_wrap=True)
    write_facts(json, facts)
