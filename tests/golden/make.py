"""Write the golden samples: bundles and exports of one moment, and what they answer.

    python tests/golden/make.py bundles     the data, bundles, exports and stored codes
    python tests/golden/make.py answers     what these answer, and what every command prints

The tests never run this. Samples stand for what people have on their disks: they are not written
again when a test of them fails, because then people's bundles no longer load, or decide otherwise.
"""

import json
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from answers import (
    COMMANDS,
    HERE,
    LONG,
    READINGS,
    SAMPLES,
    as_plain,
    decisions,
    earlier_decisions,
    printed,
    rows_of,
    run,
)
from sklearn.datasets import load_digits

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, load_bundle, save_bundle
from isthmus.bundle import add_head
from isthmus.classification import MLPHead
from isthmus.export import Exported

#: A golden row's anomaly score is so much away from any score that calibrates, relative to it,
#: and its likeliest class so much likelier than the next: rounding then changes no answer.
MARGIN = 1e-3


def main() -> None:
    """Write what the command line names."""
    torch.set_num_threads(1)
    steps = {"bundles": write_bundles, "answers": write_answers}
    if len(sys.argv) != 2 or sys.argv[1] not in steps:
        sys.exit(__doc__)
    steps[sys.argv[1]]()


def write_bundles() -> None:
    """Write data, bundles, exports and stored codes; earlier ones are replaced."""
    for name in (*SAMPLES, "codes"):
        shutil.rmtree(HERE / name, ignore_errors=True)
        (HERE / name).mkdir()
    write_digits(HERE / "digits")
    write_table(HERE / "table")
    write_series(HERE / "series")
    run(HERE / "digits", "export", "bundle", "rows.npz", "-o", "export", "--known", 12)
    run(HERE / "table", "export", "bundle", "rows.csv", "--label", "label", "-o", "export",
        "--residual")  # fmt: skip
    run(HERE / "series", "export", "bundle", "rows.csv", "--label", "label", *LONG, "-o", "export")


def write_digits(folder: Path) -> None:
    """Write an encoder of images with heads of three file formats, two heads in two versions."""
    bunch = load_digits()
    X, y = np.rint(bunch.images * (255 / 16)).astype(np.uint8), bunch.target
    encoder = Autoencoder(8, max_epochs=2, random_state=0).fit(X[:200])
    few, labels = X[200:260], y[200:260]
    small = MLPHead((16,), max_epochs=3)
    detector = AnomalyDetector(encoder, false_alarm_rate=0.05, calibration="split", random_state=0)
    heads = {
        "linear": CodeClassifier(encoder).fit(few, labels),
        "mlp": CodeClassifier(encoder, small, random_state=0).fit(few, labels),
        "spreading": CodeClassifier(encoder, "spreading").fit(
            X[200:320], np.where(np.arange(120) < 60, y[200:320], -1)
        ),
        "normal": detector.fit(X[320:420]),
    }
    save_bundle(folder / "bundle", encoder, heads)
    rejecting = CodeClassifier(encoder, rejection_rate=0.1, random_state=0).fit(few, labels)
    add_head(folder / "bundle", "linear", rejecting, metrics={"test_accuracy": 0.5})
    add_head(folder / "bundle", "normal", detector.set_false_alarm_rate(0.1))
    rows, labels = X[1000:1080].copy(), y[1000:1080]
    rows[::4] = 255 - rows[::4]  # of no class, and not normal
    kept = clear_rows(folder / "bundle", rows)[:32]
    np.savez_compressed(folder / "rows.npz", X=rows[kept], y=labels[kept])
    np.savez_compressed(folder / "few.npz", X=X[500:580], y=y[500:580])


