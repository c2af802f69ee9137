"""A bundle's manifest: it vouches for every file, and nothing else is ever overwritten."""

import json
import re
from importlib.metadata import version

import pytest

from isthmus import __version__
from isthmus.bundle import MANIFEST, read_manifest
from isthmus.bundle.manifest import FORMAT_VERSION, new_bundle, verify_files, write_manifest
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
    assert manifest["format_version"] == FORMAT_VERSION
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


@pytest.mark.parametrize("found", [FORMAT_VERSION + 1, 99, "2", None])
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
