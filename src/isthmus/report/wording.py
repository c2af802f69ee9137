"""Wording: labels and values as text, and a summary of the run in one paragraph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from isthmus.bundle import architecture_name
from isthmus.data import is_missing, label_text

#: Characters of a value that stays on one line: a date with its time has 19.
MAX_UNBROKEN = 26


def draw_rows(n: int, most: int, seed: int) -> np.ndarray:
    """Return all row numbers, or `most` of them drawn at random, sorted.

    Examples
    --------
    >>> draw_rows(3, 5, 0).tolist(), len(draw_rows(100, 5, 0))
    ([0, 1, 2], 5)
    """
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng([seed, 5]).choice(n, most, replace=False))


def short_text(value: Any) -> str:
    """Return a value of a table as text.

    Examples
    --------
    >>> short_text(11234.5678), short_text(float("nan")), short_text("copper")
    ('11234.6', 'missing', 'copper')
    """
    if isinstance(value, float | np.floating):
        return "missing" if np.isnan(value) else f"{value:.6g}"
    if isinstance(value, pd.Timestamp):
        return str(value.round("s"))
    return "missing" if value is None or value is pd.NaT else str(value)


def unbroken_parts(value: str) -> Markup:
    """Return a value, or one and what it became, as HTML in which neither breaks if it is short.

    Examples
    --------
    >>> unbroken_parts("2025-01-31 → 2025-02-01")
    Markup('<span class="word">2025-01-31</span> → <span class="word">2025-02-01</span>')
    """
    one = Markup('<span class="word">{}</span>')
    parts = (one.format(part) if len(part) <= MAX_UNBROKEN else part for part in value.split(" → "))
    return Markup(" → ").join(parts)


def breakable(name: str) -> Markup:
    """Return a name as HTML: a short one does not break, a long one after its underscores.

    Examples
    --------
    >>> breakable("merchant_category")
    Markup('<span class="word">merchant_category</span>')
    >>> breakable("number_of_transactions_in_24_hours")
    Markup('number_<wbr>of_<wbr>transactions_<wbr>in_<wbr>24_<wbr>hours')
    """
    if len(name) <= MAX_UNBROKEN:
        return Markup('<span class="word">{}</span>').format(name)
    return Markup("_<wbr>").join(name.split("_"))


def label_or_none(label: Any) -> str | None:
    """Return a label as text, None where there is none.

    Examples
    --------
    >>> [label_or_none(label) for label in (np.int64(3), 3.0, None, float("nan"), " ")]
    ['3', '3', None, None, None]
    """
    return None if is_missing(label) else label_text(label)


#: How instances are numbered, by their kind.
ROW_WORDS = {
    "table": "Rows are numbered as in predictions: from 0, the header not counted",
    "images": "Images that have no file are numbered as rows of predictions: from 0",
    "series": "Windows are numbered from 0",
}


def describe_row_numbers(kind: str, in_chunks: bool = False) -> str:
    """Return how the instances of a report are numbered, in a sentence.

    Examples
    --------
    >>> describe_row_numbers("series")
    'Windows are numbered from 0, as they lie in the data.'
    """
    files = ", through all files in order" if in_chunks else ""
    return f"{ROW_WORDS[kind]}, as they lie in the data{files}."


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share as a percentage, a dash where there is none.

    Examples
    --------
    >>> percent(0.125), percent(0.05, 0), percent(None)
    ('12.5 %', '5 %', '–')
    """
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def times(ratio: float) -> str:
    """Return a ratio with three digits or more.

    Examples
    --------
    >>> times(1.0412), times(31.53), times(1141.4)
    ('1.04', '31.5', '1,141')
    """
    return f"{ratio:,.{2 if ratio < 10 else 1 if ratio < 100 else 0}f}"


