"""What the first worker does for all, while the others wait for as long as it takes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import distributed

from isthmus.workers.group import Workers
from isthmus.workers.side import side_group

#: Seconds after which the first worker tells those who wait that it is still there.
_STILL_THERE = 30.0

T = TypeVar("T")


def made_by_first(workers: Workers, make: Callable[[], T]) -> T:
    """Return what `make` gives the first worker, which alone calls it; an error is raised by all.

    Raises
    ------
    TrainingError
        When another worker is gone.

    Examples
    --------
    >>> made_by_first(Workers.find(), lambda: 1)
    1
    """
    if workers.size == 1:
        return make()
    with workers.watched("start all again"):
        return _made(workers, make)


def _made(workers: Workers, make: Callable[[], T]) -> T:
    side_group()
    made: list[Any] = [None, None]
    if workers.is_first:
        with _saying_still_there():
            try:
                made[0] = make()
            except Exception as error:
                made[1] = error
    else:
        while not _told():
            pass
    distributed.broadcast_object_list(made, src=0, group=side_group())
    if made[1] is not None:
        raise made[1]
    return made[0]


@contextmanager
def _saying_still_there() -> Iterator[None]:
    """Keep the others waiting within the block, and no longer."""
    over = threading.Event()

    def tell() -> None:
        while not over.wait(_STILL_THERE):
            _told(over=False)

    telling = threading.Thread(target=tell, name="isthmus-still-there", daemon=True)
    telling.start()
    try:
        yield
    finally:
        over.set()
        telling.join()
    _told(over=True)


def _told(*, over: bool = False) -> bool:
    """Tell the others, as the first worker, whether something is over; return what it tells."""
    flag = torch.tensor([int(over)])
    distributed.broadcast(flag, src=0, group=side_group())
    return bool(flag.item())
