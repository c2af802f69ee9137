"""Which rows of a detector calibrate, which have no part in its score, and which are refused."""

import copy

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from isthmus import AnomalyDetector, Autoencoder
from isthmus.detection import (
    LABEL_FREE,
    DetectorLabelReader,
    check_detector_labels,
    read_detector_labels,
)
from isthmus.errors import CalibrationError, DataError
from isthmus.evaluation import evaluate_detector


def unfitted():
    return Autoencoder(n_components=2, max_epochs=1, random_state=0)


@pytest.fixture(scope="module")
def new(gaussians):
    """Forty normal rows and forty that are five times as far out."""
    return np.vstack([gaussians(40, 2), 5 * gaussians(40, 3)])


# --- which rows calibrate ----------------------------------------------------------------


def test_split_calibrates_on_rows_that_trained_nothing(gaussians):
    X, y = gaussians(60, 1), np.zeros(60)
    y[5:10] = -1
    detector = AnomalyDetector(unfitted(), "combined", 0.1, "split", random_state=0).fit(X, y)

    (fold,) = detector.reference_set_.folds
    seen = detector.encoder_.training_row_hashes_.overlap(detector.encoder_.row_hashes(X))
    rest = np.setdiff1d(np.arange(60), [*fold.held_out, *range(5, 10)])
    assert len(fold.held_out) == 11 == detector.n_calibration_
    np.testing.assert_array_equal(np.flatnonzero(seen), rest)
    assert len(detector.fitted_score_.references_) == len(rest)


def test_cross_calibrates_each_row_on_a_model_that_has_not_seen_it(gaussians):
    X, y = gaussians(40, 1), np.zeros(40)
    y[5:10] = -1
    detector = AnomalyDetector(unfitted(), "combined", 0.1, "cross", random_state=0).fit(X, y)

    normal = np.delete(np.arange(40), range(5, 10))
    for fold in detector.reference_set_.folds:
        seen = fold.encoder.training_row_hashes_.overlap(fold.encoder.row_hashes(X))
        np.testing.assert_array_equal(np.flatnonzero(seen), np.setdiff1d(normal, fold.held_out))
    held_out = np.concatenate([fold.held_out for fold in detector.reference_set_.folds])
    np.testing.assert_array_equal(np.sort(held_out), normal)
    assert detector.n_calibration_ == 35
    seen = detector.encoder_.training_row_hashes_.overlap(detector.encoder_.row_hashes(X))
    np.testing.assert_array_equal(np.flatnonzero(seen), normal)


def test_auto_splits_when_rows_are_many(encoder, gaussians):
    detector = AnomalyDetector(encoder, "reconstruction", random_state=0)
    assert detector.fit(gaussians(2000, 1)).calibration_ == "split"
    assert detector.fit(gaussians(1999, 1)).calibration_ == "cross"


@pytest.mark.parametrize("score", LABEL_FREE)
def test_calibration_rows_have_no_part_in_the_score(score, encoder, gaussians, new):
    # Otherwise they would not be like rows to come, for which the rate is to hold.
    detector = AnomalyDetector(encoder, score, 0.1, "split", random_state=0)
    X = gaussians(100, 1)
    before = detector.fit(X).score_samples(new)
    X[detector.reference_set_.folds[0].held_out] *= 7

    after = detector.fit(X)

    np.testing.assert_array_equal(after.score_samples(new), before)
    assert after.offset_ < before.mean()


@pytest.mark.parametrize("score", LABEL_FREE)
def test_rows_labelled_abnormal_have_no_part_in_label_free_scores(score, encoder, gaussians, new):
    X, abnormal = gaussians(100, 1), 100 + gaussians(5, 2)
    alone = AnomalyDetector(encoder, score, 0.1, "split", random_state=0).fit(X)

    beside = clone(alone).fit(np.vstack([X, abnormal]), [0] * 100 + [-1] * 5)

    np.testing.assert_array_equal(beside.score_samples(new), alone.score_samples(new))
    assert beside.offset_ == alone.offset_


def test_rows_to_calibrate_on_can_be_given(encoder, gaussians, new):
    calibrating = gaussians(99, 5)
    detector = AnomalyDetector(encoder, random_state=0)

    detector.fit(gaussians(600, 0), X_calibration=calibrating)  # the encoder has seen the first

    assert detector.n_calibration_ == 99
    largest = -detector.score_samples(calibrating).min()
    assert -detector.offset_ == pytest.approx(1.0001 * largest, abs=1e-6)
    assert (detector.predict(calibrating) == 1).all()  # their own scores set the threshold
    with pytest.raises(CalibrationError, match="600 of 600 rows were among those the encoder"):
        detector.fit(gaussians(600, 1), X_calibration=gaussians(600, 0))


