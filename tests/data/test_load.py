import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from PIL import Image

import isthmus.data
from isthmus.data import Dataset, Splits
from isthmus.data.load import load
from isthmus.data.paths import load_path
from isthmus.errors import DataError, DownloadError

TABLE = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)


def test_front_door():
    assert isthmus.data.__all__ == sorted(isthmus.data.__all__)
    assert all(hasattr(isthmus.data, name) for name in isthmus.data.__all__)


def test_loads_no_torch_and_nothing_for_the_network():
    code = (
        "import sys, numpy, isthmus.data; isthmus.data.load('digits'); "
        "isthmus.data.load(numpy.eye(3)); "
        "print([m for m in ('torch', 'requests', 'pooch', 'PIL') if m in sys.modules])"
    )
    source = Path(isthmus.data.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(source), "PATH": ""},
    )
    assert done.stdout.strip() == "[]"


# names


def test_name(make_entry, write_files, tmp_path, monkeypatch, arrays):
    from isthmus.data.catalog import CATALOG

    monkeypatch.setitem(CATALOG, "mnist", make_entry())
    write_files(tmp_path / "mnist")
    for name in ("mnist", "MNIST"):
        splits = load(name, data_dir=tmp_path)
        np.testing.assert_array_equal(splits.train.X, arrays["train-images-idx3-ubyte"])
    monkeypatch.setenv("ISTHMUS_DATA", str(tmp_path))
    assert load("mnist", resize=(6, 4)).test.X.shape == (4, 6, 4)
    # A folder of that name is meant when it is written as a path.
    monkeypatch.chdir(tmp_path)
    assert load("./mnist").name == "mnist"
    assert load(Path("mnist")).class_names != ("no", "yes")


def test_offline_name(make_entry, monkeypatch, cache):
    from isthmus.data.catalog import CATALOG

    monkeypatch.setitem(CATALOG, "mnist", make_entry(mirrors=()))
    with pytest.raises(DownloadError):
        load("mnist")


def test_digits():
    digits = load("digits")
    assert isinstance(digits, Splits)
    assert (len(digits.train), len(digits.test)) == (1437, 360)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "kind"}, "digits brings its own labels"),
        ({"y": [1, 2]}, "brings labels of its own; leave y out"),
        ({"resize": 3}, "got resize=3"),
    ],
)
def test_words_that_do_not_go_with_a_name(options, message):
    with pytest.raises(DataError, match=message):
        load("digits", **options)


def test_misspelt_name():
    with pytest.raises(DataError, match=r"called 'mnits'; did you mean 'mnist'\?"):
        load("mnits")


# paths


