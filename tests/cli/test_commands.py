"""The commands as a person types them: what they print, write, and say when something is wrong."""

import importlib
import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from _commands import isthmus
from isthmus import load_bundle
from isthmus.cli.commands import COMMANDS, MODULES, SECTIONS, check_files_apart
from isthmus.cli.fit import fit
from isthmus.cli.predict import print_explained
from isthmus.cli.serve import serve
from isthmus.errors import BundleError, DataError


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


def test_classify_measures_on_held_out_labels_beside_baselines(folder):
    done = isthmus(
        "classify", "press", "labelled.csv", "--label", "kind", "--json", "-", cwd=folder
    )
    facts = json.loads(done.stdout)
    assert facts["code"]["n"] == 36
    assert set(facts["baselines"]) == {"raw", "pca", "untrained"}
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


def test_a_calibrated_head_predicts_sets(folder):
    shutil.copytree(folder / "press", folder / "sure")
    words = ("classify", "sure", "labelled.csv", "--label", "kind", "--baselines", "none")
    isthmus(*words, "--calibration", "cross", cwd=folder)
    words = ("predict", "sure", "plain.parquet", "-o", "sets.csv")
    done = isthmus(*words, "--alpha", "0.05", "--by-class", "--json", "sets.json", cwd=folder)

    out = pd.read_csv(folder / "sets.csv", keep_default_na=False)
    truth = pd.read_csv(folder / "labelled.csv")["kind"]
    sets = [set(one.split("|")) - {""} for one in out["set"]]
    assert [len(one) for one in sets] == out["set_size"].tolist()
    assert np.mean([label in one for label, one in zip(truth, sets, strict=True)]) > 0.9
    facts = json.loads((folder / "sets.json").read_text())["sets"]
    assert (facts["alpha"], facts["by_class"]) == (0.05, True)
    assert sum(facts["by_size"].values()) == 178
    assert "sets at 0.05 by class: " in done.stdout
    refused = isthmus(
        "predict", "press", "plain.parquet", "--alpha", "0.1", cwd=folder, check=False
    )
    assert refused.returncode == 1
    assert "isthmus classify --calibration cross" in refused.stderr.replace("\n", " ")


def test_encode_writes_the_encoders_codes(folder, frame):
    isthmus("encode", "press", "plain.parquet", "-o", "codes.npy", cwd=folder)
    isthmus("encode", "press", "plain.parquet", "-o", "codes.parquet", cwd=folder)
    codes = np.load(folder / "codes.npy")
    np.testing.assert_allclose(codes, load_bundle(folder / "press").encoder.transform(frame))
    table = pd.read_parquet(folder / "codes.parquet")
    np.testing.assert_array_equal(table.to_numpy(), codes)
    assert list(table.columns) == [f"autoencoder{i}" for i in range(6)]


