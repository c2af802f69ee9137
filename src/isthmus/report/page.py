"""The report as one HTML page, and as Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from isthmus._core import (
    check_writable,
    errors_naming,
    folder_lock,
    isolated_from_host,
    require,
    user_path,
    write_bytes,
    write_json,
)
from isthmus.bundle import Bundle, load_bundle
from isthmus.data import Dataset, Splits
from isthmus.data.streaming import Stream
from isthmus.detection import as_duration
from isthmus.errors import DataError
from isthmus.plots import (
    fix_layout,
    plot_baseline_comparison,
    plot_confusion,
    plot_history,
    plot_ranking,
    plot_reliability,
    plot_scores,
    plot_widths,
    save_figure,
)
from isthmus.report.answer_chapter import ranked
from isthmus.report.facts import report_facts
from isthmus.report.gallery import Gallery, StreamSample, hold_out, sample_if_streamed
from isthmus.report.wording import (
    LOSSES,
    breakable,
    describe_code,
    describe_row_numbers,
    percent,
    short_text,
    unbroken_parts,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: How the files beside a page begin.
FIRST_BYTES = {".json": b'{\n  "summary": ', ".md": b"# isthmus report\n"}


def to_markdown(facts: dict[str, Any]) -> str:
    """Return a report's facts as Markdown.

    Values from the data are escaped: markup in a class name has no effect.
    """
    lines = ["# isthmus report", "", _text(facts["summary"]), ""]
    about = facts["about"]
    lines += [f"- {name}: `{about[name]}`" for name in ("created", "version", "recipe", "digest")]
    if facts["command"]:
        lines.append(f"- written by `{facts['command'].replace('`', '')}`")
    lines.append("")
    if facts["data"]:
        lines += ["## Data", ""]
        lines += [f"- **Warning:** {_text(warning)}." for warning in facts["data"]["warnings"]]
        for name, part in facts["data"]["parts"].items():
            lines.append(f"- {name}: {part['n']:,} instances, {part['n_labelled']:,} labelled")
        drawn = facts["data"]["drawn"]
        if drawn:
            lines.append(f"- {drawn['n']:,} of {drawn['of']:,} instances, drawn at random")
        lines.append("")
    if facts["baseline_comparison"]:
        lines += [
            "## Comparison with baselines",
            "",
            _text(facts["baseline_comparison"]["verdict"]),
            "",
        ]
        lines += _accuracy_table(facts["baseline_comparison"]["curves"])
    for found in facts["classes"]:
        low, high = found["interval"]
        lines += [f"## Which class: {_text(found['name'])}", ""]
        lines += [
            f"Accuracy {found['accuracy']:.2%} of {found['n']:,} test instances "
            f"({low:.2%} to {high:.2%}).",
            "",
        ]
        rows = [
            [_text(one["label"]), *(f"{one[key]:.1%}" for key in ("precision", "recall", "f1"))]
            for one in found["per_class"]
        ]
        lines += _table(["class", "precision", "recall", "F1"], rows)
    for found in facts["verdicts"]:
        lines += [f"## Normal or not: {_text(found['name'])}", ""]
        lines.append(
            f"Classified as abnormal: {found['flagged']:,} of {found['n']:,} instances, at a "
            f"requested false-alarm rate of {found['asked']:.2%}."
        )
        lines.append("")
        if found["found"] and found["found"]["auroc"] is not None:
            known = found["found"]
            lines += [
                f"Found {known['power']['count']:,} of {known['n_abnormal']:,} abnormal "
                f"({known['power']['share']:.1%}), false alarms "
                f"{known['false_alarms']['count']:,} of {known['n_normal']:,} normal "
                f"({known['false_alarms']['share']:.2%}), AUROC {known['auroc']:.4f}.",
                "",
            ]
    for found in facts["alarms"]:
        lines += [f"## Alarms over time: {_text(found['name'])}", "", found["words"], ""]
        rows = [
            [
                _text(f"{one['group']} {one['first']}".strip()),
                as_duration(one["n_points"], found["step"]),
                _text(one["channel"]),
                f"{one['anomaly_score']:.4g}",
                f"{one['p_value']:.4g}",
            ]
            for one in found["alarms"][:MAX_ALARM_ROWS]
        ]
        lines += _table(["first", "duration", "channel", "anomaly score", "p-value"], rows)
    if facts["changes"]:
        lines += ["## What changed", "", _text(facts["changes"]["drift"]["verdict"]), ""]
        columns, earlier = facts["changes"]["moved_columns"], facts["changes"]["earlier"]
        lines += [_text(columns["words"]), ""] if columns else []
        if earlier:
            verdicts = [earlier["verdict"], *(head["verdict"] for head in earlier["heads"])]
            lines += [f"Since {_text(earlier['name'])}: {_text(' '.join(verdicts))}", ""]
    return "\n".join(lines)


def _accuracy_table(curves: dict[str, list[dict[str, Any]]]) -> list[str]:
    counts = sorted({point["n_labels"] for points in curves.values() for point in points})
    rows = []
    for n in counts:
        found = [
            next((f"{p['accuracy']:.1%}" for p in points if p["n_labels"] == n), "")
            for points in curves.values()
        ]
        rows.append([f"{n:,}", *found])
    return _table(["labels", *curves], rows)


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines] + [""]


def _text(value: Any) -> str:
    """Escape characters that are markup in Markdown or in HTML."""
    text = str(value).replace("\n", " ")
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(sign, entity)
    return "".join(f"\\{sign}" if sign in "\\`*_[]|#" else sign for sign in text)


ASSETS = Path(__file__).parent / "assets"
SCRIPTS = ("page.js", "tables.js")
#: Number of classes up to which a confusion matrix is drawn.
MAX_MATRIX_CLASSES = 20
#: Inches of a figure on the page.
PAGE_WIDTH = 5.2
#: Flagged cases of images and series that are shown: a thousand pictures would be a large page.
MAX_PICTURED = 24
#: Alarms that are listed in Markdown.
MAX_ALARM_ROWS = 50
Figures = dict[str, "Figure"]


def figures(facts: dict[str, Any]) -> Figures:
    """Draw the plots of a report, by name."""
    drawn: Figures = {}
    if facts["code"]["history"]:
        drawn["history"] = plot_history(
            facts["code"]["history"], facts["code"]["best_epoch"], loss_name="loss"
        )
    if facts["code"]["widths"]:
        drawn["widths"] = plot_widths(facts["code"]["widths"])
    if facts["baseline_comparison"]:
        drawn["baseline_comparison"] = plot_baseline_comparison(
            facts["baseline_comparison"]["curves"], facts["baseline_comparison"]["head"]
        )
    for found in facts["classes"]:
        if found["reliability"]:
            calibrated = found.get("calibration")
            before = calibrated["reliability"]["before"] if calibrated else None
            drawn[f"reliability-{found['name']}"] = plot_reliability(
                found["reliability"]["bins"], before
            )
        if 2 <= len(found["classes"]) <= MAX_MATRIX_CLASSES:
            drawn[f"confusion-{found['name']}"] = plot_confusion(
                found["confusion"], [str(name) for name in found["classes"]]
            )
    for found in facts["verdicts"]:
        name = found["name"]
        score_name = "anomaly score" + " less the threshold of its group" * ("groups" in found)
        drawn[f"scores-{name}"] = plot_scores(
            found["histogram"], found["threshold"], score_name=score_name
        )
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

    def named_row(row: int) -> str:
        return f"row {row}" if gallery is None else gallery.name(row)

    templates = _templates()
    templates.filters |= {
        "percent": lambda *share: _unbroken(percent(*share)),
        "unbroken": _unbroken,
        "short": _short,
        "value": short_text,
        "breakable": breakable,
        "whole": _whole,
        "duration": as_duration,
        "items_of": dict,
    }
    # Before `_slider`, which needs the final positions of the axes.
    for figure in drawn.values():
        _narrow(figure)
        fix_layout(figure)
    pictures = {name: Markup(_svg(figure, name)) for name, figure in drawn.items()}
    live = {
        "map": _map(facts, gallery),
        "charts": {
            f"{found['name']}-{at}": chart
            for found in facts["alarms"]
            for at, chart in enumerate(found["charts"])
        },
        "steps": {
            found["name"]: _slider(found, drawn[f"scores-{found['name']}"])
            for found in facts["verdicts"]
        },
    }
    # Unescaped, `</script>` in a value would end the script element.
    packed = json.dumps(live, separators=(",", ":"), allow_nan=False)
    for sign, escaped in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")):
        packed = packed.replace(sign, escaped)
    return templates.get_template("page.html.j2").render(
        facts=facts,
        title=_title(facts),
        pictures=pictures,
        gallery=gallery,
        named_row=named_row,
        trained_on=trained_on,
        most_drawn=MAX_MATRIX_CLASSES,
        most_pictured=MAX_PICTURED,
        classes=ranked(facts["classes"]),
        detectors=ranked(facts["verdicts"]),
        live=Markup(packed),
        style=Markup((ASSETS / "page.css").read_text("utf-8")),
        script=Markup("".join((ASSETS / name).read_text("utf-8") for name in SCRIPTS)),
        losses=LOSSES,
        row_words=describe_row_numbers(facts["about"]["kind"], in_chunks=_in_chunks(facts)),
        unbroken_parts=unbroken_parts,
        code_words=describe_code(
            facts["about"]["kind"], facts["code"]["n_values"], facts["code"]["n_components"]
        ),
    )


def _in_chunks(facts: dict[str, Any]) -> bool:
    """Return whether rows were drawn from a stream, or are of several files."""
    drawn = (facts["data"] or {}).get("drawn")
    cases = [one for found in facts["flagged"] for one in found["cases"]]
    return (drawn is not None and drawn["rows"] is not None) or any("file" in one for one in cases)


def _title(facts: dict[str, Any]) -> str:
    """Return what the report is on: the data, or the encoder where there is none."""
    parts = (facts["data"] or {}).get("parts", {})
    if not parts:
        kinds = {"images": "images", "series": "windows of series", "table": "rows of a table"}
        return f"Encoder of {kinds[facts['about']['kind']]}"
    return str(list(parts.values())[-1]["name"])


def _templates() -> Environment:
    """Return the chapters' templates: values are escaped, a missing one is an error."""
    return Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _map(facts: dict[str, Any], gallery: Gallery | None) -> dict[str, Any] | None:
    found = facts["code"].get("map")
    if found is None or gallery is None:
        return None
    shown = {"rows": [gallery.name(row) for row in found["rows"]]}
    return found | gallery.on_map(found["rows"]) | shown


