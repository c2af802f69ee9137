import gzip

import numpy as np
import pytest

from isthmus.data.idx_files import find_idx, load_idx_file, load_idx_folder
from isthmus.errors import DataError

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
