"""How well each representation serves each head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.errors import DataError
from isthmus.plots._names import readable
from isthmus.plots._style import BLUE, INK, MUTED, SMALL_SIZE, WIDTH, dress, new_figure, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HIGHLIGHTED = "code"


def plot_heads(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the test accuracy of each head on each representation, with 95 % intervals.

    Parameters
    ----------
    rows : sequence of mappings
        Each with `features` (str, such as `"code"` or `"pca"`), `head` (str),
        `accuracy` (float in [0, 1]) and `interval` (low, high; or None).

    Returns
    -------
    Figure
        One group for each head, in the order given; the code stands out.

    Raises
    ------
    DataError
        When there is no row, one lacks a value, or an accuracy is not in [0, 1].
    MissingExtraError
        When matplotlib is not installed.

    Examples
    --------
    >>> figure = plot_heads([
    ...     {"features": "code", "head": "linear", "accuracy": 0.98, "interval": [0.97, 0.99]},
    ...     {"features": "pca", "head": "linear", "accuracy": 0.92, "interval": [0.91, 0.93]},
    ... ])
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['linear', 'code', 'pca']
    """
    rows = [_check(at, row) for at, row in enumerate(rows)]
    if not rows:
        raise DataError("got no rows, expected at least one of features, head and accuracy")
    heads = list(dict.fromkeys(row["head"] for row in rows))
    # Each entry is one line of the chart: a head's name, or one of its rows below.
    lines: list[str | Mapping[str, Any]] = []
    for head in heads:
        lines += [head, *(row for row in rows if row["head"] == head)]

    figure = new_figure(WIDTH, 1.1 + 0.25 * len(lines))
    axes = figure.add_subplot()
    dress(axes, title="Test accuracy of each head on each representation",
          x="test accuracy, with 95 % interval", grid="x")  # fmt: skip
    decimals = _decimals(rows)
    for at, line in enumerate(lines):
        if not isinstance(line, str):
            _draw_row(axes, at, line, decimals)
    _set_range(axes, rows)
    _name_lines(axes, lines)
    return figure


def _check(at: int, row: Mapping[str, Any]) -> Mapping[str, Any]:
    missing = [name for name in ("features", "head", "accuracy") if row.get(name) is None]
    if missing:
        raise DataError(
            f"row {at} has no {' and no '.join(missing)}; "
            "expected features, head, accuracy and interval in each"
        )
    low, high = row.get("interval") or (row["accuracy"], row["accuracy"])
    if not 0 <= low <= row["accuracy"] <= high <= 1:
        raise DataError(
            f"row {at} has accuracy {row['accuracy']!r} and interval {row.get('interval')!r}; "
            "expected shares in [0, 1], the accuracy inside its interval; divide percent by 100"
        )
    return {**row, "head": str(row["head"]), "interval": (float(low), float(high))}


def _decimals(rows: Sequence[Mapping[str, Any]]) -> int:
    """Return how many digits of the percents the narrowest interval bears out."""
    widths = [high - low for low, high in (row["interval"] for row in rows) if high > low]
    return 2 if widths and min(widths) < 0.01 else 1


def _draw_row(axes: Axes, at: int, row: Mapping[str, Any], decimals: int) -> None:
    stands_out = row["features"] == HIGHLIGHTED
    colour = BLUE if stands_out else MUTED
    low, high = row["interval"]
    axes.plot([low, high], [at, at], color=colour, linewidth=2.5 if stands_out else 1.5,
              solid_capstyle="butt")  # fmt: skip
    axes.plot([row["accuracy"]], [at], "o", color=colour, markersize=8 if stands_out else 6,
              mfc=colour if stands_out else "white", mew=1.5)  # fmt: skip
    axes.annotate(
        f"{100 * row['accuracy']:.{decimals}f} %",
        (high, at),
        (7, 0),
        textcoords="offset points",
        va="center",
        fontsize=SMALL_SIZE,
        color=colour if stands_out else INK,
        fontweight="bold" if stands_out else "normal",
    )


def _set_range(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    lows, highs = zip(*(row["interval"] for row in rows), strict=True)
    span = max(max(highs) - min(lows), 0.02)
    # Room at the right for the numbers written there.
    axes.set_xlim(max(0.0, min(lows) - 0.06 * span), max(highs) + 0.16 * span)
    ticks = [tick for tick in axes.get_xticks() if tick <= 1 + 1e-9]
    left, right = axes.get_xlim()
    axes.set_xticks([tick for tick in ticks if left <= tick <= right])
    axes.xaxis.set_major_formatter(percent)


def _name_lines(axes: Axes, lines: Sequence[str | Mapping[str, Any]]) -> None:
    texts = [line if isinstance(line, str) else str(line["features"]) for line in lines]
    axes.set_yticks(np.arange(len(lines)), [readable(text, 28) for text in texts])
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    for label, line in zip(axes.get_yticklabels(), lines, strict=True):
        if isinstance(line, str):
            label.set_fontweight("bold")
        elif line["features"] == HIGHLIGHTED:
            label.set(color=BLUE, fontweight="bold")
