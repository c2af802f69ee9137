"""Rows that workers read, each some of them, brought to the workers that train on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import distributed

from isthmus.workers.side import side_group


def exchange(parcels: Sequence[np.ndarray], counts: Sequence[int]) -> np.ndarray:
    """Send each worker the rows that are for it, and return those that came from all.

    Parameters
    ----------
    parcels : sequence of arrays of shape (k_i, ...)
        For each worker, this one too, in the order of their ranks; of one dtype and row shape.
    counts : sequence of int
        How many rows each worker sends to this one.

    Returns
    -------
    array of shape (sum(counts), ...)
        In the order of the ranks.
    """
    like = parcels[0]
    # As bytes: gloo sums no integers of 16 bits, but what it only carries may be anything.
    sent = torch.from_numpy(np.concatenate([_as_bytes(rows) for rows in parcels]))
    got = torch.empty((sum(counts), sent.shape[1]), dtype=torch.uint8)
    lengths = [len(rows) for rows in parcels]
    distributed.all_to_all_single(got, sent, list(counts), lengths, group=side_group())
    return got.numpy().view(like.dtype).reshape(-1, *like.shape[1:])


def _as_bytes(rows: np.ndarray) -> np.ndarray:
    n_bytes = rows.itemsize * int(np.prod(rows.shape[1:]))
    return np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), n_bytes)
