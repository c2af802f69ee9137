"""Conformal test martingales: evidence against exchangeability, row by row, at any time.

The ranks come first. Let a value of a row be compared with those of the reference and of all
earlier rows of the stream, equal ones in random order::

    u = (#{below} + U (#{equal} + 1)) / (#{all} + 1),  U uniform on [0, 1)

As long as reference and stream are exchangeable, the ranks u_1, u_2, ... are independent and
uniform (Vovk, Nouretdinov and Gammerman, "Testing exchangeability on-line", ICML 2003). Ranks among
the reference alone would not be: given the reference, their distribution is a fixed one that is
not uniform, and a long stream would reveal it.

A bet is a function f >= 0 with mean 1 on [0, 1]. Money that bets on every row from row s on
multiplies to F_s(t) = f(u_s) ... f(u_t). What is bet on here is a sum over bets j and begins s::

    M(t) = c(b + 1) + sum over s <= b of (c(s) - c(s + 1)) / J  sum over j of F_js(t),
    c(k) = 1 / log2(k + 1),

where b is the number of blocks of 16 rows so far and bets begin with a block. M is a non-negative
martingale that begins at 1, so that P(M ever reaches 1 / a) <= a (Ville's inequality, 1939). Money
that is not bet yet is not lost: after T quiet rows a bet that begins now has about 1 / (T log² T)
of the whole, and a change after a long quiet stretch is still found (the prior over begins is that
of Shiryaev's procedure; see Vovk, Petej, Nouretdinov, Ahlberg, Carlsson and Gammerman, "Retrain or
not retrain: conformal test martingales for change-point detection", 2021).

The bets, each for several strengths e: on a shift, 1 + e (u - 1/2); on a change of spread,
1 + e (6 u² - 6 u + 1); and on the tail, h where u > 1 - a and (1 - a h) / (1 - a) elsewhere.

Values are compared in bins, at most 64 of them, so that the state is small and holds no rows. The
edges are chosen on a fifth of the reference and the ranks taken among the others: edges that do not
depend on what is ranked leave all of the above exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

#: Rows of a block: bets begin and evidence is looked at where one ends.
BLOCK = 16
#: Bins of the values of one part of a row, those above all edges and missing ones included.
N_BINS = 64
#: Strengths of the bets on a shift and on a change of spread.
SHIFTS = (-1.9, -1.0, -0.5, -0.25, 0.25, 0.5, 1.0, 1.9)
SPREADS = (-0.9, -0.5, 0.5, 1.5)
#: Bets on the upper and the lower tail: factors by which values in it are more frequent.
TAILS = ((3.0, 10.0), (3.0,))
#: Rows that are compared with each other at once, and values of such a comparison at most.
_SIDE, _MOST = 64, 2**22


def choose_edges(values: np.ndarray, rate: float) -> np.ndarray:
    """Return at most `N_BINS - 2` edges: one above each of a few levels, quantiles of many.

    An edge lies above the value that it is chosen at by 0.0001 standard deviations, so that the
    last digits of a number, which depend on what computed it, do not decide its bin.

    Parameters
    ----------
    values : float array of shape (n,)
        NaN is missing.
    rate : float in (0, 1)
        The upper tail that is looked at more finely.

    Examples
    --------
    >>> choose_edges(np.array([1.0, 2.0, 2.0, np.nan]), 0.01).round(3).tolist()
    [1.0, 2.0]
    """
    finite = np.sort(values[np.isfinite(values)])
    levels = np.unique(finite)
    if not len(levels):
        return levels
    if len(levels) > N_BINS - 2:
        tail = rate * 2.0 ** np.arange(-2, 3)
        n = N_BINS - 2 - len(tail)
        at = np.concatenate([np.arange(1, n + 1) / n, 1 - tail])
        levels = np.unique(np.quantile(finite, np.clip(at, 0, 1), method="inverted_cdf"))
    spread = finite.std() or abs(finite[0]) or 1.0
    return np.asarray(levels + 1e-4 * spread)


def bins_of(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the bin of each value: the number of edges below it, and the last where missing.

    Examples
    --------
    >>> bins_of(np.array([0.0, 1.0, 1.5, 9.0, np.nan]), np.array([1.0, 2.0])).tolist()
    [0, 0, 1, 2, 3]
    """
    found = np.searchsorted(edges, values, side="left")
    return np.where(np.isnan(values), len(edges) + 1, found)


