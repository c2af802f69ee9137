"""Training by several workers, each a process with a part of every batch."""

from isthmus.workers.batch_norm import shared_batch_norm
from isthmus.workers.exchange import exchange
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
from isthmus.workers.side import side_group
from isthmus.workers.together import Gathered, made_by_first, made_together
from isthmus.workers.waiting import Needless

__all__ = [
    "ALONE",
    "Gathered",
    "Needless",
    "Part",
    "Workers",
    "bounds",
    "current",
    "drawn",
    "drawn_like",
    "evened",
    "exchange",
    "made_by_first",
    "made_together",
    "mine",
    "shared_batch_norm",
    "sharing",
    "side_group",
    "unshared",
    "whole",
]
