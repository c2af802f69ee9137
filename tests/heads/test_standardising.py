"""Standardising in parts, and scoring in parts, against the same on all rows at once."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from isthmus.heads import StandardisedHead, build, build_head
from isthmus.heads.scores import anomaly_scores
from isthmus.heads.views import view


@pytest.fixture
def features():
    """Columns of all sizes, one of them constant, one far from zero: (500, 4), float32."""
    values = np.random.default_rng(0).normal([0, 0.1, 1000, -3], [1, 0, 0.5, 1e-3], (500, 4))
    return values.astype(np.float32)


def test_means_and_deviations_are_those_of_all_rows_in_float64(features, monkeypatch):
    monkeypatch.setattr(build, "SCALED_AT_ONCE", 4 * 7)  # seven rows, and three at last
    found, expected = build.fitted_scaler(features), StandardScaler().fit(np.float64(features))
    np.testing.assert_allclose(found.mean_, expected.mean_, rtol=1e-12)
    np.testing.assert_allclose(found.scale_, expected.scale_, rtol=1e-9)
    assert found.scale_[1] == 1  # a constant column is left as it is
    assert found.n_samples_seen_ == 500


def test_features_are_written_over_only_when_told_to(features):
    y, before = features[:, 0] > 0, features.copy()
    kept = StandardisedHead(build_head("linear", n_labels=500)).fit(features, y)
    np.testing.assert_array_equal(features, before)
    own = StandardisedHead(build_head("linear", n_labels=500)).fit(features, y, overwrite=True)
    np.testing.assert_allclose(features.std(axis=0), [1, 0, 1, 1], atol=1e-3)
    np.testing.assert_array_equal(own.head_.coef_, kept.head_.coef_)


def test_instances_are_scored_in_parts_as_all_together(detector_fit, gaussians, monkeypatch):
    X = gaussians(50, 5)
    expected = -anomaly_scores(detector_fit.fitted_score_, view(detector_fit.encoder_, X))
    errors = detector_fit.encoder_.reconstruction_error(X)
    monkeypatch.setattr(type(detector_fit.encoder_), "_inference_batch", lambda self: 7)
    np.testing.assert_allclose(detector_fit.score_samples(X), expected, atol=2e-6)
    np.testing.assert_allclose(detector_fit.encoder_.reconstruction_error(X), errors, rtol=1e-5)
