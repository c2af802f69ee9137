"""Where windows lie in time: from windows to time points, and blocks of time held out.

Windows overlap: with a stride of 1 each time point lies in as many windows as a window has
points. The score of a time point is the mean over the windows that cover it, as in the benchmark
TSB-AD (Liu and Paparrizos, NeurIPS 2024). The windows that cover a point reach up to a window
before and after it, so its score is known a window later. A causal score is that of the last
window that ends at the point or before it: it is known at once, and less sharp.

Neighbouring time points and overlapping windows are alike, so windows held out at random would
calibrate on what was trained on. Held out is a stretch of time instead: windows that lie in it
calibrate, those that overlap its border are in neither part (purging, López de Prado, 2018).

Nothing here imports torch: an export and the service score time points by the same functions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np

from isthmus.data import group_text
from isthmus.data.windows import TimePoints
from isthmus.errors import CalibrationError

#: Batches of time points have to be that little correlated for the tests of drift.
MAX_BATCH_CORRELATION = 0.1
#: More batches than this add no power that matters, and Kendall's test compares all pairs.
MAX_BATCHES = 1000
#: A stretch takes part in the tests with at least so many batches.
MIN_BATCHES = 3
#: Time points that are spread together, which bounds the memory that this takes.
CHUNK = 1 << 14
#: Number of blocks of time, each of which is held out once.
N_BLOCKS = 5
#: Length of a block in windows, at least: a shorter one has too few windows that lie in it.
MIN_BLOCK = 2
#: Windows from which a fifth of the time, in several blocks, calibrates alone: training six
#: encoders then takes long, and a fifth is enough to calibrate on.
MIN_WINDOWS_FOR_SPLIT = 20_000


@dataclass(frozen=True, eq=False)
class WindowPlaces:
    """Where windows lie among the time points of series.

    Attributes
    ----------
    first : int array of shape (n,)
        Position of the first time point of each window, increasing.
    window : int
        Time points of a window.
    segments : int array of shape (s, 2)
        First and end (exclusive) positions of the stretches without a gap, increasing. A window
        lies in one of them.

    Examples
    --------
    >>> places = WindowPlaces.cut(np.array([[0, 5], [5, 7]]), window=4, stride=1)
    >>> places.first.tolist(), len(places)
    ([0, 1], 2)
    """

    first: np.ndarray
    window: int
    segments: np.ndarray

    @classmethod
    def cut(cls, segments: np.ndarray, window: int, stride: int) -> WindowPlaces:
        """Place windows in every stretch; the last one ends where the stretch does.

        Parameters
        ----------
        segments : int array of shape (s, 2)
        window, stride : int
            A stretch shorter than a window has none.

        Returns
        -------
        WindowPlaces
        """
        parts = [np.empty(0, np.int64)]
        for begin, end in segments:
            last = end - window
            if last < begin:
                continue
            first = np.arange(begin, last + 1, stride, dtype=np.int64)
            parts.append(first if first[-1] == last else np.append(first, last))
        return cls(np.concatenate(parts), window, np.asarray(segments, np.int64).reshape(-1, 2))

    def __len__(self) -> int:
        return len(self.first)

    @property
    def n_points(self) -> int:
        """Number of time points, those without a window included."""
        return int(self.segments[-1, 1]) if len(self.segments) else 0

    def chunks(self, values: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield the windows of values (m, c), (k, window, c) each with k up to `size`."""
        steps = np.arange(self.window)
        for at in range(0, len(self), size):
            yield values[self.first[at : at + size, None] + steps]

    def spread(self, scores: np.ndarray, *, causal: bool = False) -> np.ndarray:
        """Return the score of every time point from those of windows.

        Parameters
        ----------
        scores : array of shape (n,) or (n, c)
            Of the windows, in order.
        causal : bool, default=False
            Take the last window that ends at the point or before it, and not the mean of all
            that cover it.

        Returns
        -------
        float64 array of shape (m,) or (m, c)
            NaN where no window covers the point, or, causal, none has ended yet.

        Examples
        --------
        >>> places = WindowPlaces.cut(np.array([[0, 4]]), window=2, stride=1)
        >>> places.spread(np.array([1.0, 3.0, 5.0])).tolist()
        [1.0, 2.0, 4.0, 5.0]
        >>> places.spread(np.array([1.0, 3.0, 5.0]), causal=True).tolist()
        [nan, 1.0, 3.0, 5.0]
        """
        scores = np.asarray(scores, dtype=np.float64)
        spread = np.full((self.n_points, *scores.shape[1:]), np.nan)
        # Segment by segment: positions of windows of others would count as covering.
        bounds = np.searchsorted(self.first, self.segments)
        for (begin, end), (low, high) in zip(self.segments, bounds, strict=True):
            if high == low:
                continue
            for at in range(begin, end, CHUNK):
                points = np.arange(at, min(end, at + CHUNK))
                ended = np.searchsorted(self.first[low:high], points - self.window + 1, "right")
                if causal:
                    known = ended > 0
                    spread[points[known]] = scores[low + ended[known] - 1]
                    continue
                begun = np.searchsorted(self.first[low:high], points, "right")
                ended = np.searchsorted(self.first[low:high], points - self.window + 1, "left")
                spread[points] = _means(scores[low:high], ended, begun)
        return spread


