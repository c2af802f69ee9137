"""Chapter "the data": sizes, labels, columns, samples and warnings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from isthmus.data import CLASSES, Column, Dataset, Place, label_text
from isthmus.report.wording import label_or_none

BINS = 20
#: A class with a smaller share than this is rare.
RARE = 0.01
#: Categories of a column that are listed, the most frequent first.
MAX_CATEGORIES = 20
#: Columns that are described; the page states how many more there are.
MAX_COLUMNS = 500
#: Instances shown for each label, and number of labels shown. Without labels twice as many
#: instances are shown.
N_SAMPLES, MAX_SAMPLED_LABELS = 8, 12


def data_facts(
    train: Dataset | None, test: Dataset, hashes: dict[str, np.ndarray], seed: int = 0
) -> dict[str, Any]:
    """Describe the two parts of a data set, the training part of which may be absent.

    Parameters
    ----------
    train : Dataset or None
    test : Dataset
    hashes : dict of str to uint64 array
        Of the instances of `"train"`, where there are any, and `"test"`.
    seed : int
        Of the samples.

    Returns
    -------
    dict
        `parts`, from `"train"` and `"test"` to `n`, `n_labelled` and `labels` (label and
        count, the commonest first); `names`, what labels are called where they are numbers that
        stand for names; `columns` of a table, see `column_facts`; `samples` of images
        and series: some rows of the test part, by their number (see `Dataset.row_numbers`), for
        each of the commonest labels, or None for data without labels, of `n_sampled_labels`;
        `warnings`, whole sentences.
    """
    given = {"train": train, "test": test}
    parts = {name: part for name, part in given.items() if part is not None}
    facts: dict[str, Any] = {
        "parts": {
            name: {"n": len(part), "name": part.name} | _labels(part)
            for name, part in parts.items()
        },
        "names": _names(test),
        "columns": [],
        "n_columns": 0,
        "warnings": [],
    }
    first = next(iter(parts.values()))
    if first.kind == "table":
        facts["n_columns"] = first.schema.n_features
        facts["columns"] = column_facts(first.X, first.schema.column_types)
    facts |= {"samples": [], "n_sampled_labels": 0}
    if first.kind != "table":
        facts |= _samples(test, seed)
    facts["warnings"] = [
        *_duplicates(hashes),
        *_constant(facts["columns"]),
        *_rare(facts["parts"]),
    ]
    return facts


def column_facts(X: Any, columns: Sequence[Column] | None = None) -> list[dict[str, Any]]:
    """Describe each column of a table, 500 at most.

    Parameters
    ----------
    X : DataFrame or array of shape (n, m)
    columns : sequence of Column, of length m, optional
        What each was at fit: dates that a file holds as text are dates.

    Returns
    -------
    list of dict
        `name`; `type`, `"number"` or `"text"`; `holds`, `"number"`, `"date"`, `"yes or no"` or
        `"category"`; `missing`, a share; of numbers `minimum`, `median`, `maximum` and the `counts`
        of twenty equal bins between the first and the last; of others `categories`, value and
        count, the commonest first, of `n_categories`; of dates `dates`, which has what numbers
        have, as text.

    Examples
    --------
    >>> found = column_facts(pd.DataFrame({"width": [1.0, 2.0, None], "kind": ["a", "b", "a"]}))
    >>> [(column["name"], column["holds"]) for column in found]
    [('width', 'number'), ('kind', 'category')]
    >>> found[0]["missing"], found[0]["maximum"], found[1]["categories"]
    (0.3333333333333333, 2.0, [['a', 2], ['b', 1]])
    """
    frame = X if isinstance(X, pd.DataFrame) else pd.DataFrame(X)
    found = []
    for at, name in enumerate(frame.columns[:MAX_COLUMNS]):
        values = frame[name]
        at_fit = None if columns is None else columns[at]
        if at_fit is not None and at_fit.type == "date":
            seconds = at_fit.read(values, Place(str(name)))
            there = np.isfinite(seconds)
            values = at_fit.restore_dates(np.where(there, seconds, 0.0)).where(there)
        facts: dict[str, Any] = {"name": str(name), "missing": float(values.isna().mean())}
        if pd.api.types.is_bool_dtype(values) or (at_fit and at_fit.type == "boolean"):
            facts |= _categories(values) | {"holds": "yes or no"}
        elif pd.api.types.is_datetime64_any_dtype(values):
            facts |= _categories(values) | {"holds": "date", "dates": _dates(values)}
        elif pd.api.types.is_numeric_dtype(values):
            facts |= _numbers(values) | {"holds": "number"}
        else:
            facts |= _categories(values) | {"holds": "category"}
        found.append(facts)
    return found


def _dates(values: pd.Series) -> dict[str, Any]:
    """Describe dates as numbers are described, and write them as dates."""
    ordered = values.dropna().sort_values(ignore_index=True)
    facts: dict[str, Any] = {"minimum": None, "median": None, "maximum": None, "counts": []}
    if len(ordered):
        places = {"minimum": 0, "median": (len(ordered) - 1) // 2, "maximum": -1}
        facts |= {name: str(ordered.iloc[at].round("s")) for name, at in places.items()}
        facts["counts"] = _numbers((ordered - ordered.iloc[0]).dt.total_seconds())["counts"]
    return facts


def _numbers(values: pd.Series) -> dict[str, Any]:
    there = values.dropna().to_numpy(dtype=np.float64)
    if not len(there):
        return {"type": "number", "minimum": None, "median": None, "maximum": None, "counts": []}
    low, high = float(there.min()), float(there.max())
    counts = np.histogram(there, BINS, (low, high) if high > low else (low - 0.5, low + 0.5))[0]
    return {
        "type": "number",
        "minimum": low,
        "median": float(np.median(there)),
        "maximum": high,
        "counts": counts.tolist(),
    }


def _commonest_first(values: pd.Series) -> pd.Series:
    """Count values; of equally frequent ones the first comes first, in every release of pandas."""
    return values.value_counts(sort=False).sort_values(ascending=False, kind="stable")


def _categories(values: pd.Series) -> dict[str, Any]:
    counts = _commonest_first(values.dropna().astype(str))
    commonest = counts.head(MAX_CATEGORIES)
    listed = [[str(value), int(count)] for value, count in commonest.items()]
    return {"type": "text", "categories": listed, "n_categories": len(counts)}


def _labels(part: Dataset) -> dict[str, Any]:
    if part.y is None:
        return {"n_labelled": 0, "labels": []}
    known = part.y[CLASSES.has_label(part.y)]
    counts = _commonest_first(pd.Series(known))
    return {
        "n_labelled": len(known),
        "labels": [[label_or_none(label), int(count)] for label, count in counts.items()],
    }


def _names(part: Dataset) -> dict[str, str]:
    """Return the names of labels that have another name, such as 0 for "cat"."""
    if part.y is None or part.class_names is None:
        return {}
    labels = [label_text(label) for label in np.unique(part.y[CLASSES.has_label(part.y)])]
    if len(labels) != len(part.class_names):  # a class is absent, and it is unknown which
        return {}
    pairs = zip(labels, map(str, part.class_names), strict=True)
    return {label: name for label, name in pairs if label != name and not _same_number(label, name)}


def _same_number(one: str, other: str) -> bool:
    """Return whether two texts are one number, as "1" and "1.0" are."""
    try:
        return float(one) == float(other)
    except ValueError:
        return False


def _samples(part: Dataset, seed: int) -> dict[str, Any]:
    """Draw some rows of each of the commonest labels, or of all rows where there are none."""
    rng, numbers = np.random.default_rng([seed, 3]), part.row_numbers()
    rows: dict[str | None, np.ndarray] = {}
    if part.y is not None and CLASSES.has_label(part.y).any():
        texts = pd.Series([label_or_none(label) for label in part.y])
        labels = _commonest_first(texts).index.tolist()
        shown = sorted(labels[:MAX_SAMPLED_LABELS])
        rows = {label: np.flatnonzero(texts == label) for label in shown}
    else:
        labels, rows = [], {None: np.arange(len(part))}
    return {
        "n_sampled_labels": len(labels),
        "samples": [
            {"label": label, "rows": numbers[np.sort(rng.permutation(candidates)[:most])].tolist()}
            for label, candidates in rows.items()
            for most in [N_SAMPLES if label is not None else 2 * N_SAMPLES]
        ],
    }


def _duplicates(hashes: dict[str, np.ndarray]) -> list[str]:
    if "train" not in hashes:
        return []
    new = hashes["test"]
    n = int(np.isin(new, hashes["train"]).sum())
    if not n:
        return []
    return [
        f"{n:,} of {len(new):,} test instances equal a training instance: figures on them "
        "do not hold for new instances"
    ]


def _constant(columns: list[dict[str, Any]]) -> list[str]:
    constant = [
        column["name"]
        for column in columns
        if (column["type"] == "number" and column["minimum"] == column["maximum"])
        or (column["type"] == "text" and column["n_categories"] < 2)
    ]
    if not constant:
        return []
    more = f" and {len(constant) - 5} more" if len(constant) > 5 else ""
    names = ", ".join(constant[:5])
    return [f"{_columns(len(constant))} the same value in all rows: {names}{more}"]


def _columns(n: int) -> str:
    return "one column has" if n == 1 else f"{n} columns have"


def _rare(parts: dict[str, Any]) -> list[str]:
    found = []
    for name, part in parts.items():
        rare = [
            f"{label} ({count:,})"
            for label, count in part["labels"]
            if count < RARE * part["n_labelled"]
        ]
        if rare:
            labels = ", ".join(rare[:5]) + (f" and {len(rare) - 5} more" if len(rare) > 5 else "")
            found.append(
                f"rare in the {name} part, below {RARE:.0%} of its labels: {labels}; accuracy "
                "hardly changes when all of them are misclassified"
            )
    return found
