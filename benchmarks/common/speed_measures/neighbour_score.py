"""Rows a second of the default detector's score, and of its whole decision as a graph."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from common.speed_measures.inputs import numbers
from common.speed_measures.measure import OURS, Facts, Measure, Row, Side, at_least, paired, values

REFERENCES, NEIGHBOURS = 20_000, 5
CODE, COLUMNS = 15, 30  # so many numbers are compared, as of a table of 30 columns
SEARCHED = 8192
TRAINED = 26_000  # rows of the detector whose decisions are timed
DECIDED = 65_536
REPEATS = 3
FAISS, BRUTE = "faiss IndexFlatL2", "scikit-learn brute force"


def ours(options: dict[str, Any]) -> Facts:
    return searched() | decided(options)


def score_by_rows() -> tuple[Any, np.ndarray]:
    """Return a score with 20,000 references, all of them rows, and points to search for."""
    from isthmus.detection import LABEL_FREE

    references, points = _points()
    state = {
        "residuals": True,
        "n_neighbours": NEIGHBOURS,
        "scale": 1.0,
        "references": references,
        "apart": np.linspace(1, 2, REFERENCES),
        "around": np.ones(REFERENCES),
        "mean": 1.0,
    }
    return LABEL_FREE["combined"].from_state(state), points


def searched() -> Facts:
    """Time the score with 20,000 references, and compare it with that by scikit-learn's search."""
    from sklearn.neighbors import NearestNeighbors

    from isthmus.detection import Features

    score, points = score_by_rows()
    features = Features(points[:, :CODE], points[:, CODE:], 1.0)
    rate = _rate(lambda: score.score(features), SEARCHED)
    brute = NearestNeighbors(n_neighbors=NEIGHBOURS, algorithm="brute").fit(score.references_)
    expected, found = score.relative(*brute.kneighbors(points)), score.score(features)
    threshold = np.quantile(expected, 0.99) + 1e-6
    return {
        "value": rate,
        "off": float(np.abs(found / expected - 1).max()),
        "differ": int(((found > threshold) != (expected > threshold)).sum()),
    }


def decided(options: dict[str, Any]) -> Facts:
    """Time the default detector of 30 columns: library, graph, its networks alone, 20,000 rows."""
    from isthmus import AnomalyDetector, Autoencoder

    X = numbers(TRAINED + DECIDED, COLUMNS)
    new = X[TRAINED:]
    detector = AnomalyDetector(Autoencoder(), random_state=options["round"]).fit(X[:TRAINED])
    facts: Facts = {"library": _rate(lambda: detector.predict(new), DECIDED)}
    facts["decision"] = as_graph(detector, new)
    facts["networks"] = as_graph(detector, new, heads=[])
    detector.fitted_score_ = score_by_rows()[0]
    facts["graph"] = as_graph(detector, new[:SEARCHED])
    return facts


def as_graph(detector: Any, new: np.ndarray, heads: list[str] | None = None) -> float:
    """Return how many rows a second an export decides on."""
    import tempfile

    from isthmus import export_bundle, save_bundle
    from isthmus.export import Exported

    at_once = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    with tempfile.TemporaryDirectory() as folder:
        save_bundle(f"{folder}/bundle", detector.encoder_, {"normal": detector})
        export_bundle(f"{folder}/bundle", f"{folder}/export", new[:512], heads)
        exported = Exported(f"{folder}/export", threads=1)
    rows = exported.feed(new)
    return _rate(lambda: exported.run_fed(rows, at_once=at_once), len(new))


def brute(options: dict[str, Any]) -> Facts:
    from sklearn.neighbors import NearestNeighbors

    references, points = _points()
    index = NearestNeighbors(n_neighbors=NEIGHBOURS, algorithm="brute").fit(references)
    return {"value": _rate(lambda: index.kneighbors(points), SEARCHED)}


def faiss_flat(options: dict[str, Any]) -> Facts:
    import faiss

    references, points = _points()
    index = faiss.IndexFlatL2(CODE + COLUMNS)
    index.add(references)
    return {"value": _rate(lambda: index.search(points, NEIGHBOURS), SEARCHED)}


def _points() -> tuple[np.ndarray, np.ndarray]:
    both = numbers(REFERENCES + SEARCHED, CODE + COLUMNS)
    return both[:REFERENCES], both[REFERENCES:]


def _rate(run: Callable[[], Any], n: int) -> float:
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return n / min(seconds)


def rows(found: dict[str, list[Facts]]) -> list[Row]:
    off, n_differ = max(values(found, OURS, "off")), sum(values(found, OURS, "differ"))
    notes = [
        f"scores differ from those by scikit-learn's search by {off:.1g} of the value at most",
        f"verdicts that differ: {n_differ} of {SEARCHED:,} a round",
    ]
    lines = []
    for title, name, peer, least in (
        ("score with 20,000 references, rows/s", "value", FAISS, 1.0),
        ("score with 20,000 references, rows/s", "value", BRUTE, 1.0),
        ("the same as a graph, with its networks, rows/s", "graph", FAISS, 0.5),
    ):
        mine, theirs = values(found, OURS, name), values(found, peer)
        ratio = paired(mine, theirs)
        must, met = f"≥ {least:g} × as fast", at_least(ratio, least)
        lines.append(Row(title, mine, must, peer, theirs, ratio, met, notes, digits=0))
    mine, theirs = values(found, OURS, "decision"), values(found, OURS, "networks")
    ratio = paired(mine, theirs)
    title, peer = "whole decision as a graph, rows/s", "its networks alone"
    met = at_least(ratio, 0.5)
    lines.append(Row(title, mine, "≥ 0.5 ×", peer, theirs, ratio, met, digits=0))
    library = values(found, OURS, "library")
    met = statistics.median(library) >= 100_000
    lines.append(Row("default decision, rows/s", library, "≥ 100,000", met=met, digits=0))
    return lines


MEASURE = Measure(
    "neighbours",
    {OURS: Side(ours, peer=False), FAISS: Side(faiss_flat), BRUTE: Side(brute)},
    rows,
)
