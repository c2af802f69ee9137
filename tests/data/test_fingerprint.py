import hashlib
import importlib
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.data import Blocks, repeated_row_warnings
from isthmus.data.fingerprint import fingerprint

module = importlib.import_module("isthmus.data.fingerprint")  # the package exports the function
X = np.arange(24, dtype=np.float32).reshape(4, 6)
FRAME = pd.DataFrame({"a": [1.0, 2.0], "b": [3, 4], "c": ["x", None]})


@pytest.mark.parametrize("block_bytes", [2**18, 3 * 24, 48, 5])
def test_is_the_documented_hash(monkeypatch, block_bytes):
    monkeypatch.setattr(module, "BLOCK_BYTES", block_bytes)
    n_rows = max(1, block_bytes // 24)
    blocks = [X[first : first + n_rows].tobytes() for first in range(0, 4, n_rows)]
    digests = b"".join(hashlib.sha256(block).digest() for block in blocks)
    assert fingerprint(X) == hashlib.sha256(b"<f4 (4, 6)\n" + digests).hexdigest()


def blocks_of(chunks):
    """Return the blocks of chunks, given as row numbers and values."""
    blocks = Blocks(np.dtype("i8"), (2,))
    for first_row, values in chunks:
        blocks.update(first_row, values)
    return blocks


@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=12),
    missing=st.sets(st.integers(0, 11)),
    parts=st.lists(st.integers(0, 12), max_size=6),
    size=st.integers(1, 6),
)
@settings(max_examples=100)
def test_fingerprints_of_parts_join_to_that_of_all_rows(lengths, missing, parts, size):
    values = np.arange(2 * sum(lengths)).reshape(-1, 2)
    starts = np.cumsum([0, *lengths]).tolist()
    chunks = [(first, values[first:stop]) for first, stop in pairwise(starts)]
    present = [chunk for at, chunk in enumerate(chunks) if at not in missing]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "BLOCK_BYTES", 16 * size)
        direct, joined = blocks_of(present), blocks_of([])
        bounds = [0, *sorted(parts), len(chunks)]
        for first, stop in pairwise(bounds):
            part = [
                chunk for at, chunk in enumerate(chunks[first:stop], first) if at not in missing
            ]
            joined.extend(blocks_of(part))
        n_rows = len(values)
        assert joined.fingerprint(n_rows) == direct.fingerprint(n_rows)
        complete = sum(len(rows) for _, rows in present) == n_rows
        assert (direct.fingerprint(n_rows) == fingerprint(values)) == complete


def test_fingerprint_depends_on_which_rows_are_missing():
    same = np.zeros((1, 2), int)
    fingerprints = {blocks_of([(first, same)]).fingerprint(3) for first in range(3)}
    assert len(fingerprints) == 3


@pytest.mark.parametrize(
    "same",
    [
        X.copy(),
        np.asfortranarray(X),
        np.repeat(X, 2, axis=0)[::2],
        X.astype(">f4"),
    ],
    ids=["copy", "fortran", "strided", "big-endian"],
)
def test_fingerprint_is_independent_of_layout_and_byte_order(same):
    assert fingerprint(same) == fingerprint(X)


def test_fingerprint_depends_on_values_dtype_shape_and_order():
    changed = X.copy()
    changed[3, 5] = np.nextafter(changed[3, 5], 0)
    others = [X, changed, X.astype(np.float64), X.reshape(6, 4), X.T, X[:3], X[::-1]]
    assert len({fingerprint(other) for other in others}) == len(others)


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((0, 3)),
        np.array(3.0),
        np.array([True, False]),
        np.array(["a", "bc"]),
        np.array(["2020-01-01"], dtype="datetime64[D]"),
        np.array(["a", None, 1, np.nan], dtype=object),
    ],
    ids=str,
)
def test_arrays_of_other_dtypes_and_shapes(values):
    assert len(fingerprint(values)) == 64
    assert fingerprint(values) == fingerprint(values.copy())


def test_objects_are_hashed_by_value_and_type():
    assert fingerprint(np.array(["a", "b"], object)) == fingerprint(np.array(["a", "b"], object))
    assert fingerprint(np.array(["a", "b"], object)) != fingerprint(np.array(["ab", ""], object))
    assert fingerprint(np.array([1, 2], object)) != fingerprint(np.array(["1", "2"], object))


