"""`isthmus monitor`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.data_options import DEFAULTS, DataOptions, warnings_as_lines, with_option_groups
from isthmus.cli.options import BundlePath, Data, Json, Part, console_for, write_json_facts
from isthmus.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

#: Exit status when the promise no longer holds: 1 and 2 are errors.
NO_LONGER_VALID = 3


@with_option_groups
def monitor(
    bundle: BundlePath,
    data: Data,
    head: Annotated[
        str | None, typer.Option(help="Name of the detector; by default the one fitted last.")
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            help="File for the state, .json: where it exists the monitor goes on from it, and it "
            "is written at the end."
        ),
    ] = None,
    level: Annotated[
        float | None,
        typer.Option(
            help="Maximum probability of a false warning, for any number of rows (default 0.01)."
        ),
    ] = None,
    part: Part = "test",
    reading: DataOptions = DEFAULTS,
    json: Json = None,
) -> None:
    """Test whether later rows are still like those that calibrated a detector.

    DATA is later rows, in the order in which they came, or with --time COLUMN in that of a column,
    which is no feature. Prints whether the promise of the false-alarm rate still holds, since when
    not, and what moved: columns, the code, the anomaly score. Several files are read in chunks.
    For a detector of time points DATA is a later series, and blocks of time are compared.

    Exit status: 0 when nothing speaks against the promise, 3 when it no longer holds, 1 for an
    error. With --state the monitor goes on from the last call: pass the rows since then alone, as
    it stores no rows, and those that are given again count again.
    """
    from isthmus.bundle import decides_points, read_manifest, read_schema

    of_table = read_schema(bundle).kind == "table"
    time = reading.time
    if of_table and time is not None and time not in (reading.keys or ()):
        reading = replace(reading, time=None, keys=[*(reading.keys or ()), time])
    by_point = not of_table and decides_points(read_manifest(bundle), head)
    loaded = reading.open(data, bundle, head=head, by_point=by_point)
    if loaded.in_memory:
        loaded = loaded.part(part)
    from isthmus.bundle import load_bundle

    detector = load_bundle(bundle).detector(head)
    with warnings_as_lines():
        from isthmus.monitoring import LEVEL, Monitor

        if state is not None and state.exists():
            made = Monitor.load(state, detector)
            if level is not None and level != made.level:
                raise DataError(
                    f"got --level {level:g}, and {state} is the state of a monitor at "
                    f"{made.level:g}; leave --level out, or begin another file"
                )
        else:
            made = detector.monitor(LEVEL if level is None else level)
        found = made.state()
        for rows, times, groups in _in_order(loaded, time if of_table else None):
            found = made.update(rows, times, groups=groups)
    if state is not None:
        made.save(state)
    console = console_for(json)
    console.print(str(found), soft_wrap=True, highlight=False)
    if state is not None:
        console.print(f"state in {state}", soft_wrap=True)
    facts = found.to_dict() | {
        "bundle": str(bundle),
        "state": None if state is None else str(state),
    }
    write_json_facts(json, facts | loaded.reading_facts())
    if not found.valid:
        raise typer.Exit(NO_LONGER_VALID)


def _in_order(loaded: Any, time: str | None) -> Iterator[tuple[Any, Any, Any]]:
    """Yield rows and times in the order of time; chunks of a stream in their own, with groups."""
    if loaded.in_memory:
        times = None if time is None else loaded.identifiers()[time]
        order = None if times is None else _order_of(times)
        if times is None or order is None:
            yield loaded, times, None
        else:
            yield loaded.take(order), times.iloc[order], None
        return
    last = None
    for chunk in loaded.chunks(keys=time is not None or bool(loaded.group_columns)):
        times = None if time is None else chunk.keys[time]
        if times is not None:
            whole = times if last is None else _joined(last, times)
            if _order_of(whole) is not None:
                raise DataError(
                    f"the rows of {loaded.name} are not in the order of {time} (rows up to "
                    f"{chunk.first_row + len(chunk)}), and data that is read in chunks cannot be "
                    "sorted; sort the files, or leave --time out and pass --key with the column"
                )
            last = times.iloc[-1:]
        yield chunk.X, times, chunk.groups


def _joined(last: pd.Series, times: pd.Series) -> pd.Series:
    import pandas as pd

    return pd.concat([last, times])


def _order_of(times: pd.Series) -> Any:
    """Return the order of times, None where they are in order or cannot be read as times."""
    import pandas as pd

    try:
        read = pd.to_numeric(times)
    except (ValueError, TypeError):
        try:
            read = pd.to_datetime(times, format="mixed")
        except (ValueError, TypeError):
            print(
                f"warning: {times.name} cannot be read as numbers or times; the rows are taken in "
                "their order in the file",
                file=sys.stderr,
            )
            return None
    return (
        None if read.is_monotonic_increasing else read.reset_index(drop=True).argsort().to_numpy()
    )
