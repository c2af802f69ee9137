"""Time points of a long table on the command line: fit, predict, evaluate, label, another rate."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from isthmus import AnomalyDetector, Autoencoder, load, load_bundle
from isthmus.bundle import save_bundle

pytestmark = pytest.mark.filterwarnings("ignore:.*gaps in time:UserWarning")

CUT = ("--time", "when", "--group", "machine")
EPOCHS = ("--max-epochs", 2, "--n-components", 3, "--architecture", "dense")


def table(n, seed, day=1, event=None):
    """Two machines in irregular turns with a gap of minutes, and an event of machine a."""
    rng = np.random.default_rng(seed)
    parts = []
    for name, phase in (("b", 0), ("a", 1)):
        second = np.arange(n)
        anomaly = np.zeros(n, dtype=int)
        if event is not None and name == "a":
            anomaly[event[0] : event[1] + 1] = 1
        parts.append(
            pd.DataFrame(
                {
                    "when": pd.Timestamp(f"2024-05-{day:02}")
                    + pd.to_timedelta(second + 200 * (second > n // 2), unit="s"),
                    "machine": name,
                    "load": np.sin(second / 5 + phase) + 0.1 * rng.normal(size=n) + 3 * anomaly,
                    "heat": np.cos(second / 5 + phase) + 0.1 * rng.normal(size=n),
                    "shift": second // 50,
                    "anomaly": anomaly,
                }
            )
        )
    both = pd.concat(parts)
    # Rows of the two machines in any order, each machine's in order of time.
    turns = np.sort(rng.random((2, n)), axis=1).ravel()
    return both.iloc[np.argsort(turns, kind="stable")].reset_index(drop=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A table to fit on, one with an event, and a bundle of the first."""
    folder = tmp_path_factory.mktemp("pump")
    pump = table(400, 0)
    pump.drop(columns="anomaly").to_csv(folder / "pump.csv", index=False)
    table(300, 1, day=2, event=(100, 120)).to_csv(folder / "new.csv", index=False)
    data = load(
        folder / "pump.csv",
        kind="series",
        time="when",
        group="machine",
        window=16,
        stride=1,
        keys=["shift"],
    )
    encoder = Autoencoder(architecture="dense", n_components=3, max_epochs=2, random_state=0)
    detector = AnomalyDetector(encoder, random_state=0, false_alarm_rate=0.05).fit(data)
    save_bundle(folder / "press", detector.encoder_, {"normal": detector})
    return folder


@pytest.fixture
def press(files, tmp_path):
    """A copy of the bundle that may be changed."""
    return shutil.copytree(files / "press", tmp_path / "press")


