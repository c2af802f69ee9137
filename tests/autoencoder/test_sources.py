"""Several processes learn from shares of a stream what a single process learns from all of it."""

import importlib
import pickle
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus import Autoencoder
from isthmus.autoencoder import shared_reading, sources
from isthmus.data import Chunk, Schema
from isthmus.data.fingerprint import fingerprint
from isthmus.data.streaming import Stream
from isthmus.data.streaming import column_statistics as column
from isthmus.data.streaming.chunks import FileRange
from isthmus.distributed import ProcessGroup
from isthmus.distributed.collectives import merge_results
from isthmus.errors import DataError, ShardError


class InMemory:
    """Reads parts of a table or an array that is in memory; some are damaged."""

    has_labels, channels = False, None

    def __init__(self, X, kind, damaged=()):
        self.X, self.kind, self.damaged = X, kind, damaged

    def read(self, part, label, keys):
        if part.start in self.damaged:
            raise ShardError(f"cannot read from row {part.start} on")
        rows = slice(part.start, part.stop)
        if isinstance(self.X, np.ndarray):
            return Chunk(0, self.X[rows])
        # A column of nothing has no type yet, as in Parquet files.
        return Chunk(0, self.X.iloc[rows].infer_objects().reset_index(drop=True))


def stream_of(X, lengths, kind="table", cuts=(), damaged=()):
    """Return a stream of parts of these lengths; those in `cuts` follow the one before."""
    starts = np.cumsum([0, *lengths]).tolist()
    slices = [
        FileRange(("all",), (), *ends, cut_of=at in cuts)
        for at, ends in enumerate(pairwise(starts))
    ]
    bad = [starts[at] for at in damaged if at < len(lengths)]
    return Stream("all", InMemory(X, kind, bad), slices, on_bad_shard="skip")


class Sent(Exception):
    """A process has sent its result; the next one's turn."""


def by_ranks(size, stream, make):
    """Return what `make` returns to several processes, which run here one after another."""
    known = pickle.dumps(stream.state)
    results = []

    def run_in_turn(group, result, work, finish):
        raised = None
        try:
            work(result, lambda: False)
        except DataError as error:
            raised = error
        results.append(pickle.loads(pickle.dumps((result, raised))))
        if len(results) < size:
            raise Sent
        merged, raised = merge_results(results)
        if raised is not None:
            raise raised
        return finish(merged)

    for rank in range(size):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(shared_reading, "run_on_all_ranks", run_in_turn)
            patched.setattr(shared_reading, "read_on_rank_zero", lambda stream, read: read())
            patched.setattr(
                shared_reading,
                "_group_with_equal_files",
                lambda stream, at=rank: ProcessGroup(at, size),
            )
            stream.state = pickle.loads(known)  # as it was before others found damaged chunks
            try:
                return make(stream)
            except Sent:
                pass
    raise AssertionError("the last process returned nothing")


def outcome(make):
    """Return what is made, or what is said against it."""
    try:
        return make()
    except DataError as error:
        return type(error), str(error)


def plain(learned):
    schema, preprocessor = learned
    return schema.to_dict(), preprocessor.to_dict()


def scanned(stream, learned):
    """Return the results of the second pass as plain values."""
    encoder = Autoencoder()
    encoder.schema_, encoder.preprocessor_ = learned
    drawn = stream.draw(7, 0)
    hashed = np.union1d(drawn, stream.draw(20, 1))
    scan = sources.scan_stream(encoder, stream, drawn, hashed, stream.draw(5, 2))
    hashes = scan.hashes.tolist(), scan.validation_hashes.tolist()
    arrays = (scan.validation, scan.example, scan.sample)
    return scan.fingerprint, *hashes, *(array.tobytes() for array in arrays)


