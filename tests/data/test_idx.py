import gzip
import struct

import numpy as np
import pytest

from isthmus.data.idx import is_idx, parse_idx, read_idx
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
