import gzip
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isthmus.data.tables import dataset_from_frame, load_csv, load_parquet
from isthmus.errors import DataError

FRAME = pd.DataFrame(
    {"width": [1.5, 2.0, -3e-5], "count": [1, 2, 3], "kind": ["nut", "bolt", "nut"]}
)
TEXT = "width,count,kind\n1.5,1,nut\n2.0,2,bolt\n-3e-5,3,nut\n"


@pytest.fixture
def csv(tmp_path):
    def write(text, name="data.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def same_as_frame(data):
    pd.testing.assert_frame_equal(data.X, FRAME[["width", "count"]])
    assert data.y.tolist() == ["nut", "bolt", "nut"]
    assert data.class_names == ("bolt", "nut")


# CSV that is fine


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.rstrip("\n"),
        TEXT.replace("\n", "\r\n"),
        "\ufeff" + TEXT,
        "\n" + TEXT.replace("\n", "\n\n"),
        TEXT.replace(",", ";"),
        TEXT.replace(",", "\t"),
        TEXT.replace("width", '"width"').replace("1.5", '"1.5"'),
        TEXT.replace(",count", ", count"),
        "," + TEXT.replace("\n1.5", "\n0,1.5").replace("\n2.0", "\n1,2.0").replace("\n-", "\n2,-"),
        TEXT.replace("\n", ",\n"),
    ],
    ids=[
        "plain",
        "no last newline",
        "windows",
        "byte order mark",
        "blank lines",
        "semicolons",
        "tabs",
        "quotes",
        "space in header",
        "index of pandas",
        "comma at the end",
    ],
)
def test_csv(csv, text):
    same_as_frame(load_csv(csv(text), label="kind"))


def test_csv_gzipped_whatever_it_is_called(csv):
    same_as_frame(load_csv(csv(gzip.compress(TEXT.encode()), "data.csv.gz"), label="kind"))
    same_as_frame(load_csv(csv(gzip.compress(TEXT.encode()), "data.csv"), label="kind"))


def test_csv_without_label(csv):
    data = load_csv(csv("a,b\n1,2\n3,4\n"))
    assert data.y is None
    assert data.name == "data.csv"
    assert data.schema.columns == ("a", "b")
    np.testing.assert_array_equal(data.X, [[1, 2], [3, 4]])


def test_csv_against_pandas(csv):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(200, 5)) * 10.0 ** rng.integers(-9, 9, 5))
    path = csv(frame.to_csv(index=False))
    np.testing.assert_array_equal(load_csv(path).X, frame)


def test_types_are_told_from_the_whole_of_a_long_file(csv):
    n = 300_000
    lines = [f"{i},{i % 7},{i % 2}" for i in range(n)]
    lines[-1] = "0.5,6,yes"
    path = csv("a,b,kind\n" + "\n".join(lines))
    assert path.stat().st_size > 2**21
    data = load_csv(path, label="kind")
    assert data.X.dtypes.tolist() == [np.float64, np.int64]
    assert data.X.iloc[-1].tolist() == [0.5, 6]
    assert data.y[[0, -1]].tolist() == ["0", "yes"]


def test_text_at_the_end_of_a_long_file_is_named(csv):
    path = csv("a,b\n" + "1,2\n" * 300_000 + "3,oops\n")
    with pytest.raises(DataError, match=r"'b'.*'oops' in row 300001 \(line 300002 of the file\)"):
        load_csv(path)


def test_wide_file_and_numbered_columns(csv):
    frame = pd.DataFrame(np.arange(2 * 784).reshape(2, 784))
    assert load_csv(csv(frame.to_csv(index=False))).X.shape == (2, 784)


def test_true_and_false_are_numbers(csv):
    data = load_csv(csv("a,b\ntrue,1\nfalse,2\n"))
    np.testing.assert_array_equal(data.X, [[1, 1], [0, 2]])
    assert np.asarray(data.X).dtype == np.int64


# labels


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["a", "", "b"], ["a", None, "b"]),
        (["1", "0", "-1"], [1, 0, -1]),
        (["1", "", "0"], [1.0, np.nan, 0.0]),
        (["1", "x", "0"], ["1", "x", "0"]),
        (["true", "false", ""], [True, False, None]),
    ],
    ids=str,
)
def test_labels_of_any_type(csv, cells, expected):
    text = "x,y\n" + "".join(f"1,{cell}\n" for cell in cells)
    got = load_csv(csv(text), label="y").y
    assert got.dtype.kind in "iO" or (got.dtype == np.float64)
    np.testing.assert_array_equal(got, np.array(expected, got.dtype))


