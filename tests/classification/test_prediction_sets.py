"""Prediction sets, calibrated probabilities and accepted predictions: as MAPIE, as promised."""

import re
import warnings

import numpy as np
import pytest
from mapie import classification as mapie
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from isthmus import CodeClassifier
from isthmus.classification import (
    ClassCalibration,
    LinearHead,
    accept_most_certain,
    crossing_probability,
    fit_temperature,
    largest_wrong,
    with_temperature,
)
from isthmus.data import named_sets, prediction_sets
from isthmus.encoding import FrozenEncoder
from isthmus.errors import CalibrationError, CalibrationWarning, DataError

# The digits that the shared encoder was trained on are among those that calibrate.
pytestmark = pytest.mark.filterwarnings("ignore:the encoder was trained on")


@pytest.fixture(scope="module")
def parts(digits):
    """Labelled, held out and new digits, drawn at random: those of a writer follow each other."""
    order = np.random.default_rng(0).permutation(len(digits[0]))
    X, y = digits[0][order], digits[1][order]
    return (X[:300], y[:300]), (X[300:700], y[300:700]), (X[700:], y[700:])


@pytest.fixture(scope="module")
def held_out_fit(image_fit, parts):
    """Calibrated on instances given to `calibrate`. Do not refit."""
    return CodeClassifier(image_fit, random_state=0).fit(*parts[0]).calibrate(*parts[1])


@pytest.fixture(scope="module")
def cross_fit(image_fit, parts):
    """Calibrated on folds of its own labels. Do not refit."""
    return CodeClassifier(image_fit, calibration="cross", random_state=0).fit(*parts[0])


def prefit(classifier):
    return make_pipeline(classifier.standardised_head_.scaler_, classifier.head_)


# --- prediction sets ---------------------------------------------------------------------


def test_sets_are_those_of_mapie(held_out_fit, image_fit, parts):
    alphas = [0.01, 0.05, 0.1, 0.3]
    oracle = mapie.SplitConformalClassifier(
        prefit(held_out_fit), confidence_level=[1 - alpha for alpha in alphas], prefit=True
    ).conformalize(image_fit.transform(parts[1][0]), parts[1][1])
    expected = oracle.predict_set(image_fit.transform(parts[2][0]))[1]

    for at, alpha in enumerate(alphas):
        sets = held_out_fit.predict_set(parts[2][0], alpha)
        np.testing.assert_array_equal(sets, expected[:, :, at])


@pytest.mark.filterwarnings("ignore:WARNING. your conformalization dataset has less labels")
def test_sets_by_class_are_those_of_mapie_on_each_class(held_out_fit, image_fit, parts):
    codes = image_fit.transform(parts[1][0])
    expected = []
    for place, label in enumerate(held_out_fit.classes_):
        own = parts[1][1] == label
        oracle = mapie.SplitConformalClassifier(
            prefit(held_out_fit), confidence_level=0.9, prefit=True
        ).conformalize(codes[own], parts[1][1][own])
        expected.append(oracle.predict_set(image_fit.transform(parts[2][0]))[1][:, place, 0])

    sets = held_out_fit.predict_set(parts[2][0], alpha=0.1, by_class=True)

    np.testing.assert_array_equal(sets, np.column_stack(expected))


def test_sets_of_cross_calibration_are_those_of_mapie(cross_fit, image_fit, parts):
    folds = PredefinedSplit(cross_fit.class_calibration_.parts)
    oracle = mapie.CrossConformalClassifier(
        make_pipeline(StandardScaler(), LinearHead()), confidence_level=0.9, cv=folds
    ).fit_conformalize(image_fit.transform(parts[0][0]), parts[0][1])
    expected = oracle.predict_set(image_fit.transform(parts[2][0]), agg_scores="crossval")[1]

    sets = cross_fit.predict_set(parts[2][0], alpha=0.1)

    np.testing.assert_array_equal(sets, expected[:, :, 0])


