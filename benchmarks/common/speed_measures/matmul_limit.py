"""What the machine can do at most, and what the reference network asks of it."""

from __future__ import annotations

import statistics
import time

#: Convolutions of the reference network on a 28 x 28 image, as the Keras tutorial lists them:
#: height and width of the output, channels in and out. All are 3 x 3.
ENCODER = ((28, 1, 16), (14, 16, 8), (7, 8, 8))
DECODER = ((4, 8, 8), (4, 8, 8), (8, 8, 8), (14, 8, 16), (28, 16, 1))


def operations(layers: tuple[tuple[int, int, int], ...]) -> int:
    """Return the floating-point operations of one image: two for each multiply-add.

    >>> operations(ENCODER)
    733824
    """
    return sum(2 * 9 * side * side * before * after for side, before, after in layers)


def matmul_rate(size: int = 2048, repeats: int = 7) -> float:
    """Return the operations a second of torch's float32 product of two square matrices."""
    import torch

    a, b = torch.rand(size, size), torch.rand(size, size)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / statistics.median(seconds[1:])