def write_table(folder: Path) -> None:
    """Write an encoder of a mixed table, heads of few labels, stored codes and a head on these."""
    rng = np.random.default_rng(0)
    # Everything is read again as people's files are.
    mixed_table(rng, 160).to_csv(folder / "train.csv", index=False)
    few = mixed_table(rng, 80)
    few["kind"] = np.where(np.arange(80) < 30, np.where(few["width"] > 0, "wide", "slim"), None)
    few.to_csv(folder / "few.csv", index=False)
    looked_at = mixed_table(rng, 120)
    looked_at["label"] = make_abnormal(looked_at, slice(0, 8))
    looked_at.loc[40:, "label"] = 0
    looked_at.to_csv(folder / "looked_at.csv", index=False)
    run(folder, "fit", "train.csv", "-o", "bundle", "--n-components", 4, "--max-epochs", 3)
    run(folder, "classify", "bundle", "few.csv", "--label", "kind", "--head", "spreading",
        "--baselines", "none")  # fmt: skip
    for name, score in (("head", "head"), ("normal", "blend")):
        run(folder, "detect", "bundle", "looked_at.csv", "--label", "label", "--name", name,
            "--score", score, "--false-alarm-rate", 0.1)  # fmt: skip
    write_codes(HERE / "codes", rng)
    run(HERE, "classify", "table/bundle", "codes/codes.parquet", "--label", "kind",
        "--head", "neighbours", "--name", "stored")  # fmt: skip
    rows = mixed_table(rng, 60)
    rows["label"] = make_abnormal(rows, slice(0, 60, 4))
    rows.to_csv(folder / "rows.csv", index=False)
    kept = clear_rows(folder / "bundle", rows_of("table").X)[:32]
    rows.iloc[kept].to_csv(folder / "rows.csv", index=False)


def write_codes(folder: Path, rng: np.random.Generator) -> None:
    """Write codes of the table as each file that holds codes, and of several files."""
    labelled = mixed_table(rng, 40)
    labelled["kind"] = np.where(labelled["width"] > 0, "wide", "slim")
    labelled.to_csv(folder / "labelled.csv", index=False)
    for name in ("codes.npy", "codes.csv", "codes.parquet"):
        last = ("--for-heads",) if name == "codes.parquet" else ()
        run(HERE, "encode", "table/bundle", "codes/labelled.csv", "--label", "kind", *last,
            "-o", folder / name)  # fmt: skip
    (folder / "rows").mkdir()
    for number in range(2):
        rows = mixed_table(rng, 10).assign(row=range(10 * number, 10 * number + 10))
        rows.to_parquet(folder / "rows" / f"{number}.parquet", index=False)
    # Elsewhere, because what is written of several files says where these were.
    with TemporaryDirectory() as elsewhere:
        shutil.copytree(folder / "rows", Path(elsewhere) / "rows")
        run(Path(elsewhere), "encode", HERE / "table" / "bundle", "rows", "--key", "row",
            "--for-heads", "-o", folder / "files.parquet")  # fmt: skip


