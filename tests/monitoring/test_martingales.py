"""Ranks and martingales, against their definitions."""

import numpy as np
import pytest
from scipy.stats import kstest

from isthmus.monitoring.martingales import (
    BLOCK,
    N_BETS,
    N_BINS,
    Martingales,
    bets,
    bins_of,
    choose_edges,
    smoothed_ranks,
)

RATE = 0.02


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_ranks_are_those_of_the_definition(rng):
    n, k = 300, 2
    bins, uniform = rng.integers(0, 20, (n, k)), rng.random((n, k))
    counts = np.pad(rng.integers(0, 5, (k, 20)), ((0, 0), (0, N_BINS - 20)))
    bag = [np.repeat(np.arange(N_BINS), counts[part]).tolist() for part in range(k)]
    expected = np.empty((n, k))
    for row, part in np.ndindex(n, k):
        values, own = np.array(bag[part]), bins[row, part]
        at_most = (values < own).sum() + uniform[row, part] * ((values == own).sum() + 1)
        expected[row, part] = at_most / (len(values) + 1)
        bag[part].append(own)
    assert np.allclose(smoothed_ranks(bins, counts, uniform), expected, atol=1e-12)
    assert counts.tolist() == [np.bincount(values, minlength=N_BINS).tolist() for values in bag]


def test_ranks_of_equal_values_are_uniform_and_independent(rng):
    bins = rng.choice(3, p=[0.7, 0.2, 0.1], size=(20_000, 1))
    counts = np.zeros((1, N_BINS), dtype=np.int64)
    ranks = smoothed_ranks(bins, counts, rng.random(bins.shape))[:, 0]
    assert kstest(ranks, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(ranks[1:], ranks[:-1])[0, 1]) < 0.02


def test_martingale_is_the_mixture_over_bets_and_begins(rng):
    ranks = rng.random((5 * BLOCK + 3, 1)) ** 1.3
    martingales = Martingales(1, RATE)
    martingales.update(ranks, np.array([np.inf]))
    factors = bets(ranks[: 5 * BLOCK, 0], RATE).reshape(5, BLOCK, N_BETS).prod(axis=1)
    left = 1 / np.log2(np.arange(6) + 2)
    value = left[5] + sum(
        (left[begin] - left[begin + 1]) * factors[begin:].prod(axis=0).mean() for begin in range(5)
    )
    assert np.exp(martingales.log_value[0]) == pytest.approx(value)


def test_money_waits_through_a_long_quiet_stretch(rng):
    martingales = Martingales(1, RATE)
    martingales.update(rng.random((50_000, 1)), np.array([np.inf]))
    assert martingales.log_value[0] > -3.5  # bets alone would have lost hundreds
    found = martingales.update(rng.random((400, 1)) ** 0.4, np.array([np.log(1000)]))
    since, warned_at = found[0]
    assert 49_900 <= since <= 50_100
    assert 50_000 < warned_at < 50_200


def test_martingale_does_not_depend_on_how_rows_are_cut(rng):
    ranks = rng.random((1000, 3))
    whole, cut = Martingales(3, RATE), Martingales(3, RATE)
    whole.update(ranks, np.full(3, np.inf))
    for part in np.array_split(ranks, 83):
        cut.update(part, np.full(3, np.inf))
        cut = Martingales.from_state(cut.state(), 3, RATE)
    assert np.allclose(whole.log_value, cut.log_value)
    assert np.allclose(whole.log_largest, cut.log_largest)


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.3, 0.95])
def test_bets_are_fair_and_never_lose_everything(rate):
    grid = (np.arange(400_000) + 0.5) / 400_000
    assert bets(grid, rate).mean(axis=0) == pytest.approx(np.ones(N_BETS), abs=1e-4)
    assert bets(grid, rate).min() >= 0.05 - 1e-9


def test_edges_do_not_depend_on_the_last_digit_of_a_value(rng):
    values = rng.choice([0.1, 0.7, 1.3], 200)
    edges = choose_edges(values, RATE)
    assert (bins_of(values, edges) == bins_of(values.astype(np.float32), edges)).all()
    assert bins_of(np.array([0.5, 2.0, np.nan]), edges).tolist() == [1, 3, 4]
    assert len(choose_edges(rng.normal(size=5000), RATE)) <= N_BINS - 2