def test_from_a_table_to_points_and_alarms(isthmus, files):
    words = ("--kind", "series", *CUT, "--key", "shift", "--window", 16, "--stride", 1)
    rates = ("--false-alarms", "1 per 200 points", "--min-length", 2, "--merge-gap", 4)
    fit = ("fit", files / "pump.csv", *words, "--detector", *rates, "-o", "own", *EPOCHS)
    status, out, err = isthmus(*fit)
    assert status == 0, err
    assert "false alarms 1 per 200 points" in out
    assert "realised" in out
    keys = (*CUT, "--key", "shift", "--label", "anomaly", "--normal", 0)
    names = ("-o", "points.csv", "--alarms", "alarms.parquet", "--json", "found.json")
    status, out, err = isthmus("predict", "own", files / "new.csv", *keys[:-2], *names)
    assert status == 0, err
    given, points = pd.read_csv(files / "new.csv"), pd.read_csv("points.csv")
    same = ["when", "machine", "shift"]
    pd.testing.assert_frame_equal(points[same].sort_index(axis=1), given[same].sort_index(axis=1))
    assert set(points["verdict"]) == {"normal", "abnormal"}
    np.testing.assert_allclose(points[["share_load", "share_heat"]].sum(axis=1), 1, atol=1e-6)
    alarms = pd.read_parquet("alarms.parquet")
    inside = given[given["anomaly"] == 1]
    hit = (alarms["machine"] == "a") & (alarms["first"] <= inside["when"].iloc[-1])
    hit &= alarms["last"] >= inside["when"].iloc[0]
    assert hit.any()
    assert (alarms.loc[hit, "channel"] == "load").all()
    assert json.loads(Path("found.json").read_text())["n_alarms"] == len(alarms)

    keys = (*CUT, "--label", "anomaly", "--normal", 0, "--train", files / "pump.csv")
    asked = ("evaluate", "own", files / "new.csv", *keys, "--baselines", "fast")
    status, out, err = isthmus(*asked, "--json", "tested.json")
    assert status == 0, err
    assert "1 of 1 events" in out
    assert "asked for 1 per 200 points" in out
    assert "residual of PCA" in out
    found = json.loads(Path("tested.json").read_text())
    assert found["by"] == "point"
    assert found["code"]["n"] == len(given)
    assert list(found["baselines"]) == ["raw", "pca", "untrained"]
    apart = found["code"]["apart"]
    assert apart["n"] == len(given) - 21 - 2 * 15
    share = f"{100 * apart['share']:.3g} % of the {apart['n']:,} normal ones"
    assert f"{share} that share no window" in out
    status, out, err = isthmus(
        *asked[:3], *CUT, "--label", "anomaly", "--normal", 0, "--by", "window"
    )
    assert status == 0, err
    assert "test instances" in out


@pytest.mark.parametrize("offsets", [True, False])
def test_times_over_a_clock_change_are_those_of_the_file(isthmus, files, offsets):
    new = table(300, 5, event=(100, 120))
    new = new[new["machine"] == "a"].drop(columns=["anomaly", "shift"]).reset_index(drop=True)
    moments = pd.date_range("2024-10-27 00:58:20", periods=300, freq="1s", tz="UTC")
    moments, form = moments.tz_convert("Europe/Berlin"), "%d.%m.%Y %H:%M:%S"
    cells = [one.isoformat() if offsets else one.strftime(form) for one in moments]
    new.assign(when=cells).to_csv("new.csv", index=False)
    words = () if offsets else ("--time-zone", "Europe/Berlin", "--date-format", form)
    outputs = ("-o", "points.csv", "--alarms", "alarms.csv")
    status, out, err = isthmus("predict", files / "press", "new.csv", *CUT, *words, *outputs)
    assert status == 0, err
    assert pd.read_csv("points.csv")["when"].tolist() == cells
    alarms = pd.read_csv("alarms.csv")
    first, last = alarms.loc[alarms["anomaly_score"].idxmax(), ["first", "last"]]
    assert (first[-6:], last[-6:]) == ("+02:00", "+01:00")
    assert {first, last} <= {
        cell if offsets else cell + moment.isoformat()[-6:]
        for cell, moment in zip(cells, moments, strict=True)
    }
    assert f"{first} to {last}" in out


def test_labels_that_are_all_normal_are_evaluated(isthmus, files):
    quiet = table(200, 2, day=3)
    quiet.to_csv("quiet.csv", index=False)
    words = (*CUT, "--label", "anomaly", "--json", "found.json")
    status, out, err = isthmus("evaluate", files / "press", "quiet.csv", *words)
    assert status == 0, err
    assert "0 is taken as normal" in err
    assert "0 of 0 events" in out
    code = json.loads(Path("found.json").read_text())["code"]
    assert (code["auroc"], code["n_normal"]) == (None, 400)


def test_another_rate_moves_the_threshold_of_time_points(isthmus, press):
    before = load_bundle(press).head()
    status, out, err = isthmus("detect", press, "--false-alarm-rate", 0.1)
    assert status == 0, err
    moved = load_bundle(press).head()
    assert moved.point_threshold_ < before.point_threshold_
    assert moved.point_facts_["false_alarm_rate"] == 0.1
    assert moved.offset_ > before.offset_
    status, out, err = isthmus("detect", press, "--false-alarms", "1 per 100 points")
    assert status == 0, err
    assert "1 per 100 points" in out
    assert load_bundle(press).head().point_facts_["false_alarms"] == "1 per 100 points"
    status, _, err = isthmus("detect", press, "--false-alarms", "1 per 100 points", "--causal")
    assert status != 0
    assert "got --causal and no DATA" in err


