"""Abnormal rows among the training rows, where nobody has labelled them.

A detector counts unlabelled rows as normal. Abnormal ones among them do two things: an instance
near one of them looks normal, and the highest calibration scores are theirs, so that the threshold
is too high. `AnomalyDetector(contamination=)` bounds their share, and fits in two rounds:

1. **Training.** `screened_rows` finds rows that may be abnormal, at most the share stated, and the
   encoder and the score are fitted on the others. In rounds of a twentieth of the rows it takes
   those that are farthest from their k-th nearest, with k a tenth of the rows: a smaller group of
   abnormal rows cannot hide behind each other, as it does from the mean distance to the five
   nearest. Where all rows are normal these are the sparsest, and a detector without them is worse.
   They are left out only where more than half of them hide each other, so that their mean distance
   to the five nearest is a fifth longer without the others; then the next round follows.
2. **Calibration.** No row is left out because it was screened: that would be a selection by its
   score. `excess_rows` leaves out as many of the highest calibration scores as there are more than
   the tail of the normal ones explains. The tail is exponential, fitted to the scores below those
   that may be abnormal, and of the excess a lower bound is taken.

A score that is fitted on labelled abnormal rows gives the unlabelled ones like them high scores,
and nothing hides them: `labelled_excess_rows` then starts its window at the bound and not at twice
the bound, and takes rows labelled normal as evidence of how high normal rows score.
`find_unlabelled_abnormal` warns where such rows calibrate and raise the threshold.

What is promised: where the scores of normal rows have a tail no heavier than the exponential one
fitted to the rows below, rates are at most those asked, up to the error of the estimate. Where it
is heavier, normal rows are left out as well, at most the share c stated, and the rate is at most
(rate + c) / (1 - c). Rows that are left out only lower the threshold: where nothing is, the
calibration is that without the option. See `docs/detection.md` for what is realised.

Bashari, Sesia and Romano ("Robust conformal outlier detection under contaminated reference data",
ICML 2025) have people label the highest scores, which needs no assumption, as `add_labels` does.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq

from isthmus._core import shown
from isthmus.data import ABNORMAL, NORMAL
from isthmus.detection.detector_labels import UNKNOWN
from isthmus.detection.features import Features
from isthmus.detection.labelled_scores import (
    BlendedScore,
    LabelledScore,
    held_out_scores,
    label_free_method,
)
from isthmus.detection.scores import NeighbourScore, Score
from isthmus.detection.series_score import ALL_LABEL_FREE
from isthmus.errors import DataError, DataWarning

#: The bound that `"auto"` means.
AUTO = 0.1
#: The one that a warning advises.
ADVISED = 0.05
#: Share of rows that one round of screening leaves out, at most, and that of the nearest rows, the
#: farthest of which counts: a smaller group cannot hide.
STEP, REACH = 0.05, 0.1
#: Rows that others are compared with in screening, at most.
MAX_COMPARED = 4000
#: Nearest rows whose mean distance is compared with and without the other suspects.
N_NEAREST = 5
#: A row is hidden by others where that distance grows by so much without them.
GROWTH = 1.2
#: Share of the calibration rows by which the tail is fitted.
WINDOW = 0.3
#: Standard errors by which excess and rate of the tail are bounded.
ERRORS_OF_EXCESS, ERRORS_OF_RATE = 2.0, 1.5
#: The latter where a labelled score decides.
LABELLED_ERRORS_OF_RATE = 1.0
#: Folds in which labelled abnormal rows are scored by the others, and normal rows beside them.
FOLDS, MAX_NORMAL = 5, 2000
#: Distances between so many rows are held at once.
CHUNK = 1024


@dataclass(frozen=True, eq=False)
class Contamination:
    """What a fit under a bound of abnormal training rows left out.

    Attributes
    ----------
    bound : float in (0, 0.5)
    auto : bool
        Whether the bound is `AUTO` because none was stated.
    trimmed : int array of shape (k,)
        Numbers of the rows that neither encoder nor score are fitted on.
    left_out : int array of shape (l,)
        Numbers of the rows that do not calibrate.
    n_calibration : int
        Rows that calibrate or were left out of calibration.

    Examples
    --------
    >>> import numpy as np
    >>> from isthmus import AnomalyDetector, Autoencoder
    >>> X = np.random.default_rng(0).normal(size=(400, 6))
    >>> X[:20] += 6
    >>> detector = AnomalyDetector(
    ...     Autoencoder(max_epochs=2),
    ...     method="mahalanobis",
    ...     calibration="split",
    ...     contamination=0.1,
    ...     random_state=0,
    ... ).fit(X)
    >>> found = detector.contamination_
    >>> found.bound, len(found.trimmed), int((found.trimmed < 20).sum())
    (0.1, 15, 15)
    >>> found.facts()["n_left_out"]
    0
    """

    bound: float
    auto: bool
    trimmed: np.ndarray
    left_out: np.ndarray
    n_calibration: int

    def facts(self, hashes: np.ndarray | None = None) -> dict[str, Any]:
        """Return plain values; with hashes the rows are named, by number and hash.

        Parameters
        ----------
        hashes : uint64 array of shape (n,), optional
            Of all rows, by which they are found elsewhere.

        Returns
        -------
        dict
            `bound`, `auto`; `estimate`, the share left out of calibration; `n_trimmed`,
            `n_left_out`, `n_calibration_before`; with hashes `trimmed` and `left_out`, lists of
            `row` and `hash`.
        """
        facts = {
            "bound": self.bound,
            "auto": self.auto,
            "estimate": len(self.left_out) / max(1, self.n_calibration),
            "n_trimmed": len(self.trimmed),
            "n_left_out": len(self.left_out),
            "n_calibration_before": self.n_calibration,
        }
        if hashes is None:
            return facts
        named = {"trimmed": self.trimmed, "left_out": self.left_out}
        return facts | {
            name: [{"row": row, "hash": f"{int(hashes[row]):016x}"} for row in rows.tolist()]
            for name, rows in named.items()
        }


def read_contamination(contamination: Any) -> float | None:
    """Return the bound that the parameter means; None where there is none.

    Raises
    ------
    DataError
        When it is neither None, `"auto"` nor a number in (0, 0.5).

    Examples
    --------
    >>> read_contamination("auto"), read_contamination(0.02), read_contamination(None)
    (0.1, 0.02, None)
    """
    if contamination is None:
        return None
    if isinstance(contamination, str) and contamination == "auto":
        return AUTO
    number = isinstance(contamination, int | float | np.number)
    if not number or isinstance(contamination, bool) or not 0 < contamination < 0.5:
        raise DataError(
            f"got contamination={shown(contamination)}, expected None, 'auto', or the largest "
            "share of abnormal rows, above 0 and below 0.5, such as 0.05 (on the command line "
            "--contamination 0.05)"
        )
    return float(contamination)


def check_applies(by_point: bool, grouped: bool, calibrated: bool) -> None:
    """Check that a bound of abnormal rows is asked for where it is supported.

    Raises
    ------
    DataError
        For series by time point, groups, and calibration rows that are given.
    """
    for given, what, instead in (
        (by_point, "series by time point", "label the abnormal stretches"),
        (grouped, "groups", "fit without groups"),
        (calibrated, "X_calibration, whose rows are normal", "leave one of them out"),
    ):
        if given:
            raise DataError(
                f"got contamination= with {what}, which is not supported; {instead}, or leave "
                "contamination out (on the command line --contamination)"
            )


def screened_rows(
    features: Features, y: np.ndarray, rows: np.ndarray, bound: float, seed: int
) -> np.ndarray:
    """Return the rows that a score should not be fitted on, see the top of this file.

    Parameters
    ----------
    features : Features
        Of n rows.
    y : int8 array of shape (n,)
        1 normal, -1 abnormal, 0 unknown.
    rows : int array of shape (m,)
        Rows to fit on, of which those of unknown label may be returned.
    bound : float in (0, 0.5)
        Largest share of these that is returned.
    seed : int

    Returns
    -------
    int array of shape (k,)
        Increasing; often none.
    """
    rows = rows[y[rows] == UNKNOWN]
    features, n, rng = features.take(rows), len(rows), np.random.default_rng([seed, 5])
    if n <= 2 * N_NEAREST:
        return rows[:0]
    score = ALL_LABEL_FREE[label_free_method(features)]().fit(features, rng)
    assert isinstance(score, NeighbourScore)  # the default of every kind of data
    points = score.space(features)
    kept, everyone = np.ones(n, dtype=bool), np.arange(n)
    rounds = math.ceil(bound / STEP - 1e-9)
    size = math.floor(bound * n / rounds + 1e-9)
    for _ in range(rounds if size else 0):
        compared = np.sort(rng.permutation(np.flatnonzero(kept))[:MAX_COMPARED])
        k = max(N_NEAREST, math.ceil(REACH * len(compared)))
        near, far = _distances(points, everyone, compared, k)
        suspects = np.argsort(np.where(kept, -far, 0.0), kind="stable")[:size]
        alone, _ = _distances(points, suspects, np.setdiff1d(compared, suspects), N_NEAREST)
        if 2 * np.count_nonzero(alone > GROWTH * near[suspects]) <= size:
            break
        kept[suspects] = False
    found: np.ndarray = rows[~kept]
    return found


def _distances(
    points: np.ndarray, rows: np.ndarray, references: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return how far rows are from others: the mean of the five nearest, and the k-th, (n,) each.

    A row that is among the references is not compared with itself.
    """
    k = min(k, len(references) - 1)
    n_nearest = min(N_NEAREST, k)
    centre = points[references].mean(axis=0)
    others = (points[references] - centre).astype(np.float32)
    lengths = np.einsum("ij,ij->i", others, others)
    near, far = np.empty(len(rows)), np.empty(len(rows))
    for first in range(0, len(rows), CHUNK):
        part = rows[first : first + CHUNK]
        own = (points[part] - centre).astype(np.float32)
        squared = lengths - 2 * own @ others.T + np.einsum("ij,ij->i", own, own)[:, None]
        squared[references == part[:, None]] = np.inf
        squared.partition((n_nearest - 1, k - 1), axis=1)
        nearest = np.sqrt(np.maximum(squared[:, :n_nearest], 0.0))
        near[first : first + CHUNK] = nearest.mean(axis=1)
        far[first : first + CHUNK] = np.sqrt(np.maximum(squared[:, k - 1], 0.0))
    return near, far


