"""From single runs to what is said of them: means, ranks, and intervals over tables.

A record is a plain dict of one run: `table`, `seed`, and `methods`, which maps the name of each
method to its figures (`auroc`, `aucpr`, `seconds_fit`, ...), None where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

METRICS = ("auroc", "aucpr")
#: Ends the name of a score that was had from another method's fit, and so takes no rank.
PART = " (part)"
RESAMPLES = 10_000


def ranking(abnormal: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Return AUROC and AUCPR (average precision) of anomaly scores, both in [0, 1].

    Examples
    --------
    >>> ranking(np.array([False, False, True]), np.array([0.1, 0.2, 0.9]))
    {'auroc': 1.0, 'aucpr': 1.0}
    """
    return {
        "auroc": float(roc_auc_score(abnormal, scores)),
        "aucpr": float(average_precision_score(abnormal, scores)),
    }


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """Return each column's mean rank over the rows; 1 is the highest value, ties share.

    Examples
    --------
    >>> mean_ranks(np.array([[0.9, 0.8, 0.8], [0.5, 0.7, 0.6]])).tolist()
    [2.0, 1.75, 2.25]
    """
    return rankdata(-values, axis=1).mean(axis=0)


def paired_interval(differences: Sequence[float], seed: int = 0) -> dict[str, float]:
    """Return the mean of paired differences with its 95 % bootstrap interval.

    The percentile interval (Efron, 1979): tables are drawn with replacement, 10,000 times.

    Examples
    --------
    >>> paired_interval([0.25, 0.25, 0.25])
    {'mean': 0.25, 'low': 0.25, 'high': 0.25}
    """
    values = np.asarray(differences, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}


def summarise(
    records: Sequence[dict[str, Any]], reference: str, metrics: Sequence[str] = METRICS
) -> dict[str, Any]:
    """Put the runs of one protocol together.

    Parameters
    ----------
    records : sequence of dict
        One for each table and seed.
    reference : str
        The method that differences are taken to.
    metrics : sequence of str

    Returns
    -------
    dict
        `tables`, `seeds` and `left_out` (methods that some run lacks); `per_table`, the means
        over seeds by metric, table and method; `methods`, and for each of them, by metric:
        `mean` over tables, `spread` (the standard deviation over seeds of the mean over tables,
        None unless two seeds have all tables), `rank` (None for parts) and `difference` to the
        reference; and `seconds_fit` and `seconds_score`, means over runs.
    """
    tables = list(dict.fromkeys(record["table"] for record in records))
    seeds = sorted({record["seed"] for record in records})
    every = list(dict.fromkeys(name for record in records for name in record["methods"]))
    names = [name for name in every if all(name in record["methods"] for record in records)]
    ranked = [name for name in names if not name.endswith(PART)]
    methods: dict[str, dict[str, Any]] = {name: {} for name in names}
    per_table: dict[str, dict[str, dict[str, float]]] = {}
    for metric in metrics:
        cells = {
            (record["table"], record["seed"], name): record["methods"][name][metric]
            for record in records
            for name in names
        }
        means = {
            table: {
                name: float(np.mean([cells[key] for key in cells if key[::2] == (table, name)]))
                for name in names
            }
            for table in tables
        }
        per_table[metric] = means
        ranks = mean_ranks(np.array([[means[t][name] for name in ranked] for t in tables]))
        for name in names:
            own = [means[table][name] for table in tables]
            other = [means[table][reference] for table in tables]
            methods[name][metric] = {
                "mean": float(np.mean(own)),
                "spread": _spread(cells, name, tables, seeds),
                "rank": float(ranks[ranked.index(name)]) if name in ranked else None,
                "difference": paired_interval(np.subtract(own, other)),
            }
    for name in names:
        for what in ("seconds_fit", "seconds_score"):
            methods[name][what] = _mean([r["methods"][name].get(what) for r in records])
    return {
        "tables": tables,
        "seeds": seeds,
        "reference": reference,
        "left_out": [name for name in every if name not in names],
        "methods": methods,
        "per_table": per_table,
    }


def _spread(
    cells: dict[tuple[str, int, str], float], name: str, tables: list[str], seeds: list[int]
) -> float | None:
    whole = [seed for seed in seeds if all((table, seed, name) in cells for table in tables)]
    if len(whole) < 2:
        return None
    means = [np.mean([cells[table, seed, name] for table in tables]) for seed in whole]
    return float(np.std(means, ddof=1))


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None
