"""Requests that wait together are run as one batch, and each gets its own outputs."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from isthmus.serve.models import Batcher

DEADLINE = 30


def rows(*values):
    return {"X": np.array(values, dtype=float)}


def test_requests_that_wait_for_the_thread_are_one_batch():
    free, begun, sizes = threading.Event(), threading.Event(), []

    def run(fed, names):
        begun.set()
        assert free.wait(DEADLINE)
        return dict.fromkeys(names, fed["X"] * 2)

    async def main(thread):
        batcher = Batcher(run, thread, max_rows=5, on_batch=sizes.append)
        first = asyncio.create_task(batcher.run(rows(1), ["a"]))
        await asyncio.to_thread(begun.wait, DEADLINE)
        later = [
            asyncio.create_task(batcher.run(one, [name]))
            for one, name in [
                (rows(2, 3), "a"), (rows(4), "b"), (rows(5), "a"), (rows(*range(4)), "a"),
            ]
        ]  # fmt: skip
        gone = asyncio.create_task(batcher.run(rows(9), ["a"]))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        free.set()
        return await asyncio.gather(first, *later)

    with ThreadPoolExecutor(1) as thread:
        answers = asyncio.run(main(thread))
    assert sizes == [1, 3, 1, 4]
    assert [next(iter(one)) for one in answers] == ["a", "a", "b", "a", "a"]
    values = [next(iter(one.values())).tolist() for one in answers]
    assert values == [[2], [4, 6], [8], [10], [0, 2, 4, 6]]


def test_an_error_is_raised_for_its_request_only():
    def run(fed, names):
        if fed["X"][0] < 0:
            raise ValueError("below zero")
        return dict.fromkeys(names, fed["X"])

    async def main(thread):
        batcher = Batcher(run, thread)
        with pytest.raises(ValueError, match="below zero"):
            await batcher.run(rows(-1), ["a"])
        return await batcher.run(rows(1), ["a"])

    with ThreadPoolExecutor(1) as thread:
        assert asyncio.run(main(thread))["a"].tolist() == [1]


def test_concurrent_clients_get_the_same_answers_as_alone(client, digits):
    X = digits[0][:32]
    body = [{"instances": [one.tolist()]} for one in X]
    alone = [client.post("/predict", json=one).json()["predictions"][0] for one in body]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda one: client.post("/predict", json=one).json(), body))
    for one, other in zip(alone, together, strict=True):
        found = other["predictions"][0]
        assert found["class"] == one["class"]
        assert found["anomaly_score"] == pytest.approx(one["anomaly_score"], abs=1e-5)
