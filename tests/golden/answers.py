"""What is asked of the golden samples: of a bundle, of an export, and of the command line."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from isthmus import AnomalyDetector, load, load_bundle
from isthmus.bundle import roll_back
from isthmus.cli import main

HERE = Path(__file__).parent
#: How the rows of each sample are read; its bundle and export lie beside them.
SAMPLES: dict[str, dict[str, Any]] = {
    "digits": {"source": "rows.npz"},
    "table": {"source": "rows.csv", "label": "label"},
    "series": {
        "source": "rows.csv",
        "label": "label",
        "kind": "series",
        "time": "hour",
        "group": "machine",
        "window": 8,
    },
}
LONG = ("--time", "hour", "--group", "machine")
READINGS = ("--kind", "series", *LONG, "--window", "8")

#: Commands that decide or describe: what they print is compared value by value.
READING = {
    "info-digits": "info digits/bundle",
    "info-table": "info table/bundle",
    "info-series": "info series/bundle",
    "history-digits": "history digits/bundle",
    "history-table": "history table/bundle --head normal",
    "predict-digits": "predict digits/bundle digits/rows.npz --head linear -o out.csv",
    "predict-table": "predict table/bundle table/rows.csv --label label --head normal --explain "
    "-o out.csv",
    "predict-series": f"predict series/bundle series/rows.csv --label label {' '.join(LONG)} "
    "--head normal -o out.csv",
    "encode-table": "encode table/bundle table/rows.csv --label label -o out.csv",
    "encode-series": f"encode series/bundle series/rows.csv --label label {' '.join(LONG)} "
    "-o out.csv",
    "encode-files": "encode table/bundle codes/rows --key row --for-heads -o out.parquet",
    "evaluate-digits": "evaluate digits/bundle digits/rows.npz --head mlp",
    "evaluate-table": "evaluate table/bundle table/rows.csv --label label --head normal",
    "evaluate-codes": "evaluate table/bundle codes/codes.parquet --label kind --head stored",
    "suggest-table": "suggest table/bundle table/rows.csv --label label -n 5 --head normal "
    "-o out.csv",
    "monitor": "monitor table/bundle table/rows.csv --label label --head normal",
    "report-digits": "report digits/bundle digits/rows.npz --normal 3 --baselines none",
    "report-series": f"report series/bundle series/rows.csv {' '.join(LONG)} --baselines none",
    "rolled-back": "history digits/bundle --roll-back normal",
}
#: Commands that train or measure, or ask for labels of classes, which decides nothing and was
#: improved since: only the keys of what they print are compared.
TRAINING = {
    "suggest-digits": "suggest digits/bundle digits/rows.npz -n 5 --head spreading -o out.csv",
    "fit": "fit table/train.csv -o new --max-epochs 1 --n-components 2",
    "fit-detector": f"fit series/train.csv {' '.join(READINGS)} -o new --max-epochs 1 "
    "--n-components 2 --detector --false-alarm-rate 0.1",
    "classify": "classify digits/bundle digits/few.npz --head linear",
    "classify-codes": "classify table/bundle codes/codes.parquet --label kind --head spreading",
    "detect": "detect table/bundle table/looked_at.csv --label label --method blend "
    "--false-alarm-rate 0.1",
    "detect-rate": "detect table/bundle --false-alarm-rate 0.2",
    "label": "label table/bundle table/rows.csv --label label",
    "evaluate-controls": "evaluate digits/bundle digits/rows.npz --head linear "
    "--train digits/few.npz --baselines fast",
    "advise": "advise digits/few.npz --widths 2,4 --max-epochs 1 --n-draws 2 --n-labels 30",
    "export": "export table/bundle table/rows.csv --label label -o out",
    "report": "report table/bundle codes/labelled.csv --label kind --normal wide --split 0.3",
    "demo": "demo codes/labelled.csv --label kind --recipe fast -o demo",
}
COMMANDS = READING | TRAINING
#: What stands under these keys is left out: it differs from run to run, repeats the command, or
#: (places on the map of codes, by t-SNE) differs from one processor to the next.
VOLATILE = {"created", "written", "seconds", "rows_per_second", "command", "places"}


def rows_of(name: str) -> Any:
    """Return the rows of a sample as a data set."""
    options = dict(SAMPLES[name])
    return load(HERE / name / options.pop("source"), **options)


def decisions(path: Path, X: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return what a bundle says: plain facts, exact ones, and arrays with an entry a row."""
    bundle = load_bundle(path)
    encoder = bundle.encoder
    facts: dict[str, Any] = {"digest": encoder.digest_, "heads": {}}
    arrays = {
        "codes": encoder.transform(X),
        "reconstruction_error": encoder.reconstruction_error(X),
        "row_hashes": encoder.row_hashes(X),
    }
    for name, head in bundle.heads.items():
        detector = head if isinstance(head, AnomalyDetector) else head.rejecter_
        told = facts["heads"][name] = {"fingerprint": head.data_fingerprint_}
        arrays[f"{name}/predict"] = head.predict(X)
        if detector is not head:
            told["classes"] = head.classes_.tolist()
            if hasattr(head, "predict_proba"):
                arrays[f"{name}/predict_proba"] = head.predict_proba(X)
        if detector is None:
            continue
        told |= {
            "score": detector.method_,
            "calibration": detector.calibration_,
            "n_calibration": detector.n_calibration_,
            "false_alarm_rate": detector.false_alarm_rate_,
            "threshold": -detector.offset_,
        }
        arrays[f"{name}/anomaly_score"] = -detector.score_samples(X)
        arrays[f"{name}/verdict"] = detector.predict(X)
        arrays[f"{name}/p_value"] = detector.p_values(X)
        arrays[f"{name}/conditional_p_value"] = detector.p_values(X, confidence=0.9)
        for column, values in detector.explain(X).frame().items():
            arrays[f"{name}/explain/{column}"] = values.to_numpy()
        told["suggested"] = detector.suggest(X, 5).tolist()
    return facts, arrays


