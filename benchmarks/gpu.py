"""Measure isthmus on a GPU, beside loops written by hand for the same GPU.

    python benchmarks/gpu.py --data-dir FOLDER
    python benchmarks/gpu.py --only reference,encode --rounds 5

All sides run in turn in one process, which waits for the device before it reads the clock; the
first round is not counted. Printed are medians with the lowest and highest round, the ratio taken
round by round, and the share of the device's own rate of large matrix products, in bfloat16 where
isthmus computes in it.

target     seconds of `fit` to the test error where the Keras tutorial's network ends
reference  seconds of an epoch of that network; by hand with a DataLoader, and with all images on
           the device
encode     its codes, images a second; by hand with all images on the device
default    seconds of an epoch of the recipe `default`
large      seconds of an epoch on 200,000 x 30 numbers; by hand with a DataLoader

Without a GPU it says so; `--device cpu` runs it there all the same.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from common.markdown import markdown
from common.records import chosen, put_json, run, say, tables_console, versions
from common.speed_measures.fit_to_target import TARGET
from common.speed_measures.inputs import numbers
from common.speed_measures.matmul_limit import DECODER, ENCODER, operations
from isthmus import Autoencoder, load
from isthmus.errors import DataError
from isthmus.networks import build
from isthmus.training import choose_device, choose_precision

COLUMNS = ("measure", "isthmus", "by hand", "takes or does", "ratio", "share of limit, %")
Side = Callable[[int], float]
HAND, RESIDENT = "torch with a DataLoader", "torch, data on the device"


class Bench:
    """The sides of every measure on one device."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.device = options, choose_device(options.device)
        self.precision = choose_precision("auto", self.device)
        data = load(options.data, data_dir=options.data_dir)
        self.train = data.train.X[: options.rows]
        self.test = data.test.X
        self.reached: list[float] = []

    def clocked(self, do: Callable[[], object]) -> float:
        """Return the seconds until the device is done."""
        self.wait()
        started = time.perf_counter()
        do()
        self.wait()
        return time.perf_counter() - started

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def encoder(self, seed: int, **choices: Any) -> Autoencoder:
        return Autoencoder(device=str(self.device), random_state=seed, **choices)

    def epoch(self, X: np.ndarray, seed: int, **choices: Any) -> float:
        """Return the seconds of the last epochs of a fit, all but the first."""
        fitted = self.encoder(seed, max_epochs=1 + self.options.epochs, **choices).fit(X)
        return statistics.median(record["seconds"] for record in fitted.history_[1:])

    def target(self, seed: int) -> float:
        encoder = self.encoder(
            seed, n_components=128, recipe="fast", architecture="dense", max_epochs=2
        )
        seconds = self.clocked(lambda: encoder.fit(self.train))
        self.reached.append(float(encoder.reconstruction_error(self.test).mean()))
        return seconds

    def encode(self, seed: int) -> float:
        encoder = self.encoder(seed, recipe="reference", max_epochs=1).fit(self.train[:512])
        encoder.transform(self.train)
        return len(self.train) / self.clocked(lambda: encoder.transform(self.train))

    def encode_by_hand(self, seed: int) -> float:
        network = build("reference", (1, 28, 28)).encoder.to(self.device)
        x = self.floats()

        def once() -> None:
            with torch.inference_mode(), self.autocast():
                for part in x.split(4096):
                    network(part).float().cpu()

        once()
        return len(x) / self.clocked(once)

    def reference_by_hand(self, resident: bool) -> Side:
        def seconds(seed: int) -> float:
            torch.manual_seed(seed)
            parts = build("reference", (1, 28, 28))
            network = nn.Sequential(parts.encoder, parts.decoder)
            optimizer = torch.optim.Adadelta
            return self.by_hand(
                network, optimizer, self.floats(), _cross_entropy, 128, resident, lr=1.0
            )

        return seconds

    def large_by_hand(self, seed: int) -> float:
        torch.manual_seed(seed)
        network = nn.Sequential(
            *(nn.Linear(30, 128), nn.ReLU(), nn.Linear(128, 8)),
            *(nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, 30)),
        )
        x = torch.from_numpy(numbers(self.options.large_rows, 30)).float()
        return self.by_hand(network, torch.optim.AdamW, x, functional.mse_loss, 256, False, lr=3e-3)

    def by_hand(
        self,
        network: nn.Module,
        optimizer: type[torch.optim.Optimizer],
        x: torch.Tensor,
        loss: Callable[..., torch.Tensor],
        batch_size: int,
        resident: bool,
        lr: float,
    ) -> float:
        """Return the median seconds of an epoch after the first."""
        network = network.to(self.device)
        steps = optimizer(network.parameters(), lr=lr)
        x = x.to(self.device if resident else "cpu")
        if not resident:
            pinned = self.device.type == "cuda"
            loader = DataLoader(TensorDataset(x), batch_size, shuffle=True, pin_memory=pinned)

        def epoch() -> None:
            if resident:
                order = torch.randperm(len(x), device=self.device)
                batches = (x[rows] for rows in order.split(batch_size))
            else:
                batches = (batch.to(self.device, non_blocking=True) for (batch,) in loader)
            for batch in batches:
                with self.autocast():
                    output = network(batch)
                loss(output.float(), batch).backward()
                steps.step()
                steps.zero_grad()

        return statistics.median([self.clocked(epoch) for _ in range(1 + self.options.epochs)][1:])

    def floats(self) -> torch.Tensor:
        return torch.from_numpy(self.train).to(self.device)[:, None].float() / 255

    def autocast(self) -> torch.autocast:
        on = self.precision != torch.float32
        return torch.autocast(self.device.type, self.precision, enabled=on)

    def matmul_rate(self) -> float:
        """Return the operations a second of large matrix products."""
        size = self.options.matmul
        a = torch.rand(size, size, device=self.device, dtype=self.precision)
        seconds = [self.clocked(lambda: a @ a) for _ in range(10)]
        return 2 * size**3 / statistics.median(seconds[2:])

    def large(self, seed: int) -> float:
        X = numbers(self.options.large_rows, 30)
        choices = {"n_components": 8, "hidden_layer_sizes": [128], "batch_size": 256}
        return self.epoch(X, seed, **choices)

    def measures(self) -> dict[str, tuple[str, Side, dict[str, Side], float, bool]]:
        """Return title, our side, other sides, operations of an image, and whether more is better.

        Operations are 0 where no share of the limit is stated.
        """
        by_hand = {HAND: self.reference_by_hand(False), RESIDENT: self.reference_by_hand(True)}
        # A step backwards costs two forwards: one for the weights, one for what came in.
        step = 3 * operations(ENCODER + DECODER)
        return {
            "target": (f"fit to a test BCE of {TARGET}, s", self.target, {}, 0, False),
            "reference": (
                "reference network, one epoch, s",
                lambda seed: self.epoch(self.train, seed, recipe="reference"),
                *(by_hand, step, False),
            ),
            "encode": (
                "reference network, codes of images/s",
                self.encode,
                *({RESIDENT: self.encode_by_hand}, operations(ENCODER), True),
            ),
            "default": (
                "recipe `default`, one epoch, s",
                lambda seed: self.epoch(self.train, seed),
                *({}, 0, False),
            ),
            "large": (
                f"{self.options.large_rows:,} x 30 numbers, one epoch, s",
                self.large,
                *({HAND: self.large_by_hand}, 0, False),
            ),
        }


