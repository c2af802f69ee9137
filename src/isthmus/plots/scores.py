"""Anomaly scores of normal and abnormal instances, the threshold, and the curves over all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.errors import DataError
from isthmus.plots._style import (
    BLUE,
    INK,
    MUTED,
    SMALL_SIZE,
    VERMILION,
    WIDTH,
    dress,
    new_figure,
    percent,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = {"normal": BLUE, "abnormal": VERMILION, "unknown": MUTED}


def plot_scores(histogram: Mapping[str, Any], threshold: float) -> Figure:
    """Draw how many instances have which anomaly score, by label, and the threshold.

    Parameters
    ----------
    histogram : mapping
        `edges`, k + 1 rising numbers, and `counts`, k numbers for each label, as in a report's
        `verdicts`.
    threshold : float
        Higher scores are called abnormal.

    Returns
    -------
    Figure

    Raises
    ------
    DataError
        When there are no counts.
    MissingExtraError
        When matplotlib is not installed.

    Examples
    --------
    >>> figure = plot_scores({"edges": [0, 1, 2], "counts": {"normal": [5, 1]}}, 1.5)
    >>> figure.axes[0].get_xlabel()
    'anomaly score'
    """
    if not histogram["counts"]:
        raise DataError("got no counts to draw, expected those of one label or more")
    figure = new_figure(WIDTH, 3.4)
    axes = figure.subplots()
    edges = np.asarray(histogram["edges"], dtype=float)
    for name, counts in histogram["counts"].items():
        axes.stairs(counts, edges, fill=True, color=_COLOURS[name], alpha=0.45, label=name)
        axes.stairs(counts, edges, color=_COLOURS[name], linewidth=1.2)
    axes.set_yscale("symlog")
    axes.axvline(threshold, color=INK, linewidth=1.4, gid="threshold")
    axes.annotate(
        " threshold",
        (threshold, 1),
        xycoords=("data", "axes fraction"),
        va="top",
        fontsize=SMALL_SIZE,
        color=INK,
        gid="threshold-label",
    )
    dress(axes, x="anomaly score", y="instances", grid="y")
    axes.legend(frameon=False, fontsize=SMALL_SIZE)
    return figure


def plot_ranking(
    roc: Sequence[Sequence[float]], precision_recall: Sequence[Sequence[float]]
) -> Figure:
    """Draw the ROC and the precision-recall curve side by side.

    Parameters
    ----------
    roc : sequence of (false-alarm rate, share of abnormal caught)
    precision_recall : sequence of (share of abnormal caught, precision)

    Returns
    -------
    Figure

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.

    Examples
    --------
    >>> figure = plot_ranking([(0, 0), (0, 1), (1, 1)], [(0, 1), (1, 1)])
    >>> [axes.get_xlabel() for axes in figure.axes]
    ['false alarms, of normal', 'caught, of abnormal']
    """
    figure = new_figure(WIDTH, 3.6)
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":")
    left.plot(*np.transpose(roc), color=BLUE)
    right.plot(*np.transpose(precision_recall), color=BLUE)
    for axes in (left, right):
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
        axes.xaxis.set_major_formatter(percent)
        axes.yaxis.set_major_formatter(percent)
    dress(left, x="false alarms, of normal", y="caught, of abnormal", grid="both")
    dress(right, x="caught, of abnormal", y="abnormal, of those called so", grid="both")
    return figure
