"""Decisions: confusion matrix, reliability of probabilities, anomaly scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.errors import DataError
from isthmus.plots.style import (
    BLUE,
    CHARACTER_WIDTH,
    INK,
    MUTED,
    RULE,
    SMALL_SIZE,
    VERMILION,
    WIDTH,
    add_legend,
    dress,
    new_figure,
    percent,
    readable,
    scale_counts,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_NAME_LENGTH = 20
# Points. Text in cells that would be smaller than this is left out.
MIN_SIZE = 6.5
TICKS = (0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1)


def plot_confusion(
    matrix: Any, class_names: Sequence[str], accuracy: float | None = None
) -> Figure:
    """Draw a confusion matrix: how often each class was predicted for each actual class.

    Parameters
    ----------
    matrix : array of shape (k, k)
        Counts; rows are actual classes, columns predicted ones.
    class_names : sequence of k str
    accuracy : float in [0, 1], optional
        For the title; by default the share of the counts on the diagonal.

    Returns
    -------
    Figure
        Colours are shares of each row, on a square-root scale, so that rare confusions
        are visible. Counts, and shares below them, are written where they fit.

    Raises
    ------
    DataError
        When the matrix is not square or holds other values than counts, or the number of
        names differs from the number of classes.
    MissingExtraError
        When matplotlib is not installed.

    Examples
    --------
    >>> figure = plot_confusion([[8, 2], [0, 10]], ["cat", "dog"])
    >>> figure.axes[0].get_title(loc="left")
    'Confusion: accuracy 90 %, 2 of 20 wrong'
    """
    counts = _check(matrix, class_names)
    k = len(counts)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    names = [readable(name, MAX_NAME_LENGTH) for name in class_names]
    rows = [name if total else f"{name} (none)" for name, total in zip(names, totals, strict=True)]
    side = min(6.0, max(2.6, 0.6 * k))
    beside = SMALL_SIZE * CHARACTER_WIDTH / 72 * max(len(name) for name in rows)
    upright = max(len(name) for name in names) * SMALL_SIZE * CHARACTER_WIDTH / 72 > side / k
    below = beside if upright else 0.2
    figure = new_figure(max(side + beside + 1.5, 5.2), side + below + 0.9)
    axes = figure.add_subplot()
    _draw_cells(figure, axes, shares)
    _write_counts(axes, counts, shares, 72 * side / k)
    right = int(np.trace(counts))
    accuracy = right / counts.sum() if accuracy is None else accuracy
    wrong = f"{int(counts.sum()) - right:,} of {int(counts.sum()):,} wrong"
    dress(
        axes,
        title=f"Confusion: accuracy {percent(accuracy)}, {wrong}",
        x="predicted class",
        y="actual class",
    )
    _name_ticks(axes, names, rows, upright, 72 * side / k)
    return figure


def _check(matrix: Any, class_names: Sequence[str]) -> np.ndarray:
    counts = np.asarray(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.size == 0:
        raise DataError(
            f"got a matrix of shape {counts.shape}, expected (k, k): actual classes by "
            "predicted ones, as sklearn.metrics.confusion_matrix gives"
        )
    if counts.dtype.kind not in "iuf" or not (counts >= 0).all() or (counts % 1).any():
        raise DataError(
            "got a matrix with other values than counts; expected whole numbers from 0, "
            "as sklearn.metrics.confusion_matrix gives without normalize="
        )
    if counts.sum() == 0:
        raise DataError("got a matrix of zeros, expected at least one instance")
    if len(class_names) != len(counts):
        raise DataError(
            f"got {len(class_names)} class names for {len(counts)} classes, "
            "expected one for each row of the matrix"
        )
    return counts.astype(np.int64)


def _draw_cells(figure: Figure, axes: Axes, shares: np.ndarray) -> None:
    import matplotlib
    from matplotlib.colors import PowerNorm

    colours = matplotlib.colormaps["Blues"].with_extremes(bad="#ececec")
    cells = axes.imshow(shares, cmap=colours, norm=PowerNorm(0.5, 0, 1), interpolation="none")
    bar = figure.colorbar(cells, ax=axes, fraction=0.05, pad=0.03, ticks=TICKS, format=percent)
    bar.set_label("share of the actual class (row)", fontsize=SMALL_SIZE, color=INK)
    bar.ax.tick_params(labelsize=SMALL_SIZE, colors=MUTED, labelcolor=INK, length=3)
    bar.outline.set_visible(False)


def _write_counts(axes: Axes, counts: np.ndarray, shares: np.ndarray, cell: float) -> None:
    """Write counts and shares into the cells, each `cell` points wide, where they fit."""
    digits = len(f"{counts.max()}")
    size = min(SMALL_SIZE, 0.85 * cell / (digits * CHARACTER_WIDTH), 0.75 * cell)
    if size < MIN_SIZE:
        return
    two_lines = cell >= 36
    for row, column in np.argwhere(counts > 0):
        share = shares[row, column]
        text = f"{counts[row, column]}"
        if two_lines:
            text += f"\n{_short_percent(share)}"
        axes.text(column, row, text, ha="center", va="center", fontsize=size,
                  color="white" if share > 0.3 else INK, linespacing=1.1)  # fmt: skip


def _short_percent(share: float) -> str:
    # A decimal where 0 % or 100 % would be wrong.
    digits = 0 if 0.0095 <= share < 0.995 or share in (0, 1) else 1
    return f"{100 * share:.{digits}f} %"


def _name_ticks(axes: Axes, names: list[str], rows: list[str], upright: bool, cell: float) -> None:
    size = min(SMALL_SIZE, max(MIN_SIZE, 0.85 * cell))
    step = max(1, int(np.ceil(1.15 * MIN_SIZE / cell)))
    at = np.arange(0, len(names), step)
    axes.set_xticks(at, names[::step], rotation=90 if upright else 0, fontsize=size)
    axes.set_yticks(at, rows[::step], fontsize=size)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set(visible=True, color=RULE)


#: Instances of a point of a reliability curve.
MIN_IN_BIN = 20


def plot_reliability(
    bins: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]] | None = None
) -> Figure:
    """Draw accuracy against confidence by bins, with the number of instances in each below.

    Parameters
    ----------
    bins : sequence of mappings
        `n`, mean `confidence` and `accuracy` of each, as in a report's `reliability`. The curve
        joins neighbouring bins until each has 20 instances or a twentieth of all, whichever is
        less: the accuracy of a handful says little.
    before : sequence of mappings, optional
        Those before the probabilities were calibrated, drawn beside them.

    Returns
    -------
    Figure
        A perfectly calibrated head lies on the diagonal.

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
    axes.annotate("perfectly calibrated", (0.02, 0.07), color=MUTED, fontsize=SMALL_SIZE,
                  rotation=36)  # fmt: skip
    for drawn, color, label in ((before, VERMILION, "before"), (bins, BLUE, "calibrated")):
        if drawn:
            joined = _joined_bins(drawn)
            points = [[one[name] for one in joined] for name in ("confidence", "accuracy")]
            axes.plot(*points, "o-", color=color, label=label)
    if before:
        add_legend(axes)
    axes.set(xlim=(0, 1.02), ylim=(-0.03, 1.03))  # so that markers at 0 and 1 are whole
    below.bar(confidence, [one["n"] for one in bins], width=0.03, color=BLUE)
    scale_counts(below)
    for axis in (axes.yaxis, below.xaxis):
        axis.set_major_formatter(percent)
    dress(axes, y="accuracy", grid="both")
    dress(below, x="confidence", y="instances")
    return figure


