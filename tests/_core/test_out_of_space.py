"""A full disk or memory, a folder that another run writes: what is said, and what stands."""

import ctypes
import errno
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from isthmus import AnomalyDetector, bundle, load_bundle
from isthmus._core import folder_lock, return_freed_memory
from isthmus.bundle import add_head
from isthmus.errors import CheckpointError, OutputError, is_out_of_memory
from isthmus.report import page
from isthmus.training import lock_checkpoints

FIT = ("fit", "table.npy", "-o", "press", "--max-epochs", "5", "--seed", "1", "--device", "cpu")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, table):
    """A folder with a table."""
    monkeypatch.chdir(tmp_path)
    np.save("table.npy", table)


@pytest.fixture
def room_for(monkeypatch):
    """Let so many files be written, and then none."""
    fsync = os.fsync

    def full(n):
        left = iter(range(n))

        def write(handle):
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, "No space left on device")
            fsync(handle)

        monkeypatch.setattr(os, "fsync", write)

    return full


def digest():
    return load_bundle("press").encoder.digest_


def test_no_space_for_a_checkpoint_keeps_the_one_before(isthmus, room_for):
    assert isthmus(*FIT)[0] == 0
    whole = digest()
    shutil.rmtree("press")
    room_for(4)  # two epochs, each the best so far
    status, _, err = isthmus(*FIT)
    assert status == 1
    assert "no space left for a checkpoint in press-checkpoints" in err
    assert "free some space, and go on with resume (on the command line --resume)" in err
    room_for(1000)
    status, _, err = isthmus(*FIT, "--resume")
    assert status == 0
    assert "epoch 2/5" not in err
    assert digest() == whole


def test_no_space_for_the_bundle_keeps_what_was_trained(isthmus, room_for):
    assert isthmus(*FIT)[0] == 0
    whole = digest()
    shutil.rmtree("press")
    room_for(10)
    status, _, err = isthmus(*FIT)
    assert status == 1
    assert "cannot write press (No space left on device); training is done" in err
    assert "with --resume" in err
    assert not list(Path().glob(".press*"))
    room_for(1000)
    status, _, err = isthmus(*FIT, "--resume")
    assert status == 0
    assert "epoch" not in err
    assert digest() == whole


def test_no_space_for_a_table_names_it(isthmus, table_fit, room_for):
    table_fit.save("press")
    room_for(0)
    status, _, err = isthmus("encode", "press", "table.npy", "-o", "codes.csv")
    assert status == 1
    size = r"[0-9.]+ (bytes|kB)"
    assert re.match(
        rf"error: no space left for codes.csv \(No space left on device; {size} needed\); what was "
        "there before is unchanged: free some space, and run again",
        err,
    )
    assert not Path("codes.csv").exists()


@pytest.mark.parametrize(
    ("line", "target"),
    [
        (("detect", "press", "new.npy"), "press"),
        (("export", "press", "new.npy", "-o", "graph"), "graph"),
        (("predict", "press", "new.npy", "-o", "out.csv"), "out.csv"),
        (("encode", "press", "new.npy", "-o", "codes.npy"), "codes.npy"),
        (("report", "press", "-o", "page.html"), "page.html"),
    ],
)
def test_no_space_says_for_what_and_that_nothing_is_lost(
    isthmus, table_fit, table, room_for, line, target
):
    table_fit.save("press")
    np.save("new.npy", table + 0.01)
    detector = AnomalyDetector(table_fit, "reconstruction", 0.1, "split", random_state=0)
    add_head("press", "normal", detector.fit(table + 0.01))
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    room_for(0)
    status, _, err = isthmus(*line)
    assert status == 1
    said = (
        rf"error: no space left for {target} \(No space left on device; [0-9.]+ (bytes|.B) needed"
    )
    assert re.search(said, err)
    assert "what was there before is unchanged: free some space, and run again" in err
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


OUTPUTS = {
    "fit": ("table.npy", "-o", "{}/press"),
    "fit --detector": ("table.npy", "-o", "{}/press"),
    "fit --log-dir": ("{}/logs", "table.npy", "-o", "other"),
    "classify": ("{}/press", "table.npy", "--label", "kind"),
    "detect": ("{}/press", "table.npy"),
    "export": ("press", "table.npy", "-o", "{}/graph"),
    "predict": ("press", "table.npy", "-o", "{}/out.csv"),
    "encode": ("press", "table.npy", "-o", "{}/codes.npy"),
    "report": ("press", "-o", "{}/page.html"),
    "demo": ("table.npy", "-o", "{}/demo"),
    "advise": ("table.npy", "-o", "{}/curve.png"),
    "advise --json": ("{}/advice.json", "table.npy"),
    "info --json": ("{}/facts.json", "press"),
}


