"""Classify time series by a frozen code, beside what a person would use in its place.

    python benchmarks/series.py FOLDER

FOLDER holds pairs `NAME_TRAIN.ts` and `NAME_TEST.ts`, such as those of the UCR archive (Dau et
al., 2019); $ISTHMUS_DATA/series when not given. The encoder (conv1d, default recipe) learns from
the training file's series without labels, and is frozen; a linear head learns from their labels.
The same head goes on the baselines of `isthmus.evaluate`: the values themselves, as many principal
components as the code is wide, and the codes of the same network untrained. Beside them one
nearest neighbour by Euclidean distance on the values as the file has them, the archive's usual
reference. Accuracy on the test file, mean over the seeds 0 to 4 (lowest to highest).

A small pair costs some seconds for each seed on one core.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from common.markdown import markdown
from common.records import data_folder, put_json, run, say, tables_console, versions
from isthmus import Autoencoder, CodeClassifier, Dataset, evaluate, load
from isthmus.errors import DataError
from isthmus.evaluation import BASELINE_TITLES

NEAREST = "1-NN, raw values"


def main() -> None:
    options = arguments()
    runs = []
    for name, train_path, test_path in find_pairs(
        data_folder(options.folder, "series"), options.pairs
    ):
        train, test = load(train_path), load(test_path)
        started = time.perf_counter()
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            runs.append({"pair": name, "seed": seed} | measure(train, test, seed))
        say(f"{name}: {time.perf_counter() - started:.0f} s")
    found = {"benchmark": "series", "versions": versions(), "summary": summarise(runs)}
    put_json(options.json, found | {"runs": runs})
    pairs = list(found["summary"])
    rows = [
        [features, *(_cell(found["summary"][pair][features]) for pair in pairs)]
        for features in runs[0]["accuracy"]
    ]
    markdown(tables_console(options.json), ["accuracy, %", *pairs], rows)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", help="where the .ts files lie")
    parser.add_argument("--pairs", metavar="NAME,NAME", help="only these, without _TRAIN.ts")
    parser.add_argument("--seeds", type=int, default=5, help="how many (default 5)")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--json", metavar="PATH", help="all facts as JSON; - is standard output")
    return parser.parse_args()


def find_pairs(folder: Path, names: str | None = None) -> list[tuple[str, Path, Path]]:
    """Return name, training file and test file of the folder's pairs, or of some.

    Raises
    ------
    DataError
        When there is none, or one is incomplete.
    """
    there = sorted(path.name.removesuffix("_TRAIN.ts") for path in folder.glob("*_TRAIN.ts"))
    wanted = there if names is None else names.split(",")
    if not wanted:
        raise DataError(f"{folder} holds no file ..._TRAIN.ts; pass the folder where they lie")
    pairs = [(name, folder / f"{name}_TRAIN.ts", folder / f"{name}_TEST.ts") for name in wanted]
    for name, *paths in pairs:
        for path in paths:
            if not path.is_file():
                raise DataError(f"{path} is not there; {name} needs a _TRAIN.ts and a _TEST.ts")
    return pairs


def measure(train: Dataset, test: Dataset, seed: int) -> dict[str, Any]:
    """Return the test accuracies by what the head decides on, and the encoder's seconds."""
    started = time.perf_counter()
    encoder = Autoencoder(architecture="conv1d", random_state=seed).fit(train.X)
    seconds = time.perf_counter() - started
    classifier = CodeClassifier(encoder, random_state=seed).fit(train.X, train.y)
    found = evaluate(
        classifier, test.X, test.y, X_train=train.X, y_train=train.y, random_state=seed
    )
    accuracy = {"frozen code": found["code"]["accuracy"]}
    for name, baseline in found["baselines"].items():
        accuracy[BASELINE_TITLES[name]] = baseline["accuracy"]
    nearest = KNeighborsClassifier(1).fit(_flat(train.X), train.y)
    accuracy[NEAREST] = float(nearest.score(_flat(test.X), test.y))
    return {"accuracy": accuracy, "seconds_fit": seconds}


def summarise(runs: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return mean, lowest, highest and standard deviation by pair and features."""
    summary: dict[str, dict[str, dict[str, float | None]]] = {}
    for pair in dict.fromkeys(one["pair"] for one in runs):
        own = [one["accuracy"] for one in runs if one["pair"] == pair]
        summary[pair] = {}
        for features in own[0]:
            values = [accuracy[features] for accuracy in own]
            summary[pair][features] = {
                "mean": float(np.mean(values)),
                "lowest": min(values),
                "highest": max(values),
                "spread": float(np.std(values, ddof=1)) if len(values) > 1 else None,
            }
    return summary


def _cell(found: dict[str, float | None]) -> str:
    mean, low, high = (100 * found[name] for name in ("mean", "lowest", "highest"))
    return f"{mean:.2f}" if low == high else f"{mean:.2f} ({low:.1f} to {high:.1f})"


def _flat(series: np.ndarray) -> np.ndarray:
    return series.reshape(len(series), -1)


if __name__ == "__main__":
    run(main)
