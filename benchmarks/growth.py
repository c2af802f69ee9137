"""How cost grows with rows, columns, classes, pixels and references, as exponents.

    python benchmarks/growth.py
    python benchmarks/growth.py --only rows --largest 16000000

An operation is run at sizes three to ten times apart, everything else as it is; cost is CPU
time of the process, the least of three runs. Printed are the seconds and two exponents of
cost = a size^exponent: the least-squares line through the logarithms of the upper half of the
sizes, and the steepest step between two neighbouring sizes there. Small sizes cost a constant,
which would make exponents look lower than they are. Data are made up: five causes seen through
all columns.

rows        one epoch of `fit`, `transform`; a detector's `fit` and `predict`; the linear head
columns     the same of 2,000 rows
classes     `fit` and `predict_proba` of the linear and the mlp head, `evaluate`'s metrics
pixels      one epoch of `fit` and `transform` on grey images of sides 8 to 256
references  a detector's anomaly scores of 2,000 rows, 45 numbers each

Up to a million rows it takes about ten minutes on one core.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from common.markdown import markdown
from common.records import chosen, put_json, run, say, tables_console, versions
from isthmus import AnomalyDetector, Autoencoder
from isthmus.classification import MLPHead, StandardisedHead, build_head
from isthmus.detection import Features, NeighbourScore
from isthmus.evaluation import class_metrics

#: An operation at one size: called for its cost.
Operation = Callable[[], object]
ROWS = (10_000, 30_000, 100_000, 300_000, 1_000_000, 4_000_000, 16_000_000)
COLUMNS = (10, 30, 100, 300, 1000, 3000)
CLASSES = (2, 5, 10, 30, 100, 300, 1000)
SIDES = (8, 16, 32, 64, 128, 256)
REFERENCES = (500, 1000, 2000, 5000, 10_000, 20_000)
REPEATS = 3
#: An exponent above it needs a reason.
HIGHEST = 1.1


def main() -> None:
    options = arguments()
    console = tables_console(options.json)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for axis in chosen(options.only, AXES):
        sizes, operations = AXES[axis]
        found[axis] = measure(operations, [size for size in sizes if size <= options.largest])
        rows = [
            [name, *(f"{seconds:.3g}" for seconds in facts["seconds"].values()),
             f"{facts['exponent']:.2f}", f"{facts['steepest']:.2f}"]
            for name, facts in found[axis].items()
        ]  # fmt: skip
        sizes_used = next(iter(found[axis].values()))["seconds"]
        heads = [f"{size:,}" for size in sizes_used]
        markdown(console, [f"{axis}: CPU seconds", *heads, "exponent", "steepest"], rows)
        console.print()
    above = [
        f"{axis}, {name} ({facts['exponent']:.2f})"
        for axis, operations in found.items()
        for name, facts in operations.items()
        if facts["exponent"] > HIGHEST
    ]
    console.print(f"Exponents above {HIGHEST}: {'; '.join(above) or 'none'}.")
    put_json(options.json, {"benchmark": "growth", "versions": versions(), "axes": found})


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", metavar="AXIS,AXIS", help=f"some of {', '.join(AXES)}")
    parser.add_argument(
        "--largest", type=int, default=1_000_000, help="leave larger sizes out (default 1000000)"
    )
    parser.add_argument("--json", metavar="PATH", help="all facts as JSON; - is standard output")
    return parser.parse_args()


def measure(
    operations: Callable[[int], Iterator[tuple[str, Operation]]], sizes: list[int]
) -> dict[str, dict[str, Any]]:
    """Return CPU seconds by size of each operation, and the exponents of its growth."""
    seconds: dict[str, dict[int, float]] = {}
    for size in sizes:
        for name, operation in operations(size):
            seconds.setdefault(name, {})[size] = cost(operation)
        say(f"{size:,}: {', '.join(f'{name} {of[size]:.3g} s' for name, of in seconds.items())}")
    return {
        name: {"seconds": of, "exponent": exponent(of), "steepest": steepest(of)}
        for name, of in seconds.items()
    }


def cost(operation: Operation) -> float:
    """Return the least CPU seconds of some runs; of one run where it takes long."""
    found = []
    for _ in range(REPEATS):
        started = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # made-up data, few epochs
            operation()
        found.append(time.process_time() - started)
        if found[-1] > 20:
            break
    return min(found)


def upper_half(seconds: dict[int, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the logarithms of the larger sizes and of their seconds, three at least."""
    sizes = sorted(seconds)[-max(3, math.ceil(len(seconds) / 2)) :]
    return np.log(sizes), np.log([max(seconds[size], 1e-9) for size in sizes])


