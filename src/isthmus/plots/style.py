"""Style of every figure, and figures as files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus._core import require, user_path, write_bytes
from isthmus.data import MISSING, as_labels, distinct_names
from isthmus.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def name_classes(
    labels: Sequence[Any], class_names: Sequence[str] | None = None
) -> tuple[list[str], list[np.ndarray]]:
    """Return the names of all classes, and for each array of labels the classes' positions.

    Parameters
    ----------
    labels : sequence of arrays of shape (n_i,)
        Integers, strings or other labels, which may differ in which classes they hold.
    class_names : sequence of str, optional
        Names for the sorted distinct labels, of all arrays or of the first. Otherwise
        labels are looked up among the names, or, as integers, count them from 0.

    Returns
    -------
    names : list of str
    positions : list of integer arrays of shape (n_i,)
        Indices into `names`; -1 where an instance has no label.

    Raises
    ------
    DataError
        When names and labels do not match.

    Examples
    --------
    >>> name_classes([[0, 2, 1], [2, None]], ["cat", "dog", "eel"])
    (['cat', 'dog', 'eel'], [array([0, 2, 1]), array([ 2, -1])])
    """
    arrays = [as_labels(y) for y in labels]
    distinct = _distinct(np.concatenate([y.astype(object) for y in arrays]))
    names, of_text = _match(distinct, _distinct(arrays[0]), class_names)
    return names, [_positions(y, of_text) for y in arrays]


def readable(name: str, width: int) -> str:
    r"""Return a name on one line of at most `width` characters, its middle cut when longer.

    Examples
    --------
    >>> readable("a name\nof many words", 12), readable("US$", 12)
    ('a name…words', 'US\\$')
    """
    name = " ".join(str(name).split())
    if len(name) > width:
        tail = max(1, width // 2 - 1)
        name = f"{name[: width - tail - 1].rstrip()}…{name[-tail:]}"
    # Unescaped, matplotlib would set what stands between two dollar signs as a formula.
    return name.replace("$", r"\$")


def _distinct(y: np.ndarray) -> list[str]:
    return list(dict.fromkeys(distinct_names(y)))


def _match(
    distinct: list[str], first: list[str], class_names: Sequence[str] | None
) -> tuple[list[str], dict[str, int]]:
    if class_names is None:
        return distinct, {text: position for position, text in enumerate(distinct)}
    names = [str(name) for name in class_names]
    if len(names) == len(distinct):
        return names, {text: position for position, text in enumerate(distinct)}
    if len(names) == len(first):
        strangers = [text for text in distinct if text not in first]
        order = first + strangers
        return names + strangers, {text: position for position, text in enumerate(order)}
    if set(distinct) <= set(names):
        return names, {text: names.index(text) for text in distinct}
    if all(text.isdecimal() and int(text) < len(names) for text in distinct):
        return names, {text: int(text) for text in distinct}
    raise DataError(
        f"got {len(names)} class names for {len(distinct)} distinct labels "
        f"({', '.join(distinct[:5])}{', …' * (len(distinct) > 5)}); "
        "expected one name for each distinct label, in sorted order"
    )


def _positions(y: np.ndarray, of_text: dict[str, int]) -> np.ndarray:
    series = pd.Series(y, dtype=object)
    missing = ~MISSING.has_label(y)
    positions = np.full(len(y), -1)
    codes, uniques = pd.factorize(series[~missing])
    of_code = [of_text[distinct_names(np.array([label], dtype=object))[0]] for label in uniques]
    positions[~missing] = np.array(of_code, dtype=int)[codes]
    return positions


# Okabe and Ito's colours, which colour-blind readers can distinguish.
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

# Width of a character of matplotlib's own font, in units of its size.
CHARACTER_WIDTH = 0.6


@cache
def _figure_class() -> type[Figure]:
    """Return matplotlib's figure, which a notebook draws without `%matplotlib inline` too."""
    from matplotlib.figure import Figure

    class NotebookFigure(Figure):
        def _repr_png_(self) -> bytes:
            buffer = BytesIO()
            self.savefig(buffer, format="png", facecolor=self.get_facecolor())
            return buffer.getvalue()

    return NotebookFigure


def new_figure(width: float = WIDTH, height: float = 4.0) -> Figure:
    """Return an empty white figure, in inches, with constrained layout, which a notebook draws.

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    """
    require("matplotlib", extra="report", purpose="drawing pictures")
    return _figure_class()(figsize=(width, height), layout="constrained", facecolor="white")


