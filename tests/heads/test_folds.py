"""Which rows calibrate: none twice, as many as the rate needs, and clear refusals."""

import re

import numpy as np
import pytest

from isthmus.errors import CalibrationError
from isthmus.heads.calibration import rows_needed
from isthmus.heads.folds import calibration_rows, choose_calibration


def choose(calibration, n, rate=0.5, seed=0):
    return calibration_rows(calibration, n, rate, np.random.default_rng(seed))


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