def smoothed_ranks(bins: np.ndarray, counts: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Return the rank of each value among those counted and all before it.

    Parameters
    ----------
    bins : int array of shape (n, k)
        Of n rows in order, k values each.
    counts : int array of shape (k, N_BINS)
        Values by bin before the first row; those of the rows are added in place.
    uniform : array of shape (n, k), in [0, 1)
        Decides between equal ones.

    Returns
    -------
    float array of shape (n, k), in [0, 1)

    Examples
    --------
    >>> counts = np.zeros((1, N_BINS), dtype=np.int64)
    >>> smoothed_ranks(np.array([[3], [5], [4]]), counts, np.full((3, 1), 0.5)).ravel().tolist()
    [0.5, 0.75, 0.5]
    """
    n, k = bins.shape
    ranks = np.empty((n, k))
    earlier = np.tri(_SIDE, k=-1, dtype=bool)
    at_once = _SIDE * max(1, _MOST // (_SIDE * _SIDE * k))
    for first in range(0, n, at_once):
        some = bins[first : first + at_once]
        padded = np.full((-(-len(some) // _SIDE) * _SIDE, k), -1)
        padded[: len(some)] = some
        blocks = padded.reshape(-1, _SIDE, k).transpose(0, 2, 1)  # (blocks, k, side)
        own, other = blocks[..., :, None], blocks[..., None, :]
        below = ((other < own) & (other >= 0) & earlier).sum(-1, dtype=np.int64)
        equal = ((other == own) & earlier).sum(-1, dtype=np.int64)
        by_bin = np.zeros((len(blocks), k, N_BINS), dtype=np.int64)
        where = np.nonzero(blocks >= 0)
        np.add.at(by_bin, (where[0], where[1], blocks[where]), 1)
        before = counts + np.cumsum(by_bin, axis=0) - by_bin
        counts += by_bin.sum(axis=0)
        upto = np.cumsum(before, axis=-1)
        safe = np.maximum(blocks, 0)
        equal_before = np.take_along_axis(before, safe, axis=-1)
        below += np.take_along_axis(upto, safe, axis=-1) - equal_before
        equal += equal_before
        total = upto[..., -1:] + np.arange(_SIDE)
        u = uniform[first : first + at_once]
        flat = [a.transpose(0, 2, 1).reshape(-1, k)[: len(some)] for a in (below, equal, total)]
        ranks[first : first + at_once] = (flat[0] + u * (flat[1] + 1)) / (flat[2] + 1)
    return ranks


def bets(ranks: np.ndarray, rate: float) -> np.ndarray:
    """Return what each bet multiplies money by, for ranks in [0, 1): shape (..., n_bets).

    Each has mean 1 over uniform ranks, and is 0.05 or more.

    Examples
    --------
    >>> grid = (np.arange(100_000) + 0.5) / 100_000
    >>> bool(np.allclose(bets(grid, 0.01).mean(axis=0), 1, atol=1e-4))
    True
    """
    u = np.asarray(ranks)[..., None]
    shift = 1 + np.array(SHIFTS) * (u - 0.5)
    spread = 1 + np.array(SPREADS) * (6 * u * (u - 1) + 1)
    tails = []
    for in_tail, factors in zip((u >= 1 - rate, u < rate), TAILS, strict=True):
        heights = np.minimum(factors, 0.9 / rate)
        tails.append(np.where(in_tail, heights, (1 - rate * heights) / (1 - rate)))
    return np.concatenate([shift, spread, *tails], axis=-1)


#: Number of bets on each part.
N_BETS = len(SHIFTS) + len(SPREADS) + sum(map(len, TAILS))


def _log_left(blocks: np.ndarray | float) -> np.ndarray:
    """Return the logarithm of c(b + 1), the money that is not bet after so many blocks."""
    return np.asarray(-np.log(np.log2(np.asarray(blocks, dtype=np.float64) + 2)))


def _log_begins(blocks: np.ndarray) -> np.ndarray:
    """Return the logarithm of the money whose bets begin with each block, counted from 1."""
    ratio = np.exp(_log_left(blocks) - _log_left(blocks - 1))
    return np.asarray(_log_left(blocks - 1) + np.log1p(-ratio))


def plain_numbers(values: np.ndarray) -> Any:
    """Return an array as lists for JSON, with None for NaN.

    Examples
    --------
    >>> plain_numbers(np.array([1.0, np.nan]))
    [1.0, None]
    """
    plain = values.astype(object)
    plain[np.isnan(values)] = None
    return plain.tolist()


class Martingales:
    """The martingales of the parts of a row, such as its score and each of its columns.

    Parameters
    ----------
    n_parts : int
        Parts of a row: its score, its code, its columns.
    rate : float in (0, 1)
        The tail that bets are on.

    Attributes
    ----------
    n : int
        Rows so far.
    log_value : float array of shape (n_parts,)
        Logarithm of each martingale at the end of the last block.
    log_largest : float array of shape (n_parts,)
        Largest so far.

    Examples
    --------
    >>> import numpy as np
    >>> from isthmus.monitoring import Martingales
    >>> martingales = Martingales(n_parts=1, rate=0.05)
    >>> needed = np.log([100.0])
    >>> martingales.update(np.random.default_rng(0).random((320, 1)), needed)
    {}
    >>> found = martingales.update(np.full((160, 1), 0.01), needed)
    >>> begun, reached = found[0]
    >>> begun, reached
    (320, 336)
    >>> later = Martingales.from_state(martingales.state(), 1, 0.05)
    >>> later.n
    480
    """

    def __init__(self, n_parts: int, rate: float) -> None:
        self.rate, self.n = rate, 0
        shape = n_parts, N_BETS
        self._sums = np.zeros(shape)  # log of F since the first block
        self._begun = np.full(shape, -np.inf)
        self._lowest, self._lowest_at = np.zeros(shape), np.zeros(shape, dtype=np.int64)
        self._waiting = np.empty((0, n_parts))
        self.log_value, self.log_largest = np.zeros(n_parts), np.zeros(n_parts)

    def update(self, ranks: np.ndarray, log_needed: np.ndarray) -> dict[int, tuple[int, int]]:
        """Bet on the next rows.

        Parameters
        ----------
        ranks : float array of shape (n, n_parts)
            NaN where a part is not bet on yet.
        log_needed : float array of shape (n_parts,)
            Logarithm of the value that is looked for.

        Returns
        -------
        dict of int to (int, int)
            By part that reaches its value in these rows: the row with which the change began, by
            the lowest point of the sum of logarithms of its leading bet (the CUSUM estimate; Page,
            1954), and the rows there were when the value was reached.
        """
        ranks = np.concatenate([self._waiting, ranks])
        n_blocks, done = len(ranks) // BLOCK, self.n // BLOCK
        self.n = done * BLOCK + len(ranks)
        self._waiting = ranks[n_blocks * BLOCK :]
        found: dict[int, tuple[int, int]] = {}
        if not n_blocks:
            return found
        n_parts = ranks.shape[1]
        factors = bets(ranks[: n_blocks * BLOCK].reshape(n_blocks, BLOCK, n_parts), self.rate)
        # 16 factors of 0.05 or more: the product is far from the smallest number.
        logs = np.log(np.where(np.isnan(factors), 1.0, factors).prod(axis=1))
        numbers = np.arange(done + 1, done + n_blocks + 1)
        sums = self._sums + np.cumsum(logs, axis=0)
        before = np.concatenate([self._sums[None], sums[:-1]])
        begun = np.logaddexp.accumulate(
            np.concatenate([self._begun[None], _log_begins(numbers)[:, None, None] - before])
        )[1:]
        bet = np.logaddexp.reduce(sums + begun, axis=-1) - np.log(N_BETS)
        values = np.logaddexp(_log_left(numbers)[:, None], bet)
        lowest = np.minimum.accumulate(np.concatenate([self._lowest[None], before]))
        newly = np.where(before < lowest[:-1], numbers[:, None, None] - 1, 0)
        at = np.maximum.accumulate(np.concatenate([self._lowest_at[None], newly]))[1:]
        for part in np.flatnonzero((values >= log_needed).any(axis=0)).tolist():
            block = int((values[:, part] >= log_needed[part]).argmax())
            leading = int((sums + begun)[block, part].argmax())
            found[part] = int(at[block, part, leading]) * BLOCK, int(numbers[block]) * BLOCK
        self._sums, self._begun = sums[-1], begun[-1]
        self._lowest, self._lowest_at = lowest[-1], at[-1]
        self.log_value = values[-1]
        self.log_largest = np.maximum(self.log_largest, values.max(axis=0))
        return found

    def state(self) -> dict[str, Any]:
        """Return plain values from which `from_state` continues.

        Returns
        -------
        dict
            For JSON.
        """
        arrays = {name: plain_numbers(getattr(self, f"_{name}")) for name in _ARRAYS}
        arrays["begun"] = None if self.n < BLOCK else arrays["begun"]  # no infinity in JSON
        value = {name: getattr(self, name).tolist() for name in ("log_value", "log_largest")}
        return {"n": self.n} | arrays | value

    @classmethod
    def from_state(cls, state: Mapping[str, Any], n_parts: int, rate: float) -> Self:
        """Rebuild from what `state` returned.

        Parameters
        ----------
        state : mapping
            As `state` returned it.
        n_parts : int
        rate : float in (0, 1)

        Returns
        -------
        Martingales

        Raises
        ------
        ValueError, KeyError, TypeError
            When it is of another number of parts, or damaged.
        """
        made = cls(n_parts, rate)
        made.n = int(state["n"])
        for name in _ARRAYS:
            if state[name] is not None:
                there = getattr(made, f"_{name}")
                values = np.array(state[name], dtype=there.dtype).reshape(-1, *there.shape[1:])
                if name != "waiting" and values.shape != there.shape:
                    raise ValueError(f"{name} of shape {values.shape}, expected {there.shape}")
                setattr(made, f"_{name}", values)
        for name in ("log_value", "log_largest"):
            setattr(made, name, np.array(state[name], dtype=np.float64).reshape(n_parts))
        return made


_ARRAYS: Sequence[str] = ("sums", "begun", "lowest", "lowest_at", "waiting")
