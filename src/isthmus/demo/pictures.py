"""The demo's pictures: drawn from the same values that it tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from isthmus import plots
from isthmus.autoencoder import Autoencoder
from isthmus.data import Dataset
from isthmus.errors import MissingExtraError
from isthmus.heads import CodeClassifier


def draw_pictures(
    console: Console,
    folder: Path,
    encoder: Autoencoder,
    train: Dataset,
    test: Dataset,
    facts: dict[str, Any],
    classifiers: dict[str, CodeClassifier],
) -> list[str]:
    """Draw every picture as PNG and SVG; return the paths.

    Without matplotlib nothing is drawn, and a line says how to get it.
    """
    try:
        figures = _figures(encoder, train, test, facts, classifiers)
    except MissingExtraError as error:
        console.print(f"no pictures: {error}", soft_wrap=True)
        return []
    paths = []
    for number, (name, figure) in enumerate(figures.items(), start=1):
        paths += plots.save_figure(figure, folder, f"{number}-{name}")
    return [str(path) for path in paths]


def _figures(
    encoder: Autoencoder,
    train: Dataset,
    test: Dataset,
    facts: dict[str, Any],
    classifiers: dict[str, CodeClassifier],
) -> dict[str, Any]:
    names = train.class_names
    figures: dict[str, Any] = {}
    if train.y is not None and test.y is not None:
        figures["label-shares"] = plots.plot_label_shares(train.y, test.y, class_names=names)
    figures["samples"] = plots.plot_samples(train.X, train.y, class_names=names)
    some = test.take(np.arange(min(10, len(test)))).X
    back = encoder.inverse_transform(encoder.transform(some))
    figures["reconstructions"] = plots.plot_reconstructions(
        some, back, errors=encoder.reconstruction_error(some)
    )
    figures["training"] = plots.plot_history(encoder.history_, best_epoch=encoder.best_epoch_)
    if not classifiers or test.y is None:
        return figures
    confusion = facts["confusion"]
    figures["confusion"] = plots.plot_confusion(
        np.asarray(confusion["matrix"]),
        [str(label) for label in confusion["classes"]],
        accuracy=facts["heads"][confusion["head"]]["test_accuracy"],
    )
    head = classifiers[confusion["head"]]
    figures["predictions"] = plots.plot_predictions(
        some,
        np.asarray(facts["first_predictions"]),
        test.y[:10],
        probabilities=head.predict_proba(some).max(axis=1),
    )
    figures["heads"] = plots.plot_heads(_rows(facts))
    return figures


def _rows(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Flatten heads and controls to one row for each pair of features and head."""
    tested = {"code": facts["heads"]}
    for name, found in facts["controls"].items():
        tested[name] = found.get("heads", {"end to end": found})
    return [
        {
            "features": features,
            "head": head,
            "accuracy": found["test_accuracy"],
            "interval": found["interval"],
        }
        for features, by_head in tested.items()
        for head, found in by_head.items()
    ]
