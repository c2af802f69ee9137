"""One small panel for each instance: an image, or a profile of a table's row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus._core import shown
from isthmus.data import Schema, check_table
from isthmus.errors import DataError
from isthmus.plots.style import (
    BLUE,
    CHARACTER_WIDTH,
    INK,
    MUTED,
    RULE,
    SMALL_SIZE,
    WIDTH,
    dress,
    new_figure,
    readable,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IMAGES_IN_A_ROW, PROFILES_IN_A_ROW = 10, 5
# Number of columns of a table up to which each is named.
MAX_NAMED = 12
# Ratio of the columns' standard deviations up to which they are drawn in their own units; above
# it only the widest columns would be visible.
MAX_SPREAD_RATIO = 20.0
# Width in inches that the title of a figure needs.
MIN_WIDTH = 5.0
# Images with sides up to this many pixels are drawn pixel by pixel.
MAX_EXACT = 64


@dataclass(frozen=True)
class Instances:
    """Instances to draw, with their scale and the names of their columns.

    Attributes
    ----------
    values : array of shape (k, h, w), (k, h, w, c) or (k, m)
    low, high : float
        Values drawn black and white (images).
    shift, scale : array of shape (m,)
        Subtracted from each row, which is then divided by it (tables).
    columns : list of str
        Names of the columns (tables).
    schema : Schema or None
        Types of a DataFrame's columns. Values are drawn as numbers, categories by their
        position in alphabetical order.
    """

    values: np.ndarray
    low: float = 0.0
    high: float = 1.0
    shift: np.ndarray | float = 0.0
    scale: np.ndarray | float = 1.0
    columns: tuple[str, ...] = ()
    schema: Schema | None = None

    @property
    def are_images(self) -> bool:
        """Whether these are images, not rows of a table."""
        return self.values.ndim > 2

    @property
    def unit(self) -> str:
        """Unit of the values of a profile."""
        unscaled = isinstance(self.scale, float)
        return "value" if unscaled else "standard deviations from mean"


def first_instances(X: Any, n: int) -> Instances:
    """Return the first `n` instances, with the scale of all of `X` when it is a table.

    Parameters
    ----------
    X : array of shape (n, h, w), (n, h, w, c) or (n, m), or DataFrame of (n, m)
    n : int

    Raises
    ------
    DataError
        When `X` is none of these or empty, or `n` is not a positive integer.
    """
    if not isinstance(n, int | np.integer) or n < 1:
        raise DataError(f"got n={shown(n)}, expected how many instances to draw, at least 1")
    if isinstance(X, pd.DataFrame):
        schema = Schema.learn(X)
        return _first_rows(schema.check(X), tuple(str(name) for name in X.columns), n, schema)
    X = np.asarray(X)
    if X.ndim == 2:
        return _first_rows(check_table(X), tuple(str(at) for at in range(X.shape[1])), n, None)
    if X.ndim not in (3, 4) or 0 in X.shape or X.dtype.kind not in "buif":
        raise DataError(
            f"got an array of shape {X.shape} and dtype {X.dtype}, expected numbers of shape "
            "(n, h, w) or (n, h, w, c) for images, (n, m) for a table; "
            "one instance alone is X[None]"
        )
    if X.ndim == 4 and X.shape[1] in (1, 3) and X.shape[3] > 4:
        raise DataError(
            f"got images of shape {X.shape}, which looks like channels first; "
            "expected (n, h, w, c): use X.transpose(0, 2, 3, 1)"
        )
    values = X[:n]
    if X.dtype == np.uint8:
        return Instances(values, 0.0, 255.0)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if low < 0 or high > 1:
        return Instances(values, min(low, 0.0), high)
    return Instances(values)


def check_as_many(what: str, got: int, instances: Any) -> None:
    """Check that the number of labels, errors or the like equals that of the instances."""
    if got != len(instances):
        raise DataError(
            f"got {got} {what} for {len(instances)} instances, expected one for each; "
            "pass all of both, or the same rows of both"
        )


def new_panels(instances: Instances, lines: int, caption_lines: int) -> tuple[Figure, np.ndarray]:
    """Return a figure with `lines` panels, one below the other, for each instance.

    Parameters
    ----------
    instances : Instances
    lines : int
        Panels for each instance: two for an original above its reconstruction.
    caption_lines : int
        Lines of text above all panels of one instance together.

    Returns
    -------
    figure : Figure
    panels : array of Axes, shape (k, lines)
    """
    k = len(instances.values)
    if instances.are_images:
        columns = min(k, IMAGES_IN_A_ROW)
        height, width = instances.values.shape[1:3]
        cell_height = _panel_width(instances) * min(max(height / width, 0.2), 3.0)
    else:
        columns = min(k, PROFILES_IN_A_ROW)
        named = len(instances.columns) <= MAX_NAMED
        cell_height = max(1.1, 0.17 * len(instances.columns) + 0.2) if named else 1.3
    figure_width = max(_panel_width(instances) * columns, MIN_WIDTH)
    blocks = -(-k // columns)
    block_height = lines * cell_height + 0.19 * caption_lines
    below = 0.32 if instances.are_images else 0.8
    figure = new_figure(figure_width, blocks * block_height + below)
    share = not instances.are_images
    grid = figure.subplots(blocks * lines, columns, squeeze=False, sharex=share, sharey=share)
    figure.set_layout_engine("constrained", w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=0.02)
    for axes in grid.flat:
        axes.set_visible(False)
    panels = np.empty((k, lines), dtype=object)
    for at in range(k):
        for line in range(lines):
            panels[at, line] = grid[(at // columns) * lines + line, at % columns]
            panels[at, line].set_visible(True)
    return figure, panels


def caption_width(instances: Instances) -> int:
    """Return how many characters fit over one panel."""
    return int(_panel_width(instances) * 72 / (SMALL_SIZE * CHARACTER_WIDTH)) - 1


def draw_image(axes: Axes, image: np.ndarray, low: float, high: float) -> None:
    """Draw one image, (h, w) or (h, w, c), with `low` black and `high` white.

    Values beyond are clipped. Other than one, three or four channels are averaged.
    """
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    elif image.ndim == 3 and image.shape[2] not in (3, 4):
        image = image.mean(axis=2)
    if image.ndim == 3 and image.dtype != np.uint8:
        span = (high - low) or 1.0
        image = np.clip((image.astype(float) - low) / span, 0, 1)
    exact = max(image.shape[:2]) <= MAX_EXACT
    axes.imshow(image, cmap="gray", vmin=low, vmax=high,
                interpolation="none" if exact else "antialiased")  # fmt: skip
    strip(axes)


def strip(axes: Axes) -> None:
    """Remove the ticks of an image and draw a hairline around it, which shows its edges."""
    axes.set_facecolor("white")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(RULE)
        spine.set_linewidth(0.6)


def draw_instance(axes: Axes, instances: Instances, at: int, colour: str = BLUE) -> None:
    """Draw one instance: an image, or the profile of a row in this colour."""
    if instances.are_images:
        draw_image(axes, instances.values[at], instances.low, instances.high)
    else:
        draw_profile(axes, instances.values[at], instances, colour)


def draw_profile(
    axes: Axes, row: np.ndarray, instances: Instances, colour: str, over: bool = False
) -> None:
    """Draw one row of a table: named columns as bars, many columns as a line.

    Parameters
    ----------
    axes : Axes
    row : array of shape (m,)
    instances : Instances
        With the scale and the names of the columns.
    colour : str
    over : bool
        Draw dots, or a thin line, on top of a profile.
    """
    heights = (row - instances.shift) / instances.scale
    at = np.arange(len(row))
    if len(row) > MAX_NAMED:
        axes.plot(at, heights, color=colour, linewidth=0.9 if over else 2.2)
    elif over:
        axes.plot(heights, at, "o", color=colour, markersize=4.5, mec="white", mew=0.5)
    else:
        axes.barh(at, heights, 0.7, color=colour)


def dress_profiles(figure: Figure, panels: np.ndarray, instances: Instances) -> None:
    """Label the axes of all profiles once, at the left and below; leave images as they are.

    Parameters
    ----------
    figure : Figure
    panels : array of Axes, shape (k, 1)
    instances : Instances
    """
    if instances.are_images:
        return
    named = len(instances.columns) <= MAX_NAMED
    k = len(panels)
    for at, (axes,) in enumerate(panels):
        dress(axes, grid="x" if named else "y")
        # The last panel of each column has the tick labels.
        axes.tick_params(labelbottom=at + PROFILES_IN_A_ROW >= k)
        if named:
            axes.axvline(0, color=MUTED, linewidth=0.8)
            axes.set_yticks(range(len(instances.columns)),
                            [readable(name, 18) for name in instances.columns])  # fmt: skip
            axes.set_ylim(len(instances.columns) - 0.4, -0.6)
            axes.tick_params(axis="y", length=0)
            axes.locator_params(axis="x", nbins=3)
        else:
            axes.set_xlim(-0.5, len(instances.columns) - 0.5)
            axes.locator_params(axis="x", nbins=3, integer=True)
    value = instances.unit
    across, up = (
        (value, "") if named else ("column, counted from 0", value.replace(" from", "\nfrom"))
    )
    figure.supxlabel(across, fontsize=SMALL_SIZE, color=INK)
    if up:
        figure.supylabel(up, fontsize=SMALL_SIZE, color=INK)


def _panel_width(instances: Instances) -> float:
    if instances.are_images:
        return min(WIDTH / min(len(instances.values), IMAGES_IN_A_ROW), 1.5)
    return WIDTH / PROFILES_IN_A_ROW


def _first_rows(
    X: np.ndarray, columns: tuple[str, ...], n: int, schema: Schema | None
) -> Instances:
    X = X.astype(np.float64, copy=False)
    mean, spread = _mean_and_spread(X)
    moving = spread[spread > 0]
    alike = moving.size == 0 or (
        moving.max() <= MAX_SPREAD_RATIO * moving.min()
        and np.ptp(mean) <= MAX_SPREAD_RATIO * np.median(moving)
    )
    mixed = schema is not None and schema.column_types is not None
    if alike and not mixed:
        return Instances(X[:n], columns=columns, schema=schema)
    scale = np.where(spread > 0, spread, 1.0)
    return Instances(X[:n], shift=mean, scale=scale, columns=columns, schema=schema)


def _mean_and_spread(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each column over the values that are not missing."""
    present = ~np.isnan(X)
    count = np.maximum(present.sum(axis=0), 1)
    mean = np.where(present, X, 0.0).sum(axis=0) / count
    spread = np.sqrt((np.where(present, X - mean, 0.0) ** 2).sum(axis=0) / count)
    spread[spread <= 1e-12 * np.abs(mean)] = 0.0
    return mean, spread