def rows_left_out(scores: np.ndarray, y: np.ndarray, bound: float, score: Score) -> np.ndarray:
    """Return the positions of calibration rows that a bound of abnormal rows leaves out.

    Parameters
    ----------
    scores : array of shape (n,)
        Anomaly scores of the calibration rows.
    y : int8 array of shape (n,)
        Their labels: 1 normal, 0 unknown, of which those of unknown label may be returned.
    bound : float in (0, 0.5)
        Largest share of these that is returned.
    score : Score
        The one that decides; of one that is fitted on labels `labelled_excess_rows` are returned,
        of others `excess_rows`.
    """
    unknown = np.flatnonzero(y == UNKNOWN)
    if isinstance(score, LabelledScore):
        found = labelled_excess_rows(scores[unknown], scores[y == NORMAL], bound)
    else:
        found = excess_rows(scores[unknown], bound)
    left_out: np.ndarray = unknown[found]
    return left_out


def labelled_excess_rows(scores: np.ndarray, normal: np.ndarray, bound: float) -> np.ndarray:
    """Return unlabelled calibration rows that score as normal ones do not, by a labelled score.

    Parameters
    ----------
    scores : array of shape (n,)
        Anomaly scores of rows without a label.
    normal : array of shape (m,)
        Those of rows labelled normal, often none.
    bound : float in (0, 0.5)
        Largest share of the n rows that is returned.

    Returns
    -------
    int array of shape (k,)
        Positions among the n rows, from the highest score down.

    Notes
    -----
    As `excess_rows`, with three differences. The tail is fitted to all n + m scores, from the one
    that `bound` n exceed down: a labelled score is high for abnormal rows, so that few are below.
    One standard error is subtracted from its rate. The number of normal rows expected above a score
    is at least (n / m) times that of rows labelled normal there. Where abnormal rows are left
    in, it errs on the side of fewer alarms: the realised rate is below the one asked for.

    Examples
    --------
    >>> import numpy as np
    >>> normal = np.random.default_rng(0).exponential(size=950)
    >>> len(labelled_excess_rows(normal, normal[:0], 0.05))
    0
    >>> len(labelled_excess_rows(np.append(normal, np.full(40, 20.0)), normal[:0], 0.05))
    40
    """
    order = np.argsort(-scores, kind="stable")
    most, none = math.floor(bound * len(scores) + 1e-9), np.zeros(0, dtype=int)
    together = np.sort(np.append(scores, normal).astype(np.float64))[::-1]
    top = math.ceil(bound * len(scores))
    end = min(len(together) - 1, top + math.ceil(WINDOW * len(together)))
    if not most or end - top < 2:
        return none
    tail, low, width = together[top:end], together[end], together[top - 1] - together[end]
    rate = _truncated_rate(tail - low, width, LABELLED_ERRORS_OF_RATE) if width > 0 else 0.0
    if rate <= 0:
        return none
    highest = scores[order[:most]].astype(np.float64)
    expected = len(tail) * np.exp(-rate * (highest - low)) / -np.expm1(-rate * width)
    expected *= len(scores) / len(together)
    known = len(normal) - np.searchsorted(np.sort(normal), highest, side="left")
    expected = np.maximum(expected, known * len(scores) / max(1, len(normal)))
    error = np.sqrt(expected + expected**2 / len(tail))
    excess = np.floor(np.arange(1, most + 1) - expected - ERRORS_OF_EXCESS * error)
    found: np.ndarray = order[: max(0, int(excess.max()))]
    return found


