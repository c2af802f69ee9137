import io
import json
import struct
import warnings
import zlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from isthmus.data import Dataset, Schema, load
from isthmus.data.formats import check_size, resize_images
from isthmus.data.streaming import ImageReading, load_image_folder
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
    with pytest.warns(UserWarning, match="1 file skipped: val/a.png"):
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
    with pytest.warns(UserWarning, match=": 1 file skipped: notes.txt$"):
        data = load_image_folder(tmp_path)
    np.testing.assert_array_equal(data.X, GREY)
    assert data.reading == {"n_files_skipped": 1, "files_skipped": ["notes.txt"]}


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
    assert load_image_folder(tmp_path, ImageReading((4, 6))).X.shape == (5, 4, 6)


def test_resize_is_that_of_pillow(tmp_path):
    pixels = RNG.integers(0, 256, (20, 10, 3), dtype=np.uint8)
    write(tmp_path / "a.png", pixels)
    expected = Image.fromarray(pixels).resize((5, 8), Image.Resampling.BILINEAR)
    got = load_image_folder(tmp_path, ImageReading((8, 5))).X
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


@pytest.mark.parametrize(("n", "words"), [(2, "1 frame unused"), (5, "4 frames unused")])
def test_first_frame_of_an_animation(tmp_path, n, words):
    first, *others = (Image.fromarray(pixels) for pixels in GREY[:n])
    with pytest.warns(UserWarning, match=f"{words}.*--frames all"):
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


