"""Print what a training step costs: the folded conv network beside a strided one, the process
settings that the `isthmus` command uses beside none, and dropout and the optimiser beside torch's.

    python benchmarks/training_step.py

Each case runs in a process of its own, all of them in turn, three rounds; the median is
printed with the lowest and highest round. About four minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

STEPS = 40
ROUNDS = 3
KEEP = {"MALLOC_MMAP_THRESHOLD_": str(2**31 - 1), "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
IMAGES = {
    "folded, as `Autoencoder`": ("folded", {}),
    "folded, brief spinning": ("folded", {"GOMP_SPINCOUNT": "30000"}),
    "folded, memory kept": ("folded", KEEP),
    "folded, both (the `isthmus` command)": ("folded", KEEP | {"GOMP_SPINCOUNT": "30000"}),
    "strided 5x5-32, 3x3-64, 3x3-128, mirrored": ("strided", {}),
}
HEADS = {
    "`isthmus.networks.Dropout`": ("Dropout", {}),
    "`torch.nn.Dropout`": ("torch.nn.Dropout", {}),
    "no dropout": ("no dropout", {}),
}
STARTS = {
    "isthmus' `Optimizer`": ("Optimizer", {}),
    "`torch.optim.AdamW`": ("torch.optim.AdamW", {}),
}
TABLES = {
    "training step, 256 images of 28 x 28, code of 128": IMAGES,
    "training step of an MLP head, 1,024 codes of 128": HEADS,
    "first step of a process, CPU time": STARTS,
}


def main() -> None:
    """Run every case in turn, `ROUNDS` times; with `--case`, print the milliseconds of one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", help=argparse.SUPPRESS)  # what each process measures
    options = parser.parse_args()
    if options.case is not None:
        print(measure(options.case))
        return
    for title, cases in TABLES.items():
        found: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(ROUNDS):
            for name, (case, environment) in cases.items():
                done = subprocess.run(
                    [sys.executable, __file__, "--case", case],
                    env=os.environ | environment,
                    capture_output=True,
                    text=True,
                    check=True,
                )
                found[name].append(float(done.stdout))
        first = statistics.median(next(iter(found.values())))
        print(f"| {title} | ms | ratio |")
        print("| --- | --- | --- |")
        for name, values in found.items():
            middle = statistics.median(values)
            print(
                f"| {name} | {middle:,.1f} ({min(values):,.1f} to {max(values):,.1f}) "
                f"| {middle / first:.2f} |"
            )
        print(flush=True)


def measure(case: str) -> float:
    """Return the milliseconds of a case."""
    if case in ("folded", "strided"):
        return image_step(case)
    return first_step(case) if case in ("Optimizer", "torch.optim.AdamW") else head_step(case)


def head_step(dropout: str) -> float:
    """Return the median milliseconds of a training step of a head."""
    import torch
    from torch import nn
    from torch.nn import functional

    from isthmus.networks import Dropout

    layer = {"Dropout": Dropout, "torch.nn.Dropout": nn.Dropout}.get(dropout, nn.Identity)
    torch.manual_seed(0)
    hidden = [nn.Linear(128, 512), nn.ReLU(), layer(0.4), nn.Linear(512, 256), nn.ReLU()]
    network = nn.Sequential(*hidden, layer(0.4), nn.Linear(256, 10))
    codes, classes = torch.rand(1024, 128), torch.randint(0, 10, (1024,))

    def step() -> None:
        functional.cross_entropy(network(codes), classes).backward()
        network.zero_grad()

    return median_ms(step, 10 * STEPS)


def first_step(optimizer: str) -> float:
    """Return the milliseconds of CPU that making an optimiser and its first step take."""
    import torch

    from isthmus.training import Optimizer

    weight = torch.nn.Parameter(torch.zeros(3))
    weight.grad = torch.ones(3)
    started = time.process_time()
    if optimizer == "Optimizer":
        Optimizer([weight], "adamw").step(1e-3)
    else:
        torch.optim.AdamW([weight], 1e-3, fused=True).step()
    return 1000 * (time.process_time() - started)


def image_step(network_name: str) -> float:
    """Return the median milliseconds of a training step of an autoencoder."""
    import torch
    from torch import nn
    from torch.nn import functional

    from isthmus.networks import build
    from isthmus.training import move_to_device

    torch.manual_seed(0)
    if network_name == "folded":
        networks = build("conv", (1, 28, 28), 128)
        network = nn.Sequential(networks.encoder, networks.decoder)
    else:
        network = strided()
    move_to_device(network, torch.device("cpu"))
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    x = torch.rand(256, 1, 28, 28)

    def step() -> None:
        functional.binary_cross_entropy_with_logits(network(x), x).backward()
        optimizer.step()
        optimizer.zero_grad()

    return median_ms(step, STEPS)


def median_ms(step: Callable[[], None], n: int) -> float:
    """Return the median milliseconds of n steps, the first five left out."""
    seconds = []
    for _ in range(n):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds[5:])


def strided():  # type: ignore[no-untyped-def]
    """Build the network that the folded one is compared with."""
    from torch import nn

    encoder = [nn.Conv2d(1, 32, 5, 2, 2), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU()]
    encoder += [nn.Conv2d(64, 128, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(2048, 128)]
    decoder = [nn.Linear(128, 2048), nn.ReLU(), nn.Unflatten(1, (128, 4, 4))]
    decoder += [nn.ConvTranspose2d(128, 64, 3, 2, 1), nn.ReLU()]
    decoder += [nn.ConvTranspose2d(64, 32, 3, 2, 1, 1), nn.ReLU()]
    decoder += [nn.ConvTranspose2d(32, 1, 5, 2, 2, 1)]
    return nn.Sequential(*encoder, *decoder)


if __name__ == "__main__":
    main()
