"""A threshold by cost: the false-alarm rate at which misses and false alarms cost least.

With a cost of each missed abnormal instance, a cost of each false alarm and the share `pi` of
abnormal instances among those to come (the prevalence), a threshold costs on average::

    cost = pi * cost_of_miss * P(missed | abnormal) + (1 - pi) * cost_of_alarm * P(alarm | normal)

an instance (Elkan, The foundations of cost-sensitive learning, IJCAI 2001). Both probabilities are
shares of labelled instances that neither encoder nor detector was fitted on. The thresholds to
choose from are those of false-alarm rates, one for each p-value of these instances.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from isthmus._core import isolated_from_host, shown
from isthmus.autoencoder import InstanceEncoder, TrainingRowHashes
from isthmus.data import ABNORMAL, NORMAL, Instances
from isthmus.detection.detector_labels import read_labels_of
from isthmus.detection.point_decisions import PointCalibration
from isthmus.detection.reference_set import ReferenceSet
from isthmus.encoding import row_hashes
from isthmus.errors import CalibrationError, CalibrationWarning, DataError

#: With fewer labelled instances of a kind there is a warning: one more or less moves the choice.
FEW_LABELS = 20


@dataclass(frozen=True)
class CostChoice:
    """A false-alarm rate that was chosen by cost, and on what.

    Attributes
    ----------
    cost_of_miss, cost_of_alarm : float
        Of an abnormal instance that is called normal, and of a normal one that is called abnormal.
    prevalence : float
        Share of abnormal instances among those to come.
    prevalence_stated : bool
        Whether it was stated; otherwise it is that of the labelled instances.
    rate : float
        The false-alarm rate chosen.
    n_normal, n_abnormal : int
        Labelled instances it was chosen on.
    n_found, n_false_alarms : int
        How many of them are called abnormal at this rate, of the abnormal and of the normal.
    cost : float
        Mean cost of an instance at this rate, on these instances: chosen as the lowest, so that of
        instances to come is higher on average.
    cost_without_alarms, cost_of_all_alarms : float
        Mean cost where none, and where every instance is called abnormal.
    n_left_out : int
        Labelled instances that were left out, because encoder or detector was fitted on them.
    """

    cost_of_miss: float
    cost_of_alarm: float
    prevalence: float
    prevalence_stated: bool
    rate: float
    n_normal: int
    n_abnormal: int
    n_found: int
    n_false_alarms: int
    cost: float
    cost_without_alarms: float
    cost_of_all_alarms: float
    n_left_out: int = 0

    def facts(self) -> dict[str, Any]:
        """Return plain values.

        Returns
        -------
        dict
        """
        return asdict(self)


def choose_rate_by_cost(
    p_values: np.ndarray,
    labels: np.ndarray,
    *,
    cost_of_miss: float,
    cost_of_alarm: float,
    prevalence: float | None = None,
) -> CostChoice:
    """Return the false-alarm rate of the lowest mean cost; of several the lowest rate.

    Parameters
    ----------
    p_values : array of shape (n,)
        In (0, 1]; an instance is called abnormal where its p-value is at most the rate.
    labels : array of shape (n,)
        1 normal, -1 abnormal, both at least once.
    cost_of_miss, cost_of_alarm : float > 0
    prevalence : float in (0, 1), optional
        By default the share of abnormal labels.

    Returns
    -------
    CostChoice

    Raises
    ------
    DataError
        When a cost is not above 0, the prevalence is not in (0, 1), or one kind has no label.
    CalibrationError
        When no p-value is below 1.

    Examples
    --------
    >>> p_values = np.array([0.01, 0.02, 0.05, 0.3, 0.6, 0.9])
    >>> labels = np.array([-1, -1, 1, -1, 1, 1])
    >>> dear = choose_rate_by_cost(p_values, labels, cost_of_miss=10, cost_of_alarm=1)
    >>> cheap = choose_rate_by_cost(p_values, labels, cost_of_miss=1, cost_of_alarm=10)
    >>> (dear.rate, dear.n_found, dear.n_false_alarms), (cheap.rate, cheap.n_found)
    ((0.3, 3, 1), (0.02, 2))
    """
    for name, cost in (("cost_of_miss", cost_of_miss), ("cost_of_alarm", cost_of_alarm)):
        if isinstance(cost, bool) or not (math.isfinite(cost) and cost > 0):
            option = name.replace("_", "-")
            raise DataError(f"got {name}={shown(cost)}, expected a number above 0 (--{option})")
    if prevalence is not None and not 0 < prevalence < 1:
        raise DataError(
            f"got prevalence={shown(prevalence)}, expected the share of abnormal instances among "
            "those to come, between 0 and 1, such as 0.01 (on the command line --prevalence)"
        )
    abnormal = np.sort(p_values[labels == ABNORMAL])
    normal = np.sort(p_values[labels == NORMAL])
    if not (len(abnormal) and len(normal)):
        raise DataError(
            f"got {len(normal)} normal and {len(abnormal)} abnormal labelled instances, expected "
            "both: a threshold by cost is chosen on labelled instances that were not fitted on; "
            "label more, or set the threshold by --false-alarm-rate"
        )
    share = len(abnormal) / (len(abnormal) + len(normal)) if prevalence is None else prevalence
    rates = np.unique(p_values[p_values < 1])
    if not len(rates):
        raise CalibrationError(
            "no labelled instance is less normal than all calibration rows, so that no threshold "
            "finds any; the detector cannot tell them apart: set a --false-alarm-rate"
        )
    found = np.searchsorted(abnormal, rates, "right")
    false = np.searchsorted(normal, rates, "right")
    missed = 1 - found / len(abnormal)
    costs = share * cost_of_miss * missed + (1 - share) * cost_of_alarm * false / len(normal)
    # Costs that differ by rounding alone are equal.
    best = int(np.flatnonzero(costs <= costs.min() * (1 + 1e-12))[0])
    return CostChoice(
        cost_of_miss=float(cost_of_miss),
        cost_of_alarm=float(cost_of_alarm),
        prevalence=float(share),
        prevalence_stated=prevalence is not None,
        rate=float(rates[best]),
        n_normal=len(normal),
        n_abnormal=len(abnormal),
        n_found=int(found[best]),
        n_false_alarms=int(false[best]),
        cost=float(costs[best]),
        cost_without_alarms=float(share * cost_of_miss),
        cost_of_all_alarms=float((1 - share) * cost_of_alarm),
    )


class CostThresholdMixin:
    """The threshold of a fitted detector, chosen by cost."""

    cost_choice_: CostChoice | None = None
    encoder_: InstanceEncoder
    reference_set_: ReferenceSet
    point_calibration_: PointCalibration | None
    normal_: Any
    score_samples: Callable[[Any], np.ndarray]
    p_values_of: Callable[..., np.ndarray]
    set_false_alarm_rate: Callable[[float], Any]
    instances_and_groups: Callable[[Any, Any], tuple[Instances, np.ndarray | None]]
    _restored_on_failure: Callable[[], AbstractContextManager[None]]

    @isolated_from_host()
    def set_threshold_by_cost(
        self,
        X: Any,
        y: Any = None,
        *,
        cost_of_miss: float,
        cost_of_alarm: float,
        prevalence: float | None = None,
        normal: str | float | None = None,
        groups: Any = None,
    ) -> Self:
        """Move the threshold to where misses and false alarms cost least; nothing is trained.

        Needed are labelled instances of both kinds that neither encoder nor detector was fitted on
        (those are found by row hashes and left out, where they are more than those of new rows that
        equal others by chance), abnormal ones of the kinds that will come, and how frequent
        abnormal ones will be. What is promised: on these instances no other rate
        costs less. The false-alarm rate that the threshold stands for holds as one that was asked
        for does if it had been fixed before; it was chosen on these labels, so with few of them
        it is exact on average only roughly. A later call of `set_false_alarm_rate` or another fit
        replaces the choice.

        Parameters
        ----------
        X : array or DataFrame of n instances, Dataset or StoredCodes
        y : array of shape (n,), optional
            1 normal, -1 abnormal, 0 unlabelled, or other labels with `normal`; by default those of
            the data set.
        cost_of_miss, cost_of_alarm : float > 0
            Only their ratio decides.
        prevalence : float in (0, 1), optional
            Share of abnormal instances among those to come; by default that of the labels.
        normal : str, int, float or bool, optional
            The label that means normal, by default that of the fit.
        groups : array of shape (n,), or name or tuple of names of columns, optional
            See `predict`.

        Returns
        -------
        self
            With `cost_choice_`, a `CostChoice`.

        Raises
        ------
        DataError
            See `choose_rate_by_cost`; and of a detector of time points, whose threshold is set by
            rate or number of alarms.
        CalibrationError
            When no threshold finds any. The detector is then unchanged.

        Warns
        -----
        CalibrationWarning
            When there are fewer than `FEW_LABELS` of a kind, or another rule costs less: calling
            every instance normal, or every one abnormal.

        Examples
        --------
        >>> from isthmus import AnomalyDetector, Autoencoder
        >>> rng = np.random.default_rng(0)
        >>> detector = AnomalyDetector(Autoencoder(max_epochs=3), random_state=0)
        >>> detector = detector.fit(rng.normal(size=(300, 6)))
        >>> X = np.vstack([rng.normal(size=(200, 6)), rng.normal(size=(50, 6)) + 4])
        >>> y = np.repeat([1, -1], [200, 50])
        >>> dear = detector.set_threshold_by_cost(X, y, cost_of_miss=100, cost_of_alarm=1)
        >>> dear.cost_choice_.n_found, dear.cost_choice_.rate == dear.false_alarm_rate_
        (50, True)
        """
        check_is_fitted(self)
        if self.point_calibration_ is not None:
            raise DataError(
                "the detector decides on time points, whose threshold is set by rate or by number "
                "of alarms: set_false_alarms (on the command line --false-alarms '1 per day')"
            )
        instances, of_rows = self.instances_and_groups(X, groups)
        labels = read_labels_of(instances, y, self.normal_ if normal is None else normal, None)
        used = np.zeros(len(labels), dtype=bool)
        if instances.has_row_hashes:
            hashes = row_hashes(self.encoder_, instances)
            of_detector = TrainingRowHashes.from_hashes(self.reference_set_.hashes)
            used = self.encoder_.training_row_hashes_.trained_on(hashes)
            used = used | of_detector.trained_on(hashes)
        of_kind = labels != 0
        chosen = np.flatnonzero(of_kind & ~used)
        p_values = self.p_values_of(-self.score_samples(instances), of_rows)[chosen]
        choice = choose_rate_by_cost(
            p_values,
            labels[chosen],
            cost_of_miss=cost_of_miss,
            cost_of_alarm=cost_of_alarm,
            prevalence=prevalence,
        )
        choice = replace(choice, n_left_out=int((of_kind & used).sum()))
        with self._restored_on_failure():
            self.set_false_alarm_rate(choice.rate)
            self.cost_choice_ = choice
        _warn_of(choice)
        return self


def _warn_of(choice: CostChoice) -> None:
    """Warn where the choice says little."""
    few = [
        f"{n} {kind}"
        for kind, n in (("normal", choice.n_normal), ("abnormal", choice.n_abnormal))
        if n < FEW_LABELS
    ]
    if few:
        warnings.warn(
            f"the threshold by cost is chosen on {' and '.join(few)} labelled instances only: one "
            "more or less may move it; label more",
            CalibrationWarning,
            stacklevel=4,
        )
    least = min(choice.cost_without_alarms, choice.cost_of_all_alarms)
    if least < choice.cost:
        every = "normal" if least == choice.cost_without_alarms else "abnormal"
        warnings.warn(
            f"calling every instance {every} would cost less ({least:.4g} an instance) than the "
            f"best threshold ({choice.cost:.4g}); check the costs, and the prevalence of "
            f"{choice.prevalence:.3g}",
            CalibrationWarning,
            stacklevel=4,
        )
