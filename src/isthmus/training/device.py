"""Device, threads, precision, seeds, and random state apart from torch's global generators."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.utils import check_random_state

from isthmus._core import shown
from isthmus.distributed import RandomGenerators, own_generators, redirected_draws
from isthmus.errors import TrainingError

#: Multiply-adds of a batch on its way through the networks, below which a step of training takes as
#: long with one thread as with several: these wait for each other hundreds of times, and where
#: another program has one of the cores each wait may take a turn of the scheduler.
MIN_MULTIPLY_ADDS_FOR_THREADS = 150_000_000


class _SingleThread:
    """Who trains on one thread, and how many threads torch had before."""

    lock = threading.Lock()
    n_inside = 0
    n_threads = 1


@contextmanager
def one_thread_if_small(multiply_adds: int) -> Iterator[None]:
    """Let torch use one thread within the block where a step is small; restore its number after.

    Parameters
    ----------
    multiply_adds : int
        Of a batch, see `MIN_MULTIPLY_ADDS_FOR_THREADS`.

    Yields
    ------
    None

    Examples
    --------
    >>> before = torch.get_num_threads()
    >>> with one_thread_if_small(1000):
    ...     torch.get_num_threads()
    1
    >>> torch.get_num_threads() == before
    True
    """
    if multiply_adds >= MIN_MULTIPLY_ADDS_FOR_THREADS:
        yield
        return
    state = _SingleThread
    with state.lock:
        n_threads = torch.get_num_threads()
        if not state.n_inside:
            state.n_threads = n_threads
        elif n_threads == 1:  # a thread that began meanwhile takes over what others have set
            n_threads = state.n_threads
        state.n_inside += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with state.lock:
            state.n_inside -= 1
            torch.set_num_threads(n_threads)


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device asked for; `"auto"` takes cuda, else mps, else cpu.

    Parameters
    ----------
    device : str or torch.device

    Returns
    -------
    torch.device

    Raises
    ------
    TrainingError
        When the device is unknown or not on this machine.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise TrainingError(
            f"got device={shown(device)}, which cannot be used here ({reason}); use 'auto' or 'cpu'"
        ) from error
    return chosen


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype of the forward pass.

    `"auto"` takes bfloat16 on CUDA devices that multiply it, else float32. On CPUs that
    multiply it (AVX512-BF16) training is a few per cent faster, and a seed would give
    other weights than on CPUs that do not (docs/performance.md).

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16"}
    device : torch.device

    Returns
    -------
    torch.dtype

    Raises
    ------
    TrainingError
        When the precision is none of these.
    """
    if precision == "float32":
        return torch.float32
    if precision == "bfloat16":
        return torch.bfloat16
    if precision != "auto":
        raise TrainingError(
            f"got precision={shown(precision)}, expected 'auto', 'float32' or 'bfloat16'"
        )
    native = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= 8
    return torch.bfloat16 if native else torch.float32


def draw_seed(random_state: int | np.random.RandomState | None) -> int:
    """Draw an integer seed below 2³¹ from scikit-learn's `random_state`.

    None draws from the operating system, and leaves NumPy's global generator unchanged.

    Parameters
    ----------
    random_state : int, RandomState instance or None

    Returns
    -------
    int
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0] >> 1)
    return int(check_random_state(random_state).randint(2**31 - 1))


def derived_seed(seed: int, *path: int) -> int:
    """Derive a seed from another seed and the number of an epoch, pass or buffer.

    Every epoch has a seed that depends on its number alone, so that a resumed run draws the same
    numbers as an uninterrupted one.

    Parameters
    ----------
    seed : int
    *path : int

    Returns
    -------
    int
    """
    return int(np.random.SeedSequence([seed, *path]).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def isolated_random_state(
    seed: int, device: torch.device | None = None
) -> Iterator[RandomGenerators]:
    """Let all code of this thread draw from new generators within the block.

    What `torch.manual_seed(seed)` would give is drawn; torch's global generators, which other
    threads share, are neither read nor changed. Layers that are created have float32 weights.

    Parameters
    ----------
    seed : int
    device : torch.device, optional

    Yields
    ------
    RandomGenerators
    """
    with own_generators(RandomGenerators(seed, device)) as generators, redirected_draws():
        yield generators
