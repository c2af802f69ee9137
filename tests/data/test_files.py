import gzip

import numpy as np
import pytest
from PIL import Image

from isthmus.data.dataset import Splits
from isthmus.data.files import load_path
from isthmus.errors import DataError

TABLE = np.array([[1.0, 2.0], [3.0, 4.0]])
CSV = b"a,b\n1,2\n3,4\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", CSV),
        ("x.CSV", CSV),
        ("x.csv.gz", gzip.compress(CSV, mtime=0)),
        ("x.tsv", CSV.replace(b",", b"\t")),
    ],
)
def test_text_tables(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    np.testing.assert_array_equal(load_path(tmp_path / name).X, TABLE)


def test_parquet(tmp_path):
    load_path_source = tmp_path / "x.parquet"
    import pandas as pd

    pd.DataFrame(TABLE, columns=["a", "b"]).to_parquet(load_path_source)
    np.testing.assert_array_equal(load_path(load_path_source).X, TABLE)
    assert load_path(load_path_source, label="b").y.tolist() == [2, 4]


def test_numpy(tmp_path):
    np.save(tmp_path / "x.npy", TABLE)
    np.savez(tmp_path / "x.npz", X=TABLE, y=[0, 1])
    np.testing.assert_array_equal(load_path(tmp_path / "x.npy").X, TABLE)
    assert load_path(tmp_path / "x.npz").y.tolist() == [0, 1]


@pytest.mark.parametrize("name", ["a-idx3-ubyte", "a.idx", "whatever", "whatever.dat", "x.gz"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_is_known_by_content(tmp_path, idx_bytes, name, pack):
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / name).write_bytes(pack(idx_bytes(images)))
    np.testing.assert_array_equal(load_path(tmp_path / name).X, images)


def test_damaged_idx_says_what_is_wrong(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"<html>")
    with pytest.raises(DataError, match="web page"):
        load_path(tmp_path / "train-images-idx3-ubyte")


def test_folder_of_idx(tmp_path, write_files):
    assert isinstance(load_path(write_files(tmp_path)), Splits)


def test_folder_of_images_and_one_image(tmp_path):
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Image.fromarray(pixels).save(tmp_path / "a.PNG")
    np.testing.assert_array_equal(load_path(tmp_path).X, pixels[None])
    np.testing.assert_array_equal(load_path(tmp_path / "a.PNG").X, pixels[None])
    assert load_path(tmp_path / "a.PNG", resize=(6, 5)).X.shape == (1, 6, 5)


def test_folder_called_like_a_table(tmp_path):
    folder = tmp_path / "x.csv"
    folder.mkdir()
    with pytest.raises(DataError, match=r"x\.csv holds no images"):
        load_path(folder)


@pytest.mark.parametrize("content", [b"", b"\1\2", b"\x1f\x8b\x08", b"text", CSV])
def test_unknown_kind_lists_the_known_ones(tmp_path, content):
    (tmp_path / "x.xyz").write_bytes(content)
    with pytest.raises(
        DataError, match=r"x\.xyz is of no kind .*\.npy, \.npz|cannot read .*x\.xyz"
    ):
        load_path(tmp_path / "x.xyz")


def test_label_is_for_tables(tmp_path):
    np.save(tmp_path / "x.npy", TABLE)
    with pytest.raises(DataError, match=r"label='b' names a column of a table, and .*x\.npy is"):
        load_path(tmp_path / "x.npy", label="b")


def test_missing_file_suggests_its_neighbour(tmp_path):
    (tmp_path / "readings.csv").write_bytes(CSV)
    with pytest.raises(DataError) as caught:
        load_path(tmp_path / "reading.csv")
    message = str(caught.value)
    assert f"did you mean {str(tmp_path / 'readings.csv')!r}?" in message
    assert "digits, mnist, fashion-mnist, kmnist" in message


def test_missing_folder_and_nothing_like_it(tmp_path):
    with pytest.raises(DataError, match="there is no file or folder .*expected a path or one of"):
        load_path(tmp_path / "nowhere" / "x.csv")
