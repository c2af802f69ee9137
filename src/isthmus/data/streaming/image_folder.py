"""A folder of images, a few files at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from isthmus.data.formats import list_images, read_images, train_and_test
from isthmus.data.instances import Chunk
from isthmus.data.streaming.chunks import FileRange
from isthmus.errors import DataError, ShardError

#: Image files in a chunk, at most; one that cannot be read costs the whole chunk when skipped.
MAX_CHUNK_FILES = 1024
_GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F")


class ImageReader:
    """Reads image files of one size; sub-folders are classes (see `load_image_folder`).

    Whether the images are grey or in colour is told from their headers: in colour when one
    of them is not stored as grey. (In memory a palette of nothing but greys counts as grey.)

    Parameters
    ----------
    folder : Path
    resize : (height, width) or None
    """

    kind = "images"
    channels = None

    def __init__(self, folder: Path, resize: tuple[int, int] | None) -> None:
        parts = train_and_test(folder)
        if parts is not None:
            raise DataError(
                f"{folder} holds a training and a test part; read one of them chunk by chunk: "
                f"load({str(parts[0])!r}, lazy=True)"
            )
        self.resize = resize
        self.paths, y = list_images(folder)
        self.y = {} if y is None else dict(zip(map(str, self.paths), y, strict=True))
        self.colour = not all(_is_grey(path) for path in self.paths)
        first = read_images(self.paths[:1], resize)
        self.shape, self.dtype = first.shape[1:3], first.dtype

    @property
    def has_labels(self) -> bool:
        """Whether the folder has classes."""
        return bool(self.y)

    def sources(self) -> list[str]:
        """Return the first file of each chunk."""
        return [str(path) for path in self.paths[::MAX_CHUNK_FILES]]

    def lay_out(self, source: str) -> list[FileRange]:
        """Return the chunk that begins with a file."""
        names = [str(path) for path in self.paths]
        first = names.index(source)
        files = tuple(names[first : first + MAX_CHUNK_FILES])
        return [FileRange(files, (), 0, len(files))]

    def read(self, file_range: FileRange, label: bool, keys: bool) -> Chunk:
        """Read the files of a chunk."""
        try:
            X = read_images([Path(file) for file in file_range.files], self.resize)
        except DataError as error:
            if not Path(file_range.files[0]).exists():
                raise
            raise ShardError(str(error)) from error
        if X.shape[1:3] != self.shape or X.dtype != self.dtype:
            raise ShardError(
                f"{file_range.files[0]} is {X.shape[1]}x{X.shape[2]} {X.dtype}, and the first "
                f"image {self.shape[0]}x{self.shape[1]} {self.dtype}; pass resize="
                f"{(self.shape[0], self.shape[1])}, on the command line --resize "
                f"{self.shape[0]}x{self.shape[1]}"
            )
        if self.colour and X.ndim == 3:
            X = np.repeat(X[..., None], 3, axis=-1)
        y = np.array([self.y[file] for file in file_range.files]) if label and self.y else None
        return Chunk(0, X, y)

    def key_types(self) -> dict[str, Any]:
        """Return nothing: images have no columns."""
        return {}

    def stamp(self, source: str) -> dict[str, Any]:
        """Return size and time of the first file of a chunk."""
        found = Path(source).stat()
        return {"size": found.st_size, "modified": found.st_mtime}

    def describe(self) -> str:
        """Return what an image looks like."""
        sides = "x".join(map(str, self.shape)) + ("x3" if self.colour else "")
        return f"images of {sides} {self.dtype}"


def _is_grey(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            return image.mode in _GREY
    except Exception:
        return True  # told when it is read
