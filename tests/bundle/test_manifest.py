"""A bundle's manifest: it vouches for every file, and nothing else is ever overwritten."""

import json
import re
from importlib.metadata import version

import numpy as np
import pytest

from isthmus import Autoencoder, __version__, load_bundle
from isthmus.bundle import MANIFEST, read_manifest
from isthmus.bundle.head_versions import FORMAT_VERSION
from isthmus.bundle.manifest import (
    bundle_files,
    new_bundle,
    verify_files,
    write_manifest,
)
from isthmus.errors import BundleError


@pytest.fixture
def bundle(tmp_path):
    path = tmp_path / "press"
    with new_bundle(path) as folder:
        (folder / "encoder.safetensors").write_bytes(b"weights")
        (folder / "heads").mkdir()
        (folder / "heads" / "kind.json").write_text("{}")
        write_manifest(folder, {"encoder": {"digest": "abc"}})
    return path


def change(bundle, **changes):
    manifest = json.loads((bundle / MANIFEST).read_text())
    (bundle / MANIFEST).write_text(json.dumps(manifest | changes))


def test_the_manifest_says_what_it_was_told_and_with_what_it_was_made(bundle):
    manifest = read_manifest(bundle)

    assert manifest["encoder"] == {"digest": "abc"}
    assert manifest["format_version"] == 1  # the lowest that reads it
    assert manifest["isthmus_version"] == __version__
    assert manifest["libraries"]["torch"] == version("torch")
    assert list(manifest["files"]) == ["encoder.safetensors", "heads/kind.json"]


def test_a_whole_bundle_is_found_whole(bundle):
    verify_files(bundle, read_manifest(bundle))


@pytest.mark.parametrize("name", ["encoder.safetensors", "heads/kind.json"])
def test_a_damaged_file_is_named(bundle, name):
    content = bytearray((bundle / name).read_bytes())
    content[0] ^= 1
    (bundle / name).write_bytes(content)

    with pytest.raises(BundleError, match=f"{name} is damaged or was changed"):
        verify_files(bundle, read_manifest(bundle))


@pytest.mark.parametrize("name", ["encoder.safetensors", "heads/kind.json"])
def test_a_missing_file_is_named(bundle, name):
    (bundle / name).unlink()

    with pytest.raises(BundleError, match=f"{name} is missing"):
        verify_files(bundle, read_manifest(bundle))


@pytest.mark.parametrize("found", [FORMAT_VERSION + 1, 99, "2", None, True, 0, 1.0])
def test_a_newer_format_is_refused_with_the_way_to_update(bundle, found):
    change(bundle, format_version=found)

    message = f"format {found}.*reads up to {FORMAT_VERSION}; update with: pip install --upgrade"
    with pytest.raises(BundleError, match=message):
        read_manifest(bundle)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe"])
def test_a_damaged_manifest_is_named(bundle, content):
    (bundle / MANIFEST).write_bytes(content)

    with pytest.raises(BundleError, match=f"{re.escape(str(bundle / MANIFEST))} is damaged"):
        read_manifest(bundle)


@pytest.mark.parametrize(
    "content",
    [
        b'{"format_version": 1, "files": {}, "heads": 3}',
        b'{"format_version": 1, "files": {}, "heads": {"a": 3}}',
        b'{"format_version": 1, "files": {}, "heads": {}, "history": {"a": 3}}',
        b'{"format_version": ' + b"[" * 100_000,
    ],
)
def test_a_manifest_of_another_form_is_named(bundle, content):
    (bundle / MANIFEST).write_bytes(content)

    with pytest.raises(BundleError, match=re.escape(str(bundle / MANIFEST))):
        read_manifest(bundle)


@pytest.mark.parametrize("files", [None, ["encoder.safetensors"], "all"])
def test_a_manifest_without_digests_is_damaged(bundle, files):
    change(bundle, files=files)

    with pytest.raises(BundleError, match="damaged"):
        verify_files(bundle, read_manifest(bundle))


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "heads/../../outside"])
def test_a_manifest_cannot_reach_outside_its_bundle(bundle, name):
    (bundle.parent / "outside").write_text("secret")
    change(bundle, files={name: "0" * 64})

    with pytest.raises(BundleError, match="outside"):
        verify_files(bundle, read_manifest(bundle))


