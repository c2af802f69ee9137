"""A bound of abnormal rows among those that train: what is left out, and what then holds."""

import json
import warnings

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from isthmus import AnomalyDetector, Autoencoder, load_bundle, save_bundle
from isthmus.cli.options import detector_facts
from isthmus.data import as_instances
from isthmus.detection.calibration import Calibration
from isthmus.detection.contamination import (
    excess_rows,
    labelled_excess_rows,
    read_contamination,
    rows_left_out,
    screened_rows,
)
from isthmus.detection.features import extract_features
from isthmus.detection.labelled_scores import HeadScore
from isthmus.errors import DataError, DataWarning

ABNORMAL = 20  # of 400 rows: a group of their own, dense


@pytest.fixture(scope="module")
def mixed(gaussians):
    """Normal rows with a twentieth of abnormal ones, first; and new rows of both."""
    rng = np.random.default_rng(5)
    centre = 5 * rng.normal(size=6)

    def abnormal(n):
        return centre + 0.3 * rng.normal(size=(n, 6))

    return np.vstack([abnormal(ABNORMAL), gaussians(380, 1)]), gaussians(600, 2), abnormal(60)


@pytest.fixture(scope="module")
def bounded(mixed):
    """A detector of those rows with a bound of 5 %. Do not refit."""
    encoder = Autoencoder(n_components=2, max_epochs=5, random_state=0)
    return AnomalyDetector(encoder, contamination=0.05, random_state=0).fit(mixed[0])


# --- training and calibration ----------------------------------------------------------------


def test_what_hides_behind_its_like_is_found_again_and_the_rate_stays(mixed, bounded):
    rows, normal, abnormal = mixed
    without = AnomalyDetector(
        Autoencoder(n_components=2, max_epochs=5, random_state=0), random_state=0
    ).fit(rows)
    ranked = {}
    truth = np.repeat([False, True], [len(normal), len(abnormal)])
    for name, detector in {"without": without, "with": bounded}.items():
        scores = -detector.score_samples(np.vstack([normal, abnormal]))
        ranked[name] = roc_auc_score(truth, scores)
    assert ranked["without"] < 0.9
    assert ranked["with"] > 0.99
    assert (without.predict(abnormal) == -1).mean() < 0.1
    assert (bounded.predict(abnormal) == -1).mean() > 0.95
    realised = (bounded.predict(normal) == -1).mean()
    assert realised <= 0.01 + 4 * np.sqrt(0.01 / 380 + 0.01 / 600)


def test_rows_left_out_are_counted_and_named(mixed, bounded):
    found = bounded.contamination_
    assert set(found.trimmed) == set(range(ABNORMAL))
    assert len(found.left_out) > 10
    assert (found.left_out < ABNORMAL).all()
    assert bounded.n_calibration_ == 400 - len(found.left_out)
    facts = json.loads(json.dumps(detector_facts(bounded)))["contamination"]
    assert (facts["bound"], facts["auto"], facts["n_trimmed"]) == (0.05, False, ABNORMAL)
    assert facts["estimate"] == len(found.left_out) / 400
    assert facts["trimmed"][3]["hash"] == f"{bounded.reference_set_.hashes[3]:016x}"
    assert [one["row"] for one in facts["left_out"]] == found.left_out.tolist()


def test_clean_rows_give_the_detector_without_the_option(encoder, gaussians):
    new = gaussians(100, 3)
    without, small, larger = (
        AnomalyDetector(encoder, contamination=one, random_state=0).fit(gaussians(400, 1))
        for one in (None, 0.01, 0.05)
    )
    found = small.contamination_
    assert (len(found.trimmed), len(found.left_out)) == (0, 0)
    np.testing.assert_array_equal(small.p_values(new), without.p_values(new))
    assert not len(larger.contamination_.trimmed)
    assert len(larger.contamination_.left_out) <= 4  # a hundredth: an estimate has its error
    np.testing.assert_array_equal(larger.score_samples(new), without.score_samples(new))


def test_a_row_labelled_normal_is_never_left_out(mixed):
    rows = mixed[0]
    y = np.where(np.arange(len(rows)) < ABNORMAL, "fine", None)
    detector = AnomalyDetector(
        Autoencoder(n_components=2, max_epochs=2, random_state=0), contamination=0.05, normal="fine"
    ).fit(rows, y)
    found = detector.contamination_
    assert not np.isin(np.arange(ABNORMAL), found.trimmed).any()
    assert not np.isin(np.arange(ABNORMAL), found.left_out).any()