def test_unknown_label_lists_near_miss_and_columns(csv):
    with pytest.raises(DataError, match=r"no column 'kin'; did you mean 'kind'\? it has width, co"):
        load_csv(csv(TEXT), label="kin")
    wide = ",".join(f"c{i}" for i in range(50))
    with pytest.raises(DataError, match=r"no column 'zzz'; it has c0, c1, .*, c19 and 30 more$"):
        load_csv(csv(f"{wide}\n{wide.replace('c', '1')}\n"), label="zzz")


def test_nothing_but_the_label(csv):
    with pytest.raises(DataError, match="no columns of features"):
        load_csv(csv("kind\na\nb\n"), label="kind")


# values that are not numbers


def test_text_among_numbers_names_column_row_line_and_value(csv):
    text = 'a,b\n\n1,"2"\n3,4\n5,x?\n6,y?\n'
    message = r"column 'b' of .*data\.csv holds 'x\?' in row 3 \(line 5 of the file\), expected"
    with pytest.raises(DataError, match=message):
        load_csv(csv(text))


def test_line_numbers_count_line_breaks_inside_cells(csv):
    text = 'kind,b\n"two\nlines",1\nplain,x\nplain,2\n'
    with pytest.raises(DataError, match=r"'x' in row 2 \(line 4 of the file\)"):
        load_csv(csv(text), label="kind")


def test_a_column_of_text_is_probably_the_label(csv):
    with pytest.raises(DataError) as caught:
        load_csv(csv(TEXT))
    message = str(caught.value)
    assert "column 'kind'" in message
    assert "holds no numbers ('kind' begins with 'nut')" in message
    assert "label='kind' (on the command line --label kind), otherwise drop it" in message


def test_columns_of_text_beside_the_label(csv):
    text = "a,site,day,kind\n1,x,2020-01-01,nut\n2,y,2020-01-02,nut\n"
    with pytest.raises(DataError, match=r"columns 'site', 'day' of .* hold no numbers .*drop them"):
        load_csv(csv(text), label="kind")


def test_decimal_commas(csv):
    with pytest.raises(DataError, match=r"'a' begins with '1,5'\); write decimals with a point"):
        load_csv(csv("a;b\n1,5;2\n2,5;3\n"))


def test_a_label_with_a_space_is_quoted_for_the_command_line(csv):
    with pytest.raises(DataError, match="--label 'my kind'"):
        load_csv(csv("a,my kind\n1,x\n"))


def test_a_long_value_is_shortened(csv):
    with pytest.raises(DataError) as caught:
        load_csv(csv("a,b\n1,2\n2," + "x" * 5000))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3,\n5,6\n", r"value is missing in column 'b', row 2 \(line 3 of the file\)"),
        ("a,b\n1,2\n3,NA\n5,nan\n", r"missing in column 'b', row 2 .*\(2 such cells"),
        ("a,b\n1,2\n3,-inf\n", r"the value is -inf in column 'b', row 2"),
        ("a,b\n1,\n3,\n", r"column 'b' of .* is empty throughout; drop it"),
        ("a,b\ntrue,2\n,3\n", r"value is missing in column 'a', row 2 \(line 3"),
    ],
)
def test_missing_and_infinite_cells(csv, text, message):
    with pytest.raises(DataError, match=message):
        load_csv(csv(text))


# files that are no table


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "data.csv is empty"),
        ("\n\n", "data.csv is empty"),
        ("\ufeff", "data.csv is empty"),
        ("a,b\n", "holds a header and no rows"),
        ("a,b", "holds a header and no rows"),
        ("a,b,a\n1,2,3\n", "more than one column called 'a'"),
        ("a,b\n1,2\n3\n", r"line 3 of .*data\.csv has 1 value, expected 2 as in the header"),
        ("a,b\n1,2\n\n3,4,5\n", r"line 4 of .*data\.csv has 3 values, expected 2"),
        ("a,b\n1,2,\n3,4,\n", "line 2 of .* has 3 values, expected 2"),
        ("1.5,2\n3,4\n", "holds numbers where column names belong"),
        ("5,5,5\n1,2,3\n", "holds numbers where column names belong"),
        ("a,,b\n1,2,3\n", "column 2 of .* has no name"),
        (",a\n5,1\n7,2\n", "column 1 of .* has no name"),
        ("größe,b\n1,2\n".encode("latin-1"), "not UTF-8 text: byte 0xf6 in line 1"),
        ("a,b\n1,2\n3,ü\n".encode("latin-1"), "not UTF-8 text: byte 0xfc in line 3"),
        ("a,b\n1,2\n".encode("utf-16"), "not UTF-8 text"),
        (gzip.compress(b"a,b\n1,2\n" * 99)[:-9], "damaged or incomplete gzip"),
        (b"PK\3\4\xff\xfe\0\0", "not UTF-8 text"),
    ],
)
def test_bad_csv(csv, content, message):
    with pytest.raises(DataError, match=message) as caught:
        load_csv(csv(content))
    assert "data.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


