"""Peak resident memory of the demo, in MB of 10⁶ bytes."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

from common.speed_measures.inputs import read_images
from common.speed_measures.measure import OURS, Facts, Measure, Row, Side, values

TORCH = "import torch"
ONE_FIT = """
import sys
from isthmus.cli import tune_process
tune_process()
import numpy as np
from isthmus import Autoencoder
with np.load(sys.argv[1]) as file:
    train, test = file["train"], file["test"]
Autoencoder(max_epochs=int(sys.argv[2]), random_state=0).fit(train).transform(test)
"""


def ours(options: dict[str, Any]) -> Facts:
    images = sum(part.size for part in read_images(options))
    data = images * np.dtype(np.float32).itemsize / 1e6
    if options["short"]:
        words = ["-c", ONE_FIT, options["images"], "1"]
        return {"value": peak(words), "data": data, "what": "one epoch of fit"}
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "isthmus", "demo", options["data"], "-o", f"{folder}/demo"]
        if options["data_dir"] is not None:
            words += ["--data-dir", options["data_dir"]]
        return {"value": peak(words), "data": data, "what": "the demo"}


def import_torch(options: dict[str, Any]) -> Facts:
    return {"value": peak(["-c", "import torch"])}


def peak(words: list[str]) -> float:
    """Run Python, and return the most memory that it, or any process it waited for, held.

    Of all that this process has started: so it must be the first. A process also counts what
    its parent held when it started, so this one must be small: it loads no torch.
    """
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024) / 1e6


def rows(found: dict[str, list[Facts]]) -> list[Row]:
    ours, torch = values(found, OURS), values(found, TORCH)
    data, what = found[OURS][0]["data"], found[OURS][0]["what"]
    must = "≤ 1.5 × the data as float32 + import torch"
    met, ratio = None, []
    if torch:
        most = [1.5 * data + base for base in torch]
        ratio = [own / allowed for own, allowed in zip(ours, most, strict=False)]
        met = max(ratio) <= 1
    notes = [f"the data as float32: {data:.0f} MB; measured on {what}"]
    return [
        Row("peak memory, MB", ours, must, f"{TORCH} alone", torch, ratio, met, notes, digits=0)
    ]


MEASURE = Measure(
    "memory",
    {OURS: Side(ours, peer=False), TORCH: Side(import_torch, peer=False)},
    rows,
    images=True,
    tuned=False,
)
