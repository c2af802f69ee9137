"""Shards of a batch, and the random numbers drawn for them from a run's own generators.

Several processes train as one would. Random numbers are drawn for the whole batch by every
process alike, and each uses those of its own rows; what depends on a batch as a whole gathers the
rows of all. Where a batch is not sharded these functions return what they are given.

Random numbers of a training run come from generators of its own: torch's global ones are shared by
all threads of a process, and belong to the program that calls this library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import distributed
from torch.utils._python_dispatch import TorchDispatchMode


@dataclass(frozen=True)
class Shard:
    """The rows `first` to `stop - 1`, counted from 0, of a batch of `n`.

    Attributes
    ----------
    first, stop, n : int
    """

    first: int
    stop: int
    n: int

    @property
    def fraction(self) -> float:
        """Share of the batch's rows in this shard, in (0, 1)."""
        return (self.stop - self.first) / self.n


def shard_bounds(n: int, rank: int, world_size: int) -> tuple[int, int]:
    """Return the first row of a rank's shard of `n` rows, and the one after its last.

    Fewer rows than processes are not sharded: each process takes all of them.

    Parameters
    ----------
    n, rank, world_size : int

    Returns
    -------
    first, stop : int

    Examples
    --------
    >>> [shard_bounds(7, rank, 3) for rank in range(3)], shard_bounds(2, 1, 3)
    ([(0, 2), (2, 4), (4, 7)], (0, 2))
    """
    if n < world_size:
        return 0, n
    return rank * n // world_size, (rank + 1) * n // world_size


_current: ContextVar[Shard | None] = ContextVar("shard", default=None)


def current_shard() -> Shard | None:
    """Return the shard set by `sharded`, or None where a batch is not sharded.

    Returns
    -------
    Shard or None
    """
    return _current.get()


def sharded(shard: Shard | None) -> AbstractContextManager[None]:
    """Compute on one shard of a batch within the block; None is the whole batch.

    Parameters
    ----------
    shard : Shard or None

    Returns
    -------
    context manager
    """
    return nullcontext() if shard is None else _set(shard)


def unsharded() -> AbstractContextManager[None]:
    """Compute on a whole batch within the block, every process alike.

    Returns
    -------
    context manager
    """
    return nullcontext() if _current.get() is None else _set(None)


@contextmanager
def _set(shard: Shard | None) -> Iterator[None]:
    before = _current.set(shard)
    try:
        yield
    finally:
        _current.reset(before)


def draw_for_batch(draw: Callable[[int], torch.Tensor], n: int, dim: int = 0) -> torch.Tensor:
    """Draw random numbers for n rows, the same that one process would draw for them.

    Parameters
    ----------
    draw : callable
        From a number of rows to a tensor with as many along `dim`.
    n : int
        Number of local rows: the shard's, or a multiple of it when a batch holds several views.
    dim : int, default=0

    Returns
    -------
    tensor with n rows along `dim`

    Examples
    --------
    >>> with sharded(Shard(2, 3, 4)):  # two views of the third of four rows
    ...     draw_for_batch(torch.arange, 2).tolist()
    [2, 6]
    """
    shard = _current.get()
    if shard is None:
        return draw(n)
    n_views = n // (shard.stop - shard.first)
    return _rows_of_shard(draw(shard.n * n_views), shard, dim)


def draw_normal_like(x: torch.Tensor) -> torch.Tensor:
    """Draw a standard normal number for each value of x, as `torch.randn_like` does.

    Parameters
    ----------
    x : tensor of shape (batch, ...)

    Returns
    -------
    tensor of the same shape
    """
    return _draw_like(x, lambda values, generator: values.normal_(generator=generator))


def draw_uniform_like(x: torch.Tensor) -> torch.Tensor:
    """Draw a uniform number in [0, 1) for each value of x, as `torch.rand_like` does.

    Parameters
    ----------
    x : tensor of shape (batch, ...)

    Returns
    -------
    tensor of the same shape
    """
    return _draw_like(x, lambda values, generator: values.uniform_(generator=generator))


