"""Find abnormal time points of series, beside what a person would use in isthmus' place.

    python benchmarks/series_detection.py FOLDER
    python benchmarks/series_detection.py FOLDER --window 64 --seeds 5 --ablation
    python benchmarks/series_detection.py FOLDER --series skab_valve1_1 --picture alarms.png

FOLDER holds files `FAMILY_NAME.npz` with `train` (n, c), normal readings, `test` (m, c), and `y`
(m,), 1 where a test point is abnormal; $ISTHMUS_DATA/series/points when not given. isthmus is the
default detector: `load(kind="series")`, `AnomalyDetector(Autoencoder())`, `score_points`. The
others are those of `common/series_detectors.py`. The length of windows is isthmus' own choice, or
that of `--window`; the others take 64 time points, or that of `--window`. Nothing looks at `y` but
the measures: AUROC of time points, and VUS-PR (Paparrizos et al., PVLDB 2022) with 250 thresholds
and buffers of up to 32 points.

Printed are means over series, in percent, for all and for each family, of isthmus with the
standard deviation over seeds, and the seconds of a series; with `--ablation` also what the parts of
the score find alone, and other scores of the same codes and residuals. Two more tables tell what a
detector that was fitted on the first 70 % of each training part realises on the rest, beside the
90 % bands that it states for it, and the seconds of fits and of scoring a million time points.

A series of 1,200 points takes some seconds for each seed on one core.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.progress import track
from sklearn.metrics import roc_auc_score

from common.markdown import markdown
from common.records import data_folder, errors, put_json, run, tables_console, try_out, versions
from common.series_detectors import cut_windows, series_detectors, spread
from common.series_rates import as_dataset, measure_rates, measure_seconds, summarise_rates
from isthmus import AnomalyDetector, Autoencoder, load
from isthmus.detection import (
    LABEL_FREE,
    WINDOW_STATISTICS,
    Features,
    Score,
    SeriesScore,
    extract_features,
)
from isthmus.errors import CalibrationWarning, DataError
from isthmus.evaluation import volume_under_surface
from isthmus.plots import plot_alarms

ISTHMUS = "isthmus"
#: Time points of the windows of the others, and widest buffer around an event.
WINDOW, BUFFER = 64, 32
METRICS = ("auroc", "vus_pr")
Figures = dict[str, dict[str, float]]


def main() -> None:
    options = arguments()
    runs, rates = [], []
    paths = find_series(data_folder(options.folder, "series/points"), options.series)
    if options.picture is not None:
        names = None if options.channels is None else options.channels.split(",")
        draw_alarms(*read(paths[0]), names, options.first_seed).savefig(options.picture, dpi=100)
        return
    for path in track(paths, "series", console=errors, transient=True):
        train, test, y = read(path)
        others = measure_others(train, test, y, options.window or WINDOW)
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            own = measure(train, test, y, options.window or "auto", seed, options.ablation)
            family = path.stem.split("_")[0]
            runs.append(
                {"series": path.stem, "family": family, "seed": seed, "found": own | others}
            )
        rate = measure_rates(train, options.first_seed)
        rates += [] if rate is None else [{"series": path.stem} | rate]
    found = {"benchmark": "series_detection", "versions": versions(), "summary": summarise(runs)}
    found |= {"rates": summarise_rates(rates), "seconds": measure_seconds(options.first_seed)}
    put_json(options.json, found | {"runs": runs, "rate_of_series": rates})
    families = list(found["summary"][ISTHMUS])
    titles = [f"{family} ({found['summary'][ISTHMUS][family]['n']})" for family in families]
    columns = ["AUROC / VUS-PR, %", *titles, "seconds, fit", "seconds, score"]
    rows = []
    for name, of in found["summary"].items():
        cells = [_cell(of[family]) for family in families]
        rows.append([name, *cells, *_seconds(of["all"])])
    console = tables_console(options.json)
    markdown(console, columns, rows)
    markdown(console, *_rate_table(found["rates"]))
    markdown(console, *_seconds_table(found["seconds"]))


def _rate_table(rates: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    columns = ["false alarms on later normal data", "at most the band", "inside", "mean realised"]
    rows = []
    for what, title, unit in (
        ("points", "1 % of time points", "{:.2%}"),
        ("alarms", "1 alarm per 2,000 points", "{:.2f}"),
    ):
        own = rates[what]
        counts = [f"{own[key]} of {own['n']}" for key in ("at_most", "inside")]
        mean = own["mean_realised"]
        rows.append([title, *counts, "" if mean is None else unit.format(mean)])
    rows.append(
        [f"series of {rates['n']} whose drift was warned of", str(rates["n_drifting"]), "", ""]
    )
    return columns, rows


def _seconds_table(seconds: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    rows = [
        [
            f"{one['what']}, {one['n']:,} x 8",
            f"{one['seconds']:.1f}",
            f"{one.get('peak_mb', 0):,.0f}",
        ]
        for one in seconds
    ]
    return ["time points x channels", "seconds", "peak memory of the process, MB"], rows


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", help="where the .npz files lie")
    parser.add_argument("--series", metavar="NAME,NAME", help="only these, without .npz")
    parser.add_argument("--window", type=int, help="time points of a window, of all methods")
    parser.add_argument("--seeds", type=int, default=3, help="how many (default 3)")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--ablation", action="store_true", help="parts of the score, other scores")
    parser.add_argument(
        "--picture",
        metavar="PATH",
        help="only draw the alarms of the first series, at a rate of 5 %%",
    )
    parser.add_argument("--channels", metavar="NAME,NAME", help="names of channels in the picture")
    parser.add_argument("--json", metavar="PATH", help="all facts as JSON; - is standard output")
    return parser.parse_args()


def find_series(folder: Path, names: str | None = None) -> list[Path]:
    """Return the paths of the folder's series, or of some.

    Raises
    ------
    DataError
        When there is none, or one is missing.
    """
    paths = sorted(folder.glob("*.npz"))
    if names is not None:
        paths = [folder / f"{name}.npz" for name in names.split(",")]
    missing = [path for path in paths if not path.is_file()]
    if missing or not paths:
        raise DataError(f"{missing[0] if missing else folder / '*.npz'} is not there")
    return paths


def read(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return training readings, test readings, and which test points are abnormal."""
    with np.load(path) as held:
        if not {"train", "test", "y"} <= set(held):
            raise DataError(f"{path} holds {', '.join(held)}, expected train, test and y")
        return held["train"], held["test"], held["y"] == 1


