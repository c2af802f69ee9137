"""The demo on a series: fit a detector, score time points, tell alarms, draw and report them."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from sklearn.decomposition import PCA

from isthmus._core import return_freed_memory, user_path, write_bytes, write_json
from isthmus.autoencoder import Autoencoder
from isthmus.bundle import check_target, refuse_to_delete_heads, save_bundle
from isthmus.data import Dataset, Splits, pump_events
from isthmus.data.windows import TimePoints
from isthmus.demo.output import print_heading, timed, write_page
from isthmus.detection import (
    AnomalyDetector,
    PointDecisions,
    WindowPlaces,
    as_duration,
    read_detector_labels,
)
from isthmus.errors import MissingExtraError
from isthmus.evaluation import evaluate_points
from isthmus.plots import plot_alarms, save_figure
from isthmus.report import alarm_facts
from isthmus.training import lock_checkpoints

#: Name of the detector in the bundle.
HEAD = "normal"
#: Label of normal time points.
NORMAL_LABEL = 0
#: Share of the variance that the principal components of the baseline keep.
VARIANCE = 0.95


def run_series_demo(
    data: Splits,
    output: str | Path,
    *,
    recipe: str = "default",
    max_epochs: int | Literal["auto"] = "auto",
    seed: int = 0,
    resume: bool = False,
    console: Console | None = None,
    seconds_to_load: float = 0.0,
) -> dict[str, Any]:
    """Fit a detector on the normal part of a series, and tell the alarms of the other part.

    Parameters
    ----------
    data : Splits
        Windows of long tables with their time points; the training part is normal, and the test
        part is labelled, 0 normal and any other label abnormal.
    output : path
        Folder for the bundle, the two tables as CSV, those of points and alarms, the picture, the
        report and `demo.json`.
    recipe, max_epochs, seed, resume, console, seconds_to_load : see `isthmus.demo.run_demo`

    Returns
    -------
    dict
        Plain values, as in `demo.json`.
    """
    console = console or Console(markup=False, emoji=False)
    output = user_path(output)
    checkpoints, bundle = output / "checkpoints", check_target(output / "bundle")
    with lock_checkpoints(checkpoints):  # until the last file is written
        refuse_to_delete_heads(bundle, replaced=(HEAD,))
        started = time.perf_counter()
        seconds = {"load": seconds_to_load}
        facts = _data_facts(data)
        _print_data(console, facts)

        encoder = Autoencoder(
            recipe=recipe,
            max_epochs=max_epochs,
            verbose=True,
            checkpoint_dir=checkpoints,
            resume=resume,
        )
        detector = AnomalyDetector(encoder, normal=NORMAL_LABEL, random_state=seed)
        with timed(seconds, "fit"):
            # All of it is normal, so its labels say nothing.
            detector.fit(replace(data.train, y=None, class_names=None))
        with timed(seconds, "score"):
            decisions = detector.decide_points(data.test)
            alarms = detector.alarms(data.test)
        facts |= _result_facts(detector, data, alarms)
        _print_results(console, facts)

        facts["files"] = _write_tables(output, data, decisions, alarms)
        facts["pictures"] = _draw(console, output / "plots", data.test, decisions, alarms)
        facts["bundle"] = str(bundle)
        save_bundle(
            bundle,
            detector.encoder_,
            {HEAD: detector},
            metrics={HEAD: facts["detector"]["measures"]},
            overwrite=True,
        )
        del detector, decisions
        return_freed_memory()
        with timed(seconds, "report"):
            facts["report"] = write_page(
                console,
                output / "report.html",
                facts["bundle"],
                data,
                normal=NORMAL_LABEL,
                baselines=None,
                seed=seed,
            )
        seconds["total"] = time.perf_counter() - started + seconds_to_load
        facts["seconds"] = {name: round(value, 3) for name, value in seconds.items()}
        write_json(output / "demo.json", facts)
        shutil.rmtree(checkpoints, ignore_errors=True)
        _print_end(console, facts, output)
        return facts


def _points(part: Dataset) -> TimePoints:
    assert part.points is not None
    return part.points


def _data_facts(data: Splits) -> dict[str, Any]:
    train, test = _points(data.train), _points(data.test)
    return {
        "dataset": data.name,
        "kind": data.kind,
        "n_train": len(train),
        "n_test": len(test),
        "channels": list(train.channels),
        "step": train.step,
        "window": train.window,
        "stride": train.stride,
        "choices": dict(train.choices),
    }


def _result_facts(detector: AnomalyDetector, data: Splits, alarms: pd.DataFrame) -> dict[str, Any]:
    """Return what was fitted, and the figures of detector and baseline on the labelled part."""
    points, encoder = _points(data.test), detector.encoder_
    labels = read_detector_labels(points.y, len(points), NORMAL_LABEL)
    found = alarm_facts(HEAD, detector, data.test, labels, normal=NORMAL_LABEL)
    baseline = evaluate_points(
        residual_scores(data.train, data.test), labels, segments=points.segments,
        step=points.step, window=points.window,
    )  # fmt: skip
    return {
        "n_components": encoder.n_components_,
        "parameters": encoder.n_parameters_,
        "epochs": len(encoder.history_),
        "detector": {key: value for key, value in found.items() if key != "charts"}
        | {"method": detector.method_},
        "baselines": {"pca residual": baseline},
        "events": _events(data.test, alarms),
    }


def residual_scores(train: Dataset, test: Dataset) -> np.ndarray:
    """Return the residual of principal components at each time point, a baseline without a network.

    Windows are standardised by channel and rebuilt from the components that keep 95 % of their
    variance ("Sub-PCA"); the score of a time point is the mean squared residual of the windows
    that cover it.

    Parameters
    ----------
    train, test : Dataset
        Windows of long tables.

    Returns
    -------
    float64 array of shape (m,)
        Of the time points of `test`; NaN where no window covers one.
    """
    mean, spread = train.X.mean(axis=(0, 1)), train.X.std(axis=(0, 1))
    spread[spread == 0] = 1.0

    def flat(windows: np.ndarray) -> np.ndarray:
        return ((windows - mean) / spread).reshape(len(windows), -1)

    components = PCA(VARIANCE, svd_solver="full").fit(flat(train.X))
    points = _points(test)
    places = WindowPlaces.cut(points.segments, points.window, 1)
    scores = []
    for windows in places.chunks(points.values, 4096):
        rebuilt = components.inverse_transform(components.transform(flat(windows)))
        scores.append(((flat(windows) - rebuilt) ** 2).mean(axis=1))
    found = np.full(len(points), np.nan)
    spread_scores = places.spread(np.concatenate(scores))
    found[: len(spread_scores)] = spread_scores
    return found


def _events(test: Dataset, alarms: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the simulated anomalies, and the worst channel of the first alarm on each."""
    if test.name != "pump":
        return []
    found = []
    for event in pump_events().to_dict("records"):
        on_it = alarms[(alarms["first"] <= event["last"]) & (alarms["last"] >= event["first"])]
        found.append(
            {
                "kind": event["kind"],
                "channel": event["channel"],
                "first": str(event["first"]),
                "last": str(event["last"]),
                "found": len(on_it) > 0,
                "worst_channels": sorted(set(on_it["channel"])),
            }
        )
    return found


