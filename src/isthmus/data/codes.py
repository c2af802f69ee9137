"""Stored codes with the identity of their encoder; heads are fitted on them as on instances."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np
import pandas as pd
import pyarrow as pa

from isthmus._core import parquet_file, reading
from isthmus.data.containers import arrow_to_frame
from isthmus.data.instances import Chunk, Instances
from isthmus.data.labels import MISSING, labels_from_text
from isthmus.data.places import draw_rows
from isthmus.errors import DataError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

    from isthmus.data.schema import Schema

#: Columns written beside the codes for detectors; the last one for tables only.
ROW_HASH, RESIDUAL, MISSING_FLAGS = "row_hash", "residual", "missing_values"
#: Key in the metadata of a Parquet file; its value is a JSON object.
METADATA_KEY = b"isthmus"
#: Number of rows read at most, the same as heads use of a stream.
MAX_ROWS = 100_000
#: Rows read at a time.
BATCH_ROWS = 16_384
MANIFEST = "_manifest.json"


@dataclass(frozen=True, eq=False, repr=False)
class StoredCodes(Instances):
    """Codes of n instances and the identity of their encoder; heads accept them as instances.

    Attributes
    ----------
    codes : float32 array of shape (n, n_components)
    digest, identity : str
        Digest and identity of the encoder, see `isthmus.encoding.encoder_identity`. A head on
        another encoder refuses the codes.
    hashes : uint64 array of shape (n,) or None
        Row hashes, by which an instance is recognised.
    residuals : float32 array of shape (n, k) or None
        Residuals, as in `isthmus.detection.Features`.
    y : array of shape (n,) or None
        Labels, unchanged.
    name : str
        Source, for messages.
    missing : boolean array of shape (n, m) or None
        Which values of the rows of a table are missing; None where that was not stored.

    Raises
    ------
    DataError
        When they are converted to an array, as they are no instances.

    Examples
    --------
    >>> stored = StoredCodes(np.zeros((3, 2), np.float32), "digest", "identity")
    >>> stored, len(stored[1:]), len(stored.take(np.array([0, 2])))
    (StoredCodes('codes', 3 of 2 numbers), 2, 2)
    >>> stored.check_made_by("digest", lambda: "identity")
    >>> stored.codes_by(None).shape, stored.to_arrow(["code 0", "code 1"]).num_rows
    ((3, 2), 3)
    >>> full = replace(stored, hashes=np.arange(3, dtype=np.uint64), residuals=np.ones((3, 4)))
    >>> full.row_hashes().tolist(), full.stored_residuals().shape
    ([0, 1, 2], (3, 4))
    """

    codes: np.ndarray
    digest: str
    identity: str
    hashes: np.ndarray | None = None
    residuals: np.ndarray | None = None
    y: np.ndarray | None = None
    name: str = "codes"
    missing: np.ndarray | None = None
    encoded: ClassVar[bool] = True

    def __repr__(self) -> str:
        n, width = self.codes.shape
        optional = {"row hashes": self.hashes, "residuals": self.residuals, "labels": self.y}
        present = [name for name, values in optional.items() if values is not None]
        suffix = f", with {', '.join(present)}" if present else ""
        return f"StoredCodes({self.name!r}, {n:,} of {width} numbers{suffix})"

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: Any) -> StoredCodes:
        """Return the instances at these row numbers, an array or a slice."""
        return replace(
            self,
            codes=self.codes[rows],
            hashes=None if self.hashes is None else self.hashes[rows],
            residuals=None if self.residuals is None else self.residuals[rows],
            y=None if self.y is None else self.y[rows],
            missing=None if self.missing is None else self.missing[rows],
        )

    @property
    def held(self) -> StoredCodes:
        """The object handed over, unchanged."""
        return self

    @property
    def values(self) -> np.ndarray:
        """The codes as an array."""
        return self.codes

    @property
    def labels(self) -> np.ndarray | None:
        """Labels, unchanged."""
        return self.y

    @property
    def has_row_hashes(self) -> bool:
        """Whether row hashes were stored."""
        return self.hashes is not None

    def take(self, rows: np.ndarray, *, label: bool = True, schema: Schema | None = None) -> Chunk:
        """Return rows by their numbers, with their hashes, residuals and labels.

        Parameters
        ----------
        rows, label, schema
            As for `Stream.take`; codes have no schema.

        Returns
        -------
        Chunk
        """
        selected = self[rows]
        return Chunk(0, selected, selected.y if label else None)

    def codes_by(self, encode: Callable[[Any], np.ndarray]) -> np.ndarray:  # noqa: D102
        return self.codes

    def row_hashes(  # noqa: D102
        self, hash_rows: Callable[[Any], np.ndarray] | None = None
    ) -> np.ndarray:
        return self._stored("row hashes", self.hashes)

    def stored_residuals(self) -> np.ndarray:
        """Return the stored residuals, float32 of shape (n, k).

        Returns
        -------
        float32 array of shape (n, k)

        Raises
        ------
        DataError
            When they were not stored.
        """
        return self._stored("residuals", self.residuals)

    def check_made_by(self, digest: str | None, identity: Callable[[], str]) -> None:
        """Check that the codes are those of an encoder.

        Parameters
        ----------
        digest : str or None
            Digest of the encoder; None when it is not fitted.
        identity : callable

        Raises
        ------
        DataError
            When the encoder is not fitted, or has other weights or other preprocessing.
        """
        if digest is None:
            raise DataError(
                f"{self.name} holds codes, and an encoder that is not fitted learns from "
                "instances; pass those, or the encoder that made the codes"
            )
        if self.digest != digest:
            raise DataError(
                f"{self.name} holds codes of another encoder (digest {self.digest[:12]}, expected "
                f"{digest[:12]}); encode the instances again with this one"
            )
        if self.identity != identity():
            raise DataError(
                f"{self.name} holds codes of another encoder: the weights are the same, the "
                "preprocessing is not; encode the instances again with this one"
            )

    def _stored(self, name: str, values: np.ndarray | None) -> np.ndarray:
        if values is None:
            raise DataError(
                f"{self.name} holds codes without {name}, expected those beside them; encode the "
                "instances again with --for-heads (in Python score(..., what='encode', "
                "for_heads=True))"
            )
        return values

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise DataError(
            f"{self.name} holds codes, and this needs the instances themselves; pass those (the "
            "codes as an array are the attribute codes)"
        )

    def to_arrow(self, names: Sequence[str], beside: pd.DataFrame | None = None) -> pa.Table:
        """Return a table with the identity of the encoder in its metadata.

        Parameters
        ----------
        names : sequence of str
        beside : DataFrame of n rows, optional
            Columns to put in front, such as labels.

        Returns
        -------
        pyarrow.Table

        Raises
        ------
        DataError
            When a column of `beside` has the name of one of the other columns.
        """
        columns: dict[str, Any] = {}
        if beside is not None:
            front = pa.Table.from_pandas(beside, preserve_index=False)
            columns |= dict(zip(front.column_names, front.columns, strict=True))
        written = [*names, ROW_HASH, RESIDUAL, *([] if self.missing is None else [MISSING_FLAGS])]
        clashes = [name for name in written if name in columns]
        if clashes:
            raise DataError(
                f"the column {clashes[0]!r} has the name of a column of the codes; give it another "
                "name in the data"
            )
        columns |= dict(zip(names, self.codes.T, strict=True))
        if self.hashes is not None:
            columns[ROW_HASH] = self.hashes
        if self.residuals is not None:
            columns[RESIDUAL] = rows_to_arrow(self.residuals)
        if self.missing is not None:
            columns[MISSING_FLAGS] = rows_to_arrow(self.missing)
        facts = codes_facts(self.digest, self.identity, names)
        return pa.table(columns, metadata={METADATA_KEY: json.dumps(facts).encode()})


def codes_facts(digest: str, identity: str, names: Sequence[str]) -> dict[str, Any]:
    """Return the metadata of stored codes for a file or manifest, as plain values."""
    return {"what": "encode", "encoder": digest, "identity": identity, "codes": list(names)}


def rows_to_arrow(values: np.ndarray) -> pa.Array:
    """Return an array of shape (n, k) as a column of n lists."""
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def is_stored_codes(source: Any) -> bool:
    """Return whether a path holds codes that `isthmus encode` wrote."""
    if not isinstance(source, str | Path) or "://" in str(source):
        return False
    try:
        return _metadata(Path(source).expanduser()).get("what") == "encode"
    except (DataError, OSError, ValueError, TypeError, KeyError):
        return False


def load_codes(
    source: str | Path,
    *,
    label: str | None = None,
    labels: pd.DataFrame | None = None,
    random_state: int = 0,
) -> StoredCodes:
    """Read codes that `isthmus encode` wrote, to fit heads on them without the instances.

    `CodeClassifier` and `AnomalyDetector` on the same encoder accept the result wherever they
    accept instances. Of more than 100,000 rows, 100,000 are drawn at random. Files are read one
    at a time.

    Parameters
    ----------
    source : path
        The folder or `.parquet` file. Detectors need codes that were written with `--for-heads`.
    label : str, optional
        Column of the labels.
    labels : DataFrame, optional
        Labels in a table of their own: the column `label`, and one or more key columns of the
        codes, such as `id` or `row`. Only rows with a label in this table are read.
    random_state : int, default=0
        Seed of the draw of rows.

    Returns
    -------
    StoredCodes

    Raises
    ------
    DataError
        When there are no codes, or they are not complete; when a column is missing; when no
        label belongs to a row, or two labels have the same keys.

    Warns
    -----
    UserWarning
        When some of `labels` belong to no row.

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
    with reading(path, fix="encode again"):
        return _load_codes(path, label, labels, random_state)