def write_series(folder: Path) -> None:
    """Write an encoder of windows with a detector that is cross-calibrated, and a classifier."""
    rng = np.random.default_rng(0)
    readings(rng, 4, 160).to_csv(folder / "train.csv", index=False)
    few = readings(rng, 2, 160)
    few["state"] = np.where(few["hour"] % 32 < 16, "idle", "busy")
    few.loc[few["state"] == "busy", "load"] += 2
    few.to_csv(folder / "few.csv", index=False)
    run(folder, "fit", "train.csv", *READINGS, "-o", "bundle", "--n-components", 4,
        "--max-epochs", 2, "--detector", "--false-alarm-rate", 0.1)  # fmt: skip
    run(folder, "classify", "bundle", "few.csv", *LONG, "--label", "state", "--head", "svm",
        "--baselines", "none")  # fmt: skip
    rows = readings(rng, 2, 160)
    rows["label"] = np.where(rows["hour"] % 32 < 8, -1, 1)
    rows.loc[rows["label"] == -1, "flow"] += 5 * rng.normal(size=int((rows["label"] == -1).sum()))
    rows.to_csv(folder / "rows.csv", index=False)
    kept = clear_rows(folder / "bundle", rows_of("series").X)
    rows[np.isin(np.arange(len(rows)) // 8, kept)].to_csv(folder / "rows.csv", index=False)


def mixed_table(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Return rows of every type of column, with values missing."""
    width = rng.normal(size=n)
    days = pd.to_timedelta(rng.integers(0, 10**7, n), unit="s")
    return pd.DataFrame(
        {
            "width": width.round(4),
            "weight": np.where(rng.random(n) < 0.1, np.nan, 2 * width + rng.normal(size=n)).round(
                4
            ),
            "class": rng.choice(np.array(["nut", "bolt", "rod", None], dtype=object), n),
            "ok": rng.choice(np.array([True, False, None], dtype=object), n, p=[0.6, 0.3, 0.1]),
            "day": pd.Timestamp("2024-01-01") + days,
            "heavy tail": (rng.normal(size=n) ** 5 * 1e3).round(2),
        }
    )


def make_abnormal(rows: pd.DataFrame, which: slice) -> np.ndarray:
    """Change some rows; return labels: -1 for these, 1 for the others."""
    label = np.ones(len(rows), dtype=int)
    label[which] = -1
    changed = label == -1
    rows.loc[changed, "weight"] = (5 - rows.loc[changed, "width"]).round(4)
    return label


def readings(rng: np.random.Generator, machines: int, hours: int) -> pd.DataFrame:
    """Return a long table: three channels of several machines, a row an hour."""
    hour = np.tile(np.arange(hours), machines)
    wave = np.sin(2 * np.pi * hour / 8)
    return pd.DataFrame(
        {
            "machine": np.repeat([f"m{number}" for number in range(machines)], hours),
            "hour": hour,
            "load": (wave + 0.2 * rng.normal(size=len(hour))).round(3),
            "flow": (2 * wave + 0.3 * rng.normal(size=len(hour))).round(3),
            "heat": (20 + wave**2 + 0.1 * rng.normal(size=len(hour))).round(3),
        }
    )


def clear_rows(path: Path, X: Any) -> np.ndarray:
    """Return the numbers of the rows on which rounding changes no answer of any head."""
    clear = np.ones(len(X), dtype=bool)
    for head in load_bundle(path).heads.values():
        detector = head if isinstance(head, AnomalyDetector) else head.rejecter_
        if detector is not None:
            scores = -detector.score_samples(X)
            away = np.abs(scores[:, None] - detector.score_calibration_.scores).min(axis=1)
            clear &= away > MARGIN * np.abs(scores)
        if detector is not head and hasattr(head, "predict_proba"):
            two = np.sort(head.predict_proba(X), axis=1)[:, -2:]
            clear &= two[:, 1] - two[:, 0] > MARGIN
    return np.flatnonzero(clear)


def write_answers() -> None:
    """Write what bundles and exports answer, and what every command prints."""
    for name in SAMPLES:
        folder, X = HERE / name, rows_of(name).X
        facts, arrays = decisions(folder / "bundle", X)
        write_answer(folder / "answers", facts, arrays)
        for head, *earlier in earlier_decisions(folder / "bundle", X):
            write_answer(folder / f"answers-{head}-before", *earlier)
        graph = Exported(folder / "export", threads=1)
        write_answer(folder / "answers-graph", graph.facts, graph.run(X))
    shutil.rmtree(HERE / "commands", ignore_errors=True)
    (HERE / "commands").mkdir()
    for name, command in COMMANDS.items():
        with TemporaryDirectory() as folder:
            write_json(HERE / "commands" / f"{name}.json", printed(command, Path(folder)))


def write_answer(path: Path, facts: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Write plain facts as JSON, and arrays beside them."""
    write_json(path.with_suffix(".json"), facts)
    plain = {name: as_plain(values) for name, values in arrays.items()}
    np.savez_compressed(path.with_suffix(".npz"), **plain)


def write_json(path: Path, facts: Any) -> None:
    """Write plain values as JSON, small."""
    path.write_text(json.dumps(facts, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
