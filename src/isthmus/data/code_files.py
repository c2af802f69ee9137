"""Codes that `isthmus encode` wrote, read again: all, or as many as a head takes."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from isthmus.data.codes import ENTRY, RESIDUAL, ROW_HASH, StoredCodes
from isthmus.data.formats import arrow_to_frame
from isthmus.data.instances import draw_rows
from isthmus.data.labels import MISSING, as_labels
from isthmus.errors import DataError

#: Rows that are read, at most: as many as heads take of a stream.
MOST_READ = 100_000
#: Rows looked at in one go.
BATCH = 16_384
MANIFEST = "_manifest.json"


def is_stored_codes(source: Any) -> bool:
    """Return whether a path is of codes that `isthmus encode` wrote."""
    if not isinstance(source, str | Path) or "://" in str(source):
        return False
    try:
        return _facts(Path(source).expanduser()).get("what") == "encode"
    except (OSError, ValueError, TypeError, KeyError):
        return False


def load_codes(
    source: str | Path,
    *,
    label: str | None = None,
    labels: pd.DataFrame | None = None,
    random_state: int = 0,
) -> StoredCodes:
    """Read codes that `isthmus encode` wrote, to fit heads on them without the instances.

    `CodeClassifier` and `AnomalyDetector` on the same encoder take what is returned wherever they
    take instances. Of more than 100,000 rows so many are drawn at random; a file at a time is
    looked at.

    Parameters
    ----------
    source : path
        The folder or `.parquet` file. Detectors need codes that were written with `--for-heads`.
    label : str, optional
        Column of the labels.
    labels : DataFrame, optional
        Labels that came later: the column `label`, and the key columns of the codes that it has
        too, such as `id` or `row`. Only rows that have a label in it are read.
    random_state : int, default=0
        By which rows are drawn.

    Returns
    -------
    StoredCodes

    Raises
    ------
    DataError
        When there are no codes, or not all yet; when a column is missing; when the labels are of
        no row, or two of them are of one.

    Warns
    -----
    UserWarning
        When some of `labels` are of rows that are not there.

    Examples
    --------
    >>> import tempfile
    >>> from isthmus import AnomalyDetector, Autoencoder, load, load_codes
    >>> from isthmus.scoring.scorer import score
    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame(rng.normal(size=(500, 3)), columns=["a", "b", "c"])
    >>> encoder = Autoencoder(2, max_epochs=2, random_state=0).fit(X[:200])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     encoder.save(f"{folder}/press")
    ...     X[200:].assign(id=range(300)).to_parquet(f"{folder}/new.parquet")
    ...     stream = load(f"{folder}/new.parquet", lazy=True, keys=["id"])
    ...     facts = score(
    ...         f"{folder}/press", stream, f"{folder}/codes", what="encode", for_heads=True
    ...     )
    ...     codes = load_codes(f"{folder}/codes")
    >>> codes.codes.shape, codes.residuals.shape
    ((300, 2), (300, 3))
    >>> detector = AnomalyDetector(encoder, false_alarm_rate=0.05, random_state=0).fit(codes)
    >>> detector.n_calibration_, detector.predict(X).shape
    (300, (500,))
    """
    path = Path(source).expanduser()
    facts, files = _opened(path)
    there, n_rows = _there(files)
    if labels is None:
        if label is not None and label not in there:
            raise DataError(
                f"{path} has no column {label!r}; it has {_told(there)}: encode with --label "
                f"{label}, or pass labels of your own with the key columns beside them"
            )
        rows, y = draw_rows(n_rows, MOST_READ, random_state), None
    else:
        rows, y = _labelled(path, files, there, label, labels, random_state)
    names = [name for name in (*facts["codes"], ROW_HASH, RESIDUAL) if name in there]
    own = [label] if label is not None and labels is None and label not in names else []
    taken = _take(files, [*names, *own], rows)
    if own:
        y = as_labels(arrow_to_frame(taken.select(own))[own[0]])
    return StoredCodes(
        np.column_stack([taken[name].to_numpy() for name in facts["codes"]]),
        facts["encoder"],
        facts["identity"],
        taken[ROW_HASH].to_numpy() if ROW_HASH in names else None,
        _lists(taken[RESIDUAL]) if RESIDUAL in names else None,
        y,
        str(path),
    )


def _facts(path: Path) -> dict[str, Any]:
    """Return what the codes' manifest or footer says of them; empty for anything else."""
    if path.is_dir():
        told = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        return dict(told["run"], finished=told["finished"])
    if path.suffix.lower() not in (".parquet", ".pq"):
        return {}
    told = (pq.read_metadata(path).metadata or {}).get(ENTRY, b"{}")
    return dict(json.loads(told))