def _joined_bins(bins: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Return bins with enough instances: one with too few is joined with the next higher one."""
    enough = min(MIN_IN_BIN, -(-sum(one["n"] for one in bins) // 20))
    joined: list[dict[str, float]] = []
    full = True
    for one in sorted(bins, key=lambda each: float(each["confidence"])):
        if full:
            joined.append({"n": 0, "confidence": 0.0, "accuracy": 0.0})
        _pool(joined[-1], one)
        full = joined[-1]["n"] >= enough
    if not full and len(joined) > 1:
        few = joined.pop()
        _pool(joined[-1], few)
    return joined


def _pool(bin_: dict[str, float], other: Mapping[str, Any]) -> None:
    n = bin_["n"] + other["n"]
    for name in ("confidence", "accuracy"):
        bin_[name] = (bin_["n"] * bin_[name] + other["n"] * other[name]) / n
    bin_["n"] = n


_COLOURS = {"normal": BLUE, "abnormal": VERMILION, "unknown": MUTED}


def plot_scores(
    histogram: Mapping[str, Any], threshold: float, *, score_name: str = "anomaly score"
) -> Figure:
    """Draw a histogram of the anomaly scores by label, and the threshold.

    Parameters
    ----------
    histogram : mapping
        `edges`, k + 1 rising numbers, and `counts`, k numbers for each label, as in a report's
        `verdicts`.
    threshold : float
        Instances with higher scores are classified as abnormal.
    score_name : str, default="anomaly score"
        What the scores are, for the label of the axis.

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
        axes.stairs(counts, edges, fill=True, color=_COLOURS[name], alpha=0.45,
                    label="no label" if name == "unknown" else name)  # fmt: skip
        axes.stairs(counts, edges, color=_COLOURS[name], linewidth=1.2)
    scale_counts(axes)
    axes.axvline(threshold, color=INK, linewidth=1.4, gid="threshold")
    axes.annotate(
        "threshold",
        (threshold, 1),
        (4, 0),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        va="top",
        fontsize=SMALL_SIZE,
        color=INK,
        gid="threshold-label",
    )
    dress(axes, x=score_name, y="instances", grid="y")
    # Above: within the axes it would cover the line or bars.
    add_legend(axes, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, borderaxespad=0.2)
    return figure


def plot_ranking(
    roc: Sequence[Sequence[float]], precision_recall: Sequence[Sequence[float]]
) -> Figure:
    """Draw the ROC and the precision-recall curve side by side.

    Parameters
    ----------
    roc : sequence of (false-alarm rate, detection rate)
    precision_recall : sequence of (detection rate, precision)

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
    ['false-alarm rate', 'recall: abnormal found']
    """
    figure = new_figure(WIDTH, 3.6)
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":")
    left.plot(*np.transpose(roc), color=BLUE)
    right.plot(*np.transpose(precision_recall), color=BLUE)
    for axes in (left, right):
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(percent)
    dress(left, x="false-alarm rate", y="recall: abnormal found", grid="both")
    dress(right, x="recall: abnormal found", y="precision", grid="both")
    return figure
