"""The nearest of many points against scikit-learn, distances written out, and small blocks."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from isthmus._core import find_nearest, find_nearest_others, nearest_neighbors


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
