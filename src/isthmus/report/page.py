"""Facts and pictures into one HTML page that needs nothing beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from isthmus.plots import (
    plot_confusion,
    plot_history,
    plot_ranking,
    plot_reliability,
    plot_scores,
    plot_widths,
    plot_worth,
)
from isthmus.report.about import LOSSES, UNITS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from isthmus.report.instances import Gallery

ASSETS = Path(__file__).parent / "assets"
#: A confusion matrix with more classes than this is listed, not drawn.
MOST_DRAWN = 20
Figures = dict[str, "Figure"]


def figures(facts: dict[str, Any]) -> Figures:
    """Draw the pictures of a report, by name."""
    drawn: Figures = {}
    if facts["code"]["history"]:
        drawn["history"] = plot_history(
            facts["code"]["history"], facts["code"]["best_epoch"], loss_name="loss"
        )
    if facts["code"]["widths"]:
        drawn["widths"] = plot_widths(facts["code"]["widths"])
    if facts["worth"]:
        drawn["worth"] = plot_worth(facts["worth"]["curves"], facts["worth"]["head"])
    for found in facts["classes"]:
        if found["reliability"]:
            drawn[f"reliability-{found['name']}"] = plot_reliability(found["reliability"]["bins"])
        if 2 <= len(found["classes"]) <= MOST_DRAWN:
            drawn[f"confusion-{found['name']}"] = plot_confusion(
                found["confusion"], [str(name) for name in found["classes"]]
            )
    for found in facts["verdicts"]:
        name = found["name"]
        drawn[f"scores-{name}"] = plot_scores(found["histogram"], found["threshold"])
        if found["found"] and found["found"].get("roc"):
            curves = found["found"]["roc"], found["found"]["precision_recall"]
            drawn[f"ranking-{name}"] = plot_ranking(*curves)
    return drawn


def render(
    facts: dict[str, Any],
    drawn: Figures,
    gallery: Gallery | None = None,
    trained_on: Gallery | None = None,
) -> str:
    """Return the page, with instances from the galleries of the test and of the training part."""
    numbers = ((facts["data"] or {}).get("drawn") or {}).get("rows")

    def number(row: int) -> int:
        """Return what a row is called: of a stream its number there, not among those drawn."""
        return row if numbers is None else int(numbers[row])

    templates = _templates()
    templates.filters |= {"percent": _percent, "short": _short, "whole": _whole, "items_of": dict}
    templates.filters["number"] = number
    # Drawn first: only then are axes where they will be.
    pictures = {name: Markup(_svg(figure, name)) for name, figure in drawn.items()}
    live = {
        "map": _map(facts, gallery, number),
        "steps": {
            found["name"]: _slider(found, drawn[f"scores-{found['name']}"])
            for found in facts["verdicts"]
        },
    }
    # `<` and its like would end the script element early.
    packed = json.dumps(live, separators=(",", ":"), allow_nan=False)
    for sign, escaped in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")):
        packed = packed.replace(sign, escaped)
    return templates.get_template("page.html.j2").render(
        facts=facts,
        pictures=pictures,
        gallery=gallery,
        trained_on=trained_on,
        most_drawn=MOST_DRAWN,
        live=Markup(packed),
        style=Markup((ASSETS / "page.css").read_text("utf-8")),
        script=Markup((ASSETS / "page.js").read_text("utf-8")),
        losses=LOSSES,
        units=UNITS,
    )


def _templates() -> Environment:
    """Return the chapters' templates: what is put in is escaped, what is missing is an error."""
    return Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _map(
    facts: dict[str, Any], gallery: Gallery | None, number: Callable[[int], int]
) -> dict[str, Any] | None:
    found = facts["code"].get("map")
    if found is None or gallery is None:
        return None
    shown = {"rows": [number(row) for row in found["rows"]]}
    return found | gallery.on_map(found["rows"]) | shown


def _slider(found: dict[str, Any], figure: Figure) -> dict[str, Any]:
    """Return what the slider needs: what is above each step, and where that is in the picture."""
    # Units of the SVG are points, of which an inch has 72.
    to_points = 72 / figure.dpi
    to_pixels = figure.axes[0].transData.transform
    known = found["found"] or {}
    return {
        "steps": found["steps"],
        "n": found["n"],
        "n_normal": known.get("n_normal", 0),
        "n_abnormal": known.get("n_abnormal", 0),
        "threshold": found["threshold"],
        "points_per_score": float((to_pixels((1, 0)) - to_pixels((0, 0)))[0] * to_points),
    }


def _svg(figure: Figure, name: str) -> str:
    """Return a figure as SVG for a page: text as text, and identifiers of its own."""
    import matplotlib

    stream = StringIO()
    # Text as text: it can be searched and read aloud, and the page stays small.
    with matplotlib.rc_context({"svg.hashsalt": f"isthmus {name}", "svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :].replace("<svg", '<svg aria-hidden="true"', 1)
    # Every figure calls its parts alike, and on a page a name may be there only once.
    return re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{name}-", text)


def _percent(share: float | None, digits: int = 1) -> str:
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def _short(number: float | None) -> str:
    return "–" if number is None else f"{number:.4g}"


def _whole(number: int) -> str:
    return f"{number:,}"