def test_p_values_give_the_sets_at_any_alpha(held_out_fit, parts):
    p_values = held_out_fit.class_p_values(parts[2][0])

    for alpha in (0.02, 0.2):
        np.testing.assert_array_equal(
            p_values > alpha, held_out_fit.predict_set(parts[2][0], alpha)
        )
    assert p_values.min() >= 1 / 401
    assert p_values.max() <= 1


@pytest.mark.parametrize("n", [19, 50])
def test_the_class_is_in_the_set_as_often_as_promised(n):
    """Over calibration sets: floor((n + 1) alpha) / (n + 1) are missed, where scores differ."""
    rng, missed, alpha = np.random.default_rng(0), [], 0.1
    for _ in range(400):
        places = rng.integers(3, size=n + 200)
        logits = rng.normal(size=(n + 200, 3)) + 1.5 * np.eye(3)[places]
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        calibration = ClassCalibration.of(probabilities[:n], places[:n])
        sets = prediction_sets(calibration.p_values(probabilities[None, n:]), alpha)
        missed.append(1 - sets[np.arange(200), places[n:]].mean())

    error = np.std(missed) / np.sqrt(len(missed))
    assert abs(np.mean(missed) - np.floor(alpha * (n + 1)) / (n + 1)) < 3 * error


def test_a_class_without_enough_labels_is_in_every_set_and_named(held_out_fit, parts):
    with pytest.warns(CalibrationWarning, match="10 of 10 classes are in every set.*needs 99"):
        sets = held_out_fit.predict_set(parts[2][0], alpha=0.01, by_class=True)
    assert sets.all()
    with pytest.warns(CalibrationWarning, match="every class is in every set: alpha=0.002 needs"):
        held_out_fit.predict_set(parts[2][0][:3], alpha=0.002)


def test_sets_as_lists_of_classes(held_out_fit, parts):
    sets = held_out_fit.predict_set(parts[2][0], alpha=0.01)

    named = named_sets(sets, held_out_fit.classes_)

    assert [len(one) for one in named] == sets.sum(axis=1).tolist()
    assert all(isinstance(label, int) for one in named for label in one)


# --- probabilities -----------------------------------------------------------------------


def test_the_temperature_is_scikit_learns(held_out_fit, image_fit, parts):
    codes = image_fit.transform(parts[1][0])
    oracle = CalibratedClassifierCV(
        FrozenEstimator(prefit(held_out_fit)), method="temperature", ensemble=False
    ).fit(codes, parts[1][1])

    temperature = held_out_fit.temperature_

    # The prior of the library weighs as a label or so among 400.
    assert temperature == pytest.approx(
        1 / oracle.calibrated_classifiers_[0].calibrators[0].beta_, rel=0.02
    )
    np.testing.assert_allclose(
        held_out_fit.predict_proba(parts[2][0]),
        oracle.predict_proba(image_fit.transform(parts[2][0])),
        atol=0.01,
    )


def test_calibration_lowers_the_loss_and_changes_no_class(image_fit, parts):
    before = CodeClassifier(image_fit, "neighbours").fit(*parts[0])
    after = CodeClassifier(image_fit, "neighbours", calibration="cross", random_state=0)
    after.fit(*parts[0])
    rows = np.arange(len(parts[2][1]))

    def loss(classifier):
        found = classifier.predict_proba(parts[2][0])[rows, parts[2][1]]
        return -np.log(np.maximum(found, 1e-15)).mean()

    np.testing.assert_array_equal(before.predict(parts[2][0]), after.predict(parts[2][0]))
    np.testing.assert_array_equal(
        after.predict_proba(parts[2][0]).argmax(axis=1), after.predict(parts[2][0])
    )
    assert loss(after) < 0.8 * loss(before)


def test_a_temperature_is_found_where_no_prediction_is_wrong():
    probabilities = with_temperature(np.array([[0.9, 0.1]] * 20), 1.0)

    assert 0.1 < fit_temperature(probabilities, np.zeros(20, int)) < 1
    assert fit_temperature(probabilities[:0], np.zeros(0, int)) == 1


# --- accepted predictions ----------------------------------------------------------------


