"""The demo on a series: files that fit together, and alarms on the sensors that were disturbed."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from isthmus import load, load_bundle
from isthmus.data import pump_events, pump_table
from isthmus.demo import run_demo
from isthmus.demo.series import residual_scores

pytestmark = pytest.mark.slow

SENSORS = ["pressure", "flow", "temperature", "vibration"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The demo on the pump, trained for a few epochs: its folder, its facts and its output."""
    folder = tmp_path_factory.mktemp("demo") / "pump"
    console = Console(file=io.StringIO(), width=120, highlight=False)
    facts = run_demo(load("pump"), folder, recipe="fast", max_epochs=6, console=console)
    return folder, facts, console.file.getvalue()


@pytest.fixture(scope="module")
def alarms(finished):
    times = ["first", "last", "peak", "known_at"]
    return pd.read_csv(finished[0] / "alarms.csv", parse_dates=times)


def test_its_numbers_are_written(finished):
    folder, facts, _ = finished
    assert json.loads((folder / "demo.json").read_text("utf-8")) == facts
    assert (facts["n_train"], facts["n_test"]) == (4000, 2000)
    assert (facts["channels"], facts["window"], facts["step"]) == (SENSORS, 64, 60)
    assert set(facts["seconds"]) == {"load", "fit", "score", "report", "total"}
    assert not (folder / "checkpoints").exists()


def test_the_series_is_there_as_csv(finished):
    folder, facts, _ = finished
    normal, new = (pd.read_csv(folder / f"{name}.csv") for name in ("pump", "new"))
    assert list(normal) == ["datetime", *SENSORS], "no label that would be taken for a sensor"
    assert np.array_equal(normal[SENSORS], pump_table("train")[SENSORS])
    assert np.array_equal(new["anomaly"], pump_table("test")["anomaly"])
    again = load(str(folder / "pump.csv"), kind="series", time="datetime", window="auto")
    assert again.points.window == facts["window"]


def test_tables_are_those_of_the_bundle(finished, alarms):
    folder, facts, _ = finished
    detector, pump = load_bundle(folder / "bundle").heads["normal"], load("pump")
    points = pd.read_csv(folder / "points.csv", parse_dates=["datetime"])
    expected = detector.score_points(pump.test)
    assert points["datetime"].tolist() == expected["datetime"].tolist()
    assert np.allclose(points["anomaly_score"], expected["anomaly_score"])
    pd.testing.assert_series_equal(alarms["first"], detector.alarms(pump.test)["first"],
                                   check_dtype=False)  # fmt: skip
    assert facts["detector"]["n_alarms"] == len(alarms)


def test_most_anomalies_are_found_on_their_sensor_with_few_false_alarms(finished):
    _, facts, output = finished
    found = [event for event in facts["events"] if event["found"]]
    assert len(facts["events"]) == len(pump_events()) == 8
    assert len(found) >= 6
    named = [one["channel"] in ("all", *one["worst_channels"]) for one in found]
    assert np.mean(named) >= 0.8
    measures = facts["detector"]["measures"]
    assert measures["events"]["n_found"] == len(found)
    assert measures["false_alarms"]["count"] <= 1
    assert measures["auroc"] > 0.75
    assert f"{len(found)} of 8 anomalies" in output
    assert f"{100 * measures['vus_pr']:.2f} %" in output


def test_the_baseline_is_the_residual_of_principal_components(finished):
    _, facts, output = finished
    pump = load("pump")
    scores = residual_scores(pump.train, pump.test)
    assert scores.shape == (len(pump.test.points),)
    assert np.isfinite(scores).all()
    abnormal = pump.test.points.y == 1
    assert scores[abnormal].mean() > 2 * scores[~abnormal].mean()
    assert f"{100 * facts['baselines']['pca residual']['auroc']:.2f} %" in output


def test_picture_and_report_are_there(finished):
    folder, facts, output = finished
    assert [path.split("/")[-1] for path in facts["pictures"]] == ["alarms.png", "alarms.svg"]
    assert facts["report"] == str(folder / "report.html")
    (chapter,) = json.loads((folder / "report.json").read_text("utf-8"))["alarms"]
    assert chapter["measures"] == facts["detector"]["measures"]
    assert f"isthmus fit {folder / 'pump.csv'} --kind series" in output
