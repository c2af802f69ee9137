"""A store that is lost is never taken for a file that is damaged."""

import errno

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from fsspec.implementations.local import LocalFileSystem

from isthmus import load
from isthmus.errors import DataError, ShardError


class ClientError(Exception):
    """As the clients of stores raise them: neither the system's nor one of isthmus."""


@pytest.fixture
def source(far_store):
    """Three files of four rows at an address."""
    for at in range(3):
        with far_store().open(f"/bucket/{at}.parquet", "wb") as file:
            pd.DataFrame({"a": np.arange(4.0) + 4 * at}).to_parquet(file)
    return "far://bucket"


LOST = [
    ConnectionResetError("reset by peer"),
    TimeoutError("no answer in 60 s"),
    FileNotFoundError("no such bucket"),
    PermissionError("the key has run out"),
    OSError(errno.EIO, "internal error"),
    ClientError("could not connect to the endpoint"),
]


@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("on_bad_shard", ["fail", "skip"])
def test_a_store_lost_in_the_middle_is_an_error_that_says_how_to_go_on(
    source, far_store, error, on_bad_shard
):
    stream = load(source, on_bad_shard=on_bad_shard)
    far_store.lose(error, answers=1)
    chunks = stream.chunks()
    assert next(chunks).X["a"].tolist() == [0, 1, 2, 3]
    with pytest.raises(DataError) as raised:
        list(chunks)
    output = str(raised.value)
    assert not isinstance(raised.value, ShardError)
    assert output.startswith("/bucket/1.parquet cannot be reached (")
    assert str(error) in output
    assert "run again, with resume (on the command line --resume)" in output
    assert stream.skipped == ()
    far_store.mend()
    assert [row for chunk in stream.chunks() for row in chunk.X["a"]] == list(range(12))


@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
def test_a_store_lost_before_the_first_file(source, far_store, error, monkeypatch):
    def isdir(*_):
        raise error

    far_store.lose(error)
    with pytest.raises(DataError, match=r"^/bucket/0.parquet cannot be reached"):
        load(source, on_bad_shard="skip")
    monkeypatch.setattr(far_store, "isdir", isdir)
    with pytest.raises(DataError, match=r"^far://bucket cannot be reached"):
        load(source, on_bad_shard="skip")


def test_damage_in_a_store_is_damage_and_skipped(source, far_store):
    with far_store().open("/bucket/1.parquet", "wb") as file:
        file.write(b"PAR1 and then nothing")
    with pytest.raises(ShardError, match=r"cannot read /bucket/1.parquet.*on_bad_shard='skip'"):
        load(source)
    stream = load(source, on_bad_shard="skip")
    assert len(stream) == 8
    (skipped,) = stream.skipped
    # Whoever reads the list has skipped it already.
    assert skipped.reason.endswith("; write the file again")


def test_damage_that_cannot_be_told_from_a_file_that_is_gone(source, far_store, monkeypatch):
    stream = load(source, on_bad_shard="skip")
    far_store.lose(pa.ArrowInvalid("half a page"), answers=1)
    monkeypatch.setattr(far_store, "is_there", False)
    with pytest.raises(DataError, match=r"/bucket/1.parquet cannot be reached \(half a page"):
        list(stream.chunks())
    assert stream.skipped == ()


@pytest.mark.parametrize(
    "error",
    [MemoryError("no more"), pa.lib.ArrowMemoryError("malloc of size 64 failed")],
    ids=lambda error: type(error).__name__,
)
def test_want_of_memory_is_nothing_wrong_with_a_file(source, far_store, error):
    stream = load(source, on_bad_shard="skip")
    far_store.lose(error, answers=1)
    with pytest.raises(MemoryError, match=str(error)):
        list(stream.chunks())
    assert stream.skipped == ()


def test_want_of_open_files_is_nothing_wrong_with_one(tmp_path, monkeypatch):
    for at in range(2):
        pd.DataFrame({"a": np.arange(4.0)}).to_parquet(tmp_path / f"{at}.parquet")
    stream = load(tmp_path, on_bad_shard="skip")

    def full(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(LocalFileSystem, "open", full)
    with pytest.raises(DataError, match=r"0.parquet cannot be reached .*Too many open files"):
        list(stream.chunks())
    assert stream.skipped == ()