def _write_tables(
    output: Path, data: Splits, decisions: PointDecisions, alarms: pd.DataFrame
) -> dict[str, str]:
    """Write the series, the points and the alarms as CSV; return the paths by name."""
    tables = {
        data.name: _long_table(_points(data.train), labels=False),
        "new": _long_table(_points(data.test), labels=True),
        "points": decisions.to_frame(),
        "alarms": alarms,
    }
    paths = {}
    for name, table in tables.items():
        path = output / f"{name}.csv"
        write_bytes(path, table.to_csv(index=False).encode("utf-8"))
        paths[name] = str(path)
    return paths


def _long_table(points: TimePoints, *, labels: bool) -> pd.DataFrame:
    readings = pd.DataFrame(points.values, columns=list(points.channels))
    table = pd.concat([points.identifiers(), readings], axis=1)
    return table.assign(anomaly=points.y) if labels and points.y is not None else table


def _draw(
    console: Console,
    folder: Path,
    test: Dataset,
    decisions: PointDecisions,
    alarms: pd.DataFrame,
) -> list[str]:
    try:
        figure = plot_alarms(test, alarms, decisions.to_frame(), normal=NORMAL_LABEL)
    except MissingExtraError as error:
        console.print(f"no picture: {error}", soft_wrap=True)
        return []
    return [str(path) for path in save_figure(figure, folder, "alarms")]