def _draw_like(
    x: torch.Tensor, fill: Callable[[torch.Tensor, torch.Generator | None], torch.Tensor]
) -> torch.Tensor:
    generator = current_generator(x.device)

    def draw_rows(n: int) -> torch.Tensor:
        # The layout in memory decides in which order the numbers are filled in.
        last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        shape = (n, *x.shape[1:])
        values = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout)
        return fill(values, generator)

    if _current.get() is None:
        return fill(torch.empty_like(x), generator)
    return draw_for_batch(draw_rows, len(x))


def local_shard(x: torch.Tensor) -> torch.Tensor:
    """Return this process's rows of a whole batch, or of several views of it, concatenated.

    Parameters
    ----------
    x : tensor of shape (batch, ...)

    Returns
    -------
    tensor of shape (rows, ...)
    """
    shard = _current.get()
    return x if shard is None else _rows_of_shard(x, shard, 0)


def _rows_of_shard(x: torch.Tensor, shard: Shard, dim: int) -> torch.Tensor:
    rows = x.unflatten(dim, (-1, shard.n)).narrow(dim + 1, shard.first, shard.stop - shard.first)
    return rows.flatten(dim, dim + 1)


def all_gather(x: torch.Tensor) -> torch.Tensor:
    """Return the rows of all processes in the order of their ranks; gradients flow back.

    Parameters
    ----------
    x : tensor of shape (rows, ...)

    Returns
    -------
    tensor of shape (batch, ...)
    """
    shard = _current.get()
    if shard is None:
        return x
    rows = x.unflatten(0, (-1, shard.stop - shard.first))
    around = (0, 0) * (x.ndim - 1) + (shard.first, shard.n - shard.stop)
    # A sum of shards padded with zeros: torch's all_gather needs shards of equal length.
    return all_reduce_sum(torch.nn.functional.pad(rows, around)).flatten(0, 1)


def rescaled_sum(local_sum: torch.Tensor) -> torch.Tensor:
    """Return the sum over the whole batch times the shard's fraction, given the shard's sum.

    A ratio with this as its denominator, averaged over the processes weighted by their
    fractions, has the sum over the whole batch as its denominator.

    Parameters
    ----------
    local_sum : tensor

    Returns
    -------
    tensor of the same shape
    """
    shard = _current.get()
    return local_sum if shard is None else all_reduce_sum(local_sum) * shard.fraction


def all_reduce_sum(x: torch.Tensor) -> torch.Tensor:
    """Return the sum of a tensor over the processes; its gradient is summed over them too."""
    return _AllReduceSum.apply(x)


# torch.distributed.nn has the same, and warns that it will be removed.
class _AllReduceSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return _AllReduceSum.apply(gradients[0])


