"""Measure speed and memory, beside what a person would use instead, on this machine.

    python benchmarks/speed.py --data-dir FOLDER
    python benchmarks/speed.py --only startup,small --rounds 3

`make bench` runs it, and installs the peers first, into an environment of their own. Each side
of a comparison runs in a process of its own, all of them in turn, round after round. Printed are
the median of the rounds with the lowest and highest, and of the ratio too, which is taken round
by round: what slows the machine for a while slows both sides.

target     time of `fit` to the test error where the Keras tutorial's network ends
reference  one epoch of that network
encode     its codes
small      `fit` on 1,000 x 20 numbers, beside a torch loop written by hand
large      `fit` on 200,000 x 30 numbers, beside PyOD and skorch
neighbours the default detector's score, beside faiss and scikit-learn, and its graph beside
           the networks in it
linear     the linear head on 128 numbers of each image, beside scikit-learn's solvers
startup    `isthmus --help` and `import isthmus`
memory     peak memory of the demo

With --short, about twenty minutes on two cores; the memory of the whole demo and --whole are what
takes longer. All processes get the settings that the `isthmus` command gives itself, the peers'
too; --tuned says otherwise.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from common.markdown import markdown
from common.records import Journal, chosen, put_json, run, say, tables_console, versions
from common.speed_measures import MEASURES
from common.speed_measures.measure import OURS, Facts, Measure, Row
from isthmus import Autoencoder, load

HERE = Path(__file__).parent
COLUMNS = ("measure", "isthmus", "peer", "takes or does", "ratio", "must show", "met")
#: What the `isthmus` command sets for itself (`isthmus.cli.commands`), as an environment.
TUNED = {
    "GOMP_SPINCOUNT": "30000",
    "MALLOC_MMAP_THRESHOLD_": str(2**31 - 1),
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
}
PEERS_VERSIONS = """
import importlib.metadata, json, platform, sys
names = sys.argv[1:]
found = {name: importlib.metadata.version(name) for name in names}
print(json.dumps({"python": platform.python_version()} | found))
"""


def main() -> None:
    options = arguments()
    measures = choose(options.only)
    peers = peers_versions(options.peers_python)
    if isinstance(peers, str):
        say(f"{peers}; only isthmus is measured where a peer is needed")
    journal = Journal(options.out, protocol(options))
    console = tables_console(options.json)
    with tempfile.TemporaryDirectory() as folder:
        plain = vars(options) | prepare(options, measures, Path(folder))
        pythons = {False: sys.executable, True: None if isinstance(peers, str) else plain["python"]}
        rows = {}
        for measure in measures:
            found = take_turns(measure, plain, journal, pythons)
            if OURS not in found:
                continue
            rows[measure.name] = measure.rows(found)
            show(console, rows[measure.name])
    console.print()
    show(console, [row for part in rows.values() for row in part], notes=False)
    facts = {"benchmark": "speed", "versions": versions(), "peers": peers} | {
        "machine": {"cores": os.cpu_count(), "processor": platform.machine()},
        "protocol": journal.protocol,
        "rows": {name: [dataclasses.asdict(row) for row in part] for name, part in rows.items()},
    }
    put_json(options.json, facts | {"runs": journal.records})


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--only", metavar="NAME,NAME", help="only these measures")
    add("--rounds", type=int, default=3, help="how often each side has its turn (default 3)")
    add("--short", action="store_true", help="memory of one epoch of fit, not of the demo")
    add("--data", default="mnist", help="the images: a name or path (default mnist)")
    add("--data-dir", metavar="FOLDER", help="where the files of a named data set lie")
    add(
        "--peers-python",
        metavar="PATH",
        default=str(HERE.parent / ".venv-bench" / "bin" / "python"),
        help="of the environment with peers.txt in it (default .venv-bench/bin/python)",
    )
    add("--tuned", choices=("both", "isthmus", "neither"), default="both")
    add("--recipe", default="fast", help="of the target and of the codes (default fast)")
    add("--fast-epochs", type=int, default=2, help="of that recipe (default 2)")
    add("--width", type=int, default=128, help="of its code (default 128)")
    add("--keras-epochs", type=int, default=3, help="of 50, to scale from (default 3)")
    add("--whole", action="store_true", help="let Keras run all 50 epochs")
    add("--epochs", type=int, default=2, help="of reference and large that count (default 2)")
    add("--small-rows", type=int, default=1000)
    add("--large-rows", type=int, default=200_000)
    add("--matmul", type=int, default=2048, help="side of the matrices of the limit")
    add("--starts", type=int, default=10, help="of startup, in a round (default 10)")
    add("--out", metavar="PATH", help="keep finished turns there, and take them up again")
    add("--json", metavar="PATH", help="all facts as JSON; - is standard output")
    return parser.parse_args()


def choose(names: str | None) -> list[Measure]:
    """Return the measures of these names, separated by commas, or all.

    Raises
    ------
    DataError
        When there is none of a name.
    """
    return [MEASURES[name] for name in chosen(names, MEASURES)]


def protocol(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options that change what a turn measures."""
    elsewhere = ("only", "rounds", "data_dir", "peers_python", "out", "json")
    return {name: value for name, value in vars(options).items() if name not in elsewhere}


