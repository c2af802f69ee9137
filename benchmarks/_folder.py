"""Where benchmark data lies."""

from __future__ import annotations

import os
from pathlib import Path

from isthmus.errors import DataError


def data_folder(given: str | None, name: str) -> Path:
    """Return the folder given, or else `$ISTHMUS_DATA/name`.

    Raises
    ------
    DataError
        When there is neither.
    """
    if given is not None:
        return Path(given)
    if os.environ.get("ISTHMUS_DATA"):
        return Path(os.environ["ISTHMUS_DATA"]) / name
    raise DataError(f"got no folder; pass it, or set ISTHMUS_DATA to where {name}/ lies")
