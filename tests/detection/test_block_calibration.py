"""Rates of time points and of alarms, calibrated on blocks of dependent scores."""

import warnings

import numpy as np
import pytest
from scipy.signal import lfilter

from isthmus.detection import (
    AlarmRate,
    Calibration,
    block_calibration,
    find_alarms,
    mean_cluster_size,
)
from isthmus.errors import CalibrationError, CalibrationWarning


def autoregressive(rng, n, phi=0.9):
    return lfilter([1], [1, -phi], rng.normal(size=n + 500))[500:]


def blocks_of(n_blocks, length):
    first = np.arange(n_blocks) * length
    return np.column_stack([first, first + length])


def simulated(seed, n_blocks=5, length=400, phi=0.9, **options):
    rng = np.random.default_rng(seed)
    scores = np.concatenate([autoregressive(rng, length, phi) for _ in range(n_blocks)])
    return block_calibration(scores, blocks_of(n_blocks, length), window=16, **options), rng


def lowest_by_scan(found, used, rate, gap=0, least=1):
    """Return the threshold for alarms on the points used, found score after score."""
    n, n_folds = used.sum(), len(np.unique(found.fold[used]))

    def holds(threshold):
        abnormal = used & (found.scores > threshold)
        alarms = find_alarms(abnormal, found.blocks, merge_gap=gap, min_length=least)
        counts = np.bincount(found.fold[alarms[:, 0]], minlength=1)
        cells = counts.sum() + 1 <= rate * (n + gap + least)
        blocks = counts.sum() + counts.max() <= rate * (n + n / n_folds)
        return counts.sum() == 0 or (cells and blocks)

    descending = np.sort(found.scores[used])[::-1]
    broken = next(i for i, threshold in enumerate(descending) if not holds(threshold))
    return Calibration.with_tolerance(descending[broken - 1 : broken]).scores[0]


# --- points ------------------------------------------------------------------------------


def test_points_of_a_cluster_that_are_equal_count_as_one():
    values = np.random.default_rng(0).normal(size=500)
    found = block_calibration(np.repeat(values, 8), blocks_of(1, 4000), window=8, mean_cluster=8)
    expected = Calibration.with_tolerance(values)

    np.testing.assert_array_equal(found.calibration.scores, expected.scores)
    assert found.threshold_for_rate(0.01) == expected.threshold_for_rate(0.01)


def test_points_that_are_independent_all_count():
    scores = np.random.default_rng(0).normal(size=3000)
    assert mean_cluster_size(scores) == pytest.approx(1, abs=0.2)
    found = block_calibration(scores, blocks_of(3, 1000), window=1)
    assert found.n_independent > 2500


def test_clusters_of_an_extreme_value_process_have_the_size_that_theory_gives():
    # Maxima of each 5 successive values of independent ones: the extremal index is 1/5.
    values = np.random.default_rng(0).pareto(2, size=40_004)
    maxima = np.lib.stride_tricks.sliding_window_view(values, 5).max(axis=1)
    assert mean_cluster_size(maxima) == pytest.approx(5, rel=0.15)


@pytest.mark.parametrize("phi", [0.0, 0.9])
def test_the_mean_realised_share_of_later_blocks_is_at_most_the_rate_asked(phi):
    realised = []
    for seed in range(150):
        found, rng = simulated(seed, phi=phi)
        threshold = found.threshold_for_rate(0.02)
        later = np.concatenate([autoregressive(rng, 400, phi) for _ in range(10)])
        realised.append((later > threshold).mean())
    error = np.std(realised) / np.sqrt(len(realised))
    assert np.mean(realised) <= 0.02 + 2 * error
    assert np.mean(realised) >= 0.01  # and not by never giving an alarm


def test_the_band_holds_the_share_of_later_blocks_as_often_as_stated():
    inside = []
    for seed in range(150):
        found, rng = simulated(seed)
        low, high = found.band(0.02, 2000)
        later = np.concatenate([autoregressive(rng, 400) for _ in range(5)])
        inside.append(low <= (later > found.threshold_for_rate(0.02)).mean() <= high)
    assert np.mean(inside) >= 0.9


def test_for_a_rate_that_the_points_cannot_hold_the_highest_score_decides_with_a_warning():
    found, _ = simulated(0, length=100)
    with pytest.warns(CalibrationWarning, match=r"held out, and there are 500, .* the highest sc"):
        assert found.choose_rate(0.001) == 0.001
    assert not (found.scores > found.threshold_for_rate(0.001)).any()
    assert not found.holds(0.001)
    assert found.holds(found.calibration.smallest_rate)
    with pytest.warns(CalibrationWarning, match=r"0.01 needs about [\d,]+"):
        assert found.choose_rate("auto") == found.calibration.smallest_rate


