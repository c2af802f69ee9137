"""Stretches of series: readings of a request in, decisions on its time points and alarms out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from fastapi import Request
from fastapi.responses import Response

from isthmus._core import reading
from isthmus.data import Schema
from isthmus.data.formats import read_csv_file
from isthmus.data.windows import TimePoints
from isthmus.detection import PointDecisions
from isthmus.errors import DataError, ExportError
from isthmus.export import PointHead, point_head
from isthmus.serve.bodies import (
    CSV,
    JSON,
    NDJSON,
    PARQUET,
    SERIES_TYPES,
    cannot_read,
    parse_json,
    plain_cell,
    read_lines_of_json,
)
from isthmus.serve.models import Served
from isthmus.serve.refusals import Limits, Refusal, refusal_of
from isthmus.serve.service import Service, check_values, collect_warnings, json_answer
from isthmus.serve.uploads import (
    MULTIPART,
    Notes,
    check_columns,
    decode_text,
    parquet_frame,
    rows_in,
    split_content_type,
    split_multipart,
)

#: Windows that are run together: others' requests are answered in between.
BATCH = 512
#: Longest name of a head or a width that an error repeats.
_MOST = 100
_EXAMPLE = '{"series": {"COLUMN": [...], ...}}'


@dataclass(frozen=True)
class SeriesColumns:
    """The query of a request: which columns of the table are what.

    Attributes
    ----------
    time : str or None
        By default the column at fit, where there is one.
    group, key : sequence of str
        Columns that tell series apart, by default those at fit; and columns to carry along.
    resample : str or None
        Width of bins of time.
    """

    time: str | None = None
    group: Sequence[str] = ()
    key: Sequence[str] = ()
    resample: str | None = None

    def as_written(self, head: PointHead) -> list[str]:
        """Return the columns that are no channels, those at fit where the query names none."""
        time, group = self.time or head.time_column, self.group or head.group_columns
        return [*([] if time is None else [time]), *group, *self.key]

    def given(self) -> dict[str, Any]:
        """Return the columns as `PointHead.time_points` takes them."""
        group = tuple(self.group) or None
        return {"time": self.time, "group": group, "keys": tuple(self.key)}


async def decide_series(
    service: Service,
    request: Request,
    served: Served,
    columns: SeriesColumns,
    head: str | None = None,
) -> Response:
    """Decide on every time point of a series, and return the alarms."""
    name, chosen = _head_of(served, head)
    content, kind = await request.body(), request.headers.get("content-type", "")
    limits = service.limits

    def points() -> tuple[TimePoints, Notes]:
        notes = Notes()
        table = read_series(content, kind, served.schema, limits, columns.as_written(chosen))
        with collect_warnings(notes):
            return _time_points(table, chosen, columns, notes), notes

    found, notes = await service.run_task(points, len(content))
    n_values = len(found) * (4 + len(found.channels))
    check_values(n_values, limits, "send a shorter stretch of the series")
    scores, parts = [], []
    for windows in chosen.windows(found, BATCH):
        outputs = await served.run(served.exported.feed(windows), [chosen.score, chosen.parts])
        scores.append(outputs[chosen.score])
        parts.append(outputs[chosen.parts])

    def answer() -> tuple[Response, dict[str, int]]:
        decided = chosen.decide_scored(found, np.concatenate(scores), np.concatenate(parts))
        plain = {"digest": served.digest, "head": name} | describe_decisions(decided, chosen)
        n_abnormal, n_known = int(decided.abnormal.sum()), int(decided.known.sum())
        counts = {"abnormal": n_abnormal, "normal": n_known - n_abnormal}
        return json_answer(plain | notes.to_dict()), counts

    response, counts = await service.run_task(answer, 8 * n_values)
    service.metrics.instances.labels(served.name).inc(len(found))
    for word, n in counts.items():
        service.metrics.verdicts.labels(served.name, f"{name}.points", word).inc(n)
    answered: Response = response
    return answered


def read_series(
    content: bytes,
    content_type: str,
    schema: Schema,
    limits: Limits,
    as_written: Sequence[str] = (),
) -> pd.DataFrame:
    """Return the long table in a request's body: a row for each time point.

    Parameters
    ----------
    content : bytes
    content_type : str
        The header Content-Type.
    schema : Schema
        Of the windows; its columns are the channels.
    limits : Limits
    as_written : sequence of str
        Columns whose cells in a CSV file stay text: `007` and `NA` are names.

    Raises
    ------
    Refusal
        400 when the body is not of its content type, 413 when it exceeds the limits, 415 when the
        content type cannot hold a series, 422 when columns are not of one length.
    """
    media_type, charset = split_content_type(content_type)
    if media_type not in SERIES_TYPES:
        raise Refusal(
            415,
            f"the content type {media_type[:_MOST]!r}" if media_type else "no content type",
            f"one of {', '.join(SERIES_TYPES)}, for a stretch of a series",
            "state the type of the body in the header Content-Type",
        )
    if not content:
        raise Refusal(400, "an empty body", f"a series as {media_type}", "send the readings")
    if media_type == MULTIPART:
        files = [one for one in split_multipart(content, content_type, limits) if one.file]
        if len(files) != 1:
            raise Refusal(422, f"{len(files)} files", "one file", "send them in several requests")
        name, parquet = str(files[0].file).lower(), files[0].content.startswith(b"PAR1")
        lines = name.endswith((".jsonl", ".ndjson"))
        kind = PARQUET if parquet else NDJSON[0] if lines else CSV
        charset = f"; charset={files[0].charset}" if files[0].charset else ""
        return read_series(files[0].content, kind + charset, schema, limits, as_written)
    if media_type != PARQUET:
        content = decode_text(content, charset)
    with reading("the body", cannot_read, f"send {media_type}, written again"):
        if media_type == PARQUET:
            return parquet_frame(content, schema, limits, check_points)
        if media_type == CSV:
            check_columns(content, schema)
            check_points(max(1, rows_in(content)), limits)
            try:
                return read_csv_file("the body", content, keys=as_written, fitting=False)[0]
            except DataError as error:
                raise refusal_of(error, 400) from error
        if media_type == JSON:
            return _frame(_series_of(content), limits)
        return _frame(read_lines_of_json(content, limits, check_points), limits)


def check_points(n: int, limits: Limits) -> None:
    """Check the number of time points.

    Raises
    ------
    Refusal
        422 without any, 413 with too many.
    """
    if n < 1:
        raise Refusal(422, "no time points", "one window or more", "send readings")
    if n > limits.points:
        raise Refusal(
            413,
            f"{n} time points",
            f"at most {limits.points} in one request",
            "send a shorter stretch of the series",
        )


def describe_decisions(decided: PointDecisions, head: PointHead) -> dict[str, Any]:
    """Return what an answer states of time points and alarms.

    Returns
    -------
    dict
        `points`, columns of equal length: those that identify a time point, `anomaly_score`,
        `p_value` and `verdict`, None where there is no score, and `n_filled`, the number of missing
        readings that are filled; `shares` by channel; `alarms`, an object for each.
    """
    decided = decided.as_written()
    table = decided.to_frame()
    own = ["anomaly_score", "p_value", "verdict", "n_filled"]
    n_own = len(own) + len(decided.points.channels)
    names, shares = table.columns[:-n_own], table.iloc[:, -len(decided.points.channels) :]
    points = {str(name): _plain(table[name]) for name in names}
    points |= {name: table[name].tolist() for name in own}
    points["verdict"] = [word or None for word in points["verdict"]]
    by_channel = zip(decided.points.channels, shares.to_numpy().T.tolist(), strict=True)
    alarms = decided.alarms(
        merge_gap=head.merge_gap, min_length=head.min_length, causal=head.causal
    )
    columns = {str(name): _plain(alarms[name]) for name in alarms}
    return {
        "points": points,
        "shares": dict(by_channel),
        "alarms": [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ],
    }


def _head_of(served: Served, name: str | None) -> tuple[str, PointHead]:
    heads = served.exported.point_heads
    try:
        chosen = point_head(heads, name)
    except ExportError as error:
        if heads:
            raise Refusal(
                422,
                "no head" if name is None else f"head={name[:_MOST]}",
                f"one of {', '.join(heads)}",
                "name it in the query: ?head=NAME",
            ) from error
        raise Refusal(
            404,
            "a bundle that does not decide on time points",
            "one with a detector that was fitted on a long table of series",
            "send windows to /predict, or have a detector fitted on a long table",
        ) from error
    return next(key for key, one in heads.items() if one is chosen), chosen


def _time_points(
    table: pd.DataFrame, head: PointHead, columns: SeriesColumns, notes: Notes
) -> TimePoints:
    table = table.set_axis([str(name) for name in table.columns], axis=1)
    lacking = [name for name in head.channels or () if name not in table]
    if lacking:
        raise Refusal(
            422,
            f"a table of the columns {[name[:_MOST] for name in table.columns[:20]]}",
            f"the channels {list(head.channels or ())[:20]}",
            f"send {', '.join(map(repr, lacking[:20]))} too; null where a reading is missing",
        )
    time = columns.time if columns.time is not None else head.time_column
    if time is not None and time in table and pd.api.types.is_string_dtype(table[time].dtype):
        # Text in CSV: numbers come out as numbers.
        numbers = pd.to_numeric(table[time], errors="coerce")
        table = table.assign(**{time: numbers}) if numbers.notna().all() else table
    elif time is not None and time not in table and columns.time is None:
        notes.warnings.append(
            f"there is no column {time!r}, the time at fit: rows are taken as they come, without "
            "gaps; name the column of the time in the query: ?time=COLUMN"
        )
    width: Any = columns.resample
    if width is not None and time in table and pd.api.types.is_numeric_dtype(table[time]):
        width = float(width) if width.replace(".", "", 1).isdigit() else width
    found = head.time_points(table, **columns.given(), resample=width)
    n_gaps = len(found.segments) - len(np.unique(found.codes[found.segments[:, 0]]))
    if n_gaps > 0:
        n_rows = int((~found.covered).sum())
        short = f", and {n_rows:,} rows in stretches shorter than one have no score"
        notes.warnings.append(
            f"{n_gaps:,} gap{'' if n_gaps == 1 else 's'} in time, or stretches without a reading; "
            f"no window crosses one{short if n_rows else ''}"
        )
    return found


def _series_of(content: bytes) -> Any:
    """Return what a JSON body has as its series."""
    plain = parse_json(content, _EXAMPLE)
    if not isinstance(plain, dict) or not isinstance(plain.get("series"), list | dict):
        raise Refusal(
            400,
            "JSON without a series",
            f"an object such as {_EXAMPLE}",
            "send a list for each column, or an object for each time point; windows go to /predict",
        )
    return plain["series"]


def _frame(series: Any, limits: Limits) -> pd.DataFrame:
    """Return a table from JSON: lists by column, or an object for each row."""
    rows = isinstance(series, list)
    if rows and all(isinstance(row, dict) for row in series):
        check_points(len(series), limits)
        names = dict.fromkeys(name for row in series for name in row)
        columns = {name: [row.get(name) for row in series] for name in names}
    elif not rows and all(isinstance(column, list) for column in series.values()):
        columns = series
    else:
        raise Refusal(
            422,
            "a series that is neither lists by column nor an object for each row",
            '{"series": {"COLUMN": [...], ...}} or {"series": [{"COLUMN": ...}, ...]}',
            "send a list for each column, all of one length",
        )
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        shortest, longest = (
            min(lengths, key=lengths.__getitem__),
            max(lengths, key=lengths.__getitem__),
        )
        raise Refusal(
            422,
            f"{lengths[shortest]} values in {shortest[:_MOST]!r} and {lengths[longest]} in "
            f"{longest[:_MOST]!r}",
            "columns of one length",
            "write null where a reading is missing",
        )
    check_points(max(lengths.values(), default=0), limits)
    for name, values in columns.items():
        for at, value in enumerate(values):
            if isinstance(value, list | dict) or (isinstance(value, int) and abs(value) >= 2**63):
                raise Refusal(
                    422,
                    f"a list, an object or a number of more than 64 bits in column "
                    f"{name[:_MOST]!r} of time point {at}",
                    "text, true or false, null, or a number of 64 bits",
                    "send one such value for each time point",
                )
    return pd.DataFrame(columns)


def _plain(column: pd.Series) -> list[Any]:
    """Return the values of a column as JSON can hold them; dates in ISO 8601."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return [None if pd.isna(one) else one.isoformat(sep=" ") for one in column]
    if column.dtype.kind in "iuf":
        return column.tolist()
    return [plain_cell(value) for value in column]