# Parquet


def test_parquet(tmp_path):
    path = tmp_path / "data.parquet"
    FRAME.to_parquet(path)
    same_as_frame(load_parquet(path, label="kind"))


def test_parquet_types(tmp_path):
    path = tmp_path / "data.parquet"
    table = pa.table(
        {
            "small": pa.array([1, 2], pa.int8()),
            "single": pa.array([0.5, 1.5], pa.float32()),
            "price": pa.array([Decimal("1.25"), Decimal("2.50")], pa.decimal128(9, 2)),
            "flag": pa.array([True, False]),
            "kind": pa.array(["a", None]).dictionary_encode(),
        }
    )
    pq.write_table(table, path)
    data = load_parquet(path, label="kind")
    np.testing.assert_array_equal(data.X, [[1, 0.5, 1.25, 1], [2, 1.5, 2.5, 0]])
    assert np.asarray(data.X).dtype == np.float64
    assert data.y.tolist() == ["a", None]


def test_the_index_of_a_frame_is_no_feature(tmp_path):
    path = tmp_path / "data.parquet"
    FRAME.set_index(pd.Index(["x", "y", "z"], name="id")).to_parquet(path)
    data = load_parquet(path, label="kind")
    assert list(data.X.columns) == ["width", "count"]
    assert data.take([2]).X["count"].tolist() == [3]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"a": [1.0, None]}, "missing in column 'a', row 2, counting from 1"),
        ({"a": pa.array([1, None])}, "missing in column 'a', row 2"),
        ({"a": pa.array([True, None])}, "missing in column 'a', row 2"),
        ({"a": [[1, 2], [3, 4]]}, "column 'a' of .* holds no numbers"),
        ({"a": pa.array([0, 1], pa.timestamp("us")), "b": [1, 2]}, "column 'a' .* no numbers"),
        ({"a": pa.array([], pa.int64())}, "holds no rows"),
        ({}, "holds no"),
    ],
)
def test_bad_parquet(tmp_path, table, message):
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table(table), path)
    with pytest.raises(DataError, match=message):
        load_parquet(path)


def test_parquet_with_two_columns_of_one_name(tmp_path):
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), path)
    with pytest.raises(DataError, match="more than one column called 'a'"):
        load_parquet(path)


@pytest.mark.parametrize("content", [b"", b"no parquet at all", b"PAR1" + b"x" * 50 + b"PAR1"])
def test_damaged_parquet(tmp_path, content):
    path = tmp_path / "data.parquet"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot read .*data\.parquet as Parquet"):
        load_parquet(path)


# DataFrames


def test_frame():
    same_as_frame(dataset_from_frame(FRAME, label="kind"))
    assert list(FRAME.columns) == ["width", "count", "kind"]


def test_numbers_kept_as_objects_or_text_are_numbers():
    frame = pd.DataFrame({"a": np.array([1, 2.5], object), "b": ["3", "4e1"]})
    np.testing.assert_array_equal(dataset_from_frame(frame).X, [[1, 3], [2.5, 40]])


def test_frame_with_columns_that_are_numbers():
    data = dataset_from_frame(pd.DataFrame([[1, 2], [3, 4]]), label="1")
    assert data.y.tolist() == [2, 4]
    assert data.schema.columns == ("0",)


def test_frame_with_an_index_that_repeats():
    frame = pd.DataFrame({"a": ["1", "2"], "b": [3, 4]}, index=[7, 7])
    np.testing.assert_array_equal(dataset_from_frame(frame).X, [[1, 3], [2, 4]])


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"a": [1, "x"]}), "column 'a' of the table holds 'x' in row 2, counting"),
        (pd.DataFrame({"a": [1, np.inf]}), "the value is inf in column 'a', row 2"),
        (pd.DataFrame({"a": pd.array([1, None], "Int64")}), "missing in column 'a', row 2"),
        (pd.DataFrame({"a": [None, None]}), "column 'a' of the table is empty throughout"),
        (pd.DataFrame({"a": pd.to_timedelta([1, 2])}), "column 'a' of the table holds no num"),
        (pd.DataFrame({"a": pd.Categorical(["x", "y"])}), "holds no numbers .*label='a'"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "more than one column called 'a'"),
        (pd.DataFrame({"a": []}), "the table holds no rows"),
        (pd.DataFrame(index=[0, 1]), "no columns of features"),
        (pd.DataFrame({"a": [1j]}), "column 'a' holds complex128"),
    ],
)
def test_bad_frame(frame, message):
    with pytest.raises(DataError, match=message):
        dataset_from_frame(frame)
