"""One image file into pixels, many into one array, and pixels to another size."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

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


def decode_image(content: bytes, name: str, largest: int) -> np.ndarray:
    """Return the pixels of a PNG or JPEG that lies in memory.

    Parameters
    ----------
    content : bytes
    name : str
        What to call it in an error.
    largest : int
        Pixels that it may have; more are refused before any is decoded.

    Returns
    -------
    array of shape (h, w) or (h, w, 3)
        uint8, or float32 of a 16-bit PNG.

    Raises
    ------
    TooManyPixelsError
        When there are more than `largest`.
    DataError
        When it is neither PNG nor JPEG, or damaged.
    """
    try:
        with Image.open(BytesIO(content), formats=("PNG", "JPEG")) as image:
            if image.width * image.height > largest:
                raise TooManyPixelsError(f"{name} of {image.width} x {image.height} pixels")
            return _to_pixels(ImageOps.exif_transpose(image), image.format, name)
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixelsError(f"{name} of far too many pixels") from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"{name} is no image, expected PNG or JPEG; send what the content type says"
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"a damaged image ({reason}), expected a whole PNG or JPEG; send the file again"
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