def test_points_without_a_score_take_no_part():
    scores = np.random.default_rng(0).normal(size=300)
    holed = np.concatenate([np.full(20, np.nan), scores, np.full(50, np.nan)])
    blocks = np.array([[0, 120], [120, 320], [320, 370]])
    found = block_calibration(holed, blocks, window=5, groups=["a", "b", "c"])

    np.testing.assert_array_equal(found.scores, scores)
    assert found.blocks.tolist() == [[0, 100], [100, 300]]
    assert found.groups == ("a", "b")
    p_values = found.p_values(np.array([np.nan, 99.0]))
    assert np.isnan(p_values[0])
    assert p_values[1] == found.calibration.smallest_rate
    with pytest.raises(CalibrationError, match="got 0 time points with a score"):
        block_calibration(holed, blocks[2:], window=5)


def test_realised_rates_are_those_of_each_stretch_at_the_threshold_of_the_others():
    found, _ = simulated(3, n_blocks=10, length=200, groups=["a"] * 4 + ["b"] * 6)
    facts = found.realised(0.03)

    shares = []
    for one in range(10):
        others = np.delete(found.blocks, one, axis=0)
        rest = block_calibration(
            found.scores, others, window=16, mean_cluster=found.mean_cluster
        ).threshold_for_rate(0.03)
        first, end = found.blocks[one]
        shares.append((found.scores[first:end] > rest).mean())
    np.testing.assert_allclose([block["share"] for block in facts["blocks"]], shares)
    assert facts["realised"] == pytest.approx(np.mean(shares))
    assert (facts["lowest"], facts["highest"]) == (min(shares), max(shares))
    assert facts["by_group"]["a"] == pytest.approx(np.mean(shares[:4]))
    assert facts["by_group"]["b"] == pytest.approx(np.mean(shares[4:]))


# --- alarms ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_the_threshold_is_the_lowest_from_which_up_the_alarms_are_few_enough(seed):
    found, _ = simulated(seed)
    rate, gap, least = 1 / 250, 4, 2
    lowest = lowest_by_scan(found, found.fold >= 0, rate, gap, least)

    got = found.alarm_threshold(rate, merge_gap=gap, min_length=least)

    assert got.threshold == lowest
    alarms = find_alarms(found.scores > lowest, found.blocks, merge_gap=gap, min_length=least)
    assert got.n_alarms == len(alarms)
    assert got.share_of_points == (found.scores > lowest).mean()


@pytest.mark.parametrize("phi", [0.0, 0.9])
def test_the_mean_number_of_alarms_on_later_blocks_is_at_most_the_number_asked(phi):
    rate, realised, inside = AlarmRate.parse("1 per 500 points"), [], []
    for seed in range(150):
        found, rng = simulated(seed, phi=phi)
        threshold = found.alarm_threshold(rate, merge_gap=8)
        later = np.concatenate([autoregressive(rng, 400, phi) for _ in range(10)])
        alarms = find_alarms(later > threshold.threshold, blocks_of(10, 400), merge_gap=8)
        realised.append(len(alarms) / 8)
        low, high = threshold.band(4000)
        inside.append(low <= len(alarms) <= high)
    error = np.std(realised) / np.sqrt(len(realised))
    assert np.mean(realised) <= 1 + 2 * error
    assert np.mean(realised) >= 0.5
    assert np.mean(inside) >= 0.85


def test_alarms_that_come_in_bursts_are_counted_by_the_worst_block():
    scores = np.random.default_rng(0).normal(size=5000)
    even = block_calibration(scores, blocks_of(10, 500), window=8)
    scores[4500:] += 5 * (np.arange(500) % 50 == 0)
    burst = block_calibration(scores, blocks_of(10, 500), window=8)

    assert even.alarm_threshold(1 / 250).n_alarms == 18
    assert burst.alarm_threshold(1 / 250).n_alarms == 12


def test_for_a_rate_of_alarms_that_the_blocks_cannot_hold_the_highest_score_decides():
    found, _ = simulated(0, length=120)  # 600 points
    asked = AlarmRate.parse("1 per day")
    with pytest.warns(
        CalibrationWarning,
        match=r"'1 per day' needs at least 24 hours .* there are 10 hours: .* '2.4 per day'",
    ):
        highest = found.alarm_threshold(asked, step=60.0)
    assert not highest.held
    assert highest.n_alarms == 0
    assert not (found.scores > highest.threshold).any()
    held = found.alarm_threshold(AlarmRate.parse("2.4 per day"), step=60.0)
    assert held.held
    assert held.n_alarms == 0
    with pytest.warns(CalibrationWarning, match="at least 9,990 .* there are 600 time points"):
        found.alarm_threshold(1e-4, merge_gap=9)