def find_unlabelled_abnormal(
    score: Score,
    features: Features,
    y: np.ndarray,
    fitted_on: np.ndarray,
    calibrating: np.ndarray,
    scores: np.ndarray,
    threshold: float,
    seed: int,
) -> dict[str, Any] | None:
    """Return how many unlabelled calibration rows score as labelled abnormal ones; warn of them.

    Each labelled abnormal row is scored by a head that is fitted without its fold. Nothing is
    returned where the threshold is below the median of these scores, the score is not fitted on
    labels, or rows labelled normal are as often above that median as unlabelled ones, up to two
    standard errors: the score does then not tell abnormal rows from normal ones.

    Parameters
    ----------
    score : Score
        The one that decides.
    features : Features
        Of n rows.
    y : int8 array of shape (n,)
        1 normal, -1 abnormal, 0 unknown.
    fitted_on : int array
        Rows that the score was fitted on.
    calibrating : int array of shape (m,)
        Rows that calibrate.
    scores : array of shape (m,)
        Their anomaly scores.
    threshold : float
    seed : int

    Returns
    -------
    dict or None
        `n_as_high`, `n_unlabelled` rows that calibrate, and `score`, the median.

    Warns
    -----
    DataWarning
        Where something is returned.
    """
    labelled = fitted_on[y[fitted_on] == ABNORMAL]
    if not isinstance(score, LabelledScore) or len(labelled) < 2:
        return None
    rng = np.random.default_rng([seed, 6])
    others = rng.permutation(fitted_on[y[fitted_on] != ABNORMAL])[:MAX_NORMAL]
    weight = score.weight_ if isinstance(score, BlendedScore) else 1.0
    own = []
    for fold in np.array_split(rng.permutation(labelled), min(FOLDS, len(labelled))):
        train = np.concatenate([np.setdiff1d(labelled, fold), others])
        free, head = held_out_scores(
            features.take(train), y[train] == ABNORMAL, features.take(fold), rng
        )
        own.append((1 - weight) * free + weight * head)
    median = float(np.median(np.concatenate(own)))
    high, unknown = scores >= median, y[calibrating] == UNKNOWN
    n_as_high, n = int(high[unknown].sum()), int(unknown.sum())
    share = high[~unknown].mean() if len(scores) > n else 0.0
    variance = share * (1 - share) * (n + n**2 / max(1, len(scores) - n))
    if threshold < median or n_as_high <= share * n + 2 * math.sqrt(variance):
        return None
    n_out = len(rows_left_out(scores, y[calibrating], ADVISED, score))
    bounded = f"contamination={ADVISED} would leave out none: their scores are not apart"
    if n_out:
        bounded = f"state the largest share of abnormal rows: contamination={ADVISED} "
        bounded += f"(--contamination {ADVISED}), or more, leaves out {n_out:,} by these scores"
    warnings.warn(
        f"{n_as_high:,} of {n:,} unlabelled rows that calibrate score as high as half of the rows "
        "labelled abnormal, and the threshold lies above these: where they are abnormal, they "
        "raise it, and most abnormal rows are missed; label the rows with the highest scores "
        f"(isthmus suggest){', or ' if n_out else '; '}{bounded}",
        DataWarning,
        stacklevel=4,
    )
    return {"n_as_high": n_as_high, "n_unlabelled": n, "score": median}


