import gzip
import re

import numpy as np
import pytest

from isthmus.data.catalogue import CATALOGUE, find_entry, near_miss
from isthmus.errors import DataError


def test_names():
    assert list(CATALOGUE) == ["digits", "mnist", "fashion-mnist", "kmnist"]
    assert all(name == entry.name for name, entry in CATALOGUE.items())


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=str)
def test_entries_are_complete(entry):
    assert len(entry.class_names) == 10
    if entry.name == "digits":
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
def test_capitals_do_not_matter(name):
    assert find_entry(name) is CATALOGUE["mnist"]


def test_unknown_name():
    assert find_entry("cifar") is None
    assert find_entry("fashion_mnist") is CATALOGUE["fashion-mnist"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("mnits", "mnist"),
        ("digit", "digits"),
        ("fasion_mnist", "fashion-mnist"),
        ("kmnits", "kmnist"),
        ("readings.csv", None),
    ],
)
def test_near_miss(name, meant):
    assert near_miss(name) == meant


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


def test_md5_is_of_the_archive_and_cannot_vouch_for_a_plain_copy(make_entry, contents, archives):
    file = make_entry(by="md5").files[0]
    assert file.verified(archives[file.name], "x") == contents[file.name]
    with pytest.raises(DataError, match=r"not the published train-images-idx3-ubyte\.gz.*MD5"):
        file.verified(gzip.compress(contents[file.name] + b"x"), "x")
    assert file.verified(b"anything", "x") == b"anything"


def test_entry_is_plain_data():
    shapes = [file.shape for file in CATALOGUE["kmnist"].files]
    assert [int(np.prod(shape)) for shape in shapes] == [47040000, 60000, 7840000, 10000]