def test_realised_alarms_are_those_of_each_stretch_at_the_threshold_of_the_others():
    found, _ = simulated(1, n_blocks=10, length=400, groups=["a"] * 5 + ["b"] * 5)
    facts = found.alarm_threshold(1 / 400, merge_gap=4).realised

    shares = []
    for one in range(10):
        threshold = lowest_by_scan(found, found.fold != one, 1 / 400, 4)
        alarms = find_alarms(found.scores > threshold, found.blocks[[one]], merge_gap=4)
        shares.append(len(alarms) / 400)
    np.testing.assert_allclose([block["share"] for block in facts["blocks"]], shares)
    assert facts["realised"] == pytest.approx(np.mean(shares))
    assert facts["by_group"] == {
        "a": pytest.approx(np.mean(shares[:5])),
        "b": pytest.approx(np.mean(shares[5:])),
    }


# --- drift -------------------------------------------------------------------------------


@pytest.mark.parametrize(("phi", "length"), [(0.0, 400), (0.9, 100), (0.9, 1000)])
def test_data_of_one_source_are_rarely_said_to_drift(phi, length):
    n_warned = 0
    for seed in range(200):
        found, _ = simulated(seed, length=length, phi=phi, mean_cluster=5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            n_warned += found.warn_of_drift(found.realised(0.05))
    assert n_warned <= 10


@pytest.mark.parametrize("drift", ["trend", "last block", "another machine"])
def test_a_drift_is_warned_of(drift):
    found, _ = simulated(0, n_blocks=5, length=1000)
    added = {
        "trend": np.linspace(0, 8, 5000),
        "last block": 5.0 * (np.arange(5000) >= 4000),
        "another machine": 5.0 * (np.arange(5000) < 1000),
    }[drift]
    drifting = block_calibration(found.scores + added, found.blocks, window=16, mean_cluster=4)

    assert drifting.drift["drifts"]
    with pytest.warns(
        CalibrationWarning, match=r"normal data drift: .* and 0\.\d+, where 0.02 is asked"
    ):
        assert drifting.warn_of_drift(drifting.realised(0.02))


def test_a_drift_of_alarms_is_warned_of_in_the_units_of_the_rate():
    found, _ = simulated(0, n_blocks=5, length=1000)
    scores = found.scores + 5.0 * (np.arange(5000) >= 4000)
    drifting = block_calibration(scores, found.blocks, window=16, mean_cluster=4)
    asked = AlarmRate.parse("2 per day")
    realised = drifting.alarm_threshold(asked, step=60.0).realised
    with pytest.warns(CalibrationWarning, match="'0 per day' and '.* per day', where '2 per day'"):
        assert drifting.warn_of_drift(realised, asked, 60.0)


def test_scores_that_are_all_equal_may_give_no_alarm_and_their_band_says_so():
    found = block_calibration(np.zeros(1000), np.array([[0, 1000]]), window=10)
    assert found.band(0.01, 1000)[0] == 0
    assert found.alarm_threshold(1 / 500).n_alarms == 0
    assert not found.drift["drifts"]


def test_a_difference_between_blocks_that_does_not_matter_is_not_warned_of():
    rng = np.random.default_rng(0)
    scores = rng.uniform(size=20_000) * np.repeat([1.0, 0.98], 10_000)
    found = block_calibration(scores, blocks_of(10, 2000), window=8, mean_cluster=1)
    assert not found.warn_of_drift(found.realised(0.1))


def test_too_few_points_for_a_test_of_drift_are_said_to_be_untested():
    found = block_calibration(np.arange(40.0), np.array([[0, 40]]), window=16)
    assert (found.drift["p_blocks"], found.drift["p_trend"], found.drift["drifts"]) == (
        None,
        None,
        False,
    )


def test_high_points_in_one_run_are_one_cluster():
    scores = np.random.default_rng(0).normal(size=2500)
    scores[1000:1149] += 20
    found = block_calibration(scores, np.array([[0, 2500]]), window=64)
    assert found.mean_cluster > 100
    assert not found.holds(0.01)


def test_of_equal_scores_those_of_a_window_count_as_one():
    found = block_calibration(np.ones(640), np.array([[0, 640]]), window=64)
    assert found.n_independent == 10
