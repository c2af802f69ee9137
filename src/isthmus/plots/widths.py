"""How much a wider code gains: what it keeps of an instance, and what a few labels make of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.errors import DataError
from isthmus.plots._style import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    SMALL_SIZE,
    WIDTH,
    dress,
    new_figure,
    number,
    percent,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from isthmus.evaluation.advice import Advice

CURVES = (("", "code", BLUE, "o"), ("pca_", "PCA", ORANGE, "s"))
DASHES = (0, (4, 3))


def plot_widths(advice: Advice | Mapping[str, Any]) -> Figure:
    """Draw reconstruction error and few-label accuracy against the width, PCA beside the code.

    Parameters
    ----------
    advice : Advice or mapping
        What `isthmus.advise` returned, or its `to_dict()` as `isthmus advise --json` writes it.

    Returns
    -------
    Figure
        Above the error on held-out instances, with a ring at the knee of each curve. Below,
        where there were labels, the accuracy after a few of them, mean and standard deviation
        over the draws, and that on raw features. A dashed line stands at the width
        recommended.

    Raises
    ------
    DataError
        When `advice` is neither, or has no widths.
    MissingExtraError
        When matplotlib is not installed.

    Examples
    --------
    >>> from isthmus import advise, load
    >>> advice = advise(load("digits").train.X, widths=[4, 16], max_epochs=2, random_state=0)
    >>> figure = plot_widths(advice)
    >>> [line.get_label() for line in figure.axes[0].lines[:2]]
    ['code', 'PCA']
    """
    facts = _facts(advice)
    rows = facts["table"]
    widths = np.array([row["width"] for row in rows])
    labelled = rows[0]["accuracy"] is not None
    figure = new_figure(WIDTH, 6.4 if labelled else 3.8)
    panels = list(figure.subplots(1 + labelled, sharex=True, squeeze=False)[:, 0])
    _draw_errors(panels[0], widths, facts)
    if labelled:
        _draw_accuracies(panels[1], widths, facts)
    for at, axes in enumerate(panels):
        recommended = facts["n_components"]
        label = f"recommended: {recommended}" if at == 0 else None
        axes.axvline(recommended, color=MUTED, linewidth=1, linestyle=DASHES, zorder=1, label=label)
        axes.legend(loc="best", frameon=False, fontsize=SMALL_SIZE, labelcolor=INK)
    _scale_widths(panels[-1], widths)
    return figure


def _facts(advice: Any) -> Mapping[str, Any]:
    facts = advice.to_dict() if hasattr(advice, "to_dict") else advice
    if not isinstance(facts, Mapping) or not facts.get("table"):
        raise DataError(
            f"got {type(advice).__name__} without a table of widths, expected what "
            "isthmus.advise(X) returns, or the JSON that `isthmus advise --json PATH` writes"
        )
    return facts


def _draw_errors(axes: Axes, widths: np.ndarray, facts: Mapping[str, Any]) -> None:
    knees = {"": facts["knee"], "pca_": facts["knee_pca"]}
    curves = {}
    for name, label, colour, marker in CURVES:
        curves[name] = np.array([row[f"{name}error"] for row in facts["table"]])
        axes.plot(widths, curves[name], color=colour, linewidth=1.8, marker=marker, ms=4,
                  label=label)  # fmt: skip
    for name, label, colour, _ in CURVES:
        if knees[name] is not None:
            error = curves[name][widths == knees[name]]
            axes.plot([knees[name]], error, "o", ms=11, mfc="none", mec=colour, mew=1.5,
                      label=f"knee of {label}: {knees[name]}")  # fmt: skip
    dress(
        axes,
        title=f"Reconstruction error of {facts['n_held_out']:,} held-out instances",
        y="mean squared error",
        grid="y",
    )
    axes.set_ylim(0, 1.08 * max(curve.max() for curve in curves.values()) or 1)
    axes.yaxis.set_major_formatter(number)


def _draw_accuracies(axes: Axes, widths: np.ndarray, facts: Mapping[str, Any]) -> None:
    rows: Sequence[Mapping[str, Any]] = facts["table"]
    for name, label, colour, marker in CURVES:
        means = np.array([row[f"{name}accuracy"] for row in rows])
        deviations = np.array([row[f"{name}accuracy_std"] or 0.0 for row in rows])
        axes.plot(widths, means, color=colour, linewidth=1.8, marker=marker, ms=4,
                  label=label)  # fmt: skip
        axes.errorbar(widths, means, yerr=deviations, fmt="none", ecolor=colour, elinewidth=1,
                      capsize=3)  # fmt: skip
    raw = facts["raw_accuracy"]
    axes.axhline(raw, color=MUTED, linewidth=1.2, linestyle=(0, (1, 2)), label="raw features")
    dress(
        axes,
        title=f"Accuracy of a {facts['head']} head after {facts['n_labels']:,} labels",
        y=f"accuracy, {_of_draws(facts['n_draws'])}",
        grid="y",
    )
    axes.yaxis.set_major_formatter(percent)


def _of_draws(n_draws: int) -> str:
    return f"mean ± sd of {n_draws} draws" if n_draws > 1 else "1 draw"


def _scale_widths(axes: Axes, widths: np.ndarray) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(widths.tolist()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(number)
    axes.set_xlim(widths[0] / 1.2, widths[-1] * 1.2)
    axes.set_xlabel("width of the code, n_components (logarithmic)")
