"""The versions of a head, as entries of a manifest: plain values, without torch.

In a manifest `heads[NAME]` is the entry of the current version and `history[NAME]` the list of all
entries, oldest first.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isthmus import __version__
from isthmus.errors import BundleError

#: The newest format of bundles, and that of bundles without a detector by group, which earlier
#: versions of isthmus read as well: they would decide on all groups by one threshold.
FORMAT_VERSION, FIRST_FORMAT = 2, 1
#: Keys of heads in bundles and exports of earlier versions, and their names now.
_RENAMED = {"score": "method", "unknown_rate": "rejection_rate", "novelty": "rejecter"}
#: Keys of earlier versions with the same digest as `encoder_digest`.
_REMOVED = ("digest_before", "digest_after")
# Keys that only loading the head needs.
_INNER_KEYS = ("architecture", "state", "types_to_trust")


def upgrade_head_entry(head: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry of a head in a bundle or an export with the keys of this version.

    Parameters
    ----------
    head : mapping
        As an earlier version wrote it.

    Returns
    -------
    dict

    Examples
    --------
    >>> upgrade_head_entry({"kind": "detector", "score": "blend", "digest_after": "5c0e"})
    {'kind': 'detector', 'method': 'blend'}
    """
    found = {_RENAMED.get(key, key): value for key, value in head.items() if key not in _REMOVED}
    if isinstance(found.get("parameters"), Mapping):
        found["parameters"] = upgrade_head_entry(found["parameters"])
    if isinstance(found.get("rejecter"), Mapping):
        found["rejecter"] = upgrade_head_entry(found["rejecter"])
    return found


def architecture_name(encoder: Mapping[str, Any]) -> str:
    """Return the architecture of the encoder of a manifest in words.

    Parameters
    ----------
    encoder : mapping
        The entry of the encoder in a manifest.

    Returns
    -------
    str

    Examples
    --------
    >>> architecture_name({"architecture": {"architecture": "precomputed precomputed"}})
    'precomputed'
    >>> architecture_name({"architecture": {"architecture": "scikit-learn PCA"}})
    'scikit-learn PCA'
    """
    text = str(encoder["architecture"]["architecture"])
    kind, _, name = text.partition(" ")
    return kind if kind == name else text


def format_of(manifest: Mapping[str, Any]) -> int:
    """Return the lowest format whose readers decide as these heads do.

    Examples
    --------
    >>> format_of({"heads": {"normal": {"kind": "detector"}}})
    1
    """
    earlier = [one for entries in manifest.get("history", {}).values() for one in entries]
    heads = [*manifest.get("heads", {}).values(), *earlier]
    by_group = any("groups" in one or "groups" in (one.get("points") or {}) for one in heads)
    return FORMAT_VERSION if by_group else FIRST_FORMAT


def check_format(path: str | Path, found: Any) -> None:
    """Check the format of a bundle.

    Raises
    ------
    BundleError
        When it is newer than this version reads, or none.
    """
    if type(found) is not int or not FIRST_FORMAT <= found <= FORMAT_VERSION:  # True is an int
        raise BundleError(
            f"{path} has bundle format {found}, this isthmus {__version__} reads up to "
            f"{FORMAT_VERSION}; update with: pip install --upgrade isthmus"
        )


