"""A figure as files: PNG for everyone, SVG for print."""

from __future__ import annotations

import copy
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.storage import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    with matplotlib.rc_context({"svg.hashsalt": "isthmus"}):
        for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            path = Path(folder) / f"{name}.{ending}"
            write_bytes(path, _render(figure, ending, metadata))
            written.append(path)
    return written


def _render(figure: Figure, ending: str, metadata: dict[str, Any]) -> bytes:
    # Each drawing starts the layout from where the last one left it, so the second would
    # differ by a hair from the first. A copy leaves the person's figure as it was.
    figure = copy.deepcopy(figure)
    buffer = BytesIO()
    colour = figure.get_facecolor()
    figure.savefig(buffer, format=ending, dpi=DOTS_PER_INCH, facecolor=colour, metadata=metadata)
    return buffer.getvalue()
