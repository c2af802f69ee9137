"""The process: the caller's settings set aside, threads, freed memory, optional dependencies."""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any, NoReturn, TypeVar

from isthmus.errors import MissingExtraError

T = TypeVar("T")
R = TypeVar("R")

#: Fewer items than this are run in one thread.
_MIN_ITEMS_FOR_THREADS = 4
_IN_THREADS = threading.Lock()

#: By which libraries send nothing about their use to their publishers, as they do by default: ONNX
#: Runtime from 1.29 on, MLflow from 3.2 on. They read it when they are loaded.
_SENDS_NOTHING = {"ORT_DISABLE_TELEMETRY": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}

#: What NumPy does by itself about each kind of floating-point error.
_NUMPY_DEFAULTS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
#: Settings of scikit-learn under which its estimators return arrays and check their inputs.
_SKLEARN_SETTINGS = {
    "transform_output": "default",
    "assume_finite": False,
    "array_api_dispatch": False,
}


@contextmanager
def isolated_from_host() -> Iterator[None]:
    """Compute within the block, or the decorated function, as in a program that set nothing.

    The calling program may have set modes of torch (no gradients, inference, autocast, a default
    device), errors of NumPy to be raised, or scikit-learn's transformers to return DataFrames. All
    these belong to one thread, so setting them aside changes nothing for another. torch's default
    dtype is one for all threads: dtypes are named wherever a tensor is made.

    Examples
    --------
    >>> import numpy as np
    >>> with np.errstate(all="raise"), isolated_from_host():
    ...     float(np.float32(1e-30) * np.float32(1e-30))
    0.0
    """
    import numpy as np

    with ExitStack() as entered:
        raised = {
            kind: _NUMPY_DEFAULTS[kind]
            for kind, what in np.geterr().items()
            if what not in ("ignore", "warn")
        }
        if raised:
            entered.enter_context(np.errstate(**raised))  # type: ignore[arg-type]
        sklearn, torch = sys.modules.get("sklearn"), sys.modules.get("torch")
        if sklearn is not None:
            settings = sklearn.get_config()
            if any(settings[name] != value for name, value in _SKLEARN_SETTINGS.items()):
                entered.enter_context(sklearn.config_context(**_SKLEARN_SETTINGS))
        if torch is not None:
            if torch.is_inference_mode_enabled():
                entered.enter_context(torch.inference_mode(False))
            if not torch.is_grad_enabled():
                entered.enter_context(torch.enable_grad())
            for device in ("cpu", "cuda", "mps"):
                if torch.is_autocast_enabled(device):
                    entered.enter_context(torch.autocast(device, enabled=False))
            if torch.get_default_device().type != "cpu":
                entered.enter_context(torch.device("cpu"))
        yield


def each_isolated(items: Iterator[T]) -> Iterator[T]:
    """Yield items that are each computed in `isolated_from_host`; the consumer's code is not.

    Examples
    --------
    >>> list(each_isolated(iter([1, 2])))
    [1, 2]
    """
    while True:
        with isolated_from_host():
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


@contextmanager
def worker_threads() -> Iterator[Callable[[Callable[[T], R], Sequence[T]], list[R]]]:
    """Give BLAS one thread within the block, and yield what shares items among its threads.

    So threads also share what is no product, and products too small for two threads have one.
    The setting belongs to the process, and is restored at the end; while one block has
    changed it, others run their items in one thread.

    Yields
    ------
    callable
        Takes a function and a sequence of items, and returns the function's results for each, in
        order: of as many threads as BLAS had for a product of matrices, of few items of this one.

    Examples
    --------
    >>> with worker_threads() as run_each:
    ...     run_each(lambda x: x * x, range(5))
    [0, 1, 4, 9, 16]
    """
    if not _IN_THREADS.acquire(blocking=False):
        yield _run_here
        return
    try:
        blas = _blas()
        n_threads = min((library.num_threads for library in blas.lib_controllers), default=1)
        if n_threads == 1:
            yield _run_here
            return
        with blas.limit(limits=1), ThreadPoolExecutor(n_threads) as pool:

            def run_each(run: Callable[[T], R], items: Sequence[T]) -> list[R]:
                few = len(items) < _MIN_ITEMS_FOR_THREADS
                return _run_here(run, items) if few else list(pool.map(run, items))

            yield run_each
    finally:
        _IN_THREADS.release()


def _run_here(run: Callable[[T], R], items: Sequence[T]) -> list[R]:
    return [run(item) for item in items]


def run_in_threads(run: Callable[[T], object], items: Sequence[T]) -> None:
    """Run something for each item, in as many threads as BLAS takes for a product of matrices.

    Parameters
    ----------
    run : callable
        Takes an item, and may run in another thread, see `worker_threads`.
    items : sequence

    Examples
    --------
    >>> squares = {}
    >>> run_in_threads(lambda x: squares.setdefault(x, x * x), range(5))
    >>> sorted(squares.values())
    [0, 1, 4, 9, 16]
    """
    if len(items) < _MIN_ITEMS_FOR_THREADS:
        _run_here(run, items)
        return
    with worker_threads() as run_each:
        run_each(run, items)


@cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def return_freed_memory() -> None:
    """Return freed memory to the operating system where the C library is glibc; else do nothing.

    The `isthmus` command sets glibc to hold freed memory (`isthmus.cli.commands`), so that
    training steps do not return and request it over and over. Between two phases of a run that
    memory is not needed soon, and would add to the peak of the process. Takes milliseconds.

    Examples
    --------
    >>> return_freed_memory()
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # not glibc
        return
    trim(ctypes.c_size_t(0))


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import `module`, or raise an error that names the extra which installs it.

    ONNX Runtime and MLflow are told to report nothing, unless the environment says otherwise.

    Parameters
    ----------
    module : str
        Dotted name, such as ``"matplotlib.pyplot"``.
    extra : str
        Name of the extra in ``pip install 'isthmus[extra]'``.
    purpose : str
        What needs it, as the subject of a sentence ("drawing pictures").

    Raises
    ------
    MissingExtraError
        When the module is not installed.
    """
    for variable, value in _SENDS_NOTHING.items():
        os.environ.setdefault(variable, value)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{purpose} needs {module.split('.')[0]}, which is not installed; "
            f"get it with: pip install 'isthmus[{extra}]'"
        ) from error


def optional_class(name: str, *, extra: str, purpose: str) -> Any:
    """Return a class to derive from, or a stand-in where the library that has it is missing.

    A class derived from the stand-in can be imported and documented; to make an instance of it is
    an error that names the extra.

    Parameters
    ----------
    name : str
        Dotted name of the class, such as ``"pyod.models.base.BaseDetector"``.
    extra, purpose : str
        See `require`.

    Examples
    --------
    >>> class Derived(optional_class("absent.Base", extra="scale", purpose="this class")):
    ...     pass
    >>> Derived()
    Traceback (most recent call last):
    isthmus.errors.MissingExtraError: this class needs absent, which is not installed; \
get it with: pip install 'isthmus[scale]'
    """
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(require(module, extra=extra, purpose=purpose), attribute)
    except MissingExtraError as error:
        message = str(error)

    def refuse(cls: type, *_: Any, **__: Any) -> NoReturn:
        raise MissingExtraError(message)

    return type(attribute, (), {"__new__": refuse})


def library_versions(names: Iterable[str]) -> dict[str, str | None]:
    """Return the installed version of each library; None is one that is not installed.

    Examples
    --------
    >>> library_versions(["no-such-library"])
    {'no-such-library': None}
    """
    return {name: _installed(name) for name in names}


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
