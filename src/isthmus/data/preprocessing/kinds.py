"""The preprocessing that a schema asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from isthmus.data.preprocessing.images import ImagePreprocessor
from isthmus.data.preprocessing.preprocessor import Preprocessor
from isthmus.data.preprocessing.series import SeriesPreprocessor
from isthmus.data.preprocessing.tables import TablePreprocessor
from isthmus.data.schema import Kind, Schema

_OF_KIND: dict[Kind, type[Preprocessor]] = {
    "images": ImagePreprocessor,
    "series": SeriesPreprocessor,
    "table": TablePreprocessor,
}


def learn_preprocessor(X: np.ndarray, schema: Schema) -> Preprocessor:
    """Learn the preprocessing of checked training data of shape `(n, *schema.shape)`."""
    return _OF_KIND[schema.kind].learn(X, schema)


def read_preprocessor(plain: Mapping[str, Any], schema: Schema) -> Preprocessor:
    """Rebuild a preprocessor from what its `to_dict` gave."""
    return _OF_KIND[schema.kind].from_dict(plain, schema)
