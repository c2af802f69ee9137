"""Answers of the service: outputs of a graph as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from isthmus.data import (
    DECISIONS,
    VERDICT_NAMES,
    Schema,
    missing_first,
    named_sets,
    prediction_sets,
)
from isthmus.data.formats import resize_pixels
from isthmus.data.preprocessing import restore_instances
from isthmus.export import plain_instances


def decision_outputs(outputs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the outputs that are decisions, from a graph's metadata."""
    return [one for one in outputs if one["what"] in DECISIONS]


def predictions(
    outputs: Sequence[Mapping[str, Any]],
    heads: Mapping[str, Mapping[str, Any]],
    values: Mapping[str, np.ndarray],
) -> list[dict[str, Any]]:
    """Return one object of decisions for each instance.

    Parameters
    ----------
    outputs : sequence of mapping
        As `decision_outputs` returns them.
    heads : mapping
        By name, from the graph's metadata.
    values : mapping of str to array of shape (n, ...)

    Returns
    -------
    list of dict
        By name of the output; probabilities and p-values by class, the verdict as text.
    """
    columns = {}
    for one in outputs:
        name, column = one["name"], values[one["name"]].tolist()
        if one["what"] in ("probabilities", "class_p_values"):
            classes = [str(label) for label in heads[one["head"]]["classes"]]
            column = [dict(zip(classes, row, strict=True)) for row in column]
        elif one["what"] == "verdict":
            column = [VERDICT_NAMES[sign] for sign in column]
        columns[name] = column
    names = list(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def set_outputs(outputs: Sequence[Mapping[str, Any]], by_class: bool) -> list[Mapping[str, Any]]:
    """Return the outputs that prediction sets are made of, from a graph's metadata."""
    what = "class_p_values_by_class" if by_class else "class_p_values"
    return [one for one in outputs if one["what"] == what]


def add_sets(
    found: list[dict[str, Any]],
    outputs: Sequence[Mapping[str, Any]],
    heads: Mapping[str, Mapping[str, Any]],
    values: Mapping[str, np.ndarray],
    alpha: float,
) -> None:
    """Add to each object of decisions the key `set`, a list of classes.

    Where several heads have sets, the key has the head's name before it.

    Parameters
    ----------
    found : list of dict
        As `predictions` returns it.
    outputs : sequence of mapping
        As `set_outputs` returns them.
    heads, values : mapping
        As for `predictions`.
    alpha : float in (0, 1)
    """
    for one in outputs:
        key = "set" if one["name"] == one["what"] else f"{one['head']}.set"
        sets = prediction_sets(values[one["name"]], alpha)
        named = named_sets(sets, heads[one["head"]]["classes"])
        for decision, classes in zip(found, named, strict=True):
            decision[key] = classes


def explanations(
    schema: Schema, residual: np.ndarray, top: int, missing: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """Return the values with the largest residuals, and their shares of the total.

    Parameters
    ----------
    schema : Schema
    residual : array of shape (n, *schema.shape)
        Squared.
    top : int
        Number of values to return.
    missing : boolean array of shape (n, m), optional
        Values that raise an anomaly score by being missing, see
        `Exported.missing_where_complete`.

    Returns
    -------
    list of dict
        `top`: a list of `feature` (a column's name, or a position in the instance), `residual` and
        `share`, the largest first, and `missing`, true, for a value that is missing where none was
        at fit; `rest`, the share of all others.
    """
    flat = residual.reshape(len(residual), -1).astype(np.float64)
    ranked = missing_first(flat, missing)
    top = min(top, flat.shape[1])
    totals = ranked.sum(axis=1, keepdims=True)
    shares = np.divide(ranked, totals, out=np.zeros_like(flat), where=totals > 0)
    order = np.argsort(-ranked, axis=1, kind="stable")[:, :top]
    found = []
    for row, places in enumerate(order):
        largest = [
            {
                "feature": _feature_name(schema, int(at)),
                "residual": float(flat[row, at]),
                "share": float(shares[row, at]),
            }
            | ({} if missing is None or not missing[row, at] else {"missing": True})
            for at in places
        ]
        rest = max(0.0, float(shares[row].sum() - shares[row, places].sum()))
        found.append({"top": largest, "rest": rest})
    return found


def add_reconstructions(
    found: list[dict[str, Any]],
    schema: Schema,
    residual: np.ndarray,
    rebuilt: Any,
    size: tuple[int, int] | None = None,
) -> list[dict[str, Any]]:
    """Return explanations with every value's residual and the reconstruction added.

    Parameters
    ----------
    found : list of n dict
        As `explanations` returns them.
    schema : Schema
    residual : array of shape (n, *schema.shape)
    rebuilt : array or DataFrame of n instances
        In the units of the raw values, as `Exported.rebuilt` returns them.
    size : (height, width), optional
        To reduce both to, for images.
    """
    restored = restore_instances(schema, rebuilt)
    if size is not None:
        restored, residual = (
            np.stack([resize_pixels(one, size) for one in images])
            for images in (restored, residual)
        )
    instances = plain_instances(schema, restored)
    return [
        one | {"reconstruction": instance, "residual": values}
        for one, instance, values in zip(found, instances, residual.tolist(), strict=True)
    ]


def _feature_name(schema: Schema, at: int) -> str | list[int]:
    if schema.kind == "table" and schema.columns is not None:
        return schema.columns[at]
    return [int(i) for i in np.unravel_index(at, schema.shape)]


def thumbnail_size(schema: Schema, max_side: int | None) -> tuple[int, int] | None:
    """Return height and width of images whose longer side is at most `max_side`.

    None where instances are left as they are: smaller images, and all other instances.

    Examples
    --------
    >>> thumbnail_size(Schema.learn(np.zeros((1, 512, 256, 3))), 128)
    (128, 64)
    """
    if schema.kind != "images" or max_side is None or max(schema.shape[:2]) <= max_side:
        return None
    height, width = schema.shape[:2]
    scale = max_side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def n_pixels(schema: Schema, size: tuple[int, int] | None) -> int:
    """Return the number of values in one instance, or in its thumbnail."""
    if size is None:
        return schema.n_features
    return int(np.prod([*size, *schema.shape[2:]]))


def describe_thumbnails(schema: Schema, size: tuple[int, int] | None) -> dict[str, Any]:
    """Return the key `thumbnails` of an answer: sizes before and after, where there are some."""
    if size is None:
        return {}
    return {"thumbnails": {"from": list(schema.shape[:2]), "to": list(size)}}
