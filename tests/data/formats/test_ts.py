"""The .ts format: what it becomes, and which line is at fault when it becomes nothing."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from isthmus.data.load import load
from isthmus.errors import DataError

SERIES = Path(__file__).parents[4] / "shared" / "series"

HEADER = """\
#Where the data is from: lines like this one
@problemName Slopes
@timeStamps false
@missing false
@univariate true
@equalLength true
@seriesLength 3
@classLabel true 1 2
@data
"""


@pytest.fixture
def write(tmp_path):
    def write(data, header=HEADER, name="slopes.ts"):
        (tmp_path / name).write_text(header + data)
        return tmp_path / name

    return write


def channels(n, labels="true a b"):
    return f"@univariate false\n@dimensions {n}\n@classLabel {labels}\n@data\n"


def test_one_channel(write):
    data = load(write("1,2.5,-3e1:1\n4,5,6:2\n"))
    assert data.kind == data.schema.kind == "series"
    np.testing.assert_array_equal(data.X, [[[1], [2.5], [-30]], [[4], [5], [6]]])
    assert data.X.dtype == np.float64
    assert data.y.tolist() == [1, 2]
    assert data.y.dtype.kind == "i"
    assert (data.name, data.class_names) == ("slopes.ts", ("1", "2"))
    assert repr(data) == "Dataset('slopes.ts', 2 series of 3 time steps, 2 classes)"


def test_channels_and_classes_that_are_words(write):
    data = load(write("1,2:3,4:a\n5,6:7,8:b\n", channels(2)))
    np.testing.assert_array_equal(data.X, [[[1, 3], [2, 4]], [[5, 7], [6, 8]]])
    assert data.y.tolist() == ["a", "b"]
    assert "2 time steps and 2 channels" in repr(data)


@pytest.mark.parametrize("word", ["false", "False"])
def test_without_classes(write, word):
    data = load(write("1,2:3,4\n", channels(2, word)))
    assert data.y is None
    assert data.X.shape == (1, 2, 2)


def test_targets_are_numbers(write):
    data = load(write("1,2:0.5\n3,4:2\n", "@univariate true\n@targetLabel true\n@data\n"))
    assert data.y.tolist() == [0.5, 2.0]


def test_what_other_programs_write(write):
    """Capitals, blank lines, spaces, 1.0 for a declared 1, a class nobody knows."""
    header = HEADER.replace("@data", "@DATA").replace("@classLabel", "@classlabel")
    data = load(write("\n 1, 2, 3 : 1.0 \n\n# a remark\n4,5,6:?\n", header))
    np.testing.assert_array_equal(data.X[..., 0], [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(data.y, [1, np.nan])


def test_gzipped(tmp_path):
    (tmp_path / "s.ts.gz").write_bytes(gzip.compress((HEADER + "1,2,3:1\n").encode()))
    assert load(tmp_path / "s.ts.gz").X.shape == (1, 3, 1)


def test_missing_values_are_filled_and_counted(write):
    path = write("?,2,?,?,8,NaN:0,0,0,0,0,0:a\n" + "1,1,1,1,1,1:0,0,0,0,0,0:b\n", channels(2))
    with pytest.warns(UserWarning, match=r"slopes\.ts: 4 of 24 values are missing: filled"):
        data = load(path)
    np.testing.assert_allclose(data.X[0, :, 0], [2, 2, 4, 6, 8, 8])
    np.testing.assert_array_equal(data.X[0, :, 1], 0)
    np.testing.assert_array_equal(data.X[1, :, 0], 1)


@pytest.mark.parametrize(
    ("data", "header", "message"),
    [
        ("1,2,3:1\n1,x,3:1\n", HEADER, r"line 11 of .*slopes\.ts holds 'x', expected a number"),
        ("1,,3:1\n", HEADER, "line 10 of .* holds '', expected a number, or"),
        ("1,inf,3:1\n", HEADER, "line 10 of .* holds an infinite value"),
        ("1,2,3:1\n\n1,2,3:3\n", HEADER, "line 12 .* class '3', which @classLabel does not decl"),
        ("1,2:dwon\n", channels(1, "true up down"), r"did you mean 'down'\? it declares up, down"),
        ("1,2,3\n", HEADER, "line 10 of .* has no class after a last colon.*@classLabel false"),
        ("1,2,3:\n", HEADER, "line 10 of .* has no class after a last colon"),
        ("1,2:3,4:5,6:a\n", channels(2), "line 5 of .* has 3 channels .* expected 2"),
        ("1,2:a\n", channels(2), "line 5 of .* has 1 channel .* expected 2"),
        ("1,2:3,4\n", channels(1, "false"), "has 2 channels .* expected 1 .*no class"),
        ("1,2:3,4,5:a\n", channels(2), "line 5 .* channel 2 has 3 values and channel 1 has 2"),
        ("1,2:?,?:a\n", channels(2), "line 5 .* all values of channel 2 are missing"),
        (
            "1,2,3:1\n1,2,3,4,5:1\n1,2:2\n",
            HEADER,
            r"series of 2 time steps \(line 12\) to 5 \(line 11\), expected one length; cut or pad",
        ),
        ("(0,1),(1,2):1\n", HEADER, r"line 10 of .* holds \(time, value\) pairs"),
        ("", HEADER, "holds no series after @data"),
        ("1,2,3:1\n", "@univariate true\n", "line 2 of .* where the header belongs"),
        ("", "@univariate true\n", "has no line @data"),
        ("", "@timeStamps true\n@data\n", "line 1 of .* carry time stamps"),
        ("", "@classLabel\n@data\n", "line 1 of .*got @classlabel .*expected true or false"),
        ("", "@dimensions two\n@data\n", "expected a whole number"),
        ("1,2:x\n", "@univariate true\n@targetLabel true\n@data\n", "expected a number as in @tar"),
        ("1:1\n2:2\n", HEADER, "at least two time steps"),
    ],
)
def test_what_cannot_be_used_is_said_with_its_line(write, data, header, message):
    with pytest.raises(DataError, match=message):
        load(write(data, header))


def test_text_that_is_no_text(tmp_path):
    (tmp_path / "s.ts").write_bytes(HEADER.encode() + b"1,2,\xff:1\n")
    with pytest.raises(DataError, match="not UTF-8 text: byte 0xff in line 10"):
        load(tmp_path / "s.ts")


def test_of_two_files_one_is_loaded(write):
    for part in ("TRAIN", "TEST"):
        path = write(f"{len(part)},2,3:1\n", name=f"Slopes_{part}.ts")
    assert load(path).X[0, 0, 0] == 4
    assert load(path).test is None


def test_words_that_do_not_go_with_it(write):
    path = write("1,2,3:1\n")
    assert load(path, kind="series").X.shape == (1, 3, 1)
    with pytest.raises(DataError, match=r"holds series; leave kind out"):
        load(path, kind="table")
    with pytest.raises(DataError, match="window= is for a long table"):
        load(path, kind="series", window=2)
    with pytest.raises(DataError, match="label='a' names a column of a table"):
        load(path, label="a")


@pytest.mark.skipif(not SERIES.is_dir(), reason="the public series are not on this machine")
@pytest.mark.parametrize(
    ("name", "shape", "counts"),
    [
        ("GunPoint_TRAIN.ts", (50, 150, 1), [24, 26]),
        ("GunPoint_TEST.ts", (150, 150, 1), [76, 74]),
        ("ItalyPowerDemand_TRAIN.ts", (67, 24, 1), [34, 33]),
        ("ItalyPowerDemand_TEST.ts", (1029, 24, 1), [513, 516]),
    ],
)
def test_public_series(name, shape, counts):
    data = load(SERIES / name)
    assert data.X.shape == shape
    assert np.unique(data.y, return_counts=True)[1].tolist() == counts
    # Archives of these come standardised: each series has mean 0 and deviation 1.
    np.testing.assert_allclose(data.X.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(data.X.std(axis=1, ddof=1), 1, atol=1e-6)
