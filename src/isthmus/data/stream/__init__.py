"""Data larger than memory: files read piece by piece."""

from isthmus.data.instances import Piece
from isthmus.data.stream.part import Part, Skipped
from isthmus.data.stream.stream import Stream

__all__ = ["Part", "Piece", "Skipped", "Stream"]