def main() -> None:
    options = arguments()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise DataError("there is no GPU that torch can use; --device cpu runs it all the same")
    bench = Bench(options)
    known = bench.measures()
    names = chosen(options.only, known)
    rate = bench.matmul_rate()
    lines, facts = [], {}
    for name in names:
        title, ours, others, needed, more = known[name]
        sides = {"isthmus": ours} | others
        found: dict[str, list[float]] = {side: [] for side in sides}
        for round_ in range(-1, options.rounds):
            for side, measure in sides.items():
                value = measure(max(0, round_))
                if round_ >= 0:
                    found[side].append(value)
                    say(f"{name}, round {round_ + 1}, {side}: {value:.4g}")
        facts[name] = found
        lines += _lines(title, found, len(bench.train) * needed / rate, needed / rate, more)
    console = tables_console(options.json)
    markdown(console, COLUMNS, lines)
    about = _about(bench, rate)
    for line in about.values():
        console.print(f"  {line}", highlight=False, markup=False)
    plain = {"benchmark": "gpu", "versions": versions(), "about": about, "seconds": facts}
    put_json(options.json, plain | {"reached": bench.reached, "matmul_rate": rate})


def _lines(
    title: str, found: dict[str, list[float]], epoch: float, image: float, more: bool
) -> list[list[str]]:
    """Return one line for each other side, or one alone; `epoch` and `image` are ideal seconds."""
    ours = found["isthmus"]
    ideal = [image * value if more else epoch / value for value in ours]
    share = f"{100 * statistics.median(ideal):.1f}" if image else ""
    lines = []
    for side in [name for name in found if name != "isthmus"] or [""]:
        theirs = found.get(side, [])
        pairs = zip(ours, theirs, strict=True) if theirs else ()
        ratio = [a / b if more else b / a for a, b in pairs]
        lines.append([title, _spread(ours), side, _spread(theirs), _spread(ratio), share])
    return lines


def _about(bench: Bench, rate: float) -> dict[str, str]:
    cuda = bench.device.type == "cuda"
    name = torch.cuda.get_device_name(bench.device) if cuda else str(bench.device)
    dtype = str(bench.precision).removeprefix("torch.")
    said = {"device": f"{name}, {dtype}, matrix products at {rate / 1e12:.1f} TFLOP/s"}
    if bench.reached:
        said["reached"] = f"test BCE of the target {max(bench.reached):.4f} at most"
    if cuda:
        peak = torch.cuda.max_memory_allocated(bench.device) / 1e9
        said["memory"] = f"at most {peak:.2f} GB of the device in use by tensors"
    return said


def _spread(values: list[float]) -> str:
    if not values:
        return ""
    middle = statistics.median(values)
    return f"{middle:,.4g} ({min(values):,.4g} to {max(values):,.4g})"


def _cross_entropy(output: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return functional.binary_cross_entropy_with_logits(output, x)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--only", metavar="NAME,NAME", help="only these measures")
    add("--device", default="cuda")
    add("--rounds", type=int, default=3)
    add("--epochs", type=int, default=3, help="of an epoch's time that count (default 3)")
    add("--data", default="mnist", help="images of 28 x 28: a name or path (default mnist)")
    add("--data-dir", metavar="FOLDER", help="where the files of a named data set lie")
    add("--rows", type=int, help="training images at most")
    add("--large-rows", type=int, default=200_000)
    add("--matmul", type=int, default=8192, help="side of the matrices of the limit")
    add("--json", metavar="PATH", help="all facts as JSON; - is standard output")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
