"""Long tables in files, cut into windows of series as they are read."""

from isthmus.data.stream.cut.reader import WindowReader

__all__ = ["WindowReader"]
