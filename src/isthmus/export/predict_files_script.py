"""Files in and out for predict.py: python predict.py ROWS.npy|.csv OUT.csv|.npz."""

import argparse
import csv
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


def read(source: Path, columns: Sequence[Any]) -> Any:
    """Return the array of a .npy file, or the cells of a .csv file by column, as text.

    A table with column names is read from .csv, of which `columns` must be there.
    """
    suffix, what = (".npy", "of an array") if None in columns else (".csv", "with a header")
    if source.suffix != suffix:
        raise ValueError(f"got {source}, expected a {suffix} file {what}")
    if suffix == ".npy":
        return np.load(source)
    rows = []
    with source.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file)
        for row in filter(None, lines):
            rows.append(row)
            if len(rows) == 1:
                check_commas(row, columns, source)
            if len(row) != len(rows[0]):
                where = f"line {lines.line_num} of {source}"
                raise ValueError(f"{where} has {len(row)} cells, expected {len(rows[0])}")
    head = [name.strip() for name in rows[0]] if rows else []
    lacking = [name for name in columns if name not in head]
    if lacking or len(set(head)) < len(head) or len(rows) < 2:
        found = f"{max(0, len(rows) - 1)} rows of the columns {head[:9]}, without {lacking[:9]}"
        raise ValueError(f"got {source} with {found}; name each once, with commas between them")
    return dict(zip(head, zip(*rows[1:], strict=True), strict=True))


def check_commas(head: Sequence[str], columns: Sequence[Any], source: Path) -> None:
    """Check that the columns of a file are found with commas between them."""
    mark = next((one for one in ";\t|" if one in "".join(head)), None)
    if mark and not set(columns) <= {name.strip() for name in head}:
        raise ValueError(
            f"{source} has {mark!r} between its columns; write it with commas there, points as "
            "decimal marks, dates as 2024-05-17 and missing cells empty, or decide on it with "
            "isthmus predict"
        )


def columns_of(found: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return a column for each number of an output; one with rows and columns has none."""
    columns: dict[str, Any] = {}
    for one in facts["outputs"]:
        name, values = one["name"], found[one["name"]]
        if values.ndim == 1:
            columns[name] = values
        elif values.ndim == 2:
            of_head = facts["heads"].get(one["head"], {})
            of_columns = (facts["schema"]["columns"] or []) if one["what"] != "code" else []
            names = of_head.get("classes", of_columns)
            names = names if len(names) == values.shape[1] else range(values.shape[1])
            columns |= {f"{name}_{k}": c for k, c in zip(names, values.T, strict=True)}
        else:
            print(f"{name!r} is in no column of a .csv file: write .npz", file=sys.stderr)
    return columns


def write(target: Path, found: Arrays, facts: Mapping[str, Any], keys: Mapping[str, Any]) -> None:
    """Write decisions as the name of the file says; it is there whole or not at all."""
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        if target.suffix == ".npz":
            with part.open("wb") as binary:
                np.savez(binary, **{k: np.array(v) for k, v in keys.items()}, **found)  # type: ignore[arg-type]
        else:
            columns = {**keys, **columns_of(found, facts)}
            with part.open("w", encoding="utf-8", newline="") as text:
                lines = csv.writer(text, lineterminator="\n")
                lines.writerow(columns)
                lines.writerows(zip(*columns.values(), strict=True))
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def counts_of(found: Arrays, facts: Mapping[str, Any]) -> str:
    """Return how many rows have each verdict or class, by output."""
    said = []
    for one in facts["outputs"]:
        if one["what"] in ("verdict", "class"):
            words = {"1": "normal", "-1": "abnormal"} if one["what"] == "verdict" else {}
            values, n = np.unique(found[one["name"]].astype(str), return_counts=True)
            parts = (f"{words.get(v, v)}: {k}" for v, k in zip(values, n.tolist(), strict=True))
            said.append(f"{one['name']}: " + ", ".join(parts))
    return "; ".join(said)


def main(predict: Callable[..., Arrays], facts: Mapping[str, Any]) -> None:
    """Read the words of the command line, decide, and write the decisions."""
    parser = argparse.ArgumentParser(description="Decide on each row with the model.")
    parser.add_argument("rows", type=Path, help=".npy file of an array, or .csv with a header")
    parser.add_argument("out", type=Path, help="file to write: .csv, a line for each row, or .npz, "
                        "an array for each output")  # fmt: skip
    parser.add_argument("--groups", type=Path, help="text file, the group of each row on a line")
    parser.add_argument("--key", action="append", default=[], help="column of a .csv file to carry "
                        "along, such as a part number; again for several")  # fmt: skip
    given = parser.parse_args()
    columns = [one["column"] for one in facts["inputs"] if one["type"] != "group"]
    columns += [] if None in columns or given.groups else facts.get("group_columns", [])
    try:
        if given.out.suffix not in (".csv", ".npz"):
            raise ValueError(f"got the output {given.out}, expected a name with .csv or .npz")
        if given.key and None in columns:
            raise ValueError("got --key, which is for .csv files, and the model takes .npy files")
        rows = read(given.rows, [*columns, *given.key])
        lines = given.groups and given.groups.read_text(encoding="utf-8").splitlines()
        found = predict(rows, groups=lines)
        if both := set(given.key).intersection([*found, *columns_of(found, facts)]):
            raise ValueError(f"got --key {min(both)}, the name of an output; rename the column")
        write(given.out, found, facts, {name: rows[name] for name in given.key})
        n = len(next(iter(found.values())))
        print("; ".join(filter(None, (f"{n} rows", counts_of(found, facts), str(given.out)))))
    except UnicodeDecodeError:
        sys.exit(f"{given.rows} is not text in UTF-8; save it as CSV in UTF-8")
    except (OSError, ValueError, csv.Error) as error:
        sys.exit(str(error))