def test_accepted_predictions_are_wrong_as_seldom_as_promised():
    """Confidence u is right with probability u: at most `max_error` wrong in 95 % of runs."""
    rng, broken, shares = np.random.default_rng(0), 0, []
    for _ in range(400):
        sure = rng.uniform(0.5, 1, size=1000)
        right = rng.uniform(size=1000) < sure
        probabilities = np.column_stack([sure, 1 - sure])
        calibration = ClassCalibration.of(probabilities, np.where(right, 0, 1))
        found = calibration.accept(0.1, confidence=0.9)
        lowest = 1 / (1 + np.exp(found.threshold))  # the probability at the threshold
        error = 1 - (1 + max(lowest, 0.5)) / 2
        broken += found.n > 0 and error > 0.1
        shares.append(found.share)
    assert broken <= 400 * 0.1 + 3 * np.sqrt(400 * 0.1 * 0.9)
    assert 0.2 < np.mean(shares) < 0.45  # 0.4 would hold the error exactly


@pytest.mark.parametrize(("n", "max_error"), [(9, 0.3), (12, 0.2), (13, 0.4)])
def test_the_bound_of_accepted_predictions_holds_on_all_sequences_of_errors(n, max_error):
    """Of all 2^n sequences of right and wrong, those that accept anything have the level."""
    columns, most_wrong, _ = largest_wrong(n, max_error, 0.8)
    wrong = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    chance = np.prod(np.where(wrong, max_error, 1 - max_error), axis=1)
    accepting = [accept_most_certain(np.arange(n), one == 0, max_error, 0.8).n > 0 for one in wrong]
    crossed = float(chance[accepting].sum())
    assert 0.1 < crossed <= 0.2  # it comes in steps
    assert crossed == pytest.approx(crossing_probability(columns, most_wrong, n, max_error))


def test_one_wrong_among_the_most_certain_does_not_stop_acceptance():
    right = np.ones(200, bool)
    right[[2, 150, 180]] = False
    found = accept_most_certain(np.arange(200), right, 0.1, 0.95)
    assert (found.n, found.n_wrong, found.threshold) == (200, 3, np.inf)
    assert 3 / 200 < found.bound <= 0.1


def test_equally_certain_predictions_are_accepted_together():
    certain = np.repeat([0.0, 1.0], 100)
    right = np.arange(200) < 150
    found = accept_most_certain(certain, right, 0.1, 0.95)
    assert (found.n, found.n_wrong, found.threshold) == (100, 0, 1.0)


def test_accepted_predictions_of_a_classifier(held_out_fit, parts):
    found = held_out_fit.acceptance(0.05, confidence=0.9)
    accepted = held_out_fit.accept(parts[2][0], 0.05, confidence=0.9)

    wrong = held_out_fit.predict(parts[2][0]) != parts[2][1]
    assert 0.5 < accepted.mean() < 1
    assert accepted.mean() == pytest.approx(found.share, abs=0.08)
    assert (wrong & accepted).sum() / accepted.sum() < wrong.mean()
    assert found.n_wrong / found.n < found.bound <= 0.05


def test_nothing_is_accepted_where_labels_are_too_few(held_out_fit, parts):
    with pytest.warns(CalibrationWarning, match="no prediction can be accepted with at most 0.001"):
        assert not held_out_fit.accept(parts[2][0], 0.001).any()


# --- what calibrates ---------------------------------------------------------------------


def test_a_split_calibrates_on_labels_that_the_head_did_not_learn_from(image_fit, parts):
    X, y = parts[0]
    classifier = CodeClassifier(image_fit, calibration="split", random_state=0).fit(X, y)

    assert classifier.class_calibration_.n == 60
    assert classifier.calibration_ == "split"
    assert list(classifier.classes_) == list(range(10))
    assert classifier.standardised_head_.scaler_.n_samples_seen_ == 240
    assert classifier.n_labels_ == 300


def test_new_rows_of_a_table_whose_rows_repeat_calibrate():
    rng = np.random.default_rng(0)
    X = rng.poisson(1, size=(900, 2)).astype(float)
    y = np.where(rng.random(900) < X[:, 0] / 4, "many", "few")
    encoder = FrozenEncoder(StandardScaler().fit(X))
    classifier = CodeClassifier(encoder).fit(X[:400], y[:400]).calibrate(X[400:600], y[400:600])
    sets = classifier.predict_set(X[600:], alpha=0.1)
    assert (sets & (classifier.classes_ == y[600:, None])).any(axis=1).mean() > 0.85


