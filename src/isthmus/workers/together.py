"""What workers make together, and what the first one makes for all."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, Self, TypeVar

from torch import distributed

from isthmus.workers.group import Workers
from isthmus.workers.side import side_group
from isthmus.workers.waiting import Needless, all_worked


class Gathered(Protocol):
    """What one worker has gathered from its share of something that has an order."""

    def extend(self, later: Self) -> None:
        """Take in what the next worker has gathered."""


G = TypeVar("G", bound=Gathered)
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
    made: list[Any] = [None, None]

    def work(needless: Needless) -> None:
        if workers.is_first:
            made[0] = make()

    with workers.watched("start all again"):
        made[1] = all_worked(workers, work)
        distributed.broadcast_object_list(made, src=0, group=side_group())
    if made[1] is not None:
        raise made[1]
    return made[0]


def made_together(
    workers: Workers, own: G, gather: Callable[[G, Needless], None], finish: Callable[[G], T]
) -> T:
    """Let each worker gather a share, and return to all what comes of the shares in order.

    Parameters
    ----------
    workers : Workers
    own : Gathered
        Of this worker, empty. All are sent to the first one after another, which puts them
        together.
    gather : callable
        Fills `own` with this worker's share. It may leave early once its second argument, when
        called, says that what it gathers is needless.
    finish : callable
        From all that was gathered to what is returned; the first worker alone calls it.

    Raises
    ------
    Exception
        The first of `gather` in the order of the shares, unless what was gathered before raises
        one when it is put together; else that of `finish`. It is raised by all.
    TrainingError
        When another worker is gone.

    Examples
    --------
    >>> def gather(own, needless):
    ...     own.extend([1, 2])
    >>> made_together(Workers.find(), [], gather, sum)
    3
    """
    if workers.size == 1:
        gather(own, lambda: False)
        return finish(own)
    with workers.watched("start all again"):
        share = own, all_worked(workers, lambda needless: gather(own, needless))
        if workers.is_first:
            whole, wrong = put_together(itertools.chain([share], _received(workers)))
        else:
            distributed.send_object_list([share], dst=0, group=side_group())

    def make() -> T:
        if wrong is not None:
            raise wrong
        return finish(whole)

    return made_by_first(workers, make)


def put_together(shares: Iterable[tuple[G, Exception | None]]) -> tuple[G, Exception | None]:
    """Return what was gathered in shares that come in order, and the first error among them.

    A share whose gathering failed has what came before the error.
    """
    each = iter(shares)
    whole, wrong = next(each)
    for own, error in each:  # to the end, so that nobody waits who has something to send
        if wrong is None:
            try:
                whole.extend(own)
            except Exception as too_much:
                wrong = too_much
            else:
                wrong = error
    return whole, wrong


def _received(workers: Workers) -> Iterator[Any]:
    """Give to the first worker what the others send, one after another."""
    for rank in range(1, workers.size):
        share = [None]
        distributed.recv_object_list(share, src=rank, group=side_group())
        yield share[0]
