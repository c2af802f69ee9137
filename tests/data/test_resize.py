import numpy as np
import pytest
from PIL import Image

from isthmus.data.dataset import Dataset
from isthmus.data.resize import check_size, resize_images
from isthmus.errors import DataError

X = np.random.default_rng(0).integers(0, 256, (6, 8, 10), dtype=np.uint8)


def test_bytes_as_pillow_does():
    got = resize_images(Dataset(X), (4, 5)).X
    expected = [np.asarray(Image.fromarray(x).resize((5, 4), Image.Resampling.BILINEAR)) for x in X]
    np.testing.assert_array_equal(got, expected)


def test_channels_and_dtype_are_kept():
    colour = np.stack([X, X // 2], axis=-1)
    got = resize_images(Dataset(colour), (16, 7)).X
    assert got.shape == (6, 16, 7, 2)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got[..., 0], resize_images(Dataset(X), (16, 7)).X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_stay_in_range(dtype):
    got = resize_images(Dataset((X / 255).astype(dtype)), (19, 23)).X
    assert got.dtype == dtype
    assert got.min() >= 0
    assert got.max() <= 1
    np.testing.assert_allclose(got, resize_images(Dataset(X), (19, 23)).X / 255, atol=1.5 / 255)


def test_a_flat_image_stays_flat():
    flat = np.full((1, 9, 9), 0.3)
    np.testing.assert_allclose(resize_images(Dataset(flat), (4, 20)).X, 0.3, rtol=1e-6)


def test_same_size_is_left_alone():
    data = Dataset(X)
    assert resize_images(data, (8, 10)) is data


def test_splits_and_labels_are_kept():
    splits = Dataset(X, list("aabbcc"), class_names=("A", "B", "C"), name="x").split(
        0.5, random_state=0
    )
    got = resize_images(splits, (2, 2))
    assert got.test.X.shape == (3, 2, 2)
    assert got.test.schema.shape == (2, 2)
    np.testing.assert_array_equal(got.test.y, splits.test.y)
    assert got.class_names == ("A", "B", "C")
    assert got.name == "x"


def test_table():
    with pytest.raises(DataError, match=r"resize=\(2, 2\) is for images, and data is a table"):
        resize_images(Dataset(np.zeros((3, 3))), (2, 2))


@pytest.mark.parametrize("size", [(28, 28), [28, 28], (np.int64(28), 28)])
def test_good_sizes(size):
    assert check_size(size) == (28, 28)


@pytest.mark.parametrize("size", [28, (28,), (28, 28, 3), (0, 28), (2.5, 3), "28x28", "28"])
def test_bad_sizes(size):
    with pytest.raises(DataError, match=r"expected \(height, width\)"):
        check_size(size)