def table(n_rows, n_words, seed):
    """Columns of every type, with missing values."""
    rng = np.random.default_rng(seed)

    def words(n):
        return [None if at == n else f"word {at}" for at in rng.integers(0, n + 1, n_rows)]

    days = pd.Series(pd.date_range("2024-01-01", periods=n_rows, freq="h"))
    return pd.DataFrame(
        {
            "gap": np.where(rng.random(n_rows) < 0.2, np.nan, rng.normal(3, 2, n_rows)),
            "far": 1e9 + rng.normal(size=n_rows),
            "kind": words(3),
            "word": words(n_words),
            "other": words(n_words),
            "group": pd.Categorical(rng.choice(["p", "q"], n_rows), categories=["q", "p", "never"]),
            "true": pd.array(rng.choice([True, False, None], n_rows), dtype="boolean"),
            "day": days.where(rng.random(n_rows) < 0.9),
            "late": days.astype(object).where(np.arange(n_rows) >= n_rows // 2, None),
        }
    )


shares = {
    "lengths": st.lists(st.integers(1, 25), min_size=1, max_size=9),
    "cuts": st.sets(st.integers(1, 8), max_size=3),
    "size": st.integers(1, 7),
    "seed": st.integers(0, 99),
}


@given(
    n_words=st.sampled_from([4, 30]),
    infinite=st.none() | st.integers(0, 60),
    damaged=st.sets(st.integers(0, 8), max_size=2),
    **shares,
)
@settings(max_examples=40)
@pytest.mark.slow
def test_processes_learn_of_a_table_what_one_learns(
    lengths, cuts, size, seed, n_words, infinite, damaged
):
    X = table(sum(lengths), n_words, seed)
    if infinite is not None and infinite < len(X):
        X.loc[infinite, "far"] = np.inf
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(column, "MAX_DISTINCT", 12)
        patched.setattr(importlib.import_module("isthmus.data.fingerprint"), "BLOCK_BYTES", 640)
        alone, last = (stream_of(X, lengths, cuts=cuts, damaged=damaged) for _ in range(2))
        learned = outcome(lambda: (alone.schema, alone.preprocessor))
        found = outcome(lambda: by_ranks(size, last, shared_reading.learn_from_stream))
        if not isinstance(learned[0], Schema):
            assert found == learned
            return
        assert plain(found) == plain(learned)
        assert list(last.state.damaged) == list(alone.state.damaged)
        expected = scanned(alone, learned)
        assert by_ranks(size, last, lambda own: scanned(own, learned)) == expected
        if len(alone) == len(X):
            assert expected[0] == fingerprint(learned[0].check(X))


@given(kind=st.sampled_from(["table", "images", "series"]), **shares)
@settings(max_examples=40)
def test_processes_learn_of_arrays_what_one_learns(lengths, cuts, size, seed, kind):
    shape = (3,) if kind == "table" else (4, 3)
    X = np.random.default_rng(seed).random((sum(lengths), *shape), np.float32)
    alone, last = (stream_of(X, lengths, kind, cuts) for _ in range(2))
    learned = alone.schema, alone.preprocessor
    assert plain(by_ranks(size, last, shared_reading.learn_from_stream)) == plain(learned)
    expected = scanned(alone, learned)
    assert expected[0] == fingerprint(X)
    assert by_ranks(size, last, lambda own: scanned(own, learned)) == expected


@given(lengths=shares["lengths"], cuts=shares["cuts"], size=st.integers(1, 7))
@settings(max_examples=100)
def test_shares_are_all_parts_in_order_and_balanced(lengths, cuts, size):
    stream = stream_of(np.zeros((sum(lengths), 1)), lengths, cuts=cuts)
    own = [stream.share(rank, size) for rank in range(size)]
    assert [part for share in own for part in share] == list(stream.chunk_ranges)
    begins = {run[0].index for run in stream.runs}
    assert all(share[0].index in begins for share in own if share)
    largest = max(sum(part.n_rows for part in run) for run in stream.runs)
    n_rows = [sum(part.n_rows for part in share) for share in own]
    assert all(abs(n - len(stream) / size) <= largest for n in n_rows)


def test_texts_that_are_too_many_only_together_are_refused():
    X = pd.DataFrame({"a": np.arange(40.0), "b": [f"text {at % 20}" for at in range(40)]})
    for most, refused in ((20, False), (19, True)):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(column, "MAX_DISTINCT", most)
            found = outcome(
                lambda: by_ranks(4, stream_of(X, [10] * 4), shared_reading.learn_from_stream)
            )
        assert (found[0] is DataError and "more than 19 different" in found[1]) == refused


@pytest.mark.parametrize(
    ("infinite", "message"),
    [(22, "row 22, counting from 0"), (35, "column 'c' of all holds more than 12")],
)
def test_the_first_error_is_raised_whatever_comes_later(infinite, message):
    """The third of four processes meets too many texts in `c`, and only then in `b`."""
    at = np.arange(40)
    X = pd.DataFrame(
        {
            "a": np.where(at == infinite, np.inf, at),
            "b": [f"text {max(0, n - 15)}" for n in at],
            "c": [f"text {max(0, n - 10)}" for n in at],
        }
    )
    stream = stream_of(X, [5] * 8)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(column, "MAX_DISTINCT", 12)
        with pytest.raises(DataError, match=message):
            stream.schema  # noqa: B018
        with pytest.raises(DataError, match=message):
            by_ranks(4, stream, shared_reading.learn_from_stream)
