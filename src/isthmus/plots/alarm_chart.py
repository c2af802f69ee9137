"""The channels of a series over time, with alarms and their worst channel marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus._core import shown
from isthmus.errors import DataError
from isthmus.plots.series_view import SCORE, SeriesView, pixel_columns, runs, view_series
from isthmus.plots.style import (
    BLUE,
    INK,
    ORANGE,
    SMALL_SIZE,
    VERMILION,
    add_legend,
    dress,
    new_figure,
    number,
    readable,
    set_headline,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Inches: wider than other figures, because time needs room.
CHART_WIDTH, PANEL_HEIGHT, BAND_HEIGHT, SCORE_HEIGHT = 10.0, 1.05, 0.2, 1.2
#: Pixel columns that a line is reduced to: about one for each pixel of the saved picture.
N_COLUMNS = 1500
#: Share of the axis that an alarm is wide at least, or one of a second would not be seen.
MIN_WIDTH_SHARE = 0.003
MAX_CHANNELS = 6
#: Ratio of the highest score to the threshold from which on the axis of scores is logarithmic.
MIN_LOG_RATIO = 20.0


def plot_alarms(
    new: Any,
    alarms: pd.DataFrame,
    points: pd.DataFrame | None = None,
    *,
    group: Any = None,
    channels: int | Sequence[str] = MAX_CHANNELS,
    time: str | None = None,
    normal: Any = None,
    threshold: float | None = None,
) -> Figure:
    """Draw the channels of a series over time, with its alarms.

    A panel a channel. An alarm is shaded in every panel; in that of its worst channel it is
    darker, the line is red, and a triangle marks its peak. Where the series has labels, a band
    below the channels shows what is abnormal by them. Of long series each pixel column shows its
    lowest and its highest value, so every extreme stays visible.

    Parameters
    ----------
    new : Dataset, TimePoints, DataFrame or array of shape (m, c)
        The series: a data set of `load` with its time points, those alone, a long table, or an
        array of readings.
    alarms : DataFrame
        A row an alarm, as `AnomalyDetector.alarms` returns them: `first` and `last`, and where
        they are there `peak`, `channel`, `share` and `n_points`, and the columns of the group.
    points : DataFrame, optional
        A row a time point, as `AnomalyDetector.score_points` returns them: the anomaly score is
        drawn in a last panel.
    group : value or tuple of values, optional
        Which group of several; by default the one with most alarms. The title says which.
    channels : int or sequence of str, default=6
        How many channels, those most involved in alarms first; or their names. The title says
        how many are not shown.
    time : str, optional
        Column with the times, where `new` is a DataFrame; by default that of `points`, or the
        only column of dates.
    normal : str, int, float or bool, optional
        Label that means normal. Without it, -1 is abnormal where labels are 1, 0 and -1;
        otherwise every label but the most frequent one is shown, and the legend says so.
    threshold : float, optional
        Score from which a time point is abnormal; by default the lowest score of one that is.

    Returns
    -------
    Figure
        Dates are written in the zone of the data.

    Raises
    ------
    DataError
        When `new` is no series, `alarms` are none of it, or there is no such group or channel.
    MissingExtraError
        When matplotlib is not installed.

    Examples
    --------
    >>> readings = np.column_stack([np.sin(np.arange(300) / 9), np.cos(np.arange(300) / 9)])
    >>> readings[200:210, 1] += 3
    >>> alarms = pd.DataFrame({"first": [198], "last": [211], "peak": [203], "channel": ["1"]})
    >>> figure = plot_alarms(readings, alarms)
    >>> figure.get_suptitle(), [axes.get_ylabel() for axes in figure.axes]
    ('1 alarm', ['0', '1'])
    """
    view = view_series(new, alarms, points, group=group, time=time, normal=normal)
    shown_channels = _choose_channels(view, channels)
    has_band = view.abnormal is not None
    heights = [PANEL_HEIGHT] * len(shown_channels)
    heights += [BAND_HEIGHT] * has_band + [SCORE_HEIGHT] * (view.scores is not None)
    figure = new_figure(CHART_WIDTH, 1.1 + sum(heights))
    panels = list(
        figure.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    )
    spans = _alarm_spans(view)
    for axes, channel in zip(panels, shown_channels, strict=False):
        _draw_channel(axes, view, channel, spans)
    if view.abnormal is not None:
        _draw_band(panels[len(shown_channels)], view, view.abnormal)
    if view.scores is not None:
        _draw_scores(panels[-1], view, spans, threshold)
    _dress_time(figure, panels[-1], view)
    set_headline(figure, _title(view, len(shown_channels)))
    handles = _handles(view)
    if handles:
        _add_legend_above(panels[0], handles)
    return figure


def _choose_channels(view: SeriesView, channels: int | Sequence[str]) -> list[int]:
    """Return the positions of the channels to draw, in the order of the series."""
    if isinstance(channels, int):
        if channels < 1:
            raise DataError(f"got channels={channels}, expected at least one, or names of channels")
        return sorted(view.involved()[:channels].tolist())
    names = [channels] if isinstance(channels, str) else list(map(str, channels))
    unknown = [name for name in names if name not in view.channels]
    if unknown or not names:
        raise DataError(
            f"got channels={shown(names)}, expected names among {', '.join(view.channels[:10])}"
            + (f" and {len(view.channels) - 10} more" if len(view.channels) > 10 else "")
        )
    return [view.channels.index(name) for name in names]


def _alarm_spans(view: SeriesView) -> np.ndarray:
    """Return first place and width of each alarm, half a step wider at both ends."""
    first, last = (view.alarms[name].to_numpy(dtype=np.float64) for name in ("first", "last"))
    low, high = _limits(view)
    first, last = first - view.step / 2, last + view.step / 2
    width = np.maximum(last - first, MIN_WIDTH_SHARE * (high - low))
    return np.column_stack([(first + last - width) / 2, width])


def _limits(view: SeriesView) -> tuple[float, float]:
    return float(view.x[0] - view.step / 2), float(view.x[-1] + view.step / 2)


def _draw_channel(axes: Axes, view: SeriesView, channel: int, spans: np.ndarray) -> None:
    name, values = view.channels[channel], view.values[:, channel]
    worst = np.zeros(len(spans), dtype=bool)
    if "channel" in view.alarms:
        worst = (view.alarms["channel"].astype(str) == name).to_numpy(dtype=bool)
    _shade(axes, spans[~worst], 0.13)
    _shade(axes, spans[worst], 0.32)
    axes.plot(*_line(view, values), color=BLUE, linewidth=0.9)
    inside = _inside(view, worst)
    if inside.any():
        # Beyond an alarm nothing is drawn: its neighbours are NaN, and extremes are kept.
        axes.plot(*_line(view, np.where(inside, values, np.nan)), color=VERMILION, linewidth=1.4,
                  marker="." if inside.sum() <= len(spans) else "", markersize=3)  # fmt: skip
    if worst.any() and "peak" in view.alarms:
        peaks = view.alarms["peak"].to_numpy(dtype=np.float64)[worst]
        axes.plot(peaks, np.ones(len(peaks)), "v", color=VERMILION, markersize=6, clip_on=False,
                  transform=axes.get_xaxis_transform(), zorder=5)  # fmt: skip
    dress(axes, grid="y")
    axes.locator_params(axis="y", nbins=3)
    # Written across, or the name of a channel would be cut at the height of its panel.
    axes.set_ylabel(readable(name, 18), rotation=0, ha="right", va="center", fontsize=SMALL_SIZE)


def _shade(axes: Axes, spans: np.ndarray, alpha: float) -> None:
    if len(spans):
        axes.broken_barh(spans.tolist(), (0, 1), transform=axes.get_xaxis_transform(),
                         color=VERMILION, alpha=alpha, linewidth=0, zorder=0.5)  # fmt: skip


def _line(view: SeriesView, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return pixel_columns(view.x, values, view.starts, N_COLUMNS, _limits(view))


def _inside(view: SeriesView, chosen: np.ndarray) -> np.ndarray:
    """Return which time points lie in one of the chosen alarms."""
    depth = np.zeros(len(view.x) + 1, dtype=np.int64)
    of = view.alarms[chosen]
    tolerance = 1e-6 * view.step
    np.add.at(depth, np.searchsorted(view.x, of["first"].to_numpy(float) - tolerance), 1)
    np.add.at(depth, np.searchsorted(view.x, of["last"].to_numpy(float) + tolerance), -1)
    return np.cumsum(depth)[:-1] > 0


def _draw_band(axes: Axes, view: SeriesView, abnormal: np.ndarray) -> None:
    ends = runs(abnormal, view.starts)
    low, high = _limits(view)
    first, last = view.x[ends[:, 0]] - view.step / 2, view.x[ends[:, 1]] + view.step / 2
    width = np.maximum(last - first, MIN_WIDTH_SHARE * (high - low))
    axes.broken_barh(np.column_stack([first, width]).tolist(), (0, 1), color=ORANGE, linewidth=0)
    dress(axes)
    axes.set(ylim=(0, 1), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.set_ylabel("label", rotation=0, ha="right", va="center", fontsize=SMALL_SIZE)
    axes.tick_params(axis="x", length=0)


def _draw_scores(axes: Axes, view: SeriesView, spans: np.ndarray, threshold: float | None) -> None:
    assert view.scores is not None
    x, scores = view.scores["x"].to_numpy(), view.scores[SCORE].to_numpy()
    _shade(axes, spans, 0.13)
    known = np.isfinite(scores)
    # A line leads over a time point without a score to none of its neighbours.
    starts = np.flatnonzero(np.r_[True, known[1:] & ~known[:-1]]) if len(x) else np.array([], int)
    starts = np.union1d(starts, np.searchsorted(x, view.x[view.starts]))
    axes.plot(*pixel_columns(x, scores, starts[starts < len(x)], N_COLUMNS, _limits(view)),
              color=INK, linewidth=0.8)  # fmt: skip
    abnormal = view.scores["abnormal"].to_numpy()
    if threshold is None and abnormal.any():
        threshold = float(scores[abnormal].min())
    if threshold is not None:
        axes.axhline(threshold, color=VERMILION, linewidth=1, linestyle="--")
        axes.annotate("threshold", (0.004, threshold), (0, 2), color=VERMILION, va="bottom",
                      xycoords=("axes fraction", "data"), textcoords="offset points",
                      fontsize=SMALL_SIZE)  # fmt: skip
    dress(axes, grid="y")
    name = "anomaly score"
    present = scores[known]
    if (
        threshold is not None
        and len(present)
        and present.min() > 0
        and (present.max() > MIN_LOG_RATIO * threshold)
    ):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(number)
        name += "\n(logarithmic)"
    else:
        axes.locator_params(axis="y", nbins=3)
    axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=SMALL_SIZE)


def _dress_time(figure: Figure, axes: Axes, view: SeriesView) -> None:
    axes.set_xlim(*_limits(view))
    if view.dated:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator = AutoDateLocator(tz=view.zone, minticks=4, maxticks=10)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=view.zone))
    elif view.axis == "row":
        axes.xaxis.set_major_formatter(lambda row, _: f"{row:,.0f}")
    zone = f" ({view.zone})" if view.zone is not None else ""
    words = "row of the table" if view.axis == "row" else readable(view.axis, 40)
    axes.set_xlabel(words + zone, fontsize=SMALL_SIZE, color=INK)
    figure.align_ylabels()


def _title(view: SeriesView, n_channels: int) -> str:
    n = len(view.alarms)
    parts = [f"{n:,} alarm{'' if n == 1 else 's'}" if n else "no alarms"]
    if view.group:
        parts.append(f"group {readable(view.group, 30)}, one of {view.n_groups:,}")
    hidden = len(view.channels) - n_channels
    if hidden:
        which = "most involved, " if n and "channel" in view.alarms else ""
        parts.append(
            f"{n_channels} of {len(view.channels):,} channels ({which}{hidden:,} not shown)"
        )
    return "; ".join(parts)


def _handles(view: SeriesView) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    if len(view.alarms):
        handles.append(Patch(color=VERMILION, alpha=0.13, linewidth=0, label="alarm"))
        if "channel" in view.alarms:
            has_peak = "peak" in view.alarms
            words = "its worst channel" + (" and peak" if has_peak else "")
            handles.append(
                Line2D([], [], color=VERMILION, linewidth=1.4, label=words, markersize=5,
                       marker="v" if has_peak else "")
            )  # fmt: skip
    if view.abnormal is not None:
        handles.append(Patch(color=ORANGE, linewidth=0, label=view.label_words))
    return handles


def _add_legend_above(axes: Axes, handles: list[Any]) -> None:
    add_legend(axes, handles, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(handles),
               borderaxespad=0.2)  # fmt: skip
