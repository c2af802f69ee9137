"""Weighted p-values: the formula, the rate under a known shift, and what is refused."""

import numpy as np
import pytest

from isthmus import AnomalyDetector
from isthmus.detection.calibration import Calibration, weighted_p_values
from isthmus.detection.detector_monitoring import likelihood_ratios
from isthmus.errors import CalibrationError, DataError


def test_equal_weights_are_the_usual_p_values():
    rng = np.random.default_rng(0)
    calibration, scores = (
        rng.integers(0, 9, 50).astype(float),
        rng.integers(0, 10, 30).astype(float),
    )
    found = weighted_p_values(scores, np.full(30, 2.0), calibration, np.full(50, 2.0))
    assert np.allclose(found, Calibration(calibration).p_values(scores))


def test_ratios_are_those_of_the_densities():
    rng = np.random.default_rng(0)
    codes, later = rng.normal(size=(4000, 1)), rng.normal(0.5, 1, size=(4000, 1))
    new = np.linspace(-1, 1.5, 9)[:, None]
    weights, of_new, auroc, n_clipped = likelihood_ratios(codes, later, new)
    assert weights.mean() == pytest.approx(1)
    assert np.allclose(of_new, np.exp(0.5 * new[:, 0] - 0.125), rtol=0.2)
    assert 0.6 < auroc < 0.68
    assert n_clipped == 0


def test_weights_hold_the_rate_where_the_mix_of_rows_changed():
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(60):
        # Scores vary more where the code is large, and later codes are larger.
        codes, later = rng.normal(size=(1000, 1)), rng.normal(1, 1, size=(1500, 1))
        scores, of_later = (
            np.exp(c[:, 0] / 2) * np.abs(rng.normal(size=len(c))) for c in (codes, later)
        )
        weights, of_new, *_ = likelihood_ratios(codes, later[:1000], later[1000:])
        weighted = weighted_p_values(of_later[1000:], of_new, scores, weights)
        plain = Calibration(scores).p_values(of_later[1000:])
        shares.append([(plain <= 0.05).mean(), (weighted <= 0.05).mean()])
    plain, weighted = np.mean(shares, axis=0)
    assert plain > 0.1
    assert 0.035 < weighted < 0.06


def test_a_detector_says_what_its_rows_are_worth(encoder, gaussians):
    detector = AnomalyDetector(encoder, "combined", 0.1, "split", random_state=0)
    detector.fit(gaussians(2000, 1))
    same = detector.weighted_p_values(gaussians(500, 3), gaussians(1000, 4))
    assert same.n_effective > 0.9 * same.n_calibration
    assert 0.4 < same.auroc < 0.6
    assert (same.p_values <= 0.1).mean() < 0.15
    with pytest.raises(CalibrationError, match="nothing in common"):
        detector.weighted_p_values(gaussians(50, 3) + 30, gaussians(500, 4) + 30)
    with pytest.raises(CalibrationError, match="at least 20"):
        detector.weighted_p_values(gaussians(50, 3), gaussians(10, 4))
    detector.calibration_ = "cross"
    with pytest.raises(DataError, match="split calibration"):
        detector.weighted_p_values(gaussians(50, 3), gaussians(50, 4))
