import gzip
import os
import re
import socket
import stat
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from isthmus.data.catalog import CATALOG, find_entry, near_miss
from isthmus.data.named_datasets import cache_folder, fetch, load_named
from isthmus.errors import DataError, DownloadError, IsthmusError


def test_names_of_the_catalog():
    assert list(CATALOG) == ["digits", "mnist", "fashion-mnist", "kmnist", "pump"]
    assert all(name == entry.name for name, entry in CATALOG.items())


@pytest.mark.parametrize("entry", CATALOG.values(), ids=str)
def test_entries_are_complete(entry):
    assert len(entry.class_names) == (2 if entry.name == "pump" else 10)
    if entry.name in ("digits", "pump"):
        assert entry.files == ()
        return
    assert len(entry.files) == 4
    assert all(re.match(r"https?://.*[^/]$", mirror) for mirror in entry.mirrors)
    for file in entry.files:
        assert (file.sha256 is None) != (file.archive_md5 is None)
        assert re.fullmatch(r"[0-9a-f]{64}|[0-9a-f]{32}", file.sha256 or file.archive_md5)
    sums = {file.sha256 or file.archive_md5 for file in entry.files}
    assert len(sums) == 4


@pytest.mark.parametrize("name", ["mnist", "MNIST", "Mnist"])
def test_case_of_a_name_is_ignored(name):
    assert find_entry(name) is CATALOG["mnist"]


def test_unknown_name():
    assert find_entry("cifar") is None
    assert find_entry("fashion_mnist") is CATALOG["fashion-mnist"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mnits", "mnist"),
        ("digit", "digits"),
        ("fasion_mnist", "fashion-mnist"),
        ("kmnits", "kmnist"),
        ("readings.csv", None),
    ],
)
def test_near_miss(name, expected):
    assert near_miss(name) == expected


def test_sha256_is_of_the_uncompressed_content(make_entry, contents):
    file = make_entry().files[0]
    plain = contents[file.name]
    for level in (1, 9):
        assert file.verified(gzip.compress(plain, level), "x") == plain
    assert file.verified(plain, "x") == plain


def test_wrong_sha256_names_file_and_both_sums(make_entry, contents):
    file = make_entry().files[0]
    wrong = bytearray(contents[file.name])
    wrong[-1] ^= 1
    with pytest.raises(DataError, match="SHA-256") as caught:
        file.verified(bytes(wrong), "here/copy")
    message = str(caught.value)
    assert "here/copy is not the published train-images-idx3-ubyte" in message
    assert file.sha256 in message
    assert len(re.findall(r"\b[0-9a-f]{64}\b", message)) == 2
    assert "delete it" in message


def test_md5_verifies_the_archive_but_not_an_uncompressed_copy(make_entry, contents, archives):
    file = make_entry(checksum="md5").files[0]
    assert file.verified(archives[file.name], "x") == contents[file.name]
    with pytest.raises(DataError, match=r"not the published train-images-idx3-ubyte\.gz.*MD5"):
        file.verified(gzip.compress(contents[file.name] + b"x"), "x")
    assert file.verified(b"anything", "x") == b"anything"


def test_entry_is_plain_data():
    shapes = [file.shape for file in CATALOG["kmnist"].files]
    assert [int(np.prod(shape)) for shape in shapes] == [47040000, 60000, 7840000, 10000]


GARBAGE = b"<html>please log in to this network</html>"


def pages(archives, prefix=""):
    return {f"{prefix}/{name}.gz": content for name, content in archives.items()}


