"""Training by several workers, each a process with a part of every batch."""

from isthmus.workers.batch_norm import shared_batch_norm
from isthmus.workers.group import ALONE, Workers
from isthmus.workers.part import (
    Part,
    bounds,
    current,
    drawn,
    drawn_like,
    evened,
    mine,
    sharing,
    unshared,
    whole,
)

__all__ = [
    "ALONE",
    "Part",
    "Workers",
    "bounds",
    "current",
    "drawn",
    "drawn_like",
    "evened",
    "mine",
    "shared_batch_norm",
    "sharing",
    "unshared",
    "whole",
]