class RandomGenerators:
    """The random generators of one run: the CPU's, and that of the device it trains on.

    Parameters
    ----------
    seed : int
        Of all of them, as `torch.manual_seed` seeds the global ones.
    device : torch.device, optional
    """

    def __init__(self, seed: int, device: torch.device | None = None) -> None:
        devices = [torch.device("cpu")]
        if device is not None and device.type != "cpu":
            devices.append(device)
        self._generators = {one.type: torch.Generator(one) for one in devices}
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Seed all generators anew.

        Parameters
        ----------
        seed : int
        """
        for generator in self._generators.values():
            generator.manual_seed(seed)

    def of(self, device: torch.device) -> torch.Generator | None:
        """Return the generator of a device; None, torch's global one, of a device without one.

        Parameters
        ----------
        device : torch.device

        Returns
        -------
        torch.Generator or None
        """
        return self._generators.get(device.type)

    def states(self) -> list[torch.Tensor]:
        """Return the states of the generators, the CPU's first.

        Returns
        -------
        list of uint8 tensors
        """
        return [generator.get_state() for generator in self._generators.values()]

    def restore(self, states: list[torch.Tensor]) -> None:
        """Restore states; those of a run on a CPU set the CPU's generator only.

        Parameters
        ----------
        states : list of uint8 tensors
        """
        for generator, state in zip(self._generators.values(), states, strict=False):
            generator.set_state(state)


_generators: ContextVar[RandomGenerators | None] = ContextVar("generators", default=None)


@contextmanager
def own_generators(generators: RandomGenerators) -> Iterator[RandomGenerators]:
    """Let the functions of this library draw from these generators within the block.

    Parameters
    ----------
    generators : RandomGenerators

    Yields
    ------
    RandomGenerators
    """
    before = _generators.set(generators)
    try:
        yield generators
    finally:
        _generators.reset(before)


def current_generator(device: torch.device) -> torch.Generator | None:
    """Return the generator to draw from; None, torch's global one, outside of a training run.

    Parameters
    ----------
    device : torch.device

    Returns
    -------
    torch.Generator or None
    """
    generators = _generators.get()
    return None if generators is None else generators.of(device)


def redirected_draws() -> AbstractContextManager[Any]:
    """Let any code of this thread draw from the current generators within the block.

    For code that takes no generator: torch's layers when they initialise their weights, and
    modules, augmentations and objectives of the caller. It costs a call of a Python function for
    each operation of torch. Outside of a training run nothing changes.

    Returns
    -------
    context manager

    Examples
    --------
    >>> before = torch.get_rng_state()
    >>> with own_generators(RandomGenerators(3)), redirected_draws():
    ...     drawn = torch.rand(2)
    >>> torch.equal(drawn, torch.rand(2, generator=torch.Generator().manual_seed(3)))
    True
    >>> torch.equal(torch.get_rng_state(), before)
    True
    """
    generators = _generators.get()
    return nullcontext() if generators is None else _RedirectedDraws(generators)


class _RedirectedDraws(TorchDispatchMode):
    """Pass a generator, and float32 where no dtype is given, to operations of this thread."""

    def __init__(self, generators: RandomGenerators) -> None:
        super().__init__()
        self.generators = generators

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # skipping imports torch's compiler, which takes seconds

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name, draw, is_factory = _signature(func)
        # The default dtype is one for all threads, and the caller's may be float64.
        whole = name == "full" and not isinstance(args[1], float)
        if is_factory and not whole and kwargs.get("dtype") is None:
            kwargs["dtype"] = torch.float32
        if draw is None or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        tensor = next((value for value in args if isinstance(value, torch.Tensor)), None)
        device = kwargs.get("device") or ("cpu" if tensor is None else tensor.device)
        generator = self.generators.of(torch.device(device))
        if generator is None:
            return func(*args, **kwargs)
        return draw(*args, **kwargs, generator=generator)


#: Operations whose dtype is torch's default where none is given.
_FACTORIES = frozenset({"empty", "zeros", "ones", "full", "rand", "randn", "eye", "linspace"})
#: Of overloads that take no generator, those that do.
_WITH_GENERATOR = {
    "default": "generator",
    "low": "low_generator",
    "low_dtype": "low_generator_dtype",
    "Tensor": "Tensor_generator",
}


@lru_cache(maxsize=1024)
def _signature(func: Any) -> tuple[str, Callable[..., Any] | None, bool]:
    """Return an operation's name, its form that takes a generator, and whether it is a factory.

    A factory without a dtype gives torch's default.
    """
    packet = func.overloadpacket
    name = packet.__name__
    names = {argument.name for argument in func._schema.arguments}  # noqa: SLF001
    is_factory = name in _FACTORIES and "dtype" in names
    if "generator" in names:
        return name, func, is_factory
    other = _WITH_GENERATOR.get(func._overloadname, "")  # noqa: SLF001
    if name.startswith("rand") and other in packet.overloads():
        return name, getattr(packet, other), is_factory
    return name, _DRAWN_OTHERWISE.get(name), is_factory


def _rand_like(x: torch.Tensor, *, generator: torch.Generator, **options: Any) -> torch.Tensor:
    return torch.empty_like(x, **options).uniform_(generator=generator)


def _randn_like(x: torch.Tensor, *, generator: torch.Generator, **options: Any) -> torch.Tensor:
    return torch.empty_like(x, **options).normal_(generator=generator)


def _dropout(
    x: torch.Tensor, p: float, train: bool | None, *, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    if train is False or p == 0:
        return x.clone(), torch.ones_like(x, dtype=torch.bool)
    mask = torch.empty_like(x, dtype=torch.bool).bernoulli_(1 - p, generator=generator)
    return x * mask * (0.0 if p == 1 else 1 / (1 - p)), mask


#: How to draw with a generator where no overload takes one.
_DRAWN_OTHERWISE: dict[str, Callable[..., Any]] = {
    "rand_like": _rand_like,  # before torch 2.9
    "randn_like": _randn_like,
    "native_dropout": _dropout,  # of GPUs
}
