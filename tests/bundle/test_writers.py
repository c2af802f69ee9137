"""Several processes that write one bundle: nothing is lost, and nothing is overwritten unseen."""

import logging
import shutil
import threading

import numpy as np
import pandas as pd
import pytest

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, load_bundle, save_bundle
from isthmus.bundle import MANIFEST, add_head, add_heads, bundle_lock, read_manifest, roll_back
from isthmus.errors import BundleError, OutputError


def rows(n, seed):
    return np.random.default_rng(seed).normal(size=(n, 5))


@pytest.fixture(scope="module")
def encoder():
    """Do not refit."""
    return Autoencoder(n_components=2, max_epochs=2, random_state=0).fit(rows(120, 0))


@pytest.fixture
def sign(encoder):
    return CodeClassifier(encoder).fit(rows(60, 3), rows(60, 3)[:, 0] > 0)


@pytest.fixture
def press(tmp_path, encoder, monkeypatch):
    """A bundle with a detector; the working folder is the one that it is in."""
    monkeypatch.chdir(tmp_path)
    detector = AnomalyDetector(encoder, "neighbours", 0.1, "split", random_state=0)
    save_bundle("press", encoder, {"normal": detector.fit(rows(80, 1))})
    return tmp_path / "press"


@pytest.fixture
def waits(monkeypatch):
    """An event that is set when somebody waits for a lock."""
    monkeypatch.setattr("isthmus._core.locks._QUIET_SECONDS", -1)
    event = threading.Event()

    class Handler(logging.Handler):
        def emit(self, record):
            if record.getMessage().startswith("waiting for another process that writes"):
                event.set()

    handler = Handler()
    logging.getLogger("isthmus").addHandler(handler)
    yield event
    logging.getLogger("isthmus").removeHandler(handler)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_no_head_is_lost_when_several_are_added_at_once(press, sign):
    def add(writer):
        for turn in range(3):
            add_head(press, f"sign-{writer}-{turn}", sign)

    threads = [threading.Thread(target=add, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(load_bundle(press).heads) == 13
    assert names(press.parent) == ["press"]


def another_writer(press, monkeypatch, place):
    """Let a writer that takes no lock change the bundle just before a manifest is written."""
    module = "isthmus.bundle.bundle" if place != "roll back" else "isthmus.bundle.manifest"
    from isthmus.bundle.manifest import write_manifest

    def write(folder, facts):
        text = (press / MANIFEST).read_text()
        (press / MANIFEST).write_text(text.replace('"created": "2', '"created": "3', 1))
        write_manifest(folder, facts)

    monkeypatch.setattr(f"{module}.write_manifest", write)


@pytest.mark.parametrize("place", ["add", "roll back", "save", "overwrite"])
def test_a_bundle_that_was_changed_in_between_is_not_overwritten(
    press, encoder, sign, monkeypatch, place
):
    add_head(press, "normal", load_bundle(press).heads["normal"])
    another_writer(press, monkeypatch, place)
    calls = {
        "add": lambda: add_head(press, "sign", sign),
        "roll back": lambda: roll_back(press, "normal"),
        "save": lambda: save_bundle(press, encoder, {"sign": sign}),
        "overwrite": lambda: save_bundle(press, encoder, {"sign": sign}, overwrite=True),
    }
    with pytest.raises(BundleError, match="press was changed by another process in the meantime"):
        calls[place]()
    manifest = read_manifest(press)
    assert manifest["created"].startswith("3")
    assert manifest["heads"]["normal"]["version"] == 2
    assert "sign" not in manifest["heads"]
    assert names(press.parent) == ["press"]


def test_a_lock_that_another_one_holds_is_named(press, sign, monkeypatch):
    refused = []

    def add():
        try:
            with bundle_lock(press, wait=0):
                add_heads(press, {"sign": sign})
        except OutputError as error:
            refused.append(str(error))

    with bundle_lock("press"):  # the same bundle by another path
        thread = threading.Thread(target=add)
        thread.start()
        thread.join()
    assert refused
    assert refused[0].startswith(f"{press} is still being written by another process after 0 s")
    assert list(read_manifest(press)["heads"]) == ["normal"]


@pytest.mark.parametrize("by", ["label", "detect"])
def test_labels_that_another_process_adds_are_not_lost(press, isthmus, waits, by):
    given = pd.DataFrame(rows(2, 7)).assign(label=[1, -1])
    given.columns = [*(f"x{i}" for i in range(5)), "label"]
    np.save("rows.npy", rows(2, 7))
    given.to_csv("given.csv", index=False)
    lines = {
        "label": ("label", "press", "given.csv", "--label", "label"),
        "detect": ("detect", "press", "--false-alarm-rate", "0.2"),
    }
    found = []
    thread = threading.Thread(target=lambda: found.append(isthmus(*lines[by])))
    with bundle_lock(press):
        detector = load_bundle(press).heads["normal"]
        thread.start()
        assert waits.wait(60)
        detector.add_labels(rows(1, 8), [-1])
        assert add_head(press, "normal", detector) == 2
    thread.join()
    assert found[0][0] == 0, found[0][2]
    entry = read_manifest(press)["heads"]["normal"]
    assert entry["version"] == 3
    assert entry["labels"]["abnormal"] == (2 if by == "label" else 1)


def test_heads_added_while_an_encoder_trains_are_not_deleted(press, sign, isthmus, monkeypatch):
    np.save("table.npy", rows(60, 4))
    fit = Autoencoder.fit

    def meanwhile(self, *arguments, **options):
        add_head(press, "sign", sign)
        return fit(self, *arguments, **options)

    monkeypatch.setattr("isthmus.autoencoder.Autoencoder.fit", meanwhile)
    line = ("fit", "table.npy", "-o", "press", "--overwrite", "--max-epochs", "1")
    status, _, err = isthmus(*line)
    assert status == 1
    assert "press was changed by another process in the meantime" in err
    assert "training is done and its last checkpoint stands" in err
    assert list(read_manifest(press)["heads"]) == ["normal", "sign"]
    monkeypatch.setattr("isthmus.autoencoder.Autoencoder.fit", fit)
    assert isthmus(*line, "--resume")[0] == 0
    assert read_manifest(press)["heads"] == {}


def test_a_bundle_that_is_replaced_while_it_is_read_is_read_again(press, encoder, monkeypatch):
    from isthmus.bundle.bundle import verify_files

    other = Autoencoder(n_components=2, max_epochs=1, random_state=1).fit(rows(120, 0))
    turns = []

    def replaced_meanwhile(path, manifest):
        turns.append(path)
        if len(turns) == 1:
            monkeypatch.setattr("isthmus.bundle.bundle.verify_files", verify_files)
            save_bundle(press, other, overwrite=True)
        verify_files(path, manifest)

    monkeypatch.setattr("isthmus.bundle.bundle.verify_files", replaced_meanwhile)
    assert load_bundle(press).encoder.digest_ == other.digest_ != encoder.digest_


def test_a_bundle_without_a_name_is_found_again_by_every_reader(press, isthmus):
    old = press.with_name(".press.old-abcd1234")
    for line in (("info", "press"), ("history", "press")):
        press.rename(old)
        assert isthmus(*line)[0] == 0
        assert names(press.parent) == ["press"]
    press.rename(old)
    assert list(load_bundle("press").heads) == ["normal"]


def test_the_heads_of_a_bundle_without_a_name_are_not_overwritten(press, tmp_path):
    press.rename(press.with_name(".press.old-abcd1234"))
    other = Autoencoder(n_components=2, max_epochs=1, random_state=1).fit(rows(120, 0))
    with pytest.raises(BundleError, match="holds the head 'normal'"):
        save_bundle(press, other)
    shutil.rmtree(press)
    save_bundle(press, other)
    assert names(tmp_path) == ["press"]
