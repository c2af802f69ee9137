"""Count verdicts that differ between library, exported graph, scored stream and service.

    python benchmarks/rounding.py
    python benchmarks/rounding.py --seeds 20 --json facts.json

For each seed a detector is fitted, with another method (labelled ones among them) and
calibration each time, on a small table whose rows partly repeat, and decides on every row that
it was fitted and calibrated on, and on as many new ones: by `predict`, by the exported graph, by
`score` of a stream, and by the service, which is asked for a few rows at once. Scores differ in
the last digit between these; no verdict may. One encoder serves ten seeds.

A seed takes about a second on one core.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
from rich.progress import track

from common.markdown import markdown
from common.records import errors, put_json, run, say, tables_console, versions
from isthmus import AnomalyDetector, Autoencoder, export_bundle, load, load_bundle, save_bundle
from isthmus.export import Exported
from isthmus.scoring import score
from isthmus.serve import build_app

METHODS = ("combined", "neighbours", "mahalanobis", "reconstruction", "head", "blend")
RATES = (0.05, 0.1, 0.2)
PATHS = ("graph", "stream", "service")
N_ROWS, N_ABNORMAL, N_ENCODER = 120, 3, 150
#: Seeds that one encoder is fitted for, and instances that the service is asked for at once.
PER_ENCODER, AT_ONCE = 10, 37


def main() -> None:
    options = arguments()
    found: dict[str, Any] = {"benchmark": "rounding", "versions": versions()}
    found |= compare(range(options.first, options.first + options.seeds))
    put_json(options.json, found)
    rows = [
        [path, f"{found['rows']:,}", str(found["differ"][path]), str(found["p_values"][path]),
         f"{found['scores'][path]:.1e}"]
        for path in PATHS
    ]  # fmt: skip
    columns = ["beside the library", "verdicts", "differ", "p-values that differ"]
    markdown(tables_console(options.json), [*columns, "scores differ by at most"], rows)
    say(
        f"{options.seeds} seeds, {found['near']:,} rows within twice the tolerance of the threshold"
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=1000, help="default 1000")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--json", metavar="PATH", help="all facts as JSON; - is standard output")
    return parser.parse_args()


def compare(seeds: range) -> dict[str, Any]:
    """Return the number of rows, and by path how many verdicts and p-values differ.

    Returns
    -------
    dict
        `rows`; `differ`, `p_values` and `scores` by path: verdicts and p-values that are not the
        library's, and the largest difference of a score, relative to the larger of 1 and it;
        `near`: rows whose score is within twice the tolerance of the threshold; `where`, twenty
        rows at most whose verdicts differ.
    """
    zero = dict.fromkeys(PATHS, 0)
    found: dict[str, Any] = {"rows": 0, "near": 0, "where": []}
    found |= {"differ": dict(zero), "p_values": dict(zero), "scores": dict.fromkeys(PATHS, 0.0)}
    for seed in track(seeds, "seeds", console=errors):
        if seed == seeds[0] or seed % PER_ENCODER == 0:
            encoder = Autoencoder(2, max_epochs=3, random_state=seed)
            encoder.fit(rows_of(N_ENCODER, [seed, 0]))
        detector, rows = fit(encoder, seed)
        own = decided(detector, rows)
        found["rows"] += len(rows)
        near = np.abs(own["anomaly_score"] + detector.offset_) < 2e-4
        found["near"] += int(near.sum())
        for path, theirs in by_path(detector, rows):
            differ = np.flatnonzero(theirs["verdict"] != own["verdict"])
            apart = np.abs(theirs["anomaly_score"] - own["anomaly_score"])
            apart /= np.maximum(1, np.abs(own["anomaly_score"]))
            found["differ"][path] += len(differ)
            found["p_values"][path] += int((theirs["p_value"] != own["p_value"]).sum())
            found["scores"][path] = max(found["scores"][path], float(apart.max()))
            for row in differ[: 20 - len(found["where"])]:
                found["where"].append({"seed": seed, "path": path, "row": int(row)})
    return found


def rows_of(n: int, seed: list[int]) -> pd.DataFrame:
    """Draw rows of four columns; a third of them are rounded, so that they repeat."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2)) @ rng.normal(size=(2, 4)) + 0.3 * rng.normal(size=(n, 4))
    X[: n // 3] = np.round(X[: n // 3])
    return pd.DataFrame(X.astype(np.float32), columns=list("abcd"))


def fit(encoder: Autoencoder, seed: int) -> tuple[AnomalyDetector, pd.DataFrame]:
    """Return a detector, and its rows followed by as many that are new to it."""
    X = rows_of(N_ROWS, [seed, 1])
    method = METHODS[seed % len(METHODS)]
    y = None
    if method in ("head", "blend"):
        X.iloc[-N_ABNORMAL:] += 3
        y = np.repeat([0, -1], [N_ROWS - N_ABNORMAL, N_ABNORMAL])
    detector = AnomalyDetector(
        encoder,
        method,
        RATES[seed // 2 % len(RATES)],
        ("split", "cross")[seed // len(METHODS) % 2],  # type: ignore[arg-type]
        random_state=seed,
    ).fit(X, y)
    return detector, pd.concat([X, rows_of(N_ROWS, [seed, 2])], ignore_index=True)


def decided(detector: AnomalyDetector, rows: pd.DataFrame) -> dict[str, np.ndarray]:
    scores, p_values = -detector.score_samples(rows), detector.p_values(rows)
    return {"anomaly_score": scores, "p_value": p_values, "verdict": detector.predict(rows)}


def by_path(
    detector: AnomalyDetector, rows: pd.DataFrame
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Decide on the rows by graph, stream and service, as a person would."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_bundle(folder / "bundle", detector.encoder_, {"normal": detector})
        bundle = load_bundle(folder / "bundle")
        export_bundle(bundle, folder / "graph", rows)
        yield "graph", Exported(folder / "graph", 1).run(rows)
        rows.to_parquet(folder / "rows.parquet")
        stream = load(folder / "rows.parquet", lazy=True)
        score(bundle, stream, folder / "out")
        table = pd.read_parquet(folder / "out").rename(columns={"prediction": "verdict"})
        yield "stream", {str(column): table[column].to_numpy() for column in table}
        yield "service", served(folder / "graph", rows)


def served(export: Path, rows: pd.DataFrame) -> dict[str, np.ndarray]:
    app = build_app([export], threads=1, hosts=None)
    bodies = [rows[at : at + AT_ONCE].to_dict("records") for at in range(0, len(rows), AT_ONCE)]

    async def ask() -> list[dict[str, Any]]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            answers = []
            for instances in bodies:
                answer = await client.post("/predict", json={"instances": instances})
                answer.raise_for_status()
                answers += answer.json()["predictions"]
            return answers

    table = pd.DataFrame(asyncio.run(ask()))
    table["verdict"] = table["verdict"].map({"normal": 1, "abnormal": -1})
    return {str(column): table[column].to_numpy() for column in table}


if __name__ == "__main__":
    run(main)
