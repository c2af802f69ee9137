"""`isthmus classify`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from isthmus.cli.data_options import (
    AS_IT_COMES,
    LabelsFrom,
    Reading,
    read_instances_or_codes,
    reads_data,
)
from isthmus.cli.options import (
    BundlePath,
    Data,
    Head,
    Json,
    Seed,
    console_for,
    write_json_facts,
)
from isthmus.errors import DataError


@reads_data
def classify(
    bundle: BundlePath,
    data: Data,
    head: Head = "linear",
    name: Annotated[
        str | None, typer.Option(help="Name of the head in the bundle; the head's own.")
    ] = None,
    test_fraction: Annotated[
        float, typer.Option(help="Share of the labels held out to measure the head.")
    ] = 0.2,
    baselines: Annotated[str, typer.Option(help="none, fast or all.")] = "fast",
    labels_from: LabelsFrom = None,
    seed: Seed = 0,
    reading: Reading = AS_IT_COMES,
    json: Json = None,
) -> None:
    """Fit a head on the codes of labelled instances, and add it to the bundle.

    The head is measured first: fitted on one part of the labels and tested on the other
    (the data's own test part where it has one, else --test-fraction held out), beside its
    baselines. Then, without a test part of its own, it is fitted on all labels and saved.
    Windows of a long table are held out by group or by time, none sharing a row with another
    part.

    DATA may be codes that isthmus encode wrote as .parquet: the encoder is not run, and there are
    no baselines, which need the instances.

    With --head spreading rows with an empty label cell (or -1) are learned from too; the head is
    measured on labelled rows alone.
    """
    console = console_for(json)
    loaded = read_instances_or_codes(reading, data, bundle, labels_from, console)
    if loaded.train.y is None:
        raise DataError(f"{data} has no labels; name the column with --label COLUMN")
    from isthmus.bundle import add_head, load_bundle
    from isthmus.classification import uses_unlabelled
    from isthmus.cli.results import print_evaluation
    from isthmus.evaluation import fit_and_evaluate

    classifier, found = fit_and_evaluate(
        load_bundle(bundle).encoder,
        loaded,
        head,
        test_fraction=test_fraction,
        baselines=None if baselines == "none" else baselines,
        random_state=seed,
        verbose=True,
    )
    stored = name or head
    metrics: dict[str, Any] = {
        "test_accuracy": found["code"]["accuracy"],
        "interval": found["code"]["interval"],
        "test_loss": found["code"]["log_loss"],
        "n_test": found["code"]["n"],
        "n_labels": classifier.n_labels_,
    }
    add_head(bundle, stored, classifier, metrics=metrics)
    print_evaluation(console, found)
    n_unlabelled = classifier.n_unlabelled_
    beside = f" and {n_unlabelled:,} unlabelled rows" if uses_unlabelled(head) else ""
    console.print(
        f"head {stored!r}, fitted on {classifier.n_labels_:,} labels{beside}, is in {bundle}",
        soft_wrap=True,
    )
    write_json_facts(
        json,
        found
        | {
            "name": stored,
            "n_labels": classifier.n_labels_,
            "n_unlabelled": n_unlabelled,
            "bundle": str(bundle),
            "frozen": {
                "encoder_digest": classifier.encoder_digest_,
                "unchanged": classifier.encoder_digest_ == classifier.encoder_.digest_,
            },
        },
    )
