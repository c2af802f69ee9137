"""Batches: the same values to the last bit, prepared once or batch by batch; held-out labels."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import isthmus.training.batches as rows_module
from isthmus.data import Schema
from isthmus.data.preprocessing import learn_preprocessor
from isthmus.distributed import RandomGenerators, own_generators, shard_bounds
from isthmus.training import (
    Batches,
    Sends,
    ShufflePlan,
    StackedBatches,
    hold_out_labelled,
    move_to_device,
    to_tensor,
)
from isthmus.training.batches import channels_last_gradients

CPU = torch.device("cpu")


@pytest.fixture
def counted():
    """A function that prepares a table, and how many rows it got at each call."""
    calls = []
    X = np.random.default_rng(0).normal(size=(200, 7)) ** 3
    learned = learn_preprocessor(X, Schema.learn(X))

    def prepare(values):
        calls.append(len(values))
        return learned.to_network(values)

    return X, prepare, calls


@pytest.mark.parametrize("part", [33, 8192])
def test_rows_prepared_once_are_those_prepared_in_batches(counted, monkeypatch, part):
    X, prepare, _ = counted
    monkeypatch.setattr(rows_module, "_CACHE_ROWS", part)
    rng = np.random.default_rng(1)
    some, y = rng.permutation(200)[:150], rng.integers(0, 3, 200)
    once = Batches(X, some, prepare, y)
    for size in (1, 31, 150):
        positions = rng.permutation(150)[:size]
        x, labels = once.batch(positions, CPU)
        assert torch.equal(x, torch.from_numpy(prepare(X[some[positions]])))
        assert labels.tolist() == y[some[positions]].tolist()


def test_a_small_table_is_prepared_once(counted):
    X, prepare, calls = counted
    rows = Batches(X, np.arange(100), prepare)
    for _ in range(3):
        rows.batch(np.arange(10), CPU)
    assert calls == [1, 100]  # one row says how large all of them are


def test_of_a_large_table_only_a_batch_is_prepared(counted, monkeypatch):
    X, prepare, calls = counted
    monkeypatch.setattr(rows_module, "CACHE_BYTES", 100 * 7 * 4 - 1)
    rows = Batches(X, np.arange(100), prepare)
    for _ in range(3):
        rows.batch(np.arange(10), CPU)
    assert max(calls) == 10


def test_uint8_images_stay_uint8():
    calls = []

    def prepare(images):
        calls.append(len(images))
        return np.float32(images)[:, None] / 255

    images = np.random.default_rng(0).integers(0, 256, (40, 6, 6), dtype=np.uint8)
    rows = Batches(images, np.arange(40), prepare)
    (x,) = rows.batch(np.arange(8), CPU)
    assert calls == [8]
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_cached_images_have_the_channels_last_in_memory():
    images = np.random.default_rng(0).random((40, 6, 6, 3)).astype(np.float32)

    def prepare(images):
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))

    (x,) = Batches(images, np.arange(40), prepare).batch(np.arange(4), CPU)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(x, torch.from_numpy(prepare(images[:4])))


def test_a_changed_batch_leaves_the_cached_rows_alone(counted):
    X, prepare, _ = counted
    rows = Batches(X, np.arange(100), prepare)
    (first,) = rows.batch(np.arange(10), CPU)
    before = first.clone()
    first.zero_()
    assert torch.equal(rows.batch(np.arange(10), CPU)[0], before)


def test_images_cached_on_a_gpu_are_those_prepared_in_batches(monkeypatch):
    monkeypatch.setattr(rows_module, "_CACHE_ROWS", 7)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 6, 6), dtype=np.uint8)
    batchwise, cached = (
        Batches(images, np.arange(5, 35), lambda some: np.float32(some)[:, None] / 255)
        for _ in range(2)
    )
    positions = rng.permutation(30)[:8]
    (expected,) = batchwise.batch(positions, CPU)

    monkeypatch.setattr(rows_module, "_max_cache_bytes", lambda *_: 10**6)  # as on a GPU
    (x,) = cached.batch(positions, CPU)

    assert torch.equal(x, expected)
    assert x.is_contiguous(memory_format=torch.channels_last)


@given(
    mixes=st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=5), min_size=1, max_size=4),
    batch_size=st.integers(7, 50),
    size=st.integers(1, 7),
    first_step=st.integers(0, 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=200)
def test_every_rank_gets_its_rows_of_each_batch_in_order(mixes, batch_size, size, first_step, seed):
    rng = np.random.default_rng(seed)
    n_rows = sum(map(sum, mixes))
    order = np.empty(n_rows, np.int64)  # the epoch as a single process has it
    got = [np.empty(0, np.int64) for _ in range(size)]
    n_read = 0
    for parts in mixes:
        values = np.arange(n_read, n_read + sum(parts))
        mixed = rng.permutation(len(values))
        order[n_read : n_read + len(values)] = values[mixed]
        readers = np.repeat(rng.integers(size, size=len(parts)), parts)
        plans = [ShufflePlan(n_rows, batch_size, rank, size, first_step) for rank in range(size)]
        sends = [Sends(plan, n_read, mixed, readers) for plan in plans]
        sent = [
            [values[readers == rank][rows] for rows in one.by_rank()]
            for rank, one in enumerate(sends)
        ]
        assert [one.n_read for one in sends] == np.bincount(readers, minlength=size).tolist()
        for rank, one in enumerate(sends):
            received = [rows_by_rank[rank] for rows_by_rank in sent]
            assert one.counts().tolist() == [len(rows) for rows in received]
            rows = np.empty(len(one.rows), np.int64)
            rows[one.slots()] = np.concatenate(received)
            assert np.array_equal(rows, values[one.rows])
            got[rank] = np.concatenate([got[rank], rows])
        n_read += len(values)
    for rank in range(size):
        expected = [got[rank][:0]]
        for first in range(first_step * batch_size, n_rows, batch_size):
            batch = order[first : first + batch_size]
            expected.append(batch[slice(*shard_bounds(len(batch), rank, size))])
        assert np.array_equal(got[rank], np.concatenate(expected))
        assert list(plans[rank].lengths()) == [len(batch) for batch in expected[1:]]


def test_the_held_out_labels_have_every_class_in_proportion():
    y = np.repeat([0, 1, 2], [60, 30, 10])

    train_rows, held_out = hold_out_labelled(y, 0.1, seed=0)

    assert np.bincount(y[held_out]).tolist() == [6, 3, 1]
    assert sorted([*train_rows, *held_out]) == list(range(100))


@pytest.mark.parametrize(
    ("y", "fraction"),
    [
        (np.arange(49) % 2, 0.1),  # fewer than 50
        (np.array([0] * 99 + [1]), 0.1),  # a class with a single one
        (np.arange(100) % 20, 0.1),  # more classes than places
        (np.arange(100) % 20, 0.9),  # more classes than would be left to train on
        (np.arange(100) % 2, 0.0),
    ],
)
def test_nothing_is_held_out_where_there_is_too_little(y, fraction):
    train_rows, held_out = hold_out_labelled(y, fraction, seed=0)

    assert held_out is None
    assert len(train_rows) == len(y)


def test_of_a_stack_each_network_gets_its_own_rows_all_before_any_comes_again():
    sizes, size = (50, 40, 7), 16
    rows = [
        100.0 * number + torch.arange(n, dtype=torch.float32)[:, None].expand(n, 3)
        for number, n in enumerate(sizes)
    ]
    batches = StackedBatches([one.contiguous() for one in rows], n_rows=50)
    with own_generators(RandomGenerators(0)) as generators:
        found = [x for (x,) in batches.shuffled(size, CPU)]
        generators.seed(0)
        later = [x for (x,) in batches.shuffled(size, CPU, first_step=2)]

    assert len(batches) == 50
    assert len(found) == batches.steps(size) == 4
    assert all(x.shape == (3, 3, size) for x in found)
    assert all(torch.equal(x[:, 0], x[:, 2]) for x in found)
    for number, n in enumerate(sizes):
        drawn = torch.cat([x[number, 0] for x in found]) - 100 * number
        for first in range(0, 4 * size, n):
            part = drawn[first : first + n].tolist()
            assert len(set(part)) == len(part)
            assert set(part) <= set(range(n))
    assert all(torch.equal(*pair) for pair in zip(found[2:], later, strict=True))


def test_gradients_of_flattened_images_keep_their_layout():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
    move_to_device(network, torch.device("cpu"))
    x = to_tensor(
        np.random.default_rng(0).random((3, 1, 8, 8), dtype=np.float32), torch.device("cpu")
    )
    layouts, gradients = [], []

    def read(gradient):
        layouts.append(gradient.is_contiguous(memory_format=torch.channels_last))

    for block in (nullcontext(), channels_last_gradients(network), nullcontext()):
        with block:
            hook = network[2].register_forward_pre_hook(
                lambda _, x: x[0].register_hook(read) and None
            )
            network(x).square().sum().backward()
            hook.remove()
        gradients.append([p.grad.clone() for p in network.parameters()])
        network.zero_grad()
    assert layouts == [False, True, False]
    for mine, plain in zip(gradients[1], gradients[0], strict=True):
        assert torch.equal(mine, plain)
