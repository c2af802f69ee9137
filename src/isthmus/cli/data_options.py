"""Options that say how data is read."""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus._core import return_freed_memory
from isthmus.cli.commands import check_files_apart, rank, whole_or_auto
from isthmus.errors import DataError, DataWarning, WindowWarning

if TYPE_CHECKING:
    from isthmus.data import Dataset
    from isthmus.data.streaming import Stream


Label = Annotated[
    str | None, typer.Option("--label", "--labels", help="Column of a table that holds the labels.")
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder with the files of a named data set.")
]
Resize = Annotated[
    str | None,
    typer.Option("--resize", help="Resize all images to this height x width, such as 28x28."),
]

ByGroup = Annotated[
    bool,
    typer.Option(
        "--by-group",
        help="Of a long table with --group: hold the rate of time points in each group, and not on "
        "average over all; --false-alarms are then those of each group.",
    ),
]


@dataclass(frozen=True)
class DataOptions:
    """Options of how data is read; every field is one, see `with_option_groups`."""

    label: Label = None
    data_dir: DataDir = None
    resize: Resize = None
    kind: Annotated[
        str,
        typer.Option(
            "--kind",
            help="Kind of data: auto, images, series or table. Pass series for arrays of windows, "
            "and for a long table (a row for each time point), which is cut into windows.",
        ),
    ] = "auto"
    time: Annotated[
        str | None, typer.Option("--time", help="Column of a long table with the time of each row.")
    ] = None
    group: Annotated[
        list[str] | None,
        typer.Option(
            "--group",
            help="Column with the machine, person or place of each row. In a long table the rows "
            "of each are one series; in other tables a detector holds its rate in each. For "
            "images, folder: each sub-folder is a group. May be repeated.",
        ),
    ] = None
    window: Annotated[
        str | None,
        typer.Option(
            "--window",
            help="Number of rows in a window of a long table, or auto (the default): as many "
            "periods of the readings as make 64 to 96 rows, or else 64.",
        ),
    ] = None
    stride: Annotated[
        str | None,
        typer.Option(
            "--stride",
            help="Rows between the starts of two windows, or auto: 1, or more so that there are at "
            "most 20,000 windows. Default: auto without --window, else the length of a window.",
        ),
    ] = None
    resample: Annotated[
        str | None,
        typer.Option(
            "--resample",
            help="Average the rows of a long table in bins of this width, such as 1s, 5min, or a "
            "number where times are numbers. Short runs of empty bins are filled.",
        ),
    ] = None
    time_zone: Annotated[
        str | None,
        typer.Option(
            "--time-zone",
            help="Time zone of local times that name none, such as Europe/Berlin; needed for the "
            "hour that comes twice when clocks go back.",
        ),
    ] = None
    window_label: Annotated[
        str | None,
        typer.Option(
            "--window-label",
            help="Label of a window whose rows have different ones: any (abnormal where one row "
            "is), majority, or last (that of the last row). Default: any with --normal or labels "
            "of -1, otherwise majority.",
        ),
    ] = None

    lazy: Annotated[
        bool,
        typer.Option(
            "--lazy",
            help="Read one .parquet or .npy file, or a folder of images, in chunks, so that it "
            "need not fit into memory. Folders of .parquet or .npy files are always read so.",
        ),
    ] = False
    keys: Annotated[
        list[str] | None,
        typer.Option(
            "--key",
            help="Column that identifies rows: no feature, but copied to the output. May be "
            "repeated.",
        ),
    ] = None
    drop: Annotated[
        list[str] | None,
        typer.Option(
            "--drop", help="Column that is left out, such as a running number. May be repeated."
        ),
    ] = None
    category: Annotated[
        list[str] | None,
        typer.Option(
            "--category",
            help="Column that is a category though it holds numbers. May be repeated.",
        ),
    ] = None
    rows: Annotated[
        str | None,
        typer.Option(
            "--rows",
            help="Rows to take, such as 0:1000, counting from 0. Output and messages name rows by "
            "their number in DATA, not in this range.",
        ),
    ] = None
    decimal: Annotated[str, typer.Option("--decimal", help="Decimal mark of a CSV file.")] = "."
    thousands: Annotated[
        str | None, typer.Option("--thousands", help="Mark between thousands in a CSV file.")
    ] = None
    date_format: Annotated[
        str | None,
        typer.Option(
            "--date-format", help="Format of dates in a CSV file, such as %d.%m.%Y for 17.05.2024."
        ),
    ] = None
    encoding: Annotated[
        str | None,
        typer.Option("--encoding", help="Encoding of a CSV file, such as cp1252; usually UTF-8."),
    ] = None
    na: Annotated[
        list[str] | None,
        typer.Option(
            "--na", help="Cell of a CSV file that stands for a missing value. May be repeated."
        ),
    ] = None
    unit: Annotated[
        list[str] | None,
        typer.Option(
            "--unit",
            help="Unit, such as % or $, that stands before or behind numbers in a CSV file and is "
            "left out. May be repeated.",
        ),
    ] = None
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            help="Column that is a feature; by default all but label, keys and dropped ones. May "
            "be repeated.",
        ),
    ] = None
    frames: Annotated[
        str,
        typer.Option(
            "--frames",
            help="Frames of TIFF, GIF and WebP files that are instances: first or all.",
        ),
    ] = "first"
    on_bad_shard: Annotated[
        str,
        typer.Option(
            "--on-bad-shard",
            help="What to do when one of several files is damaged or has other columns: fail or "
            "skip.",
        ),
    ] = "fail"

    def read(
        self,
        source: str,
        bundle: Path | None = None,
        *,
        sample: bool = False,
        normal: str | None = None,
        head: str | None = None,
        by_point: bool | None = None,
    ) -> Any:
        """Load data into memory as the options say.

        Of data that is read in chunks all instances are taken when they are few. Otherwise it is
        refused, or with `sample` instances are drawn at random, and their number is printed.

        With a bundle the data is read as its encoder expects it, see `schema` of `load`.
        """
        loaded = self.open(source, bundle, normal=normal, head=head, by_point=by_point)
        return loaded if loaded.in_memory else in_memory(loaded, sample, bundle)

    def open(
        self,
        source: str,
        bundle: Path | None = None,
        *,
        lazy: bool = False,
        normal: str | None = None,
        head: str | None = None,
        by_point: bool | None = None,
        decides: bool = True,
    ) -> Any:
        """Load data as the options say; data that is read in chunks is a stream.

        Parameters
        ----------
        source : str
        bundle : Path, optional
            Bundle that the data is for.
        lazy : bool
            Read a single file in chunks too.
        normal : str, optional
            The label that means normal, for labels of windows.
        head : str, optional
            Head of the bundle that the labels are for, see `read_window_label`.
        by_point : bool, optional
            Whether time points of series are decided, so that what windows leave out is not
            printed; by default whether the head of the bundle does.
        decides : bool
            Whether the head decides, which then needs its groups.
        """
        from isthmus.data import is_stored_codes, load

        if is_stored_codes(source):
            raise DataError(
                f"{source} holds codes that isthmus encode wrote, and this needs the instances "
                "themselves; pass those (classify, detect, label and evaluate take codes)"
            )
        options: dict[str, Any] = asdict(self) | {"resize": _size(self.resize)}
        options["lazy"], options["normal"] = lazy or self.lazy, normal
        for name in ("window", "stride"):
            if options[name] is not None:
                options[name] = whole_or_auto(f"--{name}", str(options[name]))
        options |= {
            name: options[name] or () for name in ("keys", "drop", "category", "na", "unit")
        }
        if bundle is not None:
            from isthmus.bundle import decides_points, read_manifest, read_schema, read_window_label

            by_point = decides_points(read_manifest(bundle), head) if by_point is None else by_point
            options["schema"] = schema = read_schema(bundle)
            if schema.kind == "series" and self.time is None and self.group is None:
                options |= _columns_at_fit(source, bundle, head)
            elif schema.kind != "series" and decides and not self.group:
                # Other columns of one table are carried along, and found by name.
                chunks = self.in_chunks(source, lazy=lazy)
                options |= groups_at_fit(source, bundle, head, in_chunks=chunks)
            if schema.kind == "series" and self.label is not None:
                rule, meant = read_window_label(bundle, head)
                if rule is not None and self.window_label is None:
                    options["window_label"] = rule
                    options["normal"] = meant if normal is None else normal
        with warnings_as_lines(by_point=bool(by_point)):
            loaded = load(source, **options)
        return_freed_memory()  # files that are read whole take as much again
        print_choices(loaded)
        return loaded

    def for_later_files(self, *, same: bool = False) -> list[str]:
        """Return the options that a later file of the same form needs, as words of a command.

        With `same` all that this file needs to be fitted on.
        """
        options = _OF_FILES | (_OF_FIT if same else {})
        return ["--lazy"] * (same and self.lazy) + [
            word
            for name, option in options.items()
            if (given := getattr(self, name)) != getattr(DEFAULTS, name)
            for value in (given if isinstance(given, list) else [given])
            for word in (option, str(value))
        ]

    def open_train(
        self,
        source: str,
        bundle: Path,
        *,
        label_optional: bool,
        normal: str | None = None,
        head: str | None = None,
    ) -> Any:
        """Load the training instances of data that may lack the label column, where it may."""
        if not label_optional or self.label is None:
            return self.open(source, bundle, normal=normal, head=head).train
        unlabelled = replace(self, label=None).open(source, bundle).train
        if not unlabelled.in_memory:
            try:
                return self.open(source, bundle, normal=normal, head=head)
            except DataError:  # none of the files' columns has that name
                return unlabelled
        columns = getattr(unlabelled.X, "columns", ())
        labelled = self.label in columns
        return self.open(source, bundle, normal=normal, head=head).train if labelled else unlabelled

    def in_chunks(self, source: str, *, lazy: bool = False) -> bool:
        """Return whether `open` returns a stream."""
        from isthmus.data.streaming import is_streamed

        lazy = lazy or self.lazy
        return self.data_dir is None and is_streamed(source, lazy, self.kind)


