"""Damaged and hostile files: every error is ours and names the file, and no size is believed."""

import bz2
import gzip
import io
import json
import lzma
import random
import struct
import tokenize
import zipfile
import zlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from isthmus import load
from isthmus._core import decompress, largest_content, reading
from isthmus.errors import BundleError, DataError, IsthmusError, TooLargeError

RNG = np.random.default_rng(0)
TABLE = pd.DataFrame({"width": RNG.normal(size=40), "hue": RNG.choice(["red", "blue"], 40)})


@pytest.mark.parametrize(
    "error",
    [
        tokenize.TokenError("EOF in multi-line statement", (1, 0)),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        json.JSONDecodeError("Expecting value", "", 0),
        RecursionError("maximum recursion depth exceeded"),
        zipfile.BadZipFile("File is not a zip file"),
        OverflowError("int too large"),
        struct.error("unpack requires a buffer"),
        zlib.error("Error -3"),
        pa.ArrowInvalid("Parquet magic bytes not found"),
        KeyError("encoder"),
        StopIteration(),
        AssertionError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_library_raises_names_the_file(error):
    with (
        pytest.raises(BundleError, match=r"cannot read press/head \(.+\); save it") as caught,
        reading("press/head", BundleError, "save it again"),
    ):
        raise error
    assert caught.value.__cause__ is error


def test_our_errors_and_what_stops_a_program_pass_as_they_are():
    for error in (IsthmusError("ours"), UserWarning("said"), KeyboardInterrupt(), SystemExit(1)):
        with pytest.raises(type(error)) as caught, reading("x"):
            raise error
        assert caught.value is error


def test_want_of_memory_is_an_error_of_ours_and_still_one_of_memory():
    with (
        pytest.raises(TooLargeError, match=r"x.npy .*more memory than there is") as caught,
        reading("x.npy"),
    ):
        raise MemoryError
    assert isinstance(caught.value, DataError)
    assert isinstance(caught.value, MemoryError)


PACKED = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda content: pa.compress(content, "zstd", asbytes=True),
}


def zipped(content):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.csv", content)
    return made.getvalue()


@pytest.mark.parametrize("pack", [*PACKED.values(), zipped], ids=[*PACKED, "zip"])
def test_an_archive_holds_at_most_what_is_allowed(pack, monkeypatch):
    content = b"0" * 300_000
    packed = pack(content)
    monkeypatch.setenv("ISTHMUS_MAX_BYTES", "300000")
    assert decompress(packed, "data.csv") == content
    monkeypatch.setenv("ISTHMUS_MAX_BYTES", "299999")
    if largest_content(len(packed)) < len(content):
        with pytest.raises(TooLargeError, match=r"data.csv has .* set the .*ISTHMUS_MAX_BYTES to"):
            decompress(packed, "data.csv")


def test_streams_of_one_archive_follow_each_other(monkeypatch):
    content = RNG.bytes(3_000_000)
    parts = [content[at : at + 7000] for at in range(0, len(content), 7000)]
    for name in ("gzip", "bzip2", "xz"):
        packed = b"".join(map(PACKED[name], parts[:100])) + b"\0" * 20
        assert decompress(packed, name) == b"".join(parts[:100])
    assert decompress(gzip.compress(content, 0), "data") == content
    with pytest.raises(DataError, match="damaged or incomplete"):
        decompress(gzip.compress(content)[:-1], "data")
    monkeypatch.setenv("ISTHMUS_MAX_BYTES", "many")
    with pytest.raises(DataError, match="ISTHMUS_MAX_BYTES='many' .*expected a whole number"):
        decompress(gzip.compress(content), "data")


def npy(header, values=b""):
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + values


@pytest.mark.parametrize(
    "shape", ["(5000000000, 100)", "(-4, 100)", "(1000000000000000000000, 4)", "(2,) * 9", "(("]
)
@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_a_shape_that_a_file_cannot_hold_is_refused(tmp_path, shape, name):
    content = npy(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}", bytes(800))
    if name == "x.npz":
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as archive:
            archive.writestr("X.npy", content)
        content = made.getvalue()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        load(tmp_path / name)
    if name == "x.npy":
        with pytest.raises(DataError, match=name):
            load(tmp_path / name, lazy=True)


def test_rows_that_take_no_space_in_a_parquet_file_are_counted(tmp_path, monkeypatch):
    path = tmp_path / "same.parquet"
    pq.write_table(pa.table({"x": np.zeros(200_000)}), path)
    monkeypatch.setenv("ISTHMUS_MAX_BYTES", str(10**6))
    with pytest.raises(TooLargeError, match=r"same.parquet has .* would hold 1,600,000 bytes"):
        load(path)
    monkeypatch.setenv("ISTHMUS_MAX_BYTES", str(2 * 10**6))
    assert len(load(path)) == 200_000


def test_a_byte_of_a_page_that_is_other_is_found_wherever_parquet_is_read(tmp_path):
    path = tmp_path / "checked.parquet"
    frame = TABLE.assign(row=range(40))
    pq.write_table(
        pa.Table.from_pandas(frame), path, write_page_checksum=True, compression="none",
        use_dictionary=False,
    )  # fmt: skip
    content = path.read_bytes()
    at = content.index(frame["width"].to_numpy().tobytes()) + 80
    assert len(load(path)) == 40
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with pytest.raises(DataError, match=r"checked.parquet.*CRC checksum"):
        load(path)
    with pytest.raises(DataError, match=r"checked.parquet.*CRC checksum"):
        list(load(path, lazy=True).chunks())
    with pytest.raises(DataError, match=r"checked.parquet.*CRC checksum"):
        list(load(path, lazy=True, kind="series", window=4, channels=["width"]).chunks())


def files(folder):
    """Write one small file of every format that is read, and return their paths."""
    TABLE.to_csv(folder / "a.csv", index=False)
    for ending, pack in zip((".gz", ".bz2", ".xz", ".zst"), PACKED.values(), strict=True):
        (folder / f"a.csv{ending}").write_bytes(pack((folder / "a.csv").read_bytes()))
    (folder / "a.csv.zip").write_bytes(zipped((folder / "a.csv").read_bytes()))
    TABLE.to_parquet(folder / "a.parquet")
    TABLE.to_feather(folder / "a.feather")
    TABLE.to_excel(folder / "a.xlsx", index=False)
    TABLE.to_json(folder / "a.jsonl", orient="records", lines=True)
    np.save(folder / "a.npy", RNG.normal(size=(6, 3)))
    np.savez_compressed(folder / "a.npz", X=RNG.normal(size=(6, 3)), y=np.arange(6))
    (folder / "a.idx").write_bytes(bytes([0, 0, 8, 2, 0, 0, 0, 3, 0, 0, 0, 2, *range(6)]))
    (folder / "a.ts").write_text(
        "@problemName a\n@univariate true\n@classLabel true 1 2\n@data\n1,2,3:1\n4,5,6:2\n"
    )
    pixels = Image.fromarray(RNG.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    for ending in ("png", "jpg", "webp", "gif", "bmp", "tif", "ppm", "tga"):
        pixels.save(folder / f"a.{ending}")
    return sorted(folder.iterdir())


def mutated(content, draw):
    """Return content with some bytes other, cut, taken out, put in or doubled."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 5))):
        at, n = draw.randrange(len(changed) + 1), draw.choice((1, 1, 2, 8, 40))
        kind = draw.randrange(6)
        if kind == 0:
            changed[at : at + 1] = bytes([draw.randrange(256)])
        elif kind == 1:
            bit = 1 << draw.randrange(8)
            changed[at : at + 1] = bytes(one ^ bit for one in changed[at : at + 1])
        elif kind == 2:
            del changed[at:]
        elif kind == 3:
            del changed[at : at + n]
        elif kind == 4:
            changed[at:at] = draw.randbytes(n)
        else:
            changed[at : at + n] = draw.choice((b"\xff", b"\0", b"9", b"(")) * n
    return bytes(changed)


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_file_of_any_format_is_read_or_refused_by_name(tmp_path):
    draw, unnamed = random.Random(0), []
    (tmp_path / "whole").mkdir()
    for path in files(tmp_path / "whole"):
        assert len(load(path)), path.name
        content, target = path.read_bytes(), tmp_path / path.name
        for _ in range(25):
            target.write_bytes(mutated(content, draw))
            try:
                load(target)
            except IsthmusError as error:
                unnamed += [str(error)] * (path.name not in str(error))
    assert unnamed == []


def test_content_of_another_format_is_not_decoded_under_the_name_of_an_image(tmp_path):
    pixels = Image.fromarray(RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    target = tmp_path / "a.png"
    target.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    with pytest.raises(
        DataError, match=r"cannot read the image .*a\.png \(it is none of PNG, JPEG"
    ):
        load(target)
    for name in ("DDS", "ICO", "PPM", "SGI", "TGA", "PCX"):
        pixels.save(target, format=name)
        with pytest.raises(DataError, match=r"cannot read the image .*a\.png"):
            load(target)
        pixels.save(target.with_suffix(f".{name.lower()}"))
        assert len(load(target.with_suffix(f".{name.lower()}"))) == 1
    pixels.save(target, format="BMP")  # a common format is read under any name
    np.testing.assert_array_equal(load(target).X[0], np.asarray(pixels))
