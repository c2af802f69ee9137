"""Compare labels that `CodeClassifier.suggest` asks for with random ones, from the first on.

    python benchmarks/suggestions.py mnist --data-dir FOLDER --seeds 3 --out suggestions.jsonl
    python benchmarks/suggestions.py digits             a small one that needs no download

Encoders are trained without labels, one a seed. Then labels are asked for in rounds of 20: the
first without a head, each later one of a head fitted on those before. Beside them stand as many
random labels, and random ones with as many of each class, which nobody can draw who has no labels.
The figures are the test accuracy, the mean over ten draws and the lowest and highest: a draw of
suggestions is made from nine tenths of the training rows, which are drawn anew, for the same rows
get the same ones. With several encoders each has as many draws, and lowest and highest are of all.
Codes are standardised by all training codes, and `spreading` also gets the unlabelled ones.

On one core a seed of MNIST takes about twelve minutes, half of it the labels by `spreading`.
"""

from __future__ import annotations

import argparse
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from common.head_accuracy import Graph
from common.records import Journal, put_json, run, say, tables_console
from isthmus import Autoencoder, Dataset, __version__, load
from isthmus.classification import build_head
from isthmus.cli import tune_process
from isthmus.encoding import first_suggestions, suggested_classes
from isthmus.errors import DataError

ROUND = 20
#: Share of the training rows that a draw of suggestions is made from.
ASKED_OF = 0.9
SHOWN = (20, 40, 60, 100, 300)
#: Labels with which the encoders stand beside each other.
OF_EACH = 100
HEADS = ("linear", "spreading")
WAYS = ("random", "random, balanced", "suggested")


class Learner:
    """A head on standardised codes, fitted anew on other labels of the same training rows."""

    def __init__(self, name: str, graph: Graph, data: dict[str, np.ndarray]) -> None:
        self.name, self.graph, self.data = name, graph, data

    def fit(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Return classes, their probabilities for all training rows, and the test accuracy."""
        train, y, test, truth = (self.data[key] for key in ("train", "y", "test", "truth"))
        if self.name == "spreading":
            classes, shares = self.graph.distributions(rows, y[rows])
            return classes, shares, _accuracy(self.graph.decide(classes, shares), truth)
        head = build_head(self.name, n_labels=len(rows)).fit(train[rows], y[rows])
        return head.classes_, head.predict_proba(train), _accuracy(head.predict(test), truth)


def main() -> None:
    options = arguments()
    tune_process()
    source = load(options.data, data_dir=options.data_dir)
    if source.test is None or source.train.y is None:
        raise DataError(f"{options.data} has no classes or no test part")
    protocol = {"benchmark": "suggestions", "data": options.data, "recipe": options.recipe}
    protocol |= {"isthmus": __version__, "draws": options.draws}
    journal = Journal(options.out, protocol)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    for seed in seeds:
        if not journal.has(seed=seed):
            found = of_encoder(source.train, source.test, seed, options)
            journal.add({"seed": seed, "accuracy": found})
    runs = [record for record in journal.records if record["seed"] in seeds]
    put_json(options.json, protocol | {"runs": runs})
    show(options, runs)


def of_encoder(
    part: Dataset, tested: Dataset, seed: int, options: argparse.Namespace
) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Return test accuracies by head, way, draw and number of labels, of the encoder of a seed."""
    say(f"training {options.recipe}, seed {seed}")
    encoder = Autoencoder(recipe=options.recipe, random_state=seed).fit(part.X)
    train, test = encoder.transform(part.X), encoder.transform(tested.X)
    mean, spread = train.mean(axis=0), np.where(train.std(axis=0) > 0, train.std(axis=0), 1)
    data = {"train": (train - mean) / spread, "test": (test - mean) / spread}
    data |= {"y": part.y, "truth": tested.y}
    graph = Graph(data["train"], data["test"])
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    for name in HEADS:
        learner = Learner(name, graph, data)
        found[name] = {}
        for way in WAYS:
            say(f"{name}: {way}")
            found[name][way] = [measure(learner, way, draw) for draw in range(options.draws)]
    return found


def measure(learner: Learner, way: str, draw: int) -> dict[str, float]:
    """Return the test accuracy by number of labels."""
    train, y = learner.data["train"], learner.data["y"]
    shown = [n for n in SHOWN if n <= len(y) // 2]
    order = np.random.default_rng([draw, 11]).permutation(len(y))
    if way == "random":
        return {str(n): learner.fit(order[:n])[2] for n in shown}
    if way == "random, balanced":
        # In the order of each class's own turns: any n first are as many of each as can be.
        turns = pd.Series(y[order]).groupby(y[order]).cumcount().to_numpy()
        balanced = order[np.argsort(turns, kind="stable")]
        return {str(n): learner.fit(balanced[:n])[2] for n in shown}
    order = order[: round(ASKED_OF * len(order))]
    rows = order[first_suggestions(train[order], ROUND)["row"].to_numpy()]
    found = {}
    while True:
        classes, probabilities, accuracy = learner.fit(rows)
        if len(rows) in shown:
            found[str(len(rows))] = accuracy
        if len(rows) == shown[-1]:
            return found
        rest = order[~np.isin(order, rows)]
        head = SimpleNamespace(classes_=classes, head_=SimpleNamespace(predict_proba=True))
        head.predict_proba = lambda _, found=probabilities, of=rest: found[of]
        asked = suggested_classes(head, train[rest], ROUND)["row"].to_numpy()
        rows = np.concatenate([rows, rest[asked]])


def show(options: argparse.Namespace, runs: list[dict[str, Any]]) -> None:
    """Print means over all draws of all encoders, and with several encoders those of each."""
    console = tables_console(options.json)
    title = f"{options.data}, {options.recipe}: test accuracy in %, by number of labels"
    numbers = list(runs[0]["accuracy"]["linear"]["random"][0])
    table = Table("head", "labels", *numbers, title=title)
    for name, way in product(HEADS, WAYS):
        table.add_row(name, way, *(_cell(_values(runs, name, way, n)) for n in numbers))
    console.print(table)
    if len(runs) == 1 or str(OF_EACH) not in numbers:
        return
    title = f"with {OF_EACH} labels, each encoder"
    table = Table("head", "labels", *(f"seed {one['seed']}" for one in runs), title=title)
    for name, way in product(HEADS, WAYS):
        of_each = (_values([one], name, way, str(OF_EACH)) for one in runs)
        table.add_row(name, way, *map(_cell, of_each))
    console.print(table)


def _values(runs: list[dict[str, Any]], name: str, way: str, n: str) -> list[float]:
    return [100 * draw[n] for one in runs for draw in one["accuracy"][name][way]]


def _cell(values: list[float]) -> str:
    return f"{np.mean(values):.2f} ({min(values):.1f} to {max(values):.1f})"


def _accuracy(predicted: np.ndarray, truth: np.ndarray) -> float:
    return float((predicted == truth).mean())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="?", default="mnist", help="name of a set with classes")
    parser.add_argument("--data-dir", help="folder with its files")
    parser.add_argument("--recipe", default="default", help="of the encoder (default: default)")
    parser.add_argument("--seeds", type=int, default=1, help="how many encoders (default 1)")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=10, help="of each encoder (default 10)")
    parser.add_argument("--out", metavar="PATH", help="keep runs as JSON lines, and go on from it")
    parser.add_argument("--json", metavar="PATH", help="all facts as JSON; - is standard output")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