@pytest.mark.parametrize("given", ["fitted", "unfitted"])
def test_rows_to_calibrate_on_must_not_be_learned_from(given, encoder, gaussians):
    X = gaussians(60, 1)
    given_encoder = encoder if given == "fitted" else unfitted()
    detector = AnomalyDetector(given_encoder, "auto", 0.1, random_state=0)
    with pytest.raises(CalibrationError, match="40 of 40 rows of X_calibration are in X as well"):
        detector.fit(X, X_calibration=X[20:])


# --- rows that the encoder has seen ------------------------------------------------------------


def test_rows_that_the_encoder_was_trained_on_are_refused_with_the_way_out(encoder, gaussians):
    seen = np.vstack([gaussians(5, 1), gaussians(600, 0)[:50]])
    with pytest.raises(CalibrationError) as refusal:
        AnomalyDetector(encoder, false_alarm_rate=0.1).fit(seen)

    message = str(refusal.value)
    assert message.startswith("50 of 55 rows were among those the encoder was trained on")
    assert "the first is row 5, counting from 0" in message
    # The way out that it names.
    assert "AnomalyDetector(Autoencoder()).fit(X)" in message
    fresh = clone(encoder).set_params(max_epochs=1)
    AnomalyDetector(fresh, "auto", 0.1, "split", random_state=0).fit(seen)


def test_reordered_columns_are_the_same_rows(frame):
    encoder = unfitted().fit(frame)
    turned = frame[frame.columns[::-1]]
    with pytest.raises(CalibrationError, match="178 of 178 rows were among those"):
        AnomalyDetector(encoder, false_alarm_rate=0.1).fit(turned)


def test_equals_by_chance_are_not_refused():
    # Three columns of ten values: new rows often equal some training row.
    def dice(n, seed):
        return np.random.default_rng(seed).integers(0, 10, size=(n, 3)).astype(float)

    encoder = unfitted().fit(dice(500, 0))
    X = dice(400, 1)
    assert encoder.training_row_hashes_.overlap(encoder.row_hashes(X)).mean() > 0.25

    detector = AnomalyDetector(encoder, "auto", 0.1, "split", random_state=0).fit(X)

    assert (detector.predict(dice(1000, 2)) == -1).mean() < 0.2


@pytest.mark.parametrize(
    "y",
    [
        [1, -1, 0],
        (1.0, -1.0, 0.0),
        np.array([1, -1, 0], dtype=np.int8),
        np.array([[1], [-1], [0]]),
        [1, -1, None],
        [1, -1, float("nan")],
        np.array([1, -1, np.nan]),
        np.array([1, -1, None], dtype=object),
        pd.Series([1, -1, pd.NA], dtype="Int64"),
        pd.Series([1, -1, None], index=[7, 8, 9]),
        pd.Series([1, -1, 0]).astype("category"),
    ],
)
def test_one_minus_one_and_nothing_are_labels(y):
    labels = check_detector_labels(y, 3)
    assert labels.tolist() == [1, -1, 0]
    assert labels.dtype == np.int8


def test_no_labels_are_all_unknown():
    assert check_detector_labels(None, 4).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("y", "label", "row", "values"),
    [
        (["ok", "broken", None], "'ok'", 0, "'broken', 'ok'"),
        ([0, 1, 2], "2", 2, "2"),
        (np.array([1.0, 0.5, -1.0]), "0.5", 1, "0.5"),
        ([True, False, True], "True", 0, "False, True"),
        (np.array([False, True, False]), "False", 0, "False, True"),
        ([None, True, False], "True", 1, "False, True"),
        (pd.Series([None, False, None], dtype="boolean"), "False", 1, "False"),
        ([1, True, 0], "True", 1, "True"),
        (["1", "-1", "0"], "'1'", 0, "'-1', '0', '1'"),
        ([1, -1, "?"], "'?'", 2, "'?'"),
    ],
)
def test_other_labels_are_refused_and_named(y, label, row, values):
    # True among them: to Python it is 1, but it may well mean abnormal.
    with pytest.raises(DataError) as refusal:
        check_detector_labels(y, 3)

    message = str(refusal.value)
    assert message.startswith(f"got the label {label} in row {row}, counting from 0, expected 1")
    assert f"translate the values {values} first, as in numpy.where(" in message


