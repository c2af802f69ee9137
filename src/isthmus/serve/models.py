"""What is served: graphs by name, each replaced whole when a new version lies on disk."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from isthmus.data.schema import Schema
from isthmus.errors import IsthmusError, ServeError
from isthmus.export import Exported
from isthmus.export.known import Known, known_beside
from isthmus.serve.answers import decision_outputs
from isthmus.serve.batching import Batcher
from isthmus.serve.metrics import Metrics
from isthmus.serve.sources import Source
from isthmus.storage import file_digest

log = logging.getLogger("isthmus.serve")
#: Seconds from one look at the disk to the next.
LOOK_EVERY = 1.0


class Served:
    """One version of a bundle: requests that began with it are answered by it.

    Attributes
    ----------
    digest : str
        SHA-256 of the graph's file, which holds the whole decision.
    exported : Exported
    schema : Schema
    outputs : list of dict
        Of the graph, as its metadata has them.
    decisions : list of dict
        Those of them that decide.
    known : Known or None
        Instances that lie beside the graph.
    """

    def __init__(
        self,
        name: str,
        exported: Exported,
        digest: str,
        batcher: Batcher,
        known: Known | None = None,
    ) -> None:
        self.name, self.exported, self.digest, self.known = name, exported, digest, known
        self._batcher = batcher
        self.schema: Schema = exported.schema
        self.facts: dict[str, Any] = exported.facts
        self.outputs: list[dict[str, Any]] = self.facts["outputs"]
        self.heads: dict[str, Any] = self.facts["heads"]
        self.decisions = decision_outputs(self.outputs)

    async def run(self, rows: dict[str, np.ndarray], names: Sequence[str]) -> dict[str, np.ndarray]:
        """Return outputs for rows as `Exported.feed` gives them, run with what else waits."""
        return await self._batcher.run(rows, names)


class Models:
    """Bundles by name.

    Parameters
    ----------
    sources : sequence of Source
        The first is the one served without a name.
    metrics : Metrics
    threads : int
        Of ONNX Runtime for each; 0 is one a core.

    Raises
    ------
    ServeError
        When two have one name, or there are none.
    IsthmusError
        When one cannot be read.
    """

    def __init__(self, sources: Sequence[Source], metrics: Metrics, threads: int = 0) -> None:
        names = [one.name for one in sources]
        twice = [name for name in names if names.count(name) > 1]
        if twice or not names:
            raise ServeError(
                f"got {len(twice)} bundles called {twice[0]!r}, expected each name once; "
                f"give them names: a=PATH b=PATH"
                if twice
                else "got no bundle, expected one or more; name it: isthmus serve BUNDLE"
            )
        self._sources, self._metrics, self._threads = list(sources), metrics, threads
        # One thread for all: graphs that run at once would only share the same cores.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="isthmus-run")
        self._stamps = {one.name: one.stamp() for one in sources}
        self._current = {one.name: self._load(one) for one in sources}
        #: Bundles whose new version on disk could not be read.
        self.stale: set[str] = set()

    @property
    def names(self) -> list[str]:
        """Names, the default's first."""
        return [one.name for one in self._sources]

    def get(self, name: str) -> Served:
        """Return the version of a bundle that answers now."""
        return self._current[name]

    def look(self) -> list[str]:
        """Take up what is new on disk, and return the names of what was replaced.

        What cannot be read is left, and the version before it goes on answering.
        """
        taken = []
        for source in self._sources:
            stamp = source.stamp()
            if not stamp or stamp == self._stamps[source.name]:
                continue
            self._stamps[source.name] = stamp
            before = self._current[source.name]
            try:
                fresh = self._load(source)
            except (IsthmusError, OSError, ValueError) as error:
                log.error("the new version of %s cannot be served: %s", source.name, error)
                self.stale.add(source.name)
                self._metrics.reloads.labels(source.name, "failed").inc()
                continue
            self._current[source.name] = fresh
            self.stale.discard(source.name)
            if fresh.digest != before.digest:
                self._metrics.serving.remove(source.name, before.digest)
            self._metrics.reloads.labels(source.name, "taken").inc()
            log.warning("%s is served in its new version, %s", source.name, fresh.digest)
            taken.append(source.name)
        return taken

    async def watch(self) -> None:
        """Look at the disk again and again, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            await asyncio.to_thread(self.look)

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False)

    def _load(self, source: Source) -> Served:
        file = source.graph()
        # Hashed before and after, so that the digest is of what was read.
        digest = file_digest(file)
        exported = Exported(file, self._threads)
        known = known_beside(file, exported.facts, exported.schema)
        if file_digest(file) != digest:
            raise ServeError(f"{source.path} changed while it was read; write it whole elsewhere "
                             "and rename it")  # fmt: skip
        batcher = Batcher(exported.run_fed, self._thread, seen=self._metrics.batch_rows.observe)
        served = Served(source.name, exported, digest, batcher, known)
        # The first run takes longer, and shows that the graph runs.
        exported.run_fed(_blank(exported))
        self._metrics.serving.labels(source.name, digest).set(1)
        return served


def _blank(exported: Exported) -> dict[str, np.ndarray]:
    return {
        one.name: np.array([one.missing], dtype=object)
        if one.missing is not None
        else np.zeros((1, *one.shape), dtype=one.dtype)
        for one in exported.inputs
    }
