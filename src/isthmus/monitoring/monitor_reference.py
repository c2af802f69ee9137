"""What a monitor compares new rows with, what it needs of them, and what it says of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self

import numpy as np

from isthmus._core import to_json
from isthmus.monitoring.martingales import N_BINS, bins_of, choose_edges

#: Fewer reference values of a part than this are no reference.
MIN_REFERENCE = 20
#: Share of the level of the parts of a kind, where there are all three.
SHARES = {"score": 0.5, "code": 0.25, "column": 0.25}


@dataclass(frozen=True, eq=False)
class Observed:
    """What a monitor needs of n instances.

    Attributes
    ----------
    scores : float array of shape (n,)
        Anomaly scores.
    abnormal : boolean array of shape (n,)
        Which are called abnormal.
    codes : float array of shape (n, n_components)
    columns : float array of shape (n, m) or None
        Numbers of the columns of a table, NaN where missing; of a category its position.
    unseen : boolean array of shape (n, m) or None
        Which are categories that were not there at fit.
    known : boolean array of shape (n,) or None
        Which are reference rows: they are left out, as the detector has seen them.
    calibration : str
        Digest of what decided, see `calibration_digest`; empty of an export, which never changes.
    times : list of str or None
        Where each begins; of blocks of time points, whose series bring their times.
    n_left_over : int
        Time points that make no whole block.
    """

    scores: np.ndarray
    abnormal: np.ndarray
    codes: np.ndarray
    columns: np.ndarray | None = None
    unseen: np.ndarray | None = None
    known: np.ndarray | None = None
    calibration: str = ""
    times: list[str] | None = None
    n_left_over: int = 0

    def take(self, rows: np.ndarray) -> Observed:
        """Return the instances at these row numbers.

        Parameters
        ----------
        rows : int array

        Returns
        -------
        Observed
        """
        parts: dict[str, Any] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name, values in parts.items():
            parts[name] = values[rows] if isinstance(values, np.ndarray) else values
        return Observed(**parts)


@dataclass(frozen=True, eq=False)
class MonitorReference:
    """What the parts of new rows are compared with: bins and how many reference rows are in each.

    Attributes
    ----------
    names, kinds : tuples of k str
        Of each part; a kind is `"score"`, `"code"` or `"column"`.
    edges : tuple of k float arrays or None
        Of the bins. None where no rows are at hand that the detector did not learn from: the part
        is compared with the first rows of the stream.
    counts : int array of shape (k, N_BINS)
    rate : float
        The false-alarm rate.
    calibration : str
        Digest of the calibration scores and the rate, see `calibration_digest`: also where scores
        are compared with the stream, a state is not one of another score. Empty in files of before.
    block : int
        Time points of a block, where blocks of these are compared; 1 of rows.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    edges: tuple[np.ndarray | None, ...]
    counts: np.ndarray
    rate: float
    calibration: str = ""
    block: int = 1

    @classmethod
    def of_values(
        cls,
        rate: float,
        scores: np.ndarray | None,
        codes: np.ndarray | None,
        columns: np.ndarray | None,
        n_components: int,
        column_names: Sequence[str] = (),
        seed: int = 0,
        calibration: str = "",
        block: int = 1,
    ) -> Self:
        """Build the reference from rows that the detector did not learn from.

        Parameters
        ----------
        rate : float in (0, 1)
        scores : float array of shape (n,) or None
        codes : float array of shape (n, n_components) or None
        columns : float array of shape (l, m) or None
            None where they are not at hand, NaN throughout a column to learn it from the stream.
        n_components : int
        column_names : sequence of m str
            Empty where columns are not to be watched.
        seed : int, default=0
            Decides which fifth of the rows the edges are chosen on.
        calibration : str, optional
            See `calibration_digest`.
        block : int, default=1
            Time points of which each value is one.

        Returns
        -------
        MonitorReference
        """
        parts: list[tuple[str, str, np.ndarray | None]] = [("anomaly score", "score", scores)]
        parts += [
            (f"code {at}", "code", None if codes is None else codes[:, at])
            for at in range(n_components)
        ]
        parts += [
            (name, "column", None if columns is None else _unless_unknown(columns[:, at]))
            for at, name in enumerate(column_names)
        ]
        rng = np.random.default_rng([seed, 7])
        found = [binned(values, rate, rng) for *_, values in parts]
        names, kinds = (tuple(str(one[at]) for one in parts) for at in (0, 1))
        edges, counts = zip(*found, strict=True)
        return cls(names, kinds, tuple(edges), np.stack(counts), rate, calibration, block)

    def shares(self) -> np.ndarray:
        """Return the share of the level of each part, float of shape (k,); they add up to 1.

        Returns
        -------
        float array of shape (k,)
        """
        n = {kind: self.kinds.count(kind) for kind in SHARES if kind in self.kinds}
        total = sum(SHARES[kind] for kind in n)
        return np.array([SHARES[kind] / total / n[kind] for kind in self.kinds])

    def digest(self) -> str:
        """Return a SHA-256 by which a stored state is recognised as one of this reference.

        Returns
        -------
        str
        """
        return hashlib.sha256(to_json(self.to_dict()).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values.

        Returns
        -------
        dict
        """
        return {
            "names": list(self.names),
            "kinds": list(self.kinds),
            "edges": [None if one is None else one.tolist() for one in self.edges],
            "counts": self.counts.tolist(),
            "rate": self.rate,
            **({"calibration": self.calibration} if self.calibration else {}),
            **({"block": self.block} if self.block > 1 else {}),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Rebuild from `to_dict`.

        Parameters
        ----------
        plain : mapping

        Returns
        -------
        MonitorReference

        Raises
        ------
        KeyError, TypeError, ValueError
            When it is damaged.
        """
        names, kinds = (tuple(map(str, plain[key])) for key in ("names", "kinds"))
        counts = np.array(plain["counts"], dtype=np.int64)
        edges = tuple(None if e is None else np.array(e, dtype=np.float64) for e in plain["edges"])
        there = [e for e in edges if e is not None]
        if (
            counts.shape != (len(names), N_BINS)
            or not len(names) == len(kinds) == len(edges)
            or not set(kinds) <= set(SHARES)
            or any(e.ndim != 1 or len(e) > N_BINS - 2 for e in there)
            or not 0 < float(plain["rate"]) < 1
            or (counts < 0).any()
        ):
            raise ValueError("its parts do not match each other")
        calibration = str(plain.get("calibration", ""))
        block = int(plain.get("block", 1))
        return cls(names, kinds, edges, counts, float(plain["rate"]), calibration, block)


def calibration_digest(scores: np.ndarray, rate: float) -> str:
    """Return a SHA-256 of calibration scores, float of shape (n,), and a false-alarm rate.

    Parameters
    ----------
    scores : float array of shape (n,)
    rate : float in (0, 1)

    Returns
    -------
    str
    """
    content = np.ascontiguousarray(scores, dtype="<f8").tobytes() + repr(float(rate)).encode()
    return hashlib.sha256(content).hexdigest()


def _unless_unknown(values: np.ndarray) -> np.ndarray | None:
    return None if np.isnan(values).all() else values


def binned(
    values: np.ndarray | None, rate: float, rng: np.random.Generator
) -> tuple[np.ndarray | None, np.ndarray]:
    """Return edges from a random fifth of the values, and the counts of the others by bin.

    Without values, or of fewer than `MIN_REFERENCE`, there are no edges.
    """
    if values is None or len(values) < MIN_REFERENCE:
        return None, np.zeros(N_BINS, dtype=np.int64)
    values = np.asarray(values, dtype=np.float64)[rng.permutation(len(values))]
    fifth = len(values) // 5
    edges = choose_edges(values[:fifth], rate)
    return edges, np.bincount(bins_of(values[fifth:], edges), minlength=N_BINS)


class Monitored(Protocol):
    """What can be monitored: a fitted detector, or an export of one."""

    def monitor_reference(self) -> MonitorReference:
        """Return what new rows are compared with."""

    def observe(self, X: Any, groups: Any = None) -> Observed:
        """Return what a monitor needs of instances in memory, with their groups where needed.

        Parameters
        ----------
        X : instances (n, ...)
        groups : array of shape (n,), optional

        Returns
        -------
        Observed
        """


@dataclass(frozen=True)
class MonitorState:
    """What a monitor says after the rows so far.

    Attributes
    ----------
    n : int
        Rows that count.
    n_known : int
        Reference rows among those given, which do not count.
    n_learned : int
        Of the first rows, those that scores are compared with; 0 where those that calibrated are.
    valid : bool
        Whether nothing speaks against the promise. Once False it stays so: calibrate again.
    level : float
        The largest chance of a false warning, however many rows there are.
    e_value : float
        Evidence against the promise: a warning is raised when it reaches 1 / level. The largest so
        far.
    since, warned_at : dict or None
        `row` (counted from 0, of the rows given) and `time`, where times were given: with which the
        change began, as far as can be estimated, and by which it was found.
    moved : list of str
        What moved: names of columns, `"code"`, `"anomaly score"`; the strongest evidence first.
    evidence : dict of str to float
        The e-value of each part, the largest so far.
    alarms : int
        Rows that were called abnormal.
    share : float or None
        Their share; None without rows.
    interval : list of two floats or None
        95 % Wilson score interval of it.
    rate : float
        The false-alarm rate asked.
    missing, new_categories : dict of str to int
        Values by column; those that are 0 are left out.
    not_watched : list of str
        What cannot be watched, and why.
    block : int
        Of a detector of time points: the time points of a block, which stands for a row in all
        of the above; abnormal is a block with an abnormal point. 1 of rows.
    n_left_over : int
        Time points that made no whole block and do not count.

    Examples
    --------
    >>> import numpy as np
    >>> from isthmus import AnomalyDetector, Autoencoder
    >>> rng = np.random.default_rng(0)
    >>> detector = AnomalyDetector(
    ...     Autoencoder(2, max_epochs=2), calibration="split", random_state=0
    ... ).fit(rng.normal(size=(800, 4)))
    >>> state = detector.monitor().update(rng.normal(size=(500, 4)) + [0, 0, 1, 0])
    >>> state.n, state.valid, state.moved[0]
    (500, False, 'column 2')
    >>> state.summary()
    'promise no longer holds since about row 0: column 2, code moved'
    >>> state.to_json() == detector.monitor().state().to_json()
    False
    >>> state.to_dict()["n"]
    500
    """

    n: int
    n_known: int
    n_learned: int
    valid: bool
    level: float
    e_value: float
    since: dict[str, Any] | None
    warned_at: dict[str, Any] | None
    moved: list[str]
    evidence: dict[str, float]
    alarms: int
    share: float | None
    interval: list[float] | None
    rate: float
    missing: dict[str, int]
    new_categories: dict[str, int]
    not_watched: list[str]
    block: int = 1
    n_left_over: int = 0

    def to_json(self) -> str:
        """Return it as JSON text.

        Returns
        -------
        str
        """
        return to_json(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; `block` and `n_left_over` are of time points alone.

        Returns
        -------
        dict
            The attributes by name.
        """
        of_points = {"block", "n_left_over"} if self.block == 1 else set[str]()
        return {name: value for name, value in asdict(self).items() if name not in of_points}

    @property
    def unit(self) -> str:
        """What is counted: "row", or "block" of time points."""
        return "row" if self.block == 1 else "block"

    def summary(self) -> str:
        """Return one line: whether the promise holds, or since when it does not and what moved.

        Returns
        -------
        str
        """
        if not self.valid:
            at = self.since or {}
            time = "" if at.get("time") is None else f" ({at['time']})"
            return (
                f"promise no longer holds since about {self.unit} {at.get('row', 0):,}{time}: "
                f"{', '.join(self.moved)} moved"
            )
        if not self.n:
            return f"no statement: no {self.unit} counts yet"
        if self.n < self.n_learned:
            first = f"the first {self.unit}s are learned from"
            return f"no statement before {self.unit} {self.n_learned:,}: {first}"
        return f"promise holds: nothing in these {self.unit}s speaks against it"

    def __str__(self) -> str:
        of_points = "" if self.block == 1 else f" of {self.block} time points"
        lines = [self.summary(), f"{self.n:,} {self.unit}s{of_points}, e-value {self.e_value:.3g}"]
        lines[1] += f", a warning from {1 / self.level:g}"
        if self.n_left_over:
            lines.append(
                f"{self.n_left_over:,} time points make no whole block and do not count; give the "
                "last ones again with those that follow"
            )
        if self.share is not None and self.interval is not None:
            low, high = (100 * bound for bound in self.interval)
            interval = f"{100 * self.share:.3g} % (95 % interval {low:.3g} to {high:.3g} %)"
            rate = f"at most {100 * self.rate:g} % of the normal rows"
            lines.append(
                f"{self.alarms:,} alarms: {interval} of all rows, any true anomalies included; the "
                f"promise is {rate}"
                if self.block == 1
                else f"{self.alarms:,} blocks with an abnormal time point: {interval}"
            )
        for word, counts in (("missing", self.missing), ("new category", self.new_categories)):
            lines += [f"{word}: {name} {n:,} times" for name, n in counts.items()]
        if self.n_known:
            lines.append(f"{self.n_known:,} rows are of the reference set and do not count")
        return "\n".join([*lines, *(f"not watched: {one}" for one in self.not_watched)])

    __repr__ = __str__
