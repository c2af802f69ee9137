"""Another calibration of a detector: what changes, and what stays."""

import numpy as np
import pytest

from isthmus import AnomalyDetector, Autoencoder, load_bundle, save_bundle
from isthmus.bundle import add_head
from isthmus.detection import compute_stored_codes
from isthmus.errors import CalibrationError


@pytest.fixture
def detector(encoder, gaussians):
    """A detector with 60 calibration rows; to be changed."""
    return AnomalyDetector(
        encoder, "combined", false_alarm_rate=0.05, calibration="split", random_state=0
    ).fit(gaussians(300, 1))


def shifted(gaussians, n, seed):
    return 1.3 * gaussians(n, seed) + 0.2


def test_threshold_holds_for_rows_of_today_and_scores_stay(detector, gaussians):
    later = shifted(gaussians, 4000, 2)
    scores = detector.score_samples(later)
    assert (detector.predict(later[2000:]) == -1).mean() > 0.08
    detector.recalibrate(later[:2000])
    assert np.array_equal(detector.score_samples(later), scores)
    assert 0.03 < (detector.predict(later[2000:]) == -1).mean() < 0.07
    assert (detector.n_calibration_, detector.calibration_) == (2000, "split")
    assert detector.update_facts_ == {
        "n_new": 2000,
        "n_calibrating": 2000,
        "n_calibrating_before": 60,
    }
    ordered = np.sort(-scores[:2000])
    assert np.allclose(detector.score_calibration_.scores, ordered, rtol=2e-4, atol=2e-4)
    assert detector.monitor().update(later[2000:]).valid


def test_stored_codes_calibrate_alike(detector, encoder, gaussians):
    later = shifted(gaussians, 500, 2)
    by_rows = detector.recalibrate(later).offset_
    other = AnomalyDetector(
        encoder, "combined", false_alarm_rate=0.05, calibration="split", random_state=0
    ).fit(gaussians(300, 1))
    codes = compute_stored_codes(encoder, later, for_heads=True)
    assert other.recalibrate(codes).offset_ == pytest.approx(by_rows)


def test_labels_and_another_calibration_leave_it_so(detector, gaussians):
    later = shifted(gaussians, 1000, 2)
    detector.recalibrate(later[:500])
    detector.add_labels(gaussians(3, 9) + 20, [-1, -1, -1])
    assert detector.n_calibration_ == 500
    assert detector.recalibrate(later[500:]).n_calibration_ == 500
    assert len(detector.reference_set_.y) == 300 + 3 + 1000
    detector.recalibrate(later[:500])  # they calibrated before, and nothing was fitted on them
    assert detector.n_calibration_ == 500


def test_rows_that_were_fitted_on_are_refused(detector, gaussians):
    before = detector.offset_
    with pytest.raises(CalibrationError, match="the encoder was trained on"):
        detector.recalibrate(gaussians(600, 0))
    with pytest.raises(CalibrationError, match="the detector was fitted on"):
        detector.recalibrate(gaussians(300, 1))
    with pytest.raises(CalibrationError, match="needs 19 calibration rows, there are 5"):
        detector.recalibrate(gaussians(5, 7))
    assert detector.offset_ == before
    assert detector.n_calibration_ == 60


def test_cross_calibration_becomes_split_with_the_same_score(gaussians, tmp_path):
    detector = AnomalyDetector(
        Autoencoder(2, max_epochs=2), "neighbours", 0.05, "cross", random_state=0
    ).fit(gaussians(200, 1))
    later = gaussians(1000, 2)
    scores = detector.score_samples(later)
    save_bundle(tmp_path / "press", detector.encoder_, {"normal": detector})
    detector.recalibrate(later[:500])
    assert np.array_equal(detector.score_samples(later), scores)
    assert add_head(tmp_path / "press", "normal", detector) == 2
    loaded = load_bundle(tmp_path / "press").heads["normal"]
    assert (loaded.calibration_, loaded.n_calibration_) == ("split", 500)
    assert loaded.predict(later).tolist() == detector.predict(later).tolist()
    loaded.add_labels(later[:1], [1], normal=1)
    assert loaded.n_calibration_ == 500
