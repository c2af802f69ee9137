"""Share of each label in training and test data."""

from __future__ import annotations

from collections.abc import Sequence
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

# Numbers of classes up to which bars are vertical, up to which they are horizontal, and up to
# which they are drawn at all.
MAX_VERTICAL, MAX_HORIZONTAL, MAX_CLASSES = 12, 40, 1000
BAR_WIDTH = 0.4


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
