"""Hashes by which an encoder knows the rows it was trained on again."""

import numpy as np
import pytest

from isthmus import Autoencoder
from isthmus.autoencoder.seen import SeenRows, row_hashes


def hashes(rows):
    return row_hashes(np.asarray(rows, dtype=np.float32))


def test_equal_rows_have_equal_hashes_and_others_do_not():
    rows = np.random.default_rng(0).integers(0, 4, size=(500, 3)).astype(np.float32)

    same = hashes(rows)[:, None] == hashes(rows)[None, :]

    np.testing.assert_array_equal(same, (rows[:, None] == rows[None, :]).all(axis=-1))
    assert hashes(rows).dtype == np.uint64


def test_zero_has_one_hash_and_memory_layout_none():
    assert hashes([[-0.0, 1.0]]) == hashes([[0.0, 1.0]])
    images = np.random.default_rng(0).normal(size=(5, 4, 3)).astype(np.float32)
    turned = np.asfortranarray(images)[::-1]
    np.testing.assert_array_equal(row_hashes(turned), row_hashes(images)[::-1])


def test_repeats_are_the_share_of_rows_with_an_equal():
    seen = SeenRows.of(hashes([[1], [2], [2], [3], [3], [3], [4], [5]]))

    assert seen.repeated == 5 / 8
    assert len(seen.hashes) == 5
    assert seen.overlap(hashes([[3], [9], [1]])).tolist() == [True, False, True]


@pytest.mark.parametrize("values", [30, 300, 3000])
@pytest.mark.parametrize(("n_seen", "n_new"), [(300, 300), (300, 3000), (1000, 5000)])
def test_equals_by_chance_are_tolerated(values, n_seen, n_new):
    # New rows from the source of the training rows: whatever they share is no overlap.
    rng = np.random.default_rng(values)
    refused = 0
    for _ in range(100):
        seen = SeenRows.of(rng.integers(0, values, n_seen).astype(np.uint64))
        new = rng.integers(0, values, n_new).astype(np.uint64)
        refused += seen.overlap(new).sum() > seen.tolerated(n_new)
    assert refused <= 3


def test_none_is_tolerated_where_no_training_row_has_an_equal():
    seen = SeenRows.of(np.arange(100, dtype=np.uint64))
    assert [seen.tolerated(n) for n in (1, 100, 10_000)] == [0, 0, 0]


def test_few_repeats_do_not_let_the_training_rows_through():
    rows = np.append(np.arange(300, dtype=np.uint64), np.uint64([0, 1]))  # two pairs among them
    assert SeenRows.of(rows).tolerated(300) < 60


def test_where_all_rows_are_repeated_nothing_is_refused():
    seen = SeenRows.of(np.repeat(np.arange(3, dtype=np.uint64), 50))
    assert seen.tolerated(40) == 40


def test_an_encoder_knows_its_rows_in_any_dtype():
    counts = np.random.default_rng(0).integers(0, 1000, size=(120, 5))
    encoder = Autoencoder(n_components=2, max_epochs=1, random_state=0).fit(counts[:60])
    for dtype in (np.int64, np.uint16, np.float32, np.float64):
        seen = encoder.seen_rows_.overlap(encoder.row_hashes(counts.astype(dtype)))
        assert seen[:60].all()
        assert not seen[60:].any()


def test_an_encoder_knows_its_rows_in_any_column_order(frame):
    encoder = Autoencoder(n_components=2, max_epochs=1, random_state=0).fit(frame[:100])

    seen = encoder.seen_rows_.overlap(encoder.row_hashes(frame[frame.columns[::-1]]))

    assert seen[:100].all()
    assert not seen[100:].any()
