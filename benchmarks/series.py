"""Classify time series by a frozen code, beside what a person would use in its place.

    python benchmarks/series.py FOLDER
    python benchmarks/series.py --aeon --peers-python .venv-bench/bin/python

FOLDER holds pairs `NAME_TRAIN.ts` and `NAME_TEST.ts`, such as those of the UCR archive (Dau et
al., 2019), itself or in folders; $ISTHMUS_DATA/series when not given. --aeon takes the eight
classification sets that the package aeon of the peers' environment brings; two of them have
series of unequal lengths, and of those it takes the variants that aeon has made equally long.
The encoder (default recipe) learns from
the training file's series without labels, and is frozen; a linear head learns from their labels.
The same head goes on the baselines of `isthmus.evaluate`: the values themselves, as many principal
components as the code is wide, and the codes of the same network untrained. Beside them one
nearest neighbour by Euclidean distance on the values as the file has them, the archive's usual
reference; and, where the peers' environment is there (`make bench` installs it), MiniRocket and
ROCKET features of aeon with a ridge classifier. Accuracy on the test file, mean over the seeds 0
to 4 (lowest to highest), and the mean over the pairs.

A pair of some hundred series takes a minute for each seed on one core, ROCKET as long again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
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

HERE = Path(__file__).parent
CODE, NEAREST, MINIROCKET = "frozen code", "1-NN, raw values", "MiniRocket + ridge"
#: The sets of aeon that are for classification, not for regression or ordered classes.
AEON_PAIRS = (
    "ACSF1",
    "ArrowHead",
    "BasicMotions",
    "GunPoint",
    "ItalyPowerDemand",
    "JapaneseVowels_eq",
    "OSULeaf",
    "PickupGestureWiimoteZ_eq",
)
FIND_AEON = """
import importlib.metadata, importlib.util, pathlib
place = pathlib.Path(importlib.util.find_spec("aeon").origin).parent / "datasets" / "data"
print(importlib.metadata.version("aeon"), place, sep="\\n")
"""


def main() -> None:
    options = arguments()
    aeon = find_aeon(options.peers_python)
    peers = None if isinstance(aeon, str) else options.peers_python
    if isinstance(aeon, str):
        if options.aeon:
            raise DataError(f"--aeon: {aeon}")
        say(f"{aeon}; MiniRocket and ROCKET are left out")
    place = aeon[1] if options.aeon else data_folder(options.folder, "series")
    names = options.pairs or (",".join(AEON_PAIRS) if options.aeon else None)
    runs = []
    for name, train_path, test_path in find_pairs(place, names):
        train, test = load(train_path), load(test_path)
        started = time.perf_counter()
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            found = measure(train, test, seed)
            if peers is not None:
                found["accuracy"] |= measure_peers(train, test, seed, peers)
            runs.append({"pair": name, "seed": seed} | found)
        say(f"{name}: {time.perf_counter() - started:.0f} s")
    known = versions() | ({} if isinstance(aeon, str) else {"aeon": aeon[0]})
    summary, overall = summarise(runs), summarise_means(runs)
    facts = {"benchmark": "series", "versions": known, "summary": summary, "mean": overall}
    put_json(options.json, facts | {"runs": runs})
    columns = summary | ({"mean": overall} if len(summary) > 1 else {})
    rows = [
        [features, *(_cell(columns[column][features]) for column in columns)]
        for features in runs[0]["accuracy"]
    ]
    console = tables_console(options.json)
    markdown(console, ["accuracy, %", *columns], rows)
    if MINIROCKET in overall:
        behind = 100 * (overall[MINIROCKET]["mean"] - overall[CODE]["mean"])
        word = "behind" if behind > 0 else "ahead of"
        console.print(
            f"The frozen code is {abs(behind):.1f} points {word} {MINIROCKET} on the mean."
        )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", help="where the .ts files lie")
    parser.add_argument("--aeon", action="store_true", help="the sets that aeon brings")
    parser.add_argument(
        "--peers-python",
        metavar="PATH",
        default=str(HERE.parent / ".venv-bench" / "bin" / "python"),
        help="of the environment with peers.txt in it (default .venv-bench/bin/python)",
    )
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
    places = {path.name.removesuffix("_TRAIN.ts"): path for path in folder.rglob("*_TRAIN.ts")}
    wanted = sorted(places) if names is None else names.split(",")
    if not wanted:
        raise DataError(f"{folder} holds no file ..._TRAIN.ts; pass the folder where they lie")
    pairs = []
    for name in wanted:
        own = places[name].parent if name in places else folder
        pairs.append((name, own / f"{name}_TRAIN.ts", own / f"{name}_TEST.ts"))
    for name, *paths in pairs:
        for path in paths:
            if not path.is_file():
                raise DataError(f"{path} is not there; {name} needs a _TRAIN.ts and a _TEST.ts")
    return pairs


def find_aeon(python: str) -> tuple[str, Path] | str:
    """Return the version of aeon and the folder of its data sets, or why there is none."""
    try:
        done = subprocess.run([python, "-c", FIND_AEON], capture_output=True, text=True, check=True)
    except OSError:
        return f"no Python with the peers at {python}: run `make bench`, or pass --peers-python"
    except subprocess.CalledProcessError:
        return f"{python} lacks aeon; install benchmarks/peers.txt there"
    version, place = done.stdout.splitlines()[-2:]
    return version, Path(place)


def measure_peers(train: Dataset, test: Dataset, seed: int, python: str) -> dict[str, float]:
    """Return the test accuracies of MiniRocket and ROCKET, of a process in their environment.

    Raises
    ------
    DataError
        When they cannot take the series.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "arrays.npz"
        # As numbers, because an array of text may be one of Python objects.
        labels = np.unique([*train.y, *test.y], return_inverse=True)[1]
        y_train, y_test = np.split(labels, [len(train.y)])
        np.savez(path, X_train=train.X, X_test=test.X, y_train=y_train, y_test=y_test)
        script = HERE / "common" / "series_peers.py"
        done = subprocess.run(
            [python, script, path, str(seed)], capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        raise DataError(f"the peers did not run: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(train: Dataset, test: Dataset, seed: int) -> dict[str, Any]:
    """Return the test accuracies by what the head decides on, and the encoder's seconds."""
    started = time.perf_counter()
    encoder = Autoencoder(kind="series", random_state=seed).fit(train.X)
    seconds = time.perf_counter() - started
    classifier = CodeClassifier(encoder, random_state=seed).fit(train.X, train.y)
    found = evaluate(
        classifier, test.X, test.y, X_train=train.X, y_train=train.y, random_state=seed
    )
    accuracy = {CODE: found["code"]["accuracy"]}
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
        summary[pair] = {
            features: _spread([accuracy[features] for accuracy in own]) for features in own[0]
        }
    return summary


def summarise_means(runs: list[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Return the same of the mean over the pairs, which each seed has one of."""
    seeds = dict.fromkeys(one["seed"] for one in runs)
    return {
        features: _spread(
            [
                float(np.mean([one["accuracy"][features] for one in runs if one["seed"] == seed]))
                for seed in seeds
            ]
        )
        for features in runs[0]["accuracy"]
    }


def _spread(values: list[float]) -> dict[str, float | None]:
    return {
        "mean": float(np.mean(values)),
        "lowest": min(values),
        "highest": max(values),
        "spread": float(np.std(values, ddof=1)) if len(values) > 1 else None,
    }


def _cell(found: dict[str, float | None]) -> str:
    mean, low, high = (100 * found[name] for name in ("mean", "lowest", "highest"))
    return f"{mean:.2f}" if low == high else f"{mean:.2f} ({low:.1f} to {high:.1f})"


def _flat(series: np.ndarray) -> np.ndarray:
    return series.reshape(len(series), -1)


if __name__ == "__main__":
    run(main)
