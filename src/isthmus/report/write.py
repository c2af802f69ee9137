"""A report as files: the page, the facts as JSON, and as Markdown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from isthmus._extras import require
from isthmus.bundle import Bundle, load_bundle
from isthmus.data import Dataset, Splits
from isthmus.data.stream import Stream
from isthmus.plots import save_figure
from isthmus.report.drawn import Drawn, draw_if_streamed
from isthmus.report.facts import report_facts
from isthmus.report.markdown import to_markdown
from isthmus.storage import write_bytes, write_json


def write_report(
    bundle: Bundle | str | Path,
    path: str | Path,
    data: Dataset | Splits | Stream | None = None,
    *,
    earlier: Bundle | str | Path | None = None,
    plots: bool = False,
    tell: Callable[[str], object] = lambda _: None,
    **options: Any,
) -> dict[str, Any]:
    """Write a report on a bundle as one HTML page that needs nothing beside it.

    Parameters
    ----------
    bundle : Bundle or path
    path : path
        Of the page, such as `report.html`; facts go beside it, as `report.json` and `report.md`.
    data : Dataset, Splits or Stream, optional
        What to look at, see `report_facts`.
    earlier : Bundle or path, optional
        To say what has changed since.
    plots : bool, default=False
        Write every picture as PNG and SVG too, into `plots` beside the page.
    tell : callable, optional
        Called with a few words before what may take long.
    **options
        Those of `report_facts`.

    Returns
    -------
    dict
        The facts.

    Raises
    ------
    DataError, SchemaError
        When the data does not fit the encoder.
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
    from isthmus.report.instances import Gallery
    from isthmus.report.page import figures, render

    opened = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    before = earlier if earlier is None or isinstance(earlier, Bundle) else load_bundle(earlier)
    of = draw_if_streamed(data, opened.encoder, options.get("seed", 0), tell)
    trained_on = of.train if isinstance(of, Splits) else None
    shown = of.test if isinstance(of, Splits) else of
    looked_at = shown.data if isinstance(shown, Drawn) else shown
    facts = report_facts(opened, of, earlier=before, tell=tell, **options)
    drawn = figures(facts)
    galleries = [
        None if part is None else Gallery(opened.encoder, part) for part in (looked_at, trained_on)
    ]
    tell("the page")
    page, target = render(facts, drawn, *galleries), Path(path)
    write_bytes(target, page.encode("utf-8"))
    write_json(target.with_suffix(".json"), facts)
    write_bytes(target.with_suffix(".md"), to_markdown(facts).encode("utf-8"))
    if plots:
        for name, figure in drawn.items():
            save_figure(figure, target.parent / "plots", name)
    return facts
