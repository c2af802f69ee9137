"""The detector: signs, thresholds, refusals, and that the encoder stays as it was."""

import random
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score

from isthmus import AnomalyDetector, Autoencoder, load_bundle, save_bundle
from isthmus.cli.options import detector_facts
from isthmus.data.windows import overlapping_stride, windows
from isthmus.detection import LABEL_FREE
from isthmus.detection.selection import benjamini_hochberg
from isthmus.errors import (
    CalibrationError,
    CalibrationWarning,
    DataError,
    DataWarning,
    TrainingError,
)
from isthmus.networks import digest


def unfitted():
    return Autoencoder(n_components=2, max_epochs=1, random_state=0)


@pytest.fixture(scope="module")
def new(gaussians):
    """Forty normal rows and forty that are farther and farther away."""
    far = gaussians(40, 3) * np.linspace(1, 5, 40)[:, None]
    return np.vstack([gaussians(40, 2), far])


# --- one score, one relation -----------------------------------------------------------------


def test_the_decision_is_the_score_less_the_offset(detector_fit, new):
    scores = detector_fit.score_samples(new)
    decision = detector_fit.decision_function(new)

    np.testing.assert_array_equal(decision, scores - detector_fit.offset_)
    np.testing.assert_array_equal(detector_fit.predict(new), np.where(decision >= 0, 1, -1))
    assert set(detector_fit.predict(new)) == {1, -1}
    assert scores[:40].mean() > scores[60:].mean()  # higher is more normal
    assert scores.dtype == np.float64


def test_a_row_alone_has_its_score_among_others(detector_fit, new):
    # Matrix products in float32 are rounded differently in batches of another size.
    alone = np.concatenate([detector_fit.score_samples(row[None]) for row in new])
    np.testing.assert_allclose(alone, detector_fit.score_samples(new), rtol=1e-4)


@pytest.mark.parametrize("rate", [1 / 61, 0.02, 0.03, 2 / 61, 0.05, 0.1, 0.25, 0.5, 0.9])
def test_an_alarm_is_a_p_value_at_the_rate_or_below(detector_fit, rate, new, gaussians):
    detector = copy_of(detector_fit).set_false_alarm_rate(rate)
    np.testing.assert_array_equal(detector.predict(new) == -1, detector.p_values(new) <= rate)

    fitted_on = gaussians(300, 1)  # the calibration row that sets the threshold among them
    below = detector.decision_function(fitted_on)
    assert 5e-5 < below[below >= 0].min() < 1e-3
    alarms = detector.predict(fitted_on) == -1
    np.testing.assert_array_equal(alarms, detector.p_values(fitted_on) <= rate)


def copy_of(detector):
    """A detector that can be changed while the shared one stays."""
    twin = clone(detector)
    vars(twin).update(vars(detector))
    return twin


def test_p_values_count_calibration_rows_that_look_at_least_as_abnormal(detector_fit, new):
    held_out = detector_fit.reference_set_.folds[0].held_out
    features = detector_fit.reference_set_.features.take(held_out)
    calibrating = detector_fit.fitted_score_.score(features)
    scores = -detector_fit.score_samples(new)

    raised = calibrating + 1e-4 * np.maximum(1, np.abs(calibrating))
    expected = [(1 + (raised >= score).sum()) / 61 for score in scores]

    assert detector_fit.n_calibration_ == 60
    np.testing.assert_array_equal(detector_fit.p_values(new), expected)
    conditional = detector_fit.p_values(new, confidence=0.9)
    assert (conditional >= expected).all()


def test_a_selection_is_benjamini_and_hochbergs_on_the_p_values(detector_fit, new):
    expected = benjamini_hochberg(detector_fit.p_values(new), 0.3)

    np.testing.assert_array_equal(detector_fit.select(new, fdr=0.3), expected)
    assert 0 < expected.sum() < 80
    with pytest.raises(CalibrationError, match="got fdr=1.5"):
        detector_fit.select(new, fdr=1.5)


@pytest.mark.parametrize("score", LABEL_FREE)
@pytest.mark.parametrize("calibration", ["split", "cross"])
def test_every_score_tells_far_from_near(score, calibration, encoder, gaussians):
    detector = AnomalyDetector(encoder, score, 0.1, calibration, random_state=0)
    detector.fit(gaussians(100, 1))

    near, far = gaussians(200, 2), 30 * gaussians(50, 3)

    assert detector.method_ == score
    assert detector.calibration_ == calibration
    assert detector.n_calibration_ == (100 if calibration == "cross" else 20)
    assert roc_auc_score([0] * 200 + [1] * 50, -detector.score_samples([*near, *far])) > 0.95
    assert (detector.predict(near) == 1).mean() > 0.7
    assert (detector.predict(far) == -1).mean() > 0.9


