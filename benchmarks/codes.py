"""Print what small heads can do with frozen codes, recipe by recipe, beside every baseline.

    python benchmarks/codes.py mnist --data-dir FOLDER --seeds 3 --out codes.jsonl
    python benchmarks/codes.py digits                a small one that needs no download
    python benchmarks/codes.py mnist --only fast,default,pca --picture accuracy.png

No encoder sees a label, and no test image is looked at before the figures. Each run has a process
of its own, tuned as the `isthmus` command tunes its own; its peak memory is that of the whole
process, data and heads included. Heads get standardised features. `best` is the head, of linear,
neighbours, mlp and svm, that was best on a tenth of the training labels held out, fitted again
on all; more than 256 numbers of 60,000 images are too many for svm, and where codes tell little
apart it takes half an hour.
With few labels (as many of each class, ten draws) `spreading` also gets the unlabelled training
features. One class normal: the mean distance to the five nearest training features of one class,
AUROC against all other classes, mean over classes; `detector` is the detector's own score, on code
and residual. The supervised network gets the labels alone; with few of them, those few.

On two cores a seed of MNIST takes about 25 minutes for `thorough` and as much again for its heads.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from common.code_features import SOURCES, measure
from common.code_output import draw, show
from common.records import Journal, put_json, run, say, tables_console
from isthmus import __version__
from isthmus.cli import tune_process
from isthmus.errors import DataError


def main() -> None:
    options = arguments()
    names = choose_sources(options.only)
    tune_process()  # torch reads some of it as it starts: what is set here reaches the children
    if options.child:
        print(json.dumps(measure(names[0], options.first_seed, vars(options))))
        return
    protocol = {"benchmark": "codes", "data": options.data, "isthmus": __version__}
    protocol |= {"draws": options.draws, "max_epochs": options.max_epochs}
    journal = Journal(options.out, protocol)
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for name in names:
            if journal.has(source=name, seed=seed):
                continue
            say(f"{name}, seed {seed}")
            journal.add({"source": name, "seed": seed} | in_a_process(name, seed))
    records = [record for record in journal.records if record["source"] in names]
    put_json(options.json, {"benchmark": "codes", "data": options.data, "runs": records})
    show(tables_console(options.json), records, mnist=options.data == "mnist")
    if options.picture:
        draw(records, options.data, Path(options.picture))


def in_a_process(name: str, seed: int) -> dict[str, Any]:
    """Measure one source with one seed in a process of its own."""
    words = [sys.executable, __file__, *sys.argv[1:]]
    words += ["--child", "--only", name, "--first-seed", str(seed)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise DataError(f"the run of {name} ended with exit status {done.returncode}, see above")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def choose_sources(named: str | None) -> list[str]:
    """Return all sources of features, or those of `"default,pca"`.

    Raises
    ------
    DataError
        When one is unknown.
    """
    names = list(SOURCES) if named is None else named.split(",")
    for name in names:
        if name not in SOURCES:
            raise DataError(f"got the source {name!r}, expected some of {', '.join(SOURCES)}")
    return names


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="?", default="mnist", help="name of a set of images")
    parser.add_argument("--data-dir", help="folder with its files")
    parser.add_argument("--only", metavar="A,B", help=f"of {', '.join(SOURCES)}")
    parser.add_argument("--seeds", type=int, default=1, help="how many (default 1)")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=10, help="of few labels (default 10)")
    parser.add_argument("--without", metavar="HEAD", help="one that takes too long, such as svm")
    parser.add_argument("--max-epochs", type=int, help="in place of the recipe's, to try it out")
    parser.add_argument("--out", metavar="PATH", help="keep runs as JSON lines, and go on from it")
    parser.add_argument("--json", metavar="PATH", help="all facts as JSON; - is standard output")
    parser.add_argument("--picture", metavar="PATH", help="draw accuracy against seconds there")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
