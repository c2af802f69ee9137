"""Print the demo's table over several seeds, mean and spread.

    python benchmarks/heads.py digits --seeds 3
    python benchmarks/heads.py mnist --seeds 1 --data-dir FOLDER

On two cores a seed takes about half a minute on digits and six minutes on MNIST.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console

from isthmus import load
from isthmus.demo import run_demo
from isthmus.evaluation import BASELINE_TITLES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", default="digits")
    parser.add_argument("--data-dir")
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--baselines", default="fast")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", help="write every run's facts there")
    options = parser.parse_args()
    data = load(options.data, data_dir=options.data_dir)
    runs = []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(
                run_demo(
                    data,
                    folder,
                    recipe=options.recipe,
                    baselines=options.baselines,
                    seed=seed,
                    console=Console(file=io.StringIO()),
                )
            )
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:  # noqa: PTH123
            json.dump(runs, file, indent=2)
    print(table(runs))


def table(runs: list[dict[str, Any]]) -> str:
    """Return a Markdown table: test accuracy in percent, mean (lowest to highest)."""
    heads = list(runs[0]["heads"])
    lines = [
        f"| features | {' | '.join(f'{head} head' for head in heads)} |",
        f"| --- |{' --- |' * len(heads)}",
    ]
    lines.append(row("frozen code", [lambda run, h=h: run["heads"][h] for h in heads], runs))
    for name, found in runs[0]["baselines"].items():
        if "heads" in found:
            pick = [lambda run, n=name, h=h: run["baselines"][n]["heads"].get(h) for h in heads]
        else:
            pick = [lambda run, n=name: run["baselines"][n]]
        lines.append(row(BASELINE_TITLES[name], pick, runs))
    for title, values in {
        "reconstruction error, test": [run["reconstruction"]["test"] for run in runs],
        "seconds, fit": [run["seconds"]["fit"] for run in runs],
        "seconds, all": [run["seconds"]["total"] for run in runs],
    }.items():
        lines.append(f"{title}: {np.mean(values):.4g} ({min(values):.4g} to {max(values):.4g})")
    return "\n".join(lines)


def row(
    title: str, pick: list[Callable[[dict[str, Any]], dict[str, Any]]], runs: list[dict[str, Any]]
) -> str:
    cells = []
    for chosen in pick:
        if chosen(runs[0]) is None:
            cells.append("")
            continue
        values = [100 * chosen(run)["test_accuracy"] for run in runs]
        spread = f" ({min(values):.1f} to {max(values):.1f})" if len(runs) > 1 else ""
        cells.append(f"{np.mean(values):.2f}{spread}")
    return f"| {title} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