def measure(
    train: np.ndarray, test: np.ndarray, y: np.ndarray, window: int | str, seed: int, ablation: bool
) -> Figures:
    """Return the figures of isthmus' detector by default, and of its parts."""

    def fit() -> AnomalyDetector:
        data = as_dataset(train, window)
        return AnomalyDetector(Autoencoder(random_state=seed), random_state=seed).fit(data)

    def score(detector: AnomalyDetector) -> np.ndarray:
        return detector.score_points(test)["anomaly_score"].to_numpy()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)  # of drift, of rates that few can hold
        detector, scores, seconds = try_out(fit, score)
        found = {ISTHMUS: figures(y, scores) | seconds}
        if ablation:
            found |= measure_parts(detector, train, test, y)
    return found


def draw_alarms(
    train: np.ndarray, test: np.ndarray, y: np.ndarray, names: list[str] | None, seed: int
) -> Figure:
    """Return the picture of the alarms of a test part, with its labels."""
    names = names or [f"channel {j}" for j in range(train.shape[1])]
    whole = pd.DataFrame(np.concatenate([train, test]), columns=names)
    whole["time point"] = np.arange(len(whole))
    whole["anomaly"] = np.concatenate([np.zeros(len(train), int), y])
    parts = whole.iloc[: len(train)].drop(columns="anomaly"), whole.iloc[len(train) :]
    series = {"kind": "series", "time": "time point"}
    detector = AnomalyDetector(
        Autoencoder(random_state=seed), false_alarm_rate=0.05, random_state=seed
    ).fit(load(parts[0], **series))
    window = detector.point_facts_["window"]
    new = load(parts[1].reset_index(drop=True), label="anomaly", window=window, **series)
    decided = detector.decide_points(new)
    return plot_alarms(
        new,
        detector.alarms_of(decided),
        decided.to_frame(),
        normal=0,
        threshold=detector.point_threshold_,
    )


