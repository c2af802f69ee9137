"""Seconds of the linear head on codes of the training images, and its log-loss on them.

On those it was fitted on, which is what solvers minimise: one that stops early may be better on
other images by chance. Solvers end at different log-losses. The default head is compared with those
that end where it does or higher, and one with a smaller tolerance with those that end lowest.
"""

from __future__ import annotations

import statistics
import time
import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from common.speed_measures.inputs import read_codes
from common.speed_measures.measure import OURS, Facts, Measure, Row, Side, at_most, paired, values

#: scikit-learn's solvers for many classes, and how many passes each is given: the stochastic
#: ones would not be done in minutes.
SOLVERS = {"lbfgs": 2000, "newton-cholesky": 100, "newton-cg": 100, "sag": 50, "saga": 50}
SAME = 1.001  # log-losses that differ by less are the same
CLOSE, CLOSE_TOL = "isthmus, tol=1e-5", 1e-5


def ours(options: dict[str, Any], tol: float | None = None) -> Facts:
    from isthmus.classification import LinearHead, StandardisedHead, build_head

    X, y, *_ = read_codes(options)
    given = "linear" if tol is None else LinearHead(tol=tol)
    started = time.perf_counter()
    head = StandardisedHead(build_head(given, n_labels=len(y), random_state=0)).fit(X, y)
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
    reached = {
        side: statistics.median(values(found, side, "log_loss"))
        for side in (OURS, CLOSE, *SOLVERS)
        if values(found, side)
    }
    peers = {side: loss for side, loss in reached.items() if side in SOLVERS}
    notes = [
        f"{side}: log-loss on the training codes {loss:.5f} in "
        f"{statistics.median(values(found, side)):.2f} s"
        for side, loss in reached.items()
    ]
    no_lower = {name: loss for name, loss in peers.items() if SAME * loss >= reached[OURS]}
    made = [_row("linear head on codes, s", OURS, no_lower, found, reached)]
    if CLOSE in reached:
        made.append(_row("linear head, tol=1e-5, s", CLOSE, peers, found, reached))
    return [*made[:-1], replace(made[-1], notes=notes)]


def _row(
    title: str,
    side: str,
    peers: dict[str, float],
    found: dict[str, list[Facts]],
    reached: dict[str, float],
) -> Row:
    ours, must = values(found, side), "≤ the fastest, log-loss no higher"
    # Not a solver that was quicker only because it stopped farther off than another.
    good = [name for name in peers if peers[name] <= SAME * min(peers.values())]
    if not good:
        return Row(title, ours, must)
    fastest = min(good, key=lambda name: statistics.median(values(found, name)))
    theirs = values(found, fastest)
    ratio = paired(ours, theirs)
    met = at_most(ratio, 1.0) and reached[side] <= SAME * peers[fastest]
    return Row(title, ours, must, f"scikit-learn {fastest}", theirs, ratio, met)


MEASURE = Measure(
    "linear",
    {
        OURS: Side(ours, peer=False),
        CLOSE: Side(partial(ours, tol=CLOSE_TOL), peer=False),
        **{name: Side(partial(theirs, name)) for name in SOLVERS},
    },
    rows,
    codes=True,
)
