"""Conformal prediction sets of classes, selective classification, and temperature scaling.

The nonconformity of an instance x with a class y is the negative log-odds that the head gives::

    s(x, y) = ln(1 - p_y(x)) - ln p_y(x)

which orders instances as 1 - p_y(x) does, the score of Sadinle, Lei and Wasserman (Least ambiguous
set-valued classifiers with bounded error levels, JASA 114, 2019), and keeps digits where p is near
0 or 1. With the scores s_i of n labelled instances that the head did not learn from, at their
own classes, the conformal p-value of class y is::

    p_y = (1 + #{s_i >= s(x, y)}) / (n + 1)

and the prediction set at `alpha` holds the classes with p_y > alpha. When (x, y) and the
calibration instances are exchangeable, P(y in set) >= 1 - alpha for every head and every n (Vovk,
Gammerman and Shafer, 2005). By class only the calibration instances of class y are counted, and the
same holds within each class (Vovk, Conditional validity of inductive conformal predictors, 2012).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from scipy.optimize import minimize_scalar

from isthmus.classification.acceptance import Acceptance, accept_most_certain
from isthmus.detection import Calibration, check_rate, rows_needed

#: Probabilities below this, and above 1 less this, count as equal.
SMALLEST_PROBABILITY = 1e-12
#: Added to the share of each class in the votes of neighbours, where these are calibrated.
SMOOTHING = 1e-3
#: Of the normal prior of the logarithm of a temperature.
PRIOR_DEVIATION = 0.5


def negative_log_odds(probabilities: np.ndarray) -> np.ndarray:
    """Return the nonconformity of each instance with each class, of the shape given.

    Parameters
    ----------
    probabilities : array

    Returns
    -------
    float64 array of the same shape

    Examples
    --------
    >>> (negative_log_odds(np.array([[0.5, 0.5], [0.9, 0.1]])).round(2) + 0.0).tolist()
    [[0.0, 0.0], [-2.2, 2.2]]
    """
    against = np.log(np.maximum(1 - probabilities, SMALLEST_PROBABILITY))
    found: np.ndarray = against - np.log(np.maximum(probabilities, SMALLEST_PROBABILITY))
    return found


def smoothed_votes(votes: np.ndarray) -> np.ndarray:
    """Return shares of votes (n, n_classes) with `SMOOTHING` votes more for each class.

    Five neighbours of one class do not make the others impossible. The order is the same.
    """
    found: np.ndarray = (votes + SMOOTHING) / (1 + SMOOTHING * votes.shape[1])
    return found


def with_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return the probabilities softmax(ln p / temperature), in the same order in each row.

    Parameters
    ----------
    probabilities : array of shape (n, n_classes)
    temperature : float above 0
        Above 1 probabilities become more equal, below 1 less.

    Returns
    -------
    float64 array of shape (n, n_classes)

    Examples
    --------
    >>> with_temperature(np.array([[0.9, 0.1]]), 2.0).round(2).tolist()
    [[0.75, 0.25]]
    """
    logits = np.log(np.asarray(probabilities, np.float64) + SMALLEST_PROBABILITY) / temperature
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    return logits / logits.sum(axis=1, keepdims=True)


def fit_temperature(probabilities: np.ndarray, places: np.ndarray) -> float:
    """Return the temperature with the lowest log-loss (Guo et al., ICML 2017).

    The logarithm of the temperature has a normal prior around 0 of deviation `PRIOR_DEVIATION`,
    which weighs as a label or so: where no prediction is wrong the log-loss alone has no minimum.

    Parameters
    ----------
    probabilities : array of shape (n, n_classes)
        Of instances that the head did not learn from.
    places : int array of shape (n,)
        The column of each instance's class.

    Returns
    -------
    float
        From exp(-5) to exp(5); 1 without instances.

    Examples
    --------
    >>> sure = np.array([[0.99, 0.01], [0.99, 0.01], [0.99, 0.01], [0.01, 0.99]])
    >>> fit_temperature(sure, np.array([0, 0, 1, 1])) > 1.5  # one of four is wrong
    True
    """
    n = len(probabilities)
    if not n:
        return 1.0
    logits = np.log(np.asarray(probabilities, np.float64) + SMALLEST_PROBABILITY)
    logits -= logits.max(axis=1, keepdims=True)
    of_label = float(logits[np.arange(n), places].mean())

    def loss(log_beta: float) -> float:
        scale = math.exp(log_beta)
        log_loss = float(np.log(np.exp(scale * logits).sum(axis=1)).mean()) - scale * of_label
        return log_loss + (log_beta / PRIOR_DEVIATION) ** 2 / (2 * n)

    found = minimize_scalar(loss, bounds=(-5, 5), method="bounded", options={"xatol": 1e-8})
    return math.exp(-found.x)


