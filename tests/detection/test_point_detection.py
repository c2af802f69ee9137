"""A detector of time points: its tables, causal scores, rates, and series with faults."""

import numpy as np
import pandas as pd
import pytest

from isthmus import AnomalyDetector, Autoencoder, load, load_bundle
from isthmus.bundle import save_bundle
from isthmus.data.windows import TimePoints
from isthmus.detection import WindowPlaces
from isthmus.errors import CalibrationError, CalibrationWarning, DataError, DataWarning

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*gap.* in time:UserWarning"),
    pytest.mark.filterwarnings("ignore:normal data drift"),
]
WINDOW = 16
CUT = {"kind": "series", "time": "when", "group": "machine", "window": WINDOW, "stride": 1}


def fit(table, **choices):
    """Fit a detector of time points on a table, a small network for two epochs."""
    encoder = Autoencoder(architecture="dense", n_components=3, max_epochs=2, random_state=0)
    cut = {"label": "anomaly"} if "anomaly" in table else {}
    choices = {"false_alarm_rate": 0.05, "random_state": 0} | choices
    return AnomalyDetector(encoder, **choices).fit(load(table, **CUT | cut))


def test_rows_of_the_table_are_those_given_in_their_order(point_fit, pump):
    new = pump(400, 3).assign(note=np.arange(400))
    found = point_fit.score_points(new, keys=["note"])
    pd.testing.assert_frame_equal(
        found[["when", "machine", "note"]], new[["when", "machine", "note"]]
    )
    shuffled = new.sort_values("machine", kind="stable", ascending=False)
    again = point_fit.score_points(shuffled, keys=["note"])
    pd.testing.assert_frame_equal(
        again.sort_values("note", ignore_index=True), found, check_exact=False, rtol=1e-5
    )


def test_scores_are_means_over_the_windows_that_cover_a_point(point_fit, pump):
    new = pump(200, 4)
    found = point_fit.decide_points(new)
    points = found.points
    places = WindowPlaces.cut(points.segments, WINDOW, 1)
    of_windows = -point_fit.score_samples(next(places.chunks(points.values, len(places))))
    for at in range(len(points)):
        covering = [
            of_windows[n] for n, first in enumerate(places.first) if 0 <= at - first < WINDOW
        ]
        if covering:
            assert found.scores[at] == pytest.approx(np.mean(covering), rel=1e-4, abs=1e-5)
        else:
            assert np.isnan(found.scores[at])
    np.testing.assert_array_equal(found.abnormal, found.scores > point_fit.point_threshold_)


def test_a_stretch_shorter_than_a_window_has_no_score_and_no_verdict(point_fit, pump):
    new = pump(200, 4, gap=False)
    new = new.drop(index=new.index[(new["machine"] == "a") & (new.index >= 2 * WINDOW - 4)])
    found = point_fit.score_points(new)
    short = (found["machine"] == "a").to_numpy()
    assert short.sum() == WINDOW - 2
    assert found.loc[short, ["anomaly_score", "p_value"]].isna().all(axis=None)
    assert (found.loc[short, "verdict"] == "").all()
    assert found.loc[short, ["share_load", "share_heat"]].isna().all(axis=None)
    assert found.loc[~short, "anomaly_score"].notna().all()
    with pytest.raises(DataError, match="longest stretch without a gap has 14 time points"):
        point_fit.score_points(new[short])


def test_a_causal_score_does_not_change_with_later_rows(pump):
    detector = fit(pump(), causal=True)
    new = pump(400, 5, gap=False)
    changed = new.copy()
    changed.loc[200:, ["load", "heat"]] += 9.0
    before, after = detector.score_points(new), detector.score_points(changed)
    pd.testing.assert_frame_equal(before[:200], after[:200], check_exact=False, rtol=1e-5)
    assert before["anomaly_score"][: 2 * (WINDOW - 1)].isna().all()
    assert (after["anomaly_score"][210:] > before["anomaly_score"][210:]).all()
    alarms = detector.alarms(changed)
    assert (alarms["known_at"] <= alarms["last"]).all()


def test_a_bundle_gives_equal_tables(point_fit, pump, tmp_path):
    save_bundle(tmp_path / "b", point_fit.encoder_, {"normal": point_fit})
    loaded = load_bundle(tmp_path / "b").head()
    new = pump(400, 6)
    new.loc[100:130, "load"] += 5
    pd.testing.assert_frame_equal(loaded.score_points(new), point_fit.score_points(new))
    alarms = point_fit.alarms(new)
    pd.testing.assert_frame_equal(loaded.alarms(new), alarms)
    assert len(alarms)
    assert loaded.point_facts_ == point_fit.point_facts_


