"""Bring the images of a data set to another size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from isthmus.data.dataset import Dataset, Splits
from isthmus.errors import DataError


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
    from isthmus.data._pixels import resize_pixels

    if data.kind != "images":
        raise DataError(f"resize={size} is for images, and {data.name} is a table; leave it out")
    if data.schema.shape[:2] == size:
        return data
    X = np.empty((len(data), *size, *data.schema.shape[2:]), data.X.dtype)
    for position, pixels in enumerate(data.X):
        X[position] = resize_pixels(pixels, size)
    return Dataset(X, data.y, class_names=data.class_names, name=data.name)