def test_auto_is_combined_without_abnormal_labels_and_a_blend_with_them(detector_fit, encoder, new):
    assert detector_fit.method_ == "combined"
    assert detector_fit.head_weight_ is None
    assert detector_fit.label_curve_ == []
    assert detector_fit.wins_from_ is None

    detector = AnomalyDetector(encoder, false_alarm_rate=0.1, random_state=0)
    detector.fit(new, [1] * 75 + [-1] * 5)
    assert detector.method_ == "blend"
    assert 0 <= detector.head_weight_ <= 1


# --- the rate --------------------------------------------------------------------------------


def test_setting_a_rate_moves_the_threshold_alone(detector_fit, encoder, gaussians, new):
    detector = copy_of(detector_fit)
    before = {**vars(detector)}

    detector.set_false_alarm_rate(0.2)

    changed = {name for name, value in vars(detector).items() if value is not before[name]}
    assert changed == {"false_alarm_rate", "false_alarm_rate_", "offset_", "parameters_at_fit_"}
    again = AnomalyDetector(encoder, false_alarm_rate=0.2, calibration="split", random_state=0)
    again.fit(gaussians(300, 1))
    assert detector.offset_ == again.offset_ > before["offset_"]
    np.testing.assert_array_equal(detector.predict(new), again.predict(new))


@pytest.mark.parametrize(
    ("parameter", "value", "fix"),
    [
        ("false_alarm_rate", 0.2, r"call set_false_alarm_rate\(0.2\), or fit again"),
        ("method", "mahalanobis", "; fit again"),
        ("missing", "error", "; fit again"),
    ],
)
def test_a_parameter_set_after_the_fit_is_said_not_to_count(
    parameter, value, fix, detector_fit, new, gaussians, tmp_path
):
    save_bundle(tmp_path / "bundle", detector_fit.encoder_, {"normal": detector_fit})
    loaded = load_bundle(tmp_path / "bundle").heads["normal"]
    for detector in (copy_of(detector_fit), loaded):
        before = detector.predict(new)
        detector.set_params(**{parameter: value})
        with pytest.warns(CalibrationWarning, match=f"{parameter}=.*set after the fit.*{fix}"):
            np.testing.assert_array_equal(detector.predict(new), before)
        with warnings.catch_warnings(action="error", category=CalibrationWarning):
            if parameter == "false_alarm_rate":
                decided = detector.set_false_alarm_rate(value).predict(new)
                assert (decided == -1).sum() > (before == -1).sum()
            detector.fit(gaussians(300, 1)).predict(new)


def test_a_rate_that_cannot_be_held_changes_nothing(detector_fit):
    detector = copy_of(detector_fit)
    before = {**vars(detector)}
    for rate, message in ((0.01, "needs 99 calibration rows, there are 60"), (1.0, "below 1")):
        with pytest.raises(CalibrationError, match=message):
            detector.set_false_alarm_rate(rate)
    assert vars(detector) == before


@pytest.mark.parametrize("rate", [0, 1, -0.1, 2, "0.05", None, True])
def test_a_rate_out_of_range_is_refused_at_fit(rate, encoder, gaussians):
    detector = AnomalyDetector(encoder, false_alarm_rate=rate)
    with pytest.raises(CalibrationError, match="got false_alarm_rate=.* above 0 and below 1"):
        detector.fit(gaussians(50, 1))


@pytest.mark.parametrize(("calibration", "n"), [("split", 38), ("cross", 19)])
def test_a_refusal_says_how_many_rows_the_rate_needs(calibration, n, encoder, gaussians):
    detector = AnomalyDetector(encoder, "combined", 0.05, calibration, random_state=0)
    with pytest.raises(CalibrationError, match=f"bring {n} normal rows or more"):
        detector.fit(gaussians(n - 1, 1))

    assert detector.fit(gaussians(n, 1)).n_calibration_ == 19


