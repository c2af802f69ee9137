"""A request that is refused: status, and what was got, what was expected, and the fix."""

from __future__ import annotations

from collections.abc import Mapping
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