def _means(scores: np.ndarray, first: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the mean of `scores[first:end]` for each pair, none of which is empty.

    Each is summed by itself: differences of running sums would carry the rounding errors of a
    very large score to all points after it.
    """
    sums = np.zeros((len(first), *scores.shape[1:]))
    for step in range(int((end - first).max())):
        inside = first + step < end
        sums[inside] += scores[first[inside] + step]
    counts = (end - first).reshape(-1, *[1] * (scores.ndim - 1))
    return sums / counts


@dataclass(frozen=True, eq=False)
class HeldOutBlock:
    """Rows that calibrate, and those that share time points with them.

    Attributes
    ----------
    windows : int array of shape (k,)
        Numbers of the rows that are held out: of windows, those that lie in the block.
    purged : int array of shape (p,) or None
        Numbers of the windows that overlap it and others.
    """

    windows: np.ndarray
    purged: np.ndarray | None = None

    def among(self, rows: np.ndarray) -> HeldOutBlock:
        """Return the block with those of its windows that are among `rows`."""
        return replace(self, windows=np.intersect1d(self.windows, rows))

    def others(self, rows: np.ndarray) -> np.ndarray:
        """Return which of `rows` share nothing with the block."""
        rows = np.setdiff1d(rows, self.windows)
        return rows if self.purged is None else np.setdiff1d(rows, self.purged)

    def joined(self, others: Sequence[HeldOutBlock]) -> HeldOutBlock:
        """Return one block of this and others."""
        blocks = [self, *others]
        windows = np.unique(np.concatenate([block.windows for block in blocks]))
        purged = [block.purged for block in blocks if block.purged is not None]
        return HeldOutBlock(windows, np.setdiff1d(np.concatenate(purged), windows))


def hold_out_blocks(places: WindowPlaces, n_blocks: int = N_BLOCKS) -> list[HeldOutBlock]:
    """Cut time into blocks of equal numbers of time points, group after group.

    With one long series they follow each other in time; with many short ones a block holds whole
    series.

    Parameters
    ----------
    places : WindowPlaces
    n_blocks : int, default=5
        Fewer where they would be shorter than two windows, two at least.

    Raises
    ------
    CalibrationError
        When a block would hold no window, or none would be left to train on.

    Examples
    --------
    >>> places = WindowPlaces.cut(np.array([[0, 100]]), window=10, stride=1)
    >>> blocks = hold_out_blocks(places)
    >>> [len(block.windows) for block in blocks], [len(block.purged) for block in blocks]
    ([11, 11, 11, 11, 11], [9, 18, 18, 18, 9])
    """
    lengths = places.segments[:, 1] - places.segments[:, 0]
    usable = int(lengths[lengths >= places.window].sum())
    n_blocks = max(2, min(n_blocks, usable // (MIN_BLOCK * places.window)))
    # Time points in stretches that hold a window, counted through all of them.
    counted = np.zeros(places.n_points + 1, dtype=np.int64)
    for begin, end in places.segments[lengths >= places.window]:
        counted[begin + 1 : end + 1] = 1
    counted = np.cumsum(counted)
    first, last = counted[places.first], counted[places.first + places.window - 1]
    borders = np.linspace(0, usable, n_blocks + 1).round().astype(np.int64)
    blocks = []
    for begin, end in itertools.pairwise(borders):
        inside = (first >= begin) & (last < end)
        overlap = ~inside & (first < end) & (last >= begin)
        blocks.append(HeldOutBlock(np.flatnonzero(inside), np.flatnonzero(overlap)))
    everything = np.arange(len(places))
    n_left = min(len(block.others(everything)) for block in blocks)
    if n_left < 2 or not any(len(block.windows) for block in blocks):
        raise CalibrationError(
            f"got series of {usable:,} time points in stretches of a window of {places.window} or "
            f"more, expected at least {4 * places.window:,}: the threshold of time points is "
            "calibrated on blocks of time that are not trained on; bring a longer series, or pass "
            f"a shorter window (at most {usable // 4:,} time points)"
        )
    return [block for block in blocks if len(block.windows)]


@dataclass(frozen=True, eq=False)
class Timeline:
    """Where the windows of a reference set lie in time.

    Attributes
    ----------
    first : int array of shape (n,)
        Position of the first time point of each window; -1 of windows that labels brought, which
        never calibrate.
    window, stride : int
        Time points of a window, and from one to the next.
    segments : int array of shape (s, 2)
        First and end positions of the stretches without a gap.
    groups : tuple of str
        Group of each stretch, as text; empty text without groups.
    step : float or None
        Seconds from one time point to the next, where the times are known.
    time_column : str or None
    group_columns : tuple of str
        Columns of the table that the windows were cut from.
    by_group : bool
        Whether blocks of time are held out in each group, so that each of them is trained on too.
    """

    first: np.ndarray
    window: int
    stride: int
    segments: np.ndarray
    groups: tuple[str, ...]
    step: float | None = None
    time_column: str | None = None
    group_columns: tuple[str, ...] = ()
    by_group: bool = False

    def blocks(self, *, split: bool = False, n_blocks: int = N_BLOCKS) -> list[HeldOutBlock]:
        """Return the blocks of time that are held out, one after the other.

        Parameters
        ----------
        split : bool, default=False
            Return a single one, of every fifth of shorter blocks: a fifth of the time, spread
            over all of it, with its end.
        n_blocks : int, default=5
            Number of blocks otherwise, at most.

        Returns
        -------
        list of HeldOutBlock
        """
        if self.by_group:
            return self._blocks_by_group(split=split, n_blocks=n_blocks)
        places = WindowPlaces(self.first, self.window, self.segments)
        if not split:
            return hold_out_blocks(places, n_blocks)
        shorter = hold_out_blocks(places, N_BLOCKS * N_BLOCKS)
        last, *others = shorter[::-1][::N_BLOCKS]
        return [last.joined(others)]

    def _blocks_by_group(self, *, split: bool, n_blocks: int) -> list[HeldOutBlock]:
        """Return blocks each of which holds a part of the time of every group.

        A group too short for two blocks is held out whole, in one of them; with `split` never.
        """
        n_parts = 1 if split else n_blocks
        parts: list[list[HeldOutBlock]] = [[] for _ in range(n_parts)]
        segment = np.searchsorted(self.segments[:, 0], self.first, side="right") - 1
        names = np.array(self.groups, dtype=object)
        for at, name in enumerate(dict.fromkeys(self.groups)):
            own = np.flatnonzero(names == name)
            windows = np.flatnonzero(np.isin(segment, own))
            places = WindowPlaces(self.first[windows], self.window, self.segments[own])
            try:
                found = hold_out_blocks(places, N_BLOCKS * N_BLOCKS if split else n_blocks)
            except CalibrationError:
                if len(windows) and not split:
                    parts[at % n_parts].append(HeldOutBlock(windows, np.empty(0, np.int64)))
                continue
            if split:
                last, *others = found[::-1][::N_BLOCKS]
                found = [last.joined(others)]
            for number, block in enumerate(found):
                purged = None if block.purged is None else windows[block.purged]
                of_all = HeldOutBlock(windows[block.windows], purged)
                parts[(at + number) % n_parts].append(of_all)
        blocks = [first.joined(others) for first, *others in filter(None, parts)]
        if len(blocks) < n_parts:
            raise CalibrationError(
                f"got {len(dict.fromkeys(self.groups)):,} groups of which {len(blocks)} blocks of "
                f"time can be held out, expected {n_parts}; bring longer series, or pass a shorter "
                "window"
            )
        return blocks

    def stretches(self, rows: np.ndarray) -> tuple[WindowPlaces, np.ndarray]:
        """Return the places of windows, and the group of each stretch that they cover.

        Parameters
        ----------
        rows : int array of shape (k,)
            Numbers of windows, in order of time.

        Returns
        -------
        places : WindowPlaces
            Its segments are the stretches that these windows cover without a hole.
        segments : int array
            Number of the segment of each stretch.
        """
        first = self.first[rows]
        segment = np.searchsorted(self.segments[:, 0], first, side="right") - 1
        new = np.ones(len(rows), dtype=bool)
        new[1:] = (first[1:] > first[:-1] + self.window) | (segment[1:] != segment[:-1])
        begins = np.flatnonzero(new)
        ends = np.append(begins[1:], len(rows))[: len(begins)] - 1
        spans = np.column_stack([first[begins], first[ends] + self.window])
        return WindowPlaces(first, self.window, spans), segment[begins]

    def followed_by(self, other: Timeline) -> Timeline:
        """Return these windows followed by those of a later series, with positions after these."""
        shift = int(self.segments[-1, 1]) if len(self.segments) else 0
        return replace(
            self,
            first=np.concatenate([self.first, other.first + shift]),
            segments=np.concatenate([self.segments, other.segments + shift]),
            groups=(*self.groups, *other.groups),
        )

    def state(self) -> dict[str, Any]:
        """Return arrays and plain values from which `from_state` rebuilds it.

        Returns
        -------
        dict
        """
        plain = {"groups": list(self.groups), "group_columns": list(self.group_columns)}
        state = {part.name: getattr(self, part.name) for part in fields(self)} | plain
        if not self.by_group:  # as earlier versions of isthmus read it
            del state["by_group"]
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild from what `state` returned."""
        texts = {name: tuple(state[name]) for name in ("groups", "group_columns")}
        return cls(**dict(state) | texts)

    def with_unplaced(self, n: int) -> Timeline:
        """Return these windows followed by `n` that lie nowhere."""
        return replace(self, first=np.append(self.first, np.full(n, -1)))


def lay_out(points: TimePoints, n_windows: int, by_group: bool = False) -> Timeline | None:
    """Return where the windows lie that were cut from time points, with the stride of the cut.

    Parameters
    ----------
    points : TimePoints
    n_windows : int
        Number of windows at hand; None is returned where they are some of those cut.
    by_group : bool
        See `Timeline`.

    Returns
    -------
    Timeline or None
    """
    first = np.concatenate([np.empty(0, np.int64), *(at for at, _ in points.cut(points.stride))])
    if len(first) != n_windows:
        return None
    names = [group_text(name) for name in points.groups] or [""]
    groups = tuple(names[code] for code in points.codes[points.segments[:, 0]])
    segments = points.segments.astype(np.int64)
    return Timeline(
        first,
        points.window,
        points.stride,
        segments,
        groups,
        points.step,
        points.time_column,
        points.group_columns,
        by_group,
    )


def batch_means(
    values: np.ndarray,
    fold: np.ndarray,
    firsts: np.ndarray,
    groups: Sequence[Any],
    window: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Return means of batches that hardly correlate, their stretch and group, and their size.

    Batches start at a window, or at a thousandth of the points, and grow by half until successive
    ones are as good as independent. There are none where that takes more points than there are.

    Parameters
    ----------
    values : float array of shape (n,)
        Of the time points of all blocks, one block after the other.
    fold : int array of shape (n,)
        The stretch of each time point, see `BlockCalibration.fold`; two of them are one here.
    firsts : int array of shape (b,)
        First position of each block.
    groups : sequence of b groups, or empty
    window : int
        Time points of a window.

    Returns
    -------
    means : float array of shape (k,)
    stretch, group : int array of shape (k,)
    size : int
        Time points of a batch.
    """
    fold = fold // 2
    edges = np.union1d(firsts, np.flatnonzero(np.diff(fold)) + 1)
    lengths = np.diff(np.append(edges, len(values)))
    names = groups or (0,) * len(firsts)
    codes = np.unique([str(name) for name in names], return_inverse=True)[1]
    block = np.searchsorted(firsts, edges, side="right") - 1
    size = max(1, window, len(values) // MAX_BATCHES)
    while (n := lengths // size).sum() >= 2 * MIN_BATCHES:
        stretch = np.repeat(np.arange(len(edges)), n)
        within = np.arange(len(stretch)) - np.repeat(np.cumsum(n) - n, n)
        starts = edges[stretch] + within * size
        sums = np.concatenate([[0.0], np.cumsum(values)])
        means = (sums[starts + size] - sums[starts]) / size
        own = fold[starts]
        correlation = _successive_correlation(means, own, stretch)
        if correlation <= MAX_BATCH_CORRELATION + 1 / np.sqrt(len(means)):  # plus its error
            return means, own, codes[block][stretch], size
        size = -(-3 * size // 2)
    empty = np.zeros(0, dtype=np.int64)
    return np.zeros(0), empty, empty, size


def _successive_correlation(means: np.ndarray, fold: np.ndarray, stretch: np.ndarray) -> float:
    """Return von Neumann's estimate of the correlation of successive values within stretches."""
    counts = np.bincount(fold)
    centres = np.bincount(fold, means) / np.maximum(counts, 1)
    freedom = len(means) - np.count_nonzero(counts)
    follows = np.diff(stretch) == 0
    if freedom < 1 or not follows.any():
        return 1.0
    variance = ((means - centres[fold]) ** 2).sum() / freedom
    if variance <= 0:
        return 0.0
    return float(1 - (np.diff(means)[follows] ** 2).mean() / (2 * variance))