def test_later_labels_decide_about_rows_that_were_left_out(mixed, bounded, tmp_path):
    save_bundle(tmp_path / "b", bounded.encoder_, {"d": bounded})
    detector = load_bundle(tmp_path / "b").heads["d"]
    assert len(detector.reference_set_.fitted_rows()) == 400 - ABNORMAL
    detector.add_labels(mixed[0][:5], np.ones(5), normal=1)
    assert len(detector.reference_set_.fitted_rows()) == 400 - ABNORMAL + 5
    assert not np.isin(np.arange(5), detector.contamination_.left_out).any()


def test_split_screens_the_rows_that_train_alone(mixed):
    detector = AnomalyDetector(
        Autoencoder(n_components=2, max_epochs=2, random_state=0),
        calibration="split",
        false_alarm_rate=0.05,
        contamination="auto",
        random_state=0,
    ).fit(mixed[0])
    held_out = detector.reference_set_.folds[0].held_out
    found = detector.contamination_
    assert (found.auto, found.bound) == (True, 0.1)
    assert not np.isin(found.trimmed, held_out).any()
    assert np.isin(found.left_out, held_out).all()
    assert detector.n_encoders(mixed[0]) == 2


def test_a_bundle_decides_as_before_and_has_what_was_left_out(mixed, bounded, tmp_path):
    save_bundle(tmp_path / "bundle", bounded.encoder_, {"normal": bounded})
    loaded = load_bundle(tmp_path / "bundle").heads["normal"]
    np.testing.assert_array_equal(loaded.p_values(mixed[1]), bounded.p_values(mixed[1]))
    assert detector_facts(loaded)["contamination"] == detector_facts(bounded)["contamination"]
    assert loaded.contamination == 0.05


# --- screening and excess --------------------------------------------------------------------


def test_screening_finds_groups_up_to_the_bound_and_no_more(encoder, mixed):
    features = extract_features(encoder, as_instances(mixed[0]), np.arange(400))
    y, rows = np.zeros(400, dtype=np.int8), np.arange(400)
    for bound in (0.02, 0.05, 0.2):
        found = screened_rows(features, y, rows, bound, seed=0)
        assert len(found) <= bound * 400
        assert (np.diff(found) > 0).all()
    assert set(screened_rows(features, y, rows, 0.05, seed=0)) == set(range(ABNORMAL))
    assert not len(screened_rows(features, y, rows[ABNORMAL:], 0.05, seed=0))


@pytest.mark.parametrize("bound", [0.02, 0.05, 0.1])
def test_of_clean_scores_hardly_any_is_left_out(bound):
    rng = np.random.default_rng(0)
    for draw in (rng.exponential, rng.gamma, rng.normal):
        arguments = {"shape": 3.0} if draw == rng.gamma else {}
        out = [len(excess_rows(draw(size=1000, **arguments), bound)) for _ in range(40)]
        assert np.mean(out) < 2


def test_the_highest_scores_are_left_out_as_far_as_they_are_too_many():
    rng = np.random.default_rng(0)
    for n_abnormal in (10, 40):
        scores = np.append(rng.exponential(size=960), np.full(n_abnormal, 30.0))
        out = excess_rows(scores, 0.05)
        assert abs(len(out) - n_abnormal) <= 10  # a hundredth of the rows
        assert (out >= 960).sum() >= n_abnormal - 6
    assert len(excess_rows(scores, 0.01)) == 10  # no more than the bound
    assert not len(excess_rows(np.ones(100), 0.05))
    assert not len(excess_rows(np.array([1.0]), 0.05))


# --- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [0, 0.5, -0.1, True, "much", float("nan")])
def test_what_is_no_share_is_refused(wrong):
    with pytest.raises(DataError, match="got contamination=.*--contamination 0.05"):
        read_contamination(wrong)


def test_groups_calibration_rows_and_time_points_are_refused(encoder, gaussians):
    detector = AnomalyDetector(encoder, contamination=0.05)
    rows = gaussians(40, 1)
    with pytest.raises(DataError, match="contamination= with groups, which is not supported"):
        detector.fit(rows, groups=np.repeat(["a", "b"], 20))
    with pytest.raises(DataError, match="with X_calibration, whose rows are normal"):
        detector.fit(rows, X_calibration=gaussians(40, 2))


# --- scores that are fitted on labels --------------------------------------------------------


