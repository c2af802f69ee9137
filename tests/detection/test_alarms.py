"""Alarms of abnormal time points, rates of alarms in words, and the table of alarms."""

import numpy as np
import pandas as pd
import pytest

from isthmus.detection import (
    AdaptiveRate,
    AlarmRate,
    alarm_levels,
    alarm_table,
    as_duration,
    find_alarms,
    known_positions,
)
from isthmus.errors import CalibrationError, DataError


def alarms_one_by_one(abnormal, segments, merge_gap, min_length):
    """Return first, end and known position of each alarm, point after point."""
    found = []
    for begin, end in segments:
        run = None
        for position in range(begin, end):
            if not abnormal[position]:
                continue
            if run is not None and position - run[1] <= merge_gap:
                run[1] = position + 1
            else:
                run = [position, position + 1, None]
                found.append(run)
            if run[2] is None and position + 1 - run[0] >= min_length:
                run[2] = position
    return [run for run in found if run[2] is not None]


def random_segments(rng, m):
    edges = np.sort(rng.choice(m + 1, size=6, replace=False))
    return np.column_stack([edges[:-1], edges[1:]])[rng.random(5) < 0.8]


# --- alarms ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
def test_alarms_are_those_found_point_after_point(seed):
    rng = np.random.default_rng(seed)
    abnormal = rng.random(120) < rng.choice([0.05, 0.3, 0.7])
    segments = random_segments(rng, 120)
    merge_gap, min_length = int(rng.integers(0, 5)), int(rng.integers(1, 6))

    alarms = find_alarms(abnormal, segments, merge_gap=merge_gap, min_length=min_length)
    known = known_positions(alarms, abnormal, segments, min_length=min_length, causal=True)

    expected = alarms_one_by_one(abnormal, segments, merge_gap, min_length)
    assert [[*one, at] for one, at in zip(alarms.tolist(), known.tolist(), strict=True)] == expected


@pytest.mark.parametrize("seed", range(30))
def test_the_alarms_of_every_threshold_are_the_runs_of_levels_above_it(seed):
    rng = np.random.default_rng(seed)
    scores = np.round(rng.normal(size=100), 1)
    scores[rng.random(100) < 0.1] = np.nan
    segments = random_segments(rng, 100)
    hysteresis = {"merge_gap": int(rng.integers(0, 5)), "min_length": int(rng.integers(1, 6))}

    levels = alarm_levels(scores, segments, **hysteresis)

    for threshold in np.unique(scores[~np.isnan(scores)]):
        expected = find_alarms(scores > threshold, segments, **hysteresis)
        np.testing.assert_array_equal(find_alarms(levels > threshold, segments), expected)


def test_an_alarm_that_needs_later_windows_is_known_when_the_last_of_them_ends():
    abnormal = np.array([0, 1, 1, 1, 0, 0, 0, 0, 0, 1], dtype=bool)
    segments = np.array([[0, 9], [9, 10]])
    alarms = find_alarms(abnormal, segments, min_length=1)

    assert known_positions(alarms, abnormal, segments, window=5).tolist() == [5, 9]
    assert known_positions(alarms, abnormal, segments, window=50).tolist() == [8, 9]
    assert known_positions(alarms, abnormal, segments, window=5, causal=True).tolist() == [1, 9]


def test_without_abnormal_points_or_segments_there_is_no_alarm():
    none = np.zeros(5, dtype=bool)
    assert find_alarms(none, np.array([[0, 5]])).shape == (0, 2)
    assert find_alarms(~none, np.zeros((0, 2), dtype=int)).shape == (0, 2)
    assert known_positions(np.zeros((0, 2), dtype=int), none, np.array([[0, 5]])).shape == (0,)
    assert (alarm_levels(np.zeros(5), np.zeros((0, 2), dtype=int)) == -np.inf).all()


@pytest.mark.parametrize(
    "wrong", [{"merge_gap": -1}, {"merge_gap": 1.5}, {"min_length": 0}, {"min_length": True}]
)
def test_a_hysteresis_out_of_range_is_refused(wrong):
    with pytest.raises(DataError, match=f"got {next(iter(wrong))}=.*expected an integer"):
        find_alarms(np.zeros(3, dtype=bool), np.array([[0, 3]]), **wrong)


# --- the table ---------------------------------------------------------------------------


def test_a_row_of_the_table_has_what_a_person_asks_of_an_alarm():
    day = pd.date_range("2024-01-01", periods=8, freq="h", tz="Europe/Berlin")
    identifiers = pd.DataFrame({"pump": list("aaaabbbb"), "time": day})
    scores = np.array([0.0, 5.0, np.nan, 5.0, 0.0, 2.0, 3.0, 0.0])
    shares = np.column_stack([np.linspace(0, 0.7, 8), 1 - np.linspace(0, 0.7, 8)])
    shares[2] = np.nan
    segments = np.array([[0, 4], [4, 8]])
    alarms = find_alarms(scores > 1, segments, merge_gap=1)
    known = known_positions(alarms, scores > 1, segments, causal=True)

    table = alarm_table(
        alarms, scores, 1 / (1 + scores), known, identifiers, shares=shares, channels=["p", "q"]
    )

    assert table.columns.tolist() == [
        *("pump", "first", "last", "peak", "n_points", "known_at", "channel", "share"),
        *("anomaly_score", "p_value"),
    ]
    assert table["pump"].tolist() == ["a", "b"]
    assert table["first"].tolist() == [day[1], day[5]]
    assert table["last"].tolist() == [day[3], day[6]]
    assert table["peak"].tolist() == [day[1], day[6]]
    assert table["known_at"].tolist() == [day[1], day[5]]
    assert table["n_points"].tolist() == [3, 2]
    assert table["channel"].tolist() == ["q", "p"]
    np.testing.assert_allclose(table["share"], [0.9, 0.6])
    np.testing.assert_allclose(table["p_value"], [1 / 6, 1 / 4])


