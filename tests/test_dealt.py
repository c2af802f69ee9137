"""Rows that several workers read come to those that train on them, each once."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.training.dealt import Dealer, Dealt
from isthmus.workers import bounds


@given(
    mixes=st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=5), min_size=1, max_size=4),
    batch_size=st.integers(7, 50),
    size=st.integers(1, 7),
    first_step=st.integers(0, 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=200, deadline=None)
def test_every_worker_gets_its_rows_of_each_batch_in_order(
    mixes, batch_size, size, first_step, seed
):
    rng = np.random.default_rng(seed)
    n_rows = sum(map(sum, mixes))
    order = np.empty(n_rows, np.int64)  # the epoch as one worker alone has it
    got = [np.empty(0, np.int64) for _ in range(size)]
    n_read = 0
    for parts in mixes:
        values = np.arange(n_read, n_read + sum(parts))
        mixed = rng.permutation(len(values))
        order[n_read : n_read + len(values)] = values[mixed]
        readers = np.repeat(rng.integers(size, size=len(parts)), parts)
        dealers = [Dealer(n_rows, batch_size, rank, size, first_step) for rank in range(size)]
        dealt = [Dealt(dealer, n_read, mixed, readers) for dealer in dealers]
        parcels = [
            [values[readers == rank][rows] for rows in one.parcels()]
            for rank, one in enumerate(dealt)
        ]
        assert [one.n_read for one in dealt] == np.bincount(readers, minlength=size).tolist()
        for rank, one in enumerate(dealt):
            coming = [sent[rank] for sent in parcels]
            assert one.counts().tolist() == [len(rows) for rows in coming]
            rows = np.empty(len(one.rows), np.int64)
            rows[one.slots()] = np.concatenate(coming)
            assert np.array_equal(rows, values[one.rows])
            got[rank] = np.concatenate([got[rank], rows])
        n_read += len(values)
    for rank in range(size):
        expected = [got[rank][:0]]
        for first in range(first_step * batch_size, n_rows, batch_size):
            batch = order[first : first + batch_size]
            expected.append(batch[slice(*bounds(len(batch), rank, size))])
        assert np.array_equal(got[rank], np.concatenate(expected))
        assert list(dealers[rank].lengths()) == [len(batch) for batch in expected[1:]]
