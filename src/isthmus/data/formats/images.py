"""Images: files and folders of them, decoded and resized."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from isthmus.data.dataset import Dataset, Splits
from isthmus.data.schema import Schema
from isthmus.errors import DataError


def read_images(paths: Sequence[Path], size: tuple[int, int] | None = None) -> np.ndarray:
    """Read image files into one array, in the order given.

    Grey images give one value for each pixel, all others three. When both occur the grey
    ones become colour. Of several frames the first counts, the orientation that a camera
    noted is applied, and what is transparent is laid on white. A palette of nothing but
    greys counts as grey. 16-bit grey becomes float32 in [0, 1]; all images must then be so.

    Parameters
    ----------
    paths : sequence of Path
        At least one.
    size : (height, width) or None
        What to resize each image to.

    Returns
    -------
    array of shape (n, h, w) or (n, h, w, 3)
        uint8, or float32 where the files are 16-bit.

    Raises
    ------
    DataError
        When a file cannot be read or the images differ in size or depth.
    """
    images: np.ndarray | None = None
    for position, path in enumerate(paths):
        pixels = _read(path)
        if size is not None:
            pixels = resize_pixels(pixels, size)
        if images is None:
            images = np.empty((len(paths), *pixels.shape), pixels.dtype)
        if pixels.shape[:2] != images.shape[1:3]:
            height, width = images.shape[1:3]
            raise DataError(
                f"the images differ in size: {paths[0]} is {height}x{width} and {path} is "
                f"{pixels.shape[0]}x{pixels.shape[1]} (height x width); pass "
                f"resize=({height}, {width}), on the command line --resize {height}x{width}"
            )
        if pixels.dtype != images.dtype:
            raise DataError(
                f"the images differ in depth: {paths[0]} gives {images.dtype} and {path} "
                f"{pixels.dtype}; save all of them with 8 bits for each channel"
            )
        if pixels.ndim > images.ndim - 1:
            images = np.repeat(images[..., None], 3, axis=-1)
        images[position] = pixels[..., None] if pixels.ndim < images.ndim - 1 else pixels
    if images is None:
        raise DataError("got no images; expected at least one file")
    return images


def resize_pixels(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize one image with Pillow's bilinear filter, which averages when it shrinks.

    Parameters
    ----------
    pixels : array of shape (h, w) or (h, w, c)
        uint8 or float.
    size : (height, width)

    Returns
    -------
    array of shape (*size,) or (*size, c)
        Of the same dtype.
    """
    if pixels.shape[:2] == size:
        return pixels
    if pixels.ndim == 3:
        channels = [resize_pixels(channel, size) for channel in np.moveaxis(pixels, -1, 0)]
        return np.stack(channels, axis=-1)
    # Pillow has modes for bytes and for 32-bit floats.
    work = pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32)
    image = Image.fromarray(np.ascontiguousarray(work))
    resized = np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))
    if pixels.dtype != np.uint8:
        # Rounding must not push a pixel out of the range it was in.
        resized = np.clip(resized, work.min(), work.max())
    return resized.astype(pixels.dtype)


#: Formats of image files that are decoded in memory, as Pillow calls them. Each is decoded by
#: Pillow itself or a library that its wheels ship; none runs another program or holds vectors.
MEMORY_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_MEMORY_NAMES = "PNG, JPEG, WebP, GIF, BMP or TIFF"


def decode_image(content: bytes, name: str, largest: int, notes: list[str]) -> np.ndarray:
    """Return the pixels of an image file that lies in memory, in one of `MEMORY_FORMATS`.

    Parameters
    ----------
    content : bytes
    name : str
        What to call it in an error.
    largest : int
        Pixels that it may have; more are refused before any is decoded.
    notes : list of str
        A line is added where the image has more frames than the first, which is read.

    Returns
    -------
    array of shape (h, w) or (h, w, 3)
        uint8, or float32 of a 16-bit PNG.

    Raises
    ------
    TooManyPixelsError
        When there are more than `largest`.
    DataError
        When it is of no such format, or damaged.
    """
    try:
        with Image.open(BytesIO(content), formats=MEMORY_FORMATS) as image:
            if image.width * image.height > largest:
                raise TooManyPixelsError(f"{name} of {image.width} x {image.height} pixels")
            if getattr(image, "is_animated", False):
                notes.append(f"{name} has several frames; the first is read")
                image.seek(0)
            return _to_pixels(ImageOps.exif_transpose(image), image.format, name)
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixelsError(f"{name} of far too many pixels") from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"{name} that is not an image file, expected {_MEMORY_NAMES}; send the content of the "
            "file as it is on disk"
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{name} that is damaged ({reason}), expected a whole image file; send the file again"
        ) from error


