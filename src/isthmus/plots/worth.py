"""Accuracy against the number of labels: the code, and what stands beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from isthmus.errors import DataError
from isthmus.plots._style import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    SKY,
    SMALL_SIZE,
    VERMILION,
    WIDTH,
    dress,
    new_figure,
    percent,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colour, dash and mark: told apart without colours too.
_LOOKS = (
    (ORANGE, "--", "s"),
    (VERMILION, "-.", "^"),
    (SKY, ":", "D"),
    (MUTED, "-", "v"),
)


def plot_worth(curves: Mapping[str, Sequence[Mapping[str, Any]]], head: str = "") -> Figure:
    """Draw test accuracy against the number of labels, a line for each kind of features.

    Parameters
    ----------
    curves : mapping
        From the name of the features to points with `n_labels`, `accuracy`, `low` and `high`,
        as in a report's `worth`; the first are drawn foremost.
    head : str
        Name of the head, for the axis.

    Returns
    -------
    Figure

    Raises
    ------
    DataError
        When there is no point.
    MissingExtraError
        When matplotlib is not installed.

    Examples
    --------
    >>> point = {"n_labels": 100, "accuracy": 0.9, "low": 0.8, "high": 0.95}
    >>> figure = plot_worth({"frozen code": [point]}, "linear")
    >>> figure.axes[0].get_ylabel()
    'test accuracy of the linear head'
    """
    if not any(curves.values()):
        raise DataError("got no point to draw, expected accuracies at one number of labels or more")
    figure = new_figure(WIDTH, 4.2)
    axes = figure.subplots()
    for at, (name, points) in enumerate(curves.items()):
        colour, dash, mark = (BLUE, "-", "o") if not at else _LOOKS[(at - 1) % len(_LOOKS)]
        n = [point["n_labels"] for point in points]
        accuracy = [point["accuracy"] for point in points]
        low, high = ([point[bound] for point in points] for bound in ("low", "high"))
        axes.fill_between(n, low, high, color=colour, alpha=0.12, linewidth=0)
        width = 2.2 if not at else 1.4
        axes.plot(
            n, accuracy, mark + dash, color=colour, label=name, linewidth=width, zorder=9 - at
        )
    axes.set_xscale("log")
    ticks = sorted({point["n_labels"] for points in curves.values() for point in points})
    axes.set_xticks(ticks, [f"{n:,}" for n in ticks])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(percent)
    whose = f"test accuracy of the {head} head" if head else "test accuracy"
    dress(axes, x="labels", y=whose, grid="y")
    axes.legend(frameon=False, fontsize=SMALL_SIZE, labelcolor=INK)
    return figure
