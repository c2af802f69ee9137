"""Images: files and folders of them, decoded and resized."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from isthmus._core import reading, reason_of, shown
from isthmus.data.dataset import Dataset, Splits
from isthmus.data.formats.arrays import read_npy, read_npy_header
from isthmus.data.places import ColumnErrors
from isthmus.data.schema import Schema
from isthmus.errors import DataError

#: Formats of image files that are decoded whatever their name, as Pillow calls them. Pillow or a
#: library that its wheels ship decodes each; none runs another program or holds vectors.
COMMON_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_COMMON_NAMES = "PNG, JPEG, WebP, GIF, BMP or TIFF"
#: Formats that Pillow lists and that hold no pictures, or none that it can draw by itself: EPS is
#: a program, which Ghostscript would run.
_NO_IMAGES = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PDF", "WMF")


@functools.cache
def _formats_by_suffix() -> dict[str, str]:
    Image.init()
    found = Image.registered_extensions().items()
    return {end: one for end, one in found if one in Image.OPEN and one not in _NO_IMAGES}


def image_suffixes() -> frozenset[str]:
    """Return the endings of files that Pillow reads here, such as `.png`, in lower case."""
    return frozenset(_formats_by_suffix())


def _open_image(file: ImageFile) -> Image.Image:
    """Open an image file of the format that its name states, or of a common one.

    Pillow would go by the content alone, and open any format that it lists.
    """
    by_suffix, suffix = _formats_by_suffix(), file.path.suffix.lower()
    # An image in a table may have no name.
    named = [by_suffix[suffix]] if suffix in by_suffix else sorted(set(by_suffix.values()))
    formats = [*COMMON_FORMATS, *(one for one in named if one not in COMMON_FORMATS)]
    try:
        return Image.open(file.source, formats=formats)
    except UnidentifiedImageError:
        own = by_suffix.get(suffix, COMMON_FORMATS[0])
        others = "" if own in COMMON_FORMATS else f"neither {own} nor "
        raise UnidentifiedImageError(f"it is {others or 'none of '}{_COMMON_NAMES}") from None


@dataclass(frozen=True)
class ImageFile:
    """One image to be read: a file, or one of several frames in it.

    Attributes
    ----------
    path : Path
    name : str
        What identifies it in outputs.
    frame : int
        Counting from 0.
    content : bytes or None
        Of an image that lies in a table; `path` is then its name.
    """

    path: Path
    name: str
    frame: int = 0
    content: bytes | None = None

    @property
    def source(self) -> Path | BytesIO:
        """What Pillow opens."""
        return self.path if self.content is None else BytesIO(self.content)


@dataclass(frozen=True)
class ImageHeader:
    """What the header of an image file states.

    Attributes
    ----------
    size : (height, width), or None of a file that is damaged
    is_grey : bool
    n_frames : int
    """

    size: tuple[int, int] | None
    is_grey: bool
    n_frames: int


def read_header(file: ImageFile) -> ImageHeader:
    """Return what the header of an image file states; a damaged file is named when it is read."""
    try:
        if file.path.suffix.lower() == ".npy":
            with file.path.open("rb") as content:
                shape, _ = read_npy_header(content, file.path)
            return ImageHeader((shape[0], shape[1]), len(shape) == 2, 1)
        with _open_image(file) as image:
            # Of a PNG this would decode it; hardly any has an orientation.
            exif = {} if image.format == "PNG" else image.getexif()
            size = image.size if exif.get(_ORIENTATION, 1) >= 5 else image.size[::-1]
            # Formats that count layers give 0 where there are none.
            n_frames = max(1, getattr(image, "n_frames", 1))
            return ImageHeader(size, image.mode in _GREY, n_frames)
    except Exception:
        return ImageHeader(None, True, 1)


#: EXIF tag of the orientation; from 5 on height and width are swapped.
_ORIENTATION = 0x0112
_GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F")


def read_images(
    files: Sequence[ImageFile],
    size: tuple[int, int] | None = None,
    schema: Schema | None = None,
    *,
    warn: bool = True,
) -> np.ndarray:
    """Read image files into one array, in the order given.

    Grey images give one value for each pixel, all others three. When both occur the grey
    ones become colour. The orientation that a camera noted is applied, and what is transparent
    is laid on white. A palette of nothing but greys counts as grey. 16 bits for each channel become
    float32 in [0, 1]; all images must then be so. A `.npy` file holds one image.

    Parameters
    ----------
    files : sequence of ImageFile
        At least one.
    size : (height, width) or None
        What to resize each image to.
    schema : Schema or None
        Of the images at fit: grey ones become colour where these have it, and an image whose
        channels are all equal becomes grey where these are grey.
    warn : bool
        Warn of images of which nothing is left on white.

    Returns
    -------
    array of shape (n, h, w) or (n, h, w, 3)
        uint8, or float32 where the files are 16-bit.

    Raises
    ------
    DataError
        When files cannot be read, which are all named, or the images differ in size or depth.
    """
    images: np.ndarray | None = None
    erased: list[Path] = []
    errors, first, differs = ColumnErrors(heading="images cannot be read"), Path(), False
    for position, file in enumerate(files):
        if differs and read_header(file).size:
            continue  # of the other images only those are named that cannot be opened
        with errors:
            path, pixels = file.path, _read(file)
            erased += [path] * _is_erased(file, pixels)
            if schema is not None:
                pixels = _with_channels(pixels, schema, path)
            if size is not None:
                pixels = resize_pixels(pixels, size)
            if images is None:
                images, first = np.empty((len(files), *pixels.shape), pixels.dtype), path
            differs = pixels.shape[:2] != images.shape[1:3] or pixels.dtype != images.dtype
            if differs:
                raise _unlike(first, images[0], path, pixels)
            if pixels.ndim > images.ndim - 1:
                images = np.repeat(images[..., None], 3, axis=-1)
            images[position] = pixels[..., None] if pixels.ndim < images.ndim - 1 else pixels
    errors.check()
    if images is None:
        raise DataError("got no images; expected at least one file")
    if erased and warn:
        warnings.warn(
            f"{len(erased)} of {len(files)} images are white on transparent, and laid on white "
            f"nothing is left of them, the first is {erased[0]}; save them on another background",
            stacklevel=4,
        )
    return images


def _unlike(first: Path, of_first: np.ndarray, path: Path, pixels: np.ndarray) -> DataError:
    """Return the error of an image that differs from the first one in size or depth."""
    (height, width), (high, wide) = of_first.shape[:2], pixels.shape[:2]
    if (high, wide) == (height, width):
        return DataError(
            f"the images differ in depth: {first} gives {of_first.dtype} and {path} "
            f"{pixels.dtype}; save all of them with 8 bits for each channel"
        )
    return DataError(
        f"the images differ in size: {first} is {height}x{width} and {path} is {high}x{wide} "
        f"(height x width); pass resize=({height}, {width}), on the command line --resize "
        f"{height}x{width}"
    )


def _is_erased(file: ImageFile, pixels: np.ndarray) -> bool:
    """Return whether an image that is all white was something before it was laid on white."""
    white = 255 if pixels.dtype == np.uint8 else 1
    if file.path.suffix.lower() == ".npy" or pixels.flat[0] != white or pixels.min() != white:
        return False
    with reading(file.path), _open_image(file) as image:
        if file.frame:  # frames of some formats are counted from 1
            image.seek(file.frame)
        if not image.has_transparency_data:
            return False
        low, high = image.convert("RGBA").getchannel("A").getextrema()
        return low != high


def _with_channels(pixels: np.ndarray, schema: Schema, path: Path) -> np.ndarray:
    """Return pixels with the channels at fit, where that changes no value."""
    colour = len(schema.shape) == 3
    if colour and pixels.ndim == 2:
        return np.repeat(pixels[..., None], schema.shape[2], axis=-1)
    if colour or pixels.ndim == 2:
        return pixels
    if (pixels == pixels[..., :1]).all():
        return np.ascontiguousarray(pixels[..., 0])
    raise DataError(
        f"{path} has colours, and the images at fit are grey; save it as grey, such as by Pillow's "
        "Image.convert('L')"
    )


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


def decode_image(content: bytes, name: str, largest: int, notes: list[str]) -> np.ndarray:
    """Return the pixels of an image file that lies in memory, in one of `COMMON_FORMATS`.

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
        with Image.open(BytesIO(content), formats=COMMON_FORMATS) as image:
            if image.width * image.height > largest:
                raise TooManyPixelsError(f"{name} of {image.width} x {image.height} pixels")
            if getattr(image, "is_animated", False):
                notes.append(f"{name} has several frames; the first is read")
                image.seek(0)
            deep = _deep_colour(image, name)
            if deep is not None:
                return deep
            return _to_pixels(ImageOps.exif_transpose(image), image.format, name)
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixelsError(f"{name} of far too many pixels") from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"{name} that is not an image file, expected {_COMMON_NAMES}; send the content of the "
            "file as it is on disk"
        ) from error
    except Exception as error:
        raise DataError(
            f"{name} that is damaged ({reason_of(error)}), expected a whole image file; "
            "send the file again"
        ) from error


