"""Verdicts from scores, and tables of predictions that look alike wherever they are written."""

import numpy as np
import pytest

from isthmus.data import decision_counts, prediction_columns, verdicts


def test_only_beyond_the_threshold_is_abnormal():
    scores = np.array([-np.inf, 1.0, np.nextafter(1.0, 2), np.inf, np.nan])
    assert verdicts(scores, 1.0).tolist() == [1, 1, -1, -1, -1]
    assert verdicts(np.empty(0), 1.0).dtype == np.int64


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"class": np.array([3, 5]), "probabilities": np.array([[0.9, 0.1], [0.4, 0.6]])},
            {"prediction": [3, 5], "probability": [0.9, 0.6], "probability_3": [0.9, 0.4],
             "probability_5": [0.1, 0.6]},
        ),
        (  # a class says what score and verdict would say again
            {"p_value": np.array([0.5]), "class": np.array(["a"]), "verdict": np.array([1]),
             "anomaly_score": np.array([2.0]), "reconstruction_error": np.array([0.1])},
            {"prediction": ["a"], "p_value": [0.5], "reconstruction_error": [0.1]},
        ),
        (
            {"reconstruction_error": np.array([0.1]), "p_value": np.array([0.5]),
             "anomaly_score": np.array([2.0]), "verdict": np.array([-1])},
            {"prediction": [-1], "anomaly_score": [2.0], "p_value": [0.5],
             "reconstruction_error": [0.1]},
        ),
    ],
    ids=["classifier", "rejecting classifier", "detector"],
)  # fmt: skip
def test_columns_are_named_and_ordered_by_what_is_decided(given, expected):
    columns = prediction_columns(given, [3, 5])
    assert list(columns) == list(expected)
    assert {name: column.tolist() for name, column in columns.items()} == expected


def test_all_but_the_prediction_are_float64():
    given = {"class": np.array([True]), "probabilities": np.array([[0.75, 0.25]], np.float32)}
    dtypes = {name: c.dtype for name, c in prediction_columns(given, [False, True]).items()}
    assert dtypes.pop("prediction").kind == "b"
    assert set(dtypes.values()) == {np.dtype(np.float64)}


def test_probabilities_of_other_classes_are_refused():
    given = {"class": np.array([1]), "probabilities": np.array([[0.75, 0.25]])}
    with pytest.raises(ValueError, match="argument 2 is longer"):
        prediction_columns(given, [1])


def test_counts_are_of_classes_or_else_of_verdicts():
    assert decision_counts({"verdict": np.array([1, 1])}) == {"normal": 2, "abnormal": 0}
    given = {"class": np.array([7, 3, 7]), "verdict": np.array([1, -1, 1])}
    assert decision_counts(given) == {"3": 1, "7": 2}
    assert decision_counts({"code": np.zeros((3, 2))}) == {}