UNITS = {"images": "pixels", "series": "values", "table": "columns"}
INSTANCES = {"images": "image", "series": "window", "table": "row"}
#: Ratio of values to numbers of a code from which the code counts as shorter.
SHORTER = 1.5
LOSSES = {"bce": "binary cross-entropy per value, nats", "mse": "squared error"}


def about_facts(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of the run in a bundle's manifest, as plain values."""
    encoder = manifest["encoder"]
    schema, parameters = encoder["schema"], encoder["parameters"]
    return {
        "created": manifest["created"],
        "version": manifest["isthmus_version"],
        "libraries": manifest["libraries"],
        "digest": encoder["digest"],
        "kind": schema["kind"],
        "shape": list(schema["shape"]),
        "recipe": parameters.get("recipe", "default") if encoder["loss"] else "none",
        "architecture": architecture_name(encoder),
        "n_components": encoder["architecture"]["n_components"],
        "loss": encoder["loss"],
        "heads": [
            {"name": name, "kind": head["kind"], "head": head.get("head", head.get("method"))}
            for name, head in manifest["heads"].items()
        ],
    }


def describe_code(kind: str, n_values: int, n_components: int) -> str:
    """Return how wide a code is, in a sentence.

    Examples
    --------
    >>> describe_code("images", 784, 128)
    'Each image of 784 pixels becomes a code of 128 numbers, 6.1 times fewer.'
    >>> describe_code("table", 8, 8)
    'Each row of 8 columns becomes a code of 8 numbers.'
    """
    ratio = n_values / n_components
    fewer = f", {ratio:.2g} times fewer" if ratio >= SHORTER else ""
    columns = UNITS[kind][:-1] if n_values == 1 else UNITS[kind]
    numbers = "number" if n_components == 1 else "numbers"
    return (
        f"Each {INSTANCES[kind]} of {n_values:,} {columns} becomes a code of {n_components:,} "
        f"{numbers}{fewer}."
    )


def describe_run_in_words(facts: dict[str, Any]) -> str:
    """Summarise a run and its results in one paragraph, from a report's facts."""
    about, code = facts["about"], facts["code"]
    parts = (facts["data"] or {}).get("parts", {})
    titles = {"train": "training", "test": "test"}
    sizes = [f"{part['n']:,} {titles[name]}" for name, part in parts.items()]
    covered = f" This report covers {' and '.join(sizes)} instances." if sizes else ""
    drawn = (facts["data"] or {}).get("drawn")
    if drawn is not None:
        covered = f"{covered[:-1]}, drawn at random from {drawn['of']:,}"
        covered += f"; heads are tested on all {drawn['of']:,}." if drawn["heads_on_all"] else "."
    code_words = describe_code(about["kind"], code["n_values"], code["n_components"])
    elsewhere = code["loss"] is None
    how = "An autoencoder was trained without labels."
    if elsewhere:
        how = f"The encoder was trained elsewhere ({about['architecture']})."
    frozen = "frozen: no head that uses these codes has changed it."
    frozen = f"{'It is' if elsewhere else 'Its encoder was then'} {frozen}"
    text = f"{how} {code_words} {frozen}{covered}"
    if elsewhere and about["architecture"] == "precomputed":
        n = f"{code['n_components']:,}"
        text = f"The {n} columns are codes that were computed elsewhere.{covered}"
    if facts["baseline_comparison"]:
        text += " " + facts["baseline_comparison"]["verdict"]
    for found in facts["classes"]:
        text += (
            f" The head {found['name']!r} has an accuracy of {percent(found['accuracy'])} on "
            f"{found['n']:,} test instances."
        )
    for found in facts["verdicts"]:
        text += (
            f" The detector {found['name']!r}, set to a false-alarm rate of "
            f"{percent(found['asked'], 2)}, classified {found['flagged']:,} of {found['n']:,} "
            "instances as abnormal."
        )
    for found in facts["alarms"]:
        text += f" On the series the detector {found['name']!r} gave {found['words']}"
    return text