def test_an_event_is_found_with_the_channel_that_shows_it(point_fit, pump):
    new = pump(400, 7, gap=False)
    event = (new["machine"] == "b") & (new.index >= 200) & (new.index < 230)
    new.loc[event, "heat"] += 5
    alarms = point_fit.alarms(new)
    when = new.loc[event, "when"]
    hit = (alarms["machine"] == "b") & (alarms["first"] <= when.iloc[-1])
    hit &= alarms["last"] >= when.iloc[0]
    assert set(alarms.loc[hit, "channel"]) == {"heat"}
    assert (alarms["known_at"] >= alarms["first"]).all()


def test_labelled_anomalies_of_a_training_part_are_left_out_and_counted(pump):
    table = pump().assign(anomaly=0)
    table.loc[300:320, ["load", "anomaly"]] = 5, 1
    with pytest.warns(UserWarning, match="0 is taken as normal"):
        detector = fit(table)
    points = load(table, label="anomaly", **CUT).points
    first = detector.reference_set_.timeline.first
    abnormal = (points.y == 1)[first[:, None] + np.arange(WINDOW)].any(axis=1)
    np.testing.assert_array_equal(detector.reference_set_.y == -1, abnormal)
    for fold in detector.reference_set_.folds:
        assert not np.isin(np.flatnonzero(abnormal), fold.held_out).any()
    found = detector.score_points(table)
    assert (found["verdict"][300:321] == "abnormal").sum() > 10


def test_unlabelled_anomalies_of_a_training_part_raise_the_threshold(point_fit, pump):
    table = pump()
    table.loc[300:320, "load"] = 9
    detector = fit(table)
    # The score is log(1 + distance).
    assert np.expm1(detector.point_threshold_) > 1.5 * np.expm1(point_fit.point_threshold_)


def test_a_column_of_labels_that_is_always_0_is_all_normal(point_fit, pump):
    with pytest.warns(UserWarning, match="0 is taken as normal"):
        detector = fit(pump().assign(anomaly=0))
    assert (detector.reference_set_.y == 1).all()
    assert detector.point_threshold_ == point_fit.point_threshold_


@pytest.mark.filterwarnings("ignore:.*constant")
def test_a_channel_that_is_constant_is_found_when_it_moves(pump):
    detector = fit(pump().assign(valve=1.0))
    new = pump(300, 8, gap=False).assign(valve=1.0)
    quiet = detector.score_points(new)
    assert quiet["anomaly_score"].notna().all()
    new.loc[150:180, "valve"] = 2.0
    moved = detector.score_points(new)
    assert (moved["anomaly_score"][150:181] > quiet["anomaly_score"][150:181]).mean() > 0.9


@pytest.mark.filterwarnings("ignore:.*dead sensor")
def test_a_channel_that_is_dead_from_some_time_on_is_scored(point_fit, pump):
    new = pump(400, 9, gap=False)
    new.loc[200:, "load"] = new["load"][199]
    found = point_fit.score_points(new)
    assert found["anomaly_score"].notna().all()
    assert found["anomaly_score"][260:].mean() > found["anomaly_score"][:180].mean()


@pytest.mark.filterwarnings("ignore:.*(filled on a line|holds the same value)")
def test_a_channel_that_is_empty_to_the_end_has_verdicts_and_counts(point_fit, pump):
    new = pump(300, 9, gap=False)
    rows = new.index[new["machine"] == "a"][-60:]
    new.loc[rows, "heat"] = np.nan
    new.loc[20, "load"] = np.nan
    with pytest.warns(UserWarning, match="column 'heat' has no reading from row .* for 60 rows: a"):
        found = point_fit.score_points(new)
    assert set(found["verdict"]) == {"normal", "abnormal"}
    assert found.index[found["n_filled"] > 0].tolist() == [20, *rows]
    held = new.copy()
    held.loc[rows, "heat"] = new.loc[new["machine"] == "a", "heat"].dropna().iloc[-1]
    same = point_fit.score_points(held)
    np.testing.assert_array_equal(found["anomaly_score"], same["anomaly_score"])


def test_series_of_other_channels_are_refused(point_fit, pump):
    with pytest.raises(DataError, match="heat"):
        point_fit.score_points(pump(100, 1).drop(columns="heat"))
    with pytest.raises(DataError):
        point_fit.score_points(np.zeros((100, 3)))
    points = TimePoints.of(np.zeros((100, 2)), window=WINDOW + 1)
    with pytest.raises(DataError, match="expected 'load', 'heat'"):
        point_fit.score_points(points)


