"""Decide with model.onnx. Needs numpy and onnxruntime: python predict.py ROWS.npy|.csv OUT.npz."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

model = onnxruntime.InferenceSession(Path(__file__).with_name("model.onnx").read_bytes())
facts = json.loads(model.get_modelmeta().custom_metadata_map["isthmus"])
names = [one["name"] for one in facts["outputs"]]
MISSING = ("", "None", "nan", "NaT", "<NA>")
NO_VALUE = "||NA|N/A|n/a|NaN|-NaN|nan|-nan|NULL|null|#N/A|#N/A N/A|#NA|-1.#IND|1.#IND|"
NO_VALUE += "-1.#QNAN|1.#QNAN|"  # cells of a CSV file


def predict(rows: Any, batch: int = 512) -> dict[str, np.ndarray]:
    """Return arrays by name of the output, for an array or a mapping of columns (a DataFrame)."""
    feed = {one["name"]: _feed(one, rows) for one in facts["inputs"]}
    starts = range(0, len(next(iter(feed.values()))), batch)
    batches = [{k: v[at : at + batch] for k, v in feed.items()} for at in starts]
    outputs = zip(*(model.run(names, one) for one in batches), strict=True)
    found = {name: np.concatenate(v) for name, v in zip(names, outputs, strict=True)}
    return {name: v.astype(str) if v.dtype == object else v for name, v in found.items()}


def _feed(one: dict[str, Any], rows: Any) -> np.ndarray:
    if one["type"] == "category":
        types = dict(zip(facts["schema"]["columns"], facts["schema"]["column_types"], strict=True))
        known = types[one["column"]]["categories"]
        return np.array([_text(v, one["missing"], known) for v in rows[one["column"]]], object)
    if one["column"] is not None:
        values = [None if str(v) in MISSING else v for v in rows[one["column"]]]
        if one["type"] == "date":  # datetimes or ISO 8601 text, in UTC
            dates = np.array(values, dtype="datetime64[us]")
            return (dates - np.datetime64(0, "s")) / np.timedelta64(1, "s")
        for at, value in enumerate(values):
            if 2 <= len(parts := str(value).split(":")) <= 3:  # a time of day, in seconds
                values[at] = sum(float(part) * 60 ** (2 - n) for n, part in enumerate(parts))
        truth = {"true": 1, "false": 0} if one["type"] == "boolean" else {}
        return np.array([truth.get(str(v).lower(), v) for v in values], dtype=np.float64)
    array, dtype = np.asarray(rows), one["dtype"]
    wrong = array.shape[1:] != tuple(one["shape"]) or (dtype == "uint8") != (array.dtype == "uint8")
    if wrong or np.isinf(array).any() or (one["type"] != "table" and np.isnan(array).any()):
        raise ValueError(f"got {array.dtype} {array.shape}, expected {dtype} (n, *{one['shape']})")
    return array.astype(dtype)


def _text(value: Any, missing: str, categories: list[Any]) -> str:
    if isinstance(value, str) or str(value) in MISSING:
        return value if isinstance(value, str) else missing
    # Whoever read the file may have made a number, or True, of what was written as text.
    same = [category for category in categories if _meaning(category) == _meaning(value)]
    if len(same) > 1:
        raise ValueError(f"got {value!r}, which stands for {same}; pass the column as text")
    text = same[0] if same else value
    text = int(text) if isinstance(text, float) and text.is_integer() else text
    return str(text).lower() if isinstance(text, bool | np.bool_) else str(text)


def _meaning(value: Any) -> str | float:
    try:
        return float(str(value))
    except ValueError:
        return str(value).lower() if str(value).lower() in ("true", "false") else str(value)


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    if source.suffix == ".csv":
        head, *lines = csv.reader(source.read_text(encoding="utf-8-sig").splitlines())
        cells = [[None if f"|{c}|" in NO_VALUE else c for c in line] for line in lines]
        given = dict(zip(head, zip(*cells, strict=True), strict=True))
    else:
        given = np.load(source) if source.suffix == ".npy" else sys.exit("expected .npy or .csv")
    np.savez(target, **predict(given))  # type: ignore[arg-type]