def version_folder(name: str, version: int) -> str:
    """Return the folder of one version of a head, relative to the bundle's.

    Parameters
    ----------
    name : str
        Of letters, digits, "-" and "_".
    version : int, at least 1

    Returns
    -------
    str

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
    if type(version) is not int or version < 1:  # True is an int too
        raise BundleError(
            f"got version {version!r} of the head {name!r}, expected a whole number of 1 or more"
        )
    return f"heads/{name}/{version}"


def next_version(manifest: Mapping[str, Any], name: str) -> int:
    """Return the number of the next version of a head, 1 for the first."""
    return max((entry["version"] for entry in versions(manifest, name)), default=0) + 1


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
    others = {key: head for key, head in manifest.get("heads", {}).items() if key != name}
    known = {name: [*versions(manifest, name), entry]}
    return {
        "heads": others | {name: entry},
        "history": {**manifest.get("history", {}), **known},
    }


def history(manifest: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return all versions of a head, oldest first, as plain values.

    Parameters
    ----------
    manifest : mapping
        As `read_manifest` returns it.
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

    Examples
    --------
    >>> versions_of_sign = [{"version": 1}, {"version": 2}]
    >>> manifest = {"heads": {"sign": {"version": 2}}, "history": {"sign": versions_of_sign}}
    >>> [(one["version"], one["current"]) for one in history(manifest, "sign")]
    [(1, False), (2, True)]
    """
    if name not in manifest.get("heads", {}):
        known = ", ".join(manifest.get("heads", {})) or "none"
        raise BundleError(f"the bundle has no head {name!r} (heads: {known}); name one of these")
    current = manifest["heads"][name]["version"]
    return [
        {"version": entry["version"], "current": entry["version"] == current}
        | _without_inner_keys(entry)
        for entry in versions(manifest, name)
    ]


def series_columns(
    manifest: Mapping[str, Any], name: str | None = None
) -> tuple[str | None, tuple[str, ...]]:
    """Return the columns of time and groups of the long table that a detector was fitted on.

    Parameters
    ----------
    manifest : mapping
    name : str, optional
        Name of the head; by default the last one that has such columns.

    Returns
    -------
    time : str or None
    groups : tuple of str

    Examples
    --------
    >>> series_columns({"heads": {}})
    (None, ())
    """
    heads = manifest.get("heads", {})
    entries = [heads[name]] if name in heads else list(heads.values())[::-1]
    for entry in entries:
        points = entry.get("state", {}).get("points")
        if points:
            return points["time_column"], tuple(points["group_columns"])
    return None, ()


def decides_points(manifest: Mapping[str, Any], name: str | None = None) -> bool:
    """Return whether a head decides on time points; by default the head that was fitted last.

    Parameters
    ----------
    manifest : mapping
    name : str, optional

    Returns
    -------
    bool
    """
    heads = manifest.get("heads", {})
    name = next(reversed(heads), None) if name is None else name
    return bool(heads.get(name, {}).get("state", {}).get("points"))


def group_columns(manifest: Mapping[str, Any], name: str | None = None) -> tuple[str, ...]:
    """Return the columns of groups that a detector was fitted with, empty without.

    Parameters
    ----------
    manifest : mapping
    name : str, optional
        Name of the head; by default the last one.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> group_columns({"heads": {"normal": {"group_columns": ["machine"]}}})
    ('machine',)
    """
    heads = manifest.get("heads", {})
    last = next(reversed(heads), None)
    return tuple(heads.get(last if name is None else name, {}).get("group_columns", ()))


def versions(manifest: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the entries of all versions of a head, oldest first."""
    return list(manifest.get("history", {}).get(name, []))


def describe_heads(heads: Mapping[str, int]) -> str:
    """Return names and numbers of versions as a phrase.

    Parameters
    ----------
    heads : mapping of str to int
        Number of versions by name; at least one head.

    Returns
    -------
    str

    Examples
    --------
    >>> describe_heads({"linear": 1, "normal": 3})
    "the heads 'linear' and 'normal' (3 versions)"
    """
    names = [f"{name!r}" + (f" ({n} versions)" if n > 1 else "") for name, n in heads.items()]
    listed = " and ".join([*([", ".join(names[:-1])] if names[1:] else []), names[-1]])
    return f"the head{'s' if len(heads) > 1 else ''} {listed}"


def _without_inner_keys(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry without the keys that only loading the head needs."""
    return {
        key: _without_inner_keys(value) if isinstance(value, Mapping) else value
        for key, value in entry.items()
        if key not in _INNER_KEYS
    }


def last_head(manifest: Mapping[str, Any]) -> str:
    """Return the name of the head that was fitted last.

    Parameters
    ----------
    manifest : mapping
        As `read_manifest` returns it, with a head at least.

    Returns
    -------
    str

    Examples
    --------
    >>> last_head({"heads": {"linear": {}, "normal": {}}})
    'normal'
    """
    return list(manifest["heads"])[-1]
