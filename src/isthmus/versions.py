"""Every head ever fitted: a bundle keeps all versions of a head, and one of them is current.

In the manifest `heads[NAME]` is the current version's entry and `history[NAME]` the list of
all entries, oldest first; the files of a version are in `heads/NAME/VERSION/`. Nothing here
needs torch.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isthmus.errors import BundleError
from isthmus.manifest import new_bundle, read_manifest, verify_files, write_manifest

# What only the one who rebuilds the head needs.
_INNER = ("architecture", "state", "types_to_trust")


def version_folder(name: str, version: int) -> str:
    """Return the folder of one version of a head, relative to the bundle's.

    Raises
    ------
    BundleError
        When the name could lead out of the bundle.

    Examples
    --------
    >>> version_folder("linear", 2)
    'heads/linear/2'
    """
    if not name or not all(letter.isalnum() or letter in "-_" for letter in name):
        raise BundleError(
            f"got the head's name {name!r}, which names a folder; "
            "expected letters, digits, '-' and '_'"
        )
    if not isinstance(version, int) or version < 1:
        raise BundleError(
            f"got version {version!r} of the head {name!r}, expected a whole number of 1 or more"
        )
    return f"heads/{name}/{version}"


def next_version(manifest: Mapping[str, Any], name: str) -> int:
    """Return the number that the next version of a head gets: 1 for the first."""
    return max((entry["version"] for entry in _versions(manifest, name)), default=0) + 1


def with_version(manifest: Mapping[str, Any], name: str, entry: dict[str, Any]) -> dict[str, Any]:
    """Return heads and history with a new version, which becomes current and the last head.

    Parameters
    ----------
    manifest : mapping
        With `heads` and `history`, or without, for a bundle that has no heads yet.
    name : str
    entry : dict
        With its `version`.
    """
    others = {known: kept for known, kept in manifest.get("heads", {}).items() if known != name}
    versions = {name: [*_versions(manifest, name), entry]}
    return {
        "heads": others | {name: entry},
        "history": {**manifest.get("history", {}), **versions},
    }


def history(manifest: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return all versions of a head, oldest first, as plain values.

    Parameters
    ----------
    manifest : mapping
        As `isthmus.manifest.read_manifest` gives it.
    name : str

    Returns
    -------
    list of dict
        Each with `version`, `current`, `created`, `kind`, `data_fingerprint` (of the rows and
        labels that it was fitted on), `n_rows`, `metrics`, and what the kind of head adds.

    Raises
    ------
    BundleError
        When there is no such head.
    """
    if name not in manifest.get("heads", {}):
        known = ", ".join(manifest.get("heads", {})) or "none"
        raise BundleError(f"the bundle has no head {name!r} (heads: {known}); name one of these")
    current = manifest["heads"][name]["version"]
    return [
        {"version": entry["version"], "current": entry["version"] == current} | _told(entry)
        for entry in _versions(manifest, name)
    ]


def roll_back(path: str | Path, name: str, version: int | None = None) -> int:
    """Make an earlier version of a head current again; every version is kept.

    Parameters
    ----------
    path : path
        Of a bundle.
    name : str
        Of a head.
    version : int, optional
        Which version; any, later ones too. None: the one before the current.

    Returns
    -------
    int
        The version that is current now.

    Raises
    ------
    BundleError
        When there is no such head or version, or a file of the bundle is damaged.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from isthmus import Autoencoder, CodeClassifier, load_bundle, save_bundle
    >>> from isthmus.bundle import add_head
    >>> X = np.random.default_rng(0).normal(size=(200, 6))
    >>> encoder = Autoencoder(max_epochs=2, random_state=0).fit(X)
    >>> first, second = (CodeClassifier(encoder).fit(X[:n], X[:n, 0] > 0) for n in (50, 80))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_bundle(f"{folder}/press", encoder, {"sign": first})
    ...     versions = [add_head(f"{folder}/press", "sign", second)]
    ...     versions.append(roll_back(f"{folder}/press", "sign"))
    ...     known = load_bundle(f"{folder}/press").history("sign")
    >>> versions, [(head["n_rows"], head["current"]) for head in known]
    ([2, 1], [(50, True), (80, False)])
    """
    manifest = read_manifest(path)
    current = next((kept["version"] for kept in history(manifest, name) if kept["current"]), 0)
    entries = {entry["version"]: entry for entry in _versions(manifest, name)}
    if version is None:
        earlier = [number for number in entries if number < current]
        if not earlier:
            raise BundleError(
                f"version {current} is the first of the head {name!r} in {path}, so there is none "
                "before it; name the version to make current"
            )
        version = max(earlier)
    if version not in entries:
        known = ", ".join(str(number) for number in entries)
        raise BundleError(
            f"{path} has no version {version!r} of the head {name!r}, expected one of {known}"
        )
    kept = {key: manifest[key] for key in ("encoder", "metrics", "history") if key in manifest}
    heads = {**manifest["heads"], name: entries[version]}
    verify_files(path, manifest)
    with new_bundle(path) as folder:
        shutil.copytree(path, folder, dirs_exist_ok=True)
        write_manifest(folder, kept | {"heads": heads})
    return version


def _versions(manifest: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    return list(manifest.get("history", {}).get(name, []))


def _told(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry without its inner parts."""
    return {
        key: _told(value) if isinstance(value, Mapping) else value
        for key, value in entry.items()
        if key not in _INNER
    }