@pytest.mark.parametrize(("n_abnormal", "times"), [(0, 1), (6, 1.3), (10, 2), (14, 4)])
def test_labelled_scores_hold_the_rate_up_to_the_bound_and_find_more(n_abnormal, times):
    rng, rate = np.random.default_rng(n_abnormal), 0.01
    new, abnormal = rng.normal(size=20_000), rng.normal(6, 1, 1000)
    realised, found = [], []
    for _ in range(200):
        normal = rng.normal(size=360 - n_abnormal)
        labelled, unknown = normal[:70], np.append(normal[70:], rng.normal(6, 1, n_abnormal))
        y = np.repeat([1, 0], [len(labelled), len(unknown)])
        scores = np.append(labelled, unknown)
        out = rows_left_out(scores, y, 0.05, HeadScore())
        assert len(out) <= 0.05 * len(unknown)
        assert (out >= len(labelled)).all()
        thresholds = [
            Calibration.with_tolerance(one).threshold_for_rate(rate)
            for one in (scores, np.delete(scores, out))
        ]
        realised.append((new > thresholds[1]).mean())
        found.append([(abnormal > one).mean() for one in thresholds])
    error = np.std(realised) / np.sqrt(len(realised))
    assert np.mean(realised) <= rate + error
    without, bounded = np.mean(found, axis=0)
    assert bounded >= times * without


def test_rows_labelled_normal_with_scores_as_high_keep_rows_in():
    scores = np.append(np.random.default_rng(0).normal(size=290), np.full(10, 6.0))
    normal = np.random.default_rng(1).normal(size=70)
    out = labelled_excess_rows(scores, normal, 0.05)
    assert len(out) >= 7
    assert (out >= 290).all()
    normal[:3] = 7.0  # three of seventy: of the others as many as ten are no more than that
    assert not len(labelled_excess_rows(scores, normal, 0.05))
    assert len(labelled_excess_rows(scores, normal[:0], 0.04)) <= 12  # no more than the bound
    assert not len(labelled_excess_rows(np.ones(100), normal[:0], 0.05))
    assert not len(labelled_excess_rows(normal[:0], normal, 0.05))


@pytest.fixture(scope="module")
def partly_labelled():
    """Rows, labels of a fifth of them, and the truth: 4 % are a group of their own."""
    rng, n = np.random.default_rng(3), 2000
    abnormal = rng.random(n) < 0.04
    rows = rng.normal(size=(n, 6)) + 4 * abnormal[:, None]
    y = np.where(rng.random(n) < 0.2, np.where(abnormal, -1, 1), 0)
    return rows[:1200], y[:1200], rows[1200:], abnormal[1200:]


def fitted(encoder, data, **choices):
    options = {"calibration": "split", "false_alarm_rate": 0.01, "random_state": 0}
    return AnomalyDetector(encoder, **options | choices).fit(*data[:2])


def test_unlabelled_abnormal_rows_are_said_and_a_bound_finds_their_like(
    encoder, partly_labelled, tmp_path
):
    X, abnormal = partly_labelled[2:]
    advice = r"unlabelled rows that calibrate score .*--contamination 0\.05.* leaves out \d+"
    with pytest.warns(DataWarning, match=advice):
        detector = fitted(encoder, partly_labelled)
    found = detector.unlabelled_abnormal_
    assert 4 <= found["n_as_high"] < found["n_unlabelled"] / 10
    assert json.loads(json.dumps(detector_facts(detector)))["unlabelled_abnormal"] == found
    save_bundle(tmp_path / "bundle", detector.encoder_, {"normal": detector})
    assert load_bundle(tmp_path / "bundle").heads["normal"].unlabelled_abnormal_ == found
    bounded = fitted(encoder, partly_labelled, contamination=0.05)
    assert (detector.predict(X[abnormal]) == -1).mean() < 0.2
    assert (bounded.predict(X[abnormal]) == -1).mean() > 0.7
    false_alarms = (bounded.predict(X[~abnormal]) == -1).mean()
    assert false_alarms <= 0.01 + 2 * np.sqrt(0.01 * (1 / 240 + 1 / len(X)))


def test_a_bound_that_would_leave_out_nothing_is_not_advised():
    """Abnormal rows whose scores overlap with those of normal ones."""
    rng, n = np.random.default_rng(0), 2000
    abnormal = rng.random(n) < 0.02
    rows = rng.normal(size=(n, 6))
    rows[abnormal, :2] += 2
    y = np.where(rng.random(n) < np.where(abnormal, 0.5, 0.02), np.where(abnormal, -1, 1), 0)
    encoder = Autoencoder(2, max_epochs=5, random_state=0)
    with pytest.warns(DataWarning, match=r"; contamination=0\.05 would leave out none"):
        fitted(encoder, (rows, y))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        bounded = fitted(encoder, (rows, y), contamination=0.05)
    assert bounded.contamination_.left_out.tolist() == []


def test_nothing_is_said_of_clean_rows_or_without_labels(encoder, partly_labelled):
    rows, y, X, abnormal = partly_labelled
    unknown = X[~abnormal]
    clean = np.vstack([rows[y != 0], unknown]), np.append(y[y != 0], np.zeros(len(unknown)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        assert fitted(encoder, clean).unlabelled_abnormal_ is None
        assert fitted(encoder, (rows, None)).unlabelled_abnormal_ is None