@pytest.mark.filterwarnings("ignore:The number of unique classes")
def test_a_split_holds_its_promises_with_many_classes_of_one_label():
    encoder = FrozenEncoder(StandardScaler().fit(np.eye(3)))
    share = np.r_[0.4, np.full(100, 0.006)]
    covered, wrong = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        centres = 3 * rng.normal(size=(101, 3))
        y = rng.choice(101, 600, p=share)
        X = centres[y] + rng.normal(size=(600, 3))
        classifier = CodeClassifier(encoder, "neighbours", calibration="split", random_state=seed)
        with pytest.warns(CalibrationWarning, match=r"all labels of \d+ classes were drawn to cal"):
            classifier.fit(X[:150], y[:150])
        assert set(classifier.classes_) == set(y[:150])
        sets = classifier.predict_set(X[150:], alpha=0.3)
        own = (classifier.classes_ == y[150:, None]) & sets  # none where the head lacks the class
        covered.append(own.any(axis=1).mean())
        with warnings.catch_warnings(action="ignore", category=CalibrationWarning):  # none
            accepted = classifier.accept(X[150:], 0.4, confidence=0.8)
        n_wrong = (accepted & (classifier.predict(X[150:]) != y[150:])).sum()
        wrong.append(n_wrong > 0.4 * accepted.sum())
    assert np.mean(covered) > 0.7 - 2 * np.std(covered) / np.sqrt(len(covered))
    assert np.mean(wrong) <= 0.2


def test_added_labels_calibrate_too(image_fit, parts):
    X, y = parts[0]
    classifier = CodeClassifier(image_fit, calibration="cross", random_state=0).fit(
        X[:200], y[:200]
    )
    classifier.add_labels(X[200:], y[200:])
    at_once = CodeClassifier(image_fit, calibration="cross", random_state=0).fit(X, y)

    assert classifier.class_calibration_.n == 300
    np.testing.assert_array_equal(
        classifier.class_p_values(parts[2][0]), at_once.class_p_values(parts[2][0])
    )


def test_a_head_that_is_fitted_again_is_no_longer_calibrated_by_instances_held_out(
    image_fit, parts
):
    classifier = CodeClassifier(image_fit, random_state=0).fit(*parts[0]).calibrate(*parts[1])
    with pytest.warns(CalibrationWarning, match="no longer calibrated; call calibrate"):
        classifier.add_labels(*(part[:20] for part in parts[2]))
    with pytest.raises(CalibrationError, match="not calibrated; fit it with.*--calibration cross"):
        classifier.predict_set(parts[2][0])


def test_labels_that_are_added_replace_instances_held_out_not_in_silence(image_fit, parts):
    classifier = CodeClassifier(image_fit, calibration="split", random_state=0).fit(*parts[0])
    classifier.calibrate(*parts[1])
    with pytest.warns(CalibrationWarning, match="given to calibrate no longer count"):
        classifier.add_labels(*(part[:20] for part in parts[2]))
    assert (classifier.calibration_, classifier.class_calibration_.n) == ("split", 64)


def test_unlabelled_instances_are_learned_from_in_every_fold(image_fit, parts):
    X = np.concatenate([parts[0][0], parts[1][0][:100]])
    y = np.where(np.arange(400) < 120, np.append(parts[0][1], parts[1][1][:100]), -1)
    classifier = CodeClassifier(image_fit, "spreading", calibration="cross", random_state=0)
    classifier.fit(X, y)

    assert classifier.class_calibration_.n == 120
    assert [len(head.head_.points_) for head in classifier.fold_heads_] == [376] * 5
    sets = classifier.predict_set(parts[2][0], alpha=0.1)
    assert sets[np.arange(len(sets)), parts[2][1]].mean() > 0.85


