"""`isthmus info` and `isthmus history`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from isthmus.cli.options import BundlePath, Json, console_for, write_json_facts
from isthmus.errors import BundleError

#: Groups that are listed, at most; all of them are in the JSON.
MAX_GROUPS = 50


def history(
    bundle: BundlePath,
    head: Annotated[str | None, typer.Option(help="Name of a head; by default all heads.")] = None,
    roll_back: Annotated[
        str | None,
        typer.Option("--roll-back", help="Name of a head to return to an earlier version."),
    ] = None,
    to: Annotated[
        int | None,
        typer.Option("--to", help="Version to return to; by default the one before the current."),
    ] = None,
    json: Json = None,
) -> None:
    """List the versions of each head of a bundle, or go back to one (without torch).

    A bundle keeps every version of a head, with its date, the fingerprint of its rows and labels,
    and its metrics. * marks the version that is used. Rolling back deletes none.
    """
    from isthmus.bundle import history as versions_of
    from isthmus.bundle import read_manifest
    from isthmus.bundle import roll_back as go_back

    console = console_for(json)
    if roll_back is not None:
        version = go_back(bundle, roll_back, to)
        console.print(f"head {roll_back!r} is version {version} again", soft_wrap=True)
    elif to is not None:
        raise BundleError(f"got --to {to} and no head; name it with --roll-back NAME")
    manifest = read_manifest(bundle)
    wanted = [head] if head is not None else list(manifest["heads"])
    facts = {name: versions_of(manifest, name) for name in wanted}
    if not facts:
        console.print("no heads")
    for name, versions in facts.items():
        console.print(name)
        for entry in versions:
            console.print(_line(entry), soft_wrap=True)
    write_json_facts(json, facts)


def describe(entry: dict[str, Any]) -> str:
    """Describe a head in a few words, from its entry in the manifest."""
    metrics = entry["metrics"]
    if entry["kind"] == "detector":
        text = (
            f"detector, {entry['method']}, false-alarm rate {entry['false_alarm_rate']:.3g} "
            f"({entry['calibration']}, {entry['n_calibration']:,} calibration rows)"
        )
        if "contamination" in entry:
            out = entry["contamination"]["n_trimmed"], entry["contamination"]["n_left_out"]
            text += f", {out[0]:,} rows not fitted on and {out[1]:,} not calibrating by a bound"
        n_abnormal = entry["labels"]["abnormal"]
        text += f", {n_abnormal:,} labelled abnormal" if n_abnormal else ""
        return text + (f", AUROC {metrics['auroc']:.4f}" if "auroc" in metrics else "")
    accuracy, rate = metrics.get("test_accuracy"), entry["rejection_rate"]
    text = "" if rate is None else f", rejection rate {rate:.3g}"
    text += "" if accuracy is None else f", test accuracy {100 * accuracy:.2f} %"
    return f"{entry['head']}, {len(entry['classes'])} classes{text}"


def _line(entry: dict[str, Any]) -> str:
    mark = "*" if entry["current"] else " "
    return (
        f"{mark} {entry['version']:>3}  {entry['created']}  {entry['n_rows']:,} rows "
        f"{entry['data_fingerprint'][:12]}  {describe(entry)}"
    )


def _group_lines(groups: dict[str, Any] | None, columns: list[str]) -> list[str]:
    """Return a line on the groups of a detector, and one on each of them, from its entry."""
    if groups is None:
        return []
    by = f" (by {', '.join(columns)})" if columns else ""
    lines = [
        f"{groups['n_groups']:,} groups{by}; a rate of {groups['rate']:.3g} needs "
        f"{groups['rows_needed']:,} calibration rows of each"
    ]
    for one in groups["groups"][:MAX_GROUPS]:
        how = "of its own" if one["calibration"] == "group" else f"of {one['calibration']}"
        lines.append(f"{one['name']}: {one['n']:,} rows, threshold {one['threshold']:.4g}, {how}")
    if len(groups["groups"]) > MAX_GROUPS:
        lines.append(f"and {len(groups['groups']) - MAX_GROUPS:,} more, see --json")
    return lines


def info(bundle: BundlePath, json: Json = None) -> None:
    """Show what a bundle contains, without loading it (and without torch)."""
    from isthmus.bundle import architecture_name, read_manifest

    manifest = read_manifest(bundle)
    console = console_for(json)
    encoder = manifest["encoder"]
    schema = encoder["schema"]
    shape = " x ".join(str(side) for side in schema["shape"])
    lines = {
        "bundle": str(bundle),
        "created": f"{manifest['created']} by isthmus {manifest['isthmus_version']}",
        "data": f"table of {shape} columns"
        if schema["kind"] == "table"
        else f"{schema['kind']} of {shape}, {schema['dtype']}, {schema['minimum']:g} to "
        f"{schema['maximum']:g}",
        "columns": ", ".join(schema["columns"] or []),
        "architecture": architecture_name(encoder),
        "code": f"{encoder['architecture']['n_components']} numbers",
        "loss": encoder["loss"] and f"{encoder['loss']}, kept epoch {encoder['best_epoch']}",
        "digest": encoder["digest"],
        "trained on": encoder["data_fingerprint"],
        "libraries": ", ".join(f"{name} {found}" for name, found in manifest["libraries"].items()),
    }
    for name, value in lines.items():
        if value:
            console.print(f"{name:<13}{value}", soft_wrap=True)
    for name, head in manifest["heads"].items():
        text = f"head         {name}: {describe(head)}"
        n_versions = len(manifest["history"][name])
        text += f"; version {head['version']} of {n_versions}" if n_versions > 1 else ""
        console.print(text, soft_wrap=True)
        for line in _group_lines(head.get("groups"), head.get("group_columns", [])):
            console.print(f"{'':<13}{line}", soft_wrap=True)
    write_json_facts(json, manifest)
