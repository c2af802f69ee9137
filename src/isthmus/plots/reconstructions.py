"""Instances, their reconstructions, and their predicted classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.data import Schema
from isthmus.errors import DataError
from isthmus.plots.panels import (
    IMAGES_IN_A_ROW,
    Instances,
    caption_width,
    check_as_many,
    draw_image,
    draw_instance,
    draw_profile,
    dress_profiles,
    first_instances,
    new_panels,
)
from isthmus.plots.style import (
    BLUE,
    INK,
    SKY,
    SMALL_SIZE,
    VERMILION,
    caption,
    name_classes,
    readable,
    set_headline,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_samples(
    X: Any, y: Any = None, class_names: Sequence[str] | None = None, n: int = 10
) -> Figure:
    """Draw the first instances in a row, each below its label.

    Parameters
    ----------
    X : array of shape (m, h, w), (m, h, w, c) or (m, k), or DataFrame of (m, k)
        Images in 0..255 or in [0, 1], or a table. Table columns that differ much in scale
        are drawn in standard deviations from their mean over all of `X`.
    y : array-like of shape (m,), optional
        Labels; None or NaN where there is none.
    class_names : sequence of str, optional
        Names for the sorted distinct labels.
    n : int, default=10
        How many to draw; fewer when there are not so many.

    Returns
    -------
    Figure

    Raises
    ------
    DataError
        When instances, labels and names do not fit together.
    MissingExtraError
        When matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> figure = plot_samples(np.zeros((3, 8, 8)), y=[5, 0, 4])
    >>> [axes.get_title() for axes in figure.axes]
    ['5', '0', '4']
    """
    instances = first_instances(X, n)
    captions = _captions(X, y, class_names, caption_width(instances))
    figure, panels = new_panels(instances, lines=1, caption_lines=1)
    for at, (axes,) in enumerate(panels):
        draw_instance(axes, instances, at)
        if captions is not None:
            caption(axes, captions[at])
    dress_profiles(figure, panels, instances)
    what = "image" if instances.are_images else "row"
    drawn, labels = f"first {what}", "its label"
    if len(panels) > 1:
        drawn, labels = f"first {len(panels)} {what}s", "their labels"
    set_headline(figure, f"The {drawn}" + (f" and {labels}" if captions else ""))
    return figure


def _captions(X: Any, y: Any, class_names: Sequence[str] | None, width: int) -> list[str] | None:
    if y is None:
        return None
    names, (positions,) = name_classes([y], class_names)
    check_as_many("labels", len(positions), X)
    return [readable(names[at], width) if at >= 0 else "no label" for at in positions]


def plot_reconstructions(X: Any, reconstructions: Any, n: int = 10, errors: Any = None) -> Figure:
    """Draw instances above their reconstructions.

    Parameters
    ----------
    X : array of shape (m, h, w), (m, h, w, c) or (m, k), or DataFrame of (m, k)
        Originals: images in 0..255 or in [0, 1], or a table.
    reconstructions : array of the same shape
        In the units of `X`, as `Autoencoder.inverse_transform` gives them. Pixels are
        clipped to the range of `X`.
    n : int, default=10
        How many to draw; fewer when there are not so many.
    errors : array of shape (m,), optional
        Reconstruction error of each instance, written below it or, in a table, above it.

    Returns
    -------
    Figure
        Images in two rows; a table's rows as profiles, the reconstruction on top.

    Raises
    ------
    DataError
        When shapes, lengths or units do not fit together.
    MissingExtraError
        When matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> figure = plot_reconstructions(np.zeros((3, 8, 8)), np.ones((3, 8, 8)))
    >>> len(figure.axes)
    6
    """
    instances = first_instances(X, n)
    rebuilt = _first_rebuilt(X, reconstructions, instances)
    if errors is not None:
        errors = np.asarray(errors, dtype=float).ravel()
        check_as_many("errors", len(errors), X)
    draw = _draw_images if instances.are_images else _draw_profiles
    return draw(instances, rebuilt, errors)


def _first_rebuilt(X: Any, reconstructions: Any, instances: Instances) -> np.ndarray:
    if isinstance(reconstructions, pd.DataFrame):
        schema = instances.schema
        if schema is None or schema.column_types is None:
            schema = Schema.learn(reconstructions)
            if schema.column_types is not None:
                raise DataError(
                    "got instances of numbers only and reconstructions with other columns, "
                    "expected the same; pass the instances as the DataFrame they came from"
                )
        reconstructions = schema.check(reconstructions)
    reconstructions = np.asarray(reconstructions)
    check_as_many("reconstructions", len(reconstructions), X)
    rebuilt = reconstructions[: len(instances.values)]
    if rebuilt.shape != instances.values.shape:
        raise DataError(
            f"got reconstructions of shape {reconstructions.shape} for instances of shape "
            f"{np.shape(X)}, expected the same; "
            "use encoder.inverse_transform(encoder.transform(X))"
        )
    if instances.are_images and instances.values.max() > 50 and rebuilt.max() <= 1:
        raise DataError(
            "got images of 0..255 and reconstructions of 0..1, expected the same units; "
            "use reconstructions * 255"
        )
    if instances.are_images and instances.high <= 1 and rebuilt.max() > 10:
        raise DataError(
            f"got images of 0..1 and reconstructions of up to {rebuilt.max():.4g}, expected the "
            "same units; use reconstructions / 255"
        )
    return rebuilt


def _draw_images(instances: Instances, rebuilt: np.ndarray, errors: np.ndarray | None) -> Figure:
    figure, panels = new_panels(instances, lines=2, caption_lines=0 if errors is None else 1)
    for at, (upper, lower) in enumerate(panels):
        draw_image(upper, instances.values[at], instances.low, instances.high)
        draw_image(lower, rebuilt[at], instances.low, instances.high)
        if errors is not None:
            lower.set_xlabel(_three_digits(errors[at]), fontsize=SMALL_SIZE, color=INK, labelpad=2)
        if at % IMAGES_IN_A_ROW == 0:
            upper.set_ylabel("original", fontsize=SMALL_SIZE, color=INK)
            lower.set_ylabel("recon-\nstruction", fontsize=SMALL_SIZE, color=INK)
    below = "" if errors is None else " (error below)"
    set_headline(figure, f"Originals above reconstructions{below}")
    return figure


def _draw_profiles(instances: Instances, rebuilt: np.ndarray, errors: np.ndarray | None) -> Figure:
    figure, panels = new_panels(instances, lines=1, caption_lines=1)
    for at, (axes,) in enumerate(panels):
        draw_profile(axes, instances.values[at], instances, SKY)
        draw_profile(axes, rebuilt[at], instances, VERMILION, over=True)
        if errors is not None:
            caption(axes, f"error {_three_digits(errors[at])}")
    dress_profiles(figure, panels, instances)
    drawn = panels[0, 0]
    handles = [*drawn.patches[:1], *drawn.lines][:2]
    figure.legend(handles, ["original", "reconstruction"], loc="outside upper right", ncols=2,
                  frameon=False, fontsize=SMALL_SIZE, labelcolor=INK)  # fmt: skip
    set_headline(figure, "Rows and their reconstructions")
    return figure


def _three_digits(error: float) -> str:
    """Return an error with three significant digits."""
    return f"{error:#.3g}".rstrip(".")


def plot_predictions(
    X: Any,
    predicted: Any,
    actual: Any = None,
    probabilities: Any = None,
    n: int = 10,
    *,
    class_names: Sequence[str] | None = None,
) -> Figure:
    """Draw the first instances, each below its predicted class.

    A wrong prediction reads "4 (is 9)", in another colour and with a frame.

    Parameters
    ----------
    X : array of shape (m, h, w), (m, h, w, c) or (m, k), or DataFrame of (m, k)
        Images in 0..255 or in [0, 1], or a table.
    predicted : array-like of shape (m,)
        Predicted labels.
    actual : array-like of shape (m,), optional
        Labels; None or NaN where there is none.
    probabilities : array of shape (m, n_classes) or (m,), optional
        As `predict_proba` gives them; the highest is written below the class.
    n : int, default=10
        How many to draw; fewer when there are not so many.
    class_names : sequence of str, optional
        Names for the sorted distinct labels.

    Returns
    -------
    Figure

    Raises
    ------
    DataError
        When instances, predictions, labels, probabilities and names differ in number.
    MissingExtraError
        When matplotlib is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> figure = plot_predictions(np.zeros((2, 8, 8)), predicted=[7, 4], actual=[7, 9])
    >>> [axes.get_title() for axes in figure.axes]
    ['7', '4 (is 9)']
    """
    instances = first_instances(X, n)
    labels = [predicted] if actual is None else [predicted, actual]
    names, positions = name_classes(labels, class_names)
    for what, where in zip(("predictions", "labels"), positions, strict=False):
        check_as_many(what, len(where), X)
    found = positions[0][: len(instances.values)]
    truth = (
        positions[-1][: len(instances.values)] if actual is not None else np.full_like(found, -1)
    )
    confidence = None if probabilities is None else _highest(probabilities, X)
    wrong = (truth >= 0) & (truth != found)

    captions = _prediction_captions(
        names, found, truth, wrong, confidence, caption_width(instances)
    )
    figure, panels = new_panels(instances, 1, 1 + max(text.count("\n") for text in captions))
    for at, (axes,) in enumerate(panels):
        draw_instance(axes, instances, at, VERMILION if wrong[at] else BLUE)
        caption(axes, captions[at], VERMILION if wrong[at] else INK, bold=bool(wrong[at]))
    dress_profiles(figure, panels, instances)
    for axes in panels[wrong, 0]:
        for spine in axes.spines.values():
            spine.set(color=VERMILION, linewidth=2, visible=True)
    set_headline(figure, _headline(wrong, truth >= 0))
    return figure


def _prediction_captions(
    names: list[str],
    found: np.ndarray,
    truth: np.ndarray,
    wrong: np.ndarray,
    confidence: np.ndarray | None,
    width: int,
) -> list[str]:
    # The same number of lines for all, so that the panels are aligned.
    short = max(len(names[at]) for at in {*found, *truth[wrong]}) <= 2
    between = " " if short else "\n"
    captions = []
    for at, predicted in enumerate(found):
        text = readable(names[predicted], width) if predicted >= 0 else "none"
        if wrong[at]:
            text += f"{between}(is {readable(names[truth[at]], width - 5)})"
        if confidence is not None:
            text += f"\n{100 * confidence[at]:.0f} %"
        captions.append(text)
    return captions


def _highest(probabilities: Any, X: Any) -> np.ndarray:
    values = np.asarray(probabilities, dtype=float)
    if values.ndim not in (1, 2) or not ((values >= 0) & (values <= 1 + 1e-6)).all():
        raise DataError(
            f"got probabilities of shape {values.shape}, from {values.min():.4g} to "
            f"{values.max():.4g}; expected (n, n_classes) or (n,) in [0, 1], "
            "as classifier.predict_proba(X) gives"
        )
    check_as_many("probabilities", len(values), X)
    return values if values.ndim == 1 else values.max(axis=1)


def _headline(wrong: np.ndarray, labelled: np.ndarray) -> str:
    text = f"The first {len(wrong)} predictions" if len(wrong) > 1 else "The first prediction"
    if labelled.any():
        text += f": {int((labelled & ~wrong).sum())} of {int(labelled.sum())} right"
    return text
