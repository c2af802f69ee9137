"""The nearest of many points against scikit-learn, distances written out, and small blocks."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from isthmus._core import (
    NeighborIndex,
    find_nearest,
    find_nearest_others,
    nearest_neighbors,
)


def test_nearest_codes_by_hand():
    references = np.array([[0, 0], [3, 4], [6, 8], [3, 4], [-3, 4]], dtype=np.float64)
    codes = np.array([[0, 0], [6, 8], [3, 0]], dtype=np.float64)
    distances, rows = find_nearest(codes, references, 5)
    assert rows.tolist() == [[0, 1, 3, 4, 2], [2, 1, 3, 4, 0], [0, 1, 3, 4, 2]]
    assert distances[0].tolist() == [0, 5, 5, 5, 10]
    assert distances[1].tolist() == [0, 5, 5, np.sqrt(97), 10]
    assert distances[2].tolist() == [3, 4, 4, np.sqrt(52), np.sqrt(73)]
    assert find_nearest(codes, references, 1)[1].tolist() == [[0], [2], [0]]


def test_a_few_at_a_time_are_as_all_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    codes, references = rng.normal(size=(57, 6)) + 1000, rng.normal(size=(83, 6)) + 1000
    apart = np.linalg.norm(codes[:, None] - references, axis=2)
    order = np.argsort(apart, axis=1)[:, :7]
    for block in (1, 500, 10**6):
        monkeypatch.setattr(nearest_neighbors, "BLOCK", block)
        distances, rows = find_nearest(codes, references, 7)
        np.testing.assert_array_equal(rows, order)
        np.testing.assert_allclose(distances, np.take_along_axis(apart, order, axis=1), rtol=1e-12)


def test_references_arranged_in_parts_give_the_nearest_of_all(monkeypatch):
    rng = np.random.default_rng(0)
    references = rng.integers(0, 3, (90, 4)).astype(np.float32)  # with copies in other parts
    points = rng.integers(0, 3, (40, 4)).astype(np.float32)
    for k in (1, 7, 60):
        expected = nearest_by_differences(points, references, k)
        for n_bytes in (1, 11 * references[0].nbytes, 89 * references[0].nbytes):
            monkeypatch.setattr(nearest_neighbors, "PART", n_bytes)
            for found, wanted in zip(find_nearest(points, references, k), expected, strict=True):
                np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(("n", "r", "k"), [(300, 700, 10), (5, 33, 33), (1, 2, 1), (600, 600, 7)])
def test_neighbours_are_scikit_learns(n, r, k):
    rng = np.random.default_rng(r)
    references, queries = (rng.normal(size=(m, 6)).astype(np.float32) for m in (r, n))
    expected = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(references)

    distances, rows = find_nearest(queries, references, k)

    expected_distances, expected_rows = expected.kneighbors(queries)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-5)


def test_a_point_is_no_neighbour_of_itself_and_its_copies_are():
    points = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)
    X = np.concatenate([points, np.repeat(points[:1], 20, axis=0)])

    distances, rows = find_nearest_others(X, 4)

    assert not (rows == np.arange(len(X))[:, None]).any()
    assert (distances[[0, 210]] == 0).all()
    assert all(len(set(row)) == 4 for row in rows)


def nearest_by_differences(points, references, k):
    """Every distance in float64, equal ones by row."""
    away = points[:, None].astype(np.float64) - references[None].astype(np.float64)
    apart = np.sqrt((away**2).sum(axis=2))
    order = np.argsort(apart, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(apart, order, axis=1), order


def rows_of(name):
    """References and points, float32, that a product in float32 alone gets wrong."""
    rng = np.random.default_rng(1)
    plain, new = rng.normal(size=(3000, 12)), rng.normal(size=(200, 12))
    clusters = 1e4 * rng.normal(size=(5, 12))
    found = {
        "ordinary": (plain, new),
        "far from the origin": (plain + 1e4, new + 1e4),
        "tight clusters far apart": (
            plain + clusters[rng.integers(0, 5, 3000)],
            new + clusters[rng.integers(0, 5, 200)],
        ),
        "tight, and one reference far away": (np.r_[1e-3 * plain, [[1e5] * 12]], 1e-3 * new),
        "huge": (1e30 * plain, 1e30 * new),
        "tiny": (1e-30 * plain, 1e-30 * new),
        "points far from all references": (plain, np.r_[new, 1e6 * new[:5], 1e36 * new[:5]]),
        "whole numbers": (rng.integers(0, 3, (3000, 12)), rng.integers(0, 3, (200, 12))),
        "few values": (rng.integers(0, 2, (3000, 3)), rng.integers(0, 2, (200, 3))),
        "all equal": (np.ones((3000, 12)), np.r_[np.ones((2, 12)), new[:3]]),
        "minus zero": (np.where(plain > 0, 0.0, -0.0), new),
    }[name]
    return [np.asarray(rows, dtype=np.float32) for rows in found]


@pytest.mark.parametrize(
    "name",
    [
        *("ordinary", "far from the origin", "tight clusters far apart", "huge", "tiny"),
        *("tight, and one reference far away", "points far from all references"),
        *("whole numbers", "few values", "all equal", "minus zero"),
    ],
)
def test_the_search_is_exact_and_equal_distances_are_in_the_order_of_rows(name):
    references, points = rows_of(name)

    distances, rows = find_nearest(points, references, 5)

    expected_distances, expected_rows = nearest_by_differences(points, references, 5)
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-12)
    np.testing.assert_array_equal(rows, expected_rows)


def test_a_search_does_not_depend_on_how_many_points_are_searched_for_together():
    references, points = rows_of("tight clusters far apart")
    index = NeighborIndex(references)

    whole = index.search(points, 5)

    for size in (1, 7, 64):
        parts = [index.search(points[first : first + size], 5) for first in range(0, 200, size)]
        for together, apart in zip(whole, zip(*parts, strict=True), strict=True):
            np.testing.assert_array_equal(np.concatenate(apart), together)


@pytest.mark.parametrize("r", [1, 2, 15, 16, 17, 1024, 1025, 20_000])
def test_any_number_of_references(r):
    rng = np.random.default_rng(r)
    references, points = rng.normal(size=(r, 4)), rng.normal(size=(30, 4))
    k = min(r, 9)

    distances, rows = find_nearest(points, references, k)

    expected_distances, expected_rows = nearest_by_differences(points, references, k)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-12)
