"""Selections of abnormal instances: by false-discovery rate, with a bound after the fact, online.

A selection holds a false-discovery rate on average (`benjamini_hochberg`). After the fact one may
ask how many of the selected instances are normal, of these or of any other choice among the same
batch. `FalseDiscoveryBound` answers with an upper bound for all choices at once.

With n calibration scores and m0 normal instances, all exchangeable and without ties, the joint
law of the conformal p-values does not depend on the scores: it is that of a Polya urn (Gazin,
Blanchard and Roquain, "Transductive conformal inference with adaptive scores", AISTATS 2024). So
the number of normal p-values at or below k / (n + 1), for all k at once, can be simulated, and with
it an envelope that it exceeds anywhere with probability 1 - confidence at most. Ties and the
tolerance of `Calibration.with_tolerance` only make p-values larger.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np

from isthmus._core import shown
from isthmus.detection.calibration import check_confidence, check_rate
from isthmus.errors import DataError

#: Numbers of p-values at which the envelope is simulated, at most; between them it is interpolated.
GRID = 128
#: Simulated urns of which the envelope is drawn, and as many others that set its confidence.
URNS = 2000
#: Shares of a batch that may be normal, for each of which there is an envelope.
SHARES = (1.0, 0.97, 0.93, 0.87, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05)
#: Factor of the levels of LOND, which makes their sum at most the rate asked.
LOND_FACTOR = 0.07720838


def benjamini_hochberg(p_values: np.ndarray, fdr: float) -> np.ndarray:
    """Select p-values with the false-discovery rate at most `fdr` (Benjamini and Hochberg, 1995).

    Parameters
    ----------
    p_values : array of shape (k,)
    fdr : float in (0, 1)
        Largest expected share of normal instances among those selected.

    Returns
    -------
    boolean array of shape (k,)

    Examples
    --------
    >>> import numpy as np
    >>> benjamini_hochberg(np.array([0.01, 0.6, 0.02, 0.9]), fdr=0.1).tolist()
    [True, False, True, False]
    """
    check_rate(fdr, "fdr")
    k = len(p_values)
    ordered = np.sort(p_values)
    passed = np.flatnonzero(ordered <= fdr * np.arange(1, k + 1) / k + 1e-12)
    return p_values <= (ordered[passed[-1]] if len(passed) else -1.0)


class FalseDiscoveryBound:
    """Upper bounds of the number of normal instances among any of a batch.

    With probability `confidence` over calibration rows and batch they hold for all choices at once,
    those made after looking at the p-values included.

    Parameters
    ----------
    p_values : array of shape (m,)
        Conformal p-values of a batch by one calibration set.
    n_calibration : int, or sequence of int
        Number of its rows; of a calibration by group those of each of its calibrations, 0 of one
        that promises nothing.
    confidence : float in (0, 1), default=0.9
    calibration_of : int array of shape (m,), optional
        Which calibration each instance has, a position in `n_calibration`.

    Attributes
    ----------
    most_normal : int
        Instances of the batch that may be normal, at most so many.

    Notes
    -----
    Let b(k) be the envelope of m0 normal p-values at k / (n + 1). Of a choice S at most
    min over k of b(k) + #{p in S above k / (n + 1)} are normal (interpolation, Blanchard, Neuvial
    and Roquain, Annals of Statistics 48, 2020). How many of the batch are normal, m0, is unknown:
    there is an envelope for each of a few numbers that m0 may be at most, and that of the largest
    which the p-values do not refute is taken. The batch refutes "more than g are normal" where more
    p-values lie at or below k / (n + 1) than b(k) and the at most m - g others. For the true m0 one
    event of probability `confidence` implies all of it, so no confidence is split. It is split
    between calibrations by group, whose bounds are added up.

    The envelope is as many quantiles as grid points, at one common level, of `URNS` simulated urns,
    and the level is the conformal quantile of `URNS` others: it holds without a simulation error.

    Examples
    --------
    >>> import numpy as np
    >>> p_values = np.concatenate([np.full(20, 0.001), np.linspace(0.01, 1, 200)])
    >>> bound = FalseDiscoveryBound(p_values, n_calibration=999)
    >>> bound.most_false(p_values <= 0.001), bound.most_false(p_values <= 0.1)
    (2, 21)
    """

    def __init__(
        self,
        p_values: np.ndarray,
        n_calibration: int | Sequence[int],
        confidence: float = 0.9,
        calibration_of: np.ndarray | None = None,
    ) -> None:
        check_confidence(confidence)
        p_values = np.asarray(p_values, dtype=np.float64)
        self.confidence = float(confidence)
        sizes = [n_calibration] if isinstance(n_calibration, int) else list(n_calibration)
        if calibration_of is None:
            calibration_of = np.zeros(len(p_values), dtype=int)
        self._of, used = calibration_of, np.unique(calibration_of).tolist()
        own = 1 - (1 - self.confidence) / max(1, len(used))
        # Each instance by the number of calibration scores at least as high, and one.
        at_most = np.asarray(sizes)[calibration_of] + 1
        self._ranks = np.rint(p_values * at_most).astype(int)
        self._bounds = {
            place: refuted_envelope(self._ranks[calibration_of == place], sizes[place], own)
            for place in used
        }
        self.most_normal = self.most_false(np.arange(len(p_values)))

    def most_false(self, chosen: np.ndarray) -> int:
        """Return how many of the chosen instances are normal, at most.

        Parameters
        ----------
        chosen : boolean array of shape (m,), or integer array of instance numbers

        Returns
        -------
        int
        """
        ranks, places = self._ranks[chosen], self._of[chosen]
        most = 0
        for place, (grid, envelope) in self._bounds.items():
            own = np.sort(ranks[places == place])
            above = len(own) - np.searchsorted(own, grid, side="right")
            most += int(min(len(own), (envelope + above).min()))
        return most


def refuted_envelope(ranks: np.ndarray, n: int, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the envelope for the most normal instances that the p-values do not refute.

    Parameters
    ----------
    ranks : int array of shape (m,)
        p-values times n + 1.
    n : int
        Calibration rows; of 0 all instances may be normal.
    confidence : float in (0, 1)

    Returns
    -------
    grid, most
        See `null_envelope`.
    """
    m, ordered = len(ranks), np.sort(ranks)
    if not n:
        return np.zeros(1, dtype=int), np.full(1, m)
    tops = sorted({math.ceil(share * m) for share in SHARES}, reverse=True)
    for top, below in zip(tops, [*tops[1:], -1], strict=True):
        grid, most = null_envelope(n, top, confidence)
        # More than `below` are normal, so that at most the others are abnormal.
        if np.all(np.searchsorted(ordered, grid, side="right") <= most + (m - below - 1)):
            break
    return grid, most