def test_a_rate_that_so_few_points_cannot_hold_is_a_warning_and_no_lost_training(pump):
    with pytest.warns(CalibrationWarning, match="the threshold is the highest score among them"):
        detector = fit(pump(), false_alarm_rate=1e-5)
    assert not (detector.point_calibration_.blocks.scores > detector.point_threshold_).any()
    assert detector.point_facts_["held"] is False


def test_a_share_of_time_points_and_a_rate_of_alarms_are_not_asked_for_together(pump):
    with pytest.raises(DataError, match="which set the same threshold; pass one of them"):
        fit(pump(), false_alarms="1 per day", false_alarm_rate=0.1)


def test_labels_without_a_role_are_named_as_what_they_are(pump):
    with pytest.warns(UserWarning, match="'anomaly' holds 0 and 1 and is taken as a channel"):
        load(pump().assign(anomaly=0), **CUT)


@pytest.mark.parametrize("value", [1e300, 1e40, np.inf])
def test_a_value_that_no_network_takes_is_named(point_fit, pump, value):
    new = pump(200, 1, gap=False)
    new.loc[57, "load"] = value
    with pytest.raises(DataError, match=r"in column 'load', row 57, .*put a number there"):
        point_fit.score_points(new)


def test_the_length_of_windows_is_that_of_the_fit(point_fit, pump):
    new = pump(100, 1, gap=False)
    of_table = point_fit.score_points(new)
    loaded = load(new, kind="series", time="when", group="machine", window=WINDOW + 9)
    pd.testing.assert_frame_equal(point_fit.score_points(loaded), of_table)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::isthmus.errors.CalibrationWarning")
def test_rates_are_realised_on_data_that_do_not_drift(pump):
    shares = []
    for seed in range(8):
        detector = fit(pump(3000, 2 * seed, gap=False), random_state=seed, false_alarm_rate=0.05)
        found = detector.score_points(pump(3000, 2 * seed + 1, gap=False))
        share = (found["verdict"] == "abnormal").mean()
        low, high = detector.point_calibration_.blocks.band(0.05, 3000)
        shares.append((share, low <= share <= high))
    assert np.mean([share for share, _ in shares]) < 0.08
    assert sum(inside for _, inside in shares) >= 6


def test_a_rate_that_so_few_points_cannot_hold_is_said(pump):
    with pytest.warns(CalibrationWarning, match="needs about"):
        detector = fit(pump(300, 1, gap=False), false_alarm_rate=0.006)
    assert not detector.point_facts_["held"]


@pytest.mark.filterwarnings("ignore::isthmus.errors.CalibrationWarning")
def test_an_extreme_reading_of_the_fit_is_named_by_its_row_and_counts_once(pump):
    table = pump(400, 0)
    table.loc[251, "heat"] = 1e9
    words = r"'heat' holds 1e\+09 in row 251, counting from 0, "
    with pytest.warns(DataWarning, match=words) as found:
        fit(table)
    text = next(str(one.message) for one in found if isinstance(one.message, DataWarning))
    assert "more such values" not in text


def test_later_series_calibrate_alone_and_scores_stay(pump, tmp_path):
    detector = fit(pump())
    later, new = (pump(1600, seed).assign(load=lambda t: 1.3 * t["load"]) for seed in (8, 9))
    before = detector.decide_points(new)
    detector.recalibrate(load(later, **CUT))
    after = detector.decide_points(new)

    np.testing.assert_array_equal(after.scores, before.scores)
    shares = [one.abnormal[one.known].mean() for one in (before, after)]
    assert shares[0] > 0.15 > 0.09 > shares[1] > 0.01
    facts = detector.update_facts_
    assert (facts["n_time_points"], facts["n_calibrating"], detector.calibration_) == (
        1600, detector.point_calibration_.blocks.n_points, "split",
    )  # fmt: skip
    assert facts["n_calibrating"] == 1600 - facts["n_without_window"]
    save_bundle(tmp_path / "press", detector.encoder_, {"normal": detector})
    again = load_bundle(tmp_path / "press").detector()
    np.testing.assert_array_equal(again.decide_points(new).abnormal, after.abnormal)


def test_series_of_the_fit_do_not_calibrate_again(pump):
    detector = fit(pump())
    threshold = detector.point_threshold_
    for wrong in (pump(), pump(20, 1)):
        with pytest.raises((CalibrationError, DataError)):
            detector.recalibrate(load(wrong, **CUT))
    with pytest.raises(DataError, match="pass group=COLUMN"):
        detector.recalibrate(pump(400, 3), groups="machine")
    assert detector.point_threshold_ == threshold
