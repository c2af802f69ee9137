"""Refused requests, and the limits that they exceed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.errors import ServeError

#: What a status means, for the description.
MEANINGS = {
    200: "the answer",
    202: "taken, and on disk",
    400: "the body is not what its content type says",
    401: "no token, or a wrong one",
    403: "another host is asked for",
    404: "the bundle, or the service, does not have what is asked for",
    408: "headers or body took too long",
    413: "the body is too large, or holds too many instances",
    415: "the content type does not go with the instances",
    422: "the instances do not fit the bundle",
    503: "too much is asked at one time; Retry-After says when to try again",
}


class Refusal(ServeError):
    """A request that is not answered as asked.

    Parameters
    ----------
    status : int
        Of HTTP, 400 to 599.
    got, expected, fix : str
        None of them says where anything lies on the server's disk.
    headers : mapping of str to str
        To send along.
    """

    def __init__(
        self,
        status: int,
        got: str,
        expected: str,
        fix: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"got {got}, expected {expected}; {fix}")
        self.status, self.got, self.expected, self.fix = status, got, expected, fix
        self.headers = dict(headers or {})
        #: Of the bundle that was asked, when one was.
        self.digest: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the body of the answer."""
        digest = {} if self.digest is None else {"digest": self.digest}
        return digest | {"got": self.got, "expected": self.expected, "fix": self.fix}


def refusal_of(error: Exception, status: int = 422) -> Refusal:
    """Return what the library says of the data as an answer.

    Examples
    --------
    >>> refusal_of(ValueError("got x=3, expected 1 or 2; pass one of them")).to_dict()
    {'got': 'x=3', 'expected': '1 or 2', 'fix': 'pass one of them'}
    """
    words = " ".join(str(error).split())
    got, found, rest = words.partition(", expected ")
    if found:
        expected, _, fix = rest.partition("; ")
    else:
        got, _, fix = words.partition("; ")
        expected = "instances like those the bundle was fitted on"
    return Refusal(
        status,
        got.removeprefix("got ")[:2000],
        expected[:2000],
        fix[:2000] or "GET /schema says what an instance is",
    )


def add_meanings(description: dict[str, Any]) -> None:
    """Say in a description of OpenAPI what each status means."""
    for operations in description["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                answer["description"] = MEANINGS.get(int(status), answer["description"])


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
