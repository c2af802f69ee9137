"""From a person's own units to what a network works on, and back: one file a kind."""

from isthmus.data.preprocessing.base import Preprocessor
from isthmus.data.preprocessing.learn import learn_preprocessor, read_preprocessor

__all__ = ["Preprocessor", "learn_preprocessor", "read_preprocessor"]
