"""Seconds of the linear head on codes of the training images, and its log-loss on them.

On those it was fitted on, which is what solvers minimise: one that stops early may be better on
other images by chance.
"""

from __future__ import annotations

import statistics
import time
import warnings
from functools import partial
from typing import Any

import numpy as np

from common.speed_measures.inputs import read_codes
from common.speed_measures.measure import OURS, Facts, Measure, Row, Side, at_most, paired, values

#: scikit-learn's solvers for many classes, and how many passes each is given: the stochastic
#: ones would not be done in minutes.
SOLVERS = {"lbfgs": 2000, "newton-cholesky": 100, "newton-cg": 100, "sag": 50, "saga": 50}
SAME = 1.001  # log-losses that differ by less are the same


def ours(options: dict[str, Any]) -> Facts:
    from isthmus.classification import StandardisedHead, build_head

    X, y, *_ = read_codes(options)
    started = time.perf_counter()
    head = StandardisedHead(build_head("linear", n_labels=len(y), random_state=0)).fit(X, y)
    seconds = time.perf_counter() - started
    return {"value": seconds, "log_loss": log_loss(head.predict_proba(X), y)}


def theirs(solver: str, options: dict[str, Any]) -> Facts:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X, y, *_ = read_codes(options)
    regression = LogisticRegression(C=1.0, solver=solver, max_iter=SOLVERS[solver], random_state=0)
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that passes were too few shows in the log-loss
        head = make_pipeline(StandardScaler(), regression).fit(X, y)
    seconds = time.perf_counter() - started
    return {"value": seconds, "log_loss": log_loss(head.predict_proba(X), y)}


def log_loss(probabilities: np.ndarray, y: np.ndarray) -> float:
    """Return the mean of minus the logarithm of the true class's probability.

    The classes are 0, 1, ... in the order of the columns.
    """
    return float(-np.log(probabilities[np.arange(len(y)), y]).mean())


def rows(found: dict[str, list[Facts]]) -> list[Row]:
    ours = values(found, OURS)
    own = statistics.median(values(found, OURS, "log_loss"))
    notes = [f"log-loss on the training codes: isthmus {own:.5f}"]
    peers = {}
    for name in SOLVERS:
        if values(found, name):
            reached = statistics.median(values(found, name, "log_loss"))
            peers[name] = reached
            notes.append(f"{name} {reached:.5f} in {statistics.median(values(found, name)):.2f} s")
    title, must = "linear head on codes, s", "≤ the fastest, log-loss no higher"
    if not peers:
        return [Row(title, ours, must, notes=notes)]
    # Not one that was quicker only because it stopped farther off.
    good = [name for name in peers if peers[name] <= SAME * min(own, *peers.values())]
    fastest = min(good, key=lambda name: statistics.median(values(found, name)))
    theirs, ratio = values(found, fastest), paired(ours, values(found, fastest))
    met = at_most(ratio, 1.0) and own <= SAME * peers[fastest]
    peer = f"scikit-learn {fastest}"
    return [Row(title, ours, must, peer, theirs, ratio, met, notes)]


MEASURE = Measure(
    "linear",
    {
        OURS: Side(ours, peer=False),
        **{name: Side(partial(theirs, name)) for name in SOLVERS},
    },
    rows,
    codes=True,
)
