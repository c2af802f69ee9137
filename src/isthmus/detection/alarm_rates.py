"""Rates of alarms: false ones in a person's words, and the thresholds that hold them.

The alarms of all thresholds are counted at once, as rises of `alarm_levels`. With k alarms on T
held-out points, a threshold holds a rate of r alarms per point when::

    k + 1 <= r (T + c),    c = merge_gap + min_length
    k + m <= r (T + b)

where c points hold the beginning of one alarm at most, m is the number of alarms on the stretch
that has the most, and b the mean length of a stretch. Both are conformal risk control
(Angelopoulos, Bates, Fisch, Lei and Schuster, ICLR 2024). The first, with cells of c points and a
loss of 0 or 1, bounds the expected number of later alarms by r a point when cells are
exchangeable. The second, for stretches, takes the largest loss seen for the largest possible one,
and so holds but for about one stretch in as many as there are. Neither is exact for a series:
cells and stretches depend on their neighbours. More alarms may merge into fewer at a lower
threshold; the one chosen is the lowest from which up all hold the rate.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.stats import nbinom

from isthmus._core import shown
from isthmus.data import ABNORMAL, NORMAL
from isthmus.detection.calibration import Calibration, check_rate
from isthmus.errors import CalibrationError

#: Seconds of each unit of time in which a rate of alarms is stated.
UNIT_SECONDS = {
    "second": 1.0,
    "minute": 60.0,
    "hour": 3600.0,
    "day": 86_400.0,
    "week": 604_800.0,
    "month": 2_592_000.0,
    "year": 31_536_000.0,
}
POINT_UNIT = "points"
_SHORT_UNITS = {"s": "second", "sec": "second", "min": "minute", "h": "hour", "d": "day"}
_NUMBER_WORDS = {"a": 1.0, "an": 1.0, "one": 1.0, "once": 1.0, "two": 2.0, "twice": 2.0}
_RATE = re.compile(
    r"(?P<count>\d[\d.,_]*(?:e-?\d+)?|[a-z]+)(?:\s+(?:false\s+)?alarms?)?"
    r"\s*(?:/|\bper\b|\bevery\b|\bin\b|\ba\b)\s*"
    r"(?:(?P<per>\d[\d.,_]*(?:e\d+)?)\s*)?(?P<unit>[a-z]+(?:\s+[a-z]+)?)"
)


@dataclass(frozen=True)
class AlarmRate:
    """How many false alarms are allowed in how much time, or in how many time points.

    Parameters
    ----------
    count : float
        Number of alarms, above 0.
    per : float
        Number of units, above 0.
    unit : {"second", "minute", "hour", "day", "week", "month", "year", "points"}
        A month is 30 days and a year 365.

    Examples
    --------
    >>> AlarmRate.parse("2 per week")
    AlarmRate(count=2.0, per=1.0, unit='week')
    >>> AlarmRate.parse("1 per day").per_point(step=60.0) == 1 / 1440
    True
    >>> AlarmRate.parse("1 per 2,000 points").per_point()
    0.0005
    >>> str(AlarmRate.parse("one/12 h"))
    '1 per 12 hours'
    """

    count: float
    per: float
    unit: str

    @classmethod
    def parse(cls, text: Any) -> Self:
        """Read a rate of alarms, such as "1 per day", "0.5 per week" or "1 per 2000 points".

        Parameters
        ----------
        text : str or AlarmRate
            A number, "per" or "/", and a unit with or without a number before it: second,
            minute, hour, day, week, month (30 days), year (365 days), points, time points, rows.

        Returns
        -------
        AlarmRate

        Raises
        ------
        CalibrationError
            When it is none of these, or one of its numbers is not above 0.

        Examples
        --------
        >>> from isthmus.detection import AlarmRate
        >>> rate = AlarmRate.parse("1 per day")
        >>> rate.count, rate.per, rate.unit
        (1.0, 1.0, 'day')
        >>> str(AlarmRate.parse("2/2000 points"))
        '2 per 2000 points'
        """
        if isinstance(text, cls):
            return text
        found = _RATE.fullmatch(text.strip().lower()) if isinstance(text, str) else None
        unit = None if found is None else _unit(found["unit"])
        count = None if found is None else _number(found["count"])
        per = 1.0 if found is None or found["per"] is None else _number(found["per"])
        if unit is None or count is None or per is None:
            raise CalibrationError(
                f"got false_alarms={shown(text)}, expected how many false alarms in how much "
                "time or in how many time points, each above 0, such as '1 per day', '2 per week' "
                "or '1 per 2000 points'; for a share of the time points pass false_alarm_rate"
            )
        return cls(count, per, unit)

    @property
    def is_timed(self) -> bool:
        """Whether the rate is stated in time rather than in time points."""
        return self.unit != POINT_UNIT

    def per_point(self, step: float | None = None) -> float:
        """Return the number of alarms per time point.

        Parameters
        ----------
        step : float or None
            Seconds from one time point to the next; not needed for a rate in points.

        Returns
        -------
        float in (0, 0.5]

        Raises
        ------
        CalibrationError
            When the rate is stated in time and there is no step, or it would be one alarm or more
            at every second time point.

        Examples
        --------
        >>> from isthmus.detection import AlarmRate
        >>> AlarmRate.parse("1 per hour").per_point(step=60) == 1 / 60
        True
        """
        seconds = 1.0
        if self.is_timed:
            if step is None or not step > 0:
                raise CalibrationError(
                    f"got false_alarms='{self}' for a series whose sampling step is unknown; name "
                    "the column of times with time= (on the command line --time), or state the "
                    "rate in time points, such as '1 per 2000 points'"
                )
            seconds = step / UNIT_SECONDS[self.unit]
        rate = self.count * seconds / self.per
        if rate > 0.5:  # an alarm takes a point, and so does the gap to the next
            raise CalibrationError(
                f"got false_alarms='{self}', which is {rate:.3g} alarms per time point; expected "
                "at most one in two time points: ask for fewer"
            )
        return rate

    def like(self, rate: float, step: float | None = None) -> Self:
        """Return another rate of alarms per time point in the units of this one, rounded up.

        Parameters
        ----------
        rate : float, at least 0
            Alarms per time point.
        step : float, optional
            Seconds between time points; needed for a rate in time.

        Returns
        -------
        AlarmRate
            With three significant digits.

        Raises
        ------
        CalibrationError
            When this rate is stated in time and there is no step.

        Examples
        --------
        >>> from isthmus.detection import AlarmRate
        >>> str(AlarmRate.parse("1 per day").like(0.001, step=60))
        '1.44 per day'
        """
        unit_points = self.per
        if self.is_timed:
            if step is None or not step > 0:
                raise CalibrationError("a rate in time needs the sampling step in seconds")
            unit_points *= UNIT_SECONDS[self.unit] / step
        count = rate * unit_points
        if not count > 0:
            return type(self)(0.0, self.per, self.unit)
        digit = 10.0 ** (np.floor(np.log10(count)) - 2)
        return type(self)(
            float(f"{np.ceil(count / digit - 1e-9) * digit:.3g}"), self.per, self.unit
        )

    def needs_more(self, n_points: int, cell: int, step: float | None = None) -> str:
        """Return a warning for held-out time points that are too few for the rate.

        Parameters
        ----------
        n_points : int
            Held out.
        cell : int
            Time points that hold the beginning of one alarm at most.
        step : float or None
            Seconds between time points.

        Returns
        -------
        str

        Examples
        --------
        >>> from isthmus.detection import AlarmRate
        >>> AlarmRate.parse("1 per 2000 points").needs_more(n_points=500, cell=4)[:70]
        "false_alarms='1 per 2000 points' needs at least 1,996 time points of n"
        """
        known_step = step if self.is_timed else None
        needed = as_duration(np.ceil(1 / self.per_point(step)) - cell, known_step)
        smallest = self.like(1 / (n_points + cell), step)
        return (
            f"false_alarms='{self}' needs at least {needed} of normal data held out, and "
            f"there are {as_duration(n_points, known_step)}: the threshold is the highest "
            f"score among them, which promises '{smallest}'; bring more normal data"
        )

    def __str__(self) -> str:
        """Return the rate as it is written: "1 per day"."""
        if not self.is_timed:
            return f"{self.count:g} per {self.per:.12g} points"
        many = "" if self.per == 1 else f"{self.per:.12g} "
        return f"{self.count:g} per {many}{self.unit}{'' if self.per == 1 else 's'}"


def as_duration(n_points: float, step: float | None) -> str:
    """Return a number of time points as a person says it: in time where the step is known.

    Examples
    --------
    >>> as_duration(90, 60.0), as_duration(2000, None), as_duration(4320, 60.0)
    ('1.5 hours', '2,000 time points', '3 days')
    """
    if step is None or not step > 0:
        return f"{n_points:,.0f} time point{'' if round(n_points) == 1 else 's'}"
    seconds = n_points * step
    unit = next(
        (name for name in ("day", "hour", "minute") if seconds >= UNIT_SECONDS[name]), "second"
    )
    amount = f"{seconds / UNIT_SECONDS[unit]:,.3g}"
    return f"{amount} {unit}{'' if amount == '1' else 's'}"


@dataclass(frozen=True)
class AlarmThreshold:
    """A threshold on the anomaly score of time points that holds a rate of false alarms.

    Attributes
    ----------
    threshold : float
        A point is abnormal when its anomaly score is above it.
    asked : AlarmRate
    per_point : float
        The same as alarms per time point.
    n_alarms : int
        Alarms on the held-out blocks.
    n_points : int
        Time points of the held-out blocks.
    share_of_points : float
        Share of these that are above the threshold.
    realised : dict
        As `BlockCalibration.realised` returns it, in alarms per time point: of each stretch at the
        threshold of all others.
    held : bool
        Whether the blocks are long enough for the rate.
    """

    threshold: float
    asked: AlarmRate
    per_point: float
    n_alarms: int
    n_points: int
    share_of_points: float
    realised: dict[str, Any]
    held: bool = True

    def band(self, n_points: int, confidence: float = 0.9) -> tuple[int, int]:
        """Return between how many false alarms a new normal stretch has with a probability.

        Negative binomial: alarms in a Poisson process whose rate is known from those held out.

        Parameters
        ----------
        n_points : int
            Time points of the new stretch.
        confidence : float in (0, 1)
        """
        tails = [(1 - confidence) / 2, (1 + confidence) / 2]
        share = self.n_points / (self.n_points + n_points)
        low, high = nbinom.ppf(tails, self.n_alarms + 1, share)
        return int(low), int(high)


class AlarmCounts:
    """Number of alarms on each stretch at every threshold at which it changes."""

    def __init__(self, levels: np.ndarray, blocks: np.ndarray, fold: np.ndarray) -> None:
        before = np.concatenate([[-np.inf], levels[:-1]])
        before[blocks[:, 0]] = -np.inf
        self.at = np.flatnonzero(levels > before)  # an alarm begins here at before <= t < levels
        self.low, self.high = before[self.at], levels[self.at]
        values = np.unique(np.concatenate([self.low, self.high]))[::-1]
        self.values = values[np.isfinite(values)]  # from the highest down
        self.n_points = np.bincount(fold)
        self.counts = np.zeros((len(self.n_points), len(self.values)), dtype=np.int32)
        for one in range(len(self.n_points)):
            own = fold[self.at] == one
            for ends, sign in ((self.low[own], 1), (self.high[own], -1)):
                self.counts[one] += sign * np.searchsorted(np.sort(ends), self.values, "right")

    def lowest_threshold(self, folds: np.ndarray, per_point: float, cell: int) -> float:
        """Return the lowest threshold from which up stretches hold a rate, see the top."""
        if not len(self.values):
            return 0.0
        total, worst = self.counts[folds].sum(axis=0), self.counts[folds].max(axis=0)
        n = self.n_points[folds].sum()
        broken = total + 1 > per_point * (n + cell) + 1e-9
        broken |= total + worst > per_point * (n + n / len(folds)) + 1e-9
        first = np.flatnonzero(broken & (total > 0))
        chosen = self.values[first[0] - 1 if len(first) else -1]
        return float(Calibration.with_tolerance(np.array([chosen])).scores[0])

    def begins(self, threshold: float, n: int) -> np.ndarray:
        """Return for each of n points whether an alarm begins there."""
        found = np.zeros(n, dtype=bool)
        found[self.at[(self.low <= threshold) & (threshold < self.high)]] = True
        return found


def _unit(text: str) -> str | None:
    words = text.split()
    if words[0] == "time" and len(words) == 2:
        words = words[1:]
    if len(words) != 1:
        return None
    word = words[0]
    if word in ("point", "points", "row", "rows"):
        return POINT_UNIT
    word = _SHORT_UNITS.get(word, word.removesuffix("s"))
    word = _SHORT_UNITS.get(word, word)
    return word if word in UNIT_SECONDS else None


def _number(text: str) -> float | None:
    if text in _NUMBER_WORDS:
        return _NUMBER_WORDS[text]
    if not re.fullmatch(r"(\d{1,3}([,_]\d{3})+|\d+)(\.\d*)?(e-?\d+)?", text):
        return None  # "0,5" could be a half or five
    number = float(text.replace(",", "").replace("_", ""))
    return number if 0 < number < float("inf") else None


class AdaptiveRate:
    """A threshold that moves with the stream, so that a share of its rows is called abnormal.

    Row t is abnormal where its p-value is at most a(t), and::

        a(t + 1) = a(t) + step (rate - [row t is abnormal])

    What is promised is the share of **alarms**, in the long run and for any data whatever, also
    such as drift: after n rows it differs from the rate by at most `bound`. It is not the share of
    false alarms: where more rows really are abnormal, others of them are called normal, and where
    nothing is abnormal the share is called abnormal all the same. For one row nothing is promised.

    Parameters
    ----------
    rate : float in (0, 1)
        Share of rows to be called abnormal.
    step : float above 0, default=0.005
        Larger steps follow faster, and let a(t) vary more.

    Attributes
    ----------
    threshold : float
        a(t); at or below 0 no row is abnormal, from 1 on every one is.
    n, alarms : int
        Rows so far, and those of them that were called abnormal.

    References
    ----------
    Gibbs and Candès, "Adaptive conformal inference under distribution shift", 2021, proposition 4.1.

    Examples
    --------
    >>> import numpy as np
    >>> p_values = np.random.default_rng(0).random(20_000) ** 3  # far too small: the data moved
    >>> adaptive = AdaptiveRate(0.05)
    >>> found = adaptive.decide(p_values)
    >>> adaptive = AdaptiveRate.from_state(adaptive.state())
    >>> abs(adaptive.alarms / adaptive.n - 0.05) <= adaptive.bound, bool((p_values <= 0.05).mean() > 0.3)
    (True, True)
    """  # noqa: E501

    def __init__(self, rate: float, step: float = 0.005) -> None:
        check_rate(rate, "rate")
        if isinstance(step, bool) or not isinstance(step, int | float) or not step > 0:
            raise CalibrationError(f"got step={step!r}, expected a number above 0, such as 0.005")
        self.rate, self.step, self.threshold = float(rate), float(step), float(rate)
        self.n = self.alarms = 0

    def decide(self, p_values: np.ndarray) -> np.ndarray:
        """Return 1 for normal and -1 for abnormal rows, and move the threshold row by row.

        Parameters
        ----------
        p_values : array of shape (n,), in (0, 1]
            In the order in which the rows came.

        Returns
        -------
        int8 array of shape (n,)
        """
        found = np.full(len(p_values), NORMAL, dtype=np.int8)
        for row, p_value in enumerate(np.asarray(p_values, dtype=np.float64).tolist()):
            abnormal = p_value <= self.threshold
            found[row] = ABNORMAL if abnormal else NORMAL
            self.threshold += self.step * (self.rate - abnormal)
            self.alarms += abnormal
        self.n += len(found)
        return found

    def state(self) -> dict[str, Any]:
        """Return plain values, for JSON, from which `from_state` goes on.

        Returns
        -------
        dict
            `rule`, which is "adaptive"; `rate`, `step`, `threshold`; `n` rows and `alarms` so far.
        """
        return {
            "rule": "adaptive",
            "rate": self.rate,
            "step": self.step,
            "threshold": self.threshold,
            "n": self.n,
            "alarms": self.alarms,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Go on from what `state` returned.

        Parameters
        ----------
        state : mapping
            As `state` returned it.

        Returns
        -------
        AdaptiveRate

        Raises
        ------
        CalibrationError
            When it is no such state.
        """
        n, alarms, threshold = state.get("n"), state.get("alarms"), state.get("threshold")
        if (
            state.get("rule") != "adaptive"
            or not (type(n) is int and type(alarms) is int and 0 <= alarms <= n)
            or not isinstance(threshold, float)
        ):
            raise CalibrationError(
                f"got {shown(dict(state))}, expected the state of an adaptive rate: rule "
                "'adaptive', rate, step, threshold, n and alarms; begin a new one"
            )
        adaptive = cls(state.get("rate"), state.get("step"))  # type: ignore[arg-type]
        adaptive.n, adaptive.alarms, adaptive.threshold = n, alarms, threshold
        return adaptive

    @property
    def bound(self) -> float:
        """How far the share of alarms may be from the rate after the rows so far, at most."""
        if not self.n:
            return math.inf
        return (max(self.rate, 1 - self.rate) + self.step) / (self.step * self.n)