def _print_data(console: Console, facts: dict[str, Any]) -> None:
    step = facts["step"]
    print_heading(console, f"1  The data: {facts['dataset']}")
    for name, part in (("training", "n_train"), ("test", "n_test")):
        n = facts[part]
        console.print(f"{name:<9} {n:>6,} time points ({as_duration(n, step)})")
    console.print(f"channels  {', '.join(facts['channels'])}; a row every {as_duration(1, step)}")
    console.print(f"windows   of {as_duration(facts['window'], step)}")


def _print_results(console: Console, facts: dict[str, Any]) -> None:
    found, step = facts["detector"], facts["step"]
    measures = found["measures"]
    print_heading(
        console, f"2  A detector of {facts['n_components']} numbers a window, on normal data only"
    )
    console.print(f"{facts['epochs']} epochs, {facts['parameters']:,} parameters")
    print_heading(console, f"3  Alarms on {facts['n_test']:,} new time points")
    table = Table(box=None, pad_edge=False)
    for name in ("anomaly", "of the sensor", "from", "alarm names"):
        table.add_column(name)
    for event in facts["events"]:
        named = ", ".join(event["worst_channels"]) if event["found"] else "missed"
        table.add_row(event["kind"], event["channel"], event["first"], named)
    console.print(table)
    events, false, delay = measures["events"], measures["false_alarms"], measures["delay"]
    console.print(
        f"{found['n_alarms']} alarms found {events['n_found']} of {events['n']} anomalies"
        + (f", {as_duration(delay['mean'], step)} late on average" if events["n_found"] else "")
    )
    apart = measures["apart"]
    console.print(
        f"false alarms {false['count']}; of {apart['n']:,} normal time points that share no window "
        f"with an anomaly {apart['count']:,} above the threshold, which is set for {found['asked']}"
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("score of a time point")
    for name in ("AUROC", "VUS-PR"):
        table.add_column(name, justify="right")
    rows = {f"isthmus, {found['method']}": measures}
    rows["baseline: residual of principal components"] = facts["baselines"]["pca residual"]
    for at, (name, ranked) in enumerate(rows.items()):
        cells = [f"{100 * ranked[key]:.2f} %" for key in ("auroc", "vus_pr")]
        table.add_row(name, *cells, style=None if at else "bold")
    console.print(table)


def _print_end(console: Console, facts: dict[str, Any], output: Path) -> None:
    print_heading(console, "4  Files")
    files = facts["files"]
    lines = {
        "series": f"{files[facts['dataset']]} (normal), {files['new']} (with anomalies)",
        "results": f"{files['points']}, {files['alarms']}",
        "bundle": facts["bundle"],
    }
    if facts["pictures"]:
        lines["picture"] = facts["pictures"][0]
    if facts["report"]:
        lines["report"] = facts["report"]
    lines["numbers"] = str(output / "demo.json")
    lines["seconds"] = ", ".join(f"{name} {value:.1f}" for name, value in facts["seconds"].items())
    for name, text in lines.items():
        console.print(f"{name:<9} {text}", soft_wrap=True)
    console.print("next")
    for line in (
        f"isthmus fit {files[facts['dataset']]} --kind series --time datetime --detector -o press",
        f"isthmus predict press {files['new']} --time datetime -o points.csv --alarms alarms.csv",
    ):
        console.print(f"  {line}", soft_wrap=True)
