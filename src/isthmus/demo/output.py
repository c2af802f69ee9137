"""Output of the demo: text on the console, pictures, and the report."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from isthmus import plots
from isthmus._core import return_freed_memory
from isthmus.autoencoder import Autoencoder
from isthmus.classification import CodeClassifier
from isthmus.data import Dataset, Splits
from isthmus.errors import MissingExtraError
from isthmus.evaluation import BASELINE_TITLES
from isthmus.report import write_report


def draw_pictures(
    console: Console,
    folder: Path,
    encoder: Autoencoder,
    train: Dataset,
    test: Dataset,
    facts: dict[str, Any],
    classifiers: dict[str, CodeClassifier],
) -> list[str]:
    """Write every figure as PNG and SVG, and return the paths.

    Without matplotlib nothing is written, and the console shows how to install it.
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
    first = test.take(np.arange(min(10, len(test)))).X
    reconstructed = encoder.inverse_transform(encoder.transform(first))
    figures["reconstructions"] = plots.plot_reconstructions(
        first, reconstructed, errors=encoder.reconstruction_error(first)
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
        first,
        np.asarray(facts["first_predictions"]),
        test.y[:10],
        probabilities=head.predict_proba(first).max(axis=1),
    )
    figures["heads"] = plots.plot_heads(_accuracy_rows(facts))
    return figures


