"""What one request, and all of them together, may take."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.serve.errors import Refusal


@dataclass(frozen=True)
class Limits:
    """Limits of the service; what is beyond is refused with a 4xx or 503 of its own.

    Attributes
    ----------
    body_bytes : int
        Of one request's body, declared or sent: 413.
    bodies_bytes : int
        Of all bodies held at one time: 503.
    decompressed_bytes : int
        Of a Parquet body, taken apart: 413.
    rows : int
        Instances in one request: 413.
    values : int
        Numbers and cells in the instances of one answer: 413.
    pixels : int
        Of one image, before it is decoded: 413.
    body_seconds : float
        For a request's body to arrive: 408. As long again for its headers.
    seconds : float
        For the answer, from when the body is there: 503.
    in_flight : int
        Requests at one time: 503.
    connections : int
        Open at one time, idle ones too: 503.
    labels_bytes : int
        Of the queue of labels: 503.
    """

    body_bytes: int = 16 * 2**20
    bodies_bytes: int = 256 * 2**20
    decompressed_bytes: int = 64 * 2**20
    rows: int = 10_000
    values: int = 4_000_000
    pixels: int = 16_000_000
    body_seconds: float = 10.0
    seconds: float = 30.0
    in_flight: int = 64
    connections: int = 1_000
    labels_bytes: int = 2**30


def check_rows(n: int, limits: Limits) -> None:
    """Check the number of instances.

    Raises
    ------
    Refusal
        422 without any, 413 with too many.
    """
    if n < 1:
        raise Refusal(422, "no instances", "one or more", "send at least one instance")
    if n > limits.rows:
        raise Refusal(
            413,
            f"{n} instances",
            f"at most {limits.rows} in one request",
            "send them in several requests",
        )
