"""The demo's report, on the bundle that it has just written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from isthmus._memory import give_back_memory
from isthmus.data import Splits
from isthmus.errors import MissingExtraError
from isthmus.evaluation.controls import Controls
from isthmus.report import write_report


def write_page(
    console: Console,
    output: Path,
    data: Splits,
    facts: dict[str, Any],
    seed: int,
    measured: Controls | None = None,
) -> str | None:
    """Write the report and return its path, None where an extra is missing.

    What the demo's controls measured already is handed over.
    """
    path = output / "report.html"
    normal = str(facts["detector"]["normal_class"]) if "detector" in facts else None
    with console.status("report") as status:

        def tell(words: str) -> None:
            give_back_memory()
            status.update(words)

        try:
            write_report(
                facts["bundle"], path, data, normal=normal, seed=seed, measured=measured, tell=tell
            )
        except MissingExtraError as error:
            console.print(f"no report: {error}", soft_wrap=True)
            return None
    return str(path)