@lru_cache(maxsize=64)
def null_envelope(n: int, m: int, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Return an upper envelope of the number of normal p-values at or below k / (n + 1).

    Parameters
    ----------
    n : int, 1 or more
        Calibration rows.
    m : int, 0 or more
        Normal instances of a batch; the envelope holds for fewer too.
    confidence : float in (0, 1)
        Probability that no number exceeds the envelope at any grid point.

    Returns
    -------
    grid : int array of shape (g,)
        Values of k, from 0 to n + 1.
    most : int array of shape (g,)

    Notes
    -----
    Given the calibration scores the p-values are independent, and the shares of normal scores
    between neighbouring calibration scores are Dirichlet(1, ..., 1).

    Examples
    --------
    >>> grid, most = null_envelope(99, 100, 0.9)
    >>> [int(most[list(grid).index(k)]) for k in (0, 1, 10, 100)]
    [0, 6, 22, 100]
    """
    grid = np.unique(np.rint(np.geomspace(1, n + 1, GRID)).astype(int))
    steps = np.diff(grid, prepend=0)
    rng = np.random.default_rng([n, m])
    gaps = rng.standard_gamma(steps, size=(2 * URNS, len(steps)))
    left = np.full(2 * URNS, m)
    counts = np.zeros((2 * URNS, len(steps)), dtype=int)
    rest = np.cumsum(gaps[:, ::-1], axis=1)[:, ::-1]
    for i in range(len(steps)):
        drawn = rng.binomial(left, np.clip(gaps[:, i] / rest[:, i], 0, 1))
        left = left - drawn
        counts[:, i] = m - left
    drawn_from, held_out = np.sort(counts[:URNS], axis=0), counts[URNS:]
    # How many urns reach each number of an urn held out, where that is rarest.
    reached = np.min(
        [
            URNS - np.searchsorted(drawn_from[:, i], held_out[:, i], side="left")
            for i in range(len(steps))
        ],
        axis=0,
    )
    allowed = math.floor((1 - confidence) * (URNS + 1) + 1e-9)
    level = int(np.sort(reached)[allowed - 1]) if allowed else 0
    most = drawn_from[URNS - level] if level else np.full(len(grid), m)
    return np.append(0, grid), np.append(0, most)


@dataclass(frozen=True, eq=False)
class Selection:
    """Instances selected as abnormal, with a bound of the false discoveries among them.

    Attributes
    ----------
    mask : boolean array of shape (n,)
        True for those selected.
    p_values : float64 array of shape (n,)
        Conformal p-values of the batch.
    fdr : float
        Largest expected share of normal instances among those selected.
    confidence : float
        With this probability the bounds hold, all at once.
    most_false : int
        Normal instances among those selected, at most.
    bound : FalseDiscoveryBound
        For any other choice among the batch.

    Examples
    --------
    >>> import numpy as np
    >>> p_values = np.concatenate([np.full(20, 0.001), np.linspace(0.01, 1, 200)])
    >>> selection = Selection.of(p_values, n_calibration=999, fdr=0.1)
    >>> int(selection.mask.sum()), selection.most_false, selection.most_false_share
    (20, 2, 0.1)
    >>> selection.most_false_of(p_values <= 0.1)
    21
    >>> selection.facts()["n_selected"]
    20
    """

    mask: np.ndarray
    p_values: np.ndarray
    fdr: float
    confidence: float
    most_false: int
    bound: FalseDiscoveryBound

    @classmethod
    def of(
        cls,
        p_values: np.ndarray,
        n_calibration: int | Sequence[int],
        fdr: float = 0.1,
        confidence: float = 0.9,
        calibration_of: np.ndarray | None = None,
    ) -> Self:
        """Select by Benjamini and Hochberg's procedure, and bound the false discoveries.

        Parameters
        ----------
        p_values, n_calibration, confidence, calibration_of
            See `FalseDiscoveryBound`.
        fdr : float in (0, 1), default=0.1

        Returns
        -------
        Selection
        """
        mask = benjamini_hochberg(p_values, fdr)
        bound = FalseDiscoveryBound(p_values, n_calibration, confidence, calibration_of)
        return cls(mask, p_values, fdr, confidence, bound.most_false(mask), bound)

    def __len__(self) -> int:
        return int(self.mask.sum())

    @property
    def most_false_share(self) -> float:
        """Share of normal instances among those selected, at most; 0 where none is selected."""
        return self.most_false / max(1, len(self))

    def most_false_of(self, chosen: np.ndarray) -> int:
        """Return how many instances of another choice of the batch are normal, at most.

        Parameters
        ----------
        chosen : boolean array of shape (n,), or integer array of instance numbers
            It may have been chosen after a look at p-values and instances.

        Returns
        -------
        int
        """
        return self.bound.most_false(chosen)

    def facts(self) -> dict[str, Any]:
        """Return what was selected and what holds, as plain values.

        Returns
        -------
        dict
            Numbers by name: `n` and `n_selected` instances, `fdr`, `confidence`, `most_false`,
            `most_false_share`, `most_normal`.
        """
        return {
            "n": len(self.mask),
            "n_selected": len(self),
            "fdr": self.fdr,
            "confidence": self.confidence,
            "most_false": self.most_false,
            "most_false_share": self.most_false_share,
            "most_normal": self.bound.most_normal,
        }


class OnlineSelection:
    """Selection of abnormal instances of a stream, one after the other, at a false-discovery rate.

    LOND (Javanmard and Montanari, Annals of Statistics 46, 2018): instance t is selected when its
    p-value is at most `fdr g(t) (1 + number selected so far)`, where the g(t) sum to 1 at most. At
    every time the expected share of normal instances among those selected so far is at most `fdr`,
    also for p-values that are positively dependent (PRDS; Zrnic, Ramdas and Jordan, Journal of
    Machine Learning Research 22, 2021), as those by one calibration set are (Bates et al., 2023).
    Rules with more power (LORD, SAFFRON, ADDIS) hold for independent p-values only.

    Parameters
    ----------
    fdr : float in (0, 1), default=0.1

    Attributes
    ----------
    n_seen, n_selected : int
    level : float
        Largest p-value that the next instance may have to be selected.

    Notes
    -----
    No p-value is below 1 / (n + 1) for n calibration rows, and levels fall faster than 1 / t while
    nothing is selected: once `level` is below 1 / (n + 1), nothing is selected any more. With a few
    thousand calibration rows this is after some ten instances, unless many are abnormal. Selecting
    a batch at a time (`AnomalyDetector.select`) finds far more; see `docs/detection.md`.

    Examples
    --------
    >>> import numpy as np
    >>> online = OnlineSelection(fdr=0.1)
    >>> online.update(np.array([0.0001, 0.5, 0.001])).tolist()
    [True, False, True]
    >>> again = OnlineSelection.from_state(online.state())
    >>> (again.n_seen, again.n_selected, again.level == online.level)
    (3, 2, True)
    """

    def __init__(self, fdr: float = 0.1) -> None:
        check_rate(fdr, "fdr")
        self.fdr = float(fdr)
        self.n_seen = self.n_selected = 0

    @property
    def level(self) -> float:
        """Largest p-value that the next instance may have to be selected."""
        t = self.n_seen + 1
        falling = math.log(max(t, 2)) / (t * math.exp(math.sqrt(math.log(t))))
        return LOND_FACTOR * self.fdr * falling * (self.n_selected + 1)

    def update(self, p_values: np.ndarray) -> np.ndarray:
        """Decide on the next instances of the stream, in their order.

        Parameters
        ----------
        p_values : array of shape (k,), in [0, 1]
            Conformal p-values, by a calibration set that stays the same.

        Returns
        -------
        boolean array of shape (k,)
            True for those selected as abnormal.

        Raises
        ------
        DataError
            When a p-value is not in [0, 1]; nothing is then decided.
        """
        p_values = np.asarray(p_values, dtype=np.float64).reshape(-1)
        wrong = ~((p_values >= 0) & (p_values <= 1))
        if wrong.any():
            raise DataError(
                f"got the p-value {p_values[wrong.argmax()]:g} at {int(wrong.argmax())}, expected "
                "numbers from 0 to 1, such as detector.p_values(X)"
            )
        selected = np.zeros(len(p_values), dtype=bool)
        for i, p_value in enumerate(p_values.tolist()):
            selected[i] = p_value <= self.level
            self.n_seen += 1
            self.n_selected += int(selected[i])
        return selected

    def state(self) -> dict[str, Any]:
        """Return plain values, for JSON, from which `from_state` goes on.

        Returns
        -------
        dict
            `rule`, which is "lond"; `fdr`, `n_seen`, `n_selected`.
        """
        return {
            "rule": "lond",
            "fdr": self.fdr,
            "n_seen": self.n_seen,
            "n_selected": self.n_selected,
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
        OnlineSelection

        Raises
        ------
        DataError
            When it is no such state.
        """
        seen, selected = state.get("n_seen"), state.get("n_selected")
        if state.get("rule") != "lond" or not (
            type(seen) is int and type(selected) is int and 0 <= selected <= seen
        ):
            raise DataError(
                f"got {shown(dict(state))}, expected the state of an online selection: rule "
                "'lond', fdr, n_seen and n_selected"
            )
        online = cls(state.get("fdr"))  # type: ignore[arg-type]
        online.n_seen, online.n_selected = seen, selected
        return online
