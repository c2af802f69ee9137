"""Print what a training step costs: the folded conv network beside a strided one, and the
process settings that the `isthmus` command uses beside none.

    python benchmarks/training_step.py

Each case runs in a process of its own, all of them in turn, three rounds; the median is
printed with the lowest and highest round. About three minutes on two cores.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

STEPS = 40
ROUNDS = 3
KEEP = {"MALLOC_MMAP_THRESHOLD_": str(2**31 - 1), "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
CASES = {
    "folded, as `Autoencoder`": ("folded", {}),
    "folded, brief spinning": ("folded", {"GOMP_SPINCOUNT": "30000"}),
    "folded, memory kept": ("folded", KEEP),
    "folded, both (the `isthmus` command)": ("folded", KEEP | {"GOMP_SPINCOUNT": "30000"}),
    "strided 5x5-32, 3x3-64, 3x3-128, mirrored": ("strided", {}),
}


def main() -> None:
    """Run every case in turn, `ROUNDS` times."""
    found: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(ROUNDS):
        for name, (network, environment) in CASES.items():
            done = subprocess.run(
                [sys.executable, __file__, network],
                env=os.environ | environment,
                capture_output=True,
                text=True,
                check=True,
            )
            found[name].append(float(done.stdout))
    first = statistics.median(next(iter(found.values())))
    print("| training step, 256 images of 28 x 28, code of 128 | ms | ratio |")
    print("| --- | --- | --- |")
    for name, values in found.items():
        middle = statistics.median(values)
        print(
            f"| {name} | {middle:.0f} ({min(values):.0f} to {max(values):.0f}) "
            f"| {middle / first:.2f} |"
        )


def measure(network_name: str) -> float:
    """Return the median milliseconds of a step."""
    import torch
    from torch import nn
    from torch.nn import functional

    from isthmus.networks import build
    from isthmus.training import place

    torch.manual_seed(0)
    if network_name == "folded":
        networks = build("conv", (1, 28, 28), 128)
        network = nn.Sequential(networks.encoder, networks.decoder)
    else:
        network = strided()
    place(network, torch.device("cpu"))
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    x = torch.rand(256, 1, 28, 28)
    seconds = []
    for _ in range(STEPS):
        started = time.perf_counter()
        functional.binary_cross_entropy_with_logits(network(x), x).backward()
        optimizer.step()
        optimizer.zero_grad()
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
    if len(sys.argv) > 1:
        print(measure(sys.argv[1]))
    else:
        main()