def test_a_class_of_one_label_is_never_learned_by_its_fold(image_fit, parts):
    X, y = parts[0][0], np.where(np.arange(300) == 7, "rare", parts[0][1].astype(str))
    classifier = CodeClassifier(image_fit, calibration="cross", random_state=0).fit(X, y)

    calibration = classifier.class_calibration_
    rare = list(classifier.classes_).index("rare")
    assert calibration.n_by_class[rare] == 1
    assert calibration.scores[7] == calibration.scores.max()  # the fold gave it no probability
    assert classifier.temperature_ < 2  # and it does not count for the temperature


def test_labels_of_no_class_make_sets_larger(image_fit, parts):
    few = parts[0][1] < 9
    classifier = CodeClassifier(image_fit, random_state=0).fit(parts[0][0][few], parts[0][1][few])
    with pytest.warns(CalibrationWarning, match="of 400 labels are no class of the head"):
        classifier.calibrate(*parts[1])

    lost = int((parts[1][1] == 9).sum())
    assert np.isinf(classifier.class_calibration_.scores).sum() == lost
    assert classifier.class_p_values(parts[2][0]).min() >= (1 + lost) / 401


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("calibration", ["cross", "split", None])
def test_instances_that_the_encoder_was_trained_on_are_counted_and_warned_of(
    calibration, image_fit, digits, recwarn
):
    X, y = digits
    classifier = CodeClassifier(image_fit, calibration=calibration, random_state=0)
    classifier.fit(X[900:1200], y[900:1200])
    if calibration is None:
        classifier.calibrate(X[800:900], y[800:900])
    assert re.search("the encoder was trained on .* of .* labelled", str(recwarn.pop().message))
    assert classifier.n_seen_ == {"cross": 100, None: 100}.get(calibration, classifier.n_seen_) > 0

    new = CodeClassifier(image_fit, calibration=calibration, random_state=0)
    recwarn.clear()
    new.fit(X[1000:1300], y[1000:1300])
    if calibration is None:
        new.calibrate(X[1300:1400], y[1300:1400])
    assert new.n_seen_ == 0
    assert not recwarn.list


def test_clones_keep_how_they_are_calibrated(cross_fit):
    assert clone(cross_fit).calibration == "cross"


# --- refusals ----------------------------------------------------------------------------


def test_labels_that_the_head_learned_from_do_not_calibrate(held_out_fit, parts):
    with pytest.raises(DataError, match="was fitted on 5 of 5 labelled instances; calibrate on"):
        held_out_fit.calibrate(parts[0][0][:5], parts[0][1][:5])
    with pytest.raises(DataError, match="got 5 instances and 4 labels"):
        held_out_fit.calibrate(parts[1][0][:5], parts[1][1][:4])
    with pytest.raises(CalibrationError, match="got 3 labels to calibrate on, expected at least 4"):
        held_out_fit.calibrate(parts[1][0][:3], parts[1][1][:3])
    assert held_out_fit.class_calibration_.n == 400


def test_without_probabilities_there_are_no_sets(image_fit, parts):
    with pytest.raises(CalibrationError, match="LinearSVC gives no probabilities.*'linear'"):
        CodeClassifier(image_fit, LinearSVC(), calibration="cross").fit(*parts[0])
    with pytest.raises(CalibrationError, match="LinearSVC gives no probabilities"):
        CodeClassifier(image_fit, LinearSVC()).fit(*parts[0]).calibrate(*parts[1])


def test_what_cannot_be_held_is_refused(image_fit, held_out_fit, parts):
    with pytest.raises(CalibrationError, match="got calibration='jackknife', expected 'cross'"):
        CodeClassifier(image_fit, calibration="jackknife").fit(*parts[0])
    with pytest.raises(CalibrationError, match="got alpha=0, expected a number above 0"):
        held_out_fit.predict_set(parts[2][0], alpha=0)
    with pytest.raises(CalibrationError, match="got max_error=1, expected"):
        held_out_fit.accept(parts[2][0], 1)
    with pytest.raises(CalibrationError, match="cannot be fitted without a fifth of the labels"):
        y = np.where(np.arange(300) < 3, 10, parts[0][1])
        CodeClassifier(image_fit, "svm", calibration="cross").fit(parts[0][0], y)
