"""Rates by group: Mondrian p-values, the rule for small groups, and what is refused."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta, binom

from isthmus import AnomalyDetector, Autoencoder, load, load_bundle, save_bundle
from isthmus.data import Dataset
from isthmus.detection import Calibration, GroupCalibration, band
from isthmus.detection.group_rows import draw_by_group
from isthmus.errors import CalibrationError, CalibrationWarning, DataError
from isthmus.evaluation import evaluate_detector

SIZES = {"calm": 400, "loud": 400, "few": 12, "one": 3}
SCALES = {"calm": 1.0, "loud": 5.0, "few": 2.0, "one": 2.0}


def as_objects(names):
    return np.array(names, dtype=object)


@pytest.fixture(scope="module")
def machines(gaussians):
    """Draw rows of machines whose values differ in scale, and the machine of each row."""

    def draw(seed, sizes=SIZES):
        rows = [
            gaussians(n, [seed, at]) * SCALES[name] for at, (name, n) in enumerate(sizes.items())
        ]
        return np.vstack(rows), np.repeat(as_objects(list(sizes)), list(sizes.values()))

    return draw


@pytest.fixture(scope="module")
def grouped_fit(encoder, machines):
    """A detector by group on a fitted encoder, at a rate of 0.05. Do not refit."""
    X, groups = machines(5)
    detector = AnomalyDetector(
        encoder, "mahalanobis", false_alarm_rate=0.05, calibration="split", random_state=0
    )
    with pytest.warns(CalibrationWarning, match="2 of 4 groups have fewer than the 19"):
        return detector.fit(X, groups=groups)


def test_p_values_are_the_ranks_in_the_own_group(grouped_fit, machines):
    X, groups = machines(6)
    scores = -grouped_fit.score_samples(X)
    by_group = grouped_fit.group_calibration_
    p_values = grouped_fit.p_values(X, groups=groups)

    for name in ("calm", "loud"):
        at = by_group.names.index(name)
        own = by_group.scores[by_group.codes == at]
        expected = [(1 + (own >= one).sum()) / (len(own) + 1) for one in scores[groups == name]]
        np.testing.assert_array_equal(p_values[groups == name], expected)


def test_a_verdict_a_p_value_and_the_distance_to_the_threshold_agree(grouped_fit, machines):
    X, groups = machines(6)
    p_values = grouped_fit.p_values(X, groups=groups)
    predicted = grouped_fit.predict(X, groups=groups)

    np.testing.assert_array_equal(predicted == -1, p_values <= 0.05)
    np.testing.assert_array_equal(
        predicted == 1, grouped_fit.decision_function(X, groups=groups) >= 0
    )


def test_the_rate_holds_in_each_group_where_one_threshold_gives_several_times_it(
    encoder, machines, gaussians
):
    sizes = {"calm": 400, "loud": 400}
    realised = {True: [], False: []}
    for seed in range(12):
        X, groups = machines(100 + seed, sizes)
        new, of_new = machines(200 + seed, sizes)
        for by_group in (True, False):
            detector = AnomalyDetector(
                encoder,
                "mahalanobis",
                false_alarm_rate=0.05,
                calibration="split",
                random_state=seed,
            ).fit(X, groups=groups if by_group else None)
            flags = detector.predict(new, groups=of_new if by_group else None) == -1
            realised[by_group].append([flags[of_new == name].mean() for name in sizes])
    mean = np.mean(realised[True], axis=0)
    error = np.std(realised[True], axis=0, ddof=1) / np.sqrt(12)

    assert (np.abs(mean - 0.05) < 2.5 * error).all()
    assert np.max(np.mean(realised[False], axis=0)) > 0.09  # of both groups by one threshold


def test_small_groups_share_a_calibration_and_others_are_decided_by_all_rows():
    scores, rate = np.arange(100.0), 0.1  # which needs 9 rows
    codes = np.repeat([0, 1, 2, -1], [85, 6, 5, 4])
    by_group = GroupCalibration(scores, codes, ["a", "b", "c", "d"], rate)

    assert by_group.how == ["group", "small groups", "small groups", "small groups"]
    groups = as_objects(["a", "b", "d", "new", ""])
    small = Calibration(scores[85:96])
    expected = [Calibration(scores[:85]), small, small, Calibration(scores), Calibration(scores)]
    np.testing.assert_array_equal(
        by_group.p_values(np.full(5, 90.5), groups),
        [one.p_values(np.array([90.5]))[0] for one in expected],
    )
    assert by_group.counts_of(groups) == {
        "n_own": 1,
        "n_small_groups": 2,
        "n_all_rows": 2,
        "n_unseen": 1,
        "n_missing": 1,
        "unseen": ["new"],
    }
    alone = GroupCalibration(scores[:91], codes[:91], ["a", "b"], rate)
    assert alone.how == ["group", "all rows"]  # six rows are too few together, too


def test_another_rate_pools_other_groups(grouped_fit):
    facts = grouped_fit.group_calibration_.facts()
    assert (facts["n_own"], facts["rows_needed"], facts["n_groups"]) == (2, 19, 4)

    moved = grouped_fit.group_calibration_.at_rate(0.01)
    with pytest.warns(CalibrationWarning, match="4 of 4 groups"):
        moved.warn_of_small()
    assert moved.facts()["n_small_groups"] == 4


def test_groups_are_asked_for_where_they_are_missing_and_refused_where_unknown(
    grouped_fit, detector_fit, machines
):
    X, groups = machines(6)
    for decide in (
        grouped_fit.predict,
        grouped_fit.p_values,
        grouped_fit.select,
        grouped_fit.suggest,
    ):
        with pytest.raises(DataError, match="decides by group, and got no groups; pass groups="):
            decide(X)
    with pytest.raises(DataError, match="was fitted without groups; leave groups out"):
        detector_fit.predict(X, groups=groups)
    with pytest.raises(DataError, match="got 815 instances and 2 groups"):
        grouped_fit.predict(X, groups=["a", "b"])


def test_unseen_and_missing_groups_are_counted_in_a_warning(grouped_fit, machines):
    X, _ = machines(6)
    with pytest.warns(
        CalibrationWarning, match=r"2 of groups.*\('new'\) and 1 without a group, of 4"
    ):
        found = grouped_fit.p_values(X[:4], groups=["calm", "new", "new", None])
    expected = grouped_fit.score_calibration_.p_values(-grouped_fit.score_samples(X[1:4]))
    np.testing.assert_array_equal(found[1:], expected)


def test_a_column_of_a_table_names_the_groups_and_is_no_feature(gaussians):
    frame = pd.DataFrame(gaussians(300, 3), columns=list("abcdef")).assign(machine=[1, 2, 3] * 100)
    encoder_like = AnomalyDetector(
        unfitted(), "mahalanobis", false_alarm_rate=0.05, random_state=0
    ).fit(frame, groups="machine")

    assert encoder_like.encoder_.schema_.columns == tuple("abcdef")
    assert encoder_like.group_columns_ == ("machine",)
    assert encoder_like.group_calibration_.names == ("1", "2", "3")
    # 2.0 and "2" are the group 2 as well, and the column is found by its name.
    texts = frame.assign(machine=frame["machine"].astype(float))
    expected = encoder_like.p_values(frame.drop(columns="machine"), groups=frame["machine"])
    np.testing.assert_array_equal(encoder_like.p_values(texts), expected)
    keyed = Dataset(
        frame.drop(columns="machine"), keys=frame[["machine"]], group_columns=("machine",)
    )
    np.testing.assert_array_equal(encoder_like.p_values(keyed), expected)


def unfitted():
    from isthmus import Autoencoder

    return Autoencoder(n_components=2, max_epochs=1, random_state=0)


def test_cross_calibration_deals_each_group_into_all_folds(encoder, machines):
    X, groups = machines(5, {"calm": 50, "loud": 25})
    detector = AnomalyDetector(encoder, "mahalanobis", 0.05, "cross", random_state=0)
    detector.fit(X, groups=groups)

    of_folds = [
        np.unique(groups[fold.held_out], return_counts=True)[1].tolist()
        for fold in detector.reference_set_.folds
    ]
    assert of_folds == [[10, 5]] * 5
    assert detector.group_calibration_.facts()["n_own"] == 2


def test_calibration_rows_are_drawn_in_each_group():
    groups = np.repeat(as_objects(["big", "mid", "low", ""]), [20_000, 150, 40, 10])
    (rows,) = draw_by_group("split", groups, 0.02, np.random.default_rng(0))
    drawn = dict(zip(*np.unique(groups[rows], return_counts=True), strict=True))

    assert drawn == {"big": 2000, "mid": 49, "low": 20, "": 5}
    assert len(np.unique(rows)) == len(rows)
    with pytest.raises(CalibrationError, match="needs 999 calibration rows"):
        draw_by_group("split", groups[:500], 0.001, np.random.default_rng(0))
    singles = as_objects([str(at) for at in range(60)])
    (rows,) = draw_by_group("split", singles, 0.05, np.random.default_rng(0))
    assert len(rows) == 19  # half of one row is none


def test_auto_does_not_split_where_that_leaves_a_group_too_few_rows(encoder, machines):
    X, groups = machines(5, {"calm": 2200, "loud": 30})
    fitted = AnomalyDetector(encoder, "mahalanobis", 0.05, random_state=0).fit(X, groups=groups)
    assert fitted.calibration_ == "cross"
    assert AnomalyDetector(encoder, "mahalanobis", 0.05).fit(X).calibration_ == "split"


def test_calibration_rows_given_beside_bring_their_groups(encoder, machines):
    X, groups = machines(5, {"calm": 50, "loud": 50})
    rows, of_rows = machines(7, {"calm": 30, "loud": 40})
    detector = AnomalyDetector(encoder, "mahalanobis", 0.05, random_state=0)
    detector.fit(X, groups=groups, X_calibration=rows, groups_calibration=of_rows)

    assert [one["n"] for one in detector.group_calibration_.facts()["groups"]] == [30, 40]
    with pytest.raises(DataError, match=r"got no groups of X_calibration.*groups_calibration="):
        detector.fit(X, groups=groups, X_calibration=rows)


def test_labels_and_another_rate_keep_the_groups(encoder, machines):
    X, groups = machines(5, {"calm": 100, "loud": 100})
    detector = AnomalyDetector(encoder, "mahalanobis", 0.1, "split", random_state=0)
    detector.fit(X, groups=groups)
    before = detector.group_calibration_.counts.copy()
    held_out = detector.reference_set_.folds[0].held_out
    labelled = held_out[groups[held_out] == "calm"][:3]

    detector.add_labels(np.vstack([X[labelled], X[:1] + 50]), [-1] * 4)
    assert detector.group_calibration_.counts.tolist() == [before[0] - 3, before[1]]
    detector.set_false_alarm_rate(0.2)
    np.testing.assert_array_equal(
        detector.predict(X, groups=groups) == -1, detector.p_values(X, groups=groups) <= 0.2
    )


def test_a_bundle_decides_by_group_as_before_and_older_readers_refuse_it(
    grouped_fit, machines, tmp_path
):
    X, groups = machines(6)
    save_bundle(tmp_path / "press", grouped_fit.encoder_, {"normal": grouped_fit})
    bundle = load_bundle(tmp_path / "press")
    again = bundle.detector()

    assert bundle.manifest["format_version"] == 2
    assert bundle.manifest["heads"]["normal"]["groups"]["n_own"] == 2
    np.testing.assert_array_equal(
        again.p_values(X, groups=groups), grouped_fit.p_values(X, groups=groups)
    )
    np.testing.assert_array_equal(again.reference_set_.groups, grouped_fit.reference_set_.groups)
    with pytest.raises(DataError, match="got no groups"):
        bundle.predictions(X)
    with warnings.catch_warnings(action="ignore", category=CalibrationWarning):
        again.set_false_alarm_rate(0.1)
        grouped = again.predict(X, groups=groups)
    np.testing.assert_array_equal(grouped == -1, again.p_values(X, groups=groups) <= 0.1)


def test_the_band_is_that_of_exchangeable_rows():
    # Without the variance of the new rows it is a beta distribution, without that of the
    # calibration rows a binomial one.
    low, high = band(0.05, 199, 10**6)
    np.testing.assert_allclose([low, high], beta.ppf([0.05, 0.95], 10, 190), atol=1e-4)
    low, high = band(0.05, 10**6 - 1, 100)
    np.testing.assert_allclose([low, high], binom.ppf([0.05, 0.95], 100, 0.05) / 100, atol=1e-12)


def test_an_evaluation_names_the_worst_group(grouped_fit, detector_fit, machines, encoder):
    X, groups = machines(6)
    y = np.ones(len(X))
    odd = groups == "loud"
    y[np.flatnonzero(odd)[:40]] = -1
    found = evaluate_detector(grouped_fit, X, y, groups=groups)["by_group"]

    assert [one["name"] for one in found["groups"]] == ["calm", "few", "loud", "one"]
    flags = grouped_fit.predict(X, groups=groups) == -1
    for one in found["groups"]:
        own = (groups == one["name"]) & (y == 1)
        assert one["realised"] == flags[own].mean()
    realised = {one["name"]: one["realised"] for one in found["groups"]}
    assert realised[found["worst"]] == max(realised.values())
    assert found["groups"][0]["auroc"] is None
    assert (found["n_own"], found["n_all_rows"]) == (800, 15)
    with pytest.raises(DataError, match="got no groups"):
        evaluate_detector(grouped_fit, X, y)
    one_threshold = evaluate_detector(detector_fit, X, y, groups=groups)["by_group"]
    assert {one["calibration"] for one in one_threshold["groups"]} == {"all rows"}


def test_groups_that_are_no_labels_are_refused(encoder, machines):
    X, _ = machines(5, {"calm": 60})
    detector = AnomalyDetector(encoder, "mahalanobis", 0.1)
    for groups, message in [
        ([["a"]] * 60, "expected a label"),
        ("machine", "names no column of X; pass an array"),
        (["a"] * 59, "got 60 instances and 59 groups"),
        (3, "expected an array with the group of each instance"),
    ]:
        with pytest.raises(DataError, match=re.escape(message)):
            detector.fit(X, groups=groups)


def test_fit_predict_decides_by_the_groups_of_the_fit():
    rng = np.random.default_rng(0)
    X, groups = rng.normal(size=(200, 3)), np.repeat(["a", "b"], 100)
    encoder = Autoencoder(2, architecture="dense", max_epochs=1, random_state=0)
    detector = AnomalyDetector(encoder, "mahalanobis", 0.05, random_state=0)
    found = detector.fit_predict(X, groups=groups)
    np.testing.assert_array_equal(found, detector.predict(X, groups=groups))


def test_rows_without_a_group_at_fit_are_counted_and_warned_of():
    rng = np.random.default_rng(0)
    groups = np.where(np.arange(200) < 50, None, "a")
    encoder = Autoencoder(2, architecture="dense", max_epochs=1, random_state=0)
    detector = AnomalyDetector(encoder, "mahalanobis", 0.05, "cross", random_state=0)
    with pytest.warns(CalibrationWarning, match="50 of 200 calibration rows have no group"):
        detector.fit(rng.normal(size=(200, 3)), groups=groups)
    assert detector.group_calibration_.facts()["n_without_group"] == 50


def test_groups_that_a_detector_does_not_decide_by_are_warned_of():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 3)), columns=list("abc"))
    encoder = Autoencoder(2, architecture="dense", max_epochs=1, random_state=0)
    detector = AnomalyDetector(encoder, "mahalanobis", 0.05, random_state=0).fit(frame)
    grouped = load(frame.assign(machine="a"), group="machine")
    with pytest.warns(CalibrationWarning, match="'machine'.* decide nothing: the detector was"):
        np.testing.assert_array_equal(detector.predict(grouped), detector.predict(frame))
