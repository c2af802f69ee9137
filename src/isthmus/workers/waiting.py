"""Work that takes each worker as long as it takes, while those who are done wait for the others."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
from torch import distributed

from isthmus.workers.group import Workers
from isthmus.workers.side import side_group

#: Seconds after which those who still work say so to those who wait.
STILL_THERE = 30.0

#: Whether what a worker does is of no use any more, as an earlier one failed or one is gone.
Needless = Callable[[], bool]


def all_worked(workers: Workers, work: Callable[[Needless], None]) -> Exception | None:
    """Let every worker call `work`, and return once all are through, with this one's error if any.

    Work that fails makes that of all later workers needless.

    Raises
    ------
    RuntimeError
        When another worker is gone, as torch says it.
    """
    side_group()  # made by all at this point
    saying = _Saying(workers)
    saying.start()
    try:
        work(saying.needless.is_set)
    except Exception as error:
        saying.end(failed=True)
        return error
    except BaseException:
        saying.leave()
        raise
    saying.end(failed=False)
    return None


class _Saying(threading.Thread):
    """Says to the others how far this worker is, in another thread than the one that works."""

    def __init__(self, workers: Workers) -> None:
        super().__init__(name="isthmus-still-there", daemon=True)
        self.needless = threading.Event()
        self._rank = workers.rank
        # Whether this worker is through, and the number of the first that failed as it knows it.
        self._state = [0, workers.size]
        self._through, self._left = threading.Event(), False
        self._lost: Exception | None = None

    def run(self) -> None:
        """Say it every now and then, until all are through or one is gone."""
        try:
            while not self._said():
                pass
        except Exception as error:
            self._lost = error
            self.needless.set()

    def end(self, *, failed: bool) -> None:
        """Say that this worker is through, and wait until all are."""
        self._state = [1, self._rank if failed else self._state[1]]
        self._through.set()
        self.join()
        if self._lost is not None:
            raise self._lost

    def leave(self) -> None:
        """Say nothing any more."""
        self._left = True
        self._through.set()

    def _said(self) -> bool:
        """Say it once, as soon as there is anything to say; return whether that was the end."""
        self._through.wait(STILL_THERE)
        if self._left:
            return True
        told = torch.tensor(self._state)
        distributed.all_reduce(told, distributed.ReduceOp.MIN, group=side_group())
        all_through, first_failed = told.tolist()
        if first_failed < self._rank:
            self.needless.set()
        return bool(all_through)
