import numpy as np
import pytest

from isthmus.data.formats import load_npy, load_npz
from isthmus.errors import DataError

X = np.arange(12, dtype=np.float32).reshape(4, 3)
Y = np.array([0, 1, 0, 1])
OBJECTS = np.array([[{}]], dtype=object)


@pytest.fixture
def save(tmp_path):
    def write(**arrays):
        np.savez_compressed(tmp_path / "data.npz", **arrays)
        return tmp_path / "data.npz"

    return write


def test_npy(tmp_path):
    np.save(tmp_path / "X.npy", X)
    data = load_npy(tmp_path / "X.npy")
    np.testing.assert_array_equal(data.X, X)
    assert data.y is None
    assert data.name == "X.npy"


def test_npz_with_labels(save):
    data = load_npz(save(X=X, y=Y, note=np.array("made by hand")))
    np.testing.assert_array_equal(data.X, X)
    np.testing.assert_array_equal(data.y, Y)


def test_npz_without_labels(save):
    assert load_npz(save(X=X)).y is None


@pytest.mark.parametrize("x", ["x", "X"])
def test_npz_of_keras(save, x):
    arrays = {f"{x}_train": X, "y_train": Y[:, None], f"{x}_test": X[:2], "y_test": Y[:2]}
    splits = load_npz(save(**arrays))
    np.testing.assert_array_equal(splits.train.X, X)
    np.testing.assert_array_equal(splits.train.y, Y)
    np.testing.assert_array_equal(splits.test.X, X[:2])
    np.testing.assert_array_equal(splits.test.y, Y[:2])


def test_npz_of_other_names_lists_them(save):
    with pytest.raises(DataError, match=r"holds features, target; expected X and perhaps y"):
        load_npz(save(features=X, target=Y))
    with pytest.raises(DataError, match=r"holds x_train; expected"):
        load_npz(save(x_train=X))


def test_npz_with_another_number_of_labels(save):
    with pytest.raises(DataError, match="got 4 instances and 3 labels"):
        load_npz(save(X=X, y=Y[:3]))


def test_objects_are_not_unpickled(tmp_path, save):
    np.save(tmp_path / "X.npy", OBJECTS)
    with pytest.raises(DataError, match=r"X\.npy holds Python objects"):
        load_npy(tmp_path / "X.npy")
    with pytest.raises(DataError, match=r"data\.npz holds Python objects"):
        load_npz(save(X=X, y=OBJECTS))


def test_objects_that_nobody_asked_for_do_not_matter(save):
    assert len(load_npz(save(X=X, names=OBJECTS))) == 4


@pytest.mark.parametrize("loader", [load_npy, load_npz])
@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY\1\0", b"PK\3\4 no archive", b"something else", b"\x80\4pickle"]
)
def test_damaged(tmp_path, loader, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot read .*file \(|file is not a file that NumPy"):
        loader(path)


def test_truncated(tmp_path, save):
    np.save(tmp_path / "X.npy", X)
    for path, loader in ((tmp_path / "X.npy", load_npy), (save(X=X), load_npz)):
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(DataError, match="cannot read"):
            loader(path)


def test_archive_with_a_damaged_member(save):
    path = save(X=np.random.default_rng(0).normal(size=(50, 50)))
    content = bytearray(path.read_bytes())
    content[2000:2100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot read .*data\.npz"):
        load_npz(path)


def test_one_called_the_other(tmp_path, save):
    with pytest.raises(DataError, match=r"rename it to end in \.npz"):
        load_npy(save(X=X))
    np.save(tmp_path / "X.npy", X)
    with pytest.raises(DataError, match=r"rename it to end in \.npy"):
        load_npz(tmp_path / "X.npy")
