"""How every picture looks: colours, sizes, axes. Set on each figure, never globally."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus._extras import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind people tell apart as well.
BLUE = "#0072B2"
ORANGE = "#E69F00"
VERMILION = "#D55E00"
SKY = "#56B4E9"

INK = "#222222"
MUTED = "#6b6b6b"
RULE = "#dddddd"

# Inches and points: at 800 pixels for eight inches, nine points are twelve pixels high.
WIDTH = 8.0
TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 12.0, 10.0, 9.0

# A character of matplotlib's own font is about this wide, in units of its size.
CHARACTER_WIDTH = 0.6


def new_figure(width: float = WIDTH, height: float = 4.0) -> Figure:
    """Return an empty white figure, in inches, whose parts make room for one another.

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    """
    require("matplotlib", extra="report", purpose="drawing pictures")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def set_headline(figure: Figure, text: str) -> None:
    """Write what is seen over all panels, flush left."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=TITLE_SIZE, color=INK)


def caption(axes: Axes, text: str, colour: str = INK, *, bold: bool = False) -> None:
    """Write a few words over one of many small panels."""
    weight = "bold" if bold else "normal"
    axes.set_title(text, fontsize=SMALL_SIZE, color=colour, fontweight=weight, pad=3)


def dress(axes: Axes, *, title: str = "", x: str = "", y: str = "", grid: str = "") -> None:
    """Give one pair of axes its title, names and grid, and take the frame away.

    Parameters
    ----------
    axes : Axes
    title, x, y : str
        Title (flush left) and names of the two axes, with units.
    grid : {"", "x", "y", "both"}
        Direction along which values are read.
    """
    axes.set_facecolor("white")
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(MUTED)
    axes.tick_params(which="both", colors=MUTED, labelcolor=INK, labelsize=SMALL_SIZE, length=3)
    if title:
        axes.set_title(title, loc="left", fontsize=TITLE_SIZE, color=INK, pad=8)
    axes.set_xlabel(x, fontsize=TEXT_SIZE, color=INK)
    axes.set_ylabel(y, fontsize=TEXT_SIZE, color=INK)
    axes.set_axisbelow(True)
    axes.grid(visible=False)
    if grid:
        axes.grid(visible=True, axis=grid, color=RULE, linewidth=0.8)  # type: ignore[arg-type]


def percent(share: float, _position: float = 0.0) -> str:
    """Return a share as percent, as short as it can be; also a tick formatter.

    Examples
    --------
    >>> percent(0.1), percent(0.125)
    ('10 %', '12.5 %')
    """
    return f"{100 * share:.4g} %"


def number(value: float, _position: float = 0.0) -> str:
    """Return a number without needless zeros; also a tick formatter.

    Examples
    --------
    >>> number(0.1), number(0.00005)
    ('0.1', '5e-05')
    """
    return f"{value:.4g}"
