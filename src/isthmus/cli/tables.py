"""Results as files: .npy, .csv or .parquet, whole or not there."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd

from isthmus.data.windows import Windows
from isthmus.errors import DataError
from isthmus.storage import write_bytes


def check_suffix(path: Path, *allowed: str) -> None:
    """Refuse a file type early, before any work is done.

    Raises
    ------
    DataError
        When the path ends in none of `allowed`.
    """
    if path.suffix not in allowed:
        raise DataError(f"got the output {path}, expected a name that ends in {', '.join(allowed)}")


def write_array(
    path: Path, values: np.ndarray, columns: list[str], windows: Windows | None = None
) -> None:
    """Write an array of shape (n, len(columns)), with the names where the format has any.

    Where it has names, columns that say where each window lies come first.
    """
    if path.suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, values, allow_pickle=False)
        write_bytes(path, buffer.getvalue())
    else:
        table = pd.DataFrame(values, columns=columns)
        if windows is not None:
            table = pd.concat([windows.to_frame(), table], axis=1)
        write_table(path, table)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as .csv or .parquet."""
    if path.suffix == ".csv":
        write_bytes(path, table.to_csv(index=False).encode())
        return
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    write_bytes(path, buffer.getvalue())