def _accuracy_rows(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the accuracies as rows, one for each pair of features and head."""
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


#: Units of the reconstruction error, by loss.
METRICS = {
    "bce": "binary cross-entropy per pixel",
    "mse": "mean squared error of standardised columns",
}


def print_data(console: Console, facts: dict[str, Any]) -> None:
    """Print shapes, label shares and the first labels."""
    shape = " x ".join(str(side) for side in facts["input_shape"])
    print_heading(console, f"1  The data: {facts['dataset']}")
    console.print(f"training {facts['kind']:<8} {facts['n_train']:>7,} of {shape}")
    console.print(f"test {facts['kind']:<12} {facts['n_test']:>7,} of {shape}")
    shares = facts["label_share"]
    if not shares["train"]:
        console.print("no labels: only the code is learned, because heads need labels")
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
    """Print the layers, the training result and the reconstruction error."""
    n_values = encoder.schema_.n_features
    width = encoder.n_components_
    print_heading(console, f"2  A code without labels: {n_values} values -> {width}")
    console.print(encoder.summary())
    last = encoder.history_[-1]
    best = encoder.history_[encoder.best_epoch_ - 1]
    value = best.get("validation_loss", best["train_loss"])
    part = "validation" if "validation_loss" in best else "training"
    console.print(
        f"{last['epoch']} epochs, {sum(r['seconds'] for r in encoder.history_):.1f} s; best epoch "
        f"{encoder.best_epoch_} ({part} loss {value:.4f})"
    )
    found = facts["reconstruction"]
    console.print(
        f"reconstruction error, {METRICS[found['metric']]}: "
        f"train {found['train']:.4f}, test {found['test']:.4f}"
    )


def print_freeze(console: Console, facts: dict[str, Any]) -> None:
    """Print the encoder digest before and after the heads were fitted."""
    print_heading(console, "3  The encoder is frozen")
    frozen = facts["frozen"]
    console.print(f"SHA-256 before the heads  {frozen['digest_before']}")
    console.print(f"SHA-256 after the heads   {frozen['digest_after']}")
    console.print(
        "unchanged" if frozen["unchanged"] else "CHANGED: the results below are not valid"
    )


def print_heads(console: Console, facts: dict[str, Any]) -> None:
    """Print the accuracy of heads on code and baselines, and the first predictions."""
    if not facts["heads"]:
        return
    print_heading(
        console, f"4  Test accuracy of heads, on {facts['n_test']:,} test {facts['kind']}"
    )
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
        table.add_row(BASELINE_TITLES[name], *cells)
    console.print(table)
    console.print("(in brackets: 95 % interval; --baselines all measures every cell)")
    console.print(_compare_with_baselines(facts))
    first = " ".join(str(label) for label in facts["first_predictions"])
    true = " ".join(str(label) for label in facts["first_labels"]["test"])
    console.print(f"first predictions ({list(facts['heads'])[-1]} head): {first}")
    console.print(f"their true labels:             {true}")


def _class_in_words(facts: dict[str, Any]) -> str:
    """Return the class that is normal: "digit 0" of data sets of digits, else "class NAME"."""
    kind = "digit" if facts["dataset"] in ("digits", "mnist") else "class"
    return f"{kind} {facts['detector']['normal_class']}"


def print_detector(console: Console, facts: dict[str, Any]) -> None:
    """Print how well the detector separates one class from the others, and its false alarms."""
    found = facts["detector"]
    print_heading(
        console,
        f"5  Normal or not, on the same frozen code (normal: {_class_in_words(facts)})",
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("score")
    table.add_column("AUROC", justify="right")
    for name, value in found["scores"].items():
        decides = name == found["method"]
        title = f"{name} (decides)" if decides else name
        table.add_row(title, f"{100 * value:.2f} %", style="bold" if decides else None)
    raw = found["baselines"]["raw"]
    table.add_row("baseline: 5 nearest neighbours on raw values", f"{100 * raw:.2f} %")
    console.print(table)
    rate = found["false_alarm_rate"]
    n_false = round(rate["realised"] * rate["n"])
    console.print(
        f"fitted on {found['n_train']:,} normal {facts['kind']}, calibrated on "
        f"{found['n_calibration']:,} held-out ones"
    )
    console.print(
        f"found {round(found['found'] * found['n_abnormal']):,} of {found['n_abnormal']:,} "
        f"abnormal ones ({100 * found['found']:.1f} %); {n_false:,} "
        f"false alarm{'s' * (n_false != 1)} of {rate['n']:,} other normal ones "
        f"({100 * rate['realised']:.3g} %, "
        f"accepted {100 * rate['asked']:.3g} %)"
    )


def print_end(console: Console, facts: dict[str, Any], output: Path, data_argument: str) -> None:
    """Print the paths written, the run times and commands to run next."""
    print_heading(console, f"{6 if 'detector' in facts else 5}  Files")
    console.print(f"bundle    {facts['bundle']}", soft_wrap=True)
    if facts["pictures"]:
        console.print(f"pictures  {output / 'plots'} ({len(facts['pictures'])})", soft_wrap=True)
    if facts["report"]:
        console.print(f"report    {facts['report']}", soft_wrap=True)
    console.print(f"numbers   {output / 'demo.json'}", soft_wrap=True)
    times = ", ".join(f"{name} {value:.1f}" for name, value in facts["seconds"].items())
    console.print(f"seconds   {times}")
    console.print("next")
    bundle = shlex.quote(str(facts["bundle"]))
    for line in (
        f"isthmus info {bundle}",
        *([f"isthmus evaluate {bundle} {data_argument}"] if facts["heads"] else []),
        "isthmus fit YOUR_DATA -o YOUR_BUNDLE",
    ):
        console.print(f"  {line}", soft_wrap=True)


def _compare_with_baselines(facts: dict[str, Any]) -> str:
    """Return a sentence that compares the code with the best baseline under a linear head."""
    code = facts["heads"]["linear"]
    unlabelled = {k: v for k, v in facts["baselines"].items() if k != "supervised"}
    best = max(unlabelled, key=lambda name: unlabelled[name]["test_accuracy"])
    ahead = 100 * (code["test_accuracy"] - unlabelled[best]["test_accuracy"])
    low, high = code["interval"]
    other_low, other_high = unlabelled[best]["interval"]
    disjoint = low > other_high or high < other_low
    if ahead == 0:
        return (
            f"with a linear head the code is as good as the best baseline ({BASELINE_TITLES[best]})"
        )
    comparison = "better" if ahead > 0 else "worse"
    certainty = "the intervals do not overlap" if disjoint else "the intervals overlap"
    return (
        f"with a linear head the code is {abs(ahead):.2f} points {comparison} than the best "
        f"baseline ({BASELINE_TITLES[best]}); {certainty}"
    )


def _accuracy(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    return f"{100 * found['test_accuracy']:.2f} % ({100 * low:.1f}-{100 * high:.1f})"


def print_heading(console: Console, text: str) -> None:
    """Print an empty line and the title of a chapter."""
    console.print()
    console.print(text, style="bold")


def write_page(
    console: Console, path: Path, bundle: str, data: Splits, **options: Any
) -> str | None:
    """Write the report and return its path, None where an extra is missing.

    Parameters
    ----------
    console : Console
    path : Path
        Of the page.
    bundle : str
        Folder of the bundle.
    data : Splits
    **options
        Those of `isthmus.report.write_report`.
    """
    with console.status("report") as status:

        def show_step(step: str) -> None:
            return_freed_memory()
            status.update(step)

        try:
            write_report(bundle, path, data, on_progress=show_step, **options)
        except MissingExtraError as error:
            console.print(f"no report: {error}", soft_wrap=True)
            return None
    return str(path)


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Record the seconds that a step takes, and return its freed memory to the system."""
    started = time.perf_counter()
    yield
    return_freed_memory()
    seconds[name] = time.perf_counter() - started