def _opened(path: Path) -> tuple[dict[str, Any], list[Path]]:
    if not path.exists():
        raise DataError(f"{path} does not exist; see that the path is right")
    if not is_stored_codes(path):
        raise DataError(
            f"{path} does not say of which encoder its codes are, expected what isthmus encode "
            "wrote as .parquet, as it was written; encode again"
        )
    facts = _facts(path)
    if "identity" not in facts:
        raise DataError(
            f"{path} was written by an earlier isthmus, which did not say enough of the encoder; "
            "encode again"
        )
    if not facts.get("finished", True):
        raise DataError(f"{path} is not finished; run isthmus encode again with --resume first")
    files = sorted(path.glob("part-*.parquet")) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path} holds no parts; encode again")
    return facts, files


def _there(files: Sequence[Path]) -> tuple[list[str], int]:
    """Return the columns of the first file, and the rows of all."""
    n_rows = 0
    for path in files:
        with _open(path) as file:
            n_rows += file.metadata.num_rows
    with _open(files[0]) as first:
        return list(first.schema_arrow.names), n_rows


def _labelled(
    path: Path,
    files: Sequence[Path],
    there: Sequence[str],
    label: str | None,
    labels: pd.DataFrame,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the rows that have a label, and the labels."""
    if label is None or label not in labels.columns:
        raise DataError(
            f"got labels with the columns {_told(labels.columns)} and label={label!r}, expected "
            "the name of one of them"
        )
    keys = [name for name in labels.columns if name in there and name != label]
    if not keys:
        raise DataError(
            f"the labels have no key column of {path}; expected some of {_told(there)} beside "
            f"{label!r} (encode with --key for columns of your own)"
        )
    known = labels[MISSING.has_label(labels[label])]
    # An Index of one column, a MultiIndex of several.
    index = known.set_index(keys).index
    if not index.is_unique:
        raise DataError(
            f"the labels have {int(index.duplicated().sum())} rows whose {', '.join(keys)} stood "
            "there before; leave one label for each row"
        )
    rows, places, first = [], [], 0
    for batch in _batches(files, keys):
        at = index.get_indexer(arrow_to_frame(batch).set_index(keys).index)
        found = np.flatnonzero(at >= 0)
        rows.append(first + found)
        places.append(at[found])
        first += batch.num_rows
    all_rows, all_places = np.concatenate(rows), np.concatenate(places)
    lost = len(known) - len(np.unique(all_places))
    if not len(all_rows):
        raise DataError(
            f"none of {len(known):,} labels is of a row of {path}; see that {', '.join(keys)} "
            "means the same in both"
        )
    if lost:
        warnings.warn(
            f"{lost:,} of {len(known):,} labels are of rows that are not in {path}", stacklevel=3
        )
    kept = draw_rows(len(all_rows), MOST_READ, seed)
    return all_rows[kept], as_labels(known[label])[all_places[kept]]


def _take(files: Sequence[Path], names: Sequence[str], rows: np.ndarray) -> pa.Table:
    """Return some rows, by sorted numbers that count through all files."""
    taken, first = [], 0
    for batch in _batches(files, names):
        begin, end = np.searchsorted(rows, [first, first + batch.num_rows])
        if end > begin:
            taken.append(batch.take(pa.array(rows[begin:end] - first)))
        first += batch.num_rows
    return pa.concat_tables(taken)


def _batches(files: Sequence[Path], names: Sequence[str]) -> Iterator[pa.Table]:
    for path in files:
        with _open(path) as file:
            for batch in file.iter_batches(BATCH, columns=list(names)):
                yield pa.Table.from_batches([batch]).replace_schema_metadata(None)


@contextmanager
def _open(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"cannot read {path}: {reason}; encode again") from error


def _lists(column: pa.ChunkedArray) -> np.ndarray:
    flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate(flat).reshape(len(column), -1)


def _told(names: Any) -> str:
    shown = [str(name) for name in names]
    return ", ".join(shown[:10]) + (f" and {len(shown) - 10} more" if len(shown) > 10 else "")
