import numpy as np
import pandas as pd
import pytest

from isthmus.data import Dataset, Schema, Splits, load, with_identifiers
from isthmus.errors import DataError

X = np.arange(40, dtype=np.float64).reshape(20, 2)
IMAGES = np.arange(20 * 6, dtype=np.uint8).reshape(20, 2, 3)


def test_attributes():
    data = Dataset(IMAGES, np.arange(20) % 3, name="few")
    assert (data.kind, len(data), data.name) == ("images", 20, "few")
    assert data.schema == Schema.learn(IMAGES)
    assert data.class_names == ("0", "1", "2")
    assert data.train is data
    assert data.test is None
    assert repr(data) == "Dataset('few', 20 images of 2x3 uint8, 3 classes)"


def test_without_labels():
    data = Dataset(X)
    assert data.y is None
    assert data.class_names is None
    assert repr(data) == "Dataset('data', 20 rows of 2 columns, no labels)"


def test_lists_become_arrays():
    data = Dataset([[1.0], [2.0]], ["a", None])
    assert data.X.shape == (2, 1)
    assert data.y.tolist() == ["a", None]
    assert data.class_names == ("a",)
    assert data.take([1]).y.tolist() == [None]


def test_numbers_of_labels_and_instances_differ():
    with pytest.raises(DataError, match="got 20 instances and 19 labels"):
        Dataset(X, np.zeros(19))


def test_unsupported_dtype_is_refused():
    with pytest.raises(DataError, match="dtype int64"):
        Dataset(IMAGES.astype(np.int64))


@pytest.mark.parametrize("rows", [[3, 1], np.array([3, 1]), np.arange(20) % 7 == 1])
def test_take(rows):
    y = np.array(list("abcdefghijklmnopqrst"))
    frame = pd.DataFrame(X, columns=["u", "v"], index=np.arange(20)[::-1])
    for source in (X, frame):
        part = Dataset(source, y, name="letters").take(rows)
        np.testing.assert_array_equal(np.asarray(part.X), X[rows])
        np.testing.assert_array_equal(part.y, y[rows])
        assert part.name == "letters"
        assert part.class_names == tuple(y)
        assert part.schema == Schema.learn(source)


def test_split_keeps_every_instance_with_its_label_and_the_order():
    data = Dataset(X, np.arange(20))
    parts = data.split(0.25, random_state=3)
    assert (len(parts.train), len(parts.test)) == (15, 5)
    for part in (parts.train, parts.test):
        np.testing.assert_array_equal(part.X, X[part.y])
        assert (np.diff(part.y) > 0).all()
    assert sorted([*parts.train.y, *parts.test.y]) == list(range(20))
    np.testing.assert_array_equal(parts.test.y, data.split(0.25, random_state=3).test.y)


def test_split_does_not_change_the_global_random_state():
    np.random.seed(5)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    Dataset(X).split(random_state=0)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("labels", [["a", "b"], [0.0, np.nan], ["a", None]])
def test_split_keeps_classes_in_proportion(labels):
    parts = Dataset(X, np.array(labels * 10, dtype=object)).split(0.4, random_state=0)
    counts = pd.Series(parts.test.y).value_counts(dropna=False)
    assert counts.tolist() == [4, 4]


def test_split_with_a_class_of_one():
    parts = Dataset(X, [0] * 19 + [1]).split(0.2, random_state=0)
    assert len(parts.test) == 4


@pytest.mark.parametrize("fraction", [0.0, 1.0, 1.5, -0.1])
def test_split_by_an_invalid_fraction(fraction):
    with pytest.raises(DataError, match="cannot set .* of 20 instances aside"):
        Dataset(X).split(fraction)


def test_split_of_one_instance():
    with pytest.raises(DataError, match="cannot set 20% of 1 instances aside"):
        Dataset(X[:1]).split()


def test_splits_have_the_attributes_of_their_training_set():
    splits = Dataset(X, np.arange(20) % 2, name="half").split(random_state=0)
    assert splits.name == "half"
    assert splits.kind == "table"
    assert splits.class_names == ("0", "1")
    assert splits.schema == splits.train.schema