def test_auto_warns_where_one_in_a_hundred_cannot_be_held(encoder, gaussians):
    detector = AnomalyDetector(encoder, calibration="cross", random_state=0)
    with pytest.warns(CalibrationWarning, match="smallest that 50 calibration rows can hold"):
        detector.fit(gaussians(50, 1))
    assert detector.false_alarm_rate_ == 1 / 51

    assert detector.fit(gaussians(99, 1)).false_alarm_rate_ == 0.01  # and no warning


# --- labels ------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_missing_labels_are_unknown(missing, encoder, gaussians, new):
    X = gaussians(60, 1)
    detector = AnomalyDetector(encoder, "auto", 0.1, "split", random_state=0)
    without = detector.fit(X).score_samples(new)

    np.testing.assert_array_equal(detector.fit(X, [missing] * 60).score_samples(new), without)
    some = detector.fit(X, [missing, 1] * 30, normal=1).score_samples(new)
    np.testing.assert_array_equal(some, without)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["good"] * 30 + ["bad"] * 30, "translate the values 'bad', 'good' first"),
        ([True] * 30 + [False] * 30, r"only False and True \(False: 30, True: 30\)"),
        ([0] * 30 + [2] * 30, "got the label 2 in row 30"),
        ([-1] * 60, "all 60 labels are -1 .* normal instances: add some"),
        ([1] * 59, "got 60 instances and 59 labels"),
        (np.ones((60, 2)), "got labels of shape"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(y, message, encoder, gaussians):
    with pytest.raises(DataError, match=message):
        AnomalyDetector(encoder, false_alarm_rate=0.1).fit(gaussians(60, 1), y)


@pytest.mark.parametrize("score", ["head", "blend"])
def test_a_head_without_abnormal_labels_is_refused(score, encoder, gaussians):
    detector = AnomalyDetector(encoder, score, 0.1)
    for y in (None, [1, None] * 30):
        with pytest.raises(DataError, match=f"got method='{score}' and no instance labelled -1"):
            detector.fit(gaussians(60, 1), y, normal=1)


# --- what is refused -----------------------------------------------------------------------


def test_unknown_names_are_refused(encoder, gaussians):
    X = gaussians(60, 1)
    with pytest.raises(DataError, match="got method='best', expected one of auto, blend, head"):
        AnomalyDetector(encoder, "best", 0.1).fit(X)
    with pytest.raises(CalibrationError, match="got calibration='half'"):
        AnomalyDetector(encoder, "auto", 0.1, "half").fit(X)
    with pytest.raises(TypeError, match=re.escape("expected an isthmus.Autoencoder")):
        AnomalyDetector("encoder").fit(X)


def test_what_is_not_fitted_decides_nothing(encoder, new):
    for call in ("predict", "score_samples", "decision_function", "p_values", "suggest", "explain"):
        with pytest.raises(NotFittedError):
            getattr(AnomalyDetector(encoder), call)(new)


def test_a_fit_that_fails_leaves_nothing_that_looks_fitted(encoder, gaussians, new):
    detector = AnomalyDetector(encoder, "auto", 0.1, "split", random_state=0).fit(gaussians(60, 1))
    detector.set_params(false_alarm_rate=0.001)
    with pytest.raises(CalibrationError, match="needs 999"):
        detector.fit(gaussians(60, 1))
    with pytest.raises(NotFittedError):
        detector.predict(new)


def test_rows_of_another_form_are_refused(detector_fit, new):
    with pytest.raises(ValueError, match="5 features"):
        detector_fit.predict(new[:, :5])


# --- frozen, reproducible, and itself alone --------------------------------------------------


def test_the_encoder_stays_as_it_was(encoder, gaussians):
    before = digest(encoder.encoder_)
    detector = AnomalyDetector(encoder, "auto", 0.1, "split", random_state=0)

    detector.fit(gaussians(60, 1)).add_labels(gaussians(60, 1)[:3], [-1] * 3)

    assert digest(encoder.encoder_) == before == encoder.digest_
    assert detector.encoder_digest_ == before
    assert detector.encoder_ is encoder
    assert not any(p.requires_grad for p in encoder.encoder_.parameters())


def test_a_clone_keeps_a_fitted_encoder_and_copies_one_that_is_not(detector_fit, encoder):
    twin = clone(detector_fit)
    assert twin.encoder is encoder
    assert twin.get_params(deep=False) == detector_fit.get_params(deep=False)
    with pytest.raises(NotFittedError):
        twin.predict(np.zeros((1, 6)))

    fresh = AnomalyDetector(unfitted())
    assert clone(fresh).encoder is not fresh.encoder


@pytest.mark.parametrize("calibration", ["split", "cross"])
def test_the_same_seed_gives_the_same_bits(calibration, gaussians, new):
    X = gaussians(60, 1)
    X[:2] += 4
    y = [-1] * 2 + [0] * 58

    def fit(seed):
        encoder = Autoencoder(n_components=2, max_epochs=1)  # its seed is the detector's
        return AnomalyDetector(encoder, "auto", 0.1, calibration, random_state=seed).fit(X, y)

    first, same, other = fit(3), fit(3), fit(4)

    assert first.encoder_.digest_ == same.encoder_.digest_ != other.encoder_.digest_
    assert first.offset_ == same.offset_ != other.offset_
    assert first.label_curve_ == same.label_curve_ != []
    np.testing.assert_array_equal(first.score_samples(new), same.score_samples(new))


def test_a_random_state_object_is_drawn_from(encoder, gaussians):
    def offsets(state):
        detector = AnomalyDetector(encoder, "auto", 0.1, "split", random_state=state)
        return [detector.fit(gaussians(60, 1)).offset_ for _ in range(2)]

    first, second = offsets(np.random.RandomState(0))
    assert first != second
    assert offsets(np.random.RandomState(0)) == [first, second]


def test_global_generators_are_left_as_they_were(gaussians, new):
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002

    detector = AnomalyDetector(unfitted(), "auto", 0.1, "cross", random_state=0)
    detector.fit(gaussians(40, 1))
    detector.add_labels(new[-5:], [-1] * 5)
    detector.suggest(new)
    detector.explain(new)

    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert torch.get_rng_state().tolist() == states[2]


# --- every kind of instance ------------------------------------------------------------------


def test_a_digit_among_others_is_found(digits):
    images, labels = digits
    zeros = images[labels == 0]
    encoder = Autoencoder(n_components=8, max_epochs=20, random_state=0)
    detector = AnomalyDetector(encoder, "auto", 0.1, "split", random_state=0).fit(zeros[:120])

    test = np.concatenate([zeros[120:], images[labels != 0][:200]])

    truth = np.arange(len(test)) >= len(zeros) - 120
    assert roc_auc_score(truth, -detector.score_samples(test)) > 0.9
    assert (detector.predict(test[truth]) == -1).mean() > 0.9


def test_a_wave_of_another_frequency_is_found():
    def waves(n, turns, seed):
        rng = np.random.default_rng(seed)
        angle = rng.uniform(0, 2 * np.pi, n)[:, None] + 2 * np.pi * turns * np.linspace(0, 1, 32)
        X = np.stack([np.sin(angle), 10 * np.cos(angle)], axis=-1)
        return X + rng.normal(scale=0.1, size=X.shape) * [1, 10]

    encoder = Autoencoder(4, kind="series", max_epochs=20, lr=3e-3, random_state=0)
    detector = AnomalyDetector(encoder, "auto", 0.1, "split", random_state=0)
    detector.fit(waves(150, 2, 0))

    test = np.concatenate([waves(100, 2, 1), waves(100, 3, 2)])

    assert roc_auc_score([0] * 100 + [1] * 100, -detector.score_samples(test)) > 0.9


def test_windows_that_share_rows_are_warned_of_at_calibration():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(400, 2)).cumsum(axis=0)
    detector = AnomalyDetector(
        Autoencoder(2, kind="series", max_epochs=1), "auto", 0.1, "split", random_state=0
    )
    with pytest.warns(CalibrationWarning, match="cut with a stride of 5: .*stride=20 .*--stride 2"):
        detector.fit(windows(values, 20, 5))
    assert detector_facts(detector)["overlapping_stride"] == 5
    held_out = windows(rng.normal(size=(200, 2)).cumsum(axis=0), 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector.fit(windows(values, 20, 5), X_calibration=held_out)
        detector.fit(windows(np.vstack([values, -values]), 20, 20))
    assert "overlapping_stride" not in detector_facts(detector)
    # Every fifth window of a stream, levels that often repeat, a signal that mostly rests.
    drawn = np.sort(rng.permutation(381)[:76])
    assert overlapping_stride(windows(values, 20, 1)[drawn]) is not None
    assert overlapping_stride(rng.integers(0, 2, (300, 4, 1))) is None
    rests = np.where(np.arange(2000) // 500 % 2, rng.normal(size=2000), 0.0)[:, None]
    assert overlapping_stride(windows(rests, 8)) is None


def test_a_frame_with_categories_and_gaps_can_be_used():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "kind": rng.choice(["oak", "ash"], 80),
            "height": np.where(rng.uniform(size=80) < 0.1, np.nan, rng.normal(size=80)),
            "width": rng.normal(size=80),
        }
    )
    detector = AnomalyDetector(unfitted(), "auto", 0.1, "split", random_state=0).fit(X)

    odd = X.iloc[:3].assign(height=30.0, width=-30.0)

    np.testing.assert_array_equal(
        detector.score_samples(odd[["width", "kind", "height"]]), detector.score_samples(odd)
    )
    assert detector.feature_names_in_.tolist() == ["kind", "height", "width"]
    assert detector.n_features_in_ == 3
    assert (detector.predict(odd) == -1).all()


