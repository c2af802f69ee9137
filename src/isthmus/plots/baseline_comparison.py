"""Accuracy on the code and on its baselines, and the share of each label in the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.errors import DataError
from isthmus.plots.style import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    SKY,
    SMALL_SIZE,
    TITLE_SIZE,
    VERMILION,
    WIDTH,
    add_legend,
    dress,
    name_classes,
    new_figure,
    percent,
    readable,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HIGHLIGHTED = "code"
# Colour, dash and marker of each line, which differ in print without colours too.
_LINE_STYLES = (
    (ORANGE, "--", "s"),
    (VERMILION, "-.", "^"),
    (SKY, ":", "D"),
    (MUTED, "-", "v"),
)
# Numbers of classes up to which bars are vertical, up to which they are horizontal, and up to
# which they are drawn at all.
MAX_VERTICAL, MAX_HORIZONTAL, MAX_CLASSES = 12, 40, 1000
BAR_WIDTH = 0.4


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
        One group for each head, in the order given; the code is in another colour and bold.

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


def plot_baseline_comparison(
    curves: Mapping[str, Sequence[Mapping[str, Any]]], head: str = ""
) -> Figure:
    """Draw test accuracy against the number of labels, one line for each kind of features.

    Parameters
    ----------
    curves : mapping
        From the name of the features to points with `n_labels`, `accuracy`, `low` and `high`,
        as in a report's `baseline_comparison`; the first line is drawn on top.
    head : str
        Name of the head, for the label of the axis.

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
    >>> figure = plot_baseline_comparison({"frozen code": [point]}, "linear")
    >>> figure.axes[0].get_ylabel()
    'test accuracy of the linear head'
    """
    if not any(curves.values()):
        raise DataError("got no point to draw, expected accuracies at one number of labels or more")
    figure = new_figure(WIDTH, 4.2)
    axes = figure.subplots()
    for at, (name, points) in enumerate(curves.items()):
        colour, dash, marker = _line_style(at)
        n_labels = [point["n_labels"] for point in points]
        accuracy = [point["accuracy"] for point in points]
        low, high = ([point[bound] for point in points] for bound in ("low", "high"))
        axes.fill_between(n_labels, low, high, color=colour, alpha=0.12, linewidth=0)
        axes.plot(n_labels, accuracy, marker + dash, color=colour, label=name,
                  linewidth=1.4 if at else 2.2, zorder=9 - at)  # fmt: skip
    axes.set_xscale("log")
    ticks = sorted({point["n_labels"] for points in curves.values() for point in points})
    axes.set_xticks(ticks, [f"{n:,}" for n in ticks])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(percent)
    accuracy_of = f"test accuracy of the {head} head" if head else "test accuracy"
    dress(axes, x="labels", y=accuracy_of, grid="y")
    add_legend(axes)
    return figure


def plot_label_shares(
    y_train: Any, y_test: Any = None, class_names: Sequence[str] | None = None
) -> Figure:
    """Draw the share of each label in train and test, side by side.

    Instances without a label (None, NaN) are left out of the shares.

    Parameters
    ----------
    y_train, y_test : array-like of shape (n,)
        Labels; `y_test` may be None.
    class_names : sequence of str, optional
        Names for the sorted distinct labels.

    Returns
    -------
    Figure
        Bars side by side; for more than 40 classes, bars for train and dots for test.

    Raises
    ------
    DataError
        When there are no labels, more than 1000 classes, or names that do not match.
    MissingExtraError
        When matplotlib is not installed.

    Examples
    --------
    >>> figure = plot_label_shares([0, 0, 1], [0, 1, 1], class_names=["cat", "dog"])
    >>> [f"{bar.get_width():.2f}" for bar in figure.axes[0].patches]
    ['0.67', '0.33', '0.33', '0.67']
    """
    parts = {"train": y_train} if y_test is None else {"train": y_train, "test": y_test}
    names, positions = name_classes(list(parts.values()), class_names)
    if len(names) > MAX_CLASSES:
        raise DataError(
            f"got {len(names)} distinct labels, expected at most {MAX_CLASSES} classes; "
            "numbers that are measured are not classes: group them first, as numpy.digitize does"
        )
    shares = {
        _in_legend(part, where): _shares(part, where, len(names))
        for part, where in zip(parts, positions, strict=True)
    }

    longest = max(len(name) for name in names)
    if 5 <= len(names) <= MAX_VERTICAL and longest * len(names) <= 70:
        figure = new_figure(WIDTH, 3.8)
        axes = figure.add_subplot()
        _draw_vertical(axes, names, shares)
    elif len(names) <= MAX_HORIZONTAL:
        figure = new_figure(WIDTH, 1.3 + max(0.23, 0.4 - 0.02 * len(names)) * len(names))
        axes = figure.add_subplot()
        _draw_horizontal(axes, names, shares)
    else:
        figure = new_figure(WIDTH, 4.6)
        axes = figure.add_subplot()
        _draw_dense(axes, names, shares)
    axes.set_title(
        f"Share of each label in {' and '.join(parts)}",
        loc="left",
        fontsize=TITLE_SIZE,
        color=INK,
        pad=10,
    )
    # Matplotlib lists bars after dots, which would put test before train.
    handles = dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
    add_legend(
        axes,
        [handles[label] for label in shares],
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=2,
        borderaxespad=0.2,
    )
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
    """Return how many decimals of a percentage to write, given the narrowest interval."""
    widths = [high - low for low, high in (row["interval"] for row in rows) if high > low]
    return 2 if widths and min(widths) < 0.01 else 1


def _draw_row(axes: Axes, at: int, row: Mapping[str, Any], decimals: int) -> None:
    highlighted = row["features"] == HIGHLIGHTED
    colour = BLUE if highlighted else MUTED
    low, high = row["interval"]
    axes.plot([low, high], [at, at], color=colour, linewidth=2.5 if highlighted else 1.5,
              solid_capstyle="butt")  # fmt: skip
    axes.plot([row["accuracy"]], [at], "o", color=colour, markersize=8 if highlighted else 6,
              mfc=colour if highlighted else "white", mew=1.5)  # fmt: skip
    axes.annotate(
        f"{100 * row['accuracy']:.{decimals}f} %",
        (high, at),
        (7, 0),
        textcoords="offset points",
        va="center",
        fontsize=SMALL_SIZE,
        color=colour if highlighted else INK,
        fontweight="bold" if highlighted else "normal",
    )


def _set_range(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    lows, highs = zip(*(row["interval"] for row in rows), strict=True)
    span = max(max(highs) - min(lows), 0.02)
    # Wider at the right, where the numbers are written.
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


def _line_style(at: int) -> tuple[str, str, str]:
    return _LINE_STYLES[(at - 1) % len(_LINE_STYLES)] if at else (BLUE, "-", "o")


def _shares(part: str, positions: np.ndarray, n_classes: int) -> np.ndarray:
    counts = np.bincount(positions[positions >= 0], minlength=n_classes)
    if counts.sum() == 0:
        raise DataError(f"got no labels in {part}; expected at least one that is not missing")
    return counts / counts.sum()


def _in_legend(part: str, positions: np.ndarray) -> str:
    labelled = int((positions >= 0).sum())
    if labelled == len(positions):
        return f"{part} ({labelled:,})"
    return f"{part} ({labelled:,} labelled of {len(positions):,})"


def _draw_vertical(axes: Axes, names: list[str], shares: dict[str, np.ndarray]) -> None:
    at = np.arange(len(names))
    for offset, colour, (label, share) in _side_by_side(shares):
        axes.bar(at + offset, share, BAR_WIDTH, color=colour, label=label)
        for place in at[share == 0]:
            axes.annotate("0", (place + offset, 0), (0, 2), textcoords="offset points",
                          ha="center", color=MUTED, fontsize=SMALL_SIZE)  # fmt: skip
    dress(axes, x="class", y="share of instances", grid="y")
    axes.set_xticks(at, [readable(name, 20) for name in names])
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.yaxis.set_major_formatter(percent)
    axes.tick_params(axis="x", length=0)


def _draw_horizontal(axes: Axes, names: list[str], shares: dict[str, np.ndarray]) -> None:
    at = np.arange(len(names))
    for offset, colour, (label, share) in _side_by_side(shares):
        axes.barh(at + offset, share, BAR_WIDTH, color=colour, label=label)
        for place in at[share == 0]:
            axes.annotate("0", (0, place + offset), (2, 0), textcoords="offset points",
                          va="center", color=MUTED, fontsize=SMALL_SIZE - 1)  # fmt: skip
    dress(axes, x="share of instances", y="class", grid="x")
    axes.set_yticks(at, [readable(name, 28) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.xaxis.set_major_formatter(percent)
    axes.tick_params(axis="y", length=0)


def _draw_dense(axes: Axes, names: list[str], shares: dict[str, np.ndarray]) -> None:
    at = np.arange(len(names))
    (train, train_share), *rest = shares.items()
    axes.bar(at, train_share, 0.8, color=SKY, label=train)
    for label, share in rest:
        axes.plot(
            at,
            share,
            ".",
            color=INK,
            markersize=5 if len(names) <= 100 else 4,
            label=label,
            clip_on=False,
        )
    step = -(-len(names) // 40)
    every = f" (every {_ordinal(step)} is named)" if step > 1 else ""
    dress(axes, x=f"class{every}", y="share of instances", grid="y")
    axes.set_xticks(at[::step], [readable(name, 18) for name in names[::step]], rotation=90)
    axes.set_xlim(-1, len(names))
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(percent)
    axes.tick_params(axis="x", labelsize=SMALL_SIZE - 1)


def _side_by_side(shares: dict[str, np.ndarray]) -> list[tuple[float, str, tuple[str, np.ndarray]]]:
    offsets = [0.0] if len(shares) == 1 else [-BAR_WIDTH / 2, BAR_WIDTH / 2]
    return list(zip(offsets, (BLUE, ORANGE), shares.items(), strict=False))


def _ordinal(step: int) -> str:
    return {2: "2nd", 3: "3rd"}.get(step, f"{step}th")
