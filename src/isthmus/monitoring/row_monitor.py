"""The monitor of a detector: is its promise still valid, since when is it not, and what moved.

The promise is that instances like those that calibrated are called abnormal at most at the
false-alarm rate. It rests on exchangeability, which `Martingales` test in each part of a row: its
anomaly score, each component of its code and each column. Part k has a share w_k of the level
(a half for the score, a quarter each for all components and all columns together), and warns when
its martingale reaches 1 / (level w_k). Each does so falsely with a probability of at most level
w_k, at any time and however many rows there are; the sum of these is the level. So what is said to
have moved has moved, but for a chance of at most `level` that any of it is wrong. (Each martingale
has a filtration of its own, in which their mean need not be one: see Choe and Ramdas, "Combining
evidence across filtrations", 2024. Hence the sum of probabilities and not a mean of values.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from isthmus import __version__
from isthmus._core import from_json, shown, to_json, user_path, write_bytes
from isthmus.errors import DataError
from isthmus.monitoring.martingales import (
    BLOCK,
    N_BINS,
    Martingales,
    bins_of,
    plain_numbers,
    smoothed_ranks,
)
from isthmus.monitoring.monitor_reference import (
    Monitored,
    MonitorState,
    Observed,
    binned,
)

FORMAT_VERSION = 1
#: The chance of a false warning that is allowed by default.
LEVEL = 0.01
#: Rows of the stream that a part without a reference is compared with: no warning before.
N_LEARNED = 16 * BLOCK
#: Rows that are counted at once, and places of blocks that are stored at most.
_CHUNK, _MAX_MARKS = 4096, 1024


class Monitor:
    """Test row by row whether later instances are like those that calibrated a detector.

    Parameters
    ----------
    monitored : Monitored
        A fitted `AnomalyDetector`, or an export of one.
    level : float in (0, 1), default=0.01
        The largest chance of a false warning, at any time and however many rows there are.
    seed : int, default=0
        Decides between equal values.

    Notes
    -----
    Exact where the rows are exchangeable with each other and the reference: not for rows that
    depend on those before, such as overlapping windows. Abnormal rows among the later ones are a
    change too where the reference had fewer.

    Examples
    --------
    >>> from isthmus import AnomalyDetector, Autoencoder
    >>> from tempfile import mkdtemp
    >>> rng = np.random.default_rng(1)
    >>> detector = AnomalyDetector(
    ...     Autoencoder(2, max_epochs=2), "neighbours", 0.05, "split", random_state=0
    ... ).fit(rng.normal(size=(2000, 3)))
    >>> monitor = detector.monitor()
    >>> monitor.update(rng.normal(size=(500, 3))).valid
    True
    >>> monitor.add(detector.observe(rng.normal(size=(10, 3)))).n, monitor.state().n
    (510, 510)
    >>> monitor.save(file := Path(mkdtemp()) / "monitor.json")
    >>> Monitor.load(file, detector).state().n
    510
    >>> state = monitor.update(rng.normal(size=(500, 3)) + [0, 1, 0])
    >>> state.valid, "column 1" in state.moved, 450 < state.since["row"] < 550
    (False, True, True)
    """

    def __init__(self, monitored: Monitored, level: float = LEVEL, seed: int = 0) -> None:
        if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
            raise DataError(
                f"got level={shown(level)}, expected a number above 0 and below 1, such as {LEVEL}"
            )
        self.reference, self.level = monitored.monitor_reference(), float(level)
        self._observe = monitored.observe
        k = len(self.reference.names)
        self._edges, self._counts = list(self.reference.edges), self.reference.counts.copy()
        self._learns = np.array([one is None for one in self._edges])
        self._martingales = Martingales(k, self.reference.rate)
        self._rng = np.random.default_rng([seed, 8])
        self._first = np.empty((0, int(self._learns.sum())))
        self._n = {"given": 0, "known": 0, "alarms": 0, "left_over": 0}
        self._missing, self._unseen = (np.zeros(k, dtype=np.int64) for _ in range(2))
        self._reached: dict[int, dict[str, Any]] = {}
        self._marks: list[tuple[int, int, str | None]] = []

    def update(self, X: Any, time: Any = None, *, groups: Any = None) -> MonitorState:
        """Add the next instances, in the order in which they came.

        Parameters
        ----------
        X : array or DataFrame of n instances
        time : array of shape (n,), or one time for all, optional
            Named where a change is found.
        groups : optional
            As for `predict`, of a detector that was fitted with groups.

        Returns
        -------
        MonitorState

        Raises
        ------
        DataError
            When the instances do not fit the detector, times are not one for each, or the
            detector was calibrated otherwise since; the monitor is then unchanged.
        """
        observed = self._observe(X) if groups is None else self._observe(X, groups)
        return self.add(observed, time)

    def add(self, observed: Observed, time: Any = None) -> MonitorState:
        """Add instances whose scores and codes are known, as `update` does.

        Parameters
        ----------
        observed : Observed
            What `monitored.observe(X)` returned.
        time : array of shape (n,), or one time for all, optional

        Returns
        -------
        MonitorState

        Raises
        ------
        DataError
            When the detector was calibrated otherwise since the monitor was made.
        """
        if observed.calibration != self.reference.calibration and observed.calibration:
            raise DataError(
                "the detector was calibrated otherwise, or got another rate or other labels, since "
                "this monitor was made; begin a new one: detector.monitor()"
            )
        n = len(observed.scores)
        times = observed.times if time is None else _times(time, n)
        counted = np.arange(n)
        if observed.known is not None:
            counted = np.flatnonzero(~observed.known)
            observed = observed.take(counted)
        values = self._values(observed)
        given = self._n["given"] + counted
        self._n["given"] += n
        self._n["left_over"] += observed.n_left_over
        self._n["known"] += n - len(counted)
        self._n["alarms"] += int(observed.abnormal.sum())
        while len(values):
            to_learn = N_LEARNED - self._martingales.n if self._learns.any() else _CHUNK
            m = min(_CHUNK, to_learn, len(values))
            self._mark(given[:m], None if times is None else [times[at] for at in counted[:m]])
            self._bet(values[:m])
            values, given, counted = values[m:], given[m:], counted[m:]
        return self.state()

    def _values(self, observed: Observed) -> np.ndarray:
        """Return the values of the parts, a column for each; count missing and unseen ones."""
        n_columns, columns = self.reference.kinds.count("column"), observed.columns
        parts = [observed.scores[:, None], observed.codes]
        parts += [] if columns is None or not n_columns else [columns]
        values = np.concatenate(parts, axis=1, dtype=np.float64)
        if values.shape[1] != len(self._edges):
            raise DataError(
                f"got {values.shape[1]} values of a row to monitor, expected {len(self._edges)}; "
                "pass instances to the detector that the monitor was made for"
            )
        if n_columns and columns is not None:
            self._missing[-n_columns:] += np.isnan(columns).sum(axis=0)
            if observed.unseen is not None:
                self._unseen[-n_columns:] += observed.unseen.sum(axis=0)
        return values

    def _bet(self, values: np.ndarray) -> None:
        uniform = self._rng.random(values.shape)  # in the order of rows, however they are cut
        active = ~self._learns
        ranks = np.full(values.shape, np.nan)
        if active.any():
            bins = np.stack(
                [bins_of(values[:, at], self._edges[at]) for at in np.flatnonzero(active)],  # type: ignore[arg-type]
                axis=1,
            )
            counts = self._counts[active]
            ranks[:, active] = smoothed_ranks(bins, counts, uniform[:, active])
            self._counts[active] = counts
        log_needed = -np.log(self.level * self.reference.shares())
        for part, (begun, found) in self._martingales.update(ranks, log_needed).items():
            if part not in self._reached:
                self._reached[part] = {"since": self._at(begun), "warned_at": self._at(found - 1)}
        if self._learns.any():
            self._first = np.concatenate([self._first, values[:, self._learns]])
            if len(self._first) >= N_LEARNED:
                self._learn()

    def _learn(self) -> None:
        """Take the first rows of the stream as the reference of the parts that have none."""
        for place, part in enumerate(np.flatnonzero(self._learns).tolist()):
            found = binned(self._first[:, place], self.reference.rate, self._rng)
            self._edges[part], self._counts[part] = found
        self._learns[:] = False
        self._first = np.empty((0, 0))

    def _mark(self, given: np.ndarray, times: Sequence[str | None] | None) -> None:
        """Note which row, and which time, each block begins with; of many blocks every second."""
        n = self._martingales.n
        for at in range(-n % BLOCK, len(given), BLOCK):
            self._marks.append((n + at, int(given[at]), None if times is None else times[at]))
        while len(self._marks) > _MAX_MARKS:
            self._marks = self._marks[::2]

    def _at(self, row: int) -> dict[str, Any]:
        """Return row and time, as given, of a row that counts, or of the last one noted before."""
        places = [mark for mark in self._marks if mark[0] <= row] or [(0, 0, None)]
        counted, given, time = places[-1]
        return {"row": given + row - counted, "time": time}

    def state(self) -> MonitorState:
        """Return what the rows so far say.

        Returns
        -------
        MonitorState
        """
        n, reference = self._martingales.n, self.reference
        log_e = self._martingales.log_largest + np.log(reference.shares())
        order = sorted(self._reached, key=lambda part: -log_e[part])
        moved = ["code" if reference.kinds[p] == "code" else reference.names[p] for p in order]
        earliest = min(self._reached.values(), key=lambda one: one["warned_at"]["row"], default={})
        alarms = self._n["alarms"]
        not_watched = []
        if reference.block > 1:
            not_watched.append("channels, of whose readings the fit stores none")
        elif "column" not in reference.kinds:
            not_watched.append("columns, as the instances are no table")
        learning = dict.fromkeys(
            kind
            for kind, edges in zip(reference.kinds, reference.edges, strict=True)
            if edges is None
        )
        unit = "row" if reference.block == 1 else "block"
        if learning and n < N_LEARNED:
            kinds = " and ".join(
                {"score": "scores", "code": "codes", "column": "columns"}[k] for k in learning
            )
            not_watched.append(
                f"{kinds} before {unit} {N_LEARNED}: the detector holds none that it did not learn "
                "from, so that later ones are compared with these (recalibrate gives it some)"
            )
        return MonitorState(
            n,
            self._n["known"],
            N_LEARNED if "score" in learning else 0,
            not self._reached,
            self.level,
            _exp(log_e.max()),
            earliest.get("since"),
            earliest.get("warned_at"),
            list(dict.fromkeys(moved)),
            {name: _exp(value) for name, value in zip(reference.names, log_e, strict=True)},
            alarms,
            alarms / n if n else None,
            wilson_interval(alarms, n) if n else None,
            reference.rate,
            self._by_name(self._missing),
            self._by_name(self._unseen),
            not_watched,
            reference.block,
            self._n["left_over"],
        )

    def _by_name(self, counts: np.ndarray) -> dict[str, int]:
        return {self.reference.names[at]: int(counts[at]) for at in np.flatnonzero(counts)}

    def save(self, path: str | Path) -> None:
        """Write the state to a file, from which `load` continues; atomically.

        Parameters
        ----------
        path : path

        Raises
        ------
        OutputError
            When it cannot be written; an earlier file is unchanged.
        """
        generator = self._rng.bit_generator.state
        learned = [at for at, one in enumerate(self.reference.edges) if one is None]
        edges = [self._edges[at] for at in learned]
        state = {
            "format_version": FORMAT_VERSION,
            "isthmus_version": __version__,
            "reference": self.reference.digest(),
            "level": self.level,
            "generator": {key: str(value) for key, value in generator["state"].items()},
            "edges": [None if one is None else one.tolist() for one in edges],
            "first": plain_numbers(self._first),
            "counts": self._counts.tolist(),
            "martingales": self._martingales.state(),
            "n": self._n,
            "missing": self._missing.tolist(),
            "new_categories": self._unseen.tolist(),
            "reached": {str(part): found for part, found in self._reached.items()},
            "marks": self._marks,
        }
        write_bytes(user_path(path), to_json(state).encode())

    @classmethod
    def load(cls, path: str | Path, monitored: Monitored) -> Self:
        """Continue from a file that `save` wrote.

        Parameters
        ----------
        path : path
        monitored : Monitored
            The detector, or an export of it.

        Returns
        -------
        Monitor

        Raises
        ------
        DataError
            When there is no such file, it is damaged, or of a detector that was calibrated
            otherwise.
        """
        file = user_path(path)
        try:
            plain = from_json(file.read_bytes())
            monitor = cls(monitored, plain["level"])
            if plain["format_version"] > FORMAT_VERSION:
                raise ValueError(f"format {plain['format_version']} of a newer isthmus")
            if plain["reference"] != monitor.reference.digest():
                raise DataError(
                    f"{file} is the state of a monitor of a detector that was calibrated on other "
                    "rows or at another rate; begin a new one in another file"
                )
            monitor._restore(plain)
        except OSError as error:
            raise DataError(f"cannot read {file}: {error.strerror or error}") from error
        except DataError:
            raise
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise DataError(
                f"{file} is damaged, or no state of a monitor ({error}); begin a new one in "
                "another file"
            ) from error
        return monitor

    def _restore(self, plain: Mapping[str, Any]) -> None:
        k = len(self.reference.names)
        generator = {key: int(value) for key, value in plain["generator"].items()}
        self._rng.bit_generator.state = dict(self._rng.bit_generator.state) | {"state": generator}
        learned = np.flatnonzero(self._learns)
        for part, edges in zip(learned, plain["edges"], strict=True):
            self._edges[part] = None if edges is None else np.array(edges, dtype=np.float64)
        self._learns = np.array([one is None for one in self._edges])
        self._first = np.array(plain["first"], dtype=np.float64)
        self._first = self._first.reshape(len(self._first), int(self._learns.sum()))
        self._counts = np.array(plain["counts"], dtype=np.int64).reshape(k, N_BINS)
        self._martingales = Martingales.from_state(plain["martingales"], k, self.reference.rate)
        self._n = {key: int(dict(plain["n"]).get(key, 0)) for key in self._n}
        self._missing = np.array(plain["missing"], dtype=np.int64).reshape(k)
        self._unseen = np.array(plain["new_categories"], dtype=np.int64).reshape(k)
        self._reached = {int(part): found for part, found in plain["reached"].items()}
        self._marks = [(int(a), int(b), time) for a, b, time in plain["marks"]]


def wilson_interval(k: int, n: int, z: float = 1.959963984540054) -> list[float]:
    """Return the Wilson score interval of a share, of 95 % by default (Wilson, 1927).

    Parameters
    ----------
    k, n : int
        Successes among n draws, n at least 1.
    z : float, default=1.96
        Quantile of the standard normal distribution.

    Returns
    -------
    list of two floats in [0, 1]

    Examples
    --------
    >>> [round(bound, 4) for bound in wilson_interval(10, 1000)]
    [0.0054, 0.0183]
    """
    share, spread = k / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return [middle - half if k else 0.0, middle + half if k < n else 1.0]  # exact at both ends


def _exp(value: float) -> float:
    return math.exp(min(float(value), 690.0))  # JSON has no infinity


def _times(time: Any, n: int) -> list[str | None] | None:
    """Return times as text, one for each row."""
    if time is None:
        return None
    if isinstance(time, str) or not hasattr(time, "__len__"):
        return [str(time)] * n
    if len(time) != n:
        raise DataError(f"got {len(time)} times and {n} instances; pass one time for each")
    return [str(one) for one in time]
