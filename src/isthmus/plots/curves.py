"""Curves: losses by epoch, and errors by width of the code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus._core import shown
from isthmus.errors import DataError
from isthmus.plots.style import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    WIDTH,
    add_legend,
    dress,
    new_figure,
    number,
    percent,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from isthmus.autoencoder import Autoencoder
    from isthmus.classification import MLPHead
    from isthmus.evaluation import Advice

# Ratio of the largest to the smallest loss from which on the axis is logarithmic.
MIN_LOG_RATIO = 10.0


def plot_history(
    history: Sequence[Mapping[str, Any]] | Autoencoder | MLPHead,
    best_epoch: int | None = None,
    *,
    loss_name: str = "loss",
) -> Figure:
    """Draw training and validation loss over the epochs, and the learning rate below.

    Parameters
    ----------
    history : sequence of mappings, or fitted Autoencoder or MLPHead
        One record an epoch, as `Autoencoder.history_`: `epoch`, `train_loss`, and optionally
        `validation_loss` and `lr`. Of an estimator its `history_`, and its `best_epoch_`.
    best_epoch : int, optional
        The epoch whose weights the encoder has, which is marked as kept. Records do not say which
        it is: of them alone the lowest validation loss is marked, as what it is.
    loss_name : str, default="loss"
        Name of the loss, with its unit, for the label of the axis.

    Returns
    -------
    Figure
        The loss has a logarithmic axis when it fell by a factor of ten or more.

    Raises
    ------
    DataError
        When there is no record, one lacks its loss, or `best_epoch` is not among them.
    MissingExtraError
        When matplotlib is not installed.

    Examples
    --------
    The best epoch may be chosen by another measure, or the last one kept, as with `X_validation`.

    >>> records = [{"epoch": 1, "train_loss": 0.3}, {"epoch": 2, "train_loss": 0.2}]
    >>> figure = plot_history(records)
    >>> figure.axes[0].lines[0].get_ydata().tolist()
    [0.3, 0.2]
    """
    if not isinstance(history, Sequence):
        best_epoch = history.best_epoch_ if best_epoch is None else best_epoch
        history = history.history_
    kept = best_epoch is not None
    epochs, train = _column(history, "epoch"), _column(history, "train_loss")
    validation, lr = _column(history, "validation_loss", False), _column(history, "lr", False)
    losses = {"training": (train, BLUE), "validation": (validation, ORANGE)}
    losses = {name: curve for name, curve in losses.items() if np.isfinite(curve[0]).any()}
    if not losses:
        raise DataError("got a history in which no loss is finite, expected at least one to draw")
    best = _best_row(epochs, validation, best_epoch)

    has_lr = bool(np.isfinite(lr).any())
    figure = new_figure(WIDTH, 5.0 if has_lr else 4.0)
    heights = [3.4, 1] if has_lr else [1]
    grid = figure.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)
    panels = list(grid[:, 0])
    _draw_losses(panels[0], epochs, losses)
    logarithmic = _scale(panels[0], np.concatenate([curve for curve, _ in losses.values()]))
    if best is not None:
        loss = validation if np.isfinite(validation[best]) else train
        _mark_best(panels, int(epochs[best]), float(loss[best]), kept=kept)
    n_epochs = f"{len(epochs)} epochs" if len(epochs) > 1 else "1 epoch"
    dress(
        panels[0],
        title=f"{' and '.join(losses).capitalize()} loss over {n_epochs}",
        y=loss_name + (" (logarithmic)" if logarithmic else ""),
        grid="y",
    )
    add_legend(panels[0], loc="best")
    if has_lr:
        panels[1].plot(epochs, lr, color=MUTED, linewidth=1.2, marker=_marker(epochs), ms=3)
        dress(panels[1], y="learning rate", grid="y")
        panels[1].set_ylim(0, 1.15 * np.nanmax(lr) or 1)
        panels[1].yaxis.set_major_formatter(number)
        panels[1].locator_params(axis="y", nbins=3)
    panels[-1].set_xlabel("epoch")
    _whole_epochs(panels[-1], epochs)
    return figure


def _column(history: Sequence[Mapping[str, Any]], name: str, needed: bool = True) -> np.ndarray:
    if len(history) == 0:
        raise DataError(
            "got a history without records, expected one for each epoch; "
            "pass Autoencoder(...).fit(X).history_"
        )
    values = np.array(
        [np.nan if (value := record.get(name)) is None else value for record in history],
        dtype=float,
    )
    if needed and any(name not in record for record in history):
        at = next(row for row, record in enumerate(history) if name not in record)
        raise DataError(
            f"record {at} of the history has no {name!r}, it has {sorted(history[at])}; "
            "expected records as in Autoencoder(...).fit(X).history_"
        )
    return values


def _best_row(epochs: np.ndarray, validation: np.ndarray, best_epoch: int | None) -> int | None:
    if best_epoch is None:
        return int(np.nanargmin(validation)) if np.isfinite(validation).any() else None
    if best_epoch not in epochs:
        raise DataError(
            f"got best_epoch={shown(best_epoch)}, expected one of the epochs in the history, "
            f"{int(epochs[0])} to {int(epochs[-1])}"
        )
    return int(np.flatnonzero(epochs == best_epoch)[0])


def _draw_losses(
    axes: Axes, epochs: np.ndarray, losses: Mapping[str, tuple[np.ndarray, str]]
) -> None:
    for name, (curve, colour) in losses.items():
        axes.plot(epochs, curve, color=colour, linewidth=1.8, marker=_marker(epochs), ms=4,
                  label=name)  # fmt: skip


def _mark_best(panels: Sequence[Axes], epoch: int, loss: float, *, kept: bool) -> None:
    for axes in panels:
        axes.axvline(epoch, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    # In the legend: beside the point the text would cover a curve.
    label = f"{'epoch kept' if kept else 'lowest validation loss: epoch'} {epoch}, {number(loss)}"
    panels[0].plot([epoch], [loss], "o", ms=9, mfc="none", mec=INK, mew=1.5, label=label)


def _scale(axes: Axes, losses: np.ndarray) -> bool:
    from matplotlib.ticker import LogLocator, NullFormatter

    losses = losses[np.isfinite(losses)]
    if losses.size == 0 or losses.min() <= 0 or losses.max() < MIN_LOG_RATIO * losses.min():
        axes.yaxis.set_major_formatter(number)
        return False
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(number)
    axes.yaxis.set_minor_formatter(NullFormatter())
    return True


def _whole_epochs(axes: Axes, epochs: np.ndarray) -> None:
    from matplotlib.ticker import FixedLocator, MaxNLocator

    few = len(epochs) <= 12
    axes.xaxis.set_major_locator(
        FixedLocator(epochs.tolist()) if few else MaxNLocator(10, integer=True)
    )
    margin = 0.5 if len(epochs) < 2 else 0.02 * float(np.ptp(epochs))
    axes.set_xlim(epochs.min() - margin, epochs.max() + margin)


def _marker(epochs: np.ndarray) -> str:
    return "o" if len(epochs) <= 30 else ""


CURVES = (("", "code", BLUE, "o"), ("pca_", "PCA", ORANGE, "s"))
DASHES = (0, (4, 3))


def plot_widths(advice: Advice | Mapping[str, Any]) -> Figure:
    """Draw reconstruction error and few-label accuracy against the width, of the code and of PCA.

    Parameters
    ----------
    advice : Advice or mapping
        What `isthmus.advise` returned, or its `to_dict()` as `isthmus advise --json` writes it.

    Returns
    -------
    Figure
        Upper panel: the error on held-out instances, with a ring at the knee of each curve.
        Lower panel, where there were labels: the accuracy with a few of them, mean and standard
        deviation over the draws, and the accuracy on raw features. A dashed line marks the
        recommended width.

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
        add_legend(axes, loc="best")
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
        title=f"Accuracy of a {facts['head']} head with {facts['n_labels']:,} labels",
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
