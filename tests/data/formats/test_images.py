import warnings

import numpy as np
import pytest
from PIL import Image

from isthmus.data import Dataset
from isthmus.data.formats import check_size, load_image_folder, resize_images
from isthmus.errors import DataError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 4, 6), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_all(folder, images, names="abcde"):
    for name, pixels in zip(names, images, strict=False):
        write(folder / f"{name}.png", pixels)


# the layout of folders


def test_images_directly_in_the_folder_have_no_labels(tmp_path):
    write_all(tmp_path / "pictures", GREY)
    data = load_image_folder(tmp_path / "pictures")
    assert isinstance(data, Dataset)
    np.testing.assert_array_equal(data.X, GREY)
    assert data.X.dtype == np.uint8
    assert data.y is None
    assert data.name == "pictures"


def test_sub_folders_are_classes(tmp_path):
    write_all(tmp_path / "cat", GREY[:2])
    write_all(tmp_path / "dog", GREY[2:])
    (tmp_path / "empty").mkdir()
    data = load_image_folder(tmp_path)
    np.testing.assert_array_equal(data.X, GREY)
    assert data.y.tolist() == ["cat", "cat", "dog", "dog", "dog"]
    assert data.class_names == ("cat", "dog")


def test_natural_order_of_files_and_classes(tmp_path):
    for position, name in enumerate(["1", "2", "10", "11", "100"]):
        write(tmp_path / "direct" / f"im{name}.png", GREY[position])
        write(tmp_path / "classes" / f"class{name}" / "x.png", GREY[position])
    np.testing.assert_array_equal(load_image_folder(tmp_path / "direct").X, GREY)
    data = load_image_folder(tmp_path / "classes")
    np.testing.assert_array_equal(data.X, GREY)
    assert data.y.tolist() == ["class1", "class2", "class10", "class11", "class100"]


@pytest.mark.parametrize("other", ["test", "val", "Validation"])
def test_train_and_test_with_classes(tmp_path, other):
    write_all(tmp_path / "train" / "cat", GREY[:2])
    write_all(tmp_path / "train" / "dog", GREY[2:3])
    write_all(tmp_path / other / "dog", GREY[3:])
    splits = load_image_folder(tmp_path)
    np.testing.assert_array_equal(splits.train.X, GREY[:3])
    np.testing.assert_array_equal(splits.test.X, GREY[3:])
    assert splits.train.y.tolist() == ["cat", "cat", "dog"]
    assert splits.test.y.tolist() == ["dog", "dog"]


def test_test_goes_before_val(tmp_path):
    for position, name in enumerate(["train", "val", "test"]):
        write(tmp_path / name / "a.png", GREY[position])
    splits = load_image_folder(tmp_path)
    np.testing.assert_array_equal(splits.test.X, GREY[2:3])
    assert splits.train.y is None


def test_grey_and_colour_are_settled_for_both_splits(tmp_path):
    write_all(tmp_path / "train", GREY)
    write_all(tmp_path / "test", COLOUR)
    splits = load_image_folder(tmp_path)
    assert splits.train.X.shape == (5, 4, 6, 3)
    np.testing.assert_array_equal(splits.test.X, COLOUR)


def test_hidden_and_other_files_are_passed_over(tmp_path):
    write_all(tmp_path, GREY)
    (tmp_path / ".hidden.png").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text("no image")
    write_all(tmp_path / ".thumbnails", GREY)
    (tmp_path / "folder.png").mkdir()
    np.testing.assert_array_equal(load_image_folder(tmp_path).X, GREY)


def test_every_kind_of_file(tmp_path):
    names = ["a.png", "b.bmp", "c.gif", "d.tif", "e.TIFF"]
    for name, pixels in zip(names, GREY, strict=True):
        write(tmp_path / name, pixels)
    np.testing.assert_array_equal(load_image_folder(tmp_path).X, GREY)
    for name in ("f.jpg", "g.JPEG", "h.webp"):
        Image.fromarray(GREY[0]).save(tmp_path / name, quality=100)
    # WebP knows only colour.
    assert load_image_folder(tmp_path).X.shape == (8, 4, 6, 3)


