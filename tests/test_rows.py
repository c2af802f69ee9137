"""Batches: the same values to the last bit, whether rows are prepared once or batch by batch."""

import numpy as np
import pytest
import torch

import isthmus.training.rows as rows_module
from isthmus.data.preprocessing import learn_preprocessor
from isthmus.data.schema import Schema
from isthmus.training import Rows

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
    monkeypatch.setattr(rows_module, "_PART", part)
    rng = np.random.default_rng(1)
    some, y = rng.permutation(200)[:150], rng.integers(0, 3, 200)
    once = Rows(X, some, prepare, y)
    for size in (1, 31, 150):
        positions = rng.permutation(150)[:size]
        x, labels = once.batch(positions, CPU)
        assert torch.equal(x, torch.from_numpy(prepare(X[some[positions]])))
        assert labels.tolist() == y[some[positions]].tolist()


def test_a_small_table_is_prepared_once(counted):
    X, prepare, calls = counted
    rows = Rows(X, np.arange(100), prepare)
    for _ in range(3):
        rows.batch(np.arange(10), CPU)
    assert calls == [1, 100]  # one row says how large all of them are


def test_of_a_large_table_only_a_batch_is_prepared(counted, monkeypatch):
    X, prepare, calls = counted
    monkeypatch.setattr(rows_module, "KEPT_BYTES", 100 * 7 * 4 - 1)
    rows = Rows(X, np.arange(100), prepare)
    for _ in range(3):
        rows.batch(np.arange(10), CPU)
    assert max(calls) == 10


def test_uint8_images_stay_uint8():
    calls = []

    def prepare(images):
        calls.append(len(images))
        return np.float32(images)[:, None] / 255

    images = np.random.default_rng(0).integers(0, 256, (40, 6, 6), dtype=np.uint8)
    rows = Rows(images, np.arange(40), prepare)
    (x,) = rows.batch(np.arange(8), CPU)
    assert calls == [8]
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_kept_images_have_the_channels_last_in_memory():
    images = np.random.default_rng(0).random((40, 6, 6, 3)).astype(np.float32)

    def prepare(images):
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))

    (x,) = Rows(images, np.arange(40), prepare).batch(np.arange(4), CPU)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(x, torch.from_numpy(prepare(images[:4])))


def test_a_changed_batch_leaves_the_kept_rows_alone(counted):
    X, prepare, _ = counted
    rows = Rows(X, np.arange(100), prepare)
    (first,) = rows.batch(np.arange(10), CPU)
    before = first.clone()
    first.zero_()
    assert torch.equal(rows.batch(np.arange(10), CPU)[0], before)


def test_images_kept_on_a_gpu_are_those_prepared_in_batches(monkeypatch):
    monkeypatch.setattr(rows_module, "_PART", 7)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 6, 6), dtype=np.uint8)
    batchwise, kept = (
        Rows(images, np.arange(5, 35), lambda some: np.float32(some)[:, None] / 255)
        for _ in range(2)
    )
    positions = rng.permutation(30)[:8]
    (expected,) = batchwise.batch(positions, CPU)

    monkeypatch.setattr(rows_module, "_most_kept", lambda *_: 10**6)  # what a GPU has room for
    (x,) = kept.batch(positions, CPU)

    assert torch.equal(x, expected)
    assert x.is_contiguous(memory_format=torch.channels_last)
