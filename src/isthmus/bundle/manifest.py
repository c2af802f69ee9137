"""The manifest of a bundle: reading and checking it, and replacing a bundle as a whole.

Nothing here imports torch, so a manifest is read quickly. The files of a version of a head are in
`heads/NAME/VERSION/`.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from isthmus import __version__
from isthmus._core import (
    WAIT_SECONDS,
    check_writable,
    copy_files,
    errors_naming,
    file_digest,
    folder_lock,
    from_json,
    library_versions,
    recover_folder,
    replaced_folder,
    user_path,
    write_json,
)
from isthmus.bundle.head_versions import (
    check_format,
    describe_heads,
    format_of,
    history,
    upgrade_head_entry,
    versions,
)
from isthmus.errors import BundleError

if TYPE_CHECKING:
    from isthmus.data import Schema

MANIFEST = "manifest.json"
_LIBRARIES = ("torch", "numpy", "scikit-learn", "safetensors", "skops")


@contextmanager
def bundle_lock(path: str | Path, wait: float = WAIT_SECONDS) -> Iterator[None]:
    """Let no other process write a bundle until the block ends.

    Each function that writes a bundle takes this lock by itself. Take it around several calls
    that belong together: a head that is loaded, changed and added again. The lock is released
    when the process is killed. Where the file system has no locks, a warning is logged.

    Parameters
    ----------
    path : path
        Of the bundle, which need not exist.
    wait : float
        Seconds to wait for another process that holds it. After one second, who waits says so.

    Raises
    ------
    OutputError
        When another process still holds it after that time.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from isthmus import AnomalyDetector, Autoencoder, load_bundle, save_bundle
    >>> from isthmus.bundle import add_head, bundle_lock
    >>> X = np.random.default_rng(0).normal(size=(200, 6))
    >>> detector = AnomalyDetector(Autoencoder(max_epochs=2), "neighbours", 0.05, "split").fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_bundle(f"{folder}/press", detector.encoder_, {"normal": detector})
    ...     with bundle_lock(f"{folder}/press"):
    ...         same = load_bundle(f"{folder}/press").heads["normal"]
    ...         version = add_head(f"{folder}/press", "normal", same.add_labels(X[:1], [-1]))
    >>> version
    2
    """
    check_writable(path, folder=True)
    target = user_path(path)
    with errors_naming(target):
        target.resolve().parent.mkdir(parents=True, exist_ok=True)
    with folder_lock(target, wait):
        recover_folder(target)
        yield


def bundle_state(path: str | Path) -> str | None:
    """Return the digest of a bundle's manifest, which every write changes; None without one."""
    file = user_path(path) / MANIFEST
    try:
        return file_digest(file)
    except OSError:
        return None


def refuse_changed(path: str | Path, state: str | None) -> None:
    """Check that a bundle is still what it was when `bundle_state` returned this state.

    Raises
    ------
    BundleError
        When another process has written it since.
    """
    if bundle_state(path) != state:
        raise _changed(path)


def _changed(path: str | Path) -> BundleError:
    return BundleError(
        f"{path} was changed by another process in the meantime, and is left as that wrote it; "
        "run again"
    )


@contextmanager
def new_bundle(path: str | Path, state: str | None = "") -> Iterator[Path]:
    """Yield a folder to write a bundle into, which replaces `path` once it is complete.

    Parameters
    ----------
    path : path
    state : str or None
        What `bundle_state` returned before the bundle was read; by default what it returns now.

    Raises
    ------
    BundleError
        When `path` holds something that is not a bundle, or another process has written it since:
        that is never overwritten.
    """
    target = check_target(path)
    state = bundle_state(target) if state == "" else state

    def check(folder: Path) -> None:
        if bundle_state(folder) != state:
            raise _changed(target)

    with replaced_folder(target, check) as folder:
        yield folder


def check_target(path: str | Path) -> Path:
    """Check that a bundle can be written to `path`, before hours of training.

    Raises
    ------
    BundleError
        When something is there that is not a bundle.
    OutputError
        When it cannot be written there.
    DataError
        When it is an address, such as s3://bucket/press.
    """
    check_writable(path, folder=True)
    target = user_path(path)
    recover_folder(target)
    if target.exists() and not _may_replace(target):
        raise BundleError(
            f"{target} exists and is not a bundle, so it is left alone; choose another path"
        )
    return target