def test_no_images(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(DataError, match=r"holds no images: expected files that end in \.png"):
        load_image_folder(tmp_path)


def test_images_directly_and_in_classes(tmp_path):
    write_all(tmp_path, GREY)
    write_all(tmp_path / "cat", GREY)
    with pytest.raises(DataError, match=r"both directly \(a\.png\) and in sub-folders"):
        load_image_folder(tmp_path)


def test_images_a_folder_too_deep(tmp_path):
    write_all(tmp_path / "all" / "cat", GREY)
    with pytest.raises(DataError, match=r"a\.png lies a folder too deep.*load .*all instead"):
        load_image_folder(tmp_path)


# sizes


def test_mixed_sizes_name_the_first_odd_file_and_the_fix(tmp_path):
    write_all(tmp_path, GREY)
    write(tmp_path / "c.png", np.zeros((7, 8), np.uint8))
    write(tmp_path / "d.png", np.zeros((9, 9), np.uint8))
    with pytest.raises(DataError) as caught:
        load_image_folder(tmp_path)
    message = str(caught.value)
    assert f"{tmp_path / 'a.png'} is 4x6 and {tmp_path / 'c.png'} is 7x8" in message
    assert "resize=(4, 6)" in message
    assert "--resize 4x6" in message
    assert load_image_folder(tmp_path, resize=(4, 6)).X.shape == (5, 4, 6)


def test_resize_is_that_of_pillow(tmp_path):
    pixels = RNG.integers(0, 256, (20, 10, 3), dtype=np.uint8)
    write(tmp_path / "a.png", pixels)
    expected = Image.fromarray(pixels).resize((5, 8), Image.Resampling.BILINEAR)
    got = load_image_folder(tmp_path, resize=(8, 5)).X
    np.testing.assert_array_equal(got[0], np.asarray(expected))


# pixels


def one(tmp_path, image, name="a.png", **options):
    image.save(tmp_path / name, **options)
    return load_image_folder(tmp_path).X[0]


def test_mixed_grey_and_colour_become_colour(tmp_path):
    write_all(tmp_path / "first", [GREY[0], COLOUR[1], GREY[2]])
    got = load_image_folder(tmp_path / "first").X
    np.testing.assert_array_equal(got[0], np.stack([GREY[0]] * 3, -1))
    np.testing.assert_array_equal(got[1], COLOUR[1])
    np.testing.assert_array_equal(got[2], np.stack([GREY[2]] * 3, -1))
    write_all(tmp_path / "second", [COLOUR[0], GREY[1]])
    np.testing.assert_array_equal(
        load_image_folder(tmp_path / "second").X[1], np.stack([GREY[1]] * 3, -1)
    )


def test_black_and_white(tmp_path):
    bits = GREY[0] > 128
    np.testing.assert_array_equal(one(tmp_path, Image.fromarray(bits)), bits * np.uint8(255))


def test_palette_of_colours(tmp_path):
    image = Image.fromarray(COLOUR[0]).quantize(8)
    np.testing.assert_array_equal(one(tmp_path, image), np.asarray(image.convert("RGB")))


def test_palette_of_greys_is_grey(tmp_path):
    image = Image.fromarray(GREY[0]).convert("P")
    image.putpalette([value for grey in range(255, -1, -1) for value in (grey,) * 3])
    np.testing.assert_array_equal(one(tmp_path, image), 255 - GREY[0])


def test_transparent_pixels_lie_on_white(tmp_path):
    alpha = np.full((4, 6, 1), 255, np.uint8)
    alpha[0, 0] = 0
    expected = COLOUR[0].copy()
    expected[0, 0] = 255
    image = Image.fromarray(np.concatenate([COLOUR[0], alpha], axis=-1))
    np.testing.assert_array_equal(one(tmp_path, image), expected)


def test_transparent_grey_stays_grey(tmp_path):
    alpha = np.zeros((4, 6), np.uint8)
    alpha[1] = 255
    image = Image.fromarray(np.stack([GREY[0], alpha], axis=-1))
    expected = np.full((4, 6), 255, np.uint8)
    expected[1] = GREY[0][1]
    np.testing.assert_array_equal(one(tmp_path, image), expected)


def test_transparent_entry_of_a_palette(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [1, 1]], np.uint8))
    image.putpalette([255, 0, 0, 0, 0, 255])
    for transparency in (0, b"\0\xff"):
        got = one(tmp_path, image, transparency=transparency)
        np.testing.assert_array_equal(got[0, 0], [255, 255, 255])
        np.testing.assert_array_equal(got[1, 1], [0, 0, 255])


def test_print_colours_become_screen_colours(tmp_path):
    image = Image.fromarray(COLOUR[0]).convert("CMYK")
    got = one(tmp_path, image, "a.tif")
    np.testing.assert_array_equal(got, np.asarray(image.convert("RGB")))


def test_the_orientation_of_the_camera_is_applied(tmp_path):
    image = Image.fromarray(GREY[0])
    exif = image.getexif()
    exif[0x0112] = 6  # turned a quarter to the right to be seen upright
    got = one(tmp_path, image, exif=exif)
    np.testing.assert_array_equal(got, np.rot90(GREY[0], -1))


def test_first_frame_of_an_animation(tmp_path):
    first, *others = (Image.fromarray(pixels) for pixels in GREY)
    got = one(tmp_path, first, "a.gif", save_all=True, append_images=others)
    np.testing.assert_array_equal(got, GREY[0])


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_become_floats(tmp_path, name):
    deep = np.array([[0, 1000], [40000, 65535]], np.uint16)
    got = one(tmp_path, Image.fromarray(deep), name)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, deep / 65535, rtol=1e-6)


def test_eight_and_sixteen_bits_do_not_mix(tmp_path):
    write(tmp_path / "a.png", GREY[0])
    Image.fromarray(GREY[1].astype(np.uint16) * 257).save(tmp_path / "b.png")
    with pytest.raises(DataError, match=r"differ in depth.*b\.png float32; save all"):
        load_image_folder(tmp_path)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_thirty_two_bits_are_refused(tmp_path, dtype):
    Image.fromarray(GREY[0].astype(dtype)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif holds 32-bit pixels"):
        load_image_folder(tmp_path)


@pytest.mark.parametrize("damage", ["empty", "text", "truncated"])
def test_unreadable_image_is_named(tmp_path, damage):
    big = RNG.integers(0, 256, (64, 64), dtype=np.uint8)
    write_all(tmp_path, [big] * 3)
    path = tmp_path / "b.png"
    content = {"empty": b"", "text": b"no image", "truncated": path.read_bytes()[:-1500]}
    path.write_bytes(content[damage])
    with pytest.raises(DataError, match=r"cannot read the image .*b\.png \(.*take it out"):
        load_image_folder(tmp_path)


def test_image_of_enormous_size_is_refused(tmp_path, monkeypatch):
    write_all(tmp_path, GREY)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    with pytest.raises(DataError, match=r"cannot read the image .*a\.png \(.*exceeds limit"):
        load_image_folder(tmp_path)


def test_no_warnings_reach_the_person(tmp_path):
    write_all(tmp_path, COLOUR)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_image_folder(tmp_path)


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
