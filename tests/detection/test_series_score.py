"""The score of windows of series against its formula, and what it finds that parts of it miss."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from isthmus import AnomalyDetector, Autoencoder, load_bundle, save_bundle
from isthmus.data.windows import windows
from isthmus.detection import (
    WINDOW_STATISTICS,
    Features,
    SeriesScore,
    extract_features,
    window_statistics,
)
from isthmus.errors import DataError

WINDOW, CHANNELS = 16, 2


def saw(n, seed):
    """Return readings (n, 2) of a slow saw tooth and of a sine, with a little noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(n)
    both = np.column_stack([(t % 21) / 10, np.sin(2 * np.pi * t / 21)])
    return both + 0.02 * rng.normal(size=both.shape)


def features_of(n, seed, scale=1.0):
    """Return features of n windows, of statistics drawn at random."""
    rng = np.random.default_rng(seed)
    statistics = scale * np.abs(rng.normal(size=(n, len(WINDOW_STATISTICS) * CHANNELS)))
    nothing = np.zeros((n, 1), dtype=np.float32)
    return Features(nothing, nothing, 1.0, statistics=statistics.astype(np.float32))


def scores_of(detector, values):
    """Return the scores of the windows at every time point."""
    return -detector.score_samples(windows(values, WINDOW, 1))


def fit(features):
    return SeriesScore().fit(features, np.random.default_rng(0))


@pytest.fixture(scope="module")
def detector():
    """A detector of windows that share no time point. Do not refit."""
    train = windows(saw(8_000, 0), WINDOW)
    return AnomalyDetector(Autoencoder(kind="series"), calibration="split", random_state=0).fit(
        train
    )


def test_the_statistics_of_a_window_are_those_of_their_formulas():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 5, CHANNELS, 7)).astype(np.float32)

    found = window_statistics(torch.from_numpy(x), torch.from_numpy(y)).numpy()

    change = np.abs(np.diff(x, axis=2))
    expected = [
        x.std(axis=2),
        change.mean(axis=2),
        change.max(axis=2),
        x[..., 3:].mean(axis=2) - x[..., :3].mean(axis=2),
        x[..., -1] - x[..., 0],
        x.min(axis=2),
        x.max(axis=2),
        np.sqrt(np.square(x - y).mean(axis=2)),
    ]
    np.testing.assert_allclose(found, np.hstack(expected), rtol=1e-5, atol=1e-6)


def test_the_score_is_the_logarithm_of_the_distance_to_three_windows_in_deviations():
    train, new = features_of(150, 0), features_of(40, 1)

    def space(features):
        values = features.statistics.astype(np.float64).copy()
        usual = np.sqrt(np.square(train.statistics[:, -CHANNELS:].astype(float)).mean(axis=0))
        values[:, -CHANNELS:] = np.log(values[:, -CHANNELS:] / usual + 0.1)
        return values

    of_train = space(train)
    centre, deviation = of_train.mean(axis=0), of_train.std(axis=0)
    weights = np.repeat([1.0, np.sqrt(7)], [7 * CHANNELS, CHANNELS])
    points = [weights * (values - centre) / deviation for values in (space(new), of_train)]
    nearest = np.sort(cdist(*points), axis=1)[:, :3].mean(axis=1)
    expected = np.log(1 + nearest / np.linalg.norm(weights) / 0.3)

    np.testing.assert_allclose(fit(train).score(new), expected, rtol=1e-5)


def test_a_score_is_rebuilt_from_its_state():
    score, new = fit(features_of(80, 0)), features_of(20, 1)
    again = SeriesScore.from_state(score.state())
    np.testing.assert_array_equal(again.score(new), score.score(new))
    np.testing.assert_array_equal(again.own_scores(), score.own_scores())


def test_references_are_spread_over_all_of_the_time():
    rows = fit(features_of(4_500, 0)).rows_
    assert len(rows) <= 2_000
    np.testing.assert_array_equal(np.unique(np.diff(rows)), [3])


@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e15])
def test_scores_are_finite_whatever_the_scale(scale):
    score = fit(features_of(30, 0, scale))
    for new in (features_of(9, 1, scale), features_of(9, 1), features_of(9, 1, 1e30)):
        assert np.isfinite(score.score(new)).all()


def test_other_data_are_refused_by_the_score_of_series(encoder, gaussians):
    with pytest.raises(DataError, match="needs windows of series"):
        AnomalyDetector(encoder, method="series").fit(gaussians(100, 1))


def test_it_is_the_score_of_series_alone_by_default(detector, detector_fit):
    assert (detector.method_, detector_fit.method_) == ("series", "combined")


def test_the_channel_that_changes_has_the_largest_part(detector):
    for channel in range(CHANNELS):
        values = saw(200, 1)
        values[80:130, channel] += 1.5
        features = extract_features(detector.encoder_, windows(values, WINDOW, 1)[80:110])
        parts = detector.fitted_score_.channel_parts(features, CHANNELS)
        assert (parts.argmax(axis=1) == channel).mean() > 0.9


def test_shape_is_found_by_the_residual_and_level_by_the_statistics(detector):
    normal = scores_of(detector, saw(300, 2))
    swapped = saw(300, 2)[:, ::-1]  # as much in each, by the values of the other
    higher = saw(300, 2) + np.array([0.0, 1.0])
    jump = saw(300, 2)
    jump[::10, 0] += 1.0
    for other in (swapped, higher, jump):
        assert np.quantile(scores_of(detector, other), 0.1) > np.quantile(normal, 0.99)


def test_a_detector_of_series_is_the_same_from_a_bundle(detector, tmp_path):
    save_bundle(tmp_path / "saw", detector.encoder_, {"normal": detector})
    again = load_bundle(tmp_path / "saw").heads["normal"]
    new = saw(200, 3)
    np.testing.assert_array_equal(scores_of(again, new), scores_of(detector, new))
    assert again.method_ == "series"


def test_labels_are_weighed_against_the_score_of_series(tmp_path):
    values = saw(3_200, 0)
    values[800:960, 1] *= 0.3
    X = windows(values, WINDOW)
    y = np.zeros(len(X), dtype=int)
    y[50:60] = -1
    encoder = Autoencoder(kind="series", random_state=0).fit(windows(saw(1_600, 5), WINDOW))
    detector = AnomalyDetector(encoder, "auto", 0.05, "split", random_state=0).fit(X, y)

    assert isinstance(detector.fitted_score_.label_free_, SeriesScore)
    later = values[800:960]
    assert scores_of(detector, later).min() > scores_of(detector, saw(100, 6)).max()
    save_bundle(tmp_path / "saw", encoder, {"normal": detector})
    again = load_bundle(tmp_path / "saw").heads["normal"]
    np.testing.assert_array_equal(scores_of(again, later), scores_of(detector, later))
