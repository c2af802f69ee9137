"""Output of the demo: text on the console, and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from isthmus import plots
from isthmus.autoencoder import Autoencoder
from isthmus.classification import CodeClassifier
from isthmus.data import Dataset
from isthmus.errors import MissingExtraError
from isthmus.evaluation import IN_WORDS


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
    """Flatten heads and baselines to one row for each pair of features and head."""
    tested = {"code": facts["heads"]}
    for name, found in facts["baselines"].items():
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


METRICS = {
    "bce": "binary cross-entropy per pixel",
    "mse": "mean squared error of standardised columns",
}


def print_data(console: Console, facts: dict[str, Any]) -> None:
    """Shapes, label shares, first labels."""
    shape = " x ".join(str(side) for side in facts["input_shape"])
    _heading(console, f"1  The data: {facts['dataset']}")
    console.print(f"training {facts['kind']:<8} {facts['n_train']:>7,} of {shape}")
    console.print(f"test {facts['kind']:<12} {facts['n_test']:>7,} of {shape}")
    shares = facts["label_share"]
    if not shares["train"]:
        console.print("no labels: a code can be learned, heads need some labels")
        return
    if len(shares["train"]) <= 20:
        table = Table(box=None, pad_edge=False)
        table.add_column("label")
        for label in shares["train"]:
            table.add_column(label, justify="right")
        for part in ("train", "test"):
            cells = [f"{100 * shares[part].get(label, 0):.1f} %" for label in shares["train"]]
            table.add_row(f"share in {part}", *cells)
        console.print(table)
    else:
        console.print(f"{len(shares['train'])} classes")
    for part in ("train", "test"):
        labels = " ".join(str(label) for label in facts["first_labels"][part])
        console.print(f"first {part} labels: {labels}")


def print_training(console: Console, encoder: Autoencoder, facts: dict[str, Any]) -> None:
    """Print the layers, how training went, and the reconstruction error."""
    n_values = encoder.schema_.n_features
    width = encoder.n_components_
    _heading(console, f"2  A code without labels: {n_values} values -> {width}")
    console.print(encoder.summary())
    last = encoder.history_[-1]
    kept = encoder.history_[encoder.best_epoch_ - 1]
    value = kept.get("validation_loss", kept["train_loss"])
    part = "validation" if "validation_loss" in kept else "training"
    console.print(
        f"{last['epoch']} epochs, {sum(r['seconds'] for r in encoder.history_):.1f} s; kept epoch "
        f"{encoder.best_epoch_} ({part} loss {value:.4f})"
    )
    found = facts["reconstruction"]
    console.print(
        f"reconstruction error, {METRICS[found['metric']]}: "
        f"train {found['train']:.4f}, test {found['test']:.4f}"
    )


def print_freeze(console: Console, facts: dict[str, Any]) -> None:
    """Print both digests."""
    _heading(console, "3  The encoder is frozen")
    frozen = facts["frozen"]
    console.print(f"SHA-256 before the heads  {frozen['digest_before']}")
    console.print(f"SHA-256 after the heads   {frozen['digest_after']}")
    console.print("unchanged" if frozen["unchanged"] else "CHANGED: do not trust what follows")


def print_heads(console: Console, facts: dict[str, Any]) -> None:
    """Print heads beside baselines in one table, and the first predictions."""
    if not facts["heads"]:
        return
    _heading(console, f"4  Test accuracy of heads, on {facts['n_test']:,} test {facts['kind']}")
    table = Table(box=None, pad_edge=False)
    table.add_column("features")
    for head in facts["heads"]:
        table.add_column(f"{head} head", justify="right")
    table.add_row(
        f"frozen code ({facts['n_components']})",
        *(_accuracy(found) for found in facts["heads"].values()),
        style="bold",
    )
    for name, found in facts["baselines"].items():
        by_head = found.get("heads", {})
        cells = [_accuracy(by_head[head]) if head in by_head else "" for head in facts["heads"]]
        if not by_head:
            cells[-1] = _accuracy(found)
        table.add_row(IN_WORDS[name], *cells)
    console.print(table)
    console.print("(in brackets: 95 % interval; --baselines all fills the table)")
    console.print(_verdict(facts))
    first = " ".join(str(label) for label in facts["first_predictions"])
    true = " ".join(str(label) for label in facts["first_labels"]["test"])
    console.print(f"first predictions ({list(facts['heads'])[-1]} head): {first}")
    console.print(f"their true labels:             {true}")


def print_detector(console: Console, facts: dict[str, Any]) -> None:
    """Print how well one class is told from all others, and the false-alarm rate."""
    found = facts["detector"]
    _heading(
        console, f"5  Normal or not, on the same frozen code: {found['normal_class']} is normal"
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("score")
    table.add_column("AUROC", justify="right")
    for name, value in found["scores"].items():
        decides = name == found["method"]
        words = f"{name} (decides)" if decides else name
        table.add_row(words, f"{100 * value:.2f} %", style="bold" if decides else None)
    raw = found["baselines"]["raw"]
    table.add_row("baseline: 5 nearest neighbours on raw values", f"{100 * raw:.2f} %")
    console.print(table)
    rate = found["false_alarm_rate"]
    console.print(
        f"learned from {found['n_train']:,} normal {facts['kind']}, calibrated on "
        f"{found['n_calibration']:,} that nothing had seen"
    )
    console.print(
        f"false-alarm rate asked {rate['asked']:.3g}, realised {rate['realised']:.3g} on "
        f"{rate['n']:,} other normal ones; {100 * found['found']:.1f} % of "
        f"{found['n_abnormal']:,} abnormal ones found"
    )


def print_end(console: Console, facts: dict[str, Any], output: Path, words: str) -> None:
    """Where things are, how long it took, what to run next."""
    _heading(console, f"{6 if 'detector' in facts else 5}  Where things are")
    console.print(f"bundle    {facts['bundle']}", soft_wrap=True)
    if facts["pictures"]:
        console.print(f"pictures  {output / 'plots'} ({len(facts['pictures'])})", soft_wrap=True)
    if facts["report"]:
        console.print(f"report    {facts['report']}", soft_wrap=True)
    console.print(f"numbers   {output / 'demo.json'}", soft_wrap=True)
    times = ", ".join(f"{name} {value:.1f}" for name, value in facts["seconds"].items())
    console.print(f"seconds   {times}")
    console.print("next")
    for line in (
        f"isthmus info {facts['bundle']}",
        f"isthmus evaluate {facts['bundle']} {words}",
        "isthmus fit YOUR_DATA -o YOUR_BUNDLE",
    ):
        console.print(f"  {line}", soft_wrap=True)


def _verdict(facts: dict[str, Any]) -> str:
    """Say whether the code earns its keep under a linear head, also when it does not."""
    code = facts["heads"]["linear"]
    unlabelled = {k: v for k, v in facts["baselines"].items() if k != "supervised"}
    rival = max(unlabelled, key=lambda name: unlabelled[name]["test_accuracy"])
    ahead = 100 * (code["test_accuracy"] - unlabelled[rival]["test_accuracy"])
    low, high = code["interval"]
    other_low, other_high = unlabelled[rival]["interval"]
    clear = low > other_high or high < other_low
    if ahead == 0:
        return f"with a linear head the code is level with the best baseline ({IN_WORDS[rival]})"
    place = "ahead of" if ahead > 0 else "behind"
    how = "and the intervals do not meet" if clear else "within the intervals"
    return (
        f"with a linear head the code is {abs(ahead):.2f} points {place} the best baseline "
        f"({IN_WORDS[rival]}), {how}"
    )


def _accuracy(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    return f"{100 * found['test_accuracy']:.2f} % ({100 * low:.1f}-{100 * high:.1f})"


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(f"[bold]{text}[/bold]")
