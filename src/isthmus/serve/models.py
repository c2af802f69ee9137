"""Served models: exports by name, reloaded when new ones are on disk, and batches of requests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from isthmus import __version__
from isthmus._core import check_writable, file_digest, recover_folder, user_path
from isthmus.bundle import MANIFEST, read_manifest
from isthmus.data import Schema
from isthmus.errors import IsthmusError, OutputError, ServeError
from isthmus.export import (
    Exported,
    ExportedDetector,
    ReferenceInstances,
    monitored_heads,
    read_references,
)
from isthmus.serve.answers import decision_outputs
from isthmus.serve.guard import Metrics

#: Version of cached exports; raised when exports of the same bundle get new content.
CACHE_VERSION = 5
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

#: Number of exports in the cache; those used least recently are deleted.
MAX_CACHED_EXPORTS = 16
#: Cached exports that this process serves, by bundle; it does not delete them.
_in_use: dict[Path, Path] = {}
Rows = Mapping[str, np.ndarray]
Outputs = dict[str, np.ndarray]
#: Runs rows and returns the named outputs.
Run = Callable[[Rows, Sequence[str]], Outputs]
log = logging.getLogger("isthmus.serve")
#: Seconds between checks for new versions on disk.
POLL_SECONDS = 1.0


class Source:
    """A bundle or export on disk, and the name it is served under.

    Parameters
    ----------
    word : str
        A path, or `name=path`; the default is the name of the folder.

    Attributes
    ----------
    name : str

    Raises
    ------
    ServeError
        When the path is neither bundle nor export, or the name is not valid in a URL.

    Examples
    --------
    >>> Source("press=nowhere")
    Traceback (most recent call last):
        ...
    isthmus.errors.ServeError: nowhere is neither a bundle nor an export; write one with: isthmus fit DATA -o nowhere
    """  # noqa: E501

    def __init__(self, word: str) -> None:
        name, found, path = word.partition("=")
        if not found or "/" in name:
            name, path = "", word
        self.path = user_path(path)
        self.name = name or self.path.absolute().name.removesuffix(".onnx")
        self._watched = self._find()
        if not _NAME.fullmatch(self.name):
            raise ServeError(
                f"got the name {self.name!r}, expected letters, digits, dots, - and _; "
                f"give it one: NAME={path}"
            )

    def stamp(self) -> tuple[int, ...]:
        """Return time, size and inode of the watched file; empty while it does not exist."""
        try:
            facts = self._watched.stat()
        except OSError:
            return ()
        return facts.st_mtime_ns, facts.st_size, facts.st_ino

    def graph(self) -> Path:
        """Return the path of the graph; a bundle is exported first, in another process.

        Raises
        ------
        ServeError
            When the bundle cannot be exported, with the error of that process.
        BundleError
            When it is damaged.
        """
        if self._watched.name != MANIFEST:
            return self._watched
        for _ in range(3):
            read_manifest(self.path)
            version = file_digest(self._watched)
            target = _cache() / f"{__version__}-{CACHE_VERSION}" / version[:32]
            if not (target / "model.onnx").is_file():
                try:
                    check_writable(target, folder=True)
                except OutputError as error:
                    raise ServeError(
                        f"{self.path} is exported to be served, and {error.strerror}; serve an "
                        f"export of it, written by: isthmus export {self.path} -o FOLDER"
                    ) from error
                self._export(target)
            # The bundle may have been replaced while it was exported.
            if self._watched.is_file() and file_digest(self._watched) == version:
                _in_use[self.path.absolute()] = target
                _prune_cache(target)
                return target / "model.onnx"
        raise ServeError(f"{self.path} changes again and again; serve it once it is fully written")

    def _export(self, target: Path) -> None:
        command = [sys.executable, "-m", "isthmus", "export", str(self.path), "-o", str(target)]
        done = subprocess.run([*command, "--residual"], capture_output=True, text=True, check=False)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["error: no reason was given"]
            raise ServeError(
                f"{self.path} cannot be exported to be served: {lines[-1].removeprefix('error: ')}"
            )

    def _find(self) -> Path:
        recover_folder(self.path)
        if self.path.is_file() and self.path.suffix == ".onnx":
            return self.path
        for name in ("model.onnx", MANIFEST):
            if (self.path / name).is_file():
                return self.path / name
        raise ServeError(
            f"{self.path} is neither a bundle nor an export; write one with: "
            f"isthmus fit DATA -o {self.path}"
        )


def _cache() -> Path:
    import pooch

    return Path(pooch.os_cache("isthmus")) / "exports"


def _prune_cache(used: Path) -> None:
    """Mark an export as used last, and delete those used least recently."""
    folders = []
    # Names with a dot are being written.
    for folder in used.parent.glob("[!.]*"):
        with contextlib.suppress(OSError):  # another process may prune at the same time
            if folder != used:
                folders.append((folder.stat().st_mtime_ns, folder))
    folders.sort(reverse=True)
    # Later than all others, also where the clock was set back since they were used.
    last = max([time.time_ns(), *(at + 1 for at, _ in folders[:1])])
    with contextlib.suppress(OSError):  # the cache may be another user's
        os.utime(used, ns=(last, last))
    for _, folder in folders[MAX_CACHED_EXPORTS - 1 :]:
        if folder in _in_use.values():
            continue
        # Renamed first, so that no process finds it half deleted; servers have read it whole.
        doomed = folder.with_name(f".{folder.name}.gone")
        with contextlib.suppress(OSError):
            folder.rename(doomed)
            shutil.rmtree(doomed)


class Served:
    """One version of a bundle; requests that begin with it are answered by it.

    Attributes
    ----------
    digest : str
        SHA-256 of the graph's file.
    exported : Exported
    schema : Schema
    outputs : list of dict
        Of the graph, from its metadata.
    decisions : list of dict
        The outputs that are decisions.
    references : ReferenceInstances or None
        Stored beside the graph.
    monitored : dict of str to ExportedDetector
        Heads that have a monitor.
    """

    def __init__(
        self,
        name: str,
        exported: Exported,
        digest: str,
        batcher: Batcher,
        references: ReferenceInstances | None = None,
        monitored: Mapping[str, ExportedDetector] | None = None,
    ) -> None:
        self.monitored = dict(monitored or {})
        self.name, self.exported, self.digest = name, exported, digest
        self.references = references
        self._batcher = batcher
        self.schema: Schema = exported.schema
        self.facts: dict[str, Any] = exported.facts
        self.outputs: list[dict[str, Any]] = self.facts["outputs"]
        self.heads: dict[str, Any] = self.facts["heads"]
        self.decisions = decision_outputs(self.outputs)

    async def run(self, rows: dict[str, np.ndarray], names: Sequence[str]) -> dict[str, np.ndarray]:
        """Return outputs for rows as `Exported.feed` returns them, batched with other requests."""
        return await self._batcher.run(rows, names)


class Models:
    """The served bundles by name.

    Parameters
    ----------
    sources : sequence of Source
        The first is the default.
    metrics : Metrics
    threads : int
        Of ONNX Runtime for each bundle; 0 is one a core.

    Raises
    ------
    ServeError
        When two have one name, or there are none.
    IsthmusError
        When one cannot be read.
    """

    def __init__(self, sources: Sequence[Source], metrics: Metrics, threads: int = 0) -> None:
        names = [one.name for one in sources]
        duplicates = [name for name in names if names.count(name) > 1]
        if duplicates or not names:
            raise ServeError(
                f"got {len(duplicates)} bundles called {duplicates[0]!r}, expected each name once; "
                f"give them names: a=PATH b=PATH"
                if duplicates
                else "got no bundle, expected one or more; name it: isthmus serve BUNDLE"
            )
        self._sources, self._metrics, self._threads = list(sources), metrics, threads
        # One thread for all: graphs that run at the same time would share the same cores.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="isthmus-run")
        self._stamps = {one.name: one.stamp() for one in sources}
        self._current = {one.name: self._load(one) for one in sources}
        #: Bundles whose new version on disk could not be read.
        self.stale: set[str] = set()

    @property
    def names(self) -> list[str]:
        """Names, that of the default first."""
        return [one.name for one in self._sources]

    def get(self, name: str) -> Served:
        """Return the current version of a bundle."""
        return self._current[name]

    def reload(self) -> list[str]:
        """Load new versions from disk, and return the names of the replaced bundles.

        Where a new version cannot be read, the previous one stays in service.
        """
        reloaded = []
        for source in self._sources:
            stamp = source.stamp()
            if not stamp or stamp == self._stamps[source.name]:
                continue
            self._stamps[source.name] = stamp
            previous = self._current[source.name]
            try:
                served = self._load(source)
            except (IsthmusError, OSError, ValueError) as error:
                log.error("the new version of %s cannot be served: %s", source.name, error)
                self.stale.add(source.name)
                self._metrics.reloads.labels(source.name, "failed").inc()
                continue
            self._current[source.name] = served
            self.stale.discard(source.name)
            if served.digest != previous.digest:
                self._metrics.serving.remove(source.name, previous.digest)
            self._metrics.reloads.labels(source.name, "taken").inc()
            log.warning("%s is served in its new version, %s", source.name, served.digest)
            reloaded.append(source.name)
        return reloaded

    async def watch(self) -> None:
        """Reload new versions every `POLL_SECONDS`, until cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await asyncio.to_thread(self.reload)

    def close(self) -> None:
        """Stop the thread."""
        self._thread.shutdown(wait=False)

    def _load(self, source: Source) -> Served:
        file = source.graph()
        # Hashed before and after reading, so that the digest is of the content that was read.
        digest = file_digest(file)
        exported = Exported(file, self._threads)
        references = read_references(file, exported.facts, exported.schema)
        if file_digest(file) != digest:
            raise ServeError(f"{source.path} changed while it was read; write it whole elsewhere "
                             "and rename it")  # fmt: skip
        batcher = Batcher(exported.run_fed, self._thread, on_batch=self._metrics.batch_rows.observe)
        monitored = monitored_heads(file, exported)
        served = Served(source.name, exported, digest, batcher, references, monitored)
        # A warm-up, which also checks that the graph runs.
        exported.run_fed(_blank_instance(exported))
        self._metrics.serving.labels(source.name, digest).set(1)
        return served


def _blank_instance(exported: Exported) -> dict[str, np.ndarray]:
    return {
        one.name: np.array([one.missing], dtype=object)
        if one.missing is not None
        else np.zeros((1, *one.shape), dtype=one.dtype)
        for one in [*exported.inputs, *filter(None, [exported.group_input])]
    }


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
