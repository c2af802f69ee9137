"""Stored codes with the identity of their encoder; heads are fitted on them as on instances."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np
import pandas as pd
import pyarrow as pa

from isthmus.data.instances import Chunk, Instances
from isthmus.errors import DataError

if TYPE_CHECKING:
    from isthmus.data.schema import Schema

#: Columns written beside the codes for detectors; the last one for tables only.
ROW_HASH, RESIDUAL, MISSING_FLAGS = "row_hash", "residual", "missing_values"
#: Key in the metadata of a Parquet file; its value is a JSON object.
METADATA_KEY = b"isthmus"


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
        Residuals, as in `isthmus.detection.features.Features`.
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
    `isthmus.load_codes` reads them from files.

    >>> stored = StoredCodes(np.zeros((3, 2), np.float32), "digest", "identity")
    >>> stored, len(stored[1:])
    (StoredCodes('codes', 3 of 2 numbers), 2)
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
        """Return rows by their numbers, with their hashes, residuals and labels."""
        selected = self[rows]
        return Chunk(0, selected, selected.y if label else None)

    def codes_by(self, encode: Callable[[Any], np.ndarray]) -> np.ndarray:
        """Return the stored codes; nothing is encoded."""
        return self.codes

    def row_hashes(self, hash_rows: Callable[[Any], np.ndarray] | None = None) -> np.ndarray:
        """Return the stored row hashes, uint64 of shape (n,).

        Raises
        ------
        DataError
            When they were not stored.
        """
        return self._stored("row hashes", self.hashes)

    def stored_residuals(self) -> np.ndarray:
        """Return the stored residuals, float32 of shape (n, k).

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
            Returns the identity of the encoder.

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
            Names of the columns of the code.
        beside : DataFrame of n rows, optional
            Columns to put in front, such as labels.

        Raises
        ------
        DataError
            When a column of `beside` has the name of one of the other columns.
        """
        columns: dict[str, Any] = {}
        if beside is not None:
            front = pa.Table.from_pandas(beside, preserve_index=False)
            columns |= dict(zip(front.column_names, front.columns, strict=True))
        written = [*names, ROW_HASH, RESIDUAL]
        written += [] if self.missing is None else [MISSING_FLAGS]
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
