"""`isthmus fit --engine ray`: run the command on every worker of Ray Train."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from isthmus._core import require
from isthmus.cli.options import resumable
from isthmus.errors import TrainingError

#: How often training is restarted after workers were lost.
MAX_RESTARTS = 3


def fit_on_ray(
    fit: Callable[..., None],
    options: dict[str, Any],
    checkpoints: Path,
    workers: int | None,
    address: str | None,
) -> None:
    """Call `fit` on all workers of a cluster, and print here what rank 0 prints.

    Parameters
    ----------
    fit : callable
        The command; each worker calls it with `options`.
    options : dict
        By name; paths are made absolute, as workers may start in other folders.
    checkpoints : Path
        Folder that `fit` keeps its checkpoints in; cleared first unless `resume` is asked for.
    workers : int, optional
        At least 1; one a GPU, or one a CPU where there are none or `device` is ``"cpu"``.
    address : str, optional
        Of a cluster; without, one is started here and stopped again.

    Raises
    ------
    IsthmusError
        What `fit` raises on a worker.
    TrainingError
        When the cluster cannot be reached, has too few CPUs or GPUs, or workers were lost more
        than `MAX_RESTARTS` times.
    """
    ray = require("ray", extra="scale", purpose="the engine ray")
    require("ray.train.torch", extra="scale", purpose="the engine ray")
    from isthmus.scoring import connected_cluster

    options = options | {
        name: value.absolute() for name, value in options.items() if isinstance(value, Path)
    }
    if options["json"] not in (None, "-"):
        options["json"] = str(Path(options["json"]).absolute())
    with resumable(checkpoints), connected_cluster(ray, address, TrainingError):
        logging.getLogger("ray.train").setLevel(logging.CRITICAL)
        if not options["detector"]:
            # Restarted workers resume from the checkpoint, also those that Ray restarts by itself.
            if not options["resume"]:
                from isthmus.training import lock_checkpoints

                with lock_checkpoints(checkpoints):
                    shutil.rmtree(checkpoints, ignore_errors=True)
            options["resume"] = True
        for restarts in range(MAX_RESTARTS + 1):
            size, gpus = _size(ray, workers, address, options["device"])
            loss = _train(_Task(fit, options, str(Path.cwd())), size, gpus)
            if loss is None:
                break
            if restarts < MAX_RESTARTS:
                print(f"a worker was lost; starting {size} again", file=sys.stderr, flush=True)
        else:
            raise TrainingError(
                f"workers were lost {MAX_RESTARTS + 1} times ({loss}), as they are for want of "
                "memory; take fewer --workers or a smaller --batch-size, or machines with more "
                "memory, and go on from the last checkpoint with the same line and --resume"
            )
    if not options["output"].expanduser().exists():
        raise TrainingError(
            f"the bundle is not at {options['output']}, as the worker that wrote it has another "
            "disk; give an output in a folder that all nodes of the cluster share"
        )


@dataclass(frozen=True)
class _Task:
    """The work of each worker."""

    fit: Callable[..., None]
    options: dict[str, Any]
    folder: str

    def run(self, config: dict[str, Any]) -> None:
        """Fit, and send what is printed and the error, if any, to the process that prints them."""
        messages = config["messages"]
        from isthmus.cli.commands import rank
        from isthmus.distributed import is_process_lost

        with contextlib.suppress(OSError):  # other nodes may not have the folder
            os.chdir(self.folder)
        try:
            with contextlib.ExitStack() as printed:
                if rank() == 0:
                    out, err = _Printed(messages, "stdout"), _Printed(messages, "stderr")
                    printed.enter_context(contextlib.redirect_stdout(out))
                    printed.enter_context(contextlib.redirect_stderr(err))
                self.fit(**self.options)
        except Exception as error:
            if not (is_process_lost(error) or is_process_lost(error.__cause__)):
                messages.put(("error", error))
            raise


class _Printed(io.TextIOBase):
    """Standard output or error of a worker, sent to the process that prints it."""

    def __init__(self, messages: Any, name: str) -> None:
        self.messages, self.name = messages, name

    def write(self, text: str) -> int:
        """Send the text."""
        if text:
            self.messages.put((self.name, text))
        return len(text)


def _size(ray: Any, workers: int | None, address: str | None, device: str) -> tuple[int, bool]:
    """Return the number of workers, and whether each has a GPU."""
    there = ray.cluster_resources()
    gpus = int(there.get("GPU", 0)) if device == "auto" or device.startswith("cuda") else 0
    n, what = (gpus, "GPU") if gpus else (max(1, int(there.get("CPU", 1))), "CPU")
    if workers is not None and workers > n and address is None:
        raise TrainingError(
            f"got --workers {workers}, and Ray has {n} {what}(s) on this machine, expected one for "
            f"each; ask for {n} at most"
        )
    return workers or n, gpus > 0


def _train(task: _Task, size: int, gpus: bool) -> str | None:
    """Train once; return None on success, otherwise how a worker was lost."""
    from ray.exceptions import RayError
    from ray.train import ControllerError, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.util.queue import Queue

    from isthmus.distributed import TIMEOUT

    messages = Queue(actor_options={"num_cpus": 0})
    failed: list[Exception] = []
    with tempfile.TemporaryDirectory() as notes:
        trainer = TorchTrainer(
            task.run,
            train_loop_config={"messages": messages},
            # As torchrun has it: tensors travel from GPU to GPU, plain values over the CPU.
            torch_config=TorchConfig(
                backend="cpu:gloo,cuda:nccl" if gpus else "gloo",
                timeout_s=int(TIMEOUT / timedelta(seconds=1)),
            ),
            scaling_config=ScalingConfig(num_workers=size, use_gpu=gpus),
            # Ray wants a folder for notes of its own, and would leave it in the home folder.
            run_config=RunConfig(name="isthmus-fit", storage_path=notes),
        )

        def run() -> None:
            try:
                trainer.fit()
            except Exception as error:
                failed.append(error)
            with contextlib.suppress(Exception):  # after Ctrl-C the queue is gone
                messages.put(("end", ""))

        # In the main thread Ray would take Ctrl-C for itself.
        threading.Thread(target=run, daemon=True).start()
        try:
            error_of_worker = _print_until_end(messages)
        except RayError as error:
            raise TrainingError(_describe_failure(error)) from error
    messages.shutdown()
    if error_of_worker is not None:
        raise error_of_worker
    if failed and isinstance(failed[0], ControllerError):  # no error of a worker
        raise TrainingError(_describe_failure(failed[0])) from failed[0]
    return _last_line(failed[0]) if failed else None


def _print_until_end(messages: Any) -> Exception | None:
    """Print what rank 0 prints until the end; return the first error, if any."""
    first_error = None
    while (message := messages.get())[0] != "end":
        if message[0] == "error":
            first_error = first_error or message[1]
        else:
            print(message[1], end="", file=getattr(sys, message[0]), flush=True)
    return first_error


def _describe_failure(error: Exception) -> str:
    return (
        f"Ray gave up: {_last_line(error)}; check the cluster, and go on from the last "
        "checkpoint with the same line and --resume"
    )


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1][:300]
