"""Encode with torch and with ONNX Runtime, in turns: images a second, and what they differ by.

python benchmarks/export.py [--rounds 5] [--images 10000] [--size 28]
"""

import argparse
import statistics
import time

import numpy as np
import torch

from isthmus import Autoencoder
from isthmus.export import (
    build_decision_graph,
    export_networks,
    inputs_of,
    keep_outputs,
    open_session,
    run,
)


def graph_of(encoder):
    """Return a session that gives codes alone, from raw images."""
    model, _ = build_decision_graph(
        encoder, export_networks(encoder), {}, inputs_of(encoder.schema_)
    )
    return open_session(keep_outputs(model, ["code"]), torch.get_num_threads())


def seconds(task):
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def compare(title, encoder, X, rounds):
    session = graph_of(encoder)

    def by_torch():
        return encoder.transform(X)

    def by_graph():
        return run(session, {"X": X}, ["code"])["code"]

    apart = np.abs(by_torch() - by_graph()).max()  # and both are warm
    times = [(seconds(by_torch), seconds(by_graph)) for _ in range(rounds)]
    rates = [len(X) / statistics.median(column) for column in zip(*times, strict=True)]
    ratios = sorted(ours / theirs for ours, theirs in times)
    print(
        f"{title:<26} torch {rates[0]:9,.0f}/s   graph {rates[1]:9,.0f}/s   ratio "
        f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})   "
        f"codes differ by {apart:.0e} at most"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=28)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    shape = (options.images, options.size, options.size)
    X = rng.integers(0, 256, shape, dtype=np.uint8)
    print(f"{options.images:,} images of {options.size} x {options.size}, uint8; "
          f"{torch.get_num_threads()} threads")  # fmt: skip
    for title, choices in (
        ("default network", {}),
        ("dense network", {"architecture": "dense"}),
        ("conv network", {"architecture": "conv"}),
        ("reference network", {"architecture": "reference"}),
    ):
        encoder = Autoencoder(max_epochs=1, random_state=0, **choices).fit(X[:256])
        compare(title, encoder, X, options.rounds)


if __name__ == "__main__":
    main()
