"""Requests that arrive together are run together, in one thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

Rows = Mapping[str, np.ndarray]
Outputs = dict[str, np.ndarray]
#: Runs rows and gives the outputs of these names.
Run = Callable[[Rows, Sequence[str]], Outputs]


class Batcher:
    """Collects what waits while the thread is busy, and runs it as one batch.

    A request that finds the thread idle is run at once, alone: nobody waits for company. What
    arrives meanwhile is one batch afterwards, so batches grow with the load by themselves.

    Parameters
    ----------
    run : callable
        Called with rows by input, and names of outputs; in the thread.
    thread : ThreadPoolExecutor
        Of one thread; several batchers may share it.
    most : int
        Rows in a batch of several requests.
    seen : callable, optional
        Told the rows of every batch.
    """

    def __init__(
        self,
        run: Run,
        thread: ThreadPoolExecutor,
        most: int = 512,
        seen: Callable[[int], None] | None = None,
    ) -> None:
        self._run, self._thread, self._most, self._seen = run, thread, most, seen
        self._waiting: list[tuple[Rows, tuple[str, ...], asyncio.Future[Outputs]]] = []
        self._task: asyncio.Task[None] | None = None

    async def run(self, rows: Rows, names: Sequence[str]) -> Outputs:
        """Return the outputs for one request's rows.

        Parameters
        ----------
        rows : mapping of str to array of shape (n, ...)
            By input of the graph.
        names : sequence of str

        Returns
        -------
        dict of str to array of shape (n, ...)
        """
        future: asyncio.Future[Outputs] = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, tuple(names), future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch = self._next()
            try:
                parts = await loop.run_in_executor(self._thread, self._run_all, batch)
            except Exception as error:
                for _, _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, _, future), outputs in zip(batch, parts, strict=True):
                if not future.done():  # whoever asked may have gone
                    future.set_result(outputs)

    def _next(self) -> list[Any]:
        """Take what waits for the same outputs as the first, up to so many rows."""
        # A request that was given up need not be run.
        waiting = [one for one in self._waiting if not one[2].done()]
        batch: list[Any] = []
        rest: list[Any] = []
        n = 0
        for one in waiting:
            size = _length(one[0])
            if not batch or (one[1] == batch[0][1] and n + size <= self._most):
                batch.append(one)
                n += size
            else:
                rest.append(one)
        self._waiting = rest
        return batch

    def _run_all(self, batch: Sequence[Any]) -> list[Outputs]:
        if not batch:
            return []
        sizes = [_length(rows) for rows, _, _ in batch]
        if self._seen is not None:
            self._seen(sum(sizes))
        names = batch[0][1]
        if len(batch) == 1:
            return [self._run(batch[0][0], names)]
        together = {
            name: np.concatenate([rows[name] for rows, _, _ in batch]) for name in batch[0][0]
        }
        outputs = self._run(together, names)
        ends = np.cumsum(sizes)
        return [
            {name: values[end - size : end] for name, values in outputs.items()}
            for size, end in zip(sizes, ends, strict=True)
        ]


def _length(rows: Rows) -> int:
    return len(next(iter(rows.values())))
