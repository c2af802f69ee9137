"""Hold the detector to what it states: false-alarm rates and false-discovery rates.

    python benchmarks/guarantees.py FOLDER
    python benchmarks/guarantees.py FOLDER --only rates --refit 10 --cross 30

FOLDER as in `benchmarks/anomaly.py`. Each measure is a file of `common/guarantee_measures`.

rates      For each table one encoder is fitted on a third of the normal rows; rows that equal one
           of these are left out of what follows. Then, 200 times, the rest is split anew at
           random: rows for the detector (4,000 at most, a fifth of them calibrate) and rows that
           are new to it (as many at most), of which the share called abnormal is counted for each
           rate asked. Split by split the rows are exchangeable, whatever rows and encoder they
           are, so the splits are independent draws and the guarantee is exact: without ties the
           expected share is floor(a (n + 1)) / (n + 1) for a rate a and n calibration rows,
           printed as "expected".
           --refit N repeats this for N splits with an encoder that is not fitted, so that each
           split trains one. --cross N does so with calibration="cross", which trains six and whose
           guarantee is weaker: its rates are printed with the same check, and what they are is
           the finding.
selection  100 times, the detector is fitted on new rows in the same way, and one batch of 1,000
           normal and 100 abnormal rows is put to it: the share of normal rows among those
           selected (0 when none is), and the share of the abnormal ones that were found. The
           power passes from 0.9 on. Beside them the bound of the share of normal rows that holds
           after the fact with a confidence of 90 %, for all thresholds at once, and how often it
           is broken at any of them: in the batches of the table, and in 1,000 simulated ones of
           normal scores, abnormal ones four standard deviations above; with the bound of DKW type
           of Gazin et al. (2024). Last, streams of the same scores in random order, selected
           online (LOND).
contamination
           Half of the normal rows of each of all tables train, with 0, 1, 5 and 10 % of abnormal
           rows among them (half of those of the table at most; where they are too few, fewer
           normal rows train), and the others test. A detector is fitted without the option, with
           the share as the bound (of none 1 %), with twice the share (of none 5 %), with "auto",
           and without the option on the normal rows alone. Printed are AUROC and its differences,
           rows left out, and the shares of normal and abnormal test rows with a p-value of at most
           0.01 and 0.05. Nothing here is a check.
monitor    1,000 times, a stream without drift is put to the monitor of a detector: simulated rows
           of ten columns, and new normal rows of each table (4,000 at most) to a detector that is
           fitted on others. Counted is the share of runs with a warning, at levels of 0.01, 0.05
           and 0.1. Then one of the ten columns is shifted, at once and after 5,000 quiet rows: the
           rows until the warning, median and quartiles. Beside it Kolmogorov and Smirnov's test of
           each column on windows of 500 rows, at a level of 0.01 for each window.
series_monitor
           500 times, a stationary series of 20,000 scores, independent, autoregressive or means
           over windows, is put to the monitor of time points, which compares blocks of them with
           those of a held-out series of 5,000 or 20,000, or with the first of the stream. Counted
           is the share of runs with a warning, and the time points until one where all scores are
           shifted.
prediction_sets
           Of each data set with classes a third of the rows fits an encoder without labels. 40
           times the rest is split at random into rows to label, to hold out and to test on. The
           share of test rows whose class is not in their set, the mean size of sets, and of the
           class that is missed most; of accepted predictions the share that is wrong, and how
           often it is above the one allowed; log-loss and expected calibration error (ECE) before
           and after.
           Calibrated by "cross", "split", or rows held out; also with rows that the encoder was
           trained on without labels; beside MAPIE's sets, scikit-learn's calibration by class, and
           a logistic regression on raw features. MNIST lies in --data-dir. --sets-refit N repeats
           this for N splits that train an encoder each.
acceptance 1,000 times, 120, 400 and 1,000 labelled instances are drawn from each of seven
           populations whose errors are known, four simulated and three of digits. Counted are the
           share that `accept` accepts with an error of 0.01, 0.05 and 0.1, and the draws in which
           more of these are wrong; of each population the largest share that can be accepted.
           Beside it the tests one by one from the most certain instances on, as it was before.
groups     40 times, a detector is fitted on 500 rows of each of twenty groups, and 30 times on
           1,500 time points of each, whose noise differs in scale from 1 to 5; calibrated by
           group, and with one threshold for all of them. Counted is the share called abnormal of
           1,000 later normal rows and 4,000 time points of each group: over all groups, and in the
           group with the highest and the lowest mean. The worst of twenty passes up to three
           standard errors above what was asked, as chance takes it there as often as one alone
           above two.

A figure passes when its mean over the splits is no more than what was asked and two standard
errors; where the expected share is the rate itself, chance fails one such check in 44.

200 splits of a table with its encoder fitted cost about a minute on one core, a split that trains
encoders ten seconds to a minute.
"""

from __future__ import annotations

import argparse
from typing import Any

from common.guarantee_measures import MEASURES
from common.records import chosen, put_json, run, say, tables_console, versions

TABLES = "32_shuttle,23_mammography,31_satimage-2"
#: Options that count independent runs; one alone has no standard error.
COUNTS = (
    "splits",
    "batches",
    "refit",
    "cross",
    "simulated_batches",
    "runs",
    "sets_splits",
    "sets_refit",
    "series_runs",
    "series_shifted",
    "accept_runs",
    "group_runs",
    "group_series",
)


def main() -> None:
    options = arguments()
    measures = [MEASURES[name] for name in chosen(options.only, MEASURES)]
    console = tables_console(options.json)
    found: dict[str, Any] = {"benchmark": "guarantees", "versions": versions()}
    for measure in measures:
        found[measure.name] = measure.measure(options)
        if found[measure.name]:
            measure.show(console, found[measure.name])
        put_json(None if options.json == "-" else options.json, found)
    if options.json == "-":
        put_json(options.json, found)
    facts = [one for measure in measures for one in found[measure.name]]
    checks = [part["holds"] for one in facts for part in (one, *one.values()) if is_check(part)]
    say(f"{checks.count(False)} of {len(checks)} checks do not hold")


def is_check(part: Any) -> bool:
    """Return whether facts, or a part of them, say whether a promise was found to hold."""
    return isinstance(part, dict) and "holds" in part


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", help="where the .npz tables lie")
    parser.add_argument("--only", metavar="NAME,NAME", help="only these measures")
    parser.add_argument("--tables", metavar="NAME,NAME", default=TABLES, help=f"default {TABLES}")
    parser.add_argument("--rows", type=int, default=4000, help="most in a split (default 4000)")
    parser.add_argument("--seed", type=int, default=0)
    for measure in MEASURES.values():
        measure.add_options(parser)
    parser.add_argument("--json", metavar="PATH", help="all facts as JSON; - is standard output")
    options = parser.parse_args()
    for name in COUNTS:
        if getattr(options, name) == 1:
            parser.error(
                f"got --{name.replace('_', '-')} 1, expected 0, or 2 or more, for a standard error"
            )
    return options


if __name__ == "__main__":
    run(main)
