"""The monitors of the served detectors: fed by every prediction, with a state that is stored."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from isthmus._core import try_lock, user_path
from isthmus.errors import DataError, IsthmusError
from isthmus.export import ExportedDetector
from isthmus.monitoring import Monitor
from isthmus.serve.guard import Metrics
from isthmus.serve.models import Models, Served

log = logging.getLogger("isthmus.serve")
#: Seconds between the times at which rows are counted and states stored, and rows that may wait.
COUNT_SECONDS, MAX_WAITING = 2.0, 20_000


class _Waiting(NamedTuple):
    """A version of a bundle, inputs and outputs of its graph, and the time of the request."""

    served: Served
    rows: dict[str, np.ndarray]
    values: dict[str, np.ndarray]
    time: str


def default_folder() -> Path:
    """Return the folder for states where none is given: in the user's cache."""
    import pooch

    return Path(pooch.os_cache("isthmus")) / "monitors"


class Monitors:
    """A monitor for each detector of each served bundle.

    Rows wait until they are counted, every `COUNT_SECONDS` or when somebody asks, so that no
    request takes longer for it.

    Parameters
    ----------
    models : Models
    metrics : Metrics
    folder : path or None
        For the states; None holds them in memory. A state is of a bundle's name, a head and what
        its detector was calibrated on: another calibration begins a new one.
    """

    def __init__(self, models: Models, metrics: Metrics, folder: str | Path | None) -> None:
        self._models, self._metrics = models, metrics
        self._folder = None if folder is None else user_path(folder)
        self._waiting: list[_Waiting] = []
        self._n_waiting = 0
        self._adding, self._counting = threading.Lock(), threading.Lock()
        self._monitors: dict[tuple[str, str], tuple[str, Monitor]] = {}
        self._files: dict[tuple[str, str], Path | None] = {}
        self._locks: dict[Path, int] = {}
        self._changed: set[tuple[str, str]] = set()

    def outputs(self, served: Served) -> list[str]:
        """Return the outputs of the graph that are needed beside decisions."""
        return list(
            dict.fromkeys(name for one in served.monitored.values() for name in one.outputs)
        )

    async def add(
        self, served: Served, rows: dict[str, np.ndarray], values: dict[str, np.ndarray]
    ) -> None:
        """Add the instances of a request that was answered."""
        if not served.monitored:
            return
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._adding:
            needed = {name: values[name] for name in self.outputs(served)}
            self._waiting.append(_Waiting(served, rows, needed, now))
            self._n_waiting += len(values["code"])
            many = self._n_waiting >= MAX_WAITING
        if many:
            await asyncio.to_thread(self.count)

    def count(self) -> None:
        """Count the rows that wait, and set the metrics."""
        with self._counting:
            with self._adding:
                waiting, self._waiting, self._n_waiting = self._waiting, [], 0
            for _, some in groupby(waiting, key=lambda one: id(one.served)):
                self._add(list(some))
            for name in self._models.names:
                for head, detector in self._models.get(name).monitored.items():
                    self._set_metrics(name, head, self._monitor(name, head, detector))

    def _add(self, waiting: list[_Waiting]) -> None:
        """Count rows of one version of a bundle, all at once."""
        served = waiting[0].served
        rows, values = (
            {name: np.concatenate([one[name] for one in parts]) for name in parts[0]}
            for parts in ([one.rows for one in waiting], [one.values for one in waiting])
        )
        sizes = [len(one.values["code"]) for one in waiting]
        times = np.repeat([one.time for one in waiting], sizes)
        for head, detector in served.monitored.items():
            monitor = self._monitor(served.name, head, detector)
            held = monitor.state().valid
            try:
                state = monitor.add(detector.observed(rows, values), times)
            except IsthmusError as error:  # the answers are not at fault
                log.error("the monitor of %s of %s misses rows: %s", head, served.name, error)
                continue
            self._changed.add((served.name, head))
            if held and not state.valid:
                log.warning("%s of %s: %s", head, served.name, state.summary())

    def _monitor(self, name: str, head: str, detector: ExportedDetector) -> Monitor:
        """Return the monitor of a head; another one where it was calibrated otherwise since."""
        key, digest = (name, head), detector.reference.digest()
        stated, monitor = self._monitors.get(key, ("", None))
        if monitor is not None and stated == digest:
            return monitor
        self._store(key)
        file = self._file(name, head, digest)
        monitor = None
        if file is not None and file.is_file():
            try:
                monitor = Monitor.load(file, detector)
            except DataError as error:
                log.error("a new monitor of %s of %s is begun: %s", head, name, error)
                with contextlib.suppress(OSError):
                    file.rename(file.with_suffix(".damaged"))
        monitor = Monitor(detector) if monitor is None else monitor
        self._monitors[key], self._files[key] = (digest, monitor), file
        return monitor

    def _file(self, name: str, head: str, digest: str) -> Path | None:
        """Return the file for a state; None where it is held in memory."""
        if self._folder is None:
            return None
        file = self._folder / f"{name}-{head}-{digest[:16]}.json"
        if file in self._locks:
            return file
        lock = file.with_suffix(".lock")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
            if try_lock(handle):
                self._locks[file] = handle  # until this process ends
                return file
            os.close(handle)
            reason = "another service has it"
        except OSError as error:
            reason = error.strerror or str(error)
        log.warning("the monitor of %s of %s is in memory only: %s: %s", head, name, file, reason)
        return None

    def store(self) -> None:
        """Count the rows that wait, and write the states that changed."""
        self.count()
        with self._counting:
            for key in list(self._changed):
                self._store(key)

    def _store(self, key: tuple[str, str]) -> None:
        file = self._files.get(key)
        if file is not None and key in self._changed:
            try:
                self._monitors[key][1].save(file)
            except (IsthmusError, OSError) as error:
                log.error("the state of a monitor cannot be stored: %s", error)
                self._files[key] = None
        self._changed.discard(key)

    async def watch(self) -> None:
        """Count and store every `COUNT_SECONDS`, until cancelled."""
        while True:
            await asyncio.sleep(COUNT_SECONDS)
            await asyncio.to_thread(self.store)

    def close(self) -> None:
        """Store the states, and leave their files to others."""
        self.store()
        for handle in self._locks.values():
            os.close(handle)
        self._locks.clear()

    def describe(self, served: Served) -> dict[str, Any]:
        """Return what the monitors of a bundle say, by head, as plain values."""
        self.count()
        found = {}
        with self._counting:
            for head, detector in served.monitored.items():
                state = self._monitor(served.name, head, detector).state()
                stored = self._files[served.name, head] is not None
                found[head] = {"summary": state.summary()} | state.to_dict() | {"stored": stored}
        return found

    def _set_metrics(self, name: str, head: str, monitor: Monitor) -> None:
        state, metrics = monitor.state(), self._metrics
        metrics.promise_valid.labels(name, head).set(int(state.valid))
        metrics.monitor_e_value.labels(name, head).set(state.e_value)
        metrics.monitored_rows.labels(name, head).set(state.n)
        metrics.alarm_share.labels(name, head).set(state.share or 0.0)
