"""Data as a command's options say, and as the bundle that it is for expects it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.errors import DataError

if TYPE_CHECKING:
    from isthmus.data import Dataset, Splits


def read_data(
    source: str,
    *,
    data_dir: Path | None,
    label: str | None,
    resize: str | None,
    kind: str = "auto",
    time: str | None = None,
    group: str | None = None,
    window: int | None = None,
    stride: int | None = None,
    bundle: Path | None = None,
) -> Dataset | Splits:
    """Load data as the options say; warnings become lines on standard error.

    With a bundle of series, a table is a long one, and is cut into windows as long as those
    at fit, of the channels that had the same names.
    """
    from isthmus.data import load

    cutting: dict[str, Any] = {"time": time, "group": group, "window": window, "stride": stride}
    if bundle is not None:
        kind, fitted = _as_at_fit(bundle, source, kind, window)
        cutting |= fitted
    with warnings_as_lines():
        return load(
            source, data_dir=data_dir, label=label, resize=_size(resize), kind=kind, **cutting
        )


def _as_at_fit(
    bundle: Path, source: str, kind: str, window: int | None
) -> tuple[str, dict[str, Any]]:
    from isthmus.data.files import is_table_file
    from isthmus.manifest import read_manifest

    schema = read_manifest(bundle)["encoder"]["schema"]
    path = Path(source)
    # A .ts file says itself what it holds.
    if schema["kind"] != "series" or kind not in ("auto", "series"):
        return kind, {}
    if path.suffix.lower() in (".npy", ".npz"):
        return "series", {}
    if not is_table_file(path):
        return kind, {}
    steps = schema["shape"][0]
    if window not in (None, steps):
        raise DataError(
            f"got --window {window}, and the encoder in {bundle} was fitted on windows of {steps} "
            "rows; leave --window out"
        )
    return "series", {"window": steps, "channels": schema["columns"]}


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print what isthmus warns of as one plain line each."""

    def show(message: Warning | str, *_: Any) -> None:
        print(f"warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.filterwarnings("always", category=UserWarning, module=r"isthmus\.")
        warnings.showwarning = show  # type: ignore[assignment]
        yield


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise DataError(f"got --resize {text}, expected height x width such as 28x28")
    return int(parts[0]), int(parts[1])