def test_only_some_of_very_many_other_labels_are_named():
    with pytest.raises(DataError, match="translate the values 2, 3, 4, 5, 6 first"):
        check_detector_labels(np.arange(2, 9), 7)


@pytest.mark.parametrize("n_labels", [2, 4])
def test_too_few_or_too_many_labels_are_refused(n_labels):
    with pytest.raises(DataError, match=f"got 3 instances and {n_labels} labels"):
        check_detector_labels([1] * n_labels, 3)


# --- labels of 0 and 1, and what is normal -----------------------------------------------------


ZERO_AND_ONE = np.array([0] * 475 + [1] * 25)
TEXT = np.where(ZERO_AND_ONE == 1, "1", "0")


@pytest.mark.parametrize(
    ("y", "normal", "shown"),
    [
        (ZERO_AND_ONE, 0, "0: 475, 1: 25"),
        (ZERO_AND_ONE.tolist(), "0", "0: 475, 1: 25"),
        (ZERO_AND_ONE.astype(float), 0.0, "0: 475, 1: 25"),
        (ZERO_AND_ONE.astype(np.uint8), np.int64(0), "0: 475, 1: 25"),
        (ZERO_AND_ONE.astype(object), 0, "0: 475, 1: 25"),
        (pd.Series(ZERO_AND_ONE, dtype="Int64"), 0, "0: 475, 1: 25"),
        (pd.Series(ZERO_AND_ONE, dtype="category"), 0, "0: 475, 1: 25"),
        (ZERO_AND_ONE == 1, False, "False: 475, True: 25"),
        (pd.Series(ZERO_AND_ONE == 1, dtype="boolean"), "false", "False: 475, True: 25"),
        (TEXT, 0, "0: 475, 1: 25"),
        (TEXT.astype(np.dtypes.StringDType()), "0", "0: 475, 1: 25"),
        (TEXT.astype("S"), "0", "0: 475, 1: 25"),
        (pd.Series(TEXT, dtype="string"), 0, "0: 475, 1: 25"),
        (np.where(ZERO_AND_ONE == 1, "true", "false"), False, "false: 475, true: 25"),
    ],
)
def test_labels_of_zero_and_one_have_two_readings(y, normal, shown):
    with pytest.raises(DataError) as refusal:
        read_detector_labels(y, 500)
    message = str(refusal.value)
    assert f"({shown})" in message
    assert "475 are normal and 25 abnormal" in message
    assert "25 are normal and 475 abnormal" in message
    assert "--normal " in message

    expected = np.where(ZERO_AND_ONE == 1, -1, 1)
    np.testing.assert_array_equal(read_detector_labels(y, 500, normal), expected)


@pytest.mark.parametrize("y", [[1, 1, 1], [1, None, 1], [True, None, True], [False] * 3, ["1"] * 3])
def test_one_of_the_two_alone_has_two_readings_too(y):
    with pytest.raises(DataError, match="two readings"):
        read_detector_labels(y, 3)


def test_only_zeros_are_unlabelled_or_normal_which_is_the_same():
    assert read_detector_labels([0, 0, 0], 3).tolist() == [0, 0, 0]


def test_labels_are_judged_over_all_chunks():
    reader = DetectorLabelReader()
    assert reader.read(np.array([1, 0, 1])).tolist() == [1, 0, 1]
    assert reader.read(np.array([1, -1])).tolist() == [1, -1]
    reader.check()

    reader = DetectorLabelReader(source="rows")
    reader.read(np.array([0, 0]))
    reader.read(np.array([0, 1]))
    with pytest.raises(DataError, match=r"rows: got .* \(0: 3, 1: 1\)"):
        reader.check()


@pytest.mark.parametrize(
    ("y", "normal", "message"),
    [
        (["ok", "worn"], "okay", "no label in y is that: they are ok: 1, worn: 1"),
        ([0, 1], 2, "no label in y is that: they are 0: 1, 1: 1"),
        ([True, False], "0", "no label in y is that"),
        (["00", "01"], "0", "no label in y is that: they are 00: 1, 01: 1"),
        (["ok", "worn"], ["ok"], "expected the one label that means normal"),
        (["ok", "worn"], np.nan, "expected the one label that means normal"),
    ],
)
def test_a_normal_value_that_does_not_fit_is_refused(y, normal, message):
    with pytest.raises(DataError, match=message):
        read_detector_labels(y, len(y), normal)


