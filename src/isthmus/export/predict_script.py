"""Decide with model.onnx by numpy and onnxruntime: python predict.py ROWS.npy|.csv OUT.csv|.npz."""

import hashlib
import json
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # from 1.29 on it reports its use otherwise
import onnxruntime

graph = Path(__file__).with_name("model.onnx").read_bytes()
if hashlib.sha256(graph[:-64]).hexdigest().encode() != graph[-64:]:  # the digest ends the file
    raise ValueError("model.onnx is damaged or was changed; copy it or export the bundle again")
model = onnxruntime.InferenceSession(graph)
facts = json.loads(model.get_modelmeta().custom_metadata_map["isthmus"])
if hashlib.sha256(Path(__file__).read_bytes()).hexdigest() != facts["file_digests"]["predict.py"]:
    print(f"{__file__} is not as it was exported: damaged, or edited", file=sys.stderr)
names = [one["name"] for one in facts["outputs"]]
CELLS = facts.get("cells", {})
NONE = ("None", "nan", "NaT", "<NA>")  # what is missing, as str() has it


def predict(rows: Any, batch: int = 512, groups: Any = None) -> dict[str, np.ndarray]:
    """Return arrays by name of the output, for an array or a mapping of columns (a DataFrame)."""
    # `groups` is for models that decide by group: those of the rows, by default in their columns.
    feed = {one["name"]: _feed(one, rows) for one in facts["inputs"] if one["type"] != "group"}
    feed |= {one["name"]: _groups(rows, groups) for one in facts["inputs"][len(feed) :]}
    n, *others = map(len, feed.values())
    if any(other != n for other in others):
        raise ValueError(f"got {n} rows and {others[-1]} groups or values; pass one for each row")
    batches = [{k: v[at : at + batch] for k, v in feed.items()} for at in range(0, n, batch)]
    found = map(np.concatenate, zip(*(model.run(names, one) for one in batches), strict=True))
    return {k: v.astype(str) if v.dtype == object else v for k, v in zip(names, found, strict=True)}


def _groups(rows: Any, groups: Any) -> np.ndarray:
    if groups is None:
        columns = facts["group_columns"]
        if not columns or not hasattr(rows, "keys") or not set(columns).issubset(rows.keys()):
            raise ValueError(f"got no groups {columns}; pass them (--groups FILE, one on a line)")
        groups = list(zip(*(list(rows[name]) for name in columns), strict=True))
    found = [_group(one if isinstance(one, tuple) else (one,)) for one in groups]
    by_group = [one["groups"]["groups"] for one in facts["heads"].values() if "groups" in one]
    known = {one["name"] for part in by_group for one in part}
    found = _as_at_fit(found, known)
    if unseen := sorted(set(found).difference(known)):
        rows = f"{sum(map(found.count, unseen))} of {len(found)} rows are of groups that were not"
        rule = "and decided by the threshold of all groups, which promises no rate for them"
        print(f"{rows} there at fit, or of none ({unseen[:5]}), {rule}", file=sys.stderr)
    return np.array(found, object)


def _group(parts: tuple[Any, ...]) -> str:
    """Return a group as text, 7.0 like 7; empty where a part is missing."""
    whole = [int(one) if isinstance(one, float) and one.is_integer() else one for one in parts]
    gone = any(not c.strip() if isinstance(c, str) else str(c) in NONE for c in whole)
    double = ",," if len(whole) > 1 else ","  # ("a, b", "c") and ("a", "b, c") are two groups
    return "" if gone else ", ".join(str(one).replace(",", double) for one in whole)


def _as_at_fit(groups: list[str], known: set[str]) -> list[str]:
    """Return groups as those at fit are written: 007 and 7.0 as 7, where exactly one is so."""
    alike = {g: [k for k in known if _short(k) == _short(g)] for g in set(groups) - known}
    return [alike[g][0] if len(alike.get(g, [])) == 1 else g for g in groups]