def test_later_series_recalibrate_time_points(isthmus, files, press):
    later = table(500, 7, day=3).drop(columns="anomaly").assign(load=lambda t: 1.3 * t["load"])
    later.to_csv("later.csv", index=False)
    before = load_bundle(press).detector().point_calibration_.blocks.n_points
    status, out, error = isthmus("detect", press, "later.csv", "--recalibrate", "--json", "-")
    assert status == 0, error
    facts = json.loads(out)
    detector = load_bundle(press).detector()
    assert facts["points"]["n_held_out"] == detector.point_calibration_.blocks.n_points != before
    assert detector.calibration_ == "split"


def test_a_detector_of_time_points_on_a_fitted_encoder(isthmus, files, press):
    later = table(300, 4, day=4)
    later.drop(columns="anomaly").to_csv("later.csv", index=False)
    words = (*CUT, "--key", "shift", "--stride", 1, "--causal", "--false-alarm-rate", 0.1)
    status, out, err = isthmus("detect", press, "later.csv", *words, "--name", "second")
    assert status == 0, err
    assert "at once (causal)" in out
    detector = load_bundle(press).detector("second")
    assert detector.point_facts_["causal"]
    # Eight stretches of blocks, in each of which the first window ends at the sixteenth point.
    assert detector.point_facts_["n_held_out"] == 600 - 8 * 15
    assert len(detector.reference_set_.folds) == 5


def test_stretches_are_labels(isthmus, files, press):
    stretches = pd.DataFrame(
        {
            "machine": ["a", "b"],
            "from": ["2024-05-02 00:01:40", "2024-05-02 00:00:00"],
            "to": ["2024-05-02 00:02:00", "2024-05-02 00:00:40"],
            "label": [None, "normal"],
        }
    )
    stretches.to_csv("stretches.csv", index=False)
    words = (*CUT, "--key", "shift", "--drop", "anomaly", "--stretches", "stretches.csv")
    status, out, err = isthmus("label", press, files / "new.csv", *words, "--json", "found.json")
    assert status == 0, err
    assert "2 stretches: 21 time points abnormal, 41 normal" in out
    found = json.loads(Path("found.json").read_text())
    assert (found["version"], found["n_new"]) == (2, 36 + 26)
    detector = load_bundle(press).head()
    assert (detector.reference_set_.y == -1).sum() == 36
    assert (detector.reference_set_.y == 1).sum() == 26
    stretches.assign(machine="c").to_csv("stretches.csv", index=False)
    status, _, err = isthmus("label", press, files / "new.csv", *words)
    assert status != 0
    assert "of a group that the data has not" in err
    status, _, err = isthmus("label", press, "--queue", "q", "--stretches", "stretches.csv")
    assert "got --queue and data" in err


def test_of_windows_is_said_what_holds_for_time_points(isthmus, files):
    new = table(300, 6, day=6, event=(100, 101))
    new["anomaly"] = new["anomaly"].map({0: "ok", 1: "leak"})
    short = new.index[(new["machine"] == "a") & (new["shift"] == 2)]
    new.drop([short[5], short[10]]).to_csv("new.csv", index=False)
    words = ("new.csv", *CUT, "--key", "shift", "--label", "anomaly", "--stride", 5)
    said = {
        "point": "no window crosses one; 4 rows between them, in stretches shorter than a window, "
        "have no score",
        "window": "no window crosses one, which leaves 18 rows out",
    }
    for by, words_of_gaps in said.items():
        status, _, err = isthmus(
            "evaluate", files / "press", *words, "--by", by, "--normal", "ok",
            "--window-label", "majority",
        )  # fmt: skip
        assert status == 0, err
        assert words_of_gaps in err
        assert ("in no window's label" in err) == (by == "window")
