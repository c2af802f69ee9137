"""How sure a head was, against how often it was right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from isthmus.errors import DataError
from isthmus.plots._style import BLUE, MUTED, SMALL_SIZE, dress, new_figure, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_reliability(bins: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw accuracy against confidence, bin by bin, the number of instances below.

    Parameters
    ----------
    bins : sequence of mappings
        `n`, mean `confidence` and `accuracy` of each, as in a report's `reliability`.

    Returns
    -------
    Figure
        A head whose confidence can be taken at its word lies on the diagonal.

    Raises
    ------
    DataError
        When there is no bin.
    MissingExtraError
        When matplotlib is not installed.

    Examples
    --------
    >>> figure = plot_reliability([{"n": 9, "confidence": 0.9, "accuracy": 0.8}])
    >>> figure.axes[0].get_xlabel()
    ''
    >>> figure.axes[1].get_xlabel()
    'confidence'
    """
    if not bins:
        raise DataError("got no bin to draw, expected one or more")
    figure = new_figure(5.0, 4.6)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.4, 1])
    confidence = [one["confidence"] for one in bins]
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":")
    axes.annotate("as sure as right", (0.04, 0.08), color=MUTED, fontsize=SMALL_SIZE, rotation=34)
    axes.plot(confidence, [one["accuracy"] for one in bins], "o-", color=BLUE)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    below.bar(confidence, [one["n"] for one in bins], width=0.03, color=BLUE)
    below.set_yscale("symlog")
    for formatted in (axes.yaxis, below.xaxis):
        formatted.set_major_formatter(percent)
    dress(axes, y="accuracy", grid="both")
    dress(below, x="confidence", y="instances")
    return figure
