"""A way between the workers beside the one that gradients take."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from torch import distributed

#: How long a worker waits for the others before it gives up. The longest waits are for the
#: slowest to read its data, and for the first to write a checkpoint.
TIMEOUT = timedelta(minutes=10)

_known: dict[str, Any] = {}


def side_group() -> distributed.ProcessGroup:
    """Return a group of all workers for what does not belong to a training step.

    All must ask for it the first time at the same point. It moves what is in a machine's memory,
    and another thread than the one that trains may use it.
    """
    world = distributed.group.WORLD
    if _known.get("of") is not world:
        _known.update(of=world, group=distributed.new_group(backend="gloo", timeout=TIMEOUT))
    return _known["group"]