def peers_versions(python: str) -> dict[str, str] | str:
    """Return versions of the peers in the environment of this Python, or why there are none."""
    lines = (HERE / "peers.txt").read_text("utf-8").splitlines()
    names = [line.partition("==")[0] for line in lines if line and not line.startswith("#")]
    try:
        done = subprocess.run(
            [python, "-c", PEERS_VERSIONS, *names], capture_output=True, text=True, check=True
        )
    except OSError:
        return f"no Python with the peers at {python}: run `make bench`, or pass --peers-python"
    except subprocess.CalledProcessError as error:
        return f"{python} lacks a peer ({last_line(error.stderr)}); install benchmarks/peers.txt"
    return json.loads(done.stdout)


def prepare(
    options: argparse.Namespace, measures: list[Measure], folder: Path
) -> dict[str, str | None]:
    """Write images and codes where every side can read them, if a measure needs them."""
    paths: dict[str, str | None] = {"images": None, "codes": None, "python": options.peers_python}
    if not any(measure.images or measure.codes for measure in measures):
        return paths
    data = load(options.data, data_dir=options.data_dir)
    train, test = data.train, data.test
    paths["images"] = str(folder / "images.npz")
    np.savez(paths["images"], train=train.X, test=test.X)
    if any(measure.codes for measure in measures):
        say("codes for the linear head")
        width = min(options.width, train.X[0].size // 2)
        encoder = Autoencoder(
            width, recipe=options.recipe, max_epochs=options.fast_epochs, random_state=0
        ).fit(train.X)
        paths["codes"] = str(folder / "codes.npz")
        classes, y = np.unique(train.y, return_inverse=True)
        np.savez(
            paths["codes"],
            train=encoder.transform(train.X),
            y_train=y,
            test=encoder.transform(test.X),
            y_test=np.searchsorted(classes, test.y),
        )
    return paths


def take_turns(
    measure: Measure, options: dict[str, Any], journal: Journal, pythons: dict[bool, str | None]
) -> dict[str, list[Facts]]:
    """Let every side have its turn, round after round; what the journal holds is not repeated.

    Returns
    -------
    dict
        From the name of a side to its facts, one a round; without a side that could not run.
    """
    found: dict[str, list[Facts]] = {}
    lost = set()
    for round_ in range(options["rounds"]):
        for name, side in measure.sides.items():
            key = {"measure": measure.name, "side": name, "round": round_}
            if not journal.has(**key):
                python = pythons[side.peer]
                if python is None or name in lost:
                    continue
                facts = one_turn(measure, name, python, options | {"round": round_})
                if isinstance(facts, str):
                    say(f"{measure.name}, {name}: {facts}")
                    lost.add(name)
                    continue
                journal.add(key | {"facts": facts})
                told = {one: f"{value:.4g}" for one, value in facts.items() if is_number(value)}
                say(f"{measure.name}, round {round_ + 1}, {name}: {told}")
            found.setdefault(name, []).append(journal.find(**key)["facts"])
    return {name: facts for name, facts in found.items() if name not in lost}


def one_turn(measure: Measure, name: str, python: str, options: dict[str, Any]) -> Facts | str:
    """Run one side in a process of its own; return its facts, or what went wrong."""
    tuned = measure.tuned and (
        options["tuned"] == "both" or (options["tuned"] == "isthmus" and name == OURS)
    )
    script = HERE / "common" / "speed_measures" / "run_side.py"
    done = subprocess.run(
        [python, script, measure.name, name, json.dumps(options)],
        env=os.environ | (TUNED if tuned else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        return f"did not run ({last_line(done.stderr)})"
    return json.loads(done.stdout.splitlines()[-1])


def show(console: Console, rows: list[Row], notes: bool = True) -> None:
    """Print lines of the table, and what has to be known to read them."""
    lines = []
    for row in rows:
        met = "not compared" if row.met is None else "yes" if row.met else "no"
        lines.append(
            [
                *(row.title, spread(row.ours, row.digits)),
                *(row.peer, spread(row.theirs, row.digits), spread(row.ratio, 2)),
                *(row.must, met),
            ]
        )
    markdown(console, COLUMNS, lines)
    if notes:
        for note in dict.fromkeys(note for row in rows for note in row.notes):
            console.print(f"  {note}", highlight=False, markup=False)


def spread(values: list[float], digits: int) -> str:
    """Return the median with the lowest and highest in brackets; nothing where there is none."""
    if not values:
        return ""
    middle, low, high = (
        f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values))
    )
    return middle if len(values) == 1 else f"{middle} ({low} to {high})"


def is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def last_line(text: str) -> str:
    """Return the last line that says something."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "without a word"


if __name__ == "__main__":
    run(main)
