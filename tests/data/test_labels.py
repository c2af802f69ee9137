import numpy as np
import pandas as pd
import pytest

from isthmus.data.labels import as_labels, distinct_names
from isthmus.errors import DataError


@pytest.mark.parametrize(
    ("y", "expected", "kind"),
    [
        ([1, 2, 3], [1, 2, 3], "i"),
        ((1.5, 2.0), [1.5, 2.0], "f"),
        ([True, False], [True, False], "b"),
        (["a", "b"], ["a", "b"], "O"),
        (["a", None], ["a", None], "O"),
        (["a", np.nan], ["a", None], "O"),
        ([["a"], ["b"]], ["a", "b"], "O"),
        (np.array([[1], [2]], np.uint8), [1, 2], "u"),
        (np.array(["a", "b"]), ["a", "b"], "U"),
        (pd.Series([1, 2], index=[7, 8]), [1, 2], "i"),
        (pd.Series(["a", None]), ["a", None], "O"),
        (pd.Series(["a", "b"], dtype="category"), ["a", "b"], "O"),
        (pd.Series(["a", None], dtype="category"), ["a", None], "O"),
        (pd.Series([1, 2], dtype="category"), [1, 2], "i"),
        (pd.Series([1, 2], dtype="Int64"), [1, 2], "i"),
        (pd.Series([True, None], dtype="boolean"), [True, None], "O"),
        (pd.Categorical(["a", "b"]), ["a", "b"], "O"),
    ],
    ids=str,
)
def test_forms(y, expected, kind):
    got = as_labels(y)
    assert isinstance(got, np.ndarray)
    assert got.tolist() == expected
    assert got.dtype.kind == kind


@pytest.mark.parametrize("y", [[1, None], pd.Series([1, None], dtype="Int64"), [1.0, np.nan]])
def test_missing_numbers_are_nan(y):
    got = as_labels(y)
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, [1, np.nan])


@pytest.mark.parametrize("y", [np.eye(3), [[1, 2], [3, 4]], 5, np.float64(3)])
def test_wrong_shape(y):
    with pytest.raises(DataError, match="labels of shape"):
        as_labels(y)


def test_distinct_names():
    assert distinct_names(np.array([10, 9, 10])) == ("9", "10")
    assert distinct_names(np.array(["b", None, "a"], object)) == ("a", "b")
    assert distinct_names(np.array([1.5, 2.0, np.nan])) == ("1.5", "2")
    assert distinct_names(np.array([b"a"])) == ("a",)
    assert distinct_names(np.array(["a", 1], object)) == ("1", "a")
    assert distinct_names(np.array([])) == ()