class PartOfStatistics(SeriesScore):
    """`SeriesScore` by some of its statistics."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names

    def space(self, features: Features) -> np.ndarray:
        """Return the standardised statistics, 0 in place of those left out."""
        used = np.isin(WINDOW_STATISTICS, self.names)
        return super().space(features) * np.repeat(used, features.n_channels).astype(np.float32)


def measure_parts(
    detector: AnomalyDetector, train: np.ndarray, test: np.ndarray, y: np.ndarray
) -> Figures:
    """Return the figures of parts of the score and of other scores, with the same encoder."""
    encoder = detector.encoder_
    window = encoder.schema_.shape[0]
    of_train = extract_features(encoder, cut_windows(train, window))
    of_test = extract_features(encoder, cut_windows(test, window))
    plain = tuple(name for name in WINDOW_STATISTICS if name != "residual")
    parts: dict[str, Score] = {
        "without the network's residual": PartOfStatistics(plain),
        "the network's residual alone": PartOfStatistics(("residual",)),
    }
    parts |= {f"method={name!r}": kind() for name, kind in LABEL_FREE.items()}
    found: Figures = {}
    for name, score in parts.items():
        fitted = score.fit(of_train, np.random.default_rng(0))
        found[name] = figures(y, spread(fitted.score(of_test), len(y), window))
    return found


def measure_others(train: np.ndarray, test: np.ndarray, y: np.ndarray, window: int) -> Figures:
    """Return the figures of the other detectors; of both steps together the seconds."""
    found: Figures = {}
    for name, scorer in series_detectors().items():
        started = time.perf_counter()
        scores = scorer(train, test, window, 0)
        found[name] = figures(y, scores) | {"seconds_fit": time.perf_counter() - started}
    return found


def figures(y: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Return AUROC and VUS-PR; a point without a score counts as the most normal one."""
    scores = np.where(np.isnan(scores), np.nanmin(scores), scores)
    _, vus_pr = volume_under_surface(y, scores, BUFFER)
    if vus_pr is None:
        raise DataError("got a test part with points of one kind, expected normal and abnormal")
    return {"auroc": float(roc_auc_score(y, scores)), "vus_pr": vus_pr}


def summarise(runs: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return means over series and their deviation over seeds, by method and family."""
    families = ["all", *dict.fromkeys(one["family"] for one in runs)]
    seeds = list(dict.fromkeys(one["seed"] for one in runs))
    summary: dict[str, dict[str, dict[str, float | None]]] = {}
    for name in runs[0]["found"]:
        summary[name] = {}
        for family in families:
            own = [one for one in runs if family in ("all", one["family"])]
            cell: dict[str, float | None] = {"n": len(own) // len(seeds)}
            for metric in runs[0]["found"][name]:
                means = [
                    np.mean([one["found"][name][metric] for one in own if one["seed"] == seed])
                    for seed in seeds
                ]
                cell[metric] = float(np.mean(means))
                cell[f"{metric}_spread"] = float(np.std(means, ddof=1)) if len(seeds) > 1 else None
            summary[name][family] = cell
    return summary


def _cell(found: dict[str, float | None]) -> str:
    said = []
    for metric in METRICS:
        mean, deviation = found[metric], found[f"{metric}_spread"]
        said.append(f"{100 * mean:.1f}" + (f" ± {100 * deviation:.1f}" if deviation else ""))
    return " / ".join(said)


def _seconds(found: dict[str, float | None]) -> list[str]:
    values = [found.get("seconds_fit"), found.get("seconds_score")]
    return ["" if value is None else f"{value:.2f}" for value in values]


if __name__ == "__main__":
    run(main)
