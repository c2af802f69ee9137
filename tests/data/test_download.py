import socket
import stat

import pytest

from isthmus.data.catalogue import CATALOGUE
from isthmus.data.download import fetch
from isthmus.errors import DownloadError, IsthmusError

GARBAGE = b"<html>please log in to this network</html>"


def pages(archives, prefix=""):
    return {f"{prefix}/{name}.gz": content for name, content in archives.items()}


def test_second_mirror_mends_what_the_first_got_wrong(tmp_path, make_entry, serve, archives):
    asked = []
    bad = serve(dict.fromkeys(pages(archives), GARBAGE), asked)
    good = serve(pages(archives))
    entry = make_entry(mirrors=(bad, good))
    folder = tmp_path / "new" / "mnist"
    got = fetch(entry, entry.files, folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{n}.gz" for n in archives)
    for name, content in archives.items():
        assert (folder / f"{name}.gz").read_bytes() == content
        assert len(got[name]) > 0
    # The mirror that failed once is not asked again.
    assert asked == ["/train-images-idx3-ubyte.gz"]


def test_uncompressed_content_is_returned(tmp_path, make_entry, serve, archives, contents):
    entry = make_entry(mirrors=(serve(pages(archives, "/deep/folder")) + "/deep/folder",))
    assert fetch(entry, entry.files[:2], tmp_path) == {
        file.name: contents[file.name] for file in entry.files[:2]
    }


def test_content_that_arrives_unpacked_is_named_without_gz(
    tmp_path, make_entry, serve, archives, contents
):
    served = {f"/{name}.gz": content for name, content in contents.items()}
    entry = make_entry(mirrors=(serve(served),))
    fetch(entry, entry.files, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(contents)


def test_archive_known_by_md5(tmp_path, make_entry, serve, archives):
    entry = make_entry("kmnist", (serve(pages(archives)),), by="md5")
    fetch(entry, entry.files, tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_damaged_archive_is_not_kept(tmp_path, make_entry, serve, archives):
    cut = {url: content[:-5] for url, content in pages(archives).items()}
    entry = make_entry(mirrors=(serve(cut),))
    with pytest.raises(DownloadError, match="damaged or incomplete gzip"):
        fetch(entry, entry.files, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_unverifiable_garbage_from_an_md5_mirror_is_refused(
    tmp_path, make_entry, serve, archives, contents
):
    served = {f"/{name}.gz": content for name, content in contents.items()}
    entry = make_entry("kmnist", (serve(served),), by="md5")
    with pytest.raises(DownloadError, match="not a gzip archive"):
        fetch(entry, entry.files, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_all_mirrors_failed_is_one_sentence_that_says_what_to_do(
    tmp_path, make_entry, serve, archives
):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}"
    entry = make_entry(mirrors=(serve({}), serve(dict.fromkeys(pages(archives), GARBAGE)), closed))
    folder = tmp_path / "mnist"
    with pytest.raises(DownloadError) as caught:
        fetch(entry, entry.files, folder)
    message = str(caught.value)
    assert message.startswith("cannot download mnist: no mirror gave train-images-idx3-ubyte.gz")
    for name in archives:
        assert f"{name}.gz" in message
    assert f" in {folder}, " in message
    assert "`isthmus demo digits`" in message
    assert "404" in message
    assert "\n" not in message
    assert list(folder.iterdir()) == []
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value, IsthmusError)


def test_folder_that_cannot_be_made(tmp_path, make_entry):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match="cannot write to .*file.*data_dir"):
        fetch(make_entry(), make_entry().files, tmp_path / "file" / "mnist")


def test_disk_that_fills_up_is_not_a_mirror_that_failed(
    tmp_path, make_entry, serve, archives, monkeypatch
):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("isthmus.data.download.write_bytes", full)
    entry = make_entry(mirrors=(serve(pages(archives)),))
    with pytest.raises(DownloadError, match="cannot write to .*No space left"):
        fetch(entry, entry.files, tmp_path)


def test_only_the_files_asked_for(tmp_path, make_entry, serve, archives):
    asked = []
    entry = make_entry(mirrors=(serve(pages(archives), asked),))
    fetch(entry, entry.files[3:], tmp_path)
    assert asked == ["/t10k-labels-idx1-ubyte.gz"]
    (path,) = tmp_path.iterdir()
    assert stat.S_ISREG(path.stat().st_mode)


def test_mirrors_of_the_catalogue_end_without_a_slash():
    assert not any(url.endswith("/") for entry in CATALOGUE.values() for url in entry.mirrors)
