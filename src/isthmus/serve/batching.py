"""Batching: requests that wait at the same time are run as one batch, in one thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

Rows = Mapping[str, np.ndarray]
Outputs = dict[str, np.ndarray]
#: Runs rows and returns the named outputs.
Run = Callable[[Rows, Sequence[str]], Outputs]


class Batcher:
    """Collects the requests that arrive while the thread is busy, and runs them as one batch.

    While the thread is idle a request is run at once, alone. Requests that arrive during that run
    are the next batch, so that batches grow with the load and no request waits for a timer.

    Parameters
    ----------
    run : callable
        Called with rows by input, and names of outputs; in the thread.
    thread : ThreadPoolExecutor
        With one thread; several batchers may share it.
    max_rows : int
        Of a batch of several requests.
    on_batch : callable, optional
        Called with the number of rows of every batch.
    """

    def __init__(
        self,
        run: Run,
        thread: ThreadPoolExecutor,
        max_rows: int = 512,
        on_batch: Callable[[int], None] | None = None,
    ) -> None:
        self._run, self._thread, self._max_rows, self._on_batch = run, thread, max_rows, on_batch
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
            batch = self._next_batch()
            try:
                results = await loop.run_in_executor(self._thread, self._run_all, batch)
            except Exception as error:
                for _, _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, _, future), outputs in zip(batch, results, strict=True):
                if not future.done():  # the client may have disconnected
                    future.set_result(outputs)

    def _next_batch(self) -> list[Any]:
        """Take the waiting requests for the same outputs as the first, up to `max_rows` rows."""
        # Requests whose client has disconnected are dropped.
        waiting = [one for one in self._waiting if not one[2].done()]
        batch: list[Any] = []
        rest: list[Any] = []
        n = 0
        for one in waiting:
            size = _n_rows(one[0])
            if not batch or (one[1] == batch[0][1] and n + size <= self._max_rows):
                batch.append(one)
                n += size
            else:
                rest.append(one)
        self._waiting = rest
        return batch

    def _run_all(self, batch: Sequence[Any]) -> list[Outputs]:
        if not batch:
            return []
        sizes = [_n_rows(rows) for rows, _, _ in batch]
        if self._on_batch is not None:
            self._on_batch(sum(sizes))
        names = batch[0][1]
        if len(batch) == 1:
            return [self._run(batch[0][0], names)]
        joined = {
            name: np.concatenate([rows[name] for rows, _, _ in batch]) for name in batch[0][0]
        }
        outputs = self._run(joined, names)
        ends = np.cumsum(sizes)
        return [
            {name: values[end - size : end] for name, values in outputs.items()}
            for size, end in zip(sizes, ends, strict=True)
        ]


def _n_rows(rows: Rows) -> int:
    return len(next(iter(rows.values())))
