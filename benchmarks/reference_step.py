"""Print what the reference network costs on a CPU: layer by layer as listed, and as isthmus
runs it.

    python benchmarks/reference_step.py

Both run in turn in one process. CPU time is counted, so that a busy machine disturbs little;
medians are printed with the ratio of the two. The last column is the share that the
arithmetic of the listing takes of the time, at the rate of large matrix products measured
between the rounds. About one minute.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from isthmus.networks import build
from isthmus.training import move_to_device

ROUNDS = 15
BATCH, ENCODED = 128, 1024
# Multiplications of one 28 x 28 image: encoder, and encoder with decoder.
ENCODE, BOTH = 366_912, 760_896
SIDE = 1024


def main() -> None:
    """Time every case in turn, `ROUNDS` times."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    torch.manual_seed(0)
    networks = build("reference", (1, 28, 28))
    network = nn.Sequential(networks.encoder, networks.decoder)
    move_to_device(network, torch.device("cpu"))
    optimizer = torch.optim.Adadelta(network.parameters(), lr=1.0, rho=0.95, eps=1e-7)
    x = torch.rand(ENCODED, 1, 28, 28).contiguous(memory_format=torch.channels_last)
    square = torch.rand(SIDE, SIDE)

    def step(run: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> None:
        output = run(networks.decoder, run(networks.encoder, x[:BATCH]))
        functional.binary_cross_entropy_with_logits(output, x[:BATCH]).backward()
        optimizer.step()
        optimizer.zero_grad()

    def encode(run: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> None:
        with torch.inference_mode():
            run(networks.encoder, x)

    cases: dict[str, Callable[[], object]] = {
        "step listed": lambda: step(nn.Sequential.forward),
        "step": lambda: step(nn.Module.__call__),
        "encode listed": lambda: encode(nn.Sequential.forward),
        "encode": lambda: encode(nn.Module.__call__),
        "product": lambda: square @ square,
    }
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS + 1):
        for name, run in cases.items():
            started = time.process_time()
            run()
            seconds[name].append(time.process_time() - started)
    middle = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    rate = SIDE**3 / middle["product"]  # multiplications a second of CPU time

    print("| CPU time of an image | listed, µs | as run, µs | ratio | share of limit |")
    print("| --- | --- | --- | --- | --- |")
    # A training step multiplies thrice: forward, for the weights, for the inputs.
    for name, title, images, products in (
        ("step", f"training step, batch {BATCH}", BATCH, 3 * BOTH),
        ("encode", f"encoding, batch {ENCODED}", ENCODED, ENCODE),
    ):
        listed, now = (1e6 * middle[key] / images for key in (f"{name} listed", name))
        share = products / rate / (now / 1e6)
        print(f"| {title} | {listed:.0f} | {now:.0f} | {listed / now:.2f} | {share:.0%} |")
    print(f"\nmatrix products: {2 * rate / 1e9:.0f} GFLOP a second of CPU time")


if __name__ == "__main__":
    main()