class TooManyPixelsError(DataError):
    """An image is larger than its reader allows."""


def _read(path: Path) -> np.ndarray:
    """Return the pixels of one file: (h, w) or (h, w, 3), uint8 or float32."""
    try:
        with Image.open(path) as image:
            source_format = image.format
            return _to_pixels(ImageOps.exif_transpose(image), source_format, path)
    except DataError:
        raise
    # Pillow's decoders raise errors of a dozen kinds on damaged files.
    except Exception as error:
        reason = " ".join(str(error).split()).replace(f" {str(path)!r}", "")
        raise DataError(
            f"cannot read the image {path} ({reason}); replace it or take it out of the folder"
        ) from error


def _to_pixels(image: Image.Image, source_format: str | None, path: Path | str) -> np.ndarray:
    mode = image.mode
    # Older Pillow opens 16-bit PNG as 32-bit "I".
    if mode.startswith("I;16") or (mode == "I" and source_format == "PNG"):
        return (np.asarray(image).astype(np.float32) / 65535).astype(np.float32)
    if mode in ("I", "F"):
        raise DataError(
            f"{path} holds 32-bit pixels, whose range nothing states; "
            "save it with 8 or 16 bits, or load the values as an array scaled to [0, 1]"
        )
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        flat = Image.alpha_composite(white, layered).convert("RGB")
        return _as_grey(flat) if _is_grey_mode(image) else np.asarray(flat)
    if mode in ("1", "L"):
        return np.asarray(image.convert("L"))
    flat = image.convert("RGB")
    return _as_grey(flat) if _is_grey_mode(image) else np.asarray(flat)


def _is_grey_mode(image: Image.Image) -> bool:
    if image.mode in ("1", "L", "LA", "La"):
        return True
    if image.mode != "P":
        return False
    # By way of RGBA, as Pillow warns where a palette has transparent entries.
    pixels = np.asarray(image.convert("RGBA"))[..., :3]
    return bool((pixels == pixels[..., :1]).all())


def _as_grey(image: Image.Image) -> np.ndarray:
    # All three channels are the same, so one of them is the exact grey.
    return np.ascontiguousarray(np.asarray(image)[..., 0])


SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_TEST_NAMES = ("test", "val", "valid", "validation")


def load_image_folder(folder: Path, resize: tuple[int, int] | None = None) -> Dataset | Splits:
    """Load the images in a folder, in natural order (`2.png` before `10.png`).

    Images directly in the folder have no labels. Sub-folders of images are classes, and
    their names the labels. Sub-folders `train` and `test` (or else `val`), which may hold
    classes in turn, are a training and a test set; where `test` and `val` both exist, `val`
    is not read. Hidden files and files that are not images are passed over. How pixels are
    read is said at `isthmus.data.formats.images.read_images`.

    Parameters
    ----------
    folder : Path
    resize : (height, width) or None

    Returns
    -------
    Dataset or Splits
        `X` is (n, h, w) when all images are grey, otherwise (n, h, w, 3).

    Raises
    ------
    DataError
        When there are no images, they lie both in the folder and in sub-folders or a folder
        too deep, one cannot be read, or they differ in size and `resize` is not given.
    """
    parts = train_and_test(folder)
    if parts is None:
        paths, y = list_images(folder)
        return Dataset(read_images(paths, resize), y, name=folder.name)
    (train_paths, train_y), (test_paths, test_y) = (list_images(part) for part in parts)
    # Read as one, so that grey and colour are settled for both alike.
    X = read_images(train_paths + test_paths, resize)
    n_train = len(train_paths)
    return Splits(
        Dataset(X[:n_train], train_y, name=folder.name),
        Dataset(X[n_train:], test_y, name=folder.name),
    )