# --- how many encoders -----------------------------------------------------------------------


def test_a_detector_says_how_many_encoders_it_trains(gaussians):
    X, y = gaussians(2000, 0), np.zeros(2000)
    assert AnomalyDetector(unfitted()).n_encoders(X) == 1
    y[0] = -1  # one normal row fewer
    assert AnomalyDetector(unfitted()).n_encoders(X, y) == 6
    assert AnomalyDetector(unfitted(), calibration="cross").n_encoders(X) == 6
    assert AnomalyDetector(unfitted(), calibration="cross").n_encoders(X[:6]) == 4
    assert AnomalyDetector(unfitted(), calibration="split").n_encoders(X[:6]) == 1
    assert AnomalyDetector(unfitted().fit(X[:9])).n_encoders(X) == 0


def test_several_encoders_keep_no_checkpoint_and_are_not_resumed(gaussians, tmp_path):
    X = gaussians(60, 0)
    encoder = unfitted().set_params(checkpoint_dir=tmp_path / "checkpoints")
    detector = AnomalyDetector(encoder, "neighbours", 0.1, "cross", random_state=0).fit(X)
    assert not (tmp_path / "checkpoints").exists()
    assert encoder.checkpoint_dir == tmp_path / "checkpoints"
    with pytest.raises(TrainingError, match=r"got resume=True.*leave resume out"):
        detector.set_params(encoder__resume=True).fit(X)
    one = AnomalyDetector(encoder.set_params(resume=False), "neighbours", 0.1, "split")
    assert one.n_encoders(X) == 1
    one.fit(X)
    assert (tmp_path / "checkpoints" / "last.safetensors").exists()


