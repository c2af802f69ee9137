"""Results as files: .npy, .csv or .parquet, whole or not there."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from isthmus.data.codes import StoredCodes
from isthmus.data.windows import Windows
from isthmus.errors import DataError
from isthmus.storage import refuse_address, write_bytes


def check_suffix(path: Path, *allowed: str) -> None:
    """Refuse a file type early, before any work is done.

    Raises
    ------
    DataError
        When the path ends in none of `allowed`, or is an address.
    """
    refuse_address(path)
    if path.suffix not in allowed:
        raise DataError(f"got the output {path}, expected a name that ends in {', '.join(allowed)}")


def write_codes(
    path: Path,
    stored: StoredCodes,
    columns: list[str],
    windows: Windows | None,
    beside: Mapping[str, Any],
) -> None:
    """Write codes, with the names of their columns where the format has any.

    Where it has names, columns that say where each window lies come first, then those `beside`.
    Parquet says of which encoder the codes are, too.
    """
    if path.suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, stored.codes, allow_pickle=False)
        write_bytes(path, buffer.getvalue())
        return
    front = pd.DataFrame(beside, index=pd.RangeIndex(len(stored)))
    if windows is not None:
        front = pd.concat([windows.to_frame(), front], axis=1)
    if path.suffix == ".csv":
        codes = pd.DataFrame(stored.codes, columns=columns)
        write_table(path, pd.concat([front, codes], axis=1))
        return
    sink = io.BytesIO()
    pq.write_table(stored.to_arrow(columns, front), sink)
    write_bytes(path, sink.getvalue())


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as .csv or .parquet."""
    if path.suffix == ".csv":
        write_bytes(path, table.to_csv(index=False).encode())
        return
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    write_bytes(path, buffer.getvalue())
