"""One run of the codes benchmark: features, and what heads make of them."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import BernoulliRBM

from common.head_accuracy import all_labels, draws, few_labels, one_class
from isthmus import Autoencoder, Dataset, load
from isthmus.data.preprocessing import learn_preprocessor
from isthmus.detection import Features, NeighbourScore, extract_features
from isthmus.errors import DataError
from isthmus.evaluation import SupervisedNetwork

#: Recipes with what they are given beside it; baselines have no recipe.
SOURCES: dict[str, dict[str, Any] | None] = {
    "fast": {"recipe": "fast"},
    "default": {"recipe": "default"},
    "thorough": {"recipe": "thorough"},
    "reconstruction": {"recipe": "thorough", "objective": "reconstruction"},
    "reference": {"recipe": "reference"},
    "raw": None,
    "pca": None,
    "untrained": None,
    "rbm": None,
    "supervised": None,
}


@dataclass
class Parts:
    """Training and test images with labels."""

    train: Dataset
    test: Dataset
    seed: int
    draws: int
    without: str | None


def measure(name: str, seed: int, options: dict[str, Any]) -> dict[str, Any]:
    """Return every figure of one source with one seed, as plain values."""
    data = load(options["data"], data_dir=options["data_dir"])
    if data.test is None or data.train.y is None or data.train.kind != "images":
        raise DataError(f"{options['data']} is not images with classes and a test part")
    parts = Parts(data.train, data.test, seed, options["draws"], options["without"])
    if name == "supervised":
        found = _supervised(parts)
    elif SOURCES[name] is not None:
        choices = dict(SOURCES[name] or {})
        if options["max_epochs"]:
            choices["max_epochs"] = options["max_epochs"]
        found = _recipe(parts, choices)
    else:
        found = _baseline(parts, name)
    return found | {"peak_bytes": _peak_bytes(), "threads": torch.get_num_threads()}


def _recipe(parts: Parts, choices: dict[str, Any]) -> dict[str, Any]:
    started = time.perf_counter()
    encoder = Autoencoder(random_state=parts.seed, **choices).fit(parts.train.X)
    found: dict[str, Any] = {"seconds": time.perf_counter() - started}
    found |= {"peak_bytes_fit": _peak_bytes(), "epochs": len(encoder.history_)}
    found["n_components"] = encoder.n_components_
    found["reconstruction"] = float(encoder.reconstruction_error(parts.test.X).mean())
    started = time.perf_counter()
    features = encoder.transform(parts.train.X), encoder.transform(parts.test.X)
    found["seconds_encode"] = time.perf_counter() - started
    found |= _on_features(parts, *features)
    found["one_class_detector"] = _detector(parts, encoder)
    return found


def _baseline(parts: Parts, name: str) -> dict[str, Any]:
    flat, others = _flat(parts.train.X), _flat(parts.test.X)
    if name == "raw":
        return {"seconds": 0.0} | _on_features(parts, flat, others)
    # As wide as the codes are, and for `untrained` the network of the default recipe.
    shaped = Autoencoder(random_state=parts.seed, max_epochs=1).fit(parts.train.X[:64])
    n_components = shaped.n_components_
    started = time.perf_counter()
    if name == "untrained":
        untrained = shaped.untrained(parts.seed)
        features = untrained.transform(parts.train.X), untrained.transform(parts.test.X)
    elif name == "pca":
        pca = PCA(n_components, random_state=parts.seed).fit(flat)
        features = pca.transform(flat), pca.transform(others)
    else:
        rbm = BernoulliRBM(
            n_components, learning_rate=0.05, batch_size=64, n_iter=10, random_state=parts.seed
        ).fit(flat)
        features = rbm.transform(flat), rbm.transform(others)
    return {"seconds": time.perf_counter() - started} | _on_features(parts, *features)


def _on_features(parts: Parts, train: np.ndarray, test: np.ndarray) -> dict[str, Any]:
    mean, spread = train.mean(axis=0), train.std(axis=0)
    spread[spread == 0] = 1
    train = ((train - mean) / spread).astype(np.float32)
    test = ((test - mean) / spread).astype(np.float32)
    y, truth = parts.train.y, parts.test.y
    found = {"heads": all_labels(train, y, test, truth, parts.seed, parts.without)}
    found["few"] = few_labels(train, y, test, truth, parts.draws)
    found["one_class"] = one_class(train, y, test, truth)
    return found


def _detector(parts: Parts, encoder: Autoencoder) -> float:
    train = extract_features(encoder, parts.train.X)
    tested: Features = extract_features(encoder, parts.test.X)
    areas = []
    for normal in np.unique(parts.train.y):
        reference = train.take(np.flatnonzero(parts.train.y == normal))
        rng = np.random.default_rng(parts.seed)
        score = NeighbourScore(residuals=True).fit(reference, rng).score(tested)
        areas.append(roc_auc_score(parts.test.y != normal, score))
    return float(np.mean(areas))


def _supervised(parts: Parts) -> dict[str, Any]:
    prepare = learn_preprocessor(parts.train.X, parts.train.schema)

    def accuracy(rows: np.ndarray, seed: int) -> float:
        network = SupervisedNetwork(prepare, random_state=seed)
        network.fit(parts.train.X[rows], parts.train.y[rows])
        return float((network.predict(parts.test.X) == parts.test.y).mean())

    started = time.perf_counter()
    whole = accuracy(np.arange(len(parts.train.y)), parts.seed)
    found: dict[str, Any] = {"seconds": time.perf_counter() - started}
    found["heads"] = {"supervised": {"test": whole}}
    found["few"] = {
        str(n): {"supervised": [accuracy(rows, seed) for seed, rows in enumerate(drawn)]}
        for n, drawn in draws(parts.train.y, min(3, parts.draws)).items()
    }
    return found


def _flat(images: np.ndarray) -> np.ndarray:
    scale = 255 if images.dtype == np.uint8 else 1
    return images.reshape(len(images), -1).astype(np.float32) / scale


def _peak_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
