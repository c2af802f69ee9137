"""From how many labels on a head is better than no labels, measured on held-out rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from isthmus.heads.views import Views

#: From (training views, which of them are abnormal, test views, generator) to the scores of
#: the test views: label-free, and the head's.
HeldOut = Callable[[Views, np.ndarray, Views, np.random.Generator], tuple[np.ndarray, np.ndarray]]

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
FIRST_WEIGHT = 0.5
COUNTS = (1, 2, 3, 5, 10, 20, 50, 100)
#: Normal rows used here, at most: enough to rank against, few enough to do it in a blink.
MOST_NORMAL = 600
FOLDS, REPEATS = 5, 3
#: With fewer normal rows there is nothing to hold out, and with fewer abnormal ones whatever is
#: measured is luck.
FEWEST, FEWEST_FOUND = 3, 5


@dataclass(frozen=True)
class LabelCurve:
    """Mean AUROC by number of abnormal labels.

    Attributes
    ----------
    points : list of dict
        `labels`, `label_free`, `head`.
    wins_from : int or None
        The smallest number from which on the head is never behind; None when there is none.
    """

    points: list[dict[str, Any]]
    wins_from: int | None


def choose_weight(
    score: HeldOut, views: Views, abnormal: np.ndarray, rng: np.random.Generator
) -> float:
    """Choose what the head counts in a blend, by cross-validation over the abnormal rows.

    For each abnormal row, held out with its fold, and each weight: the share of held-out
    normal rows that score lower. One half stays unless another weight's share is larger by
    more than one standard error of the paired differences (the one-standard-error rule,
    Breiman et al., 1984): with a handful of labels the figures are mostly noise. With fewer
    than five abnormal or three normal rows nothing is measured.
    """
    found, normal = _rows(abnormal, rng)
    if len(found) < FEWEST_FOUND or len(normal) < FEWEST:
        return FIRST_WEIGHT
    shares = []
    k = min(FOLDS, len(found), len(normal))
    for hidden, apart in zip(
        np.array_split(rng.permutation(found), k), np.array_split(normal, k), strict=True
    ):
        free, head = _try(score, views, np.setdiff1d(found, hidden), normal, hidden, apart, rng)
        for row in range(len(hidden)):
            shares.append([_share(free, head, w, row, len(hidden)) for w in WEIGHTS])
    gains = np.asarray(shares) - np.asarray(shares)[:, [WEIGHTS.index(FIRST_WEIGHT)]]
    mean, error = gains.mean(axis=0), gains.std(axis=0, ddof=1) / np.sqrt(len(gains))
    best = int(mean.argmax())
    return WEIGHTS[best] if mean[best] > error[best] else FIRST_WEIGHT


def measure_curve(
    score: HeldOut, views: Views, abnormal: np.ndarray, rng: np.random.Generator
) -> LabelCurve:
    """Measure head and label-free score with growing numbers of abnormal labels.

    Three times for each number, with labels drawn anew: half of the normal rows, and all
    abnormal ones that were not drawn, are held out and ranked. With fewer than three normal
    rows there are no points.
    """
    found, normal = _rows(abnormal, rng)
    points: list[dict[str, Any]] = []
    if len(normal) < FEWEST:
        return LabelCurve(points, None)
    for count in [count for count in COUNTS if count < len(found)]:
        measured = []
        for _ in range(REPEATS):
            known = rng.permutation(found)[:count]
            hidden = np.setdiff1d(found, known)
            apart = rng.permutation(normal)[: len(normal) // 2]
            free, head = _try(score, views, known, normal, hidden, apart, rng)
            truth = np.arange(len(free)) < len(hidden)
            measured.append([roc_auc_score(truth, free), roc_auc_score(truth, head)])
        mean = np.mean(measured, axis=0)
        points.append({"labels": count, "label_free": float(mean[0]), "head": float(mean[1])})
    wins_from: int | None = None
    for point in reversed(points):
        if point["head"] < point["label_free"]:
            break
        wins_from = int(point["labels"])
    return LabelCurve(points, wins_from)


def _rows(abnormal: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    normal = rng.permutation(np.flatnonzero(~abnormal))[:MOST_NORMAL]
    return np.flatnonzero(abnormal), normal


def _try(
    score: HeldOut,
    views: Views,
    known: np.ndarray,
    normal: np.ndarray,
    hidden: np.ndarray,
    apart: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit on known abnormal and the other normal rows; score the hidden, then those apart."""
    train = np.concatenate([known, np.setdiff1d(normal, apart)])
    test = np.concatenate([hidden, apart])
    return score(views.take(train), np.isin(train, known), views.take(test), rng)


def _share(free: np.ndarray, head: np.ndarray, weight: float, row: int, first: int) -> float:
    blended = (1 - weight) * free + weight * head
    lower, equal = blended[first:] < blended[row], blended[first:] == blended[row]
    return float(lower.mean() + equal.mean() / 2)
