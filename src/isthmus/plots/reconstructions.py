"""What comes back through the bottleneck."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.data.schema import Schema
from isthmus.errors import DataError
from isthmus.plots._panels import (
    IMAGES_IN_A_ROW,
    Instances,
    check_as_many,
    draw_image,
    draw_profile,
    dress_profiles,
    first_instances,
    new_panels,
)
from isthmus.plots._style import (
    INK,
    SKY,
    SMALL_SIZE,
    VERMILION,
    caption,
    set_headline,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_reconstructions(X: Any, reconstructions: Any, n: int = 10, errors: Any = None) -> Figure:
    """Draw instances over their reconstructions.

    Parameters
    ----------
    X : array of shape (m, h, w), (m, h, w, c) or (m, k), or DataFrame of (m, k)
        Originals: images in 0..255 or in [0, 1], or a table.
    reconstructions : array of the same shape
        In the units of `X`, as `Autoencoder.inverse_transform` gives them. Pixels beyond
        the range of `X` are drawn at its ends.
    n : int, default=10
        How many to draw; fewer when there are not so many.
    errors : array of shape (m,), optional
        Reconstruction error of each instance, written beside it.

    Returns
    -------
    Figure
        Images in two rows; a table's rows as profiles, the reconstruction laid over.

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
    back = _first_back(X, reconstructions, instances)
    if errors is not None:
        errors = np.asarray(errors, dtype=float).ravel()
        check_as_many("errors", len(errors), X)
    draw = _draw_images if instances.are_images else _draw_profiles
    return draw(instances, back, errors)


def _first_back(X: Any, reconstructions: Any, instances: Instances) -> np.ndarray:
    if isinstance(reconstructions, pd.DataFrame):
        schema = instances.schema
        if schema is None or schema.column_types is None:
            schema = Schema.learn(reconstructions)
            if schema.column_types is not None:
                raise DataError(
                    "got instances of numbers alone and reconstructions with other columns, "
                    "expected the same; pass the instances as the DataFrame they were"
                )
        reconstructions = schema.check(reconstructions)
    reconstructions = np.asarray(reconstructions)
    check_as_many("reconstructions", len(reconstructions), X)
    back = reconstructions[: len(instances.values)]
    if back.shape != instances.values.shape:
        raise DataError(
            f"got reconstructions of shape {reconstructions.shape} for instances of shape "
            f"{np.shape(X)}, expected the same; "
            "use encoder.inverse_transform(encoder.transform(X))"
        )
    if instances.are_images and instances.values.max() > 50 and back.max() <= 1:
        raise DataError(
            "got images of 0..255 and reconstructions of 0..1, expected the same units; "
            "use reconstructions * 255"
        )
    if instances.are_images and instances.high <= 1 and back.max() > 10:
        raise DataError(
            f"got images of 0..1 and reconstructions of up to {back.max():.4g}, expected the "
            "same units; use reconstructions / 255"
        )
    return back


def _draw_images(instances: Instances, back: np.ndarray, errors: np.ndarray | None) -> Figure:
    figure, panels = new_panels(instances, lines=2, caption_lines=0 if errors is None else 1)
    for at, (upper, lower) in enumerate(panels):
        draw_image(upper, instances.values[at], instances.low, instances.high)
        draw_image(lower, back[at], instances.low, instances.high)
        if errors is not None:
            lower.set_xlabel(_three_digits(errors[at]), fontsize=SMALL_SIZE, color=INK, labelpad=2)
        if at % IMAGES_IN_A_ROW == 0:
            upper.set_ylabel("original", fontsize=SMALL_SIZE, color=INK)
            lower.set_ylabel("recon-\nstruction", fontsize=SMALL_SIZE, color=INK)
    below = "" if errors is None else " (error below)"
    set_headline(figure, f"Originals over reconstructions{below}")
    return figure


def _draw_profiles(instances: Instances, back: np.ndarray, errors: np.ndarray | None) -> Figure:
    figure, panels = new_panels(instances, lines=1, caption_lines=1)
    for at, (axes,) in enumerate(panels):
        draw_profile(axes, instances.values[at], instances, SKY)
        draw_profile(axes, back[at], instances, VERMILION, over=True)
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
    """Return an error with three digits that count."""
    return f"{error:#.3g}".rstrip(".")
