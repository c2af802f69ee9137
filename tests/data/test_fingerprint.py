import hashlib

import numpy as np
import pandas as pd
import pytest

from isthmus.data.fingerprint import fingerprint

X = np.arange(24, dtype=np.float32).reshape(4, 6)
FRAME = pd.DataFrame({"a": [1.0, 2.0], "b": [3, 4], "c": ["x", None]})


def test_is_the_documented_hash():
    written = b"<f4 (4, 6)\n" + X.tobytes()
    assert fingerprint(X) == hashlib.sha256(written).hexdigest()


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
def test_layout_and_byte_order_do_not_matter(same):
    assert fingerprint(same) == fingerprint(X)


def test_every_difference_matters():
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
def test_odd_arrays(values):
    assert len(fingerprint(values)) == 64
    assert fingerprint(values) == fingerprint(values.copy())


def test_objects_count_by_value():
    assert fingerprint(np.array(["a", "b"], object)) == fingerprint(np.array(["a", "b"], object))
    assert fingerprint(np.array(["a", "b"], object)) != fingerprint(np.array(["ab", ""], object))
    assert fingerprint(np.array([1, 2], object)) != fingerprint(np.array(["1", "2"], object))


def test_frame():
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


def test_frame_is_not_its_array():
    frame = pd.DataFrame(X)
    assert fingerprint(frame) != fingerprint(X)
