"""What the instances look like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

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
from isthmus.plots._style import BLUE, caption, set_headline

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_samples(
    X: Any, y: Any = None, class_names: Sequence[str] | None = None, n: int = 10
) -> Figure:
    """Draw the first instances in a row, each under its label.

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
        if instances.are_images:
            draw_image(axes, instances.values[at], instances.low, instances.high)
        else:
            draw_profile(axes, instances.values[at], instances, BLUE)
        if captions is not None:
            caption(axes, captions[at])
    if not instances.are_images:
        dress_profiles(figure, panels, instances)
    what = "image" if instances.are_images else "row"
    which, whose = f"first {what}", "its label"
    if len(panels) > 1:
        which, whose = f"first {len(panels)} {what}s", "their labels"
    set_headline(figure, f"The {which}" + (f" and {whose}" if captions else ""))
    return figure


def _captions(X: Any, y: Any, class_names: Sequence[str] | None, width: int) -> list[str] | None:
    if y is None:
        return None
    names, (positions,) = name_classes([y], class_names)
    check_as_many("labels", len(positions), X)
    return [readable(names[at], width) if at >= 0 else "no label" for at in positions]