def _load_codes(
    path: Path, label: str | None, labels: pd.DataFrame | None, random_state: int
) -> StoredCodes:
    facts, files = _metadata_and_files(path)
    columns, n_rows = _columns_and_row_count(files)
    if labels is None:
        if label is not None and label not in columns:
            raise DataError(
                f"{path} has no column {label!r}; it has {_name_list(columns)}: encode with "
                f"--label {label}, or pass labels of your own with the key columns beside them"
            )
        rows, y = draw_rows(n_rows, MAX_ROWS, random_state), None
    else:
        rows, y = _labelled_rows(path, files, columns, label, labels, random_state)
    optional = (ROW_HASH, RESIDUAL, MISSING_FLAGS)
    names = [name for name in (*facts["codes"], *optional) if name in columns]
    label_column = [label] if label is not None and labels is None and label not in names else []
    table = _take_rows(files, [*names, *label_column], rows)
    if label_column:
        y = labels_from_text(arrow_to_frame(table.select(label_column))[label_column[0]])
    return StoredCodes(
        np.column_stack([table[name].to_numpy() for name in facts["codes"]]),
        facts["encoder"],
        facts["identity"],
        table[ROW_HASH].to_numpy() if ROW_HASH in names else None,
        _from_lists(table[RESIDUAL]) if RESIDUAL in names else None,
        y,
        str(path),
        _from_lists(table[MISSING_FLAGS]) if MISSING_FLAGS in names else None,
    )


