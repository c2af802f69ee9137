"""Tell one digit from the nine others: MNIST's one-class test, beside peers in the same run.

    python benchmarks/one_class.py --data-dir FOLDER
    python benchmarks/one_class.py digits                a small one that needs no download

One class is normal: all of its training images train, without labels, and all test images are
ranked, so that the other nine classes are abnormal. Each class takes its turn; figures are
AUROC (Ruff et al., ICML 2018, test on MNIST in this way). isthmus takes its calibration images
out of the same training images. The parts are the detector's other scores on the same encoder.
The peers get pixels in [0, 1]: five nearest neighbours, the residual of as many principal
components as the code is wide, and a one-class SVM on those components.

With several seeds ± is the standard deviation over seeds of the mean over classes; the interval
of a difference is the 95 % percentile bootstrap over classes. A class of MNIST costs a few
minutes on one core, most of it the encoder.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from common.detector_scores import fit_detector, score_parts
from common.markdown import show_per_table, show_summary
from common.peer_detectors import Scorer, neighbours, pca_residual, svm_on_components
from common.records import Journal, put_json, run, say, tables_console, try_out, versions
from common.summary_statistics import PART, summarise
from isthmus import Dataset, __version__, load
from isthmus.errors import DataError

KNN = "kNN on pixels"


def main() -> None:
    options = arguments()
    data = load(options.data, data_dir=options.data_dir)
    if data.test is None or data.train.y is None or data.train.kind != "images":
        raise DataError(f"{options.data} is not images with classes and a test part of their own")
    protocol = {"benchmark": "one class", "data": options.data, "isthmus": __version__}
    journal = Journal(options.out, protocol)
    classes = choose_classes(data.train.y, options.classes)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    for normal in classes:
        started = time.perf_counter()
        for seed in seeds:
            key = {"table": str(normal), "seed": seed}
            if not journal.has(**key):
                journal.add(key | {"methods": measure(data.train, data.test, normal, seed)})
        say(f"class {normal}: {time.perf_counter() - started:.0f} s")
    names = {str(normal) for normal in classes}
    records = [r for r in journal.records if r["table"] in names and r["seed"] in seeds]
    found: dict[str, Any] = {"benchmark": "one class", "data": options.data}
    found |= {"versions": versions(), "summary": summarise(records, KNN, ["auroc"])}
    put_json(options.json, found | {"runs": records})
    console = tables_console(options.json)
    show_summary(console, found["summary"])
    show_per_table(console, found["summary"], "auroc")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="?", default="mnist", help="name of a set of images")
    parser.add_argument("--data-dir", help="folder with its files")
    parser.add_argument("--classes", metavar="0,1", help="only these")
    parser.add_argument("--seeds", type=int, default=1, help="how many (default 1)")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--out", metavar="PATH", help="keep runs as JSON lines, and go on from it")
    parser.add_argument("--json", metavar="PATH", help="all facts as JSON; - is standard output")
    return parser.parse_args()


def choose_classes(y: np.ndarray, named: str | None) -> list[Any]:
    """Return the classes there are, or those of `"0,1"`.

    Raises
    ------
    DataError
        When one is not there.
    """
    classes = np.unique(y).tolist()
    if named is None:
        return classes
    by_name = {str(label): label for label in classes}
    for name in named.split(","):
        if name not in by_name:
            raise DataError(f"got the class {name!r}, expected some of {', '.join(by_name)}")
    return [by_name[name] for name in named.split(",")]


def measure(train: Dataset, test: Dataset, normal: Any, seed: int) -> dict[str, dict[str, Any]]:
    """Return the AUROC of every method with one class for normal."""
    images, abnormal = train.X[train.y == normal], test.y != normal
    detector, scores, seconds = try_out(
        lambda: fit_detector(images, seed=seed), lambda detector: -detector.score_samples(test.X)
    )
    found: dict[str, dict[str, Any]] = {"isthmus": _auroc(abnormal, scores) | seconds}
    for name, scores in score_parts(detector, test.X).items():
        if name != detector.method_:
            found[f"isthmus {name}{PART}"] = _auroc(abnormal, scores)
    pixels, others = _flat(images), _flat(test.X)
    width = min(detector.encoder_.n_components_, *pixels.shape)
    peers: dict[str, Callable[[], Scorer]] = {
        KNN: lambda: neighbours(pixels, seed),
        "PCA residual": lambda: pca_residual(pixels, seed, width),
        "OneClassSVM on PCA": lambda: svm_on_components(pixels, seed, width),
    }
    for name, fit in peers.items():
        _, scores, seconds = try_out(fit, lambda scorer: scorer(others))
        found[name] = _auroc(abnormal, scores) | seconds
    return found


def _auroc(abnormal: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    return {"auroc": float(roc_auc_score(abnormal, scores))}


def _flat(images: np.ndarray) -> np.ndarray:
    scale = 255 if images.dtype == np.uint8 else 1
    return images.reshape(len(images), -1).astype(np.float32) / scale


if __name__ == "__main__":
    run(main)
