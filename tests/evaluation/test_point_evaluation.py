"""A detector tested on labelled time points, beside baselines that score the same windows."""

import json

import numpy as np
import pandas as pd
import pytest

from isthmus import AnomalyDetector, Autoencoder, load
from isthmus.detection import WindowPlaces
from isthmus.errors import DataError
from isthmus.evaluation import evaluate_detector, evaluate_head, evaluate_points

pytestmark = pytest.mark.filterwarnings("ignore:.*gap.* in time:UserWarning")

WINDOW = 16
CUT = {"kind": "series", "time": "when", "group": "machine", "window": WINDOW, "stride": 1}


def table(n, seed, events=()):
    """Two machines in turn, a row a second; `events` are first and last rows that are raised."""
    rng = np.random.default_rng(seed)
    rows = np.arange(n)
    phase = rows // 2 / 5 + rows % 2
    load = np.sin(phase) + 0.1 * rng.normal(size=n)
    anomaly = np.zeros(n, dtype=int)
    for first, last in events:
        anomaly[first : last + 1][rows[first : last + 1] % 2 == 0] = 1
    return pd.DataFrame(
        {
            "when": pd.Timestamp("2024-05-01") + pd.to_timedelta(rows // 2, unit="s"),
            "machine": np.array(["b", "a"])[rows % 2],
            "load": load + 3 * anomaly,
            "heat": np.cos(phase) + 0.1 * rng.normal(size=n),
            "anomaly": anomaly,
        }
    )


@pytest.fixture(scope="module")
def train():
    return load(table(1000, 0).drop(columns="anomaly"), **CUT)


@pytest.fixture(scope="module")
def test():
    return load(table(800, 1, [(300, 330), (600, 601)]), label="anomaly", **CUT)


@pytest.fixture(scope="module")
def detector(train):
    encoder = Autoencoder(architecture="dense", n_components=3, max_epochs=2, random_state=0)
    return AnomalyDetector(encoder, random_state=0, false_alarm_rate=0.05, min_length=2).fit(train)


def test_the_figures_are_those_of_the_decisions(detector, test):
    found = evaluate_detector(detector, test, normal=0)
    decided, points = detector.decide_points(test), test.points
    alarms, known = decided.alarm_positions(merge_gap=8, min_length=2)
    assert found["code"] == evaluate_points(
        decided.scores,
        points.y,
        normal=0,
        abnormal=decided.abnormal,
        alarms=alarms,
        known=known,
        segments=points.segments,
        step=1.0,
        window=WINDOW,
    )
    assert (found["by"], found["asked"], found["baselines"]) == ("point", 0.05, {})
    assert found["code"]["events"] == {"n": 2, "n_found": 2, "recall": 1.0}
    assert (found["normal"], found["labels"]) == (0, {"0": 783, "1": 17})
    assert (found["n_windows"], found["n_known"]) == (2 * (400 - WINDOW + 1), 0)
    assert len(detector.alarms(test)) == len(alarms)
    json.dumps(found)
    assert "VUS-PR" in found._repr_html_()


def test_baselines_score_the_same_windows_and_points(detector, train, test):
    found = evaluate_head(detector, test, train, baselines="fast", normal=0, random_state=0)
    assert list(found["baselines"]) == ["raw", "pca", "untrained"]
    encoder, points = detector.encoder_, test.points
    places = WindowPlaces.cut(points.segments, WINDOW, 1)
    windows = next(places.chunks(points.values, len(places)))
    known = encoder.preprocessor_.to_network(train.X).reshape(len(train.X), -1)
    new = encoder.preprocessor_.to_network(windows).reshape(len(windows), -1)
    distances = np.sort(np.linalg.norm(new[:, None] - known[None], axis=2), axis=1)[:, :5]
    mean = known.mean(axis=0)
    _, sizes, axes = np.linalg.svd(known - mean, full_matrices=False)
    n = np.searchsorted(np.cumsum(sizes**2) / (sizes**2).sum(), 0.95) + 1
    left = (new - mean) - (new - mean) @ axes[:n].T @ axes[:n]
    for name, scores in (("raw", distances.mean(axis=1)), ("pca", (left**2).sum(axis=1))):
        expected = evaluate_points(
            places.spread(scores), points.y, normal=0, segments=points.segments, window=WINDOW
        )
        baseline = found["baselines"][name]
        assert baseline["auroc"] == pytest.approx(expected["auroc"], abs=1e-4)
        assert baseline["vus_pr"] == pytest.approx(expected["vus_pr"], abs=1e-3)
        assert (baseline["n"], baseline["n_train"]) == (800, len(train))
    assert 0.5 < found["baselines"]["untrained"]["auroc"] <= 1


def test_windows_may_still_be_evaluated(detector, test):
    found = evaluate_detector(detector, test.X, np.where(test.y == 0, 1, -1))
    assert found["code"]["n"] == len(test)
    assert "by" not in found
    assert evaluate_head(detector, test, normal=0, by="window")["code"]["n"] == len(test)
    with pytest.raises(DataError, match="got by='row'"):
        evaluate_head(detector, test, normal=0, by="row")


def test_zero_is_normal_in_a_column_whose_name_says_so(detector, test):
    with pytest.warns(UserWarning, match="0 is taken as normal"):
        found = evaluate_detector(detector, test)
    assert found["code"] == evaluate_detector(detector, test, normal=0)["code"]


def test_labels_that_are_all_normal_have_false_alarms_and_no_ranking(detector):
    quiet = load(table(800, 2), label="anomaly", **CUT)
    code = evaluate_detector(detector, quiet, normal=0)["code"]
    assert (code["auroc"], code["vus_pr"]) == (None, None)
    assert code["n_abnormal"] == 0
    assert code["events"] == {"n": 0, "n_found": 0, "recall": None}
    assert code["false_points"]["n"] == 800
    assert code["false_alarms"]["per_day"] == code["false_alarms"]["count"] * 86400 / 800


def test_windows_of_the_fit_are_counted(detector, train):
    again = load(table(1000, 0), label="anomaly", **CUT)
    assert evaluate_detector(detector, again, normal=0)["n_known"] == len(train)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.drop(columns="anomaly"), "has no labels"),
        (lambda f: f.assign(anomaly=None), "no test time point is labelled"),
        (lambda f: f.rename(columns={"anomaly": "state"}), "labels that are only 0 and 1"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(detector, change, words):
    frame = change(table(400, 3, [(100, 120)]))
    label = frame.columns[4] if len(frame.columns) > 4 else None
    data = load(frame, label=label, **CUT)
    with pytest.raises(DataError, match=words):
        evaluate_detector(detector, data, by="point")


def test_a_detector_of_windows_has_no_time_points(test):
    encoder = Autoencoder(kind="series", architecture="dense", max_epochs=1, random_state=0)
    detector = AnomalyDetector(encoder, random_state=0, false_alarm_rate=0.1)
    detector.fit(test.X[test.y == 0][::WINDOW])
    with pytest.raises(DataError, match="was not fitted on series by time point"):
        evaluate_detector(detector, test, normal=0, by="point")
