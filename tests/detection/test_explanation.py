"""Reasons: residuals that add up, the column that stands out, the nearest normal rows."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from isthmus import AnomalyDetector, Autoencoder

NAMES = ["flow", "heat", "load", "pressure", "speed", "turns"]


@pytest.fixture(scope="module")
def labelled_fit(encoder, gaussians):
    """A detector of 100 normal rows and four abnormal ones, in rows 20 to 23. Do not refit."""
    X = np.insert(gaussians(100, 1), [20] * 4, gaussians(4, 2) + 4, axis=0)
    y = np.zeros(104)
    y[20:24] = -1
    return AnomalyDetector(encoder, false_alarm_rate=0.1, calibration="split", random_state=0).fit(
        X, y
    )


@pytest.fixture(scope="module")
def named_fit(gaussians):
    """A detector of a DataFrame. Do not refit."""
    return AnomalyDetector(
        Autoencoder(n_components=2, max_epochs=15, random_state=0),
        false_alarm_rate=0.1,
        calibration="split",
        random_state=0,
    ).fit(pd.DataFrame(gaussians(300, 1), columns=NAMES))


def test_residuals_of_a_table_add_up_to_the_reconstruction_error(detector_fit, gaussians):
    X = gaussians(30, 2)

    explanation = detector_fit.explain(X)

    assert explanation.residuals.shape == X.shape
    errors = detector_fit.encoder_.reconstruction_error(X)
    np.testing.assert_allclose(explanation.residuals.mean(axis=1), errors, rtol=1e-5)
    np.testing.assert_allclose(explanation.anomaly_scores, -detector_fit.score_samples(X))


def test_residuals_of_images_are_squared_differences_of_pixels(image_fit, digits):
    X = digits[0][1000:1100]
    detector = AnomalyDetector(
        image_fit, false_alarm_rate=0.1, calibration="split", random_state=0
    ).fit(X)

    explanation = detector.explain(X[:7])

    back = image_fit.inverse_transform(image_fit.transform(X[:7]))
    squared = (X[:7] / 255 - back / 255) ** 2
    np.testing.assert_allclose(explanation.residuals, squared, atol=0.01)
    assert explanation.residuals.shape == (7, 8, 8)
    row, column = np.unravel_index(explanation.residuals[0].argmax(), (8, 8))
    assert explanation.top(1)[0][0][0] == f"{row}, {column}"


def test_the_column_that_was_shifted_stands_out(named_fit, gaussians):
    shifted = gaussians(6, 3)
    shifted[np.arange(6), np.arange(6)] += 12  # another column in each row

    top = named_fit.explain(pd.DataFrame(shifted, columns=NAMES)).top(1)

    assert [row[0][0] for row in top] == NAMES


def test_shares_are_in_order_and_add_up_to_one(named_fit, gaussians):
    X = pd.DataFrame(gaussians(8, 3), columns=NAMES)

    for row in named_fit.explain(X).top(k=6):
        assert sorted(name for name, _ in row) == NAMES
        shares = [share for _, share in row]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1)
        assert min(shares) >= 0


def test_columns_without_a_name_are_numbered(detector_fit, gaussians):
    shifted = gaussians(1, 3)
    shifted[0, 4] += 12
    explanation = detector_fit.explain(shifted)

    assert explanation.feature_names is None
    assert explanation.top(1)[0][0][0] == "column 4"


def test_steps_and_channels_of_a_series_are_named():
    t = np.linspace(0, 6, 16)
    phases = np.random.default_rng(0).uniform(0, 6, size=80)[:, None]
    X = np.stack([np.sin(t + phases), np.cos(t + phases)], axis=-1)
    encoder = Autoencoder(4, kind="series", max_epochs=3, random_state=0)
    detector = AnomalyDetector(
        encoder, false_alarm_rate=0.1, calibration="split", random_state=0
    ).fit(X)
    odd = X[:1].copy()
    odd[0, 11, 1] += 50

    explanation = detector.explain(odd)

    assert explanation.residuals.shape == (1, 16, 2)
    assert explanation.top(1)[0][0][0] == "channel 1 at step 11"
    sums = explanation.residuals[0].sum(axis=0)
    np.testing.assert_allclose(explanation.by_channel().to_numpy(), [sums / sums.sum()], rtol=1e-6)
    assert list(explanation.by_channel()) == ["share_channel 0", "share_channel 1"]


@pytest.mark.parametrize("k", [1, 5, 12])
def test_neighbours_are_the_nearest_normal_rows(k, labelled_fit, gaussians):
    X = np.vstack([gaussians(10, 3), gaussians(3, 4) + 4])
    codes = labelled_fit.encoder_.transform
    distances = cdist(codes(X), labelled_fit.reference_set_.features.codes)
    distances[:, 20:24] = np.inf  # labelled abnormal

    explanation = labelled_fit.explain(X, n_neighbors=k)

    assert not np.isin(explanation.neighbours, range(20, 24)).any()
    nearest = np.argsort(distances, axis=1)[:, :k]
    np.testing.assert_array_equal(explanation.neighbours, nearest)
    expected = np.take_along_axis(distances, nearest, axis=1)
    np.testing.assert_allclose(explanation.distances, expected, rtol=1e-4, atol=1e-5)


def test_a_row_that_was_fitted_on_is_its_own_nearest(encoder, gaussians):
    X = gaussians(60, 1)
    detector = AnomalyDetector(
        encoder, false_alarm_rate=0.1, calibration="split", random_state=0
    ).fit(X)

    explanation = detector.explain(X[7:10], n_neighbors=1000)

    assert explanation.neighbours[:, 0].tolist() == [7, 8, 9]
    assert explanation.neighbours.shape == (3, 60)


def test_the_head_says_which_way_it_pulls(labelled_fit, detector_fit, gaussians):
    like_abnormal, like_normal = gaussians(20, 5) + 4, gaussians(20, 6)

    assert (labelled_fit.explain(like_abnormal).head > 0).all()
    assert np.median(labelled_fit.explain(like_normal).head) < 0
    assert detector_fit.explain(like_normal).head is None


def test_the_frame_has_a_row_for_each_instance(named_fit, labelled_fit, gaussians):
    X = pd.DataFrame(gaussians(4, 3), columns=NAMES)
    explanation = named_fit.explain(X)

    frame = explanation.frame(k=2)

    assert list(frame) == [
        "anomaly_score", "reason_1", "share_1", "reason_2", "share_2", "nearest_normal",
    ]  # fmt: skip
    np.testing.assert_array_equal(frame["anomaly_score"], explanation.anomaly_scores)
    np.testing.assert_array_equal(frame["nearest_normal"], explanation.neighbours[:, 0])
    for row, reasons in zip(frame.itertuples(), explanation.top(2), strict=True):
        assert [(row.reason_1, row.share_1), (row.reason_2, row.share_2)] == reasons

    headed = labelled_fit.explain(gaussians(4, 3))
    np.testing.assert_array_equal(headed.frame()["head"], headed.head)