def set_headline(figure: Figure, text: str) -> None:
    """Write the title above all panels, flush left."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=TITLE_SIZE, color=INK)


def caption(axes: Axes, text: str, colour: str = INK, *, bold: bool = False) -> None:
    """Write the title of one of many small panels."""
    weight = "bold" if bold else "normal"
    axes.set_title(text, fontsize=SMALL_SIZE, color=colour, fontweight=weight, pad=3)


def dress(axes: Axes, *, title: str = "", x: str = "", y: str = "", grid: str = "") -> None:
    """Set title, axis labels and grid of one pair of axes, without a frame.

    Parameters
    ----------
    axes : Axes
    title, x, y : str
        Title (flush left) and labels of the two axes, with units.
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


def add_legend(axes: Axes, handles: Sequence[Any] | None = None, **options: Any) -> None:
    """Add a legend without a frame, of the handles given or of all labelled ones.

    Parameters
    ----------
    axes : Axes
    handles : sequence of matplotlib artists, optional
    **options
        Those of `matplotlib.axes.Axes.legend`, such as `loc`.
    """
    if handles is not None:
        options["handles"] = handles
    axes.legend(frameon=False, fontsize=SMALL_SIZE, labelcolor=INK, **options)


#: Count from which on their axis is logarithmic.
MIN_LOG_COUNT = 20


def scale_counts(axes: Axes) -> None:
    """Give the y-axis of counts that are drawn plain numbers, from 0.

    Of 20 or more it is logarithmic; below, that would leave one or two numbers at the axis.
    """
    from matplotlib.ticker import MaxNLocator

    if axes.dataLim.y1 < MIN_LOG_COUNT:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    else:
        axes.set_yscale("symlog")
    axes.yaxis.set_major_formatter(number)


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


DOTS_PER_INCH = 150


def save_figure(figure: Figure, folder: str | Path, name: str) -> list[Path]:
    """Write a figure as PNG and as SVG; the same figure gives the same bytes.

    Parameters
    ----------
    figure : Figure
    folder : path
        Made when it is not there.
    name : str
        Name of the files, without an ending.

    Returns
    -------
    list of two Path
        The PNG and the SVG, each written whole or not at all.

    Raises
    ------
    ValueError
        When `name` is empty or leads out of the folder.

    Examples
    --------
    >>> import tempfile
    >>> from isthmus.plots import plot_label_shares
    >>> figure = plot_label_shares(["a", "b"], ["b", "a"])
    >>> [path.name for path in save_figure(figure, tempfile.mkdtemp(), "labels")]
    ['labels.png', 'labels.svg']
    """
    import matplotlib

    if name in ("", ".", "..") or Path(name).name != name:
        raise ValueError(
            f"got the name {name!r}, expected one file name without an ending; "
            "give the folder as `folder`"
        )
    written = []
    # Without a salt and with a date, no two SVGs of one figure would be the same.
    with matplotlib.rc_context({"svg.hashsalt": "isthmus"}), _fixed_layout(figure):
        for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            path = user_path(folder) / f"{name}.{ending}"
            buffer = BytesIO()
            figure.savefig(
                buffer,
                format=ending,
                dpi=DOTS_PER_INCH,
                facecolor=figure.get_facecolor(),
                metadata=metadata,
            )
            write_bytes(path, buffer.getvalue())
            written.append(path)
    return written


def fix_layout(figure: Figure) -> None:
    """Lay a figure out, and leave its axes there at every later drawing.

    With a layout engine matplotlib lays a figure out and draws it twice for every file.

    Parameters
    ----------
    figure : Figure
    """
    import matplotlib

    engine = figure.get_layout_engine()
    if engine is None:
        return
    engine.execute(figure)
    # None stands for what the settings say.
    with matplotlib.rc_context(
        {"figure.autolayout": False, "figure.constrained_layout.use": False}
    ):
        figure.set_layout_engine(None)


@contextmanager
def _fixed_layout(figure: Figure) -> Iterator[None]:
    """Lay a figure out once for all that is written within the block."""
    engine = figure.get_layout_engine()
    # The layout starts from the positions of the last drawing, so a second drawing would differ
    # by a hair from the first. Positions are restored, which costs less than a copy to draw.
    before = [
        (axes, axes.get_in_layout(), axes.get_position(True).frozen(), axes.get_position().frozen())
        for axes in figure.get_axes()
    ]
    fix_layout(figure)
    try:
        yield
    finally:
        if engine is not None:
            figure.set_layout_engine(engine)
        for axes, in_layout, original, active in before:
            axes.set_position(original, which="original")
            axes.set_position(active, which="active")
            axes.set_in_layout(in_layout)  # `set_position` takes axes out of the layout
