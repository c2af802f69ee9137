import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from isthmus.data import load
from isthmus.data.labels import ClassMatcher, as_labels, distinct_names
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


# --- labels and the classes of a head ----------------------------------------------------------

NUMBERS = st.lists(st.integers(-50, 10**12).filter(lambda n: n != -1), min_size=1, unique=True)


def written(labels, tmp_path):
    """Return labels in every form that they may come in, by name."""
    objects = np.array(labels, dtype=object)
    texts = np.array([str(label) for label in labels])
    found = {
        "objects": objects,
        "text": texts,
        "text as objects": texts.astype(object),
        "categories": as_labels(pd.Series(labels, dtype="category")),
        "text as categories": as_labels(pd.Series(texts, dtype="category")),
        "list": as_labels(labels),
    }
    frame = pd.DataFrame({"x": 0.0, "y": labels, "text": texts})
    frame.to_csv(tmp_path / "labels.csv", index=False)
    frame.to_parquet(tmp_path / "labels.parquet")
    for kind in ("csv", "parquet"):
        for column in ("y", "text"):
            data = load(tmp_path / f"labels.{kind}", label=column)
            found[f"{column} of {kind}"] = data.train.y
    if not isinstance(labels[0], bool | str):
        found["whole floats"] = np.array(labels, dtype=np.float64)
        found["text of floats"] = np.array([str(float(label)) for label in labels])
        found["nullable"] = as_labels(pd.Series(labels, dtype="Int64"))
        found["with gaps"] = as_labels([*labels, None])
        found["padded"] = np.array([f"{'-' * (n < 0)}0{abs(n)}" for n in labels])
    return found


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    classes=st.one_of(
        NUMBERS,
        st.just([False, True]),
        st.lists(st.text("abct", min_size=1, max_size=3), min_size=1, unique=True),
    ),
    data=st.data(),
)
def test_matching_is_the_same_in_every_form(classes, data, tmp_path):
    labels = data.draw(st.lists(st.sampled_from(classes), min_size=1, max_size=8))
    heads = [np.array(classes), np.array([str(one) for one in classes])]
    for head in heads:
        expected = np.array(labels) if head is heads[0] else np.array([str(one) for one in labels])
        for name, y in written(labels, tmp_path).items():
            rows, found = ClassMatcher(head).labelled(y)
            assert rows.tolist() == list(range(len(labels))), name
            if name in ("padded", "text of floats") and head is heads[1]:
                continue  # text and text have to be equal
            assert found.tolist() == expected.tolist(), name
            assert found.dtype.kind == expected.dtype.kind, name


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(classes=st.sets(st.integers(0, 99), min_size=2))
def test_names_of_folders_are_matched(classes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("folders")
    for one in classes:
        (folder / str(one)).mkdir()
        Image.new("L", (2, 2), one).save(folder / str(one) / "a.png")
    data = load(folder).train
    rows, found = ClassMatcher(np.array(sorted(classes))).labelled(data.y)
    assert found.tolist() == data.X[:, 0, 0].tolist()
    assert len(rows) == len(classes)


@pytest.mark.parametrize(
    ("classes", "labels", "said"),
    [
        (np.array([0, "0"], dtype=object), [0], "label 0, which may be each of .* '0' and 0;"),
        (np.array([0, "0"], dtype=object), ["0"], "label '0', which may be each of .* '0' and 0;"),
        (np.array(["01", "1"]), [1], "label 1, which may be each of the classes '01' and '1';"),
        (np.array(["True", "true"]), [True], "'True' and 'true'; write labels as"),
        (np.array([0, 1]), ["1", "01"], "labels '1' and '01', which both read as 1;"),
        (np.array(["0", "1"]), [1, "1"], "labels 1 and '1', which both read as '1';"),
        (np.array([0, 1]), ["0", "eel"], "text, such as 'eel', but .* are numbers, such as 0;"),
        (np.array(["ok", "worn"]), [1, 0], "numbers, such as .*, but .* text, such as 'ok';"),
        (np.array(["0", "1"]), [True], "labels that are numbers, such as True, but"),
        (np.array([False, True]), ["1"], "labels that are text, such as '1', but"),
    ],
)
def test_what_may_be_several_classes_or_none_is_refused(classes, labels, said):
    with pytest.raises(DataError, match=said):
        ClassMatcher(classes).labelled(np.array(labels, dtype=object))


def test_text_is_matched_with_equal_text_alone():
    matcher = ClassMatcher(np.array(["01", "1"]))
    assert matcher.match(np.array(["1", "01", "001"])).tolist() == ["1", "01", "001"]


def test_labels_of_one_class_are_written_in_one_way_in_all_pieces():
    matcher = ClassMatcher(np.array([0, 1]))
    assert matcher.match(np.array(["1", "0"])).tolist() == [1, 0]
    with pytest.raises(DataError, match="'1' and '01', which both read as 1"):
        matcher.match(np.array(["01"]))