@pytest.mark.parametrize("listed", [[], ["encoder.safetensors"], ["heads/kind.json"]])
def test_a_file_that_is_read_and_not_listed_is_refused(bundle, listed):
    files = read_manifest(bundle)["files"]
    change(bundle, files={name: files[name] for name in listed})

    other = "heads/kind.json" if listed == ["encoder.safetensors"] else "encoder.safetensors"
    with pytest.raises(BundleError, match=f"{other} is not in manifest.json"):
        verify_files(bundle, read_manifest(bundle))


def test_a_persons_own_notes_and_hidden_files_are_no_part_of_a_bundle(bundle):
    for name in ("notes.txt", ".hidden.json", "heads/.DS_Store"):
        (bundle / name).write_text("")

    verify_files(bundle, read_manifest(bundle))
    assert bundle_files(bundle) == ["encoder.safetensors", "heads/kind.json", "notes.txt"]


@pytest.mark.parametrize("name", [MANIFEST, "encoder.safetensors", "heads/kind.json", "heads"])
def test_a_link_is_refused_although_its_content_is_right(bundle, name):
    moved = bundle.parent / "outside"
    (bundle / name).rename(moved)
    (bundle / name).symlink_to(moved)

    with pytest.raises(BundleError, match=f"{name} is a link, expected a file of the bundle"):
        verify_files(bundle, read_manifest(bundle))


def test_a_bundle_may_itself_be_reached_by_a_link(bundle, tmp_path):
    (tmp_path / "current").symlink_to(bundle)

    verify_files(tmp_path / "current", read_manifest(tmp_path / "current"))


def test_a_bundle_is_not_loaded_without_the_digest_of_a_file_that_it_needs(tmp_path):
    encoder = Autoencoder(2, max_epochs=1, random_state=0)
    encoder.fit(np.random.default_rng(0).normal(size=(60, 4))).save(tmp_path / "press")
    files = read_manifest(tmp_path / "press")["files"]
    (tmp_path / "press" / "history.jsonl").unlink()
    change(tmp_path / "press", files={k: v for k, v in files.items() if k != "history.jsonl"})

    with pytest.raises(BundleError, match="history.jsonl is not in manifest.json"):
        load_bundle(tmp_path / "press")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('"files": {}, "files": {}', "the key 'files' is there twice"),
        ('"files": {}, "heads": {"normal": {"offset": NaN}}', "NaN is no finite number"),
        ('"files": {}, "heads": {"normal": {"offset": -Infinity}}', "-Infinity is no finite"),
        ('"files": {}, "heads": {"normal": {"offset": 1e999}}', "1e999 is no finite number"),
        ('"files": {}, "heads": {"normal": 1}', "a head is no object"),
        ('"files": {}, "heads": []', "a head is no object"),
        ('"files": ' + "[" * 100_000, "it is nested too deeply"),
    ],
)
def test_a_manifest_is_read_strictly(bundle, text, reason):
    (bundle / MANIFEST).write_text(f'{{"format_version": 1, {text}}}')

    with pytest.raises(BundleError, match=rf"manifest.json is damaged \({reason}"):
        read_manifest(bundle)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="is not a bundle"):
        read_manifest(tmp_path)
    with pytest.raises(BundleError, match="is not a bundle"):
        read_manifest(tmp_path / "nothing")


def test_a_bundle_takes_the_place_of_an_earlier_one(bundle):
    with new_bundle(bundle) as folder:
        (folder / "other").write_text("")
        write_manifest(folder, {})

    assert sorted(path.name for path in bundle.iterdir()) == [MANIFEST, "other"]


def test_an_empty_folder_may_become_a_bundle(tmp_path):
    (tmp_path / "press").mkdir()

    with new_bundle(tmp_path / "press") as folder:
        write_manifest(folder, {})

    assert read_manifest(tmp_path / "press")["files"] == {}


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_not_a_bundle_is_never_overwritten(tmp_path, kind):
    path = tmp_path / "thesis"
    if kind == "folder":
        path.mkdir()
    kept = path / "chapter" if kind == "folder" else path
    kept.write_text("years of work")

    with pytest.raises(BundleError, match="is left alone; choose another path"):
        new_bundle(path).__enter__()

    assert kept.read_text() == "years of work"
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis"]


def test_an_earlier_bundle_stays_when_writing_fails(bundle):
    with pytest.raises(ValueError, match="not JSON"), new_bundle(bundle) as folder:
        write_manifest(folder, {"loss": float("nan")})

    verify_files(bundle, read_manifest(bundle))
    assert [entry.name for entry in bundle.parent.iterdir()] == ["press"]
