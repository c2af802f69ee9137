"""Labels that come later: what they change, what they must not, and how they are taken back."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from isthmus import AnomalyDetector, Autoencoder
from isthmus.encoding import most_informative
from isthmus.errors import CalibrationError, DataError, DataWarning

# Two abnormal labels at most where the weight of the head does not matter: from three on it is
# cross-validated, which takes its time.


@pytest.fixture
def detector(encoder, gaussians):
    """Eighty normal rows, sixteen of which calibrate."""
    return AnomalyDetector(encoder, false_alarm_rate=0.1, calibration="split", random_state=0).fit(
        gaussians(80, 1)
    )


@pytest.fixture(scope="module")
def new(gaussians):
    return np.vstack([gaussians(30, 2), gaussians(10, 3) + 2])


@pytest.fixture(scope="module")
def abnormal(gaussians):
    """Two rows that the detector does not have."""
    return gaussians(2, 4) + 5


def decides(detector, new):
    """What a detector does, as bytes."""
    numbers = [detector.offset_, detector.false_alarm_rate_, *detector.score_samples(new)]
    return detector.method_, detector.n_calibration_, np.array(numbers).tobytes()


def assert_close(detector, other, new):
    # Codes and residuals are rounded to float32, in batches of another size.
    assert detector.offset_ == pytest.approx(other.offset_, rel=1e-3)
    np.testing.assert_allclose(
        detector.score_samples(new), other.score_samples(new), rtol=1e-3, atol=1e-3
    )


def test_a_row_that_is_there_gets_the_label(detector, gaussians, new):
    X = gaussians(80, 1)
    detector.add_labels(X[[3, 7, 9]], [-1, 1, -1])

    assert len(detector.reference_set_.y) == 80
    assert np.flatnonzero(detector.reference_set_.y).tolist() == [3, 7, 9]
    assert detector.reference_set_.y[[3, 7, 9]].tolist() == [-1, 1, -1]
    assert detector.method_ == "blend"


def test_a_row_is_known_by_its_values_in_any_column_order(frame):
    encoder = Autoencoder(n_components=2, max_epochs=1, random_state=0)
    detector = AnomalyDetector(encoder, "auto", 0.1, "split", random_state=0).fit(frame)

    detector.add_labels(frame.loc[[50, 60], frame.columns[::-1]], pd.Series([-1, 1]))

    assert np.flatnonzero(detector.reference_set_.y).tolist() == [50, 60]


def test_all_equal_rows_get_the_label(encoder, gaussians):
    X = np.vstack([gaussians(60, 1), gaussians(60, 1)[:5]])
    detector = AnomalyDetector(encoder, "auto", 0.1, "split", random_state=0).fit(X)

    detector.add_labels(X[:1], [-1])

    assert np.flatnonzero(detector.reference_set_.y == -1).tolist() == [0, 60]


def test_a_calibration_row_found_abnormal_calibrates_no_more(detector, gaussians):
    row = detector.reference_set_.folds[0].held_out[4]
    assert detector.n_calibration_ == 16

    detector.add_labels(gaussians(80, 1)[[row]], [-1])

    assert detector.n_calibration_ == 15 == len(detector.score_calibration_.scores)


def test_a_training_row_found_abnormal_leaves_the_calibration_rows(detector, gaussians):
    row = np.setdiff1d(np.arange(80), detector.reference_set_.folds[0].held_out)[0]

    detector.add_labels(gaussians(80, 1)[[row]], [-1])

    assert detector.n_calibration_ == 16
    assert len(detector.fitted_score_.label_free_.references_) == 63


def test_labels_of_new_rows_that_equal_others_by_chance_leave_those_alone():
    rng = np.random.default_rng(0)
    counts, new = rng.poisson(1, size=(600, 2)), rng.poisson(1, size=(2000, 2))
    detector = AnomalyDetector(
        Autoencoder(1, max_epochs=1), false_alarm_rate=0.05, calibration="split", random_state=0
    ).fit(counts)
    before = detector.n_calibration_, detector.reference_set_.y.copy()
    with pytest.warns(DataWarning, match=r"30 labelled instances equal rows .* count as new"):
        detector.add_labels(rng.poisson(2, size=(30, 2)), [-1] * 30)
    assert detector.n_calibration_ == before[0]
    np.testing.assert_array_equal(detector.reference_set_.y[:600], before[1])
    assert detector.update_facts_ == {"n_given": 30, "n_new": 30}
    # It was 0.66 where they gave their labels to all rows that equal them.
    assert (detector.predict(new) == -1).mean() < 0.1


@pytest.mark.parametrize("label", [1, 0, -1])
def test_new_rows_train_and_never_calibrate(label, detector, abnormal):
    held_out = detector.reference_set_.folds[0].held_out

    detector.add_labels(abnormal, [label or None] * 2, normal=1)

    assert detector.reference_set_.y[80:].tolist() == [label] * 2
    assert detector.n_calibration_ == 16
    np.testing.assert_array_equal(detector.reference_set_.folds[0].held_out, held_out)
    score = detector.fitted_score_ if label >= 0 else detector.fitted_score_.label_free_
    assert len(score.references_) == (66 if label >= 0 else 64)


def test_rows_labelled_normal_look_normal_from_then_on(detector, abnormal):
    copies = np.repeat(abnormal[:1], 6, axis=0)  # more than there are neighbours to look at
    before = detector.score_samples(copies)[0]

    detector.add_labels(copies, [1] * 6, normal=1)

    assert detector.score_samples(copies)[0] > before


def test_forgetting_a_label_gives_back_what_was(detector, gaussians, new):
    before = decides(detector, new)
    rows = gaussians(80, 1)[:30:10]

    detector.add_labels(rows, [-1, -1, 1])
    assert decides(detector, new) != before
    detector.add_labels(rows, [0, 0, 0])

    assert decides(detector, new) == before
    assert detector.label_curve_ == []
    assert detector.head_weight_ is None


def test_labels_one_by_one_are_labels_at_once(detector, gaussians, abnormal, new):
    rows = np.vstack([gaussians(80, 1)[:2], abnormal[:1]])
    at_once = clone(detector).fit(gaussians(80, 1)).add_labels(rows, [-1, 1, -1])

    for row, label in zip(rows, [-1, 1, -1], strict=True):
        detector.add_labels(row[None], [label], normal=1)

    assert detector.n_calibration_ == at_once.n_calibration_
    assert_close(detector, at_once, new)


@pytest.mark.parametrize("label", [1, 0])
def test_labels_that_say_normal_of_rows_that_are_there_change_nothing(
    label, detector, gaussians, new
):
    before = decides(detector, new)
    detector.add_labels(gaussians(80, 1)[:20], [label or None] * 20, normal=1)
    assert decides(detector, new) == before


@pytest.mark.parametrize("calibration", ["split", "cross"])
def test_abnormal_rows_that_come_later_are_as_if_there_from_the_start(
    calibration, encoder, gaussians, abnormal, new
):
    X = gaussians(80, 1)
    detector = AnomalyDetector(encoder, "auto", 0.1, calibration, random_state=0)
    later = clone(detector).fit(X).add_labels(abnormal, [-1, -1])

    start = clone(detector).fit(np.vstack([X, abnormal]), [0] * 80 + [-1] * 2)

    assert later.n_calibration_ == start.n_calibration_
    assert later.head_weight_ == start.head_weight_
    assert_close(later, start, new)


def test_no_encoder_is_trained_and_every_fold_keeps_its_own(gaussians, abnormal, new):
    encoder = Autoencoder(n_components=2, max_epochs=1, random_state=0)
    detector = AnomalyDetector(encoder, "auto", 0.1, "cross", random_state=0).fit(gaussians(40, 1))
    digests = [fold.encoder.digest_ for fold in detector.reference_set_.folds]
    own = detector.encoder_

    detector.add_labels(np.vstack([abnormal, gaussians(40, 1)[:1]]), [-1, -1, -1])

    assert detector.encoder_ is own
    assert [fold.encoder.digest_ for fold in detector.reference_set_.folds] == digests
    assert detector.n_calibration_ == 39
    for (
        fold
    ) in detector.reference_set_.folds:  # each has looked at the new rows with its own encoder
        codes = fold.encoder.transform(abnormal)
        np.testing.assert_allclose(fold.features.codes[40:], codes, rtol=1e-5, atol=1e-6)
    assert (detector.predict(abnormal) == -1).all()


def test_a_fold_without_a_normal_row_left_is_left_out(encoder, gaussians, new):
    X = gaussians(10, 1)
    detector = AnomalyDetector(encoder, "auto", 0.5, "cross", random_state=0).fit(X)

    detector.add_labels(X[detector.reference_set_.folds[2].held_out], [-1, -1])

    assert detector.n_calibration_ == 8
    assert np.isfinite(detector.score_samples(new)).all()


# --- labels that cannot be taken in --------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "label", "error", "message"),
    [
        (range(80), -1, DataError, "all 80 labels are -1"),
        ("calibrating", -1, CalibrationError, "0 to calibrate on"),
        ("learning", -1, CalibrationError, "^0 normal rows are left to fit on"),
        ("most", -1, CalibrationError, "needs 9 calibration rows, there are 8"),
        (range(3), 7, DataError, "got the label 7 in row 0"),
    ],
)
def test_labels_that_cannot_be_taken_in_change_nothing(
    rows, label, error, message, detector, gaussians, new
):
    held_out = detector.reference_set_.folds[0].held_out
    some = {"calibrating": held_out, "most": held_out[:8]}
    some["learning"] = np.setdiff1d(np.arange(80), held_out)
    rows = list(some[rows] if isinstance(rows, str) else rows)
    before, decided = dict(vars(detector)), decides(detector, new)

    with pytest.raises(error, match=message):
        detector.add_labels(gaussians(80, 1)[rows], [label] * len(rows))

    assert vars(detector) == before
    assert decides(detector, new) == decided


def test_a_label_for_each_row_is_needed(detector, gaussians):
    with pytest.raises(DataError, match="got 3 instances and 2 labels"):
        detector.add_labels(gaussians(3, 1), [1, -1])


def test_suggestions_are_distinct_rows_and_the_most_doubtful_comes_first():
    rng = np.random.default_rng(0)
    doubt, codes = rng.normal(size=300), rng.normal(size=(300, 3))

    rows = most_informative(doubt, codes, 20)

    assert len(set(rows.tolist())) == 20
    assert rows[0] == doubt.argmax()
    candidates = np.argsort(-doubt)[:200]
    assert set(rows) <= set(candidates)


def test_the_next_is_the_farthest_from_those_chosen_by_its_share_of_doubt():
    rng = np.random.default_rng(1)
    doubt, codes = rng.normal(size=12), rng.normal(size=(12, 2))
    order = np.argsort(-doubt)
    share = dict(zip(order.tolist(), np.linspace(1, 0.5, 12), strict=True))

    chosen = [int(order[0])]
    while len(chosen) < 6:
        gains = {
            row: share[row] * min(np.linalg.norm(codes[row] - codes[c]) for c in chosen)
            for row in range(12)
            if row not in chosen
        }
        chosen.append(max(gains, key=gains.get))

    assert most_informative(doubt, codes, 6).tolist() == chosen


def test_copies_of_one_doubtful_row_are_not_all_chosen():
    codes = np.vstack([np.zeros((15, 2)), np.random.default_rng(0).normal(size=(30, 2))])
    doubt = np.r_[np.full(15, 9.0), np.linspace(8, 1, 30)]

    rows = most_informative(doubt, codes, 10)

    assert (rows < 15).sum() == 1


@pytest.mark.parametrize("n", [5, 6, 1000])
def test_no_more_rows_are_suggested_than_there_are(n):
    codes = np.zeros((5, 2))  # all alike, too
    assert sorted(most_informative(np.arange(5.0), codes, n)) == [0, 1, 2, 3, 4]


def test_none_is_not_a_number_of_suggestions():
    with pytest.raises(ValueError, match="got n=0, expected 1 or more"):
        most_informative(np.zeros(3), np.zeros((3, 2)), 0)


def test_a_detector_suggests_what_could_go_either_way(detector_fit, gaussians):
    X = gaussians(200, 5)
    rows = detector_fit.suggest(X, n=10)

    assert len(set(rows.tolist())) == 10
    doubt = np.abs(np.log(detector_fit.p_values(X) / detector_fit.false_alarm_rate_))
    assert doubt[rows[0]] == doubt.min()
    assert doubt[rows].max() <= np.sort(doubt)[99]  # the hundred in most doubt
    assert sorted(detector_fit.suggest(X[:4])) == [0, 1, 2, 3]
