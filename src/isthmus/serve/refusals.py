"""Refused requests and their answers, and the limits of the service."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.errors import ServeError

#: Meaning of each status, for the OpenAPI description.
MEANINGS = {
    200: "the answer",
    202: "queued, and on disk",
    400: "the body is not what its content type says",
    401: "no token, or a wrong one",
    403: "the header Host names a host that is not allowed",
    404: "the bundle or the service does not have what the request needs",
    408: "headers or body took too long",
    413: "the body is too large, or holds too many instances",
    415: "the content type cannot hold such instances",
    422: "the instances do not fit the bundle",
    503: "too much load, or a full queue; try again after Retry-After seconds",
}


class Refusal(ServeError):
    """A request that is refused.

    Parameters
    ----------
    status : int
        HTTP status, 400 to 599.
    got, expected, fix : str
        Without paths of the server's disk.
    headers : mapping of str to str
        To add to the answer.
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
        #: Of the requested bundle, where there was one.
        self.digest: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the body of the answer."""
        digest = {} if self.digest is None else {"digest": self.digest}
        return digest | {"got": self.got, "expected": self.expected, "fix": self.fix}


#: What no client of the service can do: options of commands, and calls of the library.
_OF_PROGRAMS = re.compile(
    r"--\w|on the command line|\b(?!axis)\w+=[^=]|\bload\(|DataFrame|fit again"
)
_DESCRIPTION = "GET /schema describes an instance"


def refusal_of(error: Exception, status: int = 422) -> Refusal:
    """Return an error of the library as a refusal, with what a client can do as the fix.

    That is `request_fix` of a `DataError`, else what the message has as the fix, without the
    alternatives that only a program or a command has.

    Examples
    --------
    >>> refusal_of(ValueError("got x=3, expected 1 or 2; pass one of them")).to_dict()
    {'got': 'x=3', 'expected': '1 or 2', 'fix': 'pass one of them'}
    """
    if problems := getattr(error, "problems", ()):
        parts = [refusal_of(one, status) for one in problems]
        got, expected, fix = (
            "; ".join(dict.fromkeys(each))
            for each in zip(*((one.got, one.expected, one.fix) for one in parts), strict=True)
        )
        return Refusal(status, got[:2000], expected[:2000], fix[:2000])
    words = " ".join(str(error).split())
    got, found, rest = words.partition(", expected ")
    if found:
        expected, _, fix = rest.partition("; ")
    else:
        got, _, fix = words.partition("; ")
        expected = "instances like those the bundle was fitted on"
    fix = ", or ".join(one for one in fix.split(", or ") if not _OF_PROGRAMS.search(one))
    fix = getattr(error, "request_fix", None) or fix or _DESCRIPTION
    return Refusal(status, got.removeprefix("got ")[:2000], expected[:2000], fix[:2000])


def describe_statuses(description: dict[str, Any]) -> None:
    """Add the meaning of each status to an OpenAPI description."""
    for operations in description["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                answer["description"] = MEANINGS.get(int(status), answer["description"])


@dataclass(frozen=True)
class Limits:
    """Limits of the service; requests beyond them are refused with a 4xx or 503.

    Attributes
    ----------
    body_bytes : int
        Of one request's body, declared or sent: 413.
    bodies_bytes : int
        Of all bodies buffered at one time: 503.
    decompressed_bytes : int
        Of a Parquet body, decompressed: 413.
    rows : int
        Instances in one request: 413.
    points : int
        Time points of a series in one request: 413.
    values : int
        Numbers and cells in the instances of one answer: 413.
    pixels : int
        Of one image: 413.
    body_seconds : float
        For the headers of a request, and as long for its body: 408.
    seconds : float
        From the end of the body to the answer: 503.
    in_flight : int
        Requests at one time, each from the end of its body on: 503.
    connections : int
        Open at one time. Beyond it the longest idle, or else the slowest, is closed; 503 where all
        are being answered.
    labels_bytes : int
        Of the queue of labels: 503.

    Examples
    --------
    >>> limits = Limits(rows=100)
    >>> limits.rows, limits.seconds
    (100, 30.0)
    """

    body_bytes: int = 16 * 2**20
    bodies_bytes: int = 256 * 2**20
    decompressed_bytes: int = 64 * 2**20
    rows: int = 10_000
    points: int = 100_000
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
