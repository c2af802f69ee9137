import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from isthmus.data.catalogue import CATALOGUE
from isthmus.data.named import cache_folder, load_named
from isthmus.errors import DataError, DownloadError


def spelled_with_a_dot(name):
    return name.replace("-idx", ".idx")


def assert_same(splits, arrays):
    train_X, train_y, test_X, test_y = arrays.values()
    np.testing.assert_array_equal(splits.train.X, train_X)
    np.testing.assert_array_equal(splits.train.y, train_y)
    np.testing.assert_array_equal(splits.test.X, test_X)
    np.testing.assert_array_equal(splits.test.y, test_y)
    assert splits.train.X.dtype == np.uint8
    assert splits.train.y.dtype == np.int64
    assert splits.test.class_names == ("no", "yes")
    assert splits.name == "mnist"


# digits


def test_digits_are_the_images_of_scikit_learn_split_by_class():
    digits = load_named(CATALOGUE["digits"])
    X = np.concatenate([digits.train.X, digits.test.X])
    assert digits.train.X.shape == (1437, 8, 8)
    assert digits.test.X.shape == (360, 8, 8)
    assert X.dtype == np.float32
    assert (X.min(), X.max()) == (0, 1)
    order = np.lexsort(X.reshape(1797, -1).T)
    bunch = load_digits()
    expected = bunch.images.astype(np.float32) / 16
    other = np.lexsort(expected.reshape(1797, -1).T)
    np.testing.assert_array_equal(X[order], expected[other])
    y = np.concatenate([digits.train.y, digits.test.y])
    np.testing.assert_array_equal(y[order], bunch.target[other])
    shares = np.bincount(digits.test.y) / np.bincount(y)
    assert np.abs(shares - 0.2).max() < 0.01
    assert digits.class_names == tuple("0123456789")


def test_digits_are_the_same_every_time():
    first, second = (load_named(CATALOGUE["digits"]) for _ in range(2))
    np.testing.assert_array_equal(first.test.X, second.test.X)


# where files are looked for


@pytest.mark.parametrize("spell", [str, spelled_with_a_dot], ids=["dash", "dot"])
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("inner", ["", "mnist"])
def test_data_dir_in_every_spelling(
    tmp_path, make_entry, write_files, arrays, spell, zipped, inner
):
    write_files(
        tmp_path / inner,
        lambda name: spell(name) + ".gz" * zipped,
        gzip.compress if zipped else bytes,
    )
    assert_same(load_named(make_entry(), tmp_path), arrays)
    assert_same(load_named(make_entry(), str(tmp_path)), arrays)


def test_data_dir_without_the_files_does_not_download(tmp_path, make_entry, serve, cache):
    asked = []
    entry = make_entry(mirrors=(serve({}, asked),))
    with pytest.raises(DataError) as caught:
        load_named(entry, tmp_path)
    message = str(caught.value)
    for file in entry.files:
        assert f"{file.name}.gz" in message
    assert str(tmp_path) in message
    assert asked == []


def test_data_dir_that_lacks_one_file(tmp_path, make_entry, write_files):
    write_files(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="does not hold mnist"):
        load_named(make_entry(), tmp_path)


@pytest.mark.parametrize("inner", ["mnist", ""])
def test_isthmus_data(tmp_path, make_entry, write_files, arrays, cache, monkeypatch, inner):
    write_files(tmp_path / "shared" / inner)
    monkeypatch.setenv("ISTHMUS_DATA", str(tmp_path / "shared"))
    assert_same(load_named(make_entry()), arrays)
    assert not cache.exists()


def test_bare_files_in_isthmus_data_are_mnist_and_nothing_else(
    tmp_path, make_entry, write_files, cache, monkeypatch
):
    monkeypatch.setenv("ISTHMUS_DATA", str(write_files(tmp_path / "shared")))
    with pytest.raises(DownloadError):
        load_named(make_entry("kmnist"))