@pytest.mark.parametrize("wild", [1000.0, -9999.0, 1e9])
def test_one_wild_cell_blinds_no_column(wild):
    rng = np.random.default_rng(0)
    X, far = rng.normal(size=(600, 6)), rng.normal(size=(20, 6))
    X[17, 0] = wild
    far[:, 0] += 8
    encoder = Autoencoder(max_epochs=30, random_state=0)
    detector = AnomalyDetector(encoder, calibration="split", false_alarm_rate=0.05, random_state=0)
    with pytest.warns(DataWarning) as caught:
        detector.fit(X)
    assert [str(one.message)[:24] for one in caught] == [
        f"column 0 holds {wild:.6g} in row 17"[:24]
    ]
    assert (detector.predict(far) == -1).all()
    assert (detector.predict(np.repeat(X[17:18], 2, axis=0)) == -1).all()


def test_one_wild_cell_in_a_constant_column_leaves_it_constant():
    rng = np.random.default_rng(0)
    X, other = (np.column_stack([rng.normal(size=(n, 3)), np.full(n, 5.0)]) for n in (600, 20))
    X[17, 3], other[:, 3] = 1e6, 7
    detector = AnomalyDetector(unfitted(), calibration="split", false_alarm_rate=0.05)
    with pytest.warns(
        DataWarning, match="column 3 holds 1e\\+06 in row 17, .* scales from its median"
    ):
        detector.fit(X)
    assert (detector.predict(other) == -1).all()
    inputs = detector.encoder_.preprocessor_.inputs[3]
    assert (inputs.constant, inputs.scale) == (True, 0.005)
    # A flag that is rarely 1 is none, and keeps its scale.
    X[:, 3] = np.arange(600) % 200 == 0
    kept = AnomalyDetector(unfitted(), calibration="split", false_alarm_rate=0.05).fit(X)
    assert not kept.encoder_.preprocessor_.inputs[3].constant