class ClassCalibration:
    """Nonconformity of labelled instances that a head did not learn from.

    With several heads, each fitted without a part of the labels, an instance is compared with the
    calibration instances of each part by the head of that part, as they were: cross-conformal
    prediction (Vovk, Cross-conformal predictors, 2015), CV+ for classes (Romano, Sesia and Candès,
    NeurIPS 2020).

    Parameters
    ----------
    scores : array of shape (n,)
        Nonconformity of each instance with its class; infinite where the head lacks the class.
    places : int array of shape (n,)
        Position of each instance's class among those of the head, -1 where it lacks it.
    predicted_scores : array of shape (n,)
        Nonconformity of each instance with the predicted class.
    right : boolean array of shape (n,)
        Whether the predicted class is the instance's.
    n_classes : int
    parts : int array of shape (n,), optional
        Which head scored each instance; by default 0, the only one.

    Examples
    --------
    >>> places = np.random.default_rng(0).integers(2, size=199)
    >>> probabilities = np.where(np.eye(2)[places] > 0, 0.8, 0.2)
    >>> calibration = ClassCalibration.of(probabilities, places)
    >>> new = np.array([[[0.8, 0.2]]])
    >>> calibration.p_values_of(negative_log_odds(new)).tolist()
    [[1.0, 0.005]]
    >>> calibration.counted(part=0, place=1).n, calibration.lacking(0.001).tolist()
    (110, [0, 1])
    >>> calibration.accept(max_error=0.05).share
    1.0
    >>> again = ClassCalibration.from_state(calibration.state())
    >>> again.p_values(new).tolist()
    [[1.0, 0.005]]
    """

    def __init__(
        self,
        scores: np.ndarray,
        places: np.ndarray,
        predicted_scores: np.ndarray,
        right: np.ndarray,
        n_classes: int,
        parts: np.ndarray | None = None,
    ) -> None:
        self.scores, self.places = np.asarray(scores, np.float64), np.asarray(places, np.int64)
        self.predicted_scores = np.asarray(predicted_scores, np.float64)
        self.right, self.n_classes = np.asarray(right, bool), int(n_classes)
        self.parts = np.zeros(self.n, np.int64) if parts is None else np.asarray(parts, np.int64)

    @classmethod
    def of(
        cls, probabilities: np.ndarray, places: np.ndarray, parts: np.ndarray | None = None
    ) -> Self:
        """Calibrate on probabilities (n, n_classes) and positions of classes (n,), -1 for none.

        Parameters
        ----------
        probabilities : array of shape (n, n_classes)
            Of calibration instances, by a head that was not fitted on them.
        places : int array of shape (n,)
            Position of the class of each; -1 for none.
        parts : int array of shape (n,), optional
            Which head gave the probabilities; by default one gave all.

        Returns
        -------
        ClassCalibration
        """
        scores = negative_log_odds(probabilities)
        rows, predicted = np.arange(len(scores)), probabilities.argmax(axis=1)
        own = np.where(places >= 0, scores[rows, np.maximum(places, 0)], np.inf)
        top, right = scores[rows, predicted], predicted == places
        return cls(own, places, top, right, scores.shape[1], parts)

    @property
    def n(self) -> int:
        """Number of calibration instances."""
        return len(self.scores)

    @property
    def n_by_class(self) -> np.ndarray:
        """Numbers of calibration instances of each class, shape (n_classes,)."""
        return np.bincount(self.places[self.places >= 0], minlength=self.n_classes)

    def counted(self, part: int, place: int | None = None) -> Calibration:
        """Return the scores of a part, or of one class of it, among which instances are ranked.

        Parameters
        ----------
        part : int
        place : int, optional
            Position of a class.

        Returns
        -------
        Calibration
        """
        chosen = self.parts == part
        if place is not None:
            chosen &= self.places == place
        return Calibration.with_tolerance(self.scores[chosen])

    def p_values(self, probabilities: np.ndarray, *, by_class: bool = False) -> np.ndarray:
        """Return the conformal p-value of each class, shape (n, n_classes).

        Parameters
        ----------
        probabilities : array of shape (n_parts, n, n_classes)
            Of the head of each part, before the temperature.
        by_class : bool, default=False
            Count calibration instances of the class alone.

        Returns
        -------
        float64 array of shape (n, n_classes), in (0, 1]
        """
        return self.p_values_of(negative_log_odds(np.asarray(probabilities)), by_class=by_class)

    def p_values_of(self, scores: np.ndarray, *, by_class: bool = False) -> np.ndarray:
        """Return the p-values of nonconformity scores, (n_parts, n, n_classes), as `p_values`.

        Parameters
        ----------
        scores : array of shape (n_parts, n, n_classes)
            See `negative_log_odds`.
        by_class : bool, default=False
            Count calibration instances of the class alone.

        Returns
        -------
        float64 array of shape (n, n_classes), in (0, 1]
        """
        n = self.n_by_class if by_class else self.n
        at_least = np.zeros(scores.shape[1:])
        for part, of_part in enumerate(scores):
            if by_class:
                for place in range(self.n_classes):
                    counted = self.counted(part, place)
                    at_least[:, place] += counted.at_least(of_part[:, place])
            else:
                at_least += self.counted(part).at_least(of_part)
        found: np.ndarray = (1 + at_least) / (n + 1)
        return found

    def lacking(self, alpha: float, *, by_class: bool = False) -> np.ndarray:
        """Return the positions of classes that are in every set: too few instances for `alpha`.

        Parameters
        ----------
        alpha : float in (0, 1)
        by_class : bool, default=False
            Count calibration instances of the class alone.

        Returns
        -------
        int array of shape (k,)

        Raises
        ------
        CalibrationError
            When `alpha` is not in (0, 1).
        """
        check_rate(alpha, "alpha")
        counts = self.n_by_class if by_class else np.full(self.n_classes, self.n)
        return np.flatnonzero(counts < rows_needed(alpha))

    def accept(self, max_error: float, confidence: float = 0.95) -> Acceptance:
        """Return which instances can be accepted with at most a share of wrong predictions.

        With probability `confidence` over the calibration instances, the share of wrong predictions
        among accepted instances is at most `max_error`, where these are independent draws from the
        same source as the calibration instances. All thresholds are tested at once, see
        `isthmus.classification.accept_most_certain`, and the one that accepts most is returned.

        Parameters
        ----------
        max_error, confidence : float in (0, 1)

        Returns
        -------
        Acceptance

        Raises
        ------
        CalibrationError
            When `max_error` or `confidence` is not in (0, 1).
        """
        check_rate(max_error, "max_error")
        check_rate(confidence, "confidence")
        return accept_most_certain(self.predicted_scores, self.right, max_error, confidence)

    def state(self) -> dict[str, Any]:
        """Return the calibration as arrays and plain values.

        Returns
        -------
        dict
            The parameters by name.
        """
        return {
            "scores": self.scores,
            "places": self.places,
            "predicted_scores": self.predicted_scores,
            "right": self.right,
            "n_classes": self.n_classes,
            "parts": self.parts,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild a calibration from what `state` returned.

        Parameters
        ----------
        state : mapping
            As `state` returned it.

        Returns
        -------
        ClassCalibration
        """
        return cls(**state)