def earlier_decisions(path: Path, X: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield what a bundle says with each of its heads back at the version before."""
    for name, versions in load_bundle(path).manifest["history"].items():
        if len(versions) > 1:
            with TemporaryDirectory() as folder:
                copy = shutil.copytree(path, Path(folder) / "bundle")
                roll_back(copy, name)
                yield name, *decisions(copy, X)


def as_plain(values: Any) -> np.ndarray:
    """Return an array that holds no Python objects: text in their place."""
    values = np.asarray(values)
    return values.astype(np.str_) if values.dtype == object else values


@contextmanager
def in_folder(folder: Path) -> Iterator[None]:
    """Stand in a folder for a while."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def run(folder: Path, *words: Any) -> None:
    """Run the command line in a folder."""
    before, sys.argv = sys.argv, ["isthmus", *map(str, words)]
    try:
        with in_folder(folder):
            main()
    except SystemExit as leaving:
        if leaving.code:
            raise
    finally:
        sys.argv = before


def printed(command: str, folder: Path) -> dict[str, Any]:
    """Return what a command prints as JSON, and the columns of the table that it writes.

    It runs in a fresh copy of the samples in `folder`, so that all paths are relative.
    """
    for name in (*SAMPLES, "codes"):
        shutil.copytree(HERE / name, folder / name)
    run(folder, *command.split(), "--json", "printed.json")
    found = {"json": json.loads((folder / "printed.json").read_text("utf-8"))}
    if (folder / "out.csv").exists():
        found["table"] = load_columns(folder / "out.csv")
    return without_volatile(found)


def load_columns(path: Path) -> dict[str, list[Any]]:
    """Return a CSV table as columns: numbers where all cells are, otherwise text."""
    import pandas as pd

    return pd.read_csv(path).astype(object).to_dict("list")


def without_volatile(value: Any) -> Any:
    """Return plain values, None for what stands under a volatile key."""
    if isinstance(value, dict):
        return {
            key: None if key in VOLATILE else without_volatile(below)
            for key, below in value.items()
        }
    if isinstance(value, list):
        return [without_volatile(below) for below in value]
    return value