def test_a_table_without_alarms_has_the_same_columns_and_types():
    identifiers = pd.DataFrame({"pump": ["a"] * 4, "time": pd.date_range("2024", periods=4)})
    scores = np.array([0.0, 1.0, 0.0, 0.0])

    def table(alarms):
        known = alarms[:, 0]
        shares = np.full((4, 2), 0.5)
        return alarm_table(
            alarms, scores, scores, known, identifiers, shares=shares, channels=["p", "q"]
        )

    empty, filled = table(np.zeros((0, 2), dtype=int)), table(np.array([[1, 2]]))
    assert len(empty) == 0
    assert empty.dtypes.to_dict() == filled.dtypes.to_dict()


# --- rates in words ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "step", "per_point"),
    [
        ("1 per day", 60.0, 1 / 1440),
        ("1/day", 60.0, 1 / 1440),
        ("one per day", 60.0, 1 / 1440),
        (" 1 false alarm per Day ", 60.0, 1 / 1440),
        ("0.5 per week", 3600.0, 0.5 / 168),
        ("twice a week", 3600.0, 2 / 168),
        ("2 alarms per 12 hours", 1.0, 2 / 43_200),
        ("1 every 2 days", 60.0, 1 / 2880),
        ("1 per month", 86_400.0, 1 / 30),
        ("3 per year", 86_400.0, 3 / 365),
        ("1 per 2000 points", None, 1 / 2000),
        ("1 per 2,000 time points", None, 1 / 2000),
        ("1.5 in 1_000 rows", 60.0, 1.5 / 1000),
        ("1 per 10 s", 0.5, 0.05),
    ],
)
def test_a_rate_in_words_is_a_number_of_alarms_per_time_point(text, step, per_point):
    rate = AlarmRate.parse(text)
    assert rate.per_point(step) == pytest.approx(per_point, rel=1e-12)
    again = AlarmRate.parse(str(rate))
    assert again == rate
    assert AlarmRate.parse(rate) is rate


@pytest.mark.parametrize(
    "text",
    [
        *("", "often", "1", "per day", "1 per fortnight", "0 per day", "-1 per day", "0,5 per day"),
        *("1 per 0 points", "nan per day", "1 per day per day", 0.01, None, True, "1e999 per day"),
    ],
)
def test_another_text_is_refused_with_examples(text):
    with pytest.raises(CalibrationError, match="got false_alarms=.*such as '1 per day'"):
        AlarmRate.parse(text)


def test_a_rate_in_time_needs_the_step():
    with pytest.raises(CalibrationError, match="time= .*--time.*1 per 2000 points"):
        AlarmRate.parse("1 per day").per_point()


def test_a_rate_of_more_than_an_alarm_in_two_points_is_refused():
    with pytest.raises(CalibrationError, match="which is 60 alarms per time point"):
        AlarmRate.parse("1 per second").per_point(60.0)


def test_another_rate_is_told_in_the_same_units_and_rounded_up():
    asked = AlarmRate.parse("1 per week")
    assert str(asked.like(1 / 5000, 60.0)) == "2.02 per week"
    assert asked.like(1 / 5000, 60.0).per_point(60.0) >= 1 / 5000
    assert str(AlarmRate.parse("1 per 2000 points").like(1 / 600)) == "3.34 per 2000 points"


def test_durations_are_told_in_time_where_the_step_is_known():
    assert as_duration(1, None) == "1 time point"
    assert as_duration(1440, 60.0) == "1 day"
    assert as_duration(30, 1.0) == "30 seconds"


@pytest.mark.parametrize("data", ["moved", "all small", "all large"])
def test_an_adaptive_rate_holds_its_share_on_any_data(data):
    rng = np.random.default_rng(0)
    p_values = {
        "moved": np.concatenate([rng.random(3000), rng.random(3000) ** 3]),
        "all small": np.full(6000, 1e-6),
        "all large": np.ones(6000),
    }[data]
    adaptive = AdaptiveRate(0.1, step=0.01)
    for part in np.array_split(p_values, 7):
        found = adaptive.decide(part)
        assert set(found.tolist()) <= {1, -1}
        assert abs(adaptive.alarms / adaptive.n - 0.1) <= adaptive.bound
    assert adaptive.n == 6000
    assert adaptive.bound < 0.02


@pytest.mark.parametrize(("rate", "step"), [(0, 0.1), (1.5, 0.1), (0.1, 0), (0.1, "a")])
def test_an_adaptive_rate_is_between_0_and_1_and_its_step_above_0(rate, step):
    with pytest.raises(CalibrationError, match="got (rate|step)="):
        AdaptiveRate(rate, step)