def test_all_images_that_cannot_be_read_are_named_at_once(tmp_path):
    write_all(tmp_path, [RNG.integers(0, 256, (64, 64), dtype=np.uint8)] * 5)
    cut = (tmp_path / "d.png").read_bytes()[:-1500]
    for name, content in (("a.png", b""), ("b.png", b"no image"), ("d.png", cut)):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"(?s)^3 images cannot be.*a\.png.*b\.png.*d\.png") as all_:
        load_image_folder(tmp_path)
    assert len(all_.value.problems) == 3
    write(tmp_path / "e.png", RNG.integers(0, 256, (32, 32), dtype=np.uint8))
    (tmp_path / "f.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"(?s)c\.png is 64x64 and .*e\.png is 32x32.*f\.png \("):
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


# which file is which, and what of a folder is not read


def test_images_have_their_file_as_key(tmp_path):
    for at, name in enumerate(["b/10.png", "b/2.png", "a/x.png"]):
        write(tmp_path / "one" / name, GREY[at])
        write(tmp_path / "two" / "train" / name, GREY[at])
    write(tmp_path / "two" / "test" / "a" / "new.png", GREY[3])
    data = load(tmp_path / "one")
    assert data.keys["file"].tolist() == ["a/x.png", "b/2.png", "b/10.png"]
    np.testing.assert_array_equal(data.X, GREY[[2, 1, 0]])
    assert data.take(np.array([2])).identifiers()["file"].tolist() == ["b/10.png"]
    whole = load(tmp_path / "two").part("all")
    files = ["train/a/x.png", "train/b/2.png", "train/b/10.png", "test/a/new.png"]
    assert whole.keys["file"].tolist() == files
    np.testing.assert_array_equal(whole.X, GREY[[2, 1, 0, 3]])
    single = load(tmp_path / "one" / "a" / "x.png")
    assert single.keys["file"].tolist() == [str(tmp_path / "one" / "a" / "x.png")]


def test_paths_and_patterns(tmp_path):
    write_all(tmp_path, GREY)
    paths = [tmp_path / "c.png", str(tmp_path / "a.png")]
    data = load(paths, y=["x", "y"])
    np.testing.assert_array_equal(data.X, GREY[[2, 0]])
    assert data.keys["file"].tolist() == [str(path) for path in paths]
    assert data.y.tolist() == ["x", "y"]
    for lazy in (False, True):
        found = load(f"{tmp_path}/[ab].png", lazy=lazy)
        X = found.take(np.arange(2)).X
        np.testing.assert_array_equal(X, GREY[:2])
    with pytest.raises(DataError, match="there is no file 'nowhere.png'"):
        load(["nowhere.png"])


@pytest.mark.parametrize("lazy", [False, True])
def test_an_unknown_key_is_refused(tmp_path, lazy):
    write_all(tmp_path, GREY)
    with pytest.raises(DataError, match="got the key 'nonsense', and images have the key 'file'"):
        load(tmp_path, keys=["nonsense"], lazy=lazy)
    load(tmp_path, keys=["file"], lazy=lazy)


def test_a_stream_has_the_same_files_as_data_in_memory(tmp_path):
    write_all(tmp_path / "cat", GREY[:2])
    write_all(tmp_path / "dog", GREY[2:])
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.warns(UserWarning, match="1 file skipped: notes.txt"):
        stream, data = load(tmp_path, lazy=True), load(tmp_path)
    read = stream.take(np.arange(5))
    pd.testing.assert_frame_equal(read.keys, data.keys)
    assert read.reading == data.reading == stream.reading_facts()["reading"]
    (chunk,) = stream.chunks(keys=True)
    pd.testing.assert_frame_equal(chunk.keys, data.keys)


@pytest.mark.parametrize("suffix", [".pgm", ".jfif", ".avif", ".jp2", ".ppm", ".tga", ".PNM"])
def test_what_pillow_reads_is_read(tmp_path, suffix):
    write_all(tmp_path / "cat", GREY[:2])
    (tmp_path / "dog").mkdir()
    options = {".jp2": {"irreversible": False}, ".PNM": {"format": "PPM"}}.get(suffix, {})
    Image.fromarray(GREY[2]).save(tmp_path / "dog" / f"x{suffix}", **options)
    data = load(tmp_path)
    assert data.y.tolist() == ["cat", "cat", "dog"]
    if suffix not in (".jfif", ".avif"):
        np.testing.assert_array_equal(data.X, GREY[:3])


@pytest.mark.parametrize("lazy", [False, True])
def test_all_frames(tmp_path, lazy):
    first, *others = (Image.fromarray(pixels) for pixels in GREY[:3])
    for name in ("a/x.tif", "b/y.tif"):
        (tmp_path / name).parent.mkdir()
        first.save(tmp_path / name, save_all=True, append_images=others)
    with pytest.warns(UserWarning, match="4 frames unused"):
        single = load(tmp_path, lazy=lazy).take(np.arange(2))
    np.testing.assert_array_equal(single.X, GREY[[0, 0]])
    assert single.reading == {"frames_unused": 4}
    read = load(tmp_path, frames="all", lazy=lazy).take(np.arange(6))
    np.testing.assert_array_equal(read.X, GREY[[0, 1, 2, 0, 1, 2]])
    assert read.keys["frame"].tolist() == [0, 1, 2, 0, 1, 2]
    assert read.keys["file"].tolist() == ["a/x.tif"] * 3 + ["b/y.tif"] * 3
    assert read.y.tolist() == ["a"] * 3 + ["b"] * 3


@pytest.mark.parametrize(
    ("train", "test"), [("Training", "Testing"), ("TRAIN", "valid"), ("train", "Validation")]
)
def test_parts_under_other_names(tmp_path, train, test):
    write_all(tmp_path / train / "cat", GREY[:2])
    write_all(tmp_path / test / "cat", GREY[2:])
    splits = load(tmp_path)
    np.testing.assert_array_equal(splits.train.X, GREY[:2])
    np.testing.assert_array_equal(splits.test.X, GREY[2:])


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["images", "masks"], "masks beside images: masks are neither.*load .*images alone"),
        (["good", "broken", "ground_truth"], "ground_truth beside broken, good"),
        (["train", "extra"], "the folder train, which is the name of a part"),
        (["Testing"], "the folder Testing, which is the name of a part"),
    ],
)
def test_folders_that_are_no_classes(tmp_path, folders, message):
    for name in folders:
        write_all(tmp_path / name, GREY)
    for lazy in (False, True):
        with pytest.raises(DataError, match=message):
            load(tmp_path, lazy=lazy)