def test_fingerprint_of_a_frame_depends_on_all_but_the_index():
    assert fingerprint(FRAME) == fingerprint(FRAME.set_axis([5, 6]))
    others = [
        FRAME,
        FRAME.rename(columns={"a": "z"}),
        FRAME[["b", "a", "c"]],
        FRAME.assign(a=[1.0, 2.5]),
        FRAME.assign(b=[3.0, 4.0]),
        FRAME.assign(c=["x", "y"]),
        FRAME.iloc[:1],
        FRAME[["a", "b"]],
    ]
    assert len({fingerprint(other) for other in others}) == len(others)


def test_frame_and_its_array_have_different_fingerprints():
    frame = pd.DataFrame(X)
    assert fingerprint(frame) != fingerprint(X)


def rows_of(kind, n=400):
    """Return rows without copies that equal each other by chance, if at all."""
    rng = np.random.default_rng(0)
    numbers, flags = rng.normal(size=(n, 3)).round(2), rng.random((n, 4)) < [0.05, 0.2, 0.5, 0.9]
    counts = rng.poisson([0.3, 2, 1], (n, 3))
    counts[:, 2] = counts[:, 0] + counts[:, 1]  # a sum, as of prices
    return {
        "numbers": numbers,
        "one column": numbers[:, :1],
        "flags": flags.astype(float),
        "counts": counts.astype(float),
        "days": np.column_stack([(days := rng.integers(0, n, n)), days // 30, days % 7, 0 * days]),
        "both": np.column_stack([numbers[:, 0], flags, counts]),
        "an empty record": np.where(rng.random((n, 1)) < 0.4, np.nan, numbers),
        "images": rng.integers(0, 256, (n, 3, 3), dtype=np.uint8),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    ["numbers", "one column", "flags", "counts", "days", "both", "an empty record", "images"],
)
def test_rows_that_equal_each_other_by_chance_are_no_copies(kind):
    assert repeated_row_warnings(rows_of(kind)) == []


@pytest.mark.parametrize(
    ("kind", "copies"), [("numbers", 80), ("images", 80), ("numbers", 400), ("both", 400)]
)
def test_rows_that_were_read_twice_are_counted(kind, copies):
    rows = rows_of(kind)
    (text,) = repeated_row_warnings(np.concatenate([rows, rows[:copies]]))
    n = int(text.split(" of ")[0])
    n_equal = len(pd.DataFrame(rows.reshape(len(rows), -1)).pipe(lambda X: X[X.duplicated()]))
    assert 2 * copies <= n <= 2 * copies + 2 * n_equal
    assert f" of {len(rows) + copies} instances equal another one" in text


def test_pairs_are_drawn_of_many_rows():
    rows = np.random.default_rng(0).normal(size=(module.MAX_PAIRED, 2))
    assert repeated_row_warnings(rows) == []
    (text,) = repeated_row_warnings(np.concatenate([rows, rows]))
    assert text.startswith("40,000 of 40,000 instances")


def test_of_a_sample_copies_in_all_rows_are_found():
    rows, rng = np.random.default_rng(0).normal(size=(20_000, 2)), np.random.default_rng(1)
    twice = np.concatenate([rows, rows])
    drawn = rng.choice(len(twice), 2000, replace=False)
    assert repeated_row_warnings(rows[:1000], n_rows=len(rows)) == []
    (text,) = repeated_row_warnings(twice[drawn], n_rows=len(twice))
    n = int((np.unique(drawn % len(rows), return_counts=True)[1] == 2).sum())
    assert text.startswith(f"{2 * n} of 2,000 instances drawn from 40,000 equal another one")


def test_windows_that_stand_still_are_no_copies():
    rng = np.random.default_rng(0)
    windows = rng.normal(size=(60, 12, 2))
    windows[20:] = rng.integers(0, 2, (40, 1, 1))  # on or off
    windows[30:, 8:] = 1
    assert repeated_row_warnings(windows, series=True) == []
    (text,) = repeated_row_warnings(np.concatenate([windows, windows]), series=True)
    assert text.startswith("40 of 120 instances")