def exponent(seconds: dict[int, float]) -> float:
    """Return the slope of the least-squares line through the upper half of the sizes."""
    size, spent = upper_half(seconds)
    return float(np.polyfit(size, spent, 1)[0]) if len(size) > 1 else math.nan


def steepest(seconds: dict[int, float]) -> float:
    """Return the highest slope between two neighbouring sizes of the upper half."""
    size, spent = upper_half(seconds)
    return float((np.diff(spent) / np.diff(size)).max()) if len(size) > 1 else math.nan


def table(n: int, m: int) -> np.ndarray:
    """Return n rows of m numbers: five causes seen through all columns, and noise."""
    rng = np.random.default_rng([n, m])
    causes = rng.normal(size=(n, 5)).astype(np.float32)
    X: np.ndarray = causes @ rng.normal(size=(5, m)).astype(np.float32)
    X += np.float32(0.3) * rng.standard_normal((n, m), dtype=np.float32)
    return X


def of_table(n: int, m: int) -> Iterator[tuple[str, Operation]]:
    """Yield what is done with a table."""
    X = table(n, m)
    y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
    epoch = Autoencoder(max_epochs=1, random_state=0)
    yield "fit, one epoch", lambda: epoch.fit(X)
    yield "transform", lambda: epoch.transform(X)
    detector = AnomalyDetector(Autoencoder(max_epochs=1), random_state=0)
    yield "detector's fit, one epoch", lambda: detector.fit(X)
    yield "detector's predict", lambda: detector.predict(X)
    yield "linear head", lambda: StandardisedHead(build_head("linear", n_labels=n)).fit(X, y)


def of_rows(n: int) -> Iterator[tuple[str, Operation]]:
    """Yield the operations at a number of rows."""
    return of_table(n, 30)


def of_columns(m: int) -> Iterator[tuple[str, Operation]]:
    """Yield the operations at a number of columns."""
    return of_table(2000, m)


def of_classes(n_classes: int) -> Iterator[tuple[str, Operation]]:
    """Yield what heads do with a number of classes."""
    rng = np.random.default_rng(n_classes)
    y = np.arange(20_000) % n_classes
    X = (rng.normal(size=(n_classes, 32))[y] + rng.normal(size=(len(y), 32))).astype(np.float32)
    linear = build_head("linear", n_labels=len(y))
    perceptron = MLPHead(max_epochs=1, random_state=0)
    yield "linear head's fit", lambda: linear.fit(X, y)
    yield "linear head's predict_proba", lambda: linear.predict_proba(X)
    yield "mlp head's fit, one epoch", lambda: perceptron.fit(X, y)
    yield "mlp head's predict_proba", lambda: perceptron.predict_proba(X)
    chances = linear.predict_proba(X)
    decided = chances.argmax(axis=1)
    yield "metrics", lambda: class_metrics(y, decided, chances, linear.classes_)


def of_pixels(n_pixels: int) -> Iterator[tuple[str, Operation]]:
    """Yield what is done with images, 128 of them."""
    side = math.isqrt(n_pixels)
    X = np.random.default_rng(side).integers(0, 256, (128, side, side), dtype=np.uint8)
    for recipe in ("default", "fast"):
        encoder = Autoencoder(recipe=recipe, max_epochs=1, kind="images", random_state=0)
        yield f"fit, {recipe}, one epoch", lambda encoder=encoder: encoder.fit(X)
        yield f"transform, {recipe}", lambda encoder=encoder: encoder.transform(X)


def of_references(n: int) -> Iterator[tuple[str, Operation]]:
    """Yield the scores by the nearest of a number of references."""
    X = table(n + 2000, 45)
    known, unknown = (
        Features(codes=part[:, :15], residuals=part[:, 15:], explained=1.0)
        for part in (X[:n], X[n:])
    )
    score = NeighbourScore(residuals=True)
    yield "fit", lambda: score.fit(known, np.random.default_rng(0))
    yield "score", lambda: score.score(unknown)


AXES: dict[str, tuple[tuple[int, ...], Callable[[int], Iterator[tuple[str, Operation]]]]] = {
    "rows": (ROWS, of_rows),
    "columns": (COLUMNS, of_columns),
    "classes": (CLASSES, of_classes),
    "pixels": (tuple(side * side for side in SIDES), of_pixels),
    "references": (REFERENCES, of_references),
}

if __name__ == "__main__":
    run(main)
