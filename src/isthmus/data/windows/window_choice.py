"""How a long table is cut into windows; their length and stride chosen from the data."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from isthmus._core import shown
from isthmus.data.preprocessing import interpolate
from isthmus.data.windows.cutting import check_window, window_count
from isthmus.errors import DataError

#: The value that leaves a choice to the data.
AUTO = "auto"
#: Windows that are chosen have this length, or whole periods of up to `MAX_WHOLE_PERIODS` points:
#: shorter ones find clearly less (docs/experiments.md).
USUAL_WINDOW, MAX_WHOLE_PERIODS = 64, 96
#: The longest period that is looked for.
MAX_PERIOD = 256
#: A window is at most this part of the longest stretch without a gap.
PARTS_OF_LONGEST = 5
#: Windows of a stride that is chosen, and bytes that they take in memory, at most.
MAX_WINDOWS, MAX_BYTES = 20_000, 256 * 2**20
#: The shortest period that is looked for.
MIN_PERIOD = 4
#: Time points whose autocorrelation is taken at once, such blocks and channels at most.
_BLOCK, _MAX_BLOCKS, _MAX_CHANNELS = 8 * MAX_PERIOD, 32, 64
#: Readings are clipped at this many median absolute deviations, so that a few do not outweigh all.
_MAX_SPREADS = 8.0
#: Least rise of the autocorrelation from its lowest value at shorter lags to a period: absolute,
#: in deviations of that of noise, and as a share of the greatest rise.
_MIN_RISE, _MIN_DEVIATIONS, _MIN_SHARE = 0.2, 8.0, 0.8


@dataclass(frozen=True)
class WindowOptions:
    """How a long table is cut into windows.

    Attributes
    ----------
    window, stride : int, "auto" or None
        Rows in a window, and from the beginning of one to the next, see
        `choose_windows`.
    time : str or None
        Column of the time of each row.
    group : str, tuple of str or None
        Columns that together name the series of each row.
    channels : tuple of str or None
        Channel columns; None takes all remaining columns.
    window_label : {"any", "majority", "last"} or None
        Rule for the labels of windows, see `isthmus.data.windows.deciding_rows`.
    normal : str, int, float, bool or None
        The label that means normal, for that rule.
    resample : str, float or None
        Width of the bins that rows are averaged in: "1s", "5min", or of times that are numbers
        a number.
    time_zone : str or None
        Zone of times that name none.
    as_at_fit : bool
        Whether the window is that of an encoder, so that no other can be taken.
    """

    window: int | str | None = None
    stride: int | str | None = None
    time: str | None = None
    group: str | tuple[str, ...] | None = None
    channels: tuple[str, ...] | None = None
    window_label: str | None = None
    normal: Any = None
    resample: str | float | None = None
    time_zone: str | None = None
    as_at_fit: bool = False

    @property
    def given(self) -> list[str]:
        """Names of the options that are not None; `normal` says nothing about windows alone."""
        return [
            name
            for name, value in vars(self).items()
            if value is not None and name not in ("normal", "as_at_fit")
        ]

    @property
    def groups(self) -> tuple[str, ...]:
        """The group columns."""
        if self.group is None or isinstance(self.group, str):
            return () if self.group is None else (self.group,)
        return self.group

    def groups_of_rows(self, kind: str) -> tuple[tuple[str, ...], WindowOptions]:
        """Return the group columns of a table that is not cut, and the options without them.

        Beside another option for long tables they are those of one, see `check_applicable`.

        Parameters
        ----------
        kind : {"auto", "images", "series", "table"}

        Returns
        -------
        groups : tuple of str
        options : WindowOptions
        """
        if kind == "series" or self.given != ["group"]:
            return (), self
        return self.groups, replace(self, group=None)

    def check_applicable(self, kind: str, *, long_table: bool = True) -> None:
        """Check that options which are given belong to the source.

        Parameters
        ----------
        kind : str
            Of the data; the options are for series.
        long_table : bool
            Whether the source is a table with a row for each time point.

        Raises
        ------
        DataError
            When they do not.
        """
        if not self.given or (kind == "series" and long_table):
            return
        given = ", ".join(f"{name}=" for name in self.given)
        if kind != "series":
            raise DataError(
                f"{given} is for a long table of series; pass kind='series' as well (on the "
                "command line --kind series)"
            )
        raise DataError(
            f"{given} is for a long table (a DataFrame, .csv, .tsv or .parquet), and the "
            "source is none; leave it out for windows of shape (n, t, c), and pass one long array "
            "as pd.DataFrame(values)"
        )


def window_as_at_fit(window: int | str | None, steps: int) -> int:
    """Return the length of the windows at fit, after a check that no other is asked for.

    Parameters
    ----------
    window : int, "auto" or None
    steps : int
        Time steps of a window at fit.

    Returns
    -------
    int

    Raises
    ------
    DataError
        When another length is asked for.
    """
    if window not in (None, "auto", steps):
        raise DataError(
            f"got window={window}, and the encoder was fitted on windows of {steps} rows; leave "
            "window out (on the command line --window)"
        )
    return steps


@dataclass(frozen=True)
class WindowChoice:
    """Length and stride of windows, with the reason of what was chosen from the data.

    Attributes
    ----------
    window, stride : int
    reasons : dict
        For `window` and `stride` a sentence, where they were chosen.
    """

    window: int
    stride: int
    reasons: dict[str, str]

    def facts(self) -> dict[str, Any]:
        """Return what was chosen, with the reason, as plain values for JSON."""
        return {
            name: {"value": getattr(self, name), "reason": reason}
            for name, reason in self.reasons.items()
        }


def is_auto(value: Any) -> bool:
    """Return whether a window or stride is "auto"."""
    return isinstance(value, str) and value == AUTO


def check_window_options(window: Any, stride: Any) -> None:
    """Check a window and a stride, each of which may be "auto" or None.

    Raises
    ------
    DataError
        When one is another text, or a number out of range.
    """
    for name, value in (("window", window), ("stride", stride)):
        if isinstance(value, str) and value != AUTO:
            raise DataError(f"got {name}={shown(value)}, expected a whole number or 'auto'")
    check_window(
        USUAL_WINDOW if window is None or is_auto(window) else window,
        None if is_auto(stride) else stride,
    )


def choose_windows(
    values: np.ndarray,
    segments: np.ndarray,
    window: int | str | None,
    stride: int | str | None,
    channels: Sequence[str] = (),
) -> WindowChoice:
    """Return length and stride of the windows of series.

    Parameters
    ----------
    values : float array of shape (m, c)
        Readings, NaN where one is missing.
    segments : int array of shape (s, 2)
        First and end position of each stretch without a gap.
    window : int, "auto" or None
        Without a length, the smallest multiple of the dominant period, see `dominant_period`, from
        64 to 96 time points; 64 where there is none. At most a fifth of the longest stretch.
    stride : int, "auto" or None
        "auto" is the smallest with which there are at most 20,000 windows of at most 256 MiB
        together. None is that where the window is chosen, and otherwise the window.
    channels : sequence of str
        Their names, for the reason.

    Returns
    -------
    WindowChoice

    Raises
    ------
    DataError
        When window or stride is out of range.

    Examples
    --------
    >>> wave = np.sin(2 * np.pi * np.arange(1000.0) / 40)[:, None]
    >>> choice = choose_windows(wave, np.array([[0, 1000]]), "auto", None)
    >>> choice.window, choice.stride
    (80, 1)
    >>> choice.reasons["window"]
    'window 80: the readings repeat every 40 time points, and at least 64 are taken'
    """
    check_window_options(window, stride)
    chosen = window is None or is_auto(window)
    reasons = {}
    length = check_window(USUAL_WINDOW if chosen else window, None)[0]
    if chosen:
        length, reasons["window"] = _choose_length(values, segments, channels)
    if not is_auto(stride) and not (stride is None and chosen):
        return WindowChoice(*check_window(length, stride), reasons)
    step, reasons["stride"] = _choose_stride(segments, length, values.shape[1])
    return WindowChoice(length, step, reasons)


def _choose_length(
    values: np.ndarray, segments: np.ndarray, channels: Sequence[str]
) -> tuple[int, str]:
    longest = int((segments[:, 1] - segments[:, 0]).max())
    most = max(2, longest // PARTS_OF_LONGEST)
    found = dominant_period(values, segments, min(MAX_PERIOD, most))
    if found is None:
        length = min(USUAL_WINDOW, most)
        if length < USUAL_WINDOW:
            return length, (
                f"window {length}: a fifth of the longest stretch without a gap, which has "
                f"{longest} time points, and no period was found"
            )
        return length, (
            f"window {length}: no period of {MIN_PERIOD} to {min(MAX_PERIOD, most)} time points "
            "was found"
        )
    period, channel, n_periodic = found
    whole = period * math.ceil(USUAL_WINDOW / period)
    length = min(whole if whole <= MAX_WHOLE_PERIODS else USUAL_WINDOW, most)
    which = "the readings repeat"
    if values.shape[1] > 1:
        named = repr(channels[channel]) if channels else f"{channel}, counting from 0,"
        which = f"{n_periodic} of {values.shape[1]} channels repeat, channel {named}"
    reason = f"window {length}: {which} every {period} time points"
    if length == period:
        return length, reason
    if length == most:
        return length, f"{reason}, and a fifth of the longest stretch without a gap is taken"
    if length == whole:
        return length, f"{reason}, and at least {USUAL_WINDOW} are taken"
    return length, f"{reason}; no whole number of these makes {USUAL_WINDOW} to {MAX_WHOLE_PERIODS}"


def _choose_stride(segments: np.ndarray, window: int, n_channels: int) -> tuple[int, str]:
    lengths = (segments[:, 1] - segments[:, 0]).tolist()

    def n_windows(stride: int) -> int:
        return sum(window_count(length, window, stride) for length in lengths)

    most = max(1, min(MAX_WINDOWS, MAX_BYTES // (8 * window * n_channels)))
    every = n_windows(1)
    if every <= most:
        return 1, "stride 1: a window begins at every time point"
    stride = math.ceil(every / most)
    while n_windows(stride) > most and stride < window:
        stride += 1
    return stride, (
        f"stride {stride}: a window at every time point would be {every:,} windows, and {most:,} "
        "are taken at most"
    )


def dominant_period(
    values: np.ndarray, segments: np.ndarray, longest: int = MAX_PERIOD
) -> tuple[int, int, int] | None:
    """Return the dominant period of series, None where there is none.

    Blocks of 2,048 time points, 32 at most, evenly over all stretches, are clipped at eight median
    absolute deviations and freed of a straight line, and their autocorrelations normalised; the
    median over blocks is that of a channel. Its period is the first lag to which the
    autocorrelation rises from its lowest value at shorter lags by at least 0.8 of its greatest
    rise. That rise must be 0.2 or more, and above that of white noise of the same length. Of the
    channels' periods the median weighted with the rises is taken.

    Parameters
    ----------
    values : float array of shape (m, c)
        NaN where a reading is missing.
    segments : int array of shape (s, 2)
        First and end position of each stretch without a gap.
    longest : int
        The longest period that is looked for.

    Returns
    -------
    (period, channel, n_periodic) or None
        In time points; the channel that has it; and how many channels have a period.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> noise = rng.normal(size=(5000, 2))
    >>> dominant_period(noise, np.array([[0, 5000]])) is None
    True
    >>> noise[:, 1] += 2 * np.sin(np.arange(5000) * 2 * np.pi / 30)
    >>> dominant_period(noise, np.array([[0, 5000]]))
    (30, 1, 1)
    """
    if longest < MIN_PERIOD:
        return None
    blocks = _blocks(segments, longest)
    columns = np.unique(
        np.linspace(0, values.shape[1] - 1, min(values.shape[1], _MAX_CHANNELS)).astype(int)
    )
    if not blocks:
        return None
    longest = min(longest, max(end - first for first, end in blocks) // 3)
    blocks_of = [_without_trend(values[first:end, columns]) for first, end in blocks]
    found = np.array([_autocorrelation(block, longest) for block in blocks_of])
    varies = (~np.isnan(found)).any(axis=(0, 2))
    together = np.full((len(columns), longest + 1), np.nan)
    together[varies] = np.nanmedian(found[:, varies], axis=0)
    least = max(_MIN_RISE, _MIN_DEVIATIONS / math.sqrt(sum(map(len, blocks_of))))
    periods = [_period(together[at], least) if varies[at] else None for at in range(len(columns))]
    having = [(one, at) for at, one in enumerate(periods) if one is not None]
    if not having:
        return None
    having.sort()
    weights = np.cumsum([one[1] for one, _ in having])
    (period, _), at = having[int(np.searchsorted(weights, weights[-1] / 2))]
    return period, int(columns[at]), len(having)


def _blocks(segments: np.ndarray, longest: int) -> list[tuple[int, int]]:
    """Return blocks of the segments that are long enough for lags up to `longest`."""
    blocks: list[tuple[int, int]] = []
    for first, end in segments.tolist():
        n = max(1, (end - first) // _BLOCK)
        ends = np.linspace(first, end, n + 1).astype(int).tolist() if n > 1 else [first, end]
        # A stretch of three periods shows one; shorter ones are left out.
        blocks += [(a, b) for a, b in itertools.pairwise(ends) if b - a >= 3 * MIN_PERIOD]
    longest_first = sorted(blocks, key=lambda block: block[0] - block[1])
    long_enough = [block for block in longest_first if block[1] - block[0] >= 3 * longest]
    blocks = sorted(long_enough or longest_first[:_MAX_BLOCKS])
    at = np.linspace(0, len(blocks) - 1, min(len(blocks), _MAX_BLOCKS)).astype(int)
    return [blocks[one] for one in np.unique(at)] if blocks else []


def _without_trend(block: np.ndarray) -> np.ndarray:
    """Return readings (n, c), clipped, less a straight line; without a reading zero."""
    empty = np.isnan(block).all(axis=0)
    filled = interpolate(np.where(empty, 0.0, block))
    middle = np.median(filled, axis=0)
    spread = _MAX_SPREADS * np.median(np.abs(filled - middle), axis=0)
    spread[spread == 0] = np.inf
    filled = np.clip(filled, middle - spread, middle + spread)
    at = np.arange(len(block)) - (len(block) - 1) / 2
    centred = filled - filled.mean(axis=0)
    rest: np.ndarray = centred - np.outer(at, at @ centred / (at @ at))
    # What rounding leaves of a constant is no reading.
    scale = np.abs(filled).max(axis=0)
    rest[:, rest.std(axis=0) <= 1e-9 * np.where(scale > 0, scale, 1.0)] = 0.0
    return rest


def _autocorrelation(block: np.ndarray, longest: int) -> np.ndarray:
    """Return the autocorrelation (c, longest + 1) of readings (n, c) about zero.

    NaN where a channel does not vary, and at lags of more than a third of the block.
    """
    n = len(block)
    lags = min(longest, n // 3)
    spectrum = np.fft.rfft(block.T, n=_fast_length(n + lags), axis=1)
    products = np.fft.irfft(np.abs(spectrum) ** 2, n=_fast_length(n + lags), axis=1)
    found = np.full((block.shape[1], longest + 1), np.nan)
    power = products[:, :1]
    varies = power[:, 0] > 0
    unbiased = products[varies, : lags + 1] / (1 - np.arange(lags + 1) / n)
    found[varies, : lags + 1] = unbiased / power[varies]
    return found


def _fast_length(n: int) -> int:
    """Return a number of at least n that is 2^k, or 3/4 of it: a transform of it is fast."""
    power: int = 2 ** math.ceil(math.log2(n))
    return power * 3 // 4 if power * 3 // 4 >= n else power


def _period(correlation: np.ndarray, least: float) -> tuple[int, float] | None:
    """Return the period and the rise to it, from an autocorrelation from lag 0 on."""
    known = correlation[~np.isnan(correlation)]
    rise = known - np.minimum.accumulate(known)
    # The last lag is no maximum: it may go on rising.
    peaks = np.flatnonzero((known[1:-1] >= known[:-2]) & (known[1:-1] >= known[2:])) + 1
    peaks = peaks[(peaks >= MIN_PERIOD) & (rise[peaks] >= least) & (known[peaks] > 0)]
    if not len(peaks):
        return None
    high = peaks[rise[peaks] >= _MIN_SHARE * rise[peaks].max()]
    # Noise makes several peaks of one; the others are multiples.
    one = high[high <= 1.3 * high[0]]
    best = int(one[rise[one].argmax()])
    return best, float(rise[best])


def missing_roles(time: str | None, groups: Sequence[str], label: str | None) -> list[str]:
    """Return the roles (time, group, label) that no column has."""
    roles = {"time": time, "group": groups or None, "label": label}
    return [role for role, name in roles.items() if name is None]


def check_roles(time: str | None, groups: Sequence[str], label: str | None) -> list[str]:
    """Return the columns that have a role; each may have one.

    Raises
    ------
    DataError
        When one column has two roles.
    """
    roles = [("time", time), *(("group", name) for name in groups), ("label", label)]
    given = [(role, name) for role, name in roles if name is not None]
    columns = [name for _, name in given]
    if len(set(columns)) < len(columns):
        options = ", ".join(f"{role}={name!r}" for role, name in given)
        raise DataError(f"got {options}; expected a column of its own for each")
    return columns


def place_columns(time: str | None, groups: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Return the names of the columns that are written of each window's place in its table.

    Raises
    ------
    DataError
        When a key column, or one of several group columns, has such a name as well.
    """
    end = "row" if time is None else "time"
    ends = [f"first_{end}", f"last_{end}"]
    names = [*(groups if len(groups) > 1 else ["group"] * len(groups)), *ends]
    for role, columns in (("key", keys), ("group", groups if len(groups) > 1 else ())):
        for name in columns:
            if name in (ends if role == "group" else names):
                raise DataError(
                    f"the {role} column {name!r} is called like a column that is written of each "
                    f"window ({', '.join(names)}); give it another name"
                )
    return names
