"""Data larger than memory: memory, speed, what is left after kill -9, and Ray, as one table.

python benchmarks/scale.py [--rows 1,4,16] [--only memory,array] [--out runs.jsonl] [--folder DIR]

Rows are in millions, of 30 columns, and are written first (180 MB a million). Each fit and each
scoring is a process of its own, on two cores at most. With --out a run goes on where it stopped.
On a machine with other work OMP_NUM_THREADS=1 keeps threads from waiting for each other.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from common.markdown import markdown
from common.records import Journal, put_json, run, say, tables_console
from common.scale_process import COLUMNS, EPOCHS, FILE_ROWS, write_file

PROCESS_SCRIPT = Path(__file__).parent / "common" / "scale_process.py"
CORES = sorted(os.sched_getaffinity(0))[:2]
NAMES = ("memory", "array", "speed", "reading", "kill_fit", "kill_predict", "workers", "ray")
#: Of a fit on a stream: the first pass, reading alone, the second pass (and what comes after
#: training), an epoch of batches, what each of 64 workers has to work out of where the rows of an
#: epoch go, and an epoch with training.
PARTS = ("learn", "read", "hash", "batches", "deal", "train")
#: Rows that are fitted, and rows that are predicted, when the process is killed.
KILL_FIT_ROWS, KILL_PREDICT_ROWS = 250_000, 500_000
#: The command with a checkpoint every half second, so that most runs are killed within an epoch.
OFTEN = (
    "import isthmus.training.checkpoint as c; c.CHECKPOINT_SECONDS = 0.5; "
    "from isthmus.cli import main; main()"
)


def data(folder, n_rows):
    """Return a folder of Parquet files with so many rows; files are written once, and linked."""
    target = folder / f"rows-{n_rows}"
    if not target.exists():
        (folder / "files").mkdir(parents=True, exist_ok=True)
        fresh = folder / f".rows-{n_rows}"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        for at, first in enumerate(range(0, n_rows, FILE_ROWS)):
            size = min(FILE_ROWS, n_rows - first)
            file = folder / "files" / f"{at:05d}-{size}.parquet"
            if not file.exists():
                write_file(file, at, first, size)
            os.link(file, fresh / f"{at:05d}.parquet")
        fresh.rename(target)
    return target


def start(words):
    env = {"OMP_NUM_THREADS": str(len(CORES))} | os.environ
    return subprocess.Popen(
        words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finished(words):
    """Run to the end; return what was printed last, or the last line of what went wrong."""
    process = start(words)
    out, err = process.communicate()
    if process.returncode:
        lines = err.strip().splitlines()
        return None, lines[-1] if lines else f"exit status {process.returncode}"
    return out.strip().splitlines()[-1] if out.strip() else "", None


def child(name, *words):
    """Run one task of `common/scale_process.py` in a process of its own; return its facts."""
    said, wrong = finished([sys.executable, str(PROCESS_SCRIPT), name, *map(str, words)])
    if wrong is not None:
        sys.exit(f"error: {name} failed: {wrong}")
    return json.loads(said)


def isthmus(*words):
    return [sys.executable, "-m", "isthmus", *map(str, words)]


def memory(folder, rows, journal, options):
    for n in rows:
        if journal.has(name="memory", rows=n):
            continue
        bundle, out = folder / f"bundle-{n}", folder / f"out-{n}.parquet"
        fit = child("fit", data(folder, n), bundle)
        shutil.rmtree(out, ignore_errors=True)
        score = child("score", bundle, data(folder, n), out, "local")
        journal.add({"name": "memory", "rows": n, "fit": fit, "score": score})


def array(folder, rows, journal, options):
    bundle = fitted(folder, rows[0])
    found = child("array", bundle, data(folder, rows[0]))
    journal.add({"name": "array", "rows": rows[0]} | found)


def speed(folder, rows, journal, options):
    there = data(folder, rows[0])
    found = {kind: child("encoder", there, kind) for kind in ("stream", "memory")}
    journal.add({"name": "speed", "rows": rows[0]} | found)


def reading(folder, rows, journal, options):
    found = child("reading", data(folder, rows[0]))
    journal.add({"name": "reading", "rows": rows[0]} | found)


def fitted(folder, n):
    """Return a bundle fitted on so many rows."""
    bundle = folder / f"bundle-{n}"
    if not (bundle / "manifest.json").exists():
        child("fit", data(folder, n), bundle)
    return bundle


def kill_fit(folder, rows, journal, options):
    there = data(folder, KILL_FIT_ROWS)

    def words(target, *more):
        choices = ("--key", "id", "--max-epochs", EPOCHS + 1, "--seed", 0, "-o", target)
        return [sys.executable, "-c", OFTEN, *map(str, ("fit", there, *choices, *more))]

    def digest(target):
        return json.loads((target / "manifest.json").read_text())["encoder"]["digest"]

    found = survived(words, folder / "killed", digest, options.kills)
    journal.add({"name": "kill_fit"} | found)


def kill_predict(folder, rows, journal, options):
    there, bundle = data(folder, KILL_PREDICT_ROWS), fitted(folder, rows[0])

    def words(target, *more):
        return isthmus("predict", bundle, there, "--key", "id", "-o", target, *more)

    found = survived(words, folder / "killed.parquet", pd.read_parquet, options.kills)
    journal.add({"name": "kill_predict"} | found)


def survived(words, target, result, kills):
    """Kill runs at random moments, go on with each, and compare with what one left alone gives."""

    def clear():
        for made in (target, target.with_name(f"{target.name}-checkpoints")):
            shutil.rmtree(made, ignore_errors=True)

    clear()
    began = time.perf_counter()
    _, wrong = finished(words(target))
    seconds = time.perf_counter() - began
    expected = None if wrong else result(target)
    same = stopped = 0
    for at in range(kills):
        clear()
        stopped += killed(words(target), random.Random(at).uniform(0, seconds))
        _, failed = finished(words(target, "--resume"))
        wrong = wrong or failed
        same += wrong is None and is_same(result(target), expected)
        say(f"{target.name}: {at + 1} of {kills} killed, {same} came out the same")
    return {"same": same, "killed": stopped, "seconds": seconds, "wrong": wrong}


def is_same(found, expected):
    return found.equals(expected) if isinstance(found, pd.DataFrame) else found == expected


def killed(words, seconds):
    """Start, kill after so many seconds, and return whether it was still running."""
    process = start(words)
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return True
    return False


def workers(folder, rows, journal, options):
    there = data(folder, rows[0])
    found = {}
    for n in (1, 2):
        target = folder / f"workers-{n}"
        shutil.rmtree(target, ignore_errors=True)
        fit = ("fit", there, "--key", "id", "--max-epochs", EPOCHS, "--seed", 0, "-o", target)
        torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", n, "-m", "isthmus"]
        _, wrong = finished([sys.executable, *map(str, torchrun if n > 1 else ["-m", "isthmus"]),
                             *map(str, fit)])  # fmt: skip
        if wrong is not None:
            journal.add({"name": "workers", "wrong": wrong})
            return
        history = (target / "history.jsonl").read_text().splitlines()
        found[str(n)] = json.loads(history[-1])
    journal.add({"name": "workers", "rows": rows[0], "epochs": found})


def ray(folder, rows, journal, options):
    there, bundle = data(folder, rows[0]), fitted(folder, rows[0])
    found, tables = {}, {}
    for engine in ("local", "ray"):
        out = folder / f"by-{engine}.parquet"
        shutil.rmtree(out, ignore_errors=True)
        words = [sys.executable, PROCESS_SCRIPT, "score", bundle, there, out, engine]
        said, wrong = finished([str(word) for word in words])
        if wrong is not None:
            journal.add({"name": "ray", "wrong": wrong})
            return
        found[engine], tables[engine] = json.loads(said), pd.read_parquet(out)
    local, other = tables["local"], tables["ray"]
    numbers = list(local.columns[2:])
    apart = (other[numbers] - local[numbers]).abs() / local[numbers].abs().clip(lower=1e-12)
    found["same_rows"] = bool(local["id"].equals(other["id"]))
    found["differ"] = int((local["prediction"] != other["prediction"]).sum())
    found["apart"] = float(apart.to_numpy().max())
    journal.add({"name": "ray", "rows": rows[0]} | found)


def table(journal, rows):
    """Return the rows of the table: measure, what it must show, what was found, held or not."""
    shown = []

    def row(measure, must, found, held):
        shown.append([measure, must, found, "" if held is None else "yes" if held else "NO"])

    runs = [one for n in rows if (one := journal.find(name="memory", rows=n))]
    if runs:
        peaks = [max(one["fit"]["peak_mb"], one["score"]["peak_mb"]) for one in runs]
        said = ", ".join(f"{peak:,.0f}" for peak in peaks)
        held = max(peaks) < 1500 and max(peaks) <= 1.1 * min(peaks)
        row(f"peak MB, fit + score, {millions(runs)} rows", "within 10 %, < 1,500", said, held)
        row("seconds, fit + score, by further million rows", "within 10 %", *in_line(runs))
    if one := journal.find(name="speed"):
        found = one["stream"]["rows_per_second"] / one["memory"]["rows_per_second"]
        said = f"{found:.2f} x ({one['stream']['rows_per_second']:,.0f} rows/s)"
        row("fit of a stream against memory", ">= 0.8 x", said, found >= 0.8)
    if (one := journal.find(name="array")) and runs:
        found = runs[-1]["score"]["rows_per_second"] / one["rows_per_second"]
        said = f"{found:.2f} x ({runs[-1]['score']['rows_per_second']:,.0f} rows/s)"
        row(f"scoring {millions(runs[-1:])} rows against ONNX Runtime on an array", ">= 0.7 x",
            said, found >= 0.7)  # fmt: skip
    if one := journal.find(name="reading"):
        each = {part: 1e6 * one[part] / one["rows"] for part in PARTS}
        said = ", ".join(f"{part} {seconds:.2f} s" for part, seconds in each.items())
        said += f"; {one['bytes'] / one['rows']:.0f} bytes a row, {one['parameters']:,} parameters"
        row("a million rows of a stream, part by part", "reported", said, None)
    for name, what in (("kill_fit", "same weights"), ("kill_predict", "every row once")):
        if one := journal.find(name=name):
            n = journal.protocol["kills"]
            said = f"{one['same']} of {n} ({one['killed']} died) {one['wrong'] or ''}"
            row(f"kill -9 in {name[5:]}, then resume", what, said, one["same"] == n)
    if one := journal.find(name="workers"):
        row("two gloo workers against one", "reported", in_words(one), None)
    if one := journal.find(name="ray"):
        said = one.get("wrong")
        if said is None:
            overhead = one["ray"]["seconds"] - one["local"]["seconds"]
            said = f"{one['differ']} decisions differ, {one['apart']:.1e}; {overhead:+.0f} s"
        held = "wrong" not in one and one["same_rows"] and not one["differ"]
        row("Ray against local scoring", "same, <= 1e-6", said, held and one["apart"] <= 1e-6)
    return shown


def in_line(runs):
    """Return in words, and whether it holds, that time is a line over the number of rows."""
    seconds = [one["fit"]["seconds"] + one["score"]["seconds"] for one in runs]
    rows = [one["rows"] / 1e6 for one in runs]
    each = np.diff(seconds) / np.diff(rows)
    said = ", ".join(f"{second:.0f}" for second in seconds) + " s"
    if len(each) < 2:
        return said, None
    further = ", ".join(f"{one:.1f}" for one in each)
    return f"{further} s (whole: {said})", bool(each.max() <= 1.1 * each.min())


def in_words(one):
    if "wrong" in one:
        return one["wrong"]
    first, second = one["epochs"]["1"], one["epochs"]["2"]
    gain = second["instances_per_second"] / first["instances_per_second"]
    apart = abs(second["train_loss"] / first["train_loss"] - 1)
    return f"{gain:.2f} x, efficiency {gain / 2:.0%}; loss differs by {apart:.1e}"


def millions(runs):
    return ", ".join(f"{one['rows'] / 1e6:g}" for one in runs) + " million"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="1,4,16", help="in millions")
    parser.add_argument("--only", default=",".join(NAMES), help="some of " + ", ".join(NAMES))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="for data; kept")
    parser.add_argument("--out", help="JSON lines to go on with")
    parser.add_argument("--json")
    options = parser.parse_args()
    os.sched_setaffinity(0, CORES)
    rows = sorted(round(float(one) * 1e6) for one in options.rows.split(","))
    protocol = {"columns": COLUMNS, "epochs": EPOCHS, "cores": len(CORES), "kills": options.kills}
    journal = Journal(options.out, protocol)
    with tempfile.TemporaryDirectory(prefix="isthmus-scale-") as made:
        for name in options.only.split(","):
            if name == "memory" or not journal.has(name=name):
                say(f"{name}")
                globals()[name](options.folder or Path(made), rows, journal, options)
    console = tables_console(options.json)
    markdown(console, ["measure", "must show", "found", "held"], table(journal, rows))
    put_json(options.json, {"protocol": protocol, "records": journal.records})


if __name__ == "__main__":
    run(main)