def stored_heads(path: str | Path) -> dict[str, int]:
    """Return the heads of the bundle at a path with their numbers of versions; {} without one.

    Examples
    --------
    >>> stored_heads("no/such/bundle")
    {}
    """
    recover_folder(user_path(path))
    folder = user_path(path) / "heads"
    if not (user_path(path) / MANIFEST).is_file() or not folder.is_dir():
        return {}
    # From the files, so that a bundle whose manifest is damaged or newer is not taken for empty.
    versions = {one.name: sum(each.is_dir() for each in one.iterdir()) for one in folder.iterdir()}
    return {name: n for name, n in sorted(versions.items()) if n}


def refuse_to_delete_heads(path: str | Path, replaced: Collection[str] = ()) -> None:
    """Check that writing a new bundle to a path deletes no heads, before hours of training.

    Parameters
    ----------
    path : path
    replaced : collection of str
        Heads that may be deleted.

    Raises
    ------
    BundleError
        When the bundle there has other heads.
    """
    lost = {name: n for name, n in stored_heads(path).items() if name not in replaced}
    if lost:
        raise BundleError(
            f"{path} holds {describe_heads(lost)}, fitted on the encoder there, which writing "
            "another bundle would delete; choose another path, or pass overwrite=True (on the "
            "command line --overwrite) to delete them"
        )


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Write `manifest.json`: the facts, the versions, and the digest of every other file."""
    head = {
        "format_version": format_of(facts),
        "isthmus_version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "libraries": library_versions(_LIBRARIES),
    }
    digests = {name: file_digest(folder / name) for name in bundle_files(folder)}
    write_json(folder / MANIFEST, head | facts | {"files": digests})


def read_manifest(path: str | Path) -> dict[str, Any]:
    """Read a bundle's manifest.

    Raises
    ------
    BundleError
        When there is none, it is damaged, or its format is newer than this version reads.
    """
    file = user_path(path) / MANIFEST
    if not file.is_file():
        recover_folder(user_path(path))
    if not file.is_file():
        raise BundleError(
            f"{path} is not a bundle: it has no {MANIFEST}; a bundle is the folder that `isthmus "
            "fit ... -o FOLDER` writes"
        )
    if file.is_symlink():
        raise _is_link(file)
    try:
        manifest = from_json(file.read_bytes())
        found = manifest["format_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{file} is damaged ({error}); save the bundle again") from error
    check_format(path, found)
    if not isinstance(manifest.get("files"), dict):
        raise BundleError(f"{file} is damaged (it lists no files); save the bundle again")
    try:
        for name, entry in manifest.get("heads", {}).items():
            manifest["heads"][name] = upgrade_head_entry(entry)
        for name, entries in manifest.get("history", {}).items():
            manifest["history"][name] = [upgrade_head_entry(entry) for entry in entries]
    except (AttributeError, TypeError) as error:
        raise BundleError(
            f"{file} is damaged (a head is no object); save the bundle again"
        ) from error
    return dict(manifest)


def read_schema(path: str | Path) -> Schema:
    """Read the schema of a bundle's encoder, for `load(..., schema=)`, without the encoder.

    Raises
    ------
    BundleError
        See `read_manifest`.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import pandas as pd
    >>> from isthmus import Autoencoder, load, save_bundle
    >>> table = pd.DataFrame({"load": np.sin(np.arange(960.0)), "heat": np.cos(np.arange(960.0))})
    >>> windows = load(table, kind="series", window=12)
    >>> encoder = Autoencoder(2, kind="series", max_epochs=1)
    >>> encoder = encoder.fit(windows.X, channel_names=windows.channel_names)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_bundle(f"{folder}/press", encoder)
    ...     load(table[:48], schema=read_schema(f"{folder}/press"))
    Dataset('data', 4 series of 12 time steps and 2 channels, no labels)
    """
    from isthmus.data import Schema  # imports pandas, which the manifest itself does not need

    return Schema.from_dict(read_manifest(path)["encoder"]["schema"])


def read_normal(path: str | Path, head: str | None = None, *, detects: bool = False) -> Any:
    """Return the label that means normal to a head of a bundle; None where none was stated.

    Parameters
    ----------
    path : str or Path
    head : str, optional
        Name of the head; by default the one fitted last.
    detects : bool
        Without a name the detector fitted last.

    Raises
    ------
    BundleError
        See `read_manifest`.
    """
    heads = read_manifest(path)["heads"]
    names = [name for name in heads if not detects or "false_alarm_rate" in heads[name]]
    name = head or (names[-1] if names else "")
    return heads.get(name, {}).get("normal")


def read_window_label(path: str | Path, head: str | None = None) -> tuple[str | None, Any]:
    """Return the rule that labels of windows followed when a head was fitted, for `load`.

    Parameters
    ----------
    path : str or Path
    head : str, optional
        Name of the head. Where it has no such rule, or there is none of that name, the rule is
        that of the head fitted last that has one.

    Returns
    -------
    window_label : {"any", "majority", "last"} or None
        None where no head was fitted on labelled windows that were cut from a table, and in
        bundles of earlier versions.
    normal : str, int, float, bool or None
        The label that means normal to the head with that rule.

    Raises
    ------
    BundleError
        See `read_manifest`.
    """
    heads = read_manifest(path)["heads"]
    ruled = [entry for entry in heads.values() if entry.get("window_label") is not None]
    own = heads.get(head or "", {})
    chosen = own if own in ruled else ruled[-1] if ruled else {}
    return chosen.get("window_label"), chosen.get("normal")


def verify_files(path: str | Path, manifest: dict[str, Any]) -> None:
    """Check every file of a bundle against the manifest.

    Raises
    ------
    BundleError
        Naming the first file that is missing, not as it was written, a link, outside the bundle,
        or not in the manifest although it could be read.
    """
    folder, listed = user_path(path), manifest["files"]
    for name, expected in listed.items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise BundleError(
                f"{folder / MANIFEST} names {name!r}, a file outside the bundle; "
                "do not trust this bundle, get it again from where it was made"
            )
        file = folder / name
        for one in (file, *(folder / parent for parent in PurePath(name).parents)):
            if one.is_symlink() and one != folder:
                raise _is_link(one)
        if not file.is_file():
            raise BundleError(f"{file} is missing from the bundle; copy the bundle again, whole")
        if file_digest(file) != expected:
            raise BundleError(
                f"{file} is damaged or was changed: its SHA-256 is not the one in {MANIFEST}; "
                "copy or save the bundle again"
            )
    for name in bundle_files(folder):
        if name not in listed and name.endswith(_READ):
            raise BundleError(
                f"{folder / name} is not in {MANIFEST}, so nothing says what it must hold; delete "
                "it if it does not belong to the bundle, or else copy the bundle again, whole"
            )


#: Ends of names of files that are read.
_READ = (".safetensors", ".skops", ".json", ".jsonl")


def bundle_files(folder: Path) -> list[str]:
    """Return the names of all files in a bundle's folder but the manifest and hidden ones, sorted.

    Raises
    ------
    BundleError
        When a folder in it is a link.
    """
    found = []
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            if (here / name).is_symlink():
                raise _is_link(here / name)
        found += [here / name for name in files if not name.startswith(".") and name != MANIFEST]
    return [path.relative_to(folder).as_posix() for path in sorted(found)]


def require_files(folder: Path, manifest: Mapping[str, Any], names: Iterable[str]) -> None:
    """Check that files which are read, or those of folders, are in the manifest.

    Raises
    ------
    BundleError
        When there is none of a name.
    """
    for name in names:
        if not any(one == name or one.startswith(f"{name}/") for one in manifest["files"]):
            raise BundleError(
                f"{folder / name} is not in {MANIFEST}, expected its digest there; copy or save "
                "the bundle again"
            )


def _is_link(path: Path) -> BundleError:
    return BundleError(
        f"{path} is a link, expected a file of the bundle itself; copy the bundle with what its "
        "links lead to (cp -rL)"
    )


def _may_replace(target: Path) -> bool:
    if not target.is_dir():
        return False
    return (target / MANIFEST).is_file() or not any(target.iterdir())


def roll_back(path: str | Path, name: str, version: int | None = None) -> int:
    """Make an earlier version of a head current again; no version is deleted.

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
    read_manifest(path)  # before a lock is made beside it
    with bundle_lock(path):
        return _roll_back(path, name, version)


def _roll_back(path: str | Path, name: str, version: int | None) -> int:
    state = bundle_state(path)
    manifest = read_manifest(path)
    current = next((entry["version"] for entry in history(manifest, name) if entry["current"]), 0)
    entries = {entry["version"]: entry for entry in versions(manifest, name)}
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
    carried = {key: manifest[key] for key in ("encoder", "metrics", "history") if key in manifest}
    heads = {**manifest["heads"], name: entries[version]}
    verify_files(path, manifest)
    with new_bundle(path, state) as folder:
        copy_files(user_path(path), folder, bundle_files(user_path(path)))
        write_manifest(folder, carried | {"heads": heads})
    return version
