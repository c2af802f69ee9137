"""Data larger than memory: files read piece by piece."""

from isthmus.data.stream.part import Part, Piece, Skipped
from isthmus.data.stream.stream import Stream

__all__ = ["Part", "Piece", "Skipped", "Stream"]
