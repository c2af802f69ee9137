"""Labels for normal or not: which are taken, and what is said of the others."""

import numpy as np
import pandas as pd
import pytest

from isthmus.errors import DataError
from isthmus.heads.detector_labels import check_detector_labels


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
