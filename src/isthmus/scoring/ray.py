"""Scoring by the workers of a Ray cluster, each with a session of its own."""

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
from isthmus.scoring.output_folder import WrittenPart
from isthmus.scoring.worker import ScoredPart, Work, Worker

#: How often rows are given to another worker when one died of them.
MOST_RETRIES = 3


def check_ray() -> None:
    """Check that Ray is installed.

    Raises
    ------
    MissingExtraError
        When it is not.
    """
    require("ray", extra="scale", purpose="the engine ray")


def score_on_ray(
    work: Work, parts: Sequence[ChunkRange], workers: int | None, address: str | None
) -> Iterator[ScoredPart]:
    """Score parts on a cluster.

    Parts that are quickest to read one after the other, those of one large row group, go to one
    worker. A part is written by the worker that scored it, whole or not at all, so that what is
    lost with a node is scored again by another, and nothing twice.

    Yields
    ------
    Done
        For each part, in the order in which they are finished.

    Raises
    ------
    DataError, ScoringError
        As `Worker.run` does, and when the cluster cannot be reached or gives up.
    """
    if not parts:
        return
    ray = require("ray", extra="scale", purpose="the engine ray")
    with started_cluster(ray, address):
        import ray.data as ray_data

        ray_data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        runs = _runs(work, parts)
        n_workers = min(len(runs), workers or max(1, int(ray.cluster_resources().get("CPU", 1))))
        indices = ray_data.from_items(
            [{"run": at} for at in range(len(runs))], override_num_blocks=len(runs)
        )
        # Tasks, not actors: those of a node that is lost go to any other, also when all are busy.
        # Ray would start one for ever that a worker dies of, as for want of memory.
        with warnings.catch_warnings():
            # Ray will drop the way to say how often; until then it is the only one.
            warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
            done = indices.map_batches(
                _score_runs,
                fn_kwargs={"work": work, "runs": runs},
                batch_size=1,
                num_cpus=1,
                compute=ray_data.TaskPoolStrategy(size=n_workers),
                max_retries=MOST_RETRIES,
            )
        try:
            for row in done.iter_rows():
                yield _done(row)
        except ray.exceptions.RayError as error:
            raise ScoringError(scoring_gave_up(ray, error)) from error


def scoring_gave_up(ray: Any, error: Exception) -> str:
    """Say why Ray gave up scoring, and what to do."""
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return _no_memory()
    if isinstance(error, ray.exceptions.WorkerCrashedError):
        return _no_memory(
            f"a worker of Ray died of the same rows {MOST_RETRIES + 1} times, as it does when the "
            "system ends it for want of memory"
        )
    said = str(error).strip().splitlines() or [type(error).__name__]
    return (
        f"Ray gave up: {said[-1][:300]}; the parts that are there stay: see that workers have "
        f"memory and reach data and output, {_GO_ON}"
    )


def _no_memory(what: str = "a worker of Ray ran out of memory") -> str:
    return (
        f"{what}; the parts that are there stay: take fewer workers (workers=, on the command "
        f"line --workers), smaller files or machines with more memory, {_GO_ON}"
    )


_GO_ON = "and go on with resume (on the command line --resume)"


#: The worker of this process, by the run it is for: Ray calls one process again and again.
_workers: dict[tuple[str, str], Worker] = {}


def _score_runs(
    batch: dict[str, np.ndarray], work: Work, runs: Sequence[Sequence[ChunkRange]]
) -> dict[str, np.ndarray]:
    """Score some runs of parts; this is what Ray calls on a node."""
    rows: list[dict[str, Any]] = []
    try:
        key = str(work.files.folder), work.files.run
        if key not in _workers:
            _workers.clear()
            _workers[key] = Worker(work, threads=1)
        for run in batch["run"]:
            rows += [asdict(done) for done in _workers[key].run(runs[int(run)])]
    except Exception as error:
        if not isinstance(error, IsthmusError) and not is_out_of_memory(error):
            raise
        # Told, not raised: Ray would bury it in its own words, or try again.
        said = str(error) if isinstance(error, IsthmusError) else _no_memory()
        kind = next((at for at, known in enumerate(_TOLD) if isinstance(error, known)), -1)
        rows.append({"error": said, "kind": kind})
    return {"done": np.array([json.dumps(row) for row in rows], dtype=object)}


#: What a worker tells of, the closest first and whatever else it may be last.
_TOLD: tuple[type[IsthmusError], ...] = (ShardError, DataError, ScoringError)


def _done(row: dict[str, Any]) -> ScoredPart:
    plain = json.loads(row["done"])
    if "error" in plain:
        raise _TOLD[plain["kind"]](plain["error"])
    written, skipped = plain["written"], plain["skipped"]
    return ScoredPart(
        ChunkRange(**plain["part"]),
        None if written is None else WrittenPart(**written),
        None if skipped is None else SkippedChunk(**skipped),
    )


def _runs(work: Work, parts: Sequence[ChunkRange]) -> list[list[ChunkRange]]:
    wanted = {part.index for part in parts}
    runs = [[part for part in run if part.index in wanted] for run in work.stream.runs]
    return [run for run in runs if run]


@contextlib.contextmanager
def started_cluster(
    ray: Any, address: str | None, wrong: type[IsthmusError] = ScoringError
) -> Iterator[None]:
    """Use the cluster that this process is connected to, or connect or start one.

    Raises
    ------
    IsthmusError
        A `wrong`, when there is none at the address.
    """
    if ray.is_initialized():
        yield
        return
    # Not asked for: what Ray tells its makers, and all the person at the terminal.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Nor without end: rows that Ray ends a worker for, as its machine runs out of memory.
    os.environ.setdefault("RAY_task_oom_retries", str(MOST_RETRIES))
    quiet = {"log_to_driver": False, "logging_level": logging.WARNING}
    try:
        ray.init(address=address, include_dashboard=False, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise wrong(
            f"cannot reach a Ray cluster at {address} ({str(error).splitlines()[0]}); start one "
            "with: ray start --head, or leave the address out for one on this machine alone"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()