def test_path_as_text_or_path_and_home(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", TABLE)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for source in (tmp_path / "x.npy", str(tmp_path / "x.npy"), "~/x.npy"):
        np.testing.assert_array_equal(load(source).X, TABLE)


def test_labels_beside_a_file_of_instances(tmp_path):
    np.save(tmp_path / "x.npy", IMAGES)
    data = load(tmp_path / "x.npy", [1, 2, 3], resize=(2, 2))
    assert data.y.tolist() == [1, 2, 3]
    assert data.X.shape == (3, 2, 2)
    assert data.name == "x.npy"


def test_label_column_of_a_file(tmp_path):
    (tmp_path / "x.csv").write_text("a,kind\n1,u\n2,v\n")
    assert load(tmp_path / "x.csv", label="kind").y.tolist() == ["u", "v"]
    with pytest.raises(DataError, match="for a column pass label='kind'"):
        load(tmp_path / "x.csv", "kind", label="kind")


def test_data_dir_is_for_names(tmp_path):
    np.save(tmp_path / "x.npy", TABLE)
    with pytest.raises(DataError, match="data_dir=.* leave data_dir out"):
        load(tmp_path / "x.npy", data_dir=tmp_path)


def test_address():
    with pytest.raises(DataError, match="https://example.org/x.csv is an address; download it"):
        load("https://example.org/x.csv")


# arrays and tables


@pytest.mark.parametrize("source", [TABLE, TABLE.tolist(), tuple(map(tuple, TABLE)), TABLE.T.T])
def test_arrays(source):
    data = load(source, ["a", "b", "a"])
    np.testing.assert_array_equal(data.X, TABLE)
    assert data.y.tolist() == ["a", "b", "a"]
    assert data.train is data
    assert data.test is None


@pytest.mark.parametrize("X", [IMAGES, np.stack([IMAGES] * 3, -1), IMAGES / 255.0])
def test_images(X):
    data = load(X, resize=(8, 8))
    assert data.kind == "images"
    assert data.X.shape == (3, 8, 8, *X.shape[3:])
    assert data.X.dtype == X.dtype


def test_frame():
    frame = pd.DataFrame(TABLE, columns=["a", "b"])
    assert load(frame, label="b").schema.columns == ("a",)
    assert load(frame, frame["b"] > 3).y.tolist() == [False, True, True]
    assert load(frame["a"]).schema.columns == ("a",)


def test_loaded_data_is_handed_on():
    data = Dataset(IMAGES)
    assert load(data) is data
    assert load(data, resize=(2, 2)).X.shape == (3, 2, 2)
    assert load(data, [1, 2, 3]).y.tolist() == [1, 2, 3]
    with pytest.raises(DataError, match="loaded already"):
        load(data, label="kind")


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (TABLE, {"y": [1, 2]}, "got 3 instances and 2 labels; expected one label for each"),
        (IMAGES, {"y": [1, 2, 3, 4]}, "got 3 instances and 4 labels"),
        (TABLE, {"y": np.eye(3)}, r"labels of shape \(3, 3\)"),
        (TABLE, {"label": "a"}, "an array has no names; pass the labels as y"),
        (TABLE, {"resize": (2, 2)}, "is for images, and data is a table"),
        (TABLE, {"data_dir": "."}, "leave data_dir out"),
        ([[1, 2], [3]], {}, "expected rows of numbers, all of the same length"),
        (3, {}, "got 3, expected a name, a path, an array or a DataFrame"),
        (None, {}, "got None, expected a name"),
        (TABLE[:, 0], {}, r"shape \(3,\), expected \(n, m\)"),
        (np.zeros((0, 4)), {}, "got no values"),
        ([], {}, r"shape \(0,\)"),
        (IMAGES.astype(np.int64), {}, "dtype int64, expected uint8"),
        (IMAGES * 1.0, {}, "X / 255"),
        (np.where(IMAGES == 7, np.nan, 0.0), {}, "NaN or infinite pixels, the first is image 0"),
    ],
)
def test_bad_arrays(source, options, message):
    with pytest.raises(DataError, match=message):
        load(source, **options)


# series


@pytest.mark.parametrize("values", [TABLE.reshape(3, 2, 1), IMAGES.astype(float) - 7])
def test_windows_of_series_are_named_so(values, tmp_path):
    np.save(tmp_path / "x.npy", values)
    np.savez(tmp_path / "x.npz", X=values, y=[1, 2, 1])
    for source in (values, tmp_path / "x.npy", tmp_path / "x.npz"):
        data = load(source, kind="series")
        assert data.kind == "series"
        np.testing.assert_array_equal(data.X, values)
    assert data.take(np.array([2, 0])).kind == data.split(0.4, random_state=0).test.kind == "series"
    np.savez(tmp_path / "two.npz", x_train=values, x_test=values[:1])
    assert load(tmp_path / "two.npz", kind="series").test.kind == "series"


def test_without_that_they_are_images():
    with pytest.raises(DataError, match="say kind='series'"):
        load(TABLE.reshape(3, 2, 1))


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (TABLE, {"kind": "pictures"}, "got kind='pictures', expected one of auto, images"),
        (TABLE, {"kind": "series"}, r"for one channel pass X\[\.\.\., None\]"),
        (TABLE, {"kind": "series", "window": 2}, r"window= is for a long table .*pd\.DataFrame\("),
        (pd.DataFrame(TABLE), {"window": 2}, "window= is for a long table of series; pass kind="),
        (Dataset(TABLE), {"kind": "images"}, "got kind='images', and data holds a table"),
        ("digits", {"kind": "series"}, "got kind='series', and digits holds images"),
    ],
)
def test_kinds_that_do_not_fit(source, options, message):
    with pytest.raises(DataError, match=message):
        load(source, **options)