def _slider(found: dict[str, Any], figure: Figure) -> dict[str, Any]:
    """Return the thresholds of the slider with their counts, and the scale of the plot."""
    # Units of the SVG are points, 72 an inch.
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


def _narrow(figure: Figure) -> None:
    """Make a wide figure narrower, so that its text can be read where the page is narrow."""
    width, height = figure.get_size_inches()
    if width > PAGE_WIDTH:
        figure.set_size_inches(PAGE_WIDTH, height * (PAGE_WIDTH / width) ** 0.5)


def _svg(figure: Figure, name: str) -> str:
    """Return a figure as SVG for a page, with text as text and identifiers unique on the page."""
    import matplotlib

    stream = StringIO()
    # Text as text can be searched and read by a screen reader, and is smaller.
    with matplotlib.rc_context({"svg.hashsalt": f"isthmus {name}", "svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :].replace("<svg", '<svg aria-hidden="true"', 1)
    # The identifiers of all figures are the same, and must be unique on a page.
    return re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{name}-", text)


def _unbroken(text: str) -> str:
    """Return text in which no line breaks before a percent sign or within `p = 0.01`."""
    return re.sub(
        r"(?<=\bp) ([=<]) (?=\d)", "\u00a0\\1\u00a0", re.sub(r"(?<=\d) %", "\u00a0%", text)
    )


def _short(number: float | None) -> str:
    return "–" if number is None else f"{number:.4g}"


def _whole(number: int) -> str:
    return f"{number:,}"


@isolated_from_host()
def write_report(
    bundle: Bundle | str | Path,
    path: str | Path,
    data: Dataset | Splits | Stream | None = None,
    *,
    test_fraction: float | None = None,
    earlier: Bundle | str | Path | None = None,
    plots: bool = False,
    on_progress: Callable[[str], object] = lambda _: None,
    **options: Any,
) -> dict[str, Any]:
    """Write a report on a bundle as one self-contained HTML page.

    Parameters
    ----------
    bundle : Bundle or path
    path : path
        File of the page, such as `report.html`; `report.json` and `report.md` are written beside
        it.
    data : Dataset, Splits or Stream, optional
        Data to test and show, see `report_facts`.
    test_fraction : float, optional
        Share of data without a test part that is held out for testing, see `Dataset.split`. Of a
        stream 100,000 instances at most are taken, drawn at random.
    earlier : Bundle or path, optional
        Earlier bundle to compare with.
    plots : bool, default=False
        Write every plot as PNG and SVG too, into `plots` beside the page.
    on_progress : callable, optional
        Called with the name of each step that may take long, before it.
    **options
        Those of `report_facts`.

    Returns
    -------
    dict
        The facts.

    Raises
    ------
    DataError, SchemaError
        When the data does not fit the encoder, or has a test part and `test_fraction` is given, or
        `path` ends in `.json` or `.md`, or a file of that name beside it is not of a report.
    MissingExtraError
        When matplotlib or jinja2 is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from isthmus import Autoencoder, load
    >>> digits = load("digits")
    >>> encoder = Autoencoder(max_epochs=2, random_state=0).fit(digits.train.X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     encoder.save(f"{folder}/press")
    ...     facts = write_report(f"{folder}/press", f"{folder}/report.html")
    ...     page = Path(f"{folder}/report.html").read_text()
    >>> facts["about"]["digest"] in page
    True
    """
    require("jinja2", extra="report", purpose="writing a report")
    check_writable(path)
    check_beside(user_path(path))
    opened = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    before = earlier if earlier is None or isinstance(earlier, Bundle) else load_bundle(earlier)
    seed = options.get("seed", 0)
    if data is not None and test_fraction is not None:
        data, options["drawn_from"] = hold_out(data, test_fraction, opened.encoder, seed)
    of = sample_if_streamed(data, opened.encoder, seed, on_progress)
    trained_on = of.train if isinstance(of, Splits) else None
    shown = of.test if isinstance(of, Splits) else of
    looked_at = shown.data if isinstance(shown, StreamSample) else shown
    facts = report_facts(opened, of, earlier=before, on_progress=on_progress, **options)
    drawn = figures(facts)
    galleries = [
        None if part is None else Gallery(opened.encoder, part, other)
        for part, other in ((looked_at, trained_on), (trained_on, looked_at))
    ]
    if plots:  # before the page, for which figures are made narrower
        for name, figure in drawn.items():
            save_figure(figure, user_path(path).parent / "plots", name)
    on_progress("the page")
    page, target = render(facts, drawn, *galleries), user_path(path)
    with errors_naming(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with folder_lock(target):  # so that the three are of one report
        write_bytes(target, page.encode("utf-8"))
        write_json(target.with_suffix(".json"), facts)
        write_bytes(target.with_suffix(".md"), to_markdown(facts).encode("utf-8"))
    return facts


def check_beside(target: Path) -> None:
    """Check that what is written beside a page replaces no file but that of an earlier report.

    Parameters
    ----------
    target : Path
        Of the page.

    Raises
    ------
    DataError
    """
    for suffix, start in FIRST_BYTES.items():
        beside = target.with_suffix(suffix)
        if beside == target:
            raise DataError(
                f"got {target} for the page, expected a name such as {target.with_suffix('.html')}:"
                f" the report as {suffix} is written beside it"
            )
        if beside.is_file():
            with beside.open("rb") as file:
                found = file.read(len(start))
            if found != start:
                raise DataError(
                    f"{beside} is there and is not of a report: that of {target} would be written "
                    "over it; choose another path for the page (on the command line -o), or move "
                    "the file away"
                )
