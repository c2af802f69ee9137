"""Two models on the same instances."""

import numpy as np
import pytest
from scipy.stats import binom, wilcoxon

from isthmus.errors import DataError
from isthmus.evaluation import (
    compare_classifications,
    compare_detections,
    compare_errors,
    detection_metrics,
    raw_distances,
)
from isthmus.evaluation.comparison import mcnemar


@pytest.mark.parametrize(("only_then", "only_now"), [(0, 0), (0, 1), (2, 9), (9, 2), (15, 15)])
def test_mcnemar_is_the_two_sided_sign_test_of_those_that_differ(only_then, only_now):
    then = np.repeat([True, False, True, False], [only_then, only_now, 30, 5])
    now = np.repeat([False, True, True, False], [only_then, only_now, 30, 5])

    found = mcnemar(then, now)

    k, n = min(only_then, only_now), only_then + only_now
    assert (found["only_then"], found["only_now"]) == (only_then, only_now)
    assert found["p_value"] == pytest.approx(min(1, 2 * binom.cdf(k, n, 0.5)))


def test_changed_classes_are_counted_listed_and_judged():
    then = np.array(["a", "b", "a", "c", "c"])
    now = np.array(["a", "a", "a", "b", "c"])
    found = compare_classifications(then, now, np.array(["a", "a", "b", "b", "c"]))

    assert found["changed"] == {"count": 2, "share": 0.4}
    assert found["rows"] == [1, 3]
    assert found["accuracy"] == {"then": 0.4, "now": 0.8}
    assert found["test"] == {"only_then": 0, "only_now": 2, "p_value": 0.5}


def test_without_truth_only_the_changes_are_told():
    found = compare_classifications(np.arange(50), np.zeros(50))
    assert found["changed"]["count"] == 49
    assert found["rows"] == list(range(1, 13))
    assert found["accuracy"] is found["test"] is None


def test_text_and_numbers_are_never_the_same_class():
    found = compare_classifications(np.array(["1", "2"]), np.array([1, 2]), np.array([1, 2]))
    assert found["changed"]["count"] == 2
    assert found["accuracy"] == {"then": 0.0, "now": 1.0}


def test_detections_are_compared_among_normals_and_among_abnormals():
    y = np.repeat([1, -1, 0], [6, 4, 2])
    then = np.array([-1, -1, 1, 1, 1, 1, -1, 1, 1, 1, -1, 1])
    now = np.array([1, 1, -1, 1, 1, 1, -1, -1, -1, 1, -1, 1])
    found = compare_detections(then, now, y)

    assert found["flagged"] == {"then": 4, "now": 5, "both": 2}
    assert found["changed"]["count"] == 5
    alarms, power = found["false_alarms"], found["found"]
    assert (alarms["n"], alarms["then"], alarms["now"]) == (6, 2 / 6, 1 / 6)
    # Not to flag a normal one is right.
    assert alarms["test"] == {"only_then": 1, "only_now": 2, "p_value": 1.0}
    assert (power["n"], power["then"], power["now"]) == (4, 1 / 4, 3 / 4)
    assert power["test"] == {"only_then": 0, "only_now": 2, "p_value": 0.5}


def test_unlabelled_detections_have_no_test():
    found = compare_detections(np.array([1, -1]), np.array([1, 1]))
    assert found["false_alarms"] is found["found"] is None


def test_labels_of_detections_mean_what_is_stated(table_fit, table):
    then, now = np.array([-1, 1, 1, -1]), np.array([1, 1, -1, -1])
    scores, y = np.arange(4.0), np.array(["ok", "ok", "worn", "worn"])
    found = compare_detections(then, now, np.array([*y[:3], None]), normal="ok")
    assert (found["false_alarms"]["n"], found["found"]["n"]) == (2, 1)
    assert found == compare_detections(then, now, [1, 1, -1, 0])
    with pytest.raises(DataError, match="only 0 and 1"):
        compare_detections(then, now, [0, 0, 1, 1])
    signs = np.array([1, 1, -1, -1])
    assert detection_metrics(y, scores, now, normal="ok") == detection_metrics(signs, scores, now)
    near = raw_distances(table_fit, table[:4], y, table[:6], normal="ok")
    np.testing.assert_array_equal(near, raw_distances(table_fit, table[:2], None, table[:6]))
    with pytest.raises(DataError, match="y_train: got labels that are only 0 and 1"):
        raw_distances(table_fit, table[:4], [0, 0, 1, 1], table[:6])


def test_errors_are_paired():
    rng = np.random.default_rng(0)
    then = rng.gamma(3.0, size=60)
    now = then * rng.uniform(0.8, 1.05, size=60)
    found = compare_errors(then, now)

    assert found["p_value"] == wilcoxon(now, then).pvalue < 0.001
    assert found["better"] == np.mean(now < then)
    assert found["mean_error"] == {"then": then.mean(), "now": now.mean()}
    assert compare_errors(then, then)["p_value"] == 1
    assert compare_errors(then, then)["better"] == 0


def test_other_lengths_are_refused():
    with pytest.raises(DataError, match=r"\(3,\) and \(2,\)"):
        compare_classifications(np.ones(3), np.ones(2))
    with pytest.raises(DataError, match=r"\(2,\) and \(1,\)"):
        compare_classifications(np.ones(2), np.ones(2), np.ones(1))
    with pytest.raises(DataError, match="at least one"):
        compare_errors(np.ones(0), np.ones(0))