@pytest.mark.parametrize("command", OUTPUTS)
@pytest.mark.parametrize("where", ["sealed", "table.npy"])
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    isthmus, table_fit, monkeypatch, command, where
):
    table_fit.save("press")
    Path("sealed").mkdir()
    before = sorted(Path().rglob("*"))
    access = os.access  # of root, all is granted
    sealed = Path("sealed").absolute()
    monkeypatch.setattr(os, "access", lambda path, mode: path != sealed and access(path, mode))
    monkeypatch.setattr("isthmus.autoencoder.fitting.train", None)  # no work has begun
    line = [word.format(where) for word in OUTPUTS[command]]
    target = next(word for word in line if word.startswith(f"{where}/"))
    status, _, err = isthmus(*command.split(), *line)
    assert status == 1
    why = "is read-only" if where == "sealed" else "is no folder"
    target = f"{target}/bundle" if command == "demo" else target
    target = f"{target}/events" if command == "fit --log-dir" else target
    assert err.splitlines()[-1] == (
        f"error: cannot write {target} ({Path(where).absolute()} {why}); what was there before is "
        "unchanged: see to it, or choose another path, and run again"
    )
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(
    "line", [("report", "press", "-o", "page.html"), ("info", "press", "--json", "page.html")]
)
def test_a_folder_is_not_taken_for_a_file(isthmus, table_fit, line):
    table_fit.save("press")
    Path("page.html").mkdir()
    status, _, err = isthmus(*line)
    assert status == 1
    assert "error: cannot write page.html (it is a folder, expected the name of a file)" in err


@pytest.mark.parametrize(
    "line",
    [FIT, ("detect", "press", "table.npy"), ("export", "press", "table.npy", "-o", "press")],
)
def test_a_mount_point_is_not_replaced_but_a_folder_in_it_may_be(
    isthmus, table_fit, monkeypatch, line
):
    table_fit.save("press")
    mounted = Path("press").absolute()
    monkeypatch.setattr(Path, "is_mount", lambda path: path == mounted)
    monkeypatch.setattr("isthmus.autoencoder.fitting.train", None)
    status, _, err = isthmus(*line)
    assert status == 1
    said = "cannot write press (it is a mount point, which cannot be replaced; write to press/NAME)"
    assert said in err


def test_a_bundle_is_not_written_to_a_store(isthmus):
    status, _, err = isthmus("fit", "table.npy", "-o", "s3://bucket/press")
    assert status == 1
    assert "got the output s3:/bucket/press, expected a path of this machine" in err
    assert not Path("s3:").exists()


def in_another_thread(call, *arguments):
    """Return what a call returns in a thread, which holds none of the locks of this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call, *arguments).result()


def test_two_runs_do_not_write_one_folder(isthmus, another_run_writes):
    with another_run_writes("press-checkpoints"):
        status, _, err = isthmus(*FIT)
        assert isthmus(*FIT, "-o", "other")[0] == 0
    assert status == 1
    assert "press-checkpoints is being written by another run; wait for it" in err
    assert "another --output" in err
    assert isthmus(*FIT)[0] == 0
    assert sorted(path.name for path in Path().iterdir()) == ["other", "press", "table.npy"]


def hold_checkpoints(folder):
    with lock_checkpoints(folder):
        pass


@pytest.mark.parametrize("name", ["save_bundle", "rmtree"])
def test_no_other_run_begins_between_training_and_deleting_the_checkpoints(
    isthmus, monkeypatch, name
):
    owner = {"save_bundle": bundle, "rmtree": shutil}[name]
    call, refused = getattr(owner, name), []

    def watched(path, *rest, **options):
        if name == "save_bundle" or Path(path).name == "press-checkpoints":
            with pytest.raises(CheckpointError, match="being written by another run"):
                in_another_thread(hold_checkpoints, "press-checkpoints")
            refused.append(path)
        return call(path, *rest, **options)

    monkeypatch.setattr(owner, name, watched)
    assert isthmus(*FIT)[0] == 0
    assert len(refused) == 1
    in_another_thread(hold_checkpoints, "press-checkpoints")


def test_page_and_facts_beside_it_are_of_one_report(table_fit, monkeypatch):
    write_json, refused = page.write_json, []

    def hold():
        with folder_lock(Path("page.html"), wait=0.0):
            pass

    def watched(path, facts):
        with pytest.raises(OutputError, match="page.html is still being written"):
            in_another_thread(hold)
        refused.append(path.name)
        write_json(path, facts)

    monkeypatch.setattr(page, "write_json", watched)
    table_fit.save("press")
    page.write_report("press", "page.html")
    assert refused == ["page.json"]


def too_much_for_torch():
    torch.empty(2**50)


def too_much_for_numpy():
    np.empty(2**58)


def too_much_for_a_gpu():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize("ask", [too_much_for_torch, too_much_for_numpy, too_much_for_a_gpu])
def test_too_little_memory_is_said_in_one_line(isthmus, monkeypatch, ask):
    monkeypatch.setattr("isthmus.autoencoder.Autoencoder.fit", lambda *_, **__: ask())
    status, _, err = isthmus(*FIT)
    assert status == 1
    assert err.startswith("error: out of memory; pass fewer instances")
    assert "--batch-size" in err
    assert "--resume" in err
    assert err.count("\n") == 1


def test_the_graphs_want_of_memory_is_known_and_other_errors_are_not_it():
    # ONNX Runtime's words, which come in a class of their own for all that fails as it runs.
    output = "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested"
    assert is_out_of_memory(Exception(output))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_glibc_is_told_to_keep_nothing(monkeypatch):
    calls = []
    library = SimpleNamespace(malloc_trim=lambda keep: calls.append(keep.value))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    return_freed_memory()
    assert calls == [0]


@pytest.mark.parametrize("error", [OSError, TypeError])
def test_another_c_library_is_left_alone(monkeypatch, error):
    def refuse(name):
        raise error

    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    return_freed_memory()
    monkeypatch.setattr(ctypes, "CDLL", refuse)
    return_freed_memory()