def test_one_image_in_each_npy_file(tmp_path):
    pictures = RNG.integers(0, 256, (3, 9, 10), dtype=np.uint8)
    for at, pixels in enumerate(pictures):
        np.save(tmp_path / f"{at}.npy", pixels)
    data = load(tmp_path, kind="images")
    np.testing.assert_array_equal(data.X, pictures)
    assert data.keys["file"].tolist() == ["0.npy", "1.npy", "2.npy"]
    np.testing.assert_array_equal(
        load(tmp_path, kind="images", lazy=True).take(np.array([0, 2])).X, pictures[[0, 2]]
    )
    with pytest.warns(UserWarning, match=r"3 .npy files of shape \(9, 10\).*kind='images'"):
        assert load(tmp_path).kind == "table"
    assert len(load(tmp_path, kind="table")) == 27


# images for a model


def test_files_have_the_size_and_the_channels_at_fit(tmp_path):
    schema = Schema.learn(COLOUR)
    big = RNG.integers(0, 256, (8, 12), dtype=np.uint8)
    write(tmp_path / "a.png", GREY[0])
    write(tmp_path / "b.png", big)
    expected = np.asarray(Image.fromarray(big).resize((6, 4), Image.Resampling.BILINEAR))
    for lazy in (False, True):
        with pytest.warns(UserWarning, match="images resized to 4x6 as at fit: 1 of 8x12"):
            data = load(tmp_path, schema=schema, lazy=lazy).take(np.arange(2))
        np.testing.assert_array_equal(
            data.X, np.stack([GREY[0], expected])[..., None].repeat(3, -1)
        )
        assert data.reading == {"resized_to": [4, 6], "resized_from": {"8x12": 1}}


@pytest.mark.parametrize("lazy", [False, True])
def test_images_that_are_white_on_transparent_are_counted(tmp_path, lazy):
    drawing = np.full((4, 6, 4), 255, np.uint8)
    drawing[:2, :, 3] = 0
    write_all(tmp_path, [drawing, COLOUR[0], np.full((4, 6), 255, np.uint8), drawing])
    with pytest.warns(UserWarning, match=r"2 of 4 images are white on transparent.*a\.png"):
        X = load(tmp_path, lazy=lazy).take(np.arange(4)).X
    np.testing.assert_array_equal(X[0], np.full((4, 6, 3), 255))


def test_colour_is_refused_where_the_fit_was_on_grey(tmp_path):
    schema = Schema.learn(GREY)
    write(tmp_path / "a.png", np.stack([GREY[0]] * 3, -1))
    np.testing.assert_array_equal(load(tmp_path, schema=schema).X, GREY[:1])
    write(tmp_path / "b.png", COLOUR[0])
    with pytest.raises(DataError, match=r"b\.png has colours, and the images at fit are grey"):
        load(tmp_path, schema=schema)


# 16 bits for each of several channels

DEEP = RNG.integers(0, 65536, (4, 6, 4)).astype(np.uint16)