def test_empty_label_cells_are_unlabelled_rows_for_spreading(folder):
    table = pd.read_csv(folder / "labelled.csv")
    table.loc[table.index % 4 > 0, "kind"] = None
    table.to_csv(folder / "partly.csv", index=False)
    shutil.copytree(folder / "press", folder / "partly")
    words = ("classify", "partly", "partly.csv", "--label", "kind")

    done = isthmus(*words, "--head", "spreading", "--json", "partly.json", cwd=folder)

    facts = json.loads((folder / "partly.json").read_text())
    assert (facts["n_labels"], facts["n_unlabelled"]) == (45, 133)
    assert facts["code"]["n"] < 20  # labelled rows only are measured on
    assert facts["code"]["classes"] == ["pink", "red", "white"]
    assert set(facts["baselines"]) == {"raw", "pca", "untrained"}
    assert "45 labels and 133 unlabelled rows" in done.stdout
    isthmus("predict", "partly", "plain.parquet", "-o", "s.csv", cwd=folder)
    truth = pd.read_csv(folder / "labelled.csv")["kind"]
    assert (pd.read_csv(folder / "s.csv")["prediction"] == truth).mean() > 0.8
    output = isthmus("evaluate", "partly", "partly.csv", "--label", "kind", cwd=folder).stdout
    assert "45 test instances" in output
    done = isthmus(*words, "--json", "partly.json", cwd=folder)
    assert json.loads((folder / "partly.json").read_text())["n_left_out"] == 133
    assert "45 labels, is in" in done.stdout
    assert "133 of 178 rows have no label and are left out" in done.stderr


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
    ("words", "message"),
    [
        (["fit", "nowhere.csv", "-o", "x"], "nowhere.csv"),
        (["fit", "labelled.csv", "-o", "x", "--label", "knid"], "did you mean 'kind'"),
        (["fit", "plain.parquet", "-o", "x", "--n-components", "13"], "narrower"),
        (["fit", "plain.parquet", "-o", "x", "--lr", "fast"], "expected a number or auto"),
        (["fit", "plain.parquet", "-o", "labelled.csv"], "left alone"),
        (["predict", "nowhere", "plain.parquet"], "not a bundle"),
        (["predict", "press", "plain.parquet", "-o", "out.txt"], ".csv, .parquet"),
        (["predict", "press", "plain.parquet", "--head", "nope"], "heads: linear"),
        (["classify", "press", "plain.parquet"], "--label COLUMN"),
        (["evaluate", "press", "labelled.csv", "--label", "knid"], "kind"),
        (["demo", "digits", "--recipe", "quick", "-o", "x"], "default, fast, thorough"),
        (["encode", "press", "plain.parquet", "-o", "/proc/codes.npy"], "/proc"),
    ],
)
def test_an_error_is_one_plain_sentence_and_status_1(folder, words, message):
    done = isthmus(*words, cwd=folder, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback(folder):
    with pytest.raises(BundleError, match="not a bundle"):  # Python prints what leaves `main`
        isthmus("info", "nowhere", "--debug", cwd=folder, check=False)


@pytest.mark.parametrize("words", [["fit"], ["conquer"], ["fit", "digits", "--speed", "9"]])
def test_wrong_words_are_status_2(folder, words):
    assert isthmus(*words, cwd=folder, check=False).returncode == 2


def test_help_and_version(folder):
    output = isthmus("--help", cwd=folder).stdout
    for command, line in COMMANDS.items():
        assert re.search(rf"^  {command} +{re.escape(line)}$", output, re.MULTILINE)
    assert re.fullmatch(r"isthmus \d+\.\d+\.\d+\n", isthmus("--version", cwd=folder).stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_how_it_is_used(folder, command):
    output = isthmus(command, "--help", cwd=folder).stdout
    assert output.startswith(f"Usage: isthmus {command} [OPTIONS]")


def test_help_has_all_options_in_sections(folder):
    known = set()
    for command in COMMANDS:
        module = importlib.import_module(f"isthmus.cli.{MODULES.get(command, command)}")
        known |= set(inspect.signature(getattr(module, command)).parameters)
    assert {name for names in SECTIONS.values() for name in names} <= known
    output = isthmus("fit", "--help", cwd=folder).stdout
    titles = re.findall(r"^(\S.*):$", output, re.MULTILINE)
    assert titles == ["Arguments", "Options", *SECTIONS]
    options = re.findall(r"^  (?:-o, )?(--[a-z-]+)", output, re.MULTILINE)
    assert len(options) == len(set(options)) == len(inspect.signature(fit).parameters)
    assert "list[str]" not in output


def test_reasons_of_images_are_pixels(capsys):
    one = {"prediction": -1, "anomaly_score": 2.0, "p_value": 0.01, "nearest_normal": 7}
    reasons = {"reason_1": "4, 9, 0", "reason_2": "4, 9, 2", "reason_3": "5, 9, 1"}
    shares = {f"share_{rank}": 0.1 for rank in (1, 2, 3)}
    table = pd.DataFrame([{"file": "a.png", **one, **reasons, **shares}])
    print_explained(table, None, kind="images")
    said = "row 0 (a.png): abnormal, anomaly score 2, p-value 0.01; it differs most at row 4 column"
    assert capsys.readouterr().out == f"{said} 9, row 5 column 9; nearest normal row 7\n"


def test_help_of_few_options_has_them_in_their_order(folder):
    output = isthmus("serve", "--help", cwd=folder).stdout
    options = re.findall(r"^  (--[a-z-]+)", output, re.MULTILINE)
    names = ["--" + name.replace("_", "-") for name in inspect.signature(serve).parameters]
    assert options == [*names[1:], "--help"]


def test_a_command_does_not_search_the_objects_of_libraries_for_garbage(folder):
    script = (
        "import atexit, gc, sys; sys.argv = ['isthmus', 'info', 'press']\n"
        "from isthmus.cli import main\n"
        "def show(): print(gc.get_threshold()[0], gc.get_freeze_count() > 0, file=sys.stderr)\n"
        "atexit.register(show)\n"  # the first that is registered is called last
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "10000 True"


def test_help_reads_no_command(folder):
    script = (
        "import sys; sys.argv = ['isthmus', '--help']; from isthmus.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([m for m in sys.modules if m.startswith('isthmus.cli.')], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "['isthmus.cli.commands']"


#: The command, which somebody interrupts in its fourth epoch of seven or eight batches.
INTERRUPTED = """
import os, signal
from isthmus.cli import main
from isthmus.training import Batches
batch, n = Batches.batch, 0
def interrupted(*given):
    global n
    n += 1
    if n == 26:
        os.kill(os.getpid(), signal.SIGINT)
    return batch(*given)
Batches.batch = interrupted
main()
"""


@pytest.mark.slow
def test_ctrl_c_leaves_a_checkpoint_that_resume_takes_up(folder):
    words = ("fit", "plain.parquet", "-o", "stopped", "--max-epochs", "12", "--seed", "3")
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *words],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        # Who runs the tests in the background has Ctrl-C ignored, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert done.returncode == 130
    assert "epoch 3/12" in done.stderr
    assert done.stderr.strip().splitlines()[-1].endswith("--resume")
    assert (folder / "stopped-checkpoints" / "last.safetensors").exists()
    isthmus(*words, "--resume", cwd=folder)
    isthmus(*words[:3], "whole", *words[4:], cwd=folder)
    resumed, whole = load_bundle(folder / "stopped"), load_bundle(folder / "whole")
    assert resumed.encoder.digest_ == whole.encoder.digest_


# --- series: one long table in, one row a window out --------------------------------------


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    """A working folder with readings of six machines, slow ones and fast ones. Written once."""
    where = tmp_path_factory.mktemp("machines")
    rng = np.random.default_rng(0)
    tables = []
    for number, name in enumerate("abcdef"):
        angle = np.arange(150) / (3 if number % 2 else 5) + number
        readings = np.stack([number % 2 + np.sin(angle), 40 + 3 * np.cos(angle)], axis=1)
        table = pd.DataFrame(readings + rng.normal(0, 0.05, (150, 2)), columns=["load", "heat"])
        table.insert(0, "machine", name)
        table.insert(0, "t", pd.date_range("2024-05-01", periods=150, freq="min"))
        tables.append(table.assign(state="fast" if number % 2 else "slow"))
    whole = pd.concat(tables, ignore_index=True)
    whole.drop(columns="state").to_parquet(where / "readings.parquet")
    whole[["heat", "state", "t", "load", "machine"]].to_csv(where / "labelled.csv", index=False)
    words = ("--kind", "series", "--time", "t", "--group", "machine", "--window", "24")
    isthmus(
        *("fit", "readings.parquet", *words, "--stride", "6", "-o", "press", "--max-epochs", "15"),
        *("--n-components", "6"),
        cwd=where,
    )
    where_and_when = ("--time", "t", "--group", "machine", "--stride", "6")
    isthmus("classify", "press", "labelled.csv", "--label", "state", *where_and_when, cwd=where)
    return where


def test_a_bundle_of_series_knows_window_and_channels(machines):
    done = isthmus("info", "press", "--json", "-", cwd=machines)
    schema = json.loads(done.stdout)["encoder"]["schema"]
    assert (schema["kind"], schema["shape"]) == ("series", [24, 2])
    assert schema["columns"] == ["load", "heat"]
    assert load_bundle(machines / "press").encoder.schema_.columns == ("load", "heat")


def test_predictions_come_one_a_window_with_group_and_times(machines):
    words = ("predict", "press", "labelled.csv", "--time", "t", "--group", "machine")
    isthmus(*words, "--label", "state", "-o", "out.csv", cwd=machines)
    out = pd.read_csv(machines / "out.csv", parse_dates=["first_time", "last_time"])
    assert list(out.columns[:5]) == [
        *("group", "first_time", "last_time", "prediction", "probability"),
    ]
    assert len(out) == 6 * (150 // 24)  # by default no two windows share a row
    assert (out["last_time"] - out["first_time"] == pd.Timedelta(minutes=23)).all()
    right = out["prediction"].eq(np.where(out["group"].isin([*"bdf"]), "fast", "slow"))
    assert right.mean() > 0.9


def test_columns_in_another_order_give_the_same_predictions(machines):
    words = ("--time", "t", "--group", "machine", "--stride", "6")
    for source, output in (("readings.parquet", "a.csv"), ("labelled.csv", "b.csv")):
        isthmus("predict", "press", source, *words, "-o", output, cwd=machines)
    first, second = (pd.read_csv(machines / name) for name in ("a.csv", "b.csv"))
    assert first["prediction"].equals(second["prediction"])
    np.testing.assert_allclose(first.iloc[:, 4:], second.iloc[:, 4:], rtol=1e-3)


def test_codes_and_evaluations_of_windows(machines):
    words = ("--time", "t", "--group", "machine")
    isthmus("encode", "press", "readings.parquet", *words, "-o", "codes.csv", cwd=machines)
    codes = pd.read_csv(machines / "codes.csv")
    assert list(codes.columns[:4]) == ["group", "first_time", "last_time", "autoencoder0"]
    assert codes.shape == (36, 3 + 6)
    isthmus("encode", "press", "readings.parquet", *words, "-o", "codes.npy", cwd=machines)
    np.testing.assert_allclose(np.load(machines / "codes.npy"), codes.iloc[:, 3:], rtol=1e-4)
    done = isthmus(
        *("evaluate", "press", "labelled.csv", "--label", "state", *words, "--json", "-"),
        cwd=machines,
    )
    assert json.loads(done.stdout)["code"]["n"] == 36


def test_windows_held_out_by_classify_are_of_other_machines(machines):
    words = ("--time", "t", "--group", "machine", "--stride", "6", "--label", "state")
    done = isthmus(
        *("classify", "press", "labelled.csv", *words, "--test-fraction", "0.4"),
        *("--name", "again", "--json", "-"),
        cwd=machines,
    )
    facts = json.loads(done.stdout)
    assert facts["code"]["n"] == 2 * 22  # two machines, one of each state, whole
    assert facts["n_labels"] == 6 * 22


def test_warnings_are_lines_of_their_own(machines):
    table = pd.read_csv(machines / "labelled.csv")
    table.loc[3, "heat"] = np.nan
    table.drop(index=range(40, 50)).to_csv(machines / "holes.csv", index=False)
    words = ("encode", "press", "holes.csv", "--time", "t", "--group", "machine", "-o", "h.npy")
    output = isthmus(*words, cwd=machines).stderr.splitlines()
    assert [line.split(" ")[:3] for line in output] == [
        ["warning:", "holes.csv:", "1"],
        ["warning:", "holes.csv:", "1"],
    ]
    output.sort(key=lambda line: "gap in time" not in line)
    assert "gap in time" in output[0]
    assert "is missing" in output[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit", "readings.parquet", "-o", "x", "--window", "24"], "--kind series"),
        (
            ["fit", "readings.parquet", "-o", "x", "--kind", "series"],
            "say which is time= or group=",
        ),
        (
            ["fit", "readings.parquet", "-o", "x", "--kind", "series", "--window", "24"],
            "columns 't', 'machine' of readings.parquet cannot be channels",
        ),
        (["fit", "readings.parquet", "-o", "x", "--kind", "windows"], "auto, images, series"),
        (["predict", "press", "labelled.csv", "--window", "30"], "leave window out"),
        (["predict", "press", "labelled.csv", "--time", "T"], "no column 'T'"),
        (["predict", "press", "heat.csv", "--time", "t"], "no column 'load'"),
    ],
)
def test_an_error_about_series_is_one_plain_sentence(machines, words, message):
    table = pd.read_csv(machines / "labelled.csv")
    table[["t", "heat"]].to_csv(machines / "heat.csv", index=False)
    done = isthmus(*words, cwd=machines, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last


def test_windows_as_arrays_need_no_option_after_fit(machines):
    X = np.random.default_rng(0).normal(size=(40, 10, 1)).cumsum(axis=1)
    np.save(machines / "X.npy", X)
    words = ("--kind", "series", "--max-epochs", "2", "-o", "arrays")
    isthmus("fit", "X.npy", *words, cwd=machines)
    isthmus("encode", "arrays", "X.npy", "-o", "c.npy", cwd=machines)
    encoder = load_bundle(machines / "arrays").encoder
    np.testing.assert_allclose(np.load(machines / "c.npy"), encoder.transform(X))


# images: each row names its file, and files are brought to the size at fit


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    place = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for at in range(60):
        pixels = rng.integers(0, 60, (8, 8), dtype=np.uint8)
        pixels[2:6, 1:4] += np.uint8(190 * (at % 2))
        path = place / "known" / ("dark", "bright")[at % 2] / f"{at}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        if at < 12:
            (place / "new").mkdir(exist_ok=True)
            Image.fromarray(pixels).resize((16, 16)).save(place / "new" / f"{at}.pgm")
    (place / "new" / "notes.txt").write_text("no image")
    isthmus("fit", "known", "-o", "b", "--max-epochs", "2", "--n-components", "4", cwd=place)
    isthmus("classify", "b", "known", "--baselines", "none", cwd=place)
    return place


FILES = [f"{at}.pgm" for at in range(12)]
READING = {
    "n_files_skipped": 1,
    "files_skipped": ["notes.txt"],
    "resized_to": [8, 8],
    "resized_from": {"16x16": 12},
}


def test_predictions_of_images_name_the_file_and_say_what_was_read(photos):
    done = isthmus("predict", "b", "new", "-o", "p.csv", "--json", "p.json", cwd=photos)
    assert done.stderr == (
        "warning: new: 1 file skipped: notes.txt; images resized to 8x8 as at fit: 12 of 16x16\n"
    )
    assert pd.read_csv(photos / "p.csv")["file"].tolist() == FILES
    assert json.loads((photos / "p.json").read_text())["reading"] == READING
    isthmus("encode", "b", "new", "-o", "c.parquet", cwd=photos)
    assert pd.read_parquet(photos / "c.parquet")["file"].tolist() == FILES
    isthmus("suggest", "b", "new", "-n", "12", "-o", "s.csv", "--json", "s.json", cwd=photos)
    sheet = pd.read_csv(photos / "s.csv")
    assert sheet["file"].tolist() == [FILES[row] for row in sheet["row"]]
    rows = json.loads((photos / "s.json").read_text())["rows"]
    assert [one["file"] for one in rows] == sheet["file"].tolist()


def test_predictions_of_images_read_in_chunks_are_those_in_memory(photos):
    isthmus("predict", "b", "new", "-o", "p2.csv", cwd=photos)
    done = isthmus(
        "predict", "b", "new", "--lazy", "-o", "p.parquet", "--json", "l.json", cwd=photos
    )
    assert "resized to 8x8" in done.stderr
    assert json.loads((photos / "l.json").read_text())["reading"] == READING
    lazy, whole = pd.read_parquet(photos / "p.parquet"), pd.read_csv(photos / "p2.csv")
    assert lazy["file"].tolist() == FILES
    assert lazy["prediction"].tolist() == whole["prediction"].tolist()


def test_a_key_that_images_lack_is_refused(photos):
    done = isthmus("predict", "b", "new", "--key", "nonsense", cwd=photos, check=False)
    assert done.returncode == 1
    assert "got the key 'nonsense', and images have the key 'file' alone" in done.stderr


def test_other_scales_of_images_are_a_line_of_their_own(photos):
    np.save(photos / "dim.npy", np.eye(8, dtype=np.uint8)[None])
    done = isthmus("predict", "b", "dim.npy", cwd=photos)
    assert done.stderr.count("warning: the pixels of 1 images are 0 to 1") == 1
    assert "X * 255" in done.stderr


@pytest.mark.parametrize("read", ["data", "train", "labels_from", "stretches", "queue", "advice"])
@pytest.mark.parametrize("written", ["output", "alarms", "json"])
def test_no_command_writes_over_a_file_that_it_reads(tmp_path, monkeypatch, read, written):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match=f"got --{written} .*rows.csv, which the command reads"):
        check_files_apart({read: "rows.csv", written: str(tmp_path / "rows.csv")})
    for fine in ("new.csv", "-", None):
        check_files_apart({read: "rows.csv", written: fine})
    check_files_apart({read: "digits", written: "digits"})  # a data set by name


def test_no_command_writes_two_files_to_one_path():
    with pytest.raises(DataError, match="got out.csv for two outputs"):
        check_files_apart({"output": Path("out.csv"), "alarms": "./out.csv"})
