"""What heads make of standardised features: all labels, few of them, one class normal."""

from __future__ import annotations

import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score

from isthmus._core import find_nearest, find_nearest_others
from isthmus.classification import SpreadingHead, affinity, build_head, local_weights, spread_labels

HEADS = ("linear", "neighbours", "mlp", "svm")
FEW = (100, 1000)
#: Values up to which support vectors are looked for: on 60,000 raw images it takes an hour.
MAX_SVM_VALUES = 60_000 * 256


def all_labels(
    train: np.ndarray,
    y: np.ndarray,
    test: np.ndarray,
    truth: np.ndarray,
    seed: int,
    without: str | None = None,
) -> dict[str, Any]:
    """Return accuracy of each head on a held-out tenth of the labels and on the test part.

    `best` is the head that is best on the held-out tenth; `seconds` are for both fits.
    """
    order = np.random.default_rng([seed, 7]).permutation(len(y))
    held_out, rest = order[: len(y) // 10], order[len(y) // 10 :]
    found: dict[str, Any] = {}
    too_long = {without} | ({"svm"} if train.size > MAX_SVM_VALUES else set())
    heads = [name for name in HEADS if name not in too_long]
    for name in heads:
        started = time.perf_counter()
        # Support vectors are found by one thread, so both fits may as well have one each.
        with ThreadPoolExecutor(2 if name == "svm" else 1) as pool:
            later = pool.submit(_fitted, name, train[rest], y[rest], seed)
            whole = pool.submit(_fitted, name, train, y, seed).result()
            part = later.result()
        found[name] = {
            "validation": _accuracy(part, train[held_out], y[held_out]),
            "seconds": time.perf_counter() - started,
            "test": _accuracy(whole, test, truth),
        }
    best = max(heads, key=lambda name: found[name]["validation"])
    return found | {"best": {"head": best, "test": found[best]["test"]}}


def few_labels(
    train: np.ndarray, y: np.ndarray, test: np.ndarray, truth: np.ndarray, n_draws: int
) -> dict[str, dict[str, list[float]]]:
    """Return test accuracies by number of labels and head, one for each draw."""
    graph = Graph(train, test)
    found: dict[str, dict[str, list[float]]] = {}
    for n, drawn in draws(y, n_draws).items():
        values: dict[str, list[float]] = {"linear": [], "neighbours": [], "spreading": []}
        for rows in drawn:
            for name in ("linear", "neighbours"):
                head = _fitted(name, train[rows], y[rows], 0)
                values[name].append(_accuracy(head, test, truth))
            values["spreading"].append(float((graph.predict(rows, y[rows]) == truth).mean()))
        found[str(n)] = values
    return found


def draws(y: np.ndarray, n_draws: int) -> dict[int, list[np.ndarray]]:
    """Return rows with as many labels of each class, several times, for each number of `FEW`."""
    classes = np.unique(y)
    found = {}
    for n in FEW:
        if n > len(y) // 2:
            continue
        generators = [np.random.default_rng([n, draw]) for draw in range(n_draws)]
        found[n] = [
            np.concatenate(
                [rng.choice(np.flatnonzero(y == c), n // len(classes), False) for c in classes]
            )
            for rng in generators
        ]
    return found


class Graph:
    """`SpreadingHead` for many draws of labels on the same features: one graph serves them all."""

    def __init__(self, train: np.ndarray, test: np.ndarray) -> None:
        self.head = SpreadingHead()
        k = self.head.n_neighbors
        distances, rows = find_nearest_others(train, k)
        self.weights = affinity(distances, rows)
        apart, self.rows = find_nearest(test, train, k)
        scale = distances[:, -1]
        self.votes = local_weights(apart, apart[:, -1], scale[self.rows])

    def predict(self, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the classes of the test part, from the labels of some training rows."""
        return self.decide(*self.distributions(rows, labels))

    def decide(self, classes: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """Return the classes of the test part, from what `distributions` returns."""
        return classes[np.einsum("nk,nkc->nc", self.votes, shares[self.rows]).argmax(axis=1)]

    def distributions(self, rows: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the classes, and the shares of each in the labels that reach a training row."""
        classes, places = np.unique(labels, return_inverse=True)
        given = np.zeros((self.weights.shape[0], len(classes)))
        given[rows, places] = 1
        found = np.maximum(spread_labels(self.weights, given, self.head.alpha), 0)
        found /= np.maximum(found.sum(axis=1, keepdims=True), np.finfo(float).tiny)
        found[rows] = given[rows]
        return classes, found


def one_class(
    train: np.ndarray, y: np.ndarray, test: np.ndarray, truth: np.ndarray
) -> dict[str, float]:
    """Return the AUROC of the mean distance to five normal features, for each class as normal."""
    return {
        str(normal): float(
            roc_auc_score(
                truth != normal, find_nearest(test, train[y == normal], 5)[0].mean(axis=1)
            )
        )
        for normal in np.unique(y).tolist()
    }


def _fitted(name: str, features: np.ndarray, y: np.ndarray, seed: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return build_head(name, n_labels=len(y), random_state=seed).fit(features, y)


def _accuracy(head: Any, features: np.ndarray, truth: np.ndarray) -> float:
    return float((head.predict(features) == truth).mean())
