"""The demo's report, on the bundle that it has just written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from isthmus.data import Splits
from isthmus.errors import MissingExtraError
from isthmus.report import write_report


def write_page(
    console: Console, output: Path, data: Splits, facts: dict[str, Any], seed: int
) -> str | None:
    """Write the report and return its path, None where an extra is missing."""
    path = output / "report.html"
    normal = str(facts["detector"]["normal_class"]) if "detector" in facts else None
    with console.status("report") as status:
        try:
            write_report(facts["bundle"], path, data, normal=normal, seed=seed, tell=status.update)
        except MissingExtraError as error:
            console.print(f"no report: {error}", soft_wrap=True)
            return None
    return str(path)
