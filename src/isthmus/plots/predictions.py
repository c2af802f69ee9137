"""What was decided about each instance, and whether that is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.errors import DataError
from isthmus.plots._names import name_classes, readable
from isthmus.plots._panels import (
    caption_width,
    check_as_many,
    draw_image,
    draw_profile,
    dress_profiles,
    first_instances,
    new_panels,
)
from isthmus.plots._style import BLUE, INK, VERMILION, caption, set_headline

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_predictions(
    X: Any,
    predicted: Any,
    actual: Any = None,
    probabilities: Any = None,
    n: int = 10,
    *,
    class_names: Sequence[str] | None = None,
) -> Figure:
    """Draw the first instances, each under the class predicted for it.

    A wrong one is written "4 (is 9)", in another colour and with a frame.

    Parameters
    ----------
    X : array of shape (m, h, w), (m, h, w, c) or (m, k), or DataFrame of (m, k)
        Images in 0..255 or in [0, 1], or a table.
    predicted : array-like of shape (m,)
        Predicted labels.
    actual : array-like of shape (m,), optional
        Labels; None or NaN where there is none.
    probabilities : array of shape (m, n_classes) or (m,), optional
        As `predict_proba` gives them; the highest is written under the class.
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
        When instances, predictions, labels, probabilities and names do not fit together.
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
    got = positions[0][: len(instances.values)]
    expected = (
        positions[-1][: len(instances.values)] if actual is not None else np.full_like(got, -1)
    )
    sure = None if probabilities is None else _highest(probabilities, X)
    wrong = (expected >= 0) & (expected != got)

    captions = _captions(names, got, expected, wrong, sure, caption_width(instances))
    figure, panels = new_panels(instances, 1, 1 + max(text.count("\n") for text in captions))
    for at, (axes,) in enumerate(panels):
        colour = VERMILION if wrong[at] else BLUE
        if instances.are_images:
            draw_image(axes, instances.values[at], instances.low, instances.high)
        else:
            draw_profile(axes, instances.values[at], instances, colour)
        caption(axes, captions[at], VERMILION if wrong[at] else INK, bold=bool(wrong[at]))
    if not instances.are_images:
        dress_profiles(figure, panels, instances)
    for axes in panels[wrong, 0]:
        for spine in axes.spines.values():
            spine.set(color=VERMILION, linewidth=2, visible=True)
    set_headline(figure, _headline(wrong, expected >= 0))
    return figure


def _captions(
    names: list[str],
    got: np.ndarray,
    expected: np.ndarray,
    wrong: np.ndarray,
    sure: np.ndarray | None,
    width: int,
) -> list[str]:
    # One line where all fit on it, else two for all, so that the panels stay in line.
    short = max(len(names[at]) for at in {*got, *expected[wrong]}) <= 2
    between = " " if short else "\n"
    captions = []
    for at, found in enumerate(got):
        text = readable(names[found], width) if found >= 0 else "none"
        if wrong[at]:
            text += f"{between}(is {readable(names[expected[at]], width - 5)})"
        if sure is not None:
            text += f"\n{100 * sure[at]:.0f} %"
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


def _headline(wrong: np.ndarray, known: np.ndarray) -> str:
    text = f"The first {len(wrong)} predictions" if len(wrong) > 1 else "The first prediction"
    if known.any():
        text += f": {int((known & ~wrong).sum())} of {int(known.sum())} right"
    return text