def excess_rows(scores: np.ndarray, bound: float) -> np.ndarray:
    """Return calibration rows whose scores are more than a normal tail explains.

    Parameters
    ----------
    scores : array of shape (n,)
        Anomaly scores, higher is more abnormal.
    bound : float in (0, 0.5)
        Largest share of rows that is returned.

    Returns
    -------
    int array of shape (k,)
        Positions, from the highest score down; mostly none where all rows are normal.

    Notes
    -----
    Let u be the score that a share of 2 `bound` exceeds and l that which a further `WINDOW`
    exceeds. The scores from l to u give the rate of an exponential distribution truncated there,
    by maximum likelihood, of which one and a half standard errors are subtracted. It expects E(t)
    normal scores above t > u; the excess is the number of scores above t less E(t) and two standard
    errors. Rows are left out from the highest down while fewer are out than the excess at their
    score.

    Examples
    --------
    >>> import numpy as np
    >>> normal = np.random.default_rng(0).exponential(size=950)
    >>> len(excess_rows(normal, 0.05))
    0
    >>> len(excess_rows(np.append(normal, np.full(50, 20.0)), 0.05))
    49
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order].astype(np.float64)
    n, top = len(scores), math.ceil(2 * bound * len(scores))
    end = min(n - 1, top + math.ceil(WINDOW * n))
    none = np.zeros(0, dtype=int)
    if not top or end - top < 2:
        return none
    above, low = ordered[top - 1], ordered[end]
    width = above - low
    rate = _truncated_rate(ordered[top:end] - low, width, ERRORS_OF_RATE) if width > 0 else 0.0
    if rate <= 0:
        return none
    size = end - top
    expected = size * np.exp(-rate * (ordered[:top] - low)) / -np.expm1(-rate * width)
    error = np.sqrt(expected + expected**2 / size)
    excess = np.arange(1, top + 1) - expected - ERRORS_OF_EXCESS * error
    most = np.minimum(np.floor(np.maximum.accumulate(excess)), math.floor(bound * n + 1e-9))
    out: list[int] = []
    for position in range(top):
        if len(out) < most[position]:
            out.append(position)
    found: np.ndarray = order[out]
    return found


def _truncated_rate(values: np.ndarray, width: float, errors: float) -> float:
    """Return the rate of an exponential on [0, width], less standard errors; 0 at least."""
    mean = float(values.mean()) / width
    if not 1e-4 < mean < 0.5 - 1e-6:  # so flat or so steep that no tail follows
        return 0.0
    rate = brentq(lambda b: 1 / b - np.exp(-b) / -np.expm1(-b) - mean, 1e-6, 1e5)
    curvature = np.exp(rate) / np.expm1(rate) ** 2 if rate < 300 else 0.0
    error = 1 / np.sqrt(len(values) * (1 / rate**2 - curvature))
    return max(0.0, float(rate - errors * error)) / width
