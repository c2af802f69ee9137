"""Rows to measure parity on where a person brings none: rebuilt from codes that heads keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from isthmus.autoencoder import Autoencoder
from isthmus.errors import ExportError
from isthmus.export.instances import as_given
from isthmus.heads import AnomalyDetector
from isthmus.heads.binding import Head

#: So many are rebuilt at most.
MOST_REBUILT = 512


def rebuilt_rows(encoder: Autoencoder, heads: Mapping[str, Head]) -> Any:
    """Return the decoder's reconstructions of codes that the heads keep.

    Raises
    ------
    ExportError
        When no head keeps any code.
    """
    kept = []
    for head in heads.values():
        if isinstance(head, AnomalyDetector):
            kept.append(head.memory_.views.codes)
        elif head.labelled_ is not None:
            kept.append(head.labelled_.codes)
    if not kept:
        raise ExportError(
            "no head of the bundle keeps codes to rebuild rows from, and parity is measured on "
            "rows; pass some: export_bundle(bundle, folder, rows=X), or isthmus export BUNDLE DATA"
        )
    codes = np.concatenate(kept)
    some = np.linspace(0, len(codes) - 1, min(MOST_REBUILT, len(codes))).astype(np.intp)
    return rebuilt(encoder, codes[some])


def rebuilt(encoder: Autoencoder, codes: np.ndarray) -> Any:
    """Return the decoder's reconstructions of codes.

    A bundle keeps codes and never the rows themselves. The reconstructions have the form of
    the person's rows, and values like theirs.
    """
    return as_given(encoder.schema_, encoder.inverse_transform(codes))