def test_second_mirror_is_used_when_the_first_sends_a_wrong_file(
    tmp_path, make_entry, serve, archives
):
    requests = []
    bad = serve(dict.fromkeys(pages(archives), GARBAGE), requests)
    good = serve(pages(archives))
    entry = make_entry(mirrors=(bad, good))
    folder = tmp_path / "new" / "mnist"
    got = fetch(entry, entry.files, folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{n}.gz" for n in archives)
    for name, content in archives.items():
        assert (folder / f"{name}.gz").read_bytes() == content
        assert len(got[name]) > 0
    # After its first failure the mirror is tried last.
    assert requests == ["/train-images-idx3-ubyte.gz"]


def test_uncompressed_content_is_returned(tmp_path, make_entry, serve, archives, contents):
    entry = make_entry(mirrors=(serve(pages(archives, "/deep/folder")) + "/deep/folder",))
    assert fetch(entry, entry.files[:2], tmp_path) == {
        file.name: contents[file.name] for file in entry.files[:2]
    }


def test_content_received_uncompressed_is_stored_without_gz(
    tmp_path, make_entry, serve, archives, contents
):
    served = {f"/{name}.gz": content for name, content in contents.items()}
    entry = make_entry(mirrors=(serve(served),))
    fetch(entry, entry.files, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(contents)


def test_archive_verified_by_md5(tmp_path, make_entry, serve, archives):
    entry = make_entry("kmnist", (serve(pages(archives)),), checksum="md5")
    fetch(entry, entry.files, tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_damaged_archive_is_not_stored(tmp_path, make_entry, serve, archives):
    cut = {url: content[:-5] for url, content in pages(archives).items()}
    entry = make_entry(mirrors=(serve(cut),))
    with pytest.raises(DownloadError, match="damaged or incomplete gzip"):
        fetch(entry, entry.files, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_unverifiable_garbage_from_an_md5_mirror_is_refused(
    tmp_path, make_entry, serve, archives, contents
):
    served = {f"/{name}.gz": content for name, content in contents.items()}
    entry = make_entry("kmnist", (serve(served),), checksum="md5")
    with pytest.raises(DownloadError, match="not a gzip archive"):
        fetch(entry, entry.files, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_error_when_all_mirrors_fail(tmp_path, make_entry, serve, archives):
    with socket.create_server(("127.0.0.1", 0)) as bound:
        closed = f"http://127.0.0.1:{bound.getsockname()[1]}"
    entry = make_entry(mirrors=(serve({}), serve(dict.fromkeys(pages(archives), GARBAGE)), closed))
    folder = tmp_path / "mnist"
    with pytest.raises(DownloadError) as caught:
        fetch(entry, entry.files, folder)
    message = str(caught.value)
    assert message.startswith("cannot download mnist: no mirror gave train-images-idx3-ubyte.gz")
    for name in archives:
        assert f"{name}.gz" in message
    assert f" in {folder}, " in message
    assert "`isthmus demo digits`" in message
    assert "404" in message
    assert "\n" not in message
    assert list(folder.iterdir()) == []
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value, IsthmusError)


def test_folder_that_cannot_be_created(tmp_path, make_entry):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match="cannot write to .*file.*data_dir"):
        fetch(make_entry(), make_entry().files, tmp_path / "file" / "mnist")


def test_full_disk_is_not_reported_as_a_failed_mirror(
    tmp_path, make_entry, serve, archives, monkeypatch
):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("isthmus.data.named_datasets.write_bytes", full)
    entry = make_entry(mirrors=(serve(pages(archives)),))
    with pytest.raises(DownloadError, match="cannot write to .*No space left"):
        fetch(entry, entry.files, tmp_path)


def test_only_the_given_files_are_downloaded(tmp_path, make_entry, serve, archives):
    requests = []
    entry = make_entry(mirrors=(serve(pages(archives), requests),))
    fetch(entry, entry.files[3:], tmp_path)
    assert requests == ["/t10k-labels-idx1-ubyte.gz"]
    (path,) = tmp_path.iterdir()
    assert stat.S_ISREG(path.stat().st_mode)


def test_mirrors_of_the_catalog_end_without_a_slash():
    assert not any(url.endswith("/") for entry in CATALOG.values() for url in entry.mirrors)


def with_a_dot(name):
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
    digits = load_named(CATALOG["digits"])
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


def test_split_of_digits_is_reproducible():
    first, second = (load_named(CATALOG["digits"]) for _ in range(2))
    np.testing.assert_array_equal(first.test.X, second.test.X)


# where files are searched


@pytest.mark.parametrize("rename", [str, with_a_dot], ids=["dash", "dot"])
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("inner", ["", "mnist"])
def test_data_dir_with_all_forms_of_file_names(
    tmp_path, make_entry, write_files, arrays, rename, zipped, inner
):
    write_files(
        tmp_path / inner,
        lambda name: rename(name) + ".gz" * zipped,
        gzip.compress if zipped else bytes,
    )
    assert_same(load_named(make_entry(), tmp_path), arrays)
    assert_same(load_named(make_entry(), str(tmp_path)), arrays)


def test_data_dir_without_the_files_does_not_download(tmp_path, make_entry, serve, cache):
    requests = []
    entry = make_entry(mirrors=(serve({}, requests),))
    with pytest.raises(DataError) as caught:
        load_named(entry, tmp_path)
    message = str(caught.value)
    for file in entry.files:
        assert f"{file.name}.gz" in message
    assert str(tmp_path) in message
    assert requests == []


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
    folders = []
    original = Path.read_bytes

    def recording(self):
        folders.append(self.parent.parent)
        return original(self)

    monkeypatch.setattr(Path, "read_bytes", recording)
    entry = make_entry()
    load_named(entry, given)
    load_named(entry)
    monkeypatch.delenv("ISTHMUS_DATA")
    load_named(entry)
    # Four files each, and each of them read once.
    assert folders == [given] * 4 + [shared] * 4 + [cache] * 4


def test_cache_is_used_when_isthmus_data_lacks_the_files(
    tmp_path, make_entry, write_files, arrays, cache, monkeypatch
):
    monkeypatch.setenv("ISTHMUS_DATA", str(tmp_path / "nowhere"))
    write_files(cache / "mnist")
    assert_same(load_named(make_entry()), arrays)


def test_empty_isthmus_data_counts_as_unset(make_entry, write_files, arrays, cache, monkeypatch):
    monkeypatch.setenv("ISTHMUS_DATA", "")
    write_files(cache / "mnist")
    assert_same(load_named(make_entry()), arrays)


def test_files_missing_in_the_cache_are_downloaded_once(
    make_entry, write_files, serve, arrays, archives, cache
):
    requests = []
    pages = {f"/{name}.gz": content for name, content in archives.items()}
    entry = make_entry(mirrors=(serve(pages, requests),))
    write_files(cache / "mnist")
    (cache / "mnist" / "train-labels-idx1-ubyte").unlink()
    assert_same(load_named(entry), arrays)
    assert_same(load_named(entry), arrays)
    assert requests == ["/train-labels-idx1-ubyte.gz"]
    assert cache_folder(entry) == cache / "mnist"


def test_offline(make_entry, cache):
    with pytest.raises(DownloadError, match="isthmus demo digits") as caught:
        load_named(make_entry(mirrors=()))
    assert str(cache / "mnist") in str(caught.value)


# files found are verified


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


def test_uncompressed_copy_with_only_an_md5_is_checked_by_shape(
    tmp_path, make_entry, write_files, arrays
):
    write_files(tmp_path)
    entry = make_entry("kmnist", checksum="md5")
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
    mnist = load_named(CATALOG["mnist"], _real_mnist())
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
