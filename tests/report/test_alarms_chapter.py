"""Alarms over time: the figures are those of the detector, and the page draws and lists them."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from _layout import WINDOWS, faults, violations
from isthmus import AnomalyDetector, Autoencoder, load, load_bundle, save_bundle
from isthmus.data import pump_events, pump_table
from isthmus.evaluation import evaluate_points
from isthmus.plots import view_series
from isthmus.report import write_report
from isthmus.report.alarms_chapter import chart_facts

ROLES = {"kind": "series", "time": "datetime", "label": "anomaly", "normal": 0, "window": 60}
ROLES |= {"stride": 4, "window_label": "any"}


def fitted(table, **roles):
    """A detector of normal readings without labels."""
    train = load(table.drop(columns="anomaly"), **ROLES | {"label": None} | roles)
    encoder = Autoencoder(recipe="fast", max_epochs=4, random_state=0)
    return AnomalyDetector(encoder, false_alarm_rate=0.02, normal=0, random_state=0).fit(train)


@pytest.fixture(scope="module")
def pump():
    """The test part of the pump."""
    return load(pump_table("test"), **ROLES)


@pytest.fixture(scope="module")
def press(tmp_path_factory):
    """A bundle with a detector of the pump."""
    detector = fitted(pump_table("train"))
    path = tmp_path_factory.mktemp("pump") / "press"
    save_bundle(path, detector.encoder_, {"normal": detector})
    return load_bundle(path)


@pytest.fixture(scope="module")
def detector(press):
    return press.heads["normal"]


@pytest.fixture(scope="module")
def written(press, pump, tmp_path_factory):
    """The folder of the report."""
    folder = tmp_path_factory.mktemp("alarms")
    write_report(press, folder / "report.html", pump, baselines=None)
    return folder


@pytest.fixture(scope="module")
def found(written):
    """The chapter as it is in the file."""
    (chapter,) = json.loads((written / "report.json").read_text("utf-8"))["alarms"]
    return chapter


def test_alarms_are_those_of_the_detector(found, detector, pump):
    alarms, points = detector.alarms(pump), detector.score_points(pump)
    assert found["n_alarms"] == len(alarms) == len(found["alarms"]) > 0
    assert found["n_abnormal"] == (points["verdict"] == "abnormal").sum()
    for one, row in zip(found["alarms"], alarms.to_dict("records"), strict=True):
        for name in ("first", "last", "peak", "known_at"):
            assert pd.Timestamp(one[name]) == row[name]
        assert one["delay"] == (row["known_at"] - row["first"]) / pd.Timedelta(minutes=1)
        for name in ("channel", "share", "anomaly_score", "p_value", "n_points"):
            assert one[name] == row[name]
    assert found["threshold"] == detector.point_threshold_
    assert sum(one["n_alarms"] for one in found["channels"]) == len(alarms)


def test_figures_by_label_are_those_of_the_evaluation(found, detector, pump):
    decisions = detector.decide_points(pump)
    alone = evaluate_points(
        decisions.scores, pump.points.y, normal=0, abnormal=decisions.abnormal,
        step=60.0, window=60,
    )  # fmt: skip
    measures = found["measures"]
    for name in ("auroc", "auprc", "vus_pr", "false_points", "n_normal"):
        assert measures[name] == alone[name]
    events = pump_events()
    overlaps = [
        any(pd.Timestamp(a["first"]) <= e.last and pd.Timestamp(a["last"]) >= e.first
            for a in found["alarms"])
        for e in events.itertuples()
    ]  # fmt: skip
    assert measures["events"] == {
        "n": len(events),
        "n_found": sum(overlaps),
        "recall": sum(overlaps) / len(events),
    }
    assert (
        sum(one["label"] == "false alarm" for one in found["alarms"])
        == (measures["false_alarms"]["count"])
    )
    assert measures["apart"]["n"] < measures["n_normal"]


def test_what_the_detector_learned_from_is_left_out_of_the_figures(press, tmp_path):
    train = load(pump_table("train"), **ROLES)
    facts = write_report(press, tmp_path / "r.html", train, baselines=None)
    (chapter,) = facts["alarms"]
    assert chapter["n_seen"] == len(train.points)
    assert chapter["measures"] is None
    assert "windows that the detector was fitted" in (tmp_path / "r.html").read_text("utf-8")


def test_every_time_point_of_a_short_series_is_in_the_chart(found, pump):
    (chart,) = found["charts"]
    assert not chart["reduced"]
    assert chart["channels"] == list(pump.points.channels)
    (level,) = chart["levels"]
    milliseconds = pd.Series(pump.points.time).astype("datetime64[ms]").astype("int64")
    assert level["x"] == milliseconds.tolist()
    for column, values in zip(level["low"], pump.points.values.T, strict=True):
        assert np.allclose(column, values, atol=np.ptp(values) * 1e-3)
    assert len(chart["labels"]) == len(pump_events())


def test_a_long_series_keeps_its_extremes_and_details_of_its_alarms():
    values = np.zeros((200_000, 2))
    values[123_456, 0], values[50_000, 1] = 9.0, -7.0
    alarms = pd.DataFrame({
        "first": [123_450], "last": [123_460], "peak": [123_456], "channel": ["0"], "share": [1.0],
        "n_points": [11],
    })  # fmt: skip
    points = pd.DataFrame({"row": np.arange(200_000), "anomaly_score": values[:, 0]})
    points = points.assign(verdict="normal", share_0=1.0, share_1=0.0)
    chart = chart_facts(view_series(values, alarms, points))
    whole, near = chart["levels"]
    assert chart["reduced"]
    assert len(whole["x"]) == 3000
    assert max(whole["high"][0]) == max(whole["score"]["high"][0]) == 9
    assert min(whole["low"][1]) == -7
    assert near["high"] is None
    assert near["low"][0][near["x"].index(123_456)] == 9
    assert len(json.dumps(chart)) < 1_000_000


def test_a_channel_without_a_value_for_long_is_a_break():
    values = np.ones((20_000, 1))
    values[5_000:9_000] = np.nan
    alarms = pd.DataFrame({"first": [1], "last": [2], "peak": [1], "channel": ["0"]})
    (level, *_) = chart_facts(view_series(values, alarms))["levels"]
    x, low = np.array(level["x"]), level["low"][0]
    empty = [one is None for one in low]
    assert set(x[empty] // 1000) == {5, 6, 7, 8}
    assert "NaN" not in json.dumps(level)


def test_the_page_and_the_markdown_say_the_same(written, found):
    page = (written / "report.html").read_text("utf-8")
    read = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    assert found["words"] in read
    facts = json.loads((written / "report.json").read_text("utf-8"))
    assert f"the detector 'normal' gave {found['words']}" in facts["summary"]
    # The rate that is asked for is of time points, and no second one of windows stands beside it.
    assert facts["verdicts"] == []
    assert 'id="verdicts"' not in page
    assert "instances as abnormal" not in facts["summary"]
    for one in found["alarms"]:
        assert f"{one['first']} {one['last']}" in read
    assert f"{found['measures']['vus_pr']:.4g}" in read
    text = (written / "report.md").read_text("utf-8")
    assert found["words"] in text
    assert all(one["first"] in text for one in found["alarms"])


@pytest.mark.slow
def test_each_group_is_counted_and_those_with_alarms_are_drawn(tmp_path):
    def machines(part):
        tables = [pump_table(part, seed).assign(machine=seed + 7) for seed in range(2)]
        return pd.concat(tables, ignore_index=True)

    detector = fitted(machines("train"), group="machine")
    new = load(machines("test"), **ROLES, group="machine")
    save_bundle(tmp_path / "press", detector.encoder_, {"normal": detector})
    path = tmp_path / "r.html"
    (chapter,) = write_report(tmp_path / "press", path, new, baselines=None)["alarms"]
    alarms = detector.alarms(new)
    counts = alarms["machine"].value_counts()
    assert {one["name"]: one["n_alarms"] for one in chapter["groups"]} == {
        str(machine): counts.get(machine, 0) for machine in (7, 8)
    }
    assert set(chapter["calibration"]["realised"]["by_group"]) == {"7", "8"}
    assert [chart["group"] for chart in chapter["charts"]] == [
        one["name"] for one in chapter["groups"] if one["n_alarms"]
    ]
    for one in chapter["alarms"]:
        chart = chapter["charts"][one["chart"]]
        assert chart["group"] == one["group"]
        first = chart["alarms"][one["place"]]["first"]
        assert pd.Timestamp(first, unit="ms") == pd.Timestamp(one["first"])
    assert "realised when calibrated" in path.read_text("utf-8")


# in a browser


@pytest.fixture
def opened(window, written, request):
    """The page, in a window of the width given."""
    page = window(*getattr(request, "param", (1440, "light")))
    page.goto((written / "report.html").as_uri())
    return page


@pytest.mark.first
@pytest.mark.parametrize("opened", WINDOWS, indirect=True)
def test_the_chart_is_drawn_without_a_complaint_and_bars_nobody(opened):
    assert violations(opened) == []
    assert faults(opened) == []
    assert opened.complaints == []
    colours = opened.evaluate("""() => {
        const canvas = document.querySelector(".series canvas");
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const found = new Set();
        for (let i = 0; i < data.length; i += 4) found.add(data.slice(i, i + 3).join());
        return [...found];
    }""")
    assert {"0,114,178", "213,94,0", "230,159,0"} <= set(colours)


@pytest.mark.first
def test_keys_mouse_and_table_show_an_alarm(opened, found):
    (chart,) = found["charts"]
    stage, output = opened.locator(".series .stage"), opened.locator(".series output")
    n = len(chart["alarms"])
    assert f"{n} of {n} alarms" in output.inner_text()
    whole = output.inner_text().split(": ")[0]

    stage.press("n")
    worst = found["alarms"][0]["channel"]
    assert output.inner_text().endswith(f"alarm 1 of {n}, worst channel {worst}")
    stage.press("p")
    assert f"alarm {n} of {n}" in output.inner_text()
    stage.press("Home")
    assert output.inner_text().split(": ")[0] == whole
    opened.get_by_role("button", name="Show alarm 2", exact=True).press("Enter")
    assert f"alarm 2 of {n}" in output.inner_text()
    opened.get_by_role("button", name="All", exact=True).click()
    assert output.inner_text().split(": ")[0] == whole

    canvas = opened.locator(".series canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    peak = pd.Timestamp(found["alarms"][1]["peak"])
    first, last = (pd.Timestamp(chart["levels"][0]["x"][at], unit="ms") for at in (0, -1))
    share = (peak - first) / (last - first)
    x = box["x"] + 58 + share * (box["width"] - 68)
    opened.mouse.move(x, box["y"] + 60)
    read = opened.locator(".series .readout").inner_text()
    assert f"{peak:%d %b %Y}" in read
    assert all(name in read for name in (*chart["channels"], "score"))
    opened.mouse.move(x - 60, box["y"] + 60)
    opened.mouse.down()
    opened.mouse.move(x + 60, box["y"] + 60)
    opened.mouse.up()
    assert output.inner_text().split(": ")[0] != whole
    canvas.dblclick()
    assert output.inner_text().split(": ")[0] == whole