def test_splits_of_different_shapes():
    with pytest.raises(DataError, match=r"shape \(2,\), test instances \(2, 3\)"):
        Splits(Dataset(X), Dataset(IMAGES))


@pytest.mark.parametrize("framed", [False, True])
def test_a_part_by_its_name(framed):
    X = np.arange(20.0).reshape(10, 2)
    data = Dataset(pd.DataFrame(X, columns=["a", "b"]) if framed else X, np.arange(10))
    splits = Splits(data.take(np.arange(7)), data.take(np.arange(7, 10)))
    assert splits.part("train") is splits.train
    assert splits.part("test") is splits.test
    both = splits.part("all")
    np.testing.assert_array_equal(np.asarray(both.X), X)
    np.testing.assert_array_equal(both.y, np.arange(10))
    assert data.part("test") is data  # it has no other part
    for parts in (data, splits):
        with pytest.raises(DataError, match="'train', 'test' or 'all'"):
            parts.part("validation")


def test_instances_are_named_by_their_place_in_the_source(tmp_path):
    data = Dataset(np.arange(8.0).reshape(4, 2)).take_range("1:")
    assert data.reading_facts() == {"reading": {"rows": {"first": 1, "last": 3, "n": 3}}}
    some = data.take(np.array([False, True, True]))
    assert some.identifiers()["row"].tolist() == some.row_numbers().tolist() == [2, 3]
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n\n{"a": 2}\n')
    (tmp_path / "rows.csv").write_text('a,note\n1,"two\nlines"\n\n2,b\n')
    for file, line in {"rows.jsonl": 3, "rows.csv": 5}.items():
        place = f"row 1, counting from 0 (line {line} of the file)"
        assert load(tmp_path / file, rows="1:2", keys=["note"][: "csv" in file]).place(0) == place
    (tmp_path / "long.csv").write_text("a\n" + "".join(f"{one}\n" for one in range(12)))
    windows = load(tmp_path / "long.csv", kind="series", window=4, rows="1:")
    assert windows.place(0, 2) == "row 6, counting from 0 (line 8 of the file)"
    assert windows.place(0) == "window 1, counting from 0"


def test_keys_are_selected_with_their_instances():
    keys = pd.DataFrame({"part": ["007", "7", "NA", "b"]})
    data = Dataset(np.arange(8.0).reshape(4, 2), keys=keys)
    assert data.take(np.array([2, 0])).identifiers().to_dict("list") == {"part": ["NA", "007"]}
    both = Splits(data.take(np.array([1, 3])), data.take(np.array([0, 2]))).part("all")
    assert both.identifiers()["part"].tolist() == ["7", "b", "007", "NA"]
    assert Dataset(np.eye(2)).identifiers().shape == (2, 0)
    with pytest.raises(DataError, match="got 4 instances and 3 rows of keys"):
        Dataset(data.X, keys=keys[:3])


def test_a_key_with_the_name_of_an_output_column_is_refused():
    keys = pd.DataFrame({"prediction": ["a", "b"]})
    with pytest.raises(DataError, match="'prediction' is no feature and is copied to the output"):
        with_identifiers(keys, pd.DataFrame({"prediction": [1, -1]}))


@pytest.mark.parametrize(
    ("column", "options"),
    [
        ("prediction", {"keys": ["prediction"]}),
        ("p_value", {"group": "p_value"}),
        ("verdict", {"keys": ["verdict"], "kind": "series"}),
        ("anomaly_score", {"time": "anomaly_score", "kind": "series"}),
    ],
)
def test_a_key_with_the_name_of_what_is_decided_is_refused_where_it_is_given(column, options):
    table = pd.DataFrame({column: range(200), "a": range(200), "b": range(200)})
    with pytest.raises(DataError, match=f"got the column '{column}' as a key, group or time"):
        load(table, **options)


def test_a_column_of_decisions_may_be_dropped_or_be_a_key_of_its_own_kind():
    table = pd.DataFrame({"verdict": ["a", "b"], "prediction": [1, 2], "a": [1.0, 2.0]})
    data = load(table.assign(b=[0.5, 0.25]), keys=["verdict"], drop=["prediction"])
    assert data.identifiers()["verdict"].tolist() == ["a", "b"]
