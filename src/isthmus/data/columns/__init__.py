"""The columns of a table: what each holds, and its values as numbers."""

from isthmus.data.columns.column import Column, check_no_infinity
from isthmus.data.columns.frame import learn_columns, match_columns, read_array, read_frame
from isthmus.data.columns.place import Place, Where
from isthmus.data.columns.recognise import ColumnType, recognise

__all__ = [
    "Column",
    "ColumnType",
    "Place",
    "Where",
    "check_no_infinity",
    "learn_columns",
    "match_columns",
    "read_array",
    "read_frame",
    "recognise",
]