def _metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of stored codes from the manifest or footer; empty for other files."""
    with reading(path, fix="encode again"):
        if path.is_dir():
            manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            return dict(manifest["run"], finished=manifest["finished"])
        if path.suffix.lower() not in (".parquet", ".pq"):
            return {}
        with parquet_file(path) as file:
            entry = (file.metadata.metadata or {}).get(METADATA_KEY, b"{}")
        return dict(json.loads(entry))


def _metadata_and_files(path: Path) -> tuple[dict[str, Any], list[Path]]:
    if not path.exists():
        raise DataError(f"{path} does not exist; see that the path is right")
    if not is_stored_codes(path):
        raise DataError(
            f"{path} does not say of which encoder its codes are, expected what isthmus encode "
            "wrote as .parquet, as it was written; encode again"
        )
    facts = _metadata(path)
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


def _columns_and_row_count(files: Sequence[Path]) -> tuple[list[str], int]:
    """Return the columns of the first file, and the rows of all."""
    n_rows = 0
    for path in files:
        with _open(path) as file:
            n_rows += file.metadata.num_rows
    with _open(files[0]) as first:
        return list(first.schema_arrow.names), n_rows


def _labelled_rows(
    path: Path,
    files: Sequence[Path],
    columns: Sequence[str],
    label: str | None,
    labels: pd.DataFrame,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the rows that have a label, and the labels."""
    if label is None or label not in labels.columns:
        raise DataError(
            f"got labels with the columns {_name_list(labels.columns)} and label={label!r}, "
            "expected the name of one of them"
        )
    keys = [name for name in labels.columns if name in columns and name != label]
    if not keys:
        raise DataError(
            f"the labels have no key column of {path}; expected some of {_name_list(columns)} "
            f"beside {label!r} (encode with --key for columns of your own)"
        )
    labelled = labels[MISSING.has_label(labels[label])]
    # An Index of one column, a MultiIndex of several.
    index = labelled.set_index(keys).index
    if not index.is_unique:
        raise DataError(
            f"the labels have {int(index.duplicated().sum())} rows whose {', '.join(keys)} stood "
            "there before; leave one label for each row"
        )
    rows, positions, first_row = [], [], 0
    for batch in _batches(files, keys):
        position = index.get_indexer(arrow_to_frame(batch, exact=keys).set_index(keys).index)
        rows.append(first_row + (found := np.flatnonzero(position >= 0)))
        positions.append(position[found])
        first_row += batch.num_rows
    all_rows, all_positions = np.concatenate(rows), np.concatenate(positions)
    n_unmatched = len(labelled) - len(np.unique(all_positions))
    if not len(all_rows):
        raise DataError(
            f"none of {len(labelled):,} labels is of a row of {path}; see that {', '.join(keys)} "
            "means the same in both"
        )
    if n_unmatched:
        warnings.warn(
            f"{n_unmatched:,} of {len(labelled):,} labels are of rows that are not in {path}",
            stacklevel=3,
        )
    drawn = draw_rows(len(all_rows), MAX_ROWS, seed)
    return all_rows[drawn], labels_from_text(labelled[label])[all_positions[drawn]]


def _take_rows(files: Sequence[Path], names: Sequence[str], rows: np.ndarray) -> pa.Table:
    """Return the rows with these sorted numbers, counted through all files."""
    tables, first_row = [], 0
    for batch in _batches(files, names):
        begin, end = np.searchsorted(rows, [first_row, first_row + batch.num_rows])
        if end > begin:
            tables.append(batch.take(pa.array(rows[begin:end] - first_row)))
        first_row += batch.num_rows
    return pa.concat_tables(tables)


def _batches(files: Sequence[Path], names: Sequence[str]) -> Iterator[pa.Table]:
    for path in files:
        with _open(path) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=list(names)):
                yield pa.Table.from_batches([batch]).replace_schema_metadata(None)


@contextmanager
def _open(path: Path) -> Iterator[pq.ParquetFile]:
    with reading(path, fix="encode again"), parquet_file(path) as file:
        yield file


def _from_lists(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of n lists as an array of shape (n, k)."""
    flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate(flat).reshape(len(column), -1)


def _name_list(names: Any) -> str:
    shown = [str(name) for name in names]
    return ", ".join(shown[:10]) + (f" and {len(shown) - 10} more" if len(shown) > 10 else "")
