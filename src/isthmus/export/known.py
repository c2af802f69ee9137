"""Known instances beside a graph, to find what a new one is near to. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import numpy as np

from isthmus.data.schema import Schema
from isthmus.errors import ExportError
from isthmus.export.inputs import ALL, feed, inputs_of
from isthmus.export.instances import plain_instances

KNOWN = "known.npz"


@dataclass(frozen=True, eq=False)
class Known:
    """Codes, labels and instances that a new one may be compared with.

    Attributes
    ----------
    codes : float32 array of shape (k, n_components)
    labels : array of text, shape (k,)
        "" where there is none.
    instances : array of shape (k, *shape), or of text, shape (k,)
        As the graph takes them; of a table with names a JSON object a row, see
        `isthmus.export.instances.plain_instances`.
    rebuilt : bool
        Whether the instances are reconstructions of codes, and no row of the person's.
    """

    codes: np.ndarray
    labels: np.ndarray
    instances: np.ndarray
    rebuilt: bool

    @classmethod
    def of(
        cls, schema: Schema, X: Any, codes: np.ndarray, labels: Sequence[str], *, rebuilt: bool
    ) -> Self:
        """Put instances into the form that is kept."""
        if schema.kind == "table" and schema.columns is not None:
            kept = np.array(
                [json.dumps(row, allow_nan=False) for row in plain_instances(schema, X)]
            )
        else:
            kept = feed(schema, inputs_of(schema), X)[ALL]
        return cls(codes.astype(np.float32), np.array(labels, dtype=np.str_), kept, rebuilt)

    def __len__(self) -> int:
        return len(self.codes)

    def to_dict(self) -> dict[str, Any]:
        """Return what metadata and service say: how many, and whether rebuilt."""
        return {"n": len(self), "rebuilt": self.rebuilt}

    def plain(self, at: int) -> Any:
        """Return one instance as plain values, as `POST /predict` takes it."""
        if self.instances.dtype.kind == "U":
            return json.loads(str(self.instances[at]))
        return self.instances[at].tolist()

    def label(self, at: int) -> str | None:
        """Return the label of one, None where there is none."""
        return str(self.labels[at]) or None

    def to_bytes(self, digest: str) -> bytes:
        """Return the file's content, with the digest of the encoder that gave the codes."""
        file = BytesIO()
        np.savez_compressed(
            file,
            codes=self.codes,
            labels=self.labels,
            instances=self.instances,
            rebuilt=np.array(self.rebuilt),
            digest=np.array(digest),
        )
        return file.getvalue()


def known_beside(model: Path, facts: Mapping[str, Any], schema: Schema) -> Known | None:
    """Return the known instances that lie beside a graph; None where there are none.

    Parameters
    ----------
    model : path
        The graph's file.
    facts : mapping
        Its metadata.
    schema : Schema

    Raises
    ------
    ExportError
        When the file is damaged, or belongs to another graph.
    """
    file = model.with_name(KNOWN)
    # What another export has left there is none of this graph's.
    if not facts.get("known") or not file.is_file():
        return None
    try:
        with np.load(BytesIO(file.read_bytes()), allow_pickle=False) as found:
            parts = {name: found[name] for name in ("codes", "labels", "instances", "rebuilt")}
            digest = str(found["digest"])
        known = Known(**parts | {"rebuilt": bool(parts["rebuilt"])})
        _check(known, facts, schema)
        if digest != facts["digest"]:
            raise ValueError("its codes are of another encoder")
    except Exception as error:  # a damaged archive raises errors of many kinds
        raise ExportError(
            f"{file} is damaged, or does not belong to {model.name} beside it "
            f"({(str(error) or type(error).__name__).splitlines()[0][:200]}); export the bundle "
            "again, or delete it"
        ) from error
    return known


def spread(groups: Sequence[Hashable], n: int, seed: int = 0) -> np.ndarray:
    """Choose n places such that every group has as many as any other, as far as it reaches.

    Parameters
    ----------
    groups : sequence of k
        Which group each place is of.
    n : int
    seed : int, default=0
        By which places are drawn within a group.

    Returns
    -------
    integer array of shape (min(n, k),)
        In their order.

    Examples
    --------
    >>> spread(["rare", "often", "often", "often", "rare", "once"], 5).tolist()
    [0, 2, 3, 4, 5]
    """
    drawn = np.random.default_rng(seed).permutation(len(groups))
    turns: dict[Hashable, int] = {}
    turn = np.empty(len(groups), dtype=np.intp)
    for at in drawn:
        turn[at] = turns.get(groups[at], 0)
        turns[groups[at]] = int(turn[at]) + 1
    return np.sort(drawn[np.argsort(turn[drawn], kind="stable")[:n]])


def _check(known: Known, facts: Mapping[str, Any], schema: Schema) -> None:
    """Check that all is of one length and of the graph's shapes."""
    (code,) = (one["shape"] for one in facts["outputs"] if one["what"] == "code")
    n = facts["known"]["n"]
    if known.codes.shape != (n, *code) or not np.isfinite(known.codes).all():
        raise ValueError(f"codes of shape {known.codes.shape}, expected {(n, *code)}, finite")
    if known.labels.shape != (n,) or known.labels.dtype.kind != "U":
        raise ValueError(f"labels of shape {known.labels.shape}, expected text, {(n,)}")
    named = schema.kind == "table" and schema.columns is not None
    shape = (n,) if named else (n, *schema.shape)
    if known.instances.shape != shape or known.instances.dtype.kind not in ("U" if named else "fu"):
        raise ValueError(f"instances of shape {known.instances.shape}, expected {shape}")
    if named and any(list(known.plain(at)) != list(schema.columns or ()) for at in range(n)):
        raise ValueError("rows of other columns")
