"""A name, a path or an array in; a data set with a schema out."""

from isthmus.data.code_files import load_codes
from isthmus.data.codes import StoredCodes
from isthmus.data.dataset import Dataset, Splits
from isthmus.data.fingerprint import fingerprint
from isthmus.data.load import load
from isthmus.data.schema import Schema
from isthmus.data.stream import Stream

__all__ = [
    "Dataset",
    "Schema",
    "Splits",
    "StoredCodes",
    "Stream",
    "fingerprint",
    "load",
    "load_codes",
]
