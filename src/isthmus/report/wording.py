"""Wording: labels and values as text, and a summary of the run in one paragraph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from isthmus.data import is_missing, label_text


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
    >>> short_text(1234.5678), short_text(float("nan")), short_text("copper")
    ('1235', 'missing', 'copper')
    """
    if isinstance(value, float | np.floating):
        return "missing" if np.isnan(value) else f"{value:.4g}"
    return "missing" if value is None or value is pd.NaT else str(value)


def label_or_none(label: Any) -> str | None:
    """Return a label as text, None where there is none.

    Examples
    --------
    >>> [label_or_none(label) for label in (np.int64(3), 3.0, None, float("nan"), " ")]
    ['3', '3', None, None, None]
    """
    return None if is_missing(label) else label_text(label)


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share as a percentage, a dash where there is none.

    Examples
    --------
    >>> percent(0.125), percent(0.05, 0), percent(None)
    ('12.5 %', '5 %', '–')
    """
    return "–" if share is None else f"{100 * share:.{digits}f} %"


UNITS = {"images": "pixels", "series": "values", "table": "columns"}
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
        "recipe": parameters.get("recipe", "default"),
        "architecture": encoder["architecture"]["architecture"],
        "n_components": encoder["architecture"]["n_components"],
        "loss": encoder["loss"],
        "heads": [
            {"name": name, "kind": head["kind"], "head": head.get("head", head.get("method"))}
            for name, head in manifest["heads"].items()
        ],
    }


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
    shape = " x ".join(str(side) for side in about["shape"])
    text = (
        f"An autoencoder was trained, without labels, to encode {_things(about['kind'], shape)} in "
        f"{code['n_components']:,} numbers in place of {code['n_values']:,} "
        f"{UNITS[about['kind']]}. Its encoder was then frozen: no head that uses these codes has "
        f"changed it.{covered}"
    )
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


def _things(kind: str, shape: str) -> str:
    return {
        "images": f"images of {shape} pixels",
        "series": f"windows of {shape} (time steps x channels)",
        "table": f"rows of {shape} columns",
    }[kind]