class TooManyPixelsError(DataError):
    """An image is larger than its reader allows."""


def _read(file: ImageFile) -> np.ndarray:
    """Return the pixels of one image: (h, w) or (h, w, 3), uint8 or float32."""
    path = file.path
    try:
        if path.suffix.lower() == ".npy":
            return read_npy(path)
        with _open_image(file) as image:
            source_format = image.format
            if file.frame:
                image.seek(file.frame)
            deep = _deep_colour(image, path)
            if deep is not None:
                return deep
            return _to_pixels(ImageOps.exif_transpose(image), source_format, path)
    except DataError:
        raise
    # Pillow's decoders raise errors of a dozen kinds on damaged files.
    except Exception as error:
        reason = reason_of(error).replace(f" {str(path)!r}", "")
        raise DataError(
            f"cannot read the image {path} ({reason}); replace it or take it out of the folder"
        ) from error


def _deep_colour(image: Any, path: Path | str) -> np.ndarray | None:
    """Return the pixels of a colour image with 16 bits for each channel; None of any other.

    Pillow has no mode for these and reads the more significant byte of each value. Its decoders
    for the other order of bytes read the less significant one.

    Returns
    -------
    array of shape (h, w, 3) or None
        float32 in [0, 1], on white where transparent.

    Raises
    ------
    DataError
        When it has such values and its decoder reads one byte of each alone.
    """
    tiles = list(image.tile)
    if tiles and tiles[0].codec_name == "ppm" and image.mode == "RGB" and tiles[0].args[1] > 255:
        stream, largest = image.fp, tiles[0].args[1]
        stream.seek(tiles[0].offset)
        content = stream.read(2 * 3 * image.width * image.height)
        values = np.frombuffer(content, ">u2").reshape(image.height, image.width, 3)
        return (values / np.float32(largest)).astype(np.float32)
    modes = [str(one.args if isinstance(one.args, str) else (one.args or [""])[0]) for one in tiles]
    if image.mode not in ("RGB", "RGBA", "LA") or not any(";16" in str(mode) for mode in modes):
        return None
    order = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
    other = [f"{mode[:-1]}{order.get(mode[-1], '?')}" for mode in modes]
    if image.mode == "LA" or any(mode not in _BOTH_BYTES for mode in other):
        raise DataError(
            f"{path} has 16 bits for each channel, stored as {modes[0]}, of which Pillow reads 8 "
            "alone; save it as RGB with 16 bits, or load the values as an array: X / 65535"
        )
    with Image.open(image.filename or image.fp, formats=[image.format]) as again:
        again.seek(image.tell())
        again.tile = [
            one._replace(args=mode if isinstance(one.args, str) else (mode, *(one.args or ())[1:]))
            for one, mode in zip(again.tile, other, strict=True)
        ]
        less = np.asarray(ImageOps.exif_transpose(again), dtype=np.uint16)
    upright = ImageOps.exif_transpose(image)
    values = (np.asarray(upright, dtype=np.uint16) << 8) + less
    clear = image.info.get("transparency")
    pixels = values.astype(np.float32) / np.float32(65535)
    if values.shape[-1] == 4:
        alpha = pixels[..., 3:]
        return pixels[..., :3] * alpha + (1 - alpha)
    if isinstance(clear, tuple):  # the one colour that is transparent
        pixels[(values == np.array(clear)).all(axis=-1)] = 1
    return pixels


#: Pillow's decoders of one byte of each 16-bit value.
_BOTH_BYTES = ("RGB;16B", "RGB;16L", "RGBA;16B", "RGBA;16L")


def _to_pixels(image: Image.Image, source_format: str | None, path: Path | str) -> np.ndarray:
    mode = image.mode
    # Older Pillow opens 16-bit PNG as 32-bit "I", and every Pillow PGM of more than 8 bits.
    if mode.startswith("I;16") or (mode == "I" and source_format in ("PNG", "PPM")):
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
    raise DataError(f"got resize={shown(size)}, expected (height, width), such as resize=(28, 28)")


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