def _short(group: str) -> str:
    number = r"(?:^|(?<=, ))(-?)0*([0-9]+)(?:\.([0-9]*?)0*)?(?=, |$)"
    return re.sub(number, lambda m: m[1] + m[2] + "." * bool(m[3]) + (m[3] or ""), group)


def _feed(one: dict[str, Any], rows: Any) -> np.ndarray:
    if one["column"] is not None:
        gone = set(CELLS["missing"]).difference(CELLS["categories"].get(one["column"], ()))
        cells = list(rows[one["column"]])
        cells = [None if str(c) in (gone if isinstance(c, str) else NONE) else c for c in cells]
        if one["type"] == "category":
            return np.array([_text(c, one["column"], one["missing"]) for c in cells], object)
        values = np.array([_number(cell, one["type"]) for cell in cells], dtype=np.float64)
        for row in np.flatnonzero(np.isinf(values)):
            where = f"row {row}, counting from 0, of column {one['column']!r}"
            raise ValueError(f"got {cells[row]!r} in {where}, expected a {one['type']}; correct it")
        return values
    array, dtype = np.asarray(rows), one["dtype"]
    wrong = array.shape[1:] != tuple(one["shape"]) or (dtype == "uint8") != (array.dtype == "uint8")
    if wrong or np.isinf(array).any() or (one["type"] != "table" and np.isnan(array).any()):
        raise ValueError(f"got {array.dtype} {array.shape}, expected {dtype} (n, *{one['shape']})")
    if one["type"] == "images" and array.size:
        _check_scale(float(array.min()), float(array.max()), 255 if dtype == "uint8" else 1)
    return array.astype(dtype)


def _check_scale(low: float, high: float, white: int) -> None:
    """Check pixels against the scale at fit, as isthmus does."""
    least, most = facts["schema"]["minimum"], facts["schema"]["maximum"]
    what, fit = f"pixels of {low:.4g} to {high:.4g}", f"{least:.4g} to {most:.4g}"
    if low < 0 or high > white or 0 < most <= white / 255 < high / 1.001:
        raise ValueError(f"got {what}, expected the scale at fit, {fit} of 0 to {white}; use that")
    if low < high <= low + (most - least) / 16:
        print(f"{what}, at fit {fit}: dark, or on another scale (multiply them)", file=sys.stderr)


def _number(value: Any, form: str) -> float:
    """Return a cell as a number, a date or time of day in seconds; infinity where it is none."""
    text = str(value).strip(" \t")
    if not re.fullmatch(CELLS[form], text):
        return np.nan if value is None else np.inf
    with suppress(ValueError):  # such as February 30
        if form != "date" and ":" not in text:
            number = text.replace("\u2212", "-", 1) if isinstance(value, str) else value
            return float({"true": 1, "false": 0}.get(text.lower(), number))
        day = "" if form == "date" else "1970-01-01 " + "0" * (text[1] == ":")
        return (np.datetime64(day + text) - np.datetime64(0, "s")) / np.timedelta64(1, "s")
    return np.inf


def _text(value: Any, name: str, missing: str) -> str:
    """Return a cell as the category that is written so, else the one that means the same."""
    if value is None or value in CELLS["categories"][name]:
        return missing if value is None else value
    text = str(value).strip(" \t")
    form = "boolean" if text.isalpha() else "date" if text[4:5] == "-" == text[7:8] else "number"
    number = int(text) if text.encode().isdigit() else _number(text, form)
    same = [c for c, *of in CELLS["alike"][name] if of == [isinstance(value, str), form, number]]
    if len(same) > 1:
        raise ValueError(f"got {value!r}, which stands for {same}; pass the column as text")
    return same[0] if same else str(value)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    if "points" in facts and not any(word.endswith(".npy") for word in sys.argv):
        sys.exit(__import__("predict_points").main(predict, facts, _number, _as_at_fit))
    __import__("predict_files").main(predict, facts)
