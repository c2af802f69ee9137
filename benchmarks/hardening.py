"""Try what must never happen to a bundle, an export or the service, and count how often it does.

    python benchmarks/hardening.py
    python benchmarks/hardening.py --only writers,kills --scale 0.1

A row a case: what was found before it was mended, what is asked, and what is found now. A case
that was tried less often than asked, because the time of its part was up, does not hold.

writers  processes that write one bundle at once: heads reported as added that are not there
kills    a process killed just before each rename of a command: what it leaves, and the next run
folders  two commands that write one output at once: what is there is of neither, or not whole
service  slow and idle clients of a running service: the statuses and times of a client beside them
exports  damaged files of an export: those that load and decide otherwise
readers  damaged files of every kind: errors that are not of isthmus, or do not name the file
sizes    files that state or unpack to gigabytes: those without a clear error within 5 s and 2 GB
formats  content of other formats under the names of images: decoded, or given to a program

All parts together take at most twenty minutes on two cores.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common.hardening_parts import PARTS
from common.hardening_parts.rows import Row, Setting
from common.markdown import markdown
from common.records import chosen, put_json, run, say, tables_console, versions

#: Of all parts together.
MINUTES = 20.0


def main() -> None:
    options = arguments()
    names = choose(options.only)
    found: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    for name in names:
        say(f"{name} ...")
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            limit = options.minutes * 60 / len(names)
            setting = Setting(Path(folder), options.seed, limit, options.scale)
            found[name] = PARTS[name](setting)
        seconds[name] = time.monotonic() - began
    facts = {"benchmark": "hardening", "versions": versions(), "seconds": seconds}
    facts |= {"seed": options.seed, "scale": options.scale}
    rows = {name: [dataclasses.asdict(row) for row in part] for name, part in found.items()}
    put_json(options.json, facts | {"rows": rows})
    show(options.json, found)
    sys.exit(any(not row.holds for part in found.values() for row in part))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--only", metavar="NAME,NAME", help="only these parts")
    add("--scale", type=float, default=1.0, help="share of the tries (default 1)")
    add("--minutes", type=float, default=MINUTES, help=f"at most (default {MINUTES:g})")
    add("--seed", type=int, default=0)
    add("--json", metavar="PATH", help="all facts as JSON; - is standard output")
    return parser.parse_args()


def choose(names: str | None) -> list[str]:
    """Return the names of the parts asked for, all without any.

    Raises
    ------
    DataError
        When there is no part of a name.
    """
    return chosen(names, PARTS)


def show(json_path: str | None, found: dict[str, list[Row]]) -> None:
    rows = [
        [f"{name}: {row.case}", row.found, row.asked, row.now, "yes" if row.holds else "NO"]
        for name, part in found.items()
        for row in part
    ]
    columns = ["case", "found", "asked", "now", "holds"]
    markdown(tables_console(json_path), columns, rows)
    n_broken = sum(not row.holds for part in found.values() for row in part)
    say(f"{n_broken} of {len(rows)} cases do not hold")


if __name__ == "__main__":
    run(main)
