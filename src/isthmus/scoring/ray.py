"""Scoring on the workers of a Ray cluster, each with a session of its own."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from isthmus._core import require
from isthmus.data.streaming import ChunkRange, SkippedChunk
from isthmus.errors import DataError, IsthmusError, ScoringError, ShardError, is_out_of_memory
from isthmus.scoring.output_folder import WrittenChunk
from isthmus.scoring.worker import ScoredChunk, ScoringJob, Worker

#: How often chunks are sent to another worker after one has died on them.
MAX_RETRIES = 3
_GO_ON = "and go on with resume (on the command line --resume)"
#: The worker of this process, by output folder and run; Ray reuses processes.
_workers: dict[tuple[str, str, str], Worker] = {}
#: Errors that a worker returns, the most specific first; any other becomes the last.
_FORWARDED: tuple[type[IsthmusError], ...] = (ShardError, DataError, ScoringError)


def check_ray() -> None:
    """Check that Ray is installed.

    Raises
    ------
    MissingExtraError
        When it is not.
    """
    require("ray", extra="scale", purpose="the engine ray")


def score_on_ray(
    job: ScoringJob, chunks: Sequence[ChunkRange], workers: int | None, address: str | None
) -> Iterator[ScoredChunk]:
    """Score chunks on a cluster.

    Consecutive chunks of one large row group go to one worker, because they are read fastest in
    order. A chunk is written by the worker that scored it, whole or not at all: chunks lost with a
    node are scored again by another, and none is written twice.

    Yields
    ------
    ScoredChunk
        For each chunk, in the order in which they are finished.

    Raises
    ------
    DataError, ScoringError
        As `Worker.run` does, and when the cluster cannot be reached or gives up.
    """
    if not chunks:
        return
    ray = require("ray", extra="scale", purpose="the engine ray")
    with connected_cluster(ray, address):
        import ray.data as ray_data

        ray_data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        runs = _runs(job, chunks)
        n_workers = min(len(runs), workers or max(1, int(ray.cluster_resources().get("CPU", 1))))
        indices = ray_data.from_items(
            [{"run": at} for at in range(len(runs))], override_num_blocks=len(runs)
        )
        # Tasks, not actors: those of a lost node go to any other, also when all are busy. Without a
        # limit Ray would retry for ever a task whose worker dies, as for want of memory.
        with warnings.catch_warnings():
            # Deprecated, and so far the only way to set the number of retries.
            warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
            done = indices.map_batches(
                _score_runs,
                fn_kwargs={"job": job, "runs": runs},
                batch_size=1,
                num_cpus=1,
                compute=ray_data.TaskPoolStrategy(size=n_workers),
                max_retries=MAX_RETRIES,
            )
        found = iter(done.iter_rows())
        try:
            for row in found:
                yield _unpack(row)
        except ray.exceptions.RayError as error:
            raise ScoringError(describe_failure(ray, error)) from error
        finally:
            # A thread of Ray Data that outlives the connection would connect once more.
            getattr(found, "close", lambda: None)()


def describe_failure(ray: Any, error: Exception) -> str:
    """Return why Ray gave up scoring, and what to do about it."""
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return _out_of_memory()
    if isinstance(error, ray.exceptions.WorkerCrashedError):
        return _out_of_memory(
            f"a worker of Ray died on the same rows {MAX_RETRIES + 1} times, as when the system "
            "kills it for want of memory"
        )
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return (
        f"Ray gave up: {lines[-1][:300]}; finished parts are kept: check that workers have "
        f"memory and reach data and output, {_GO_ON}"
    )


def _out_of_memory(what: str = "a worker of Ray ran out of memory") -> str:
    return (
        f"{what}; finished parts are kept: use fewer workers (workers=, on the command "
        f"line --workers), smaller files or machines with more memory, {_GO_ON}"
    )


def _score_runs(
    batch: dict[str, np.ndarray], job: ScoringJob, runs: Sequence[Sequence[ChunkRange]]
) -> dict[str, np.ndarray]:
    """Score runs of consecutive chunks; Ray calls this on a node."""
    rows: list[dict[str, Any]] = []
    try:
        # A resumed run may treat damaged files otherwise than the one before it on this node.
        key = str(job.files.folder), job.files.run, job.stream.on_bad_shard
        if key not in _workers:
            _workers.clear()
            _workers[key] = Worker(job, threads=1)
        for run in batch["run"]:
            rows += [asdict(done) for done in _workers[key].run(runs[int(run)])]
    except Exception as error:
        if not isinstance(error, IsthmusError) and not is_out_of_memory(error):
            raise
        # Returned, not raised: Ray would wrap it in an error of its own, or retry.
        message = str(error) if isinstance(error, IsthmusError) else _out_of_memory()
        kind = next((at for at, one in enumerate(_FORWARDED) if isinstance(error, one)), -1)
        rows.append({"error": message, "kind": kind})
    return {"done": np.array([json.dumps(row) for row in rows], dtype=object)}


def _unpack(row: dict[str, Any]) -> ScoredChunk:
    plain = json.loads(row["done"])
    if "error" in plain:
        raise _FORWARDED[plain["kind"]](plain["error"])
    written, skipped = plain["written"], plain["skipped"]
    return ScoredChunk(
        ChunkRange(**plain["chunk"]),
        None if written is None else WrittenChunk(**written),
        None if skipped is None else SkippedChunk(**skipped),
    )


def _runs(job: ScoringJob, chunks: Sequence[ChunkRange]) -> list[list[ChunkRange]]:
    wanted = {chunk.index for chunk in chunks}
    runs = [[chunk for chunk in run if chunk.index in wanted] for run in job.stream.runs]
    return [run for run in runs if run]


@contextlib.contextmanager
def connected_cluster(
    ray: Any, address: str | None, error_type: type[IsthmusError] = ScoringError
) -> Iterator[None]:
    """Use the cluster that this process is connected to, or connect or start one.

    Parameters
    ----------
    ray : module
    address : str or None
        Of the cluster; None for one on this machine.
    error_type : type of IsthmusError

    Raises
    ------
    IsthmusError
        An `error_type`, when there is none at the address.
    """
    if ray.is_initialized():
        yield
        return
    # Turn off Ray's usage reports, and its messages at the terminal.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # And limit the retries of a task whose worker Ray kills because memory runs out.
    os.environ.setdefault("RAY_task_oom_retries", str(MAX_RETRIES))
    quiet = {"log_to_driver": False, "logging_level": logging.WARNING}
    try:
        ray.init(address=address, include_dashboard=False, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise error_type(
            f"cannot reach a Ray cluster at {address} ({str(error).splitlines()[0]}); start one "
            "with: ray start --head, or leave the address out for one on this machine alone"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()
