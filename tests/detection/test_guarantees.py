"""What a detector promises of rates, in simulation: on average over fits, on rows to come."""

import math

import numpy as np
import pandas as pd
import pytest

from isthmus import AnomalyDetector, Autoencoder

SEEDS = 60


def realised(detector, draw, rates, n=200, n_new=300):
    """The share of new normal rows that are called abnormal, (SEEDS, len(rates))."""
    shares = []
    for seed in range(SEEDS):
        detector.set_params(random_state=seed, false_alarm_rate=rates[0])
        detector.fit(draw(n, 1000 + seed))
        p_values = detector.p_values(draw(n_new, 5000 + seed))
        shares.append([])
        for rate in rates:
            detector.set_false_alarm_rate(rate)
            shares[-1].append((p_values <= rate).mean())
    return np.array(shares)


def standard_error(shares):
    return shares.std(axis=0, ddof=1) / math.sqrt(len(shares))


def test_split_holds_its_rate(encoder, gaussians):
    detector = AnomalyDetector(encoder, calibration="split")

    shares = realised(detector, gaussians, (0.05, 0.1))

    for rate, share, error in zip(
        (0.05, 0.1), shares.mean(axis=0), standard_error(shares), strict=True
    ):
        exactly = math.floor(rate * 41) / 41  # forty calibration rows, and no ties
        assert share <= rate + 3 * error
        assert abs(share - exactly) <= 4 * error


def test_cross_holds_its_rate_closely(encoder, gaussians):
    # Weaker than split: a fifth of the rows less to compare with is not quite the same score.
    detector = AnomalyDetector(encoder, calibration="cross")

    shares = realised(detector, gaussians, (0.05, 0.1), n=100)

    for rate, share, error in zip(
        (0.05, 0.1), shares.mean(axis=0), standard_error(shares), strict=True
    ):
        assert rate / 3 <= share <= rate + 3 * error


def test_rates_hold_with_ties(encoder, gaussians):
    # Rounded so that rows repeat; what seldom happens is then rarer still, never more frequent.
    detector = AnomalyDetector(encoder, "neighbours", calibration="split")

    shares = realised(detector, lambda n, seed: np.sign(gaussians(n, seed)), (0.05, 0.1))

    assert (shares.mean(axis=0) <= np.array([0.05, 0.1]) + 3 * standard_error(shares)).all()


@pytest.mark.parametrize("labelled", [0, 20])
def test_cross_holds_its_rate_where_rows_repeat(labelled):
    rng = np.random.default_rng(0)
    rates = []
    encoder = Autoencoder(2, max_epochs=2, random_state=0).fit(rng.poisson(2, size=(400, 3)))
    for seed in range(4):
        counts = rng.poisson(2, size=(800 + labelled, 3))
        counts[800:] += rng.poisson(3, size=(labelled, 3))
        y = np.repeat([0, -1], [800, labelled])
        method = "head" if labelled else "auto"
        detector = AnomalyDetector(encoder, method, 0.05, "cross", random_state=seed)
        detector.fit(counts, y)
        rates.append((detector.predict(rng.poisson(2, size=(2000, 3))) == -1).mean())
    # 0.09 where scores of four fifths of the rows alone calibrate.
    assert np.mean(rates) < 0.05 + 2 * np.std(rates) / np.sqrt(4)
    assert np.mean(rates) > 0.02


def test_cross_holds_its_rate_where_categories_are_rare():
    def table(rng, n):
        kinds = np.minimum(rng.zipf(1.5, n), 5000).astype(str)
        return pd.DataFrame({"kind": kinds, "x": rng.normal(size=n)}).astype({"kind": "category"})

    rates = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        detector = AnomalyDetector(
            Autoencoder(max_epochs=1), "auto", 0.05, "cross", random_state=seed
        ).fit(table(rng, 200))
        rates.append((detector.predict(table(rng, 1000)) == -1).mean())
    # 0.12 where scores by encoders that know fewer categories alone calibrate.
    assert np.mean(rates) < 0.05 + 2 * np.std(rates) / np.sqrt(5)
    assert np.mean(rates) > 0.02


def test_rates_hold_with_labels(encoder, gaussians):
    # Abnormal rows train the head and never calibrate; normal rows to come are none of theirs.
    rate, shares = 0.1, []
    for seed in range(15):
        X = np.vstack([gaussians(100, seed), gaussians(2, 100 + seed) + 3])
        detector = AnomalyDetector(encoder, "head", rate, "split", random_state=seed)
        detector.fit(X, [0] * 100 + [-1] * 2)
        shares.append((detector.predict(gaussians(300, 200 + seed)) == -1).mean())

    shares = np.array(shares)
    assert shares.mean() <= rate + 3 * standard_error(shares)
    assert shares.mean() >= rate / 3


def test_abnormal_rows_that_nobody_looked_at_make_the_threshold_stricter(encoder, gaussians):
    # Stricter in false alarms: fewer of them, because the threshold lies farther out.
    shares = []
    for seed in range(15):
        X = np.vstack([gaussians(180, seed), 5 * gaussians(20, 100 + seed) + 9])
        detector = AnomalyDetector(encoder, "reconstruction", 0.1, "split", random_state=seed)
        shares.append((detector.fit(X).predict(gaussians(300, 200 + seed)) == -1).mean())

    assert np.mean(shares) < 0.05


def test_selections_hold_the_share_of_false_discoveries(encoder, gaussians):
    fdr, false, found = 0.1, [], []
    truth = np.arange(100) >= 85
    detector = AnomalyDetector(encoder, "combined", 0.01, "split")
    for seed in range(25):
        detector.set_params(random_state=seed).fit(gaussians(2000, 300 + seed))
        rng = np.random.default_rng(seed)
        batch = gaussians(100, 700 + seed) + 1.2 * rng.normal(size=(100, 6)) * truth[:, None]
        selected = detector.select(batch, fdr=fdr)
        false.append((selected & ~truth).sum() / max(1, selected.sum()))
        found.append(selected[truth].mean())

    assert detector.n_calibration_ == 400
    false = np.array(false)
    assert false.mean() <= fdr + 3 * standard_error(false)
    assert false.mean() >= fdr / 10  # nor by selecting nothing
    assert np.mean(found) > 0.3


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_conditional_p_values_hold_for_most_sets_of_calibration_rows(rate, encoder, gaussians):
    # Each set has its own share of false alarms; with confidence 0.8 it exceeds the rate in a
    # fifth of the sets at most. The usual p-values hold on average only.
    new, detector = gaussians(2000, 9), AnomalyDetector(encoder, "reconstruction", 0.2, "split")
    over = {None: 0, 0.8: 0}
    for seed in range(40):
        detector.set_params(random_state=seed).fit(gaussians(300, 2000 + seed))
        for confidence in over:
            share = (detector.p_values(new, confidence=confidence) <= rate).mean()
            over[confidence] += share > rate + 0.005  # of 2,000 rows the share is known so well

    assert over[0.8] <= 8 + 3 * math.sqrt(40 * 0.2 * 0.8)
    assert over[0.8] < over[None]