DEFAULTS = DataOptions()
#: How a file is written and which column is what, by field: what a bundle does not know.
_OF_FILES = {
    "time": "--time", "group": "--group", "resample": "--resample", "time_zone": "--time-zone",
    "keys": "--key", "decimal": "--decimal", "thousands": "--thousands",
    "date_format": "--date-format", "encoding": "--encoding", "na": "--na", "unit": "--unit",
    "resize": "--resize", "frames": "--frames",
}  # fmt: skip
_OF_FIT = {
    "label": "--label", "kind": "--kind", "window": "--window", "stride": "--stride",
    "drop": "--drop", "category": "--category", "columns": "--column", "rows": "--rows",
    "data_dir": "--data-dir",
}  # fmt: skip


def with_option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Replace parameters of a command that are dataclasses of options by those options.

    The command receives each dataclass filled in.
    """
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Callable[..., Any]] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        group = parameter.annotation
        if isinstance(group, type) and is_dataclass(group):
            groups[name] = group
            parameters += _options(group)
        else:
            parameters.append(parameter)

    @functools.wraps(command)
    def expanded(**values: Any) -> None:
        for name, group in groups.items():
            options = {option.name: values.pop(option.name) for option in _options(group)}
            values[name] = group(**options)
        check_files_apart(values)
        command(**values)

    # typer makes the options from these.
    expanded.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    expanded.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return expanded


def _options(group: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(group, eval_str=True).parameters.values())


def _columns_at_fit(source: str, bundle: Path, head: str | None) -> dict[str, Any]:
    """Return and print the columns of time and groups of a detector for a long table."""
    from isthmus.bundle import read_manifest, series_columns
    from isthmus.data.formats import is_table_file

    time, groups = series_columns(read_manifest(bundle), head)
    if (time is None and not groups) or not is_table_file(Path(source)):
        return {}
    if rank() == 0:
        parts = [] if time is None else [f"--time {time}"]
        print("as at fit: " + " ".join(parts + [f"--group {g}" for g in groups]), file=sys.stderr)
    return {"time": time, "group": list(groups)}


def point_options(
    false_alarms: str | None,
    merge_gap: str | None,
    min_length: int | None,
    causal: bool,
    by_group: bool,
) -> dict[str, Any]:
    """Return the parameters of a detector for time points that options say."""
    given: dict[str, Any] = {"false_alarms": false_alarms, "min_length": min_length}
    if merge_gap is not None:
        given["merge_gap"] = whole_or_auto("--merge-gap", merge_gap)
    given |= {"causal": causal or None, "by_group": by_group or None}
    return {name: value for name, value in given.items() if value is not None}


def groups_at_fit(
    source: str, bundle: Path, head: str | None, *, in_chunks: bool
) -> dict[str, Any]:
    """Return the columns of groups of a detector, for data that does not bring all columns."""
    from isthmus.bundle import group_columns, read_manifest

    columns = list(group_columns(read_manifest(bundle), head))
    return {"group": columns} if columns and (in_chunks or Path(source).is_dir()) else {}


def in_memory(stream: Stream, sample: bool, bundle: Path | None = None) -> Dataset:
    """Return the instances of a stream in memory, a sample of a long one where that is allowed.

    The schema is the bundle's, where there is one: learning it would read all files.
    """
    from isthmus.bundle import read_schema
    from isthmus.data.streaming import MAX_SAMPLED

    if not sample and len(stream) > MAX_SAMPLED:
        raise DataError(
            f"{stream.name} holds {len(stream):,} instances, and this command takes at most "
            f"{MAX_SAMPLED:,} of data that is read in chunks; name fewer files"
        )
    print_sampling(stream)
    schema = None if bundle is None else read_schema(bundle)
    return stream.sample(MAX_SAMPLED, 0, schema)


def print_choices(loaded: Any) -> None:
    """Print on standard error what was chosen from a long table, with the reasons."""
    points = getattr(loaded.train, "points", None)
    for choice in () if points is None or rank() > 0 else points.choices.values():
        if "reason" in choice:
            print(choice["reason"], file=sys.stderr)


def print_sampling(stream: Stream) -> None:
    """Print on standard error how many instances of a long stream are drawn."""
    from isthmus.data.streaming import MAX_SAMPLED

    if len(stream) > MAX_SAMPLED:
        print(
            f"{MAX_SAMPLED:,} of {len(stream):,} instances, drawn at random, are looked at",
            file=sys.stderr,
        )


@contextmanager
def warnings_as_lines(data: Any = None, *, by_point: bool = False) -> Iterator[None]:
    """Print each warning of isthmus as one line on standard error.

    Parameters
    ----------
    data : Dataset, optional
        Whose instances the warnings are about: rows are named by their place in its file.
    by_point : bool
        Whether time points of series are decided: of a `WindowWarning` what holds for them.
    """
    printed: set[str] = set()

    def show(message: Warning | str, *_: Any) -> None:
        text = str(message)
        if isinstance(message, DataWarning) and message.row is not None and data is not None:
            text = text.replace(message.place, data.place(message.row, message.step))
        if by_point and isinstance(message, WindowWarning):
            text = message.of_points
        if rank() == 0 and text and text not in printed:
            printed.add(text)
            print(f"warning: {text}", file=sys.stderr)

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
