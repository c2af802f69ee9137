import gzip
import struct

import numpy as np
import pytest

from isthmus.data.formats import find_idx, load_idx_file, load_idx_folder, parse_idx
from isthmus.data.formats.arrays import is_idx, read_idx
from isthmus.errors import DataError

TYPES = [
    (0x08, "B", np.uint8, [0, 7, 255]),
    (0x09, "b", np.int8, [-128, 0, 127]),
    (0x0B, "h", np.int16, [-32768, 1, 32767]),
    (0x0C, "i", np.int32, [-(2**31), 1, 2**31 - 1]),
    (0x0D, "f", np.float32, [-1.5, 0.0, 2.25]),
    (0x0E, "d", np.float64, [-1.5, 0.1, 1e300]),
]


def make(code, letter, values, *shape):
    header = struct.pack(">BBBB", 0, 0, code, len(shape)) + struct.pack(f">{len(shape)}I", *shape)
    return header + struct.pack(f">{len(values)}{letter}", *values)


@pytest.mark.parametrize(("code", "letter", "dtype", "values"), TYPES)
def test_every_type(code, letter, dtype, values):
    got = parse_idx(make(code, letter, values, 3))
    assert got.dtype == dtype
    assert got.dtype.isnative
    np.testing.assert_array_equal(got, np.array(values, dtype))


@pytest.mark.parametrize("shape", [(24,), (4, 6), (2, 3, 4), (1, 2, 3, 4), (2, 1, 2, 1, 2, 3)])
def test_any_number_of_dimensions_in_c_order(shape):
    got = parse_idx(make(0x08, "B", range(24), *shape))
    np.testing.assert_array_equal(got, np.arange(24).reshape(shape))


def test_no_instances():
    assert parse_idx(make(0x08, "B", [], 0, 28, 28)).shape == (0, 28, 28)


def test_result_can_be_written_to():
    got = parse_idx(make(0x08, "B", [1, 2], 2))
    got[0] = 9
    assert got.tolist() == [9, 2]


@pytest.mark.parametrize("name", ["a-idx1-ubyte", "a.gz", "a.gz.txt"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_gzip_is_told_by_content_not_by_name(tmp_path, name, pack):
    path = tmp_path / name
    path.write_bytes(pack(make(0x08, "B", [5, 0, 4], 3)))
    assert read_idx(path).tolist() == [5, 0, 4]
    assert read_idx(str(path)).tolist() == [5, 0, 4]


GOOD = make(0x08, "B", range(6), 2, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD[:-1], "cut short.*is 6 bytes, and 5 follow"),
        (GOOD + b"x", "goes on after its data.*is 6 bytes, and 7 follow"),
        (GOOD[:6], "ends inside its header: it has 6 bytes, expected at least 12"),
        (b"", "not an IDX file: it begins with nothing"),
        (b"\1" + GOOD[1:], "not an IDX file: it begins with 01 00 08 02"),
        (b"\0\0\x0a" + GOOD[3:], "not an IDX file: it begins with 00 00 0a 02"),
        (b"\0\0\x08\0" + b"x", "not an IDX file"),
        (b"\0\0\x08\xff" + b"x" * 2000, "not an IDX file"),
        (b"<html>404</html>", "web page"),
        (gzip.compress(GOOD, mtime=0)[:-9], "damaged or incomplete gzip"),
        (gzip.compress(GOOD, mtime=0)[:5], "damaged or incomplete gzip"),
        (gzip.compress(GOOD, mtime=0)[:-8] + b"12345678", "damaged or incomplete gzip"),
        (gzip.compress(GOOD, mtime=0)[:12] + b"\xff" * 20, "damaged or incomplete gzip"),
        (make(0x0E, "d", [1.0], 2**32 - 1, 2**32 - 1, 2**32 - 1), "cut short"),
    ],
)
def test_bad_content_names_the_file(tmp_path, content, message):
    path = tmp_path / "some-idx2-ubyte"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match="cannot read .*nowhere"):
        read_idx(tmp_path / "nowhere")


def test_is_idx():
    assert is_idx(GOOD)
    assert not is_idx(b"\0\0")
    assert not is_idx(b"PK\3\4")


X = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
Y = np.array([3, 1, 4, 1, 5], dtype=np.uint8)


def test_find_in_every_spelling(tmp_path):
    name = "train-images-idx3-ubyte"
    assert find_idx(tmp_path, name) is None
    for spelling in ("train-images.idx3-ubyte", "train-images.idx3-ubyte.gz", name, f"{name}.gz"):
        (tmp_path / spelling).touch()
        assert find_idx(tmp_path, name) == tmp_path / spelling


def test_folder(tmp_path, write_files, arrays):
    splits = load_idx_folder(write_files(tmp_path / "clothes"))
    for got, expected in zip(
        (splits.train.X, splits.train.y, splits.test.X, splits.test.y),
        arrays.values(),
        strict=True,
    ):
        np.testing.assert_array_equal(got, expected)
    assert splits.name == "clothes"


def test_folder_with_none_of_them(tmp_path):
    assert load_idx_folder(tmp_path) is None


def test_folder_with_some_of_them(tmp_path, write_files):
    write_files(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="lacks train-labels-idx1-ubyte; put"):
        load_idx_folder(tmp_path)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        ("train-images-idx3-ubyte.gz", "train-labels.idx1-ubyte"),
        ("my-images.idx3-ubyte", "my-labels-idx1-ubyte.gz"),
        ("my-vectors-idx3-ubyte", "my-labels-idx1-ubyte"),
    ],
)
def test_labels_beside(tmp_path, idx_bytes, images, labels):
    for name, values in ((images, X), (labels, Y)):
        content = idx_bytes(values)
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    data = load_idx_file(tmp_path / images)
    np.testing.assert_array_equal(data.X, X)
    np.testing.assert_array_equal(data.y, Y)
    assert data.y.dtype == np.int64


def test_no_labels_beside(tmp_path, idx_bytes):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(X))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(Y))
    assert load_idx_file(tmp_path / "train-images-idx3-ubyte").y is None


def test_vectors_are_a_table(tmp_path, idx_bytes):
    path = tmp_path / "vectors.idx2-ubyte"
    path.write_bytes(idx_bytes(X[0]))
    data = load_idx_file(path)
    assert data.kind == "table"
    assert data.X.shape == (4, 3)


def test_other_number_of_labels(tmp_path, idx_bytes):
    (tmp_path / "a-images-idx3-ubyte").write_bytes(idx_bytes(X))
    (tmp_path / "a-labels-idx1-ubyte").write_bytes(idx_bytes(Y[:4]))
    with pytest.raises(DataError, match=r"holds 5 instances and .*a-labels.* has shape \(4,\)"):
        load_idx_file(tmp_path / "a-images-idx3-ubyte")


def test_labels_alone(tmp_path, idx_bytes):
    (tmp_path / "a-labels-idx1-ubyte").write_bytes(idx_bytes(Y))
    with pytest.raises(DataError, match="looks like labels"):
        load_idx_file(tmp_path / "a-labels-idx1-ubyte")


def test_images_of_another_type(tmp_path, idx_bytes):
    (tmp_path / "a-images-idx3-int").write_bytes(idx_bytes(X.astype(">i4"), 0x0C))
    with pytest.raises(DataError, match="dtype int32, expected uint8"):
        load_idx_file(tmp_path / "a-images-idx3-int")