def png16(pixels):
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[pixels.shape[2]]

    def chunk(name, content):
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, kind, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def tiff16(pixels, order, compressed):
    content = pixels.astype(f"{order}u2").tobytes()
    content = zlib.compress(content) if compressed else content
    height, width, n = pixels.shape
    tags = [(256, 4, 1, width), (257, 4, 1, height), (259, 3, 1, 8 if compressed else 1)]
    tags += [(262, 3, 1, 2), (273, 4, 1, 200), (277, 3, 1, n), (278, 4, 1, height)]
    tags = sorted([*tags, (258, 3, n, 190), (279, 4, 1, len(content))])
    entries = b""
    for tag, type_, count, value in tags:
        short = type_ == 3 and count == 1
        entries += struct.pack(f"{order}HHI", tag, type_, count)
        entries += struct.pack(
            f"{order}HH" if short else f"{order}I", value, *([0] if short else [])
        )
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(f"{order}HIH", 42, 8, len(tags)) + entries + bytes(4)
    return (
        head.ljust(190, b"\0") + struct.pack(f"{order}{n}H", *[16] * n).ljust(10, b"\0") + content
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.png", png16(DEEP[..., :3])),
        ("a.tif", tiff16(DEEP[..., :3], "<", False)),
        ("a.tif", tiff16(DEEP[..., :3], ">", False)),
        ("a.tif", tiff16(DEEP[..., :3], "<", True)),
        ("a.tif", tiff16(DEEP[..., :3], ">", True)),
        ("a.ppm", b"P6\n6 4\n65535\n" + DEEP[..., :3].astype(">u2").tobytes()),
    ],
    ids=["png", "tiff", "big-endian tiff", "deflated", "big-endian deflated", "ppm"],
)
def test_sixteen_bits_of_colour_are_read_whole(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    got = load(tmp_path).X[0]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, DEEP[..., :3] / 65535, atol=1e-7)


def test_sixteen_bits_of_colour_with_transparency_lie_on_white(tmp_path):
    (tmp_path / "a.png").write_bytes(png16(DEEP))
    alpha = DEEP[..., 3:] / 65535
    expected = DEEP[..., :3] / 65535 * alpha + 1 - alpha
    np.testing.assert_allclose(load(tmp_path).X[0], expected, atol=1e-6)


def test_sixteen_bits_that_pillow_would_cut_are_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(png16(DEEP[..., :2]))
    with pytest.raises(DataError, match="16 bits for each channel, stored as LA;16B, of which"):
        load(tmp_path)


def test_grey_maps_of_sixteen_bits(tmp_path):
    values = DEEP[..., 0]
    (tmp_path / "a.pgm").write_bytes(b"P5\n6 4\n65535\n" + values.astype(">u2").tobytes())
    np.testing.assert_allclose(load(tmp_path).X[0], values / 65535, atol=1e-7)


# images in a table


def test_images_in_a_parquet_file_of_hugging_face(tmp_path):
    cells = []
    for at, pixels in enumerate(GREY):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        cells.append({"bytes": file.getvalue(), "path": f"im{at}.png"})
    table = pa.table({"image": cells, "label": [0, 2, 0, 2, 2], "id": ["007", "7", "1", "2", "3"]})
    names = {"label": {"names": ["cat", "cow", "dog"], "_type": "ClassLabel"}}
    stated = json.dumps({"info": {"features": names}})
    path = tmp_path / "train.parquet"
    pq.write_table(table.replace_schema_metadata({"huggingface": stated}), path)
    data = load(path, label="label", keys=["id"])
    np.testing.assert_array_equal(data.X, GREY)
    assert data.y.tolist() == [0, 2, 0, 2, 2]
    assert data.class_names == ("cat", "dog")
    assert data.keys["file"].tolist() == [f"im{at}.png" for at in range(5)]
    assert data.keys["id"].tolist() == ["007", "7", "1", "2", "3"]
    with pytest.warns(UserWarning, match="images resized to 2x2 as at fit: 5 of 4x6"):
        assert load(path, schema=Schema.learn(GREY[:, :2, :2])).X.shape == (5, 2, 2)
    with pytest.raises(DataError, match="'kind'"):
        load(path, label="kind")


def test_a_white_image_of_a_format_that_counts_frames_from_one_is_read(tmp_path):
    header = b"8BPS" + struct.pack(">H6xHIIHH", 1, 1, 4, 6, 8, 1)  # grey, 8 bits
    (tmp_path / "white.psd").write_bytes(header + bytes(14) + b"\xff" * 24)
    X = load([tmp_path / "white.psd"], kind="images").X
    np.testing.assert_array_equal(X, np.full((1, 4, 6), 255, np.uint8))
