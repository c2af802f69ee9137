"""The nearest of many reference points: exact, in bounded memory, in NumPy alone.

Two other searches remain: training (`objectives/invariant.py`) needs the single nearest code, on
the training device, and an export (`export/detector_graph.py`) has this search as a graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus._core.process_state import run_in_threads

#: Points that are searched for together, and references whose distances to them are computed at a
#: time: the block stays in the second-level cache of a core until its minima are taken.
POINTS, REFERENCES = 256, 1024
#: Members of a group of references, and groups of a group of groups.
GROUP = 16
#: References that are looked at beyond the k nearest.
SPARE = 3
#: Numbers of a block of distances that are held at one time; bytes of references that
#: `find_nearest` arranges at one time, and how many; numbers of points that are searched for
#: together, each of which is compared with some references in float64.
BLOCK, PART, PART_ROWS, WIDE = 8_000_000, 2**24, 2**14, 2**17
#: Rounding of float32; far below any squared distance in units of the largest reference; and
#: farther than points are whose products with references stay finite.
ROUNDING, TINY, FAR = 2.0**-24, 1e-36, 1e30
#: Bound of the places without a reference.
NEVER = 1e38


class NeighborIndex:
    """Reference points, arranged for the search of the nearest.

    Parameters
    ----------
    references : float array of shape (r, m)

    Attributes
    ----------
    different : float array of shape (u, m)
        The references, equal ones once.
    copies : Copies or None
        Which rows they are; None where no two are equal.
    centre : float64 array of shape (m,)
        Their mean.
    unit : float
        The largest distance of one to it; 1 where all are equal.
    slack : float
        c in the notes.
    factors : float32 array of shape (p, m + 2)
        Of each reference -r, the term without x, and -|r|; then rows that are never near.

    Notes
    -----
    The search is exact, though its one matrix product is in float32. For points x and references
    r, both relative to the mean reference and in units of the largest, it computes ::

        (1 - c) |r|^2 / 2 - x r - c |x| |r|,    c = (m + 6) 2^-24

    which is at most half of the squared distance, but for |x|^2 / 2, as the terms with c bound
    the rounding (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1). The
    smallest are found by minima: references are dealt into groups of 16, those into groups of 16
    again, and the k + 3 smallest bounds are in the groups whose own minimum is among the k + 3
    smallest. The distances of those k + 3 are computed in float64 from the differences. Where the
    k-th of them is below the largest of the bounds, no other reference can be nearer; for other
    points all references with a bound up to it are compared.

    Equal references are stored once, with their number.

    Examples
    --------
    >>> index = NeighborIndex(np.arange(5.0)[:, None])
    >>> distances, rows = index.search(np.array([[0.25]]), 2)
    >>> distances.tolist(), rows.tolist()
    ([[0.25, 0.75]], [[0, 1]])
    """

    def __init__(self, references: np.ndarray) -> None:
        self.references = references
        self.copies = Copies.find(references)
        different = references if self.copies is None else references[self.copies.first]
        self.different = different
        n, m = different.shape
        self.centre = different.mean(axis=0, dtype=np.float64)
        lengths = np.concatenate([
            np.linalg.norm(different[first : first + REFERENCES] - self.centre, axis=1)
            for first in range(0, n, REFERENCES)
        ])  # fmt: skip
        self.unit = 1.0 if lengths.max() == 0 else float(lengths.max())
        lengths /= self.unit
        self.slack = (m + 6) * ROUNDING
        # Blocks of as many references, so that one group has its members in one block.
        self._n_blocks = -(-n // REFERENCES)
        self._per_block = _up(-(-n // self._n_blocks), GROUP)
        self.factors = np.zeros((self._n_blocks * self._per_block, m + 2), dtype=np.float32)
        for first in range(0, n, REFERENCES):
            part = slice(first, min(n, first + REFERENCES))
            self.factors[part, :m] = (self.centre - different[part]) / self.unit
        self.factors[:n, m] = np.square(lengths) / 2 * (1 - self.slack)
        self.factors[n:, m] = NEVER
        self.factors[:n, m + 1] = -lengths

    def search(self, points: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the k nearest references of each point.

        Parameters
        ----------
        points : float array of shape (n, m)
        k : int
            At most r.

        Returns
        -------
        distances : float64 array of shape (n, k)
            Euclidean, the smallest first; of equal ones the first in `references`.
        rows : int64 array of shape (n, k)
            Of the references.
        """
        distances = np.empty((len(points), k))
        rows = np.empty((len(points), k), dtype=np.int64)
        most = int(np.clip(WIDE // points.shape[1], POINTS // 4, POINTS))
        at_once = int(np.clip(BLOCK // len(self.factors), 1, most))
        n_found = min(k, len(self.different))

        def search_from(first: int) -> None:
            part = slice(first, first + at_once)
            found = self._search_different(points[part], n_found)
            if self.copies is not None:
                found = self.copies.expand(*found, k)
            distances[part], rows[part] = found

        run_in_threads(search_from, range(0, len(points), at_once))
        return distances, rows

    def search_others(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the k nearest other references of each reference, copies of it included."""
        distances, rows = self.search(self.references, k + 1)
        self_ = rows == np.arange(len(rows))[:, None]
        # Among many copies of a point it may not be among its own nearest.
        self_[~self_.any(axis=1), -1] = True
        return distances[~self_].reshape(-1, k), rows[~self_].reshape(-1, k)

    def _search_different(self, points: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the k nearest among the different references."""
        wide = points.astype(np.float64)
        scaled = (wide - self.centre) / self.unit
        lengths = np.linalg.norm(scaled, axis=1)
        far = ~(lengths < FAR)
        bounds, minima = self._lower_bounds(np.where(far[:, None], 0, scaled), lengths)
        n = len(self.different)
        n_near = min(k + SPARE, n)
        near = _smallest_of(bounds, minima, n_near, self._per_block)
        largest = bounds[near, np.arange(len(near))[:, None]].max(axis=1)
        distances, rows = _nearest_of(wide, self.different[near], near, k)
        if n_near == n:
            return distances, rows
        last = (self.different[rows[:, -1]] - self.centre) / self.unit
        kth = np.square(last).sum(axis=1) / 2 - (scaled * last).sum(axis=1) + TINY
        for point in np.flatnonzero(far | ~(kth < largest)):
            near = np.arange(n) if far[point] else np.flatnonzero(bounds[:n, point] <= kth[point])
            candidates = self.different[near][None]
            one = _nearest_of(wide[[point]], candidates, near[None], k)
            distances[point], rows[point] = one[0][0], one[1][0]
        return distances, rows

    def _lower_bounds(
        self, scaled: np.ndarray, lengths: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return bounds of references and points, (r, n), and their minima by groups."""
        factors = np.ones((self.factors.shape[1], len(scaled)), dtype=np.float32)
        factors[:-2] = scaled.T
        factors[-1] = self.slack * np.minimum(lengths, FAR)
        bounds = np.empty((len(self.factors), len(scaled)), dtype=np.float32)
        n_groups = self._per_block // GROUP
        minima = np.empty((self._n_blocks * n_groups, len(scaled)), dtype=np.float32)
        for block in range(self._n_blocks):
            part = slice(block * self._per_block, (block + 1) * self._per_block)
            np.matmul(self.factors[part], factors, out=bounds[part])
            groups = bounds[part].reshape(GROUP, -1)
            into = minima[block * n_groups : (block + 1) * n_groups]
            np.minimum.reduce(groups, axis=0, out=into.reshape(-1))
        return bounds, minima


class Copies:
    """Which references are equal.

    Attributes
    ----------
    first : int64 array of shape (u,)
        The first row of each different reference, in ascending order.
    rows : int64 array of shape (r,)
        All rows, by reference.
    starts : int64 array of shape (u + 1,)
        Where the rows of each reference start in `rows`.
    """

    def __init__(self, first: np.ndarray, rows: np.ndarray, starts: np.ndarray) -> None:
        self.first, self.rows, self.starts = first, rows, starts

    @classmethod
    def find(cls, references: np.ndarray) -> Copies | None:
        """Return None where all are different."""
        keys = _row_keys(references)
        _, first, which = np.unique(keys, return_index=True, return_inverse=True)
        others = np.setdiff1d(np.arange(len(references)), first)
        alike = (references[others] == references[first[which[others]]]).all(axis=1)
        if not alike.all():  # two keys are the same by chance
            _, first, which = np.unique(references, axis=0, return_index=True, return_inverse=True)
        if len(first) == len(references):
            return None
        order = np.argsort(first)
        rank = np.empty(len(first), dtype=np.int64)
        rank[order] = np.arange(len(first))
        rows = np.argsort(rank[which], kind="stable")
        starts = np.append(0, np.cumsum(np.bincount(rank[which])))
        return cls(first[order], rows, starts)

    def expand(
        self, distances: np.ndarray, found: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the k nearest rows for the nearest different references, (n, f) each."""
        n_copies = self.starts[found + 1] - self.starts[found]
        nth = np.arange(min(k, int(n_copies.max())))
        there = nth < n_copies[:, :, None]
        rows = self.rows[self.starts[found][:, :, None] + np.where(there, nth, 0)]
        apart = np.where(there, distances[:, :, None], np.inf)
        rows, apart = rows.reshape(len(rows), -1), apart.reshape(len(rows), -1)
        order = np.lexsort((rows, apart), axis=1)[:, :k]
        return np.take_along_axis(apart, order, axis=1), np.take_along_axis(rows, order, axis=1)


def find_nearest(points: np.ndarray, references: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the k nearest references of each point: see `NeighborIndex.search`.

    `references` may be anything that gives an array for a slice, and tells its length and bytes.
    """
    at_once = max(k, min(PART_ROWS, PART * len(references) // references.nbytes))
    distances, rows = NeighborIndex(references[:at_once]).search(points, k)
    for first in range(at_once, len(references), at_once):
        part = references[first : first + at_once]
        more = NeighborIndex(part).search(points, min(k, len(part)))
        distances = np.concatenate([distances, more[0]], axis=1)
        rows = np.concatenate([rows, more[1] + first], axis=1)
        nearest = np.lexsort((rows, distances), axis=1)[:, :k]
        distances, rows = (np.take_along_axis(x, nearest, axis=1) for x in (distances, rows))
    return distances, rows


def neighbour_votes(
    points: np.ndarray,
    references: Any,
    classes: np.ndarray,
    n_classes: int,
    k: int,
    *,
    by_distance: bool,
) -> np.ndarray:
    """Return the share of each class in the votes of the k nearest references of each point.

    Parameters
    ----------
    points : float array of shape (n, m)
    references : float array of shape (r, m)
    classes : int array of shape (r,)
        Of the references, from 0.
    n_classes, k : int
    by_distance : bool
        A vote counts in inverse proportion to the distance; one at distance zero decides alone.

    Returns
    -------
    float64 array of shape (n, n_classes)

    Examples
    --------
    >>> references = np.array([[0.0], [1.0], [5.0]])
    >>> near = np.array([[0.25]])
    >>> neighbour_votes(near, references, np.array([0, 1, 1]), 2, 2, by_distance=True).tolist()
    [[0.75, 0.25]]
    """
    distances, rows = find_nearest(points, references, k)
    weights = np.ones_like(distances)
    if by_distance:
        equal = distances == 0
        with np.errstate(divide="ignore"):
            weights = np.where(equal.any(axis=1, keepdims=True), equal, 1 / distances)
    shares = weights / weights.sum(axis=1, keepdims=True)
    found, each = np.zeros((len(points), n_classes)), np.arange(len(points))
    for share, row in zip(shares.T, rows.T, strict=True):
        found[each, classes[row]] += share
    return found


def find_nearest_others(points: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the k nearest other points of each point: see `NeighborIndex.search_others`."""
    return NeighborIndex(points).search_others(k)


def _row_keys(rows: np.ndarray) -> np.ndarray:
    """Return a number for each row, equal for equal rows: sums of products modulo 2^64."""
    width = rows.shape[1] * rows.dtype.itemsize // 4
    odd = np.random.default_rng(0).integers(0, 2**63, width, dtype=np.uint64) * 2 + 1
    keys = np.empty(len(rows), dtype=np.uint64)
    for first in range(0, len(rows), REFERENCES):
        part = np.ascontiguousarray(rows[first : first + REFERENCES] + 0.0)  # -0.0 equals 0.0
        keys[first : first + REFERENCES] = part.view(np.uint32).astype(np.uint64) @ odd
    return keys


def _up(number: int, step: int) -> int:
    """Return the next multiple of a step."""
    return -(-number // step) * step


def _smallest_of(bounds: np.ndarray, minima: np.ndarray, k: int, per_block: int) -> np.ndarray:
    """Return where the k smallest bounds of each point are, in any order, (n, k).

    Parameters
    ----------
    bounds : float32 array of shape (r, n)
    minima : float32 array of shape (r / GROUP, n)
        Of groups: members are `per_block / GROUP` rows apart in a block of `per_block`.
    """
    n_groups = per_block // GROUP
    if len(minima) > 2 * k * GROUP:
        padding = np.full((_up(len(minima), GROUP) - len(minima), minima.shape[1]), NEVER)
        padded = np.concatenate([minima, padding.astype(np.float32)]) if len(padding) else minima
        n_large = len(padded) // GROUP
        large = padded.reshape(GROUP, n_large, -1).min(axis=0)
        best = _smallest(large.T, k)
        members = (best[:, :, None] + n_large * np.arange(GROUP)).reshape(len(best), -1)
        groups = _smallest_among(padded, members, k)
    else:
        groups = _smallest(minima.T, k)
    block, group = np.divmod(groups, n_groups)
    first = block * per_block + group
    members = (first[:, :, None] + n_groups * np.arange(GROUP)).reshape(len(groups), -1)
    return _smallest_among(bounds, members, k)


def _smallest_among(values: np.ndarray, members: np.ndarray, k: int) -> np.ndarray:
    """Return which members of a column, (n, c), have its k smallest values; values are (r, n)."""
    n = values.shape[1]
    found = values.reshape(-1).take(members * n + np.arange(n)[:, None])
    return np.take_along_axis(members, _smallest(found, k), axis=1)


def _smallest(values: np.ndarray, k: int) -> np.ndarray:
    """Return where the k smallest values of each row are, in any order."""
    if values.shape[1] <= k:
        return np.broadcast_to(np.arange(values.shape[1]), values.shape)
    return np.argpartition(values, k - 1, axis=1)[:, :k]


def _nearest_of(
    points: np.ndarray, candidates: np.ndarray, rows: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return distances and rows of the k nearest candidates, (n, c, m), of each point."""
    away = points[:, None, :] - candidates
    exact = np.sqrt(np.einsum("ijk,ijk->ij", away, away))
    order = np.lexsort((rows, exact), axis=1)[:, :k]
    return np.take_along_axis(exact, order, axis=1), np.take_along_axis(rows, order, axis=1)