def is_image(path: Path) -> bool:
    """Tell by its name whether a file is an image that can be loaded."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def train_and_test(folder: Path) -> tuple[Path, Path] | None:
    """Return the sub-folders of a training and a test set, None when there are no such two."""
    named = {path.name.lower(): path for path in _folders(folder)}
    if "train" not in named or _images(folder):
        return None
    for name in _TEST_NAMES:
        if name in named:
            return named["train"], named[name]
    return None


def list_images(folder: Path) -> tuple[list[Path], np.ndarray | None]:
    """Return the image files of a folder in order, and their class names if they have any."""
    direct = _images(folder)
    classes = {path.name: _images(path) for path in _folders(folder)}
    for name in classes:
        for inner in _folders(folder / name):
            if _images(inner):
                raise DataError(
                    f"{_images(inner)[0]} lies a folder too deep: expected images in {folder} or "
                    f"in its sub-folders; load {folder / name} instead, or move the images"
                )
    if not any(classes.values()):
        if not direct:
            raise DataError(
                f"{folder} holds no images: expected files that end in {', '.join(SUFFIXES)}, "
                "or sub-folders of them, one for each class"
            )
        return direct, None
    if direct:
        raise DataError(
            f"{folder} holds images both directly ({direct[0].name}) and in sub-folders; "
            "move the first into the folder of their class"
        )
    paths = [path for images in classes.values() for path in images]
    y = np.repeat(list(classes), [len(images) for images in classes.values()])
    return paths, y


def _images(folder: Path) -> list[Path]:
    return sorted((path for path in folder.iterdir() if _is_file(path)), key=_natural)


def _is_file(path: Path) -> bool:
    return is_image(path) and path.is_file()


def _folders(folder: Path) -> list[Path]:
    inner = (path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    return sorted(inner, key=_natural)


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Order names with their numbers by value; the name itself settles 1.png and 01.png."""
    parts = re.split(r"(\d+)", path.name.lower())
    key = [(int(part), "") if part.isdecimal() else (-1, part) for part in parts if part]
    return key, path.name


def check_size(size: Any) -> tuple[int, int]:
    """Return a size as (height, width).

    Raises
    ------
    DataError
        When it is not two whole numbers of at least 1.
    """
    if (
        isinstance(size, Sequence)
        and len(size) == 2
        and all(isinstance(side, int | np.integer) and side >= 1 for side in size)
    ):
        return int(size[0]), int(size[1])
    raise DataError(f"got resize={size!r}, expected (height, width), such as resize=(28, 28)")


def resize_images(data: Dataset | Splits, size: tuple[int, int]) -> Dataset | Splits:
    """Return the data set with its images resized, each channel by itself.

    Parameters
    ----------
    data : Dataset or Splits
        Of images.
    size : (height, width)

    Raises
    ------
    DataError
        When the data set is a table.

    Examples
    --------
    >>> import numpy as np
    >>> data = Dataset(np.zeros((5, 8, 8), dtype=np.uint8))
    >>> resize_images(data, (4, 6)).X.shape
    (5, 4, 6)
    """
    if isinstance(data, Splits):
        return Splits(_resized(data.train, size), _resized(data.test, size))
    return _resized(data, size)


def _resized(data: Dataset, size: tuple[int, int]) -> Dataset:
    if data.kind != "images":
        raise DataError(f"resize={size} is for images, and {data.name} is a table; leave it out")
    if data.schema.shape[:2] == size:
        return data
    X = np.empty((len(data), *size, *data.schema.shape[2:]), data.X.dtype)
    for position, pixels in enumerate(data.X):
        X[position] = resize_pixels(pixels, size)
    return replace(data, X=X, schema=Schema.learn(X))