def test_sparse_matrix():
    from scipy.sparse import csr_matrix

    with pytest.raises(DataError, match=r"pass X\.toarray\(\)"):
        load(csr_matrix(TABLE))


TABLE_FILE = np.array([[1.0, 2.0], [3.0, 4.0]])
CSV = b"a,b\n1,2\n3,4\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", CSV),
        ("x.CSV", CSV),
        ("x.csv.gz", gzip.compress(CSV, mtime=0)),
        ("x.tsv", CSV.replace(b",", b"\t")),
    ],
)
def test_text_tables(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    np.testing.assert_array_equal(load_path(tmp_path / name).X, TABLE_FILE)


def test_parquet(tmp_path):
    load_path_source = tmp_path / "x.parquet"
    import pandas as pd

    pd.DataFrame(TABLE_FILE, columns=["a", "b"]).to_parquet(load_path_source)
    np.testing.assert_array_equal(load_path(load_path_source).X, TABLE_FILE)
    assert load_path(load_path_source, label="b").y.tolist() == [2, 4]


def test_numpy(tmp_path):
    np.save(tmp_path / "x.npy", TABLE_FILE)
    np.savez(tmp_path / "x.npz", X=TABLE_FILE, y=[0, 1])
    np.testing.assert_array_equal(load_path(tmp_path / "x.npy").X, TABLE_FILE)
    assert load_path(tmp_path / "x.npz").y.tolist() == [0, 1]


@pytest.mark.parametrize("name", ["a-idx3-ubyte", "a.idx", "whatever", "whatever.dat", "x.gz"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_is_known_by_content(tmp_path, idx_bytes, name, pack):
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / name).write_bytes(pack(idx_bytes(images)))
    np.testing.assert_array_equal(load_path(tmp_path / name).X, images)


def test_damaged_idx_says_what_is_wrong(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"<html>")
    with pytest.raises(DataError, match="web page"):
        load_path(tmp_path / "train-images-idx3-ubyte")


def test_folder_of_idx(tmp_path, write_files):
    assert isinstance(load_path(write_files(tmp_path)), Splits)


def test_folder_of_images_and_one_image(tmp_path):
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Image.fromarray(pixels).save(tmp_path / "a.PNG")
    np.testing.assert_array_equal(load_path(tmp_path).X, pixels[None])
    np.testing.assert_array_equal(load_path(tmp_path / "a.PNG").X, pixels[None])
    assert load(tmp_path / "a.PNG", resize=(6, 5)).X.shape == (1, 6, 5)


def test_folder_called_like_a_table(tmp_path):
    folder = tmp_path / "x.csv"
    folder.mkdir()
    with pytest.raises(DataError, match=r"x\.csv holds no images"):
        load_path(folder)


@pytest.mark.parametrize("content", [b"", b"\1\2", b"\x1f\x8b\x08", b"text", CSV])
def test_unknown_kind_lists_the_known_ones(tmp_path, content):
    (tmp_path / "x.xyz").write_bytes(content)
    with pytest.raises(
        DataError, match=r"x\.xyz is of no kind .*\.npy, \.npz|cannot read .*x\.xyz"
    ):
        load_path(tmp_path / "x.xyz")


def test_label_is_for_tables(tmp_path):
    np.save(tmp_path / "x.npy", TABLE_FILE)
    with pytest.raises(DataError, match=r"label='b' names a column of a table, and .*x\.npy is"):
        load_path(tmp_path / "x.npy", label="b")


def test_a_folder_of_tables_is_none_of_images_whatever_is_asked_of_it(tmp_path):
    for name in ("part2.csv", "part10.csv"):
        pd.DataFrame({"id": ["p", "q"], "a": [1.5, 2.0]}).to_csv(tmp_path / name, index=False)
    for options in ({}, {"keys": ["id"]}, {"drop": ["id"]}):
        with pytest.raises(DataError, match=r"holds 2 tables, part2\.csv, \.\.\., and a folder"):
            load(tmp_path, **options)


def test_one_json_value_is_refused_with_the_call_that_makes_lines_of_it(tmp_path):
    rows = pd.DataFrame({"a": [1.5, 2.0], "b": ["x", "y"]})
    rows.to_json(tmp_path / "rows.json", orient="records")
    with pytest.raises(DataError, match=r"one JSON value.*and \.jsonl is read") as caught:
        load_path(tmp_path / "rows.json")
    call = str(caught.value).split("write it so: ")[1].replace("'rows.jsonl'", "lines")
    lines = tmp_path / "rows.jsonl"
    eval(call, {"pandas": pd, "lines": lines})
    pd.testing.assert_frame_equal(load_path(lines).X, rows)


def test_missing_file_suggests_its_neighbour(tmp_path):
    (tmp_path / "readings.csv").write_bytes(CSV)
    with pytest.raises(DataError) as caught:
        load_path(tmp_path / "reading.csv")
    message = str(caught.value)
    assert f"did you mean {str(tmp_path / 'readings.csv')!r}?" in message
    assert "digits, mnist, fashion-mnist, kmnist, pump" in message


def test_missing_folder_and_nothing_like_it(tmp_path):
    with pytest.raises(DataError, match="there is no file or folder .*expected a path or one of"):
        load_path(tmp_path / "nowhere" / "x.csv")
    for options in ({"keys": ["id"]}, {"na": ["-"]}, {"decimal": ","}, {"rows": "0:5"}):
        with pytest.raises(DataError, match="there is no file or folder"):
            load(tmp_path / "nowhere", **options)


# Neighbours beyond 2^53, which are the same float.
LONG_KEYS = [2**53 + 1, None, 2**53 + 2, 2**53, None, 2**62 + 3, 7]


@pytest.mark.parametrize("ending", ["csv", "parquet", "feather", "jsonl", "stream"])
@pytest.mark.parametrize("kind", ["integers", "decimals"])
def test_long_keys_come_out_as_written(ending, kind, tmp_path):
    keys = LONG_KEYS
    if kind == "decimals":  # as databases write NUMBER(38), in which whole numbers have no limit
        keys = [None if key is None else key + 10**20 for key in LONG_KEYS]
    frame = pd.DataFrame({"serial": np.array(keys, dtype=object), "a": np.arange(7.0)})
    type_ = pa.int64() if kind == "integers" else pa.decimal128(38, 0)
    table = pa.table({"serial": pa.array(keys, type_), "a": np.arange(7.0)})
    path = tmp_path / f"rows.{ending}"
    if ending == "csv":
        frame.to_csv(path, index=False)
    elif ending == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in frame.to_dict("records")))
    elif ending == "feather":
        pyarrow.feather.write_feather(table, path)
    elif ending == "parquet":
        pq.write_table(table, path)
    else:
        path.mkdir()
        for at in range(0, 7, 2):
            pq.write_table(table.slice(at, 2), path / f"{at}.parquet")
    data = load(path, keys=["serial"])
    if ending == "stream":
        data = data.take(np.arange(7))
    found = data.identifiers()["serial"]
    assert [None if pd.isna(one) else int(one) for one in found] == keys
    written = pd.read_csv(io.StringIO(found.to_csv(index=False)), dtype=str)["serial"]
    assert written.dropna().tolist() == [str(key) for key in keys if key is not None]


def test_groups_beyond_a_float_stay_apart(tmp_path):
    serials = [10**20 + 1] * 4 + [10**20 + 2] * 4
    table = pa.table(
        {"serial": pa.array(serials, pa.decimal128(38, 0)), "load": np.sin(np.arange(8.0))}
    )
    pq.write_table(table, tmp_path / "readings.parquet")
    options = {"kind": "series", "group": "serial", "window": 4}
    memory = load(tmp_path / "readings.parquet", **options)
    stream = load(tmp_path / "readings.parquet", lazy=True, **options)
    assert len(memory) == len(stream) == 2
    for data in (memory, stream.take(np.arange(2))):
        assert data.identifiers().columns.is_unique
        assert [int(one) for one in data.identifiers()["group"]] == [10**20 + 1, 10**20 + 2]


def test_files_to_skip_are_of_data_read_chunk_by_chunk(tmp_path):
    (tmp_path / "one.csv").write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(DataError, match="got on_bad_shard='skip', .* is read as a whole"):
        load(tmp_path / "one.csv", on_bad_shard="skip")
