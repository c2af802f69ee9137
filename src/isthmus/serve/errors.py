"""A request that is refused: status, and what was got, what was expected, and the fix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isthmus.errors import ServeError


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
