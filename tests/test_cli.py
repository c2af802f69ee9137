"""The commands as a person types them: what they print, write, and say when something is wrong."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from isthmus import load_bundle
from isthmus.cli import main
from isthmus.errors import BundleError


def isthmus(*words, cwd, check=True):
    """Run the command in this process, as its entry point does, and catch what it says."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    before = sys.argv
    sys.argv = ["isthmus", *words]
    try:
        with chdir(cwd), redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as leaving:
        status = leaving.code or 0
    finally:
        sys.argv = before
    if check:
        assert status == 0, err.getvalue()
    return SimpleNamespace(returncode=status, stdout=out.getvalue(), stderr=err.getvalue())


@pytest.fixture(scope="module")
def folder(tmp_path_factory, frame):
    """A working folder with a table of wines, labelled and not. Written once."""
    from sklearn.datasets import load_wine

    where = tmp_path_factory.mktemp("work")
    labelled = frame.assign(kind=np.array(["red", "white", "pink"])[load_wine().target])
    labelled.to_csv(where / "labelled.csv", index=False)
    frame.to_parquet(where / "plain.parquet")
    isthmus("fit", "plain.parquet", "-o", "press", "--max-epochs", "40", cwd=where)
    isthmus("classify", "press", "labelled.csv", "--label", "kind", cwd=where)
    return where


def test_fit_writes_a_bundle_and_leaves_no_checkpoints(folder):
    assert {path.name for path in folder.iterdir()} >= {"press"}
    assert not (folder / "press-checkpoints").exists()
    assert load_bundle(folder / "press").encoder.n_components_ == 6


def test_classify_measures_on_held_out_labels_beside_controls(folder):
    done = isthmus(
        "classify", "press", "labelled.csv", "--label", "kind", "--json", "-", cwd=folder
    )
    facts = json.loads(done.stdout)
    assert facts["code"]["n"] == 36
    assert set(facts["controls"]) == {"raw", "pca", "untrained"}
    assert facts["n_labels"] == 178
    assert facts["frozen"]["unchanged"] is True
    assert facts["code"]["accuracy"] > 0.7
    assert "frozen code" in done.stderr  # what a person reads gives way to the JSON


def test_predictions_come_one_a_row_with_probabilities(folder):
    done = isthmus("predict", "press", "plain.parquet", "-o", "out.csv", cwd=folder)
    out = pd.read_csv(folder / "out.csv")
    assert list(out.columns[:2]) == ["prediction", "probability"]
    assert len(out) == 178
    shares = out.filter(like="probability_")
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
    assert "predictions in out.csv" in done.stdout


def test_encode_writes_the_encoders_codes(folder, frame):
    isthmus("encode", "press", "plain.parquet", "-o", "codes.npy", cwd=folder)
    isthmus("encode", "press", "plain.parquet", "-o", "codes.parquet", cwd=folder)
    codes = np.load(folder / "codes.npy")
    np.testing.assert_allclose(codes, load_bundle(folder / "press").encoder.transform(frame))
    table = pd.read_parquet(folder / "codes.parquet")
    np.testing.assert_array_equal(table.to_numpy(), codes)
    assert list(table.columns) == [f"autoencoder{i}" for i in range(6)]


def test_evaluate_and_info_give_their_facts_as_json(folder):
    done = isthmus(
        *("evaluate", "press", "labelled.csv", "--label", "kind", "--json", "facts.json"),
        cwd=folder,
    )
    facts = json.loads((folder / "facts.json").read_text())
    assert facts["code"]["n"] == 178
    assert f"{100 * facts['code']['accuracy']:.2f} %" in done.stdout
    done = isthmus("info", "press", "--json", "-", cwd=folder)
    assert json.loads(done.stdout)["encoder"]["schema"]["kind"] == "table"


def test_info_loads_no_torch(folder):
    script = (
        "import sys; sys.argv = ['isthmus', 'info', 'press']; from isthmus.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "False"
    assert "architecture dense" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fit", "nowhere.csv", "-o", "x"], "nowhere.csv"),
        (["fit", "labelled.csv", "-o", "x"], "--label kind"),
        (["fit", "plain.parquet", "-o", "x", "--n-components", "13"], "narrower"),
        (["fit", "plain.parquet", "-o", "x", "--lr", "fast"], "expected a number or auto"),
        (["fit", "plain.parquet", "-o", "labelled.csv"], "left alone"),
        (["predict", "nowhere", "plain.parquet"], "not a bundle"),
        (["predict", "press", "plain.parquet", "-o", "out.txt"], ".csv, .parquet"),
        (["predict", "press", "labelled.csv"], "kind"),
        (["predict", "press", "plain.parquet", "--head", "nope"], "heads: linear"),
        (["classify", "press", "plain.parquet"], "--label COLUMN"),
        (["evaluate", "press", "labelled.csv", "--label", "knid"], "kind"),
        (["demo", "digits", "--recipe", "quick", "-o", "x"], "default, reference"),
        (["encode", "press", "plain.parquet", "-o", "/proc/codes.npy"], "/proc"),
    ],
)
def test_an_error_is_one_plain_sentence_and_status_1(folder, words, said):
    done = isthmus(*words, cwd=folder, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert said in last
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback(folder):
    with pytest.raises(BundleError, match="not a bundle"):  # Python prints what leaves `main`
        isthmus("info", "nowhere", "--debug", cwd=folder, check=False)


@pytest.mark.parametrize("words", [["fit"], ["conquer"], ["fit", "digits", "--speed", "9"]])
def test_wrong_words_are_status_2(folder, words):
    assert isthmus(*words, cwd=folder, check=False).returncode == 2


def test_help_and_version(folder):
    said = isthmus("--help", cwd=folder).stdout
    for command in ("demo", "fit", "encode", "classify", "predict", "evaluate", "info"):
        assert re.search(rf"^\s+{command}\s", said, re.MULTILINE)
    assert re.fullmatch(r"isthmus \d+\.\d+\.\d+\n", isthmus("--version", cwd=folder).stdout)


def test_ctrl_c_leaves_a_checkpoint_that_resume_takes_up(folder):
    words = ("fit", "plain.parquet", "-o", "stopped", "--max-epochs", "200", "--seed", "3")
    with subprocess.Popen(
        [sys.executable, "-m", "isthmus", *words],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        for line in process.stderr:
            if "epoch 3/" in line:
                process.send_signal(signal.SIGINT)
                break
        said = process.stderr.read()
    assert process.returncode == 130
    assert said.strip().splitlines()[-1].endswith("--resume")
    assert (folder / "stopped-checkpoints" / "last.safetensors").exists()
    isthmus(*words, "--resume", cwd=folder)
    isthmus(*words[:3], "whole", *words[4:], cwd=folder)
    resumed, whole = load_bundle(folder / "stopped"), load_bundle(folder / "whole")
    assert resumed.encoder.digest_ == whole.encoder.digest_
