"""Conformal p-values, thresholds and selections against counting, formulas and simulation."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest

from isthmus.cli.options import FalseAlarmRate
from isthmus.detection import AnomalyDetector, Calibration, check_rate
from isthmus.detection.calibration import (
    DEFAULT_RATE,
    choose_calibration,
    draw_calibration_rows,
    round_up,
    rows_needed,
)
from isthmus.errors import CalibrationError, CalibrationWarning

RATES = ["0.5", "0.3", "0.25", "0.2", "0.15", "0.1", "0.07", "0.05", "0.03", "0.01", "0.001"]


def with_ties(n, seed):
    """Scores of which many are equal."""
    return np.random.default_rng(seed).integers(0, max(2, n // 3), n) / 7


# --- p-values ----------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 9, 50, 99])
def test_a_p_value_counts_calibration_scores_at_least_as_large(n):
    calibrating, scores = with_ties(n, 0), np.append(with_ties(40, 1), [-1, 1e9])

    p_values = Calibration(calibrating).p_values(scores)

    counted = [(1 + sum(c >= s for c in calibrating)) / (n + 1) for s in scores]
    assert p_values.tolist() == counted


@pytest.mark.parametrize("n", [1, 2, 9, 19, 50, 99, 400])
def test_beyond_the_threshold_is_exactly_a_p_value_at_the_rate_or_below(n):
    calibration = Calibration(with_ties(n, 2))
    scores = np.concatenate([calibration.scores, calibration.scores + 1e-9, with_ties(60, 3)])
    drawn = np.random.default_rng(4).uniform(1 / (n + 1), 1, 60)
    every = np.arange(1, n + 1) / (n + 1)
    for rate in [*every, *drawn, *(float(r) for r in RATES), 1 - 1e-12]:
        if rate < 1 / (n + 1):
            continue
        beyond = scores > calibration.threshold_for_rate(rate)
        np.testing.assert_array_equal(beyond, calibration.p_values(scores) <= rate)


def test_the_threshold_is_the_kth_largest_calibration_score():
    scores = np.random.default_rng(0).normal(size=99)
    largest = sorted(scores, reverse=True)
    for rate, k in ((0.01, 1), (0.019, 1), (0.02, 2), (0.05, 5), (0.07, 7), (0.5, 50)):
        assert Calibration(scores).threshold_for_rate(rate) == largest[k - 1]


@pytest.mark.parametrize("n", [4, 19, 60])
def test_a_normal_instance_has_a_small_p_value_as_rarely_as_it_says(n):
    draws = np.random.default_rng(n).uniform(size=(20_000, n + 1))
    p_values = (1 + (draws[:, 1:] >= draws[:, :1]).sum(axis=1)) / (n + 1)
    some = [Calibration(row[1:]).p_values(row[:1])[0] for row in draws[:200]]
    np.testing.assert_array_equal(some, p_values[:200])

    for rate in (0.02, 0.05, 0.1, 0.3, 0.8):
        exactly = math.floor(rate * (n + 1)) / (n + 1)  # the scores have no ties
        error = math.sqrt(exactly * (1 - exactly) / len(draws))
        assert exactly <= rate
        assert abs((p_values <= rate).mean() - exactly) <= 4 * error


# --- rounding decides nothing --------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-3, 1, 30, 1e6])
@pytest.mark.parametrize("n", [1, 19, 200])
def test_a_calibration_row_scored_again_keeps_its_p_value_and_verdict(n, scale):
    # Scores of calibration rows, all of them with ties, one last digit up or down.
    own = np.round(with_ties(n, 5) * scale, 6)
    calibration = Calibration.with_tolerance(own)
    off = 2e-6 * np.maximum(1, np.abs(own))
    as_they_are = calibration.p_values(own)
    for scored in (np.round(own + off, 6), np.round(own - off, 6)):
        np.testing.assert_array_equal(calibration.p_values(scored), as_they_are)
        for rate in np.arange(1, n + 1) / (n + 1):
            threshold = calibration.threshold_for_rate(rate)
            np.testing.assert_array_equal(scored > threshold, as_they_are <= rate)


@pytest.mark.parametrize("n", [9, 60, 2000])
def test_with_a_tolerance_p_values_only_grow_and_by_the_scores_within_it(n):
    rng = np.random.default_rng(n)
    own, scores = np.round(rng.normal(size=n), 6), np.round(rng.normal(size=500), 6)
    plain, tolerant = Calibration(own), Calibration.with_tolerance(own)
    margin = 1e-4 * np.maximum(1, np.abs(own))
    away = scores[:, None] - own
    within = ((away > 0) & (away <= margin)).sum(axis=1)

    grown = (tolerant.p_values(scores) - plain.p_values(scores)) * (n + 1)

    np.testing.assert_allclose(grown, within, atol=1e-6)
    assert tolerant.smallest_rate == plain.smallest_rate
    assert (tolerant.conditional_p_values(scores) >= plain.conditional_p_values(scores)).all()


def test_no_score_of_six_decimals_lies_on_a_threshold():
    own = np.round(np.random.default_rng(0).normal(size=500) * 3, 6)
    steps = Calibration.with_tolerance(own).scores * 1e6
    assert np.abs(steps - np.floor(steps) - 0.5).max() < 1e-3


# --- p-values that hold given the calibration rows -----------------------------------------


def test_conditional_p_values_follow_the_published_formula():
    n, delta = 11, 0.2
    k = n // 2
    bounds = [1.0] * (n + 1)  # b_1 .. b_n, and 1 beyond
    for i in range(k, n + 1):
        above = math.prod(range(i - k + 1, i + 1)) / math.prod(range(n - k + 1, n + 1))
        bounds[n - i] = 1 - delta ** (1 / k) * above ** (1 / k)
    scores = 10.5 - np.arange(n + 1)  # no calibration score above the first, one above the next

    got = Calibration(np.arange(float(n))).conditional_p_values(scores, 1 - delta)

    np.testing.assert_allclose(got, bounds, rtol=1e-12)


@pytest.mark.parametrize(("n", "confidence"), [(99, 0.9), (30, 0.5)])
def test_conditional_p_values_hold_for_all_rates_at_once_as_often_as_asked(n, confidence):
    # Given calibration scores, p <= b_j where fewer than j of them are at least as large: for
    # uniform scores with the probability of the j-th order statistic of 1 - score.
    scores = n - 0.5 - np.arange(n)
    bounds = Calibration(np.arange(float(n))).conditional_p_values(scores, confidence)
    ordered = np.sort(np.random.default_rng(0).uniform(size=(20_000, n)), axis=1)

    holds = (ordered <= bounds).all(axis=1).mean()

    error = math.sqrt(confidence * (1 - confidence) / len(ordered))
    # Simes' bounds are exact for independent scores: neither too rarely nor needlessly often.
    assert abs(holds - confidence) <= 4 * error


def test_conditional_p_values_are_larger_and_in_the_same_order():
    calibration = Calibration(np.random.default_rng(0).normal(size=99))
    scores = np.sort(np.random.default_rng(1).normal(size=200))

    usual = calibration.p_values(scores)
    conditional = calibration.conditional_p_values(scores, 0.9)

    assert (conditional >= usual).all()
    assert conditional.max() <= 1
    assert (np.diff(conditional) <= 0).all()
    assert (calibration.conditional_p_values(scores, 0.99) >= conditional).all()


@pytest.mark.parametrize("confidence", [0, 1, -0.1, 1.5, float("nan")])
def test_a_confidence_out_of_range_is_refused(confidence):
    with pytest.raises(CalibrationError, match="expected a number in"):
        Calibration(np.arange(9.0)).conditional_p_values(np.zeros(1), confidence)


# --- rates -------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", RATES)
def test_rows_needed_is_the_least_number_that_holds_the_rate(rate):
    least = next(n for n in range(1, 2000) if Fraction(rate) * (n + 1) >= 1)

    assert rows_needed(float(rate)) == least
    Calibration(np.arange(least)).threshold_for_rate(float(rate))
    if least > 1:
        with pytest.raises(CalibrationError, match=f"needs {least} calibration rows"):
            Calibration(np.arange(least - 1)).threshold_for_rate(float(rate))


@pytest.mark.parametrize("n", [*range(1, 60), 99, 1234])
def test_the_rate_that_a_refusal_names_can_be_had(n):
    with pytest.raises(CalibrationError, match=f"there are {n}; the smallest rate") as refusal:
        Calibration(np.arange(n)).threshold_for_rate(1e-5)

    named = re.search(r"can hold is ([\d.e-]+):", str(refusal.value))[1]
    Calibration(np.arange(n)).threshold_for_rate(float(named))
    assert float(named) == pytest.approx(1 / (n + 1), rel=0.01)


def test_rounding_up_is_never_below():
    for n in range(1, 3000):
        assert 1 / n <= float(f"{round_up(1 / n):.3g}") + 1e-12 < 1.01 / n + 1e-12


@pytest.mark.parametrize(
    "rate", [0, 1, -0.1, 1.5, 5, True, "0.05", None, [0.1], float("nan"), float("inf")]
)
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(CalibrationError, match="expected a number above 0 and below 1"):
        check_rate(rate)
    with pytest.raises(CalibrationError, match="got false_alarm_rate="):
        Calibration(np.arange(99.0)).threshold_for_rate(rate)


def test_auto_is_one_in_a_hundred_where_the_rows_hold_it():
    assert Calibration(np.arange(99.0)).choose_rate("auto") == 0.01
    assert Calibration(np.arange(98.0)).choose_rate(0.25) == 0.25


def test_auto_warns_and_takes_the_smallest_rate_otherwise():
    calibration = Calibration(np.arange(36.0))
    with pytest.warns(CalibrationWarning, match="0.0271, the smallest that 36 .* 0.01 needs 99"):
        rate = calibration.choose_rate("auto")
    assert rate == calibration.smallest_rate == 1 / 37
    assert calibration.threshold_for_rate(rate) == 35


def test_the_help_of_the_command_line_states_the_usual_rate():
    assert f"auto is {DEFAULT_RATE:g}," in FalseAlarmRate.__metadata__[0].help
    assert f'`"auto"` is {DEFAULT_RATE:g},' in (AnomalyDetector.__doc__ or "")


def choose(calibration, n, rate=0.5, seed=0):
    return draw_calibration_rows(calibration, n, rate, np.random.default_rng(seed))


def test_auto_splits_from_two_thousand_normal_rows_on():
    assert choose_calibration("auto", 1999) == "cross"
    assert choose_calibration("auto", 2000) == "split"
    assert choose_calibration("split", 4) == "split"
    assert choose_calibration("cross", 9999) == "cross"


@pytest.mark.parametrize("n", [4, 5, 7, 9, 10, 103])
def test_cross_holds_every_row_out_once(n):
    parts = choose("cross", n)

    assert sorted(np.concatenate(parts)) == list(range(n))
    assert len(parts) == min(5, n // 2)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    ("n", "rate", "size"),
    [
        (100, 0.1, 20),  # a fifth
        (101, 0.1, 21),
        (60, 0.05, 19),  # as many as the rate needs, when that is more
        (38, 0.05, 19),  # up to half
        (300, 0.01, 99),
        (9_999, 0.01, 2_000),
        (10_001, 0.01, 2_000),  # and 2,000 at most
        (10_000, 0.0004, 2_499),  # unless the rate needs more
        (60, "auto", 30),  # "auto" takes half rather than failing
        (1_000, "auto", 200),
    ],
)
def test_split_sets_a_fifth_aside_and_never_fewer_than_the_rate_needs(n, rate, size):
    (part,) = choose("split", n, rate)

    assert len(part) == size == len(set(part))
    assert 0 <= part.min() <= part.max() < n


@pytest.mark.parametrize("calibration", ["split", "cross"])
def test_rows_are_chosen_at_random_and_the_same_with_the_same_seed(calibration):
    first, same, other = (np.concatenate(choose(calibration, 200, seed=s)) for s in (0, 0, 1))

    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("n", [4, 5, 6, 7, 36, 50])
@pytest.mark.parametrize("calibration", ["split", "cross"])
def test_a_refusal_names_rows_and_a_rate_that_are_not_refused(calibration, n):
    rate = 0.01
    with pytest.raises(CalibrationError, match=f"needs 99 .* {n} normal rows") as refusal:
        choose(calibration, n, rate)

    rows = int(re.search(r"bring (\d+) normal rows", str(refusal.value))[1])
    named = float(re.search(r"a rate of ([\d.]+) or more", str(refusal.value))[1])
    assert sum(map(len, choose(calibration, rows, rate))) >= rows_needed(rate)
    with pytest.raises(CalibrationError, match="bring"):
        choose(calibration, rows - 1, rate)
    assert sum(map(len, choose(calibration, n, named))) >= rows_needed(named)
    assert ("pass calibration='cross'" in str(refusal.value)) == (calibration == "split")


@pytest.mark.parametrize("n", [0, 1, 3])
def test_fewer_than_four_rows_are_refused(n):
    with pytest.raises(CalibrationError, match=f"got {n} samples .* at least 4"):
        choose_calibration("auto", n)


def test_an_unknown_way_to_calibrate_is_refused():
    with pytest.raises(CalibrationError, match="got calibration='loo', expected 'auto', 'split'"):
        choose_calibration("loo", 100)
