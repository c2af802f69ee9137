"""`isthmus suggest` and `isthmus label`: which rows to label next, and the labels they got."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.bundle import read_normal
from isthmus.cli.data_options import (
    DEFAULTS,
    DataOptions,
    warnings_as_lines,
    with_option_groups,
)
from isthmus.cli.labelled_data import (
    LabelsFrom,
    check_detector_labels_of,
    input_columns,
    read_instances_or_codes,
)
from isthmus.cli.options import (
    BundlePath,
    Data,
    Json,
    Normal,
    Part,
    console_for,
    detector_facts,
    window_label_facts,
    write_json_facts,
)
from isthmus.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console


@with_option_groups
def suggest(
    bundle: BundlePath,
    data: Data,
    n: Annotated[int, typer.Option("-n", "--number", min=1, help="Number of rows.")] = 20,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File for the rows: .csv, .parquet or .xlsx.",
        ),
    ] = None,
    head: Annotated[
        str | None, typer.Option(help="Name of the head; by default the one fitted last.")
    ] = None,
    part: Part = "train",
    typical: Annotated[
        bool,
        typer.Option(
            "--typical",
            help="As for the first labels of classes, without a head: the most typical row of "
            "each of as many groups of similar rows. So it is where BUNDLE has no head.",
        ),
    ] = False,
    reading: DataOptions = DEFAULTS,
    with_input: Annotated[
        bool,
        typer.Option(
            "--with-input", help="Of a table: also write its columns, so that FILE can be labelled."
        ),
    ] = False,
    json: Json = None,
) -> None:
    """List the rows that are most worth labelling next: uncertain, and unlike each other.

    Prints a line for each row, the most informative first. row is its number in DATA, counting
    from 0. For a detector the columns are anomaly_score, p_value and, as the reason, the value
    with the largest residual and its share. For a classifier they are doubt, 1 minus the gap
    between the probabilities of the two likeliest classes, and these classes as the reason. Of a
    bundle without a head, and with --typical, share is that of the rows that it is typical of. The
    column --label is no feature; where some rows have a label, the others are chosen from.

    With --with-input the file -o has the columns of a table too, so that a person sees what to
    label. With the cells of a column filled in, isthmus label BUNDLE FILE --label COLUMN takes it
    as it is for a detector, and isthmus classify for the first labels of classes. Later labels of
    classes belong into one file with those before: isthmus classify fits on all of them.
    """
    from isthmus.cli.results import TABLES, check_suffix, write_table

    if output is not None:
        check_suffix(output, *TABLES)
    elif with_input:
        raise DataError("got --with-input and no output to write them to; name one with -o")
    if typical and head is not None:
        raise DataError("got --typical and --head, expected one of the two: it takes no head")
    instances = reading.read(data, bundle, by_point=False, head=head).part(part)
    import pandas as pd

    from isthmus.bundle import load_bundle
    from isthmus.classification import CodeClassifier
    from isthmus.data import MISSING, with_identifiers
    from isthmus.encoding import MAX_GROUPED

    if with_input and not isinstance(instances.X, pd.DataFrame):
        raise DataError(
            f"got --with-input and {instances.kind}, expected a table with column names; of other "
            "data carry columns along with --key COLUMN"
        )
    n_read, unlabelled = len(instances), None
    if instances.y is not None:
        unlabelled = ~MISSING.has_label(instances.y)
        if unlabelled.any():
            instances = instances.take(unlabelled.nonzero()[0])
    with warnings_as_lines():
        opened = load_bundle(bundle)
        typical = typical or (head is None and not opened.heads)
        chooser = CodeClassifier(opened.encoder) if typical else opened.head(head)
        table = chooser.suggestions(instances, n)
    rows = table["row"].to_numpy()
    table = table.reset_index(drop=True).assign(row=instances.row_numbers()[rows])
    identifiers = instances.identifiers().iloc[rows]
    if instances.keys is not None and "row" in instances.keys:
        table = table.rename(columns={"row": "row_number"})
    else:  # beside a group
        identifiers = identifiers.drop(columns="row", errors="ignore")
    table = with_identifiers(identifiers, table)
    console = console_for(json)
    if output is not None:  # before a reader of what is printed may go
        written = table
        if with_input:
            columns = input_columns(instances.take(rows), reading.label)
            written = table.join(_without_names_of(columns, table, console))
        write_table(output, written)
    text = f"{len(table):,} of {len(instances):,} rows to look at, counting from 0"
    if len(instances) < n_read:
        text += f"; {n_read - len(instances):,} with a label are left out"
    console.print(text)
    n_grouped = min(len(instances), max(MAX_GROUPED, n))
    of_classes = "anomaly_score" not in table
    if of_classes and n_grouped < len(instances):
        console.print(f"typical ones are of groups of {n_grouped:,} of them, drawn at random")
    for text in _table_lines(table):
        console.print(text, soft_wrap=True)
    if output is not None:
        console.print(f"rows in {output}", soft_wrap=True)
    plain = [_plain_row(row) for row in table.astype(object).to_dict("records")]
    facts: dict[str, Any] = {"n": len(table), "rows": plain} | instances.reading_facts()
    facts |= {"n_grouped": n_grouped} if of_classes else {}
    write_json_facts(json, facts | {"output": None if output is None else str(output)})


def _without_names_of(columns: pd.DataFrame, table: pd.DataFrame, console: Console) -> pd.DataFrame:
    """Return the columns that have no name of the table; print which are left out."""
    both = [name for name in columns if name in table]
    if both:
        console.print(
            f"left out {', '.join(map(str, both))} of the input, which the output has under the "
            "same name",
            soft_wrap=True,
        )
    return columns.drop(columns=both)


def _table_lines(table: pd.DataFrame) -> list[str]:
    return table.to_string(index=False, float_format=lambda value: f"{value:.4f}").splitlines()


def _plain_row(row: dict[Any, Any]) -> dict[str, Any]:
    """Return a row as plain values for JSON: numbers of Python, times as text."""
    values = {name: getattr(value, "item", lambda v=value: v)() for name, value in row.items()}
    simple = str | int | float | None
    return {n: value if isinstance(value, simple) else str(value) for n, value in values.items()}


@with_option_groups
def label(
    bundle: BundlePath,
    data: Annotated[
        str | None, typer.Argument(help="Labelled instances: a name or path, as for isthmus fit.")
    ] = None,
    queue: Annotated[
        Path | None,
        typer.Option(help="Instead of DATA: the file of isthmus serve --labels, for every head."),
    ] = None,
    stretches: Annotated[
        Path | None,
        typer.Option(
            help="With a long table as DATA: a .csv or .parquet file with columns from, to and, "
            "where there are, label and those of --group. Without a label a stretch is abnormal."
        ),
    ] = None,
    normal: Normal = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--head",
            "--name",
            help="Name of the detector; by default the one fitted last. With --queue: only it.",
        ),
    ] = None,
    labels_from: LabelsFrom = None,
    reading: DataOptions = DEFAULTS,
    json: Json = None,
) -> None:
    """Update a head with new labels, and save it as a new version.

    DATA labels a detector: 1 is normal, -1 abnormal, 0 removes a label; others, and labels of only
    0 and 1, need --normal, by default that of the fit. Rows with an empty cell are left out. A row
    that the detector was fitted on gets the label, any other row is added. The encoder is not
    trained. DATA may be codes that isthmus encode --for-heads wrote.

    With --stretches the labels are those of stretches of time of a long table, from and to with
    both ends, as dates or numbers like its times, or rows where it has no time. Windows with an
    abnormal row become abnormal, those that lie in normal stretches normal.

    With --queue the labels are those that a service received, for classifiers too. Of several
    labels of one instance the last counts. Labels that a head already has change nothing.
    """
    if queue is not None:
        if data is not None or normal is not None or stretches or reading != DEFAULTS:
            raise DataError(
                "got --queue and data or options to read it by, expected one of the two; a queue "
                "says itself what its labels mean"
            )
        _update_from_queue(bundle, queue, name, json)
        return
    if data is None:
        raise DataError(
            "got no labels; pass them: isthmus label BUNDLE DATA --label COLUMN, or those of a "
            "service: isthmus label BUNDLE --queue queue.jsonl"
        )
    _check_learns_labels(bundle, name)
    console = console_for(json)
    meant = read_normal(bundle, name, detects=True) if normal is None else normal
    loaded = read_instances_or_codes(
        reading, data, bundle, labels_from, console, sample=False, normal=meant, head=name
    ).train
    if stretches is not None:
        _label_stretches(bundle, loaded, stretches, normal, name, json)
        return
    if loaded.y is None:
        raise DataError(f"{data} has no labels; name the column with --label COLUMN")
    import numpy as np

    from isthmus.bundle import add_head, bundle_lock, load_bundle, read_manifest
    from isthmus.data import MISSING

    looked_at = np.flatnonzero(MISSING.has_label(loaded.y))
    if not len(looked_at):
        words = "1 (normal) or -1 (abnormal)"
        if meant is not None:
            words = f"{meant} where a row is normal, and another label where it is not"
        raise DataError(f"all labels in {data} are empty; fill in {words}")
    read_manifest(bundle)  # before a lock is made beside it
    # From loading to saving: labels that another process adds in between would be lost.
    with bundle_lock(bundle):
        opened = load_bundle(bundle)
        detector = opened.detector(name)
        if normal is not None:
            check_detector_labels_of(loaded, normal)
        stored = next(known for known, head in opened.heads.items() if head is detector)
        before = len(detector.reference_set_.y)
        with warnings_as_lines():
            detector.add_labels(loaded.take(looked_at).X, loaded.y[looked_at], normal=normal)
        version = add_head(bundle, stored, detector, window_label=loaded.window_label)
    added = len(detector.reference_set_.y) - before
    facts = detector_facts(detector)
    console.print(f"{len(looked_at):,} labels, {added:,} of them of rows that are new to it")
    from isthmus.cli.results import print_detector  # it imports pandas

    print_detector(console, facts)
    console.print(f"head {stored!r}, version {version}, is in {bundle}", soft_wrap=True)
    facts |= {"name": stored, "version": version, "bundle": str(bundle)}
    facts |= loaded.reading_facts() | window_label_facts(console, loaded)
    write_json_facts(json, facts | {"n_given": len(looked_at), "n_new": added})


def _check_learns_labels(bundle: Path, name: str | None) -> None:
    """Refuse labels of a file for a classifier, which `isthmus classify` fits on all labels."""
    from isthmus.bundle import read_manifest

    heads = read_manifest(bundle)["heads"]
    classifiers = [known for known, facts in heads.items() if "classes" in facts]
    if classifiers and (name in classifiers or (name is None and len(classifiers) == len(heads))):
        from isthmus.classification import HEADS

        called = classifiers[-1] if name is None else name
        kind = heads[called]["head"]
        of_kind = f" --head {kind}" if kind in HEADS and kind != "linear" else ""
        raise DataError(
            f"{called!r} of {bundle} is a classifier, and DATA labels a detector; fit classes on "
            "the labels before and the new ones, in one file: isthmus classify "
            f"{shlex.quote(str(bundle))} LABELLED --label COLUMN{of_kind}"
        )


def _label_stretches(
    bundle: Path, data: Any, path: Path, normal: str | None, name: str | None, json: str | None
) -> None:
    """Label stretches of a long table, and save the detector as a new version."""
    from isthmus.bundle import add_head, bundle_lock, load_bundle, read_manifest
    from isthmus.data.formats import read_table

    if data.points is None:
        raise DataError(
            f"got --stretches, and {data.name} is no long table; pass one, with --time COLUMN"
        )
    table = read_table(path)[0]
    read_manifest(bundle)  # before a lock is made beside it
    # From loading to saving: labels that another process adds in between would be lost.
    with bundle_lock(bundle):
        opened = load_bundle(bundle)
        detector = opened.detector(name)
        stored = next(known for known, head in opened.heads.items() if head is detector)
        with warnings_as_lines():
            detector.add_labels(data, stretches=table, normal=normal)
        version = add_head(bundle, stored, detector)
    console = console_for(json)
    found: dict[str, Any] = detector.update_facts_ or {}
    facts = detector_facts(detector)
    words = "stretch" if found["n_given"] == 1 else "stretches"
    console.print(
        f"{found['n_given']:,} {words}: {found['n_points']['abnormal']:,} time points abnormal, "
        f"{found['n_points']['normal']:,} normal; {found['n_changed']:,} windows have another "
        f"label, {found['n_new']:,} are new to the detector",
        soft_wrap=True,
    )
    from isthmus.cli.results import print_detector  # it imports pandas

    print_detector(console, facts)
    console.print(f"head {stored!r}, version {version}, is in {bundle}", soft_wrap=True)
    facts |= {"name": stored, "version": version, "bundle": str(bundle)}
    write_json_facts(json, facts | found | data.reading_facts())


def _update_from_queue(bundle: Path, queue: Path, name: str | None, json: str | None) -> None:
    from isthmus.serve import take_labels

    with warnings_as_lines():
        facts: dict[str, Any] = take_labels(bundle, queue, name)
    console = console_for(json)
    for head in facts["heads"]:
        console.print(
            f"head {head['name']!r}: {head['n_given']:,} labelled instances, {head['n_new']:,} of "
            f"them new to it, {head['n_changed']:,} with another label",
            soft_wrap=True,
        )
        done = "has them all already" if head["version"] is None else f"version {head['version']}"
        console.print(f"head {head['name']!r}, {done}, is in {bundle}", soft_wrap=True)
    for one in facts["rejected"][:5]:
        console.print(f"line {one['line']} of {queue} {one['reason']}", soft_wrap=True)
    if facts["rejected"]:
        lines = "1 line" if len(facts["rejected"]) == 1 else f"{len(facts['rejected']):,} lines"
        console.print(
            f"left out {lines} that cannot be taken, in {facts['rejected_file']}",
            soft_wrap=True,
        )
    for served, n in facts["left"].items():
        console.print(f"left {n:,} labels of {served!r}, for another encoder", soft_wrap=True)
    write_json_facts(json, facts | {"bundle": str(bundle)})
