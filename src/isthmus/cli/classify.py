"""`isthmus classify`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.data_options import (
    AS_IT_COMES,
    LabelsFrom,
    Reading,
    holds_codes,
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
    labelled_part,
    write_json_facts,
)
from isthmus.errors import DataError

if TYPE_CHECKING:
    from isthmus.data import Dataset, Splits


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
    from isthmus.classification import CodeClassifier, check_labels, uses_unlabelled
    from isthmus.cli.results import print_evaluation
    from isthmus.evaluation import evaluate

    partial = uses_unlabelled(head)
    y = check_labels(loaded.train.y, len(loaded.train.X), unlabelled=partial)
    if partial and loaded.test is None:
        loaded = replace(loaded.train, y=y)
    splits = _splits(loaded, test_fraction, seed)
    baselines = "none" if holds_codes(splits) else baselines
    if partial:
        splits = replace(splits, test=labelled_part(splits.test))
    encoder = load_bundle(bundle).encoder
    classifier = CodeClassifier(encoder, head, random_state=seed)
    classifier.fit(splits.train.X, splits.train.y)
    found = evaluate(
        classifier,
        splits.test.X,
        splits.test.y,
        X_train=splits.train.X,
        y_train=splits.train.y,
        baselines=None if baselines == "none" else baselines,
        random_state=seed,
        verbose=True,
    )
    if loaded.test is None:
        classifier.fit(loaded.train.X, loaded.train.y)
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
    beside = f" and {classifier.n_unlabelled_:,} unlabelled rows" if partial else ""
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
            "n_unlabelled": classifier.n_unlabelled_,
            "bundle": str(bundle),
            "frozen": {
                "encoder_digest": classifier.encoder_digest_,
                "unchanged": classifier.encoder_digest_ == classifier.encoder_.digest_,
            },
        },
    )


def _splits(loaded: Dataset | Splits, test_fraction: float, seed: int) -> Splits:
    from isthmus.data import Dataset

    if isinstance(loaded, Dataset):
        return loaded.split(test_fraction, random_state=seed)
    if loaded.test.y is None:
        raise DataError("the test part has no labels; pass labelled data")
    return loaded