@pytest.mark.parametrize(
    ("y", "normal", "named"),
    [
        (
            ["normal", "Normal ", "worn"],
            "normal",
            "1 labels .* normal='normal'.*: 'Normal '; write",
        ),
        (np.array(["ok", np.nan, "OK"]), "ok", "2 labels .*: 'OK', 'nan'; write"),
        (np.array(["0", " 0", "1"]), 0, "1 labels .* normal=0.*: ' 0'; write"),
    ],
)
def test_labels_that_look_like_the_normal_one_or_none_are_warned_of(y, normal, named):
    with pytest.warns(UserWarning, match=named):
        read_detector_labels(y, 3, normal)
    read_detector_labels(["a", "A", "b"], 3, "a")  # letters may differ in case alone


def test_zero_is_not_normal_beside_minus_one():
    with pytest.raises(DataError, match="got normal=0, and no label in y is that"):
        read_detector_labels([1, -1, 1], 3, 0)
    assert read_detector_labels([0, -1, 1], 3, 0).tolist() == [1, -1, -1]
    assert read_detector_labels([-1, -1], 2, 1).tolist() == [-1, -1]


@pytest.fixture(scope="module")
def marked(encoder, gaussians):
    """Rows of which 25 of 500 are far away, and a detector fitted on them. Do not refit."""
    X = gaussians(500, 21)
    X[475:] += 8
    detector = AnomalyDetector(encoder, "auto", 0.05, "split", random_state=0, normal=0)
    return X, detector.fit(X, ZERO_AND_ONE)


def test_a_stated_normal_value_counts_in_every_later_call(marked, encoder, gaussians):
    X, detector = marked
    signs = np.where(ZERO_AND_ONE == 1, -1, 1)
    same = AnomalyDetector(encoder, "auto", 0.05, "split", random_state=0).fit(X, signs)
    by_fit = AnomalyDetector(encoder, "auto", 0.05, "split", random_state=0)
    by_fit.fit(X, ZERO_AND_ONE, normal=0)
    assert (detector.normal_, by_fit.normal_, same.normal_) == (0, 0, None)
    assert detector.offset_ == same.offset_ == by_fit.offset_
    assert (detector.predict(X[475:]) == -1).all()

    before = detector.reference_set_.y.copy()
    new = gaussians(20, 22) + 8
    added = copy.copy(detector).add_labels(new, np.ones(20))
    np.testing.assert_array_equal(detector.reference_set_.y, before)
    assert (added.reference_set_.y == -1).sum() == 45
    with pytest.raises(DataError, match=r"\(1: 20\)"):
        copy.copy(same).add_labels(new, np.ones(20))
    with pytest.raises(DataError, match="fitted with normal=0; say what is normal here"):
        copy.copy(detector).add_labels(new, np.repeat([1, -1], 10))
    stated = copy.copy(detector).add_labels(new, np.repeat([1, -1], 10), normal=1)
    assert (stated.reference_set_.y == -1).sum() == 35


def test_a_stated_normal_value_counts_in_evaluation(marked):
    X, detector = marked
    found = evaluate_detector(detector, X, ZERO_AND_ONE)
    assert found["normal"] == 0
    assert found["labels"] == {"0": 475, "1": 25}
    assert found["code"]["n_abnormal"] == found["code"]["power"]["count"] == 25
    assert list(found["code"])[:2] == ["power", "false_alarms"]
    backwards = evaluate_detector(detector, X, ZERO_AND_ONE, normal=1)["code"]
    assert backwards["n_abnormal"] == 475


def test_text_labels_that_are_all_abnormal_are_a_warning_after_a_fit(encoder, gaussians):
    X = gaussians(82, 23)
    X[80:] += 8
    y = ["ok"] * 80 + ["worn"] * 2
    detector = AnomalyDetector(encoder, "auto", 0.1, "split", random_state=0, normal="ok").fit(X, y)
    with pytest.warns(UserWarning, match="they are bent: 1; all are taken as abnormal"):
        detector.add_labels(X[80:81] + 1, ["bent"])
    with pytest.raises(DataError, match="no label in y is that: they are bent: 1"):
        evaluate_detector(detector, X[80:81], ["bent"])


def test_a_fit_on_mostly_abnormal_rows_warns(encoder, gaussians):
    X, y = gaussians(100, 24), [1] * 60 + [0] * 40
    with pytest.warns(UserWarning, match="with normal=0 60 of 100 instances are abnormal"):
        AnomalyDetector(encoder, "auto", 0.1, "split", random_state=0).fit(X, y, normal=0)
    with pytest.raises(DataError, match="all 100 labels are -1"):
        AnomalyDetector(encoder, normal=0).fit(X, [1] * 100)