def test_order_data_dir_then_isthmus_data_then_cache(
    tmp_path, make_entry, write_files, arrays, cache, monkeypatch
):
    given, shared = tmp_path / "given", tmp_path / "shared"
    for folder in (given / "mnist", shared / "mnist", cache / "mnist"):
        write_files(folder)
    monkeypatch.setenv("ISTHMUS_DATA", str(shared))
    read = []
    original = Path.read_bytes

    def spy(self):
        read.append(self.parent.parent)
        return original(self)

    monkeypatch.setattr(Path, "read_bytes", spy)
    entry = make_entry()
    load_named(entry, given)
    load_named(entry)
    monkeypatch.delenv("ISTHMUS_DATA")
    load_named(entry)
    # Four files each, and each of them read once.
    assert read == [given] * 4 + [shared] * 4 + [cache] * 4


def test_isthmus_data_without_the_files_falls_through_to_the_cache(
    tmp_path, make_entry, write_files, arrays, cache, monkeypatch
):
    monkeypatch.setenv("ISTHMUS_DATA", str(tmp_path / "nowhere"))
    write_files(cache / "mnist")
    assert_same(load_named(make_entry()), arrays)


def test_empty_isthmus_data_counts_as_unset(make_entry, write_files, arrays, cache, monkeypatch):
    monkeypatch.setenv("ISTHMUS_DATA", "")
    write_files(cache / "mnist")
    assert_same(load_named(make_entry()), arrays)


def test_what_the_cache_lacks_is_downloaded_once(
    make_entry, write_files, serve, arrays, archives, cache
):
    asked = []
    pages = {f"/{name}.gz": content for name, content in archives.items()}
    entry = make_entry(mirrors=(serve(pages, asked),))
    write_files(cache / "mnist")
    (cache / "mnist" / "train-labels-idx1-ubyte").unlink()
    assert_same(load_named(entry), arrays)
    assert_same(load_named(entry), arrays)
    assert asked == ["/train-labels-idx1-ubyte.gz"]
    assert cache_folder(entry) == cache / "mnist"


def test_offline(make_entry, cache):
    with pytest.raises(DownloadError, match="isthmus demo digits") as caught:
        load_named(make_entry(mirrors=()))
    assert str(cache / "mnist") in str(caught.value)


# what is found is verified


def test_wrong_checksum(tmp_path, make_entry, write_files):
    write_files(tmp_path)
    path = tmp_path / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte is not the published.*SHA-256"):
        load_named(make_entry(), tmp_path)


def test_damaged_gzip(tmp_path, make_entry, write_files):
    write_files(tmp_path, lambda name: f"{name}.gz", lambda content: gzip.compress(content)[:-3])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is a damaged"):
        load_named(make_entry(), tmp_path)


def test_uncompressed_copy_known_by_md5_is_checked_by_shape(
    tmp_path, make_entry, write_files, arrays
):
    write_files(tmp_path)
    entry = make_entry("kmnist", by="md5")
    np.testing.assert_array_equal(load_named(entry, tmp_path).test.X, list(arrays.values())[2])
    images = (tmp_path / "t10k-images-idx3-ubyte").read_bytes()
    (tmp_path / "train-images-idx3-ubyte").write_bytes(images)
    with pytest.raises(DataError, match=r"shape \(4, 3, 2\), expected uint8 of shape \(6, 3, 2\)"):
        load_named(entry, tmp_path)


# the real files


def _real_mnist():
    shared = os.environ.get("ISTHMUS_DATA")
    folders = [Path(shared) / "mnist", Path(shared)] if shared else []
    folders.append(Path(__file__).parents[3] / "shared" / "mnist")
    return next((f for f in folders if (f / "t10k-labels-idx1-ubyte.gz").exists()), None)


@pytest.mark.mnist
@pytest.mark.skipif(_real_mnist() is None, reason="the MNIST files are not on this machine")
def test_mnist():
    mnist = load_named(CATALOGUE["mnist"], _real_mnist())
    assert mnist.train.X.shape == (60000, 28, 28)
    assert mnist.test.X.shape == (10000, 28, 28)
    assert mnist.train.X.dtype == np.uint8
    assert mnist.train.y.dtype == np.int64
    assert mnist.train.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert mnist.test.y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    # The known mean and deviation of the training pixels.
    assert mnist.train.X.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert mnist.train.X.std() / 255 == pytest.approx(0.3081, abs=5e-5)
    assert mnist.class_names == tuple("0123456789")
