"""Detect abnormal rows in public tables, beside peers in the same run.

    python benchmarks/anomaly.py FOLDER                  without labels
    python benchmarks/anomaly.py FOLDER --slow-peers     ... and beside DDAE
    python benchmarks/anomaly.py FOLDER --labels         with a few labelled abnormal rows
    python benchmarks/anomaly.py FOLDER --validate       how the default score was chosen
    python benchmarks/anomaly.py FOLDER --fits           seconds of a fit beside PyOD's

FOLDER holds `.npz` tables of X (n, m) and y (1 abnormal, 0 normal), such as those of ADBench
(Han et al., NeurIPS 2022); $ISTHMUS_DATA/adbench when not given.

Without labels: half of the normal rows train, the other half and all abnormal rows test, both
drawn anew with each of the seeds 0 to 4. Nothing is resampled, and of tables with more than
20,000 rows that many are drawn first. Columns are standardised by the training rows. isthmus
gets the same rows and takes its calibration rows out of them. Figures are means over tables of
means over seeds; ± is the standard deviation over seeds of the mean over tables; the interval
of a difference is the 95 % percentile bootstrap over tables. Parts are the detector's other
scores on the same encoder. A fixed half of each table is what --validate tests on; "other half"
figures are taken on the rest.

The peers, with scikit-learn's defaults otherwise: mean distance to the five nearest training
rows (kNN), isolation forest, local outlier factor with 20 neighbours, one-class SVM (on 10,000
training rows at most, for time), and the residual of the principal components that hold 90 % of
the variance. `pip install pyod` adds PyOD's AutoEncoder and ECOD with their defaults. With
--slow-peers DDAE is added (Sattarov et al., KDD 2025), trained here on the same rows.

With --labels: 70 % of the rows train, stratified; of the abnormal ones among them 1, 5 and 10 %
(one at least) are labelled, and all others stay in, unlabelled. The label-free score and the
head are parts of the blended detector: its encoder saw the unlabelled rows only. For the
classifiers beside it, on standardised columns, unlabelled rows count as normal.

With --validate: as without labels, with seeds from 1000 on, tested on the fixed half alone, and
kNN the only peer. The scores are those of the detector and the sums that its default is one of.

With --fits: seconds alone, of the detector and of PyOD's AutoEncoder on the training rows of seed 0
(--seeds of more), in turn, the best of three rounds. They are seconds of CPU time, which other
programs disturb least: set OMP_NUM_THREADS=1, as threads add up.

A run is one table with one seed. It costs seconds to a minute on one core, most of it the
encoders: one, or six on tables of fewer than 2,000 training rows, and thrice that with --labels.
--out keeps every run, and a call with the same --out goes on where the last one stopped.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from rich.console import Console
from sklearn.preprocessing import StandardScaler

from common.anomaly_tables import (
    MAX_ROWS,
    AnomalyTable,
    Split,
    find_tables,
    labelled_rows,
    labelled_split,
    one_class_split,
    read_table,
    validation_half,
)
from common.detector_scores import fit_detector, score_candidates, score_parts
from common.markdown import markdown, number, show_per_table, show_summary
from common.peer_detectors import CLASSIFIERS, OF_PYOD, PEERS, PYOD, detectors
from common.records import (
    Journal,
    data_folder,
    put_json,
    run,
    say,
    tables_console,
    try_out,
    versions,
)
from common.summary_statistics import METRICS, PART, ranking, summarise
from isthmus import __version__
from isthmus.detection import extract_features
from isthmus.errors import DataError

FRACTIONS = (0.01, 0.05, 0.1)
REFERENCE = {
    "no labels": "kNN",
    "validate": "kNN",
    "labels": "isthmus label-free (part)",
    "fits": PYOD,
}
#: How often each side of --fits has its turn.
ROUNDS = 3


def main() -> None:
    options = arguments()
    mode = next(
        (name for name in ("labels", "validate", "fits") if vars(options)[name]), "no labels"
    )
    paths = find_tables(data_folder(options.folder, "adbench"), options.tables)
    first = options.first_seed
    if first is None:
        first = 1000 if mode == "validate" else 0
    if mode == "no labels" and PYOD not in detectors():
        say(f"pyod is not installed: {' and '.join(OF_PYOD)} are left out")
    if mode == "fits" and PYOD not in detectors():
        raise DataError("--fits compares with PyOD's AutoEncoder, which is not here: install pyod")
    protocol = {"benchmark": "anomaly", "mode": mode, "isthmus": __version__}
    if options.slow_peers:
        protocol["slow_peers"] = True
    journal = Journal(options.out, protocol | {"most_rows": MAX_ROWS})
    n_seeds = (1 if mode == "fits" else 5) if options.seeds is None else options.seeds
    seeds = range(first, first + n_seeds)
    for i, path in enumerate(paths, start=1):
        table = read_table(path)
        started = time.perf_counter()
        for seed in seeds:
            for fraction in FRACTIONS if mode == "labels" else (None,):
                key = {"table": table.name, "seed": seed, "fraction": fraction}
                if not journal.has(**key):
                    slow = options.slow_peers
                    found = measure(table, seed, mode, fraction, journal, slow=slow)
                    journal.add(found | key)
        say(f"{i}/{len(paths)} {table.name}: {time.perf_counter() - started:.0f} s")
    names = {path.stem for path in paths}
    records = [r for r in journal.records if r["table"] in names and r["seed"] in seeds]
    found = report(records, mode)
    put_json(options.json, found)
    show(tables_console(options.json), found)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", help="where the .npz tables lie")
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--labels", action="store_true", help="few abnormal rows are labelled")
    modes.add_argument("--validate", action="store_true", help="compare scores on other splits")
    modes.add_argument("--fits", action="store_true", help="seconds of fits alone, beside PyOD's")
    parser.add_argument("--slow-peers", action="store_true", help="without labels: DDAE too")
    parser.add_argument("--tables", metavar="NAME,NAME", help="only these, without .npz")
    parser.add_argument("--seeds", type=int, help="how many (default 5, with --fits 1)")
    parser.add_argument("--first-seed", type=int, help="default 0, with --validate 1000")
    parser.add_argument("--out", metavar="PATH", help="keep runs as JSON lines, and go on from it")
    parser.add_argument("--json", metavar="PATH", help="all facts as JSON; - is standard output")
    options = parser.parse_args()
    if options.slow_peers and (options.labels or options.validate or options.fits):
        parser.error("--slow-peers is for the comparison without labels")
    if options.seeds is not None and options.seeds < 1:
        parser.error(f"got --seeds {options.seeds}, expected 1 or more")
    return options


def measure(
    table: AnomalyTable,
    seed: int,
    mode: str,
    fraction: float | None,
    journal: Journal,
    *,
    slow: bool,
) -> dict[str, Any]:
    """Return the figures of every method on one table with one seed, under `methods`."""
    if mode == "no labels":
        return {"methods": measure_without_labels(table, seed, slow=slow)}
    if mode == "validate":
        return {"methods": measure_candidates(table, seed)}
    if mode == "fits":
        return {"methods": measure_fits(table, seed)}
    split = labelled_split(table.abnormal, seed)
    known = labelled_rows(table.abnormal, split.train, fraction, seed)
    # Of few abnormal rows several fractions are the same labels, and so the same run.
    same = journal.find(table=table.name, seed=seed, labels=len(known))
    methods = same["methods"] if same else measure_labels(table, seed, split, known)
    return {"labels": len(known), "methods": methods}


def measure_without_labels(
    table: AnomalyTable, seed: int, *, slow: bool
) -> dict[str, dict[str, Any]]:
    """Compare the detector and its parts with the peers, without labels."""
    split = one_class_split(table.abnormal, seed)
    train, test = table.X[split.train], table.X[split.test]
    truth, other = table.abnormal[split.test], ~validation_half(table.abnormal)[split.test]

    def figures(scores: np.ndarray) -> dict[str, Any]:
        on_other = ranking(truth[other], scores[other])
        return ranking(truth, scores) | {f"{k}_other_half": v for k, v in on_other.items()}

    detector, scores, seconds = try_out(
        lambda: fit_detector(train, seed=seed), lambda detector: -detector.score_samples(test)
    )
    found = {"isthmus": figures(scores) | seconds}
    for name, scores in score_parts(detector, test).items():
        if name != detector.method_:
            found[f"isthmus {name}{PART}"] = figures(scores)
    scaler = StandardScaler().fit(train)
    train, test = scaler.transform(train), scaler.transform(test)
    for name, fit in detectors(slow=slow).items():
        _, scores, seconds = try_out(lambda fit=fit: fit(train, seed), lambda scorer: scorer(test))
        found[name] = figures(scores) | seconds
    return found


def measure_fits(table: AnomalyTable, seed: int) -> dict[str, dict[str, Any]]:
    """Return the CPU seconds of a fit, the best of several rounds in which both take turns."""
    train = table.X[one_class_split(table.abnormal, seed).train]
    standardised = StandardScaler().fit_transform(train)
    fits = {
        "isthmus": lambda: fit_detector(train, seed=seed),
        PYOD: lambda: detectors()[PYOD](standardised, seed),
    }
    seconds: dict[str, list[float]] = {name: [] for name in fits}
    for _ in range(ROUNDS):
        for name, fit in fits.items():
            started = time.process_time()
            fit()
            seconds[name].append(time.process_time() - started)
    return {name: {"seconds_fit": min(found)} for name, found in seconds.items()}


def measure_candidates(table: AnomalyTable, seed: int) -> dict[str, dict[str, Any]]:
    """Compare the scores that the default was chosen among, on the validation half."""
    split = one_class_split(table.abnormal, seed)
    tested = split.test[validation_half(table.abnormal)[split.test]]
    train, test, truth = table.X[split.train], table.X[tested], table.abnormal[tested]
    scaler = StandardScaler().fit(train)
    knn = PEERS["kNN"](scaler.transform(train), seed)
    found = {"kNN": ranking(truth, knn(scaler.transform(test)))}
    for name, scores in score_candidates(fit_detector(train, seed=seed), test).items():
        found[name] = ranking(truth, scores)
    return found


def measure_labels(
    table: AnomalyTable, seed: int, split: Split, known_rows: np.ndarray
) -> dict[str, dict[str, Any]]:
    """Compare detector and classifiers where some abnormal training rows are labelled."""
    known = np.isin(split.train, known_rows)
    train, test, truth = table.X[split.train], table.X[split.test], table.abnormal[split.test]
    y = np.where(known, -1, 0)  # nobody looked at the others
    detector, scores, seconds = try_out(
        lambda: fit_detector(train, y, method="blend", seed=seed),
        lambda detector: -detector.score_samples(test),
    )
    features, blend = extract_features(detector.encoder_, test), detector.fitted_score_
    found = {
        "isthmus": ranking(truth, scores) | seconds,
        f"isthmus label-free{PART}": ranking(truth, blend.label_free_.score(features)),
        f"isthmus head{PART}": ranking(truth, blend.head_.score(features)),
    }
    scaler = StandardScaler().fit(train)
    train, test = scaler.transform(train), scaler.transform(test)
    for name, fit in CLASSIFIERS.items():
        _, scores, seconds = try_out(
            lambda fit=fit: fit(train, known, seed), lambda scorer: scorer(test)
        )
        found[name] = ranking(truth, scores) | seconds
    return found


def report(records: list[dict[str, Any]], mode: str) -> dict[str, Any]:
    """Return all facts of a call as plain values: summaries, and the runs behind them."""
    metrics = () if mode == "fits" else METRICS
    if mode == "no labels":
        metrics = (*METRICS, *(f"{m}_other_half" for m in METRICS))
    groups = dict.fromkeys(record["fraction"] for record in records)
    summaries = []
    for fraction in groups:
        group = [record for record in records if record["fraction"] == fraction]
        summary = summarise(group, REFERENCE[mode], metrics)
        summaries.append({"fraction": fraction, "summary": summary})
    found = {"benchmark": "anomaly", "mode": mode, "versions": versions()}
    return found | {"summaries": summaries, "runs": records}


def show(console: Console, found: dict[str, Any]) -> None:
    if found["mode"] == "fits":
        show_fits(console, found["runs"])
        return
    for part in found["summaries"]:
        summary, fraction = part["summary"], part["fraction"]
        seeds = ", ".join(map(str, summary["seeds"]))
        title = f"tables: {len(summary['tables'])}, seeds: {seeds}"
        if fraction is not None:
            title += f", {fraction:.0%} of the abnormal training rows labelled"
        console.print(f"\n{title}", highlight=False)
        show_summary(console, summary)
        if found["mode"] == "no labels":
            console.print("isthmus decides by its combined score; parts share its encoder.")
        for metric in METRICS if found["mode"] != "validate" else ():  # too many columns
            show_per_table(console, summary, metric)


def show_fits(console: Console, records: list[dict[str, Any]]) -> None:
    """Print the seconds of each table, and their means, with the ratio."""
    seconds: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        both = tuple(record["methods"][name]["seconds_fit"] for name in ("isthmus", PYOD))
        seconds.setdefault(record["table"], []).append(both)
    means = {table: np.mean(found, axis=0) for table, found in seconds.items()}
    means["mean"] = np.mean(list(means.values()), axis=0)
    rows = [
        [table, *(number(value, 2) for value in (ours, theirs, ours / theirs))]
        for table, (ours, theirs) in means.items()
    ]
    markdown(console, ["CPU seconds to fit", "isthmus", PYOD, "isthmus / PyOD"], rows)


if __name__ == "__main__":
    run(main)
