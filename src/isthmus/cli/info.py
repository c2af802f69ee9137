"""`isthmus info`."""

from __future__ import annotations

from isthmus.cli.common import BundlePath, Json, console_for, write_facts
from isthmus.cli.history import describe


def info(bundle: BundlePath, json: Json = None) -> None:
    """Say what is in a bundle, without loading it (and without torch)."""
    from isthmus.manifest import read_manifest

    manifest = read_manifest(bundle)
    console = console_for(json)
    encoder = manifest["encoder"]
    schema = encoder["schema"]
    shape = " x ".join(str(side) for side in schema["shape"])
    lines = {
        "bundle": str(bundle),
        "created": f"{manifest['created']} by isthmus {manifest['isthmus_version']}",
        "data": f"{schema['kind']} of {shape}, {schema['dtype']}, "
        f"{schema['minimum']:g} to {schema['maximum']:g}",
        "columns": ", ".join(schema["columns"] or []),
        "architecture": encoder["architecture"]["architecture"],
        "code": f"{encoder['architecture']['n_components']} numbers",
        "loss": f"{encoder['loss']}, kept epoch {encoder['best_epoch']}",
        "digest": encoder["digest"],
        "trained on": encoder["data_fingerprint"],
        "libraries": ", ".join(f"{name} {found}" for name, found in manifest["libraries"].items()),
    }
    for name, value in lines.items():
        if value:
            console.print(f"{name:<13}{value}", soft_wrap=True, markup=False)
    for name, head in manifest["heads"].items():
        told = f"head         {name}: {describe(head)}"
        n_versions = len(manifest["history"][name])
        told += f"; version {head['version']} of {n_versions}" if n_versions > 1 else ""
        console.print(told, soft_wrap=True, markup=False)
    write_facts(json, manifest)
