"""Measures of scores and alarms of time points against labels."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from isthmus.errors import DataError
from isthmus.evaluation import evaluate_points, volume_under_surface


def series(seed, m, events):
    rng = np.random.default_rng(seed)
    abnormal = np.zeros(m, dtype=bool)
    for first, end in events:
        abnormal[first:end] = True
    return abnormal, rng.normal(size=m) + np.convolve(abnormal, np.ones(9) / 9, "same")


# --- volume under the surface ------------------------------------------------------------

# Seed, points, events, window, decimals of the scores; VUS-ROC and VUS-PR of `vus` 0.0.6, by
# `vus.utils.metrics.metricor().RangeAUC_volume_opt(abnormal.astype(int), scores, window)[-2:]`.
ORACLE = [
    (0, 500, [(200, 230)], 30, None, 0.790486759857811, 0.2580801514171759),
    (1, 400, [(0, 9), (20, 24), (300, 360)], 41, None, 0.8589343496575258, 0.5322910343034897),
    (2, 300, [(50, 60), (66, 70), (75, 76), (297, 300)], 50, 1, 0.8815539318485154, 0.37176847578),
    (3, 250, [(10, 240)], 16, None, 0.8162370342430612, 0.969486263176153),
    (4, 200, [(100, 101)], 0, None, 0.507537688442211, 0.010101010101010102),
    (5, 200, [(90, 110)], 1, 0, 0.726388888888889, 0.2010918609671848),
]


@pytest.mark.parametrize(("seed", "m", "events", "window", "decimals", "roc", "pr"), ORACLE)
def test_the_volume_is_that_of_the_published_package(seed, m, events, window, decimals, roc, pr):
    abnormal, scores = series(seed, m, events)
    if decimals is not None:
        scores = np.round(scores, decimals)

    assert volume_under_surface(abnormal, scores, window) == pytest.approx((roc, pr), abs=1e-9)


def test_buffers_do_not_reach_from_one_segment_to_another():
    one, of_one = series(0, 200, [(195, 200)])
    other, of_other = series(1, 300, [(0, 4), (100, 120)])
    forth = np.concatenate([one, other]), np.concatenate([of_one, of_other])
    back = np.concatenate([other, one]), np.concatenate([of_other, of_one])

    apart = volume_under_surface(*forth, 40, np.array([[0, 200], [200, 500]]))

    assert volume_under_surface(*back, 40, np.array([[0, 300], [300, 500]])) == pytest.approx(apart)
    assert volume_under_surface(*forth, 40) != pytest.approx(apart, abs=1e-3)


def test_the_volume_is_undefined_where_all_labels_are_equal():
    assert volume_under_surface(np.zeros(50, dtype=bool), np.arange(50.0), 10) == (None, None)
    assert volume_under_surface(np.ones(50, dtype=bool), np.arange(50.0), 10) == (None, None)


@pytest.mark.parametrize(
    ("scores", "window", "message"),
    [
        (np.zeros(9), 3, "got labels of shape"),
        (np.full(10, np.nan), 3, "got 10 missing scores"),
        (np.zeros(10), -1, "got window=-1"),
    ],
)
def test_what_has_no_volume_is_refused(scores, window, message):
    with pytest.raises(DataError, match=message):
        volume_under_surface(np.arange(10) > 5, scores, window)


# --- evaluation --------------------------------------------------------------------------


def test_points_are_ranked_without_adjustment():
    abnormal, scores = series(0, 400, [(100, 140), (300, 310)])
    found = evaluate_points(scores, abnormal.astype(int), normal=0, window=20)

    assert found["auroc"] == pytest.approx(roc_auc_score(abnormal, scores))
    assert found["auprc"] == pytest.approx(average_precision_score(abnormal, scores))
    assert (found["vus_roc"], found["vus_pr"]) == volume_under_surface(abnormal, scores, 20)
    assert (found["n"], found["n_normal"], found["n_abnormal"]) == (400, 350, 50)
    assert "events" not in found


def test_events_delays_and_false_alarms_are_counted_by_alarm():
    y = np.ones(100, dtype=int)
    y[[*range(10, 20), *range(40, 45), *range(60, 70), *range(90, 95)]] = -1
    alarms = np.array([[5, 12], [17, 19], [30, 33], [64, 80], [94, 97], [98, 99]])
    known = np.array([14, 20, 31, 66, 96, 98])
    abnormal = np.zeros(100, dtype=bool)
    for first, end in alarms:
        abnormal[first:end] = True

    found = evaluate_points(
        abnormal.astype(float), y, abnormal=abnormal, alarms=alarms, known=known, step=60.0
    )

    assert found["events"] == {"n": 4, "n_found": 3, "recall": 0.75}
    assert found["delay"] == {  # of 4, 6 and 6 points
        "mean": pytest.approx(16 / 3),
        "median": 6.0,
        "highest": 6.0,
        "mean_seconds": pytest.approx(320),
        "median_seconds": 360.0,
    }
    assert found["false_alarms"] == {
        "count": 2,
        "per_1000_points": pytest.approx(2000 / 70),
        "per_day": pytest.approx(2 * 1440 / 70),
    }
    assert found["false_points"] == {"count": 21, "n": 70, "share": pytest.approx(21 / 70)}
    assert found["found_points"] == {"count": 11, "n": 30, "share": pytest.approx(11 / 30)}


def test_an_alarm_known_before_an_event_begins_is_not_early_but_at_once():
    y = np.ones(20, dtype=int)
    y[10:15] = -1
    found = evaluate_points(np.zeros(20), y, alarms=np.array([[3, 12]]))
    assert found["delay"]["mean"] == 0
    assert "false_points" not in found


def test_points_without_score_or_label_are_left_out_and_counted():
    abnormal, scores = series(1, 300, [(100, 140), (200, 220)])
    y = np.where(abnormal, -1, 1)
    y[250:260] = 0
    scores[:30] = np.nan
    used = ~np.isnan(scores) & (y != 0)

    found = evaluate_points(scores, y, window=10, segments=np.array([[0, 150], [150, 300]]))

    assert (found["n"], found["n_unscored"], found["n_unlabelled"]) == (260, 30, 10)
    assert found["auroc"] == pytest.approx(roc_auc_score(abnormal[used], scores[used]))
    assert found["vus_pr"] == pytest.approx(
        volume_under_surface(abnormal[used], scores[used], 10, np.array([[0, 120], [120, 260]]))[1]
    )


def test_an_event_without_scores_is_one_that_was_not_found():
    y = np.ones(50, dtype=int)
    y[[0, 1, 30, 31]] = -1
    scores = np.arange(50.0) % 32
    scores[:5] = np.nan
    found = evaluate_points(scores, y, abnormal=scores > 29)
    assert found["events"] == {"n": 2, "n_found": 1, "recall": 0.5}


def test_a_table_of_points_brings_scores_and_verdicts():
    y = np.array([1, 1, -1, 1])
    table = pd.DataFrame(
        {
            "anomaly_score": [np.nan, 1.0, 3.0, 2.5],
            "verdict": ["", "normal", "abnormal", "abnormal"],
        }
    )
    found = evaluate_points(table, y)
    assert found["events"]["recall"] == 1
    assert found["false_points"] == {"count": 1, "n": 2, "share": 0.5}
    assert found["false_alarms"]["count"] == 0  # one alarm, which overlaps the event


@pytest.mark.parametrize("label", [1, -1])
def test_labels_that_are_all_equal_leave_the_ranking_undefined(label):
    found = evaluate_points(np.arange(9.0), np.full(9, label), normal=1, abnormal=np.arange(9) > 6)
    assert (found["auroc"], found["auprc"], found["vus_roc"], found["vus_pr"]) == (None,) * 4
    assert found["events"]["n"] == (label < 0)
    assert found["false_alarms"]["per_1000_points"] == (None if label < 0 else 1000 / 9)


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(DataError, match="got 3 verdicts for 4 scores"):
        evaluate_points(np.zeros(4), [1, 1, 1, -1], abnormal=np.zeros(3, dtype=bool))
    with pytest.raises(DataError, match="normal="):
        evaluate_points(np.zeros(4), np.array([0, 1, 0, 1]))
