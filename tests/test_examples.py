"""Examples and docstrings run as they claim; what README and docs name exists."""

import ast
import doctest
import functools
import importlib
import re
import runpy
from pathlib import Path

import pandas as pd
import pytest
import typer

import isthmus
from isthmus.cli import commands
from isthmus.data import pump_table

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SOURCE = Path(isthmus.__file__).parent
MODULES = sorted(
    ".".join(("isthmus", *path.relative_to(SOURCE).with_suffix("").parts))
    for path in SOURCE.rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8")
)


@pytest.fixture
def run(capfd):
    """Run an example as a script and return its output; here, where torch is imported already."""

    def run(path):
        runpy.run_path(str(path), run_name="__main__")
        return capfd.readouterr().out

    return run


def test_every_example_has_a_test():
    assert [path.name for path in EXAMPLES] == [
        "01_compress.py",
        "02_classify_frozen.py",
        "03_normal_or_not.py",
        "04_few_labels.py",
        "05_sensor_windows.py",
        "06_objectives.py",
        "07_export.py",
        "08_serve.py",
        "09_time_points.py",
        "10_frozen_backbone.py",
    ]


@pytest.mark.slow
def test_compressing_beats_pca_of_the_same_width(run):
    output = run(ROOT / "examples" / "01_compress.py")
    code, pca = re.search(r"code ([\d.]+), PCA ([\d.]+)", output).groups()
    assert float(code) == pytest.approx(0.012, abs=0.003)
    assert float(pca) == pytest.approx(0.025, abs=0.001)


@pytest.mark.slow
def test_a_frozen_encoder_classifies_from_a_hundred_labels(run):
    output = run(ROOT / "examples" / "02_classify_frozen.py")
    assert float(re.search(r"code +([\d.]+)", output).group(1)) == pytest.approx(0.85, abs=0.03)
    assert float(re.search(r"raw +([\d.]+)", output).group(1)) == pytest.approx(0.82, abs=0.01)
    assert re.search(r"first predictions: 1 4 8", output)


@pytest.mark.slow
def test_malignant_rows_are_told_from_benign_ones_at_the_rate_asked(run):
    output = run(ROOT / "examples" / "03_normal_or_not.py")
    rate, found, auroc = re.search(
        r"false alarms ([\d.]+), found ([\d.]+), AUROC ([\d.]+)", output
    ).groups()
    # Of 177 rows: 0.05 and three standard errors.
    assert float(rate) <= 0.05 + 3 * (0.05 * 0.95 / 177) ** 0.5
    assert float(found) > 0.6
    assert float(auroc) > 0.9


@pytest.mark.slow
def test_a_few_labels_raise_the_auroc_over_none(run):
    output = run(ROOT / "examples" / "04_few_labels.py")
    without, five, more = (float(value) for value in re.findall(r"AUROC ([\d.]+)", output))
    # The figures of its comment: the first lines of a script are read as promises.
    assert without == pytest.approx(0.74, abs=0.04)
    assert five == pytest.approx(0.83, abs=0.04)
    assert more == pytest.approx(0.86, abs=0.04)
    shares = [float(value) for value in re.findall(r"found ([\d.]+)", output)]
    assert shares == pytest.approx([0.25, 0.4, 0.5], abs=0.1)


@pytest.mark.slow
def test_knocking_windows_are_found_and_others_left_alone(run):
    output = run(ROOT / "examples" / "05_sensor_windows.py")
    assert float(re.search(r"knocking windows found: ([\d.]+)", output).group(1)) > 0.9
    assert float(re.search(r"other windows flagged: +([\d.]+)", output).group(1)) < 0.1


@pytest.mark.slow
def test_most_faults_of_the_pump_are_in_an_alarm(run):
    output = run(ROOT / "examples" / "09_time_points.py")
    times = r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)"
    alarms = [pd.to_datetime(found) for found in re.findall(f"{times} {times} {times}", output)]
    table = pump_table("test")
    faults = table["datetime"][(table["anomaly"].diff() == 1).to_numpy()]
    found = [any(first <= at <= last for first, last, _ in alarms) for at in faults]
    assert sum(found) >= len(faults) - 2
    assert len(alarms) < 2 * len(faults)


@pytest.mark.slow
def test_objectives_decide_what_a_code_is_good_for(run):
    output = run(ROOT / "examples" / "06_objectives.py")
    found = re.findall(
        r"^(\w+) +error ([\d.]+), accuracy ([\d.]+), mean \|code\| ([\d.]+)", output, re.M
    )
    error, accuracy, activity = (
        {name: float(values[at]) for name, *values in found} for at in range(3)
    )
    assert list(error) == ["reconstruction", "invariant", "sparse"]
    assert accuracy["invariant"] > accuracy["reconstruction"]
    assert error["invariant"] > error["reconstruction"]
    assert activity["sparse"] < 0.5 * activity["reconstruction"]


@pytest.mark.slow
def test_a_frozen_backbone_tells_digits_apart_that_it_has_never_seen(run):
    output = run(ROOT / "examples" / "10_frozen_backbone.py")
    accuracy = dict(re.findall(r"^(\w+) +([\d.]+)$", output, re.M))
    assert float(accuracy["backbone"]) > float(accuracy["pca"])
    assert float(re.search(r"found: ([\d.]+)", output)[1]) > 0.95
    assert "same: True" in output


@pytest.mark.slow
def test_a_decision_taken_elsewhere_is_the_same(run):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("skl2onnx")
    output = run(ROOT / "examples" / "07_export.py")
    assert (
        re.findall(r"^        \d+ rows: off by \de-0[4-9] at most, (\d+) dec", output, re.M)
        == ["0"] * 3
    )
    here, there = re.search(r"elsewhere: (.+) here: (.+)", output).groups()
    assert here == there


@pytest.mark.slow
def test_a_decision_asked_for_over_http_is_the_same(run):
    pytest.importorskip("skl2onnx")
    pytest.importorskip("uvicorn")
    output = run(ROOT / "examples" / "08_serve.py")
    over_http, here = (re.search(rf"{words}: (.+)", output)[1] for words in ("HTTP", "Python"))
    assert over_http == here
    assert "got an array of shape (1, 3) | expected (n, 8, 8) as at fit" in output


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_hold(name, tmp_path, monkeypatch):
    if name.startswith("isthmus.export."):
        pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried > 0
    assert failed == 0


TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS_BY_NAME = pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
# Files of an export.
NOT_OURS = {
    *("predict.py", "predict_files.py", "predict_points.py"),
    *("exported/predict.py", "pump-exported/predict.py"),
}


def resolve(name):
    """Return what a dotted name stands for; raises where there is none."""
    found, so_far = isthmus, "isthmus"
    for part in name.split(".")[1:]:
        so_far = f"{so_far}.{part}"
        try:
            found = getattr(found, part)
        except AttributeError:
            found = importlib.import_module(so_far)
    return found


def is_door(name):
    """Whether people import from this module: a package, or a module that is in none."""
    return name.count(".") <= 1 or Path(resolve(name).__file__).name == "__init__.py"


@TEXTS_BY_NAME
def test_names_in_the_docs_resolve(path):
    for name in set(re.findall(r"\bisthmus(?:\.[A-Za-z_]\w*)+", path.read_text(encoding="utf-8"))):
        assert resolve(name) is not None
        assert is_door(name.rpartition(".")[0]), f"{name} is not named by its package's door"


@TEXTS_BY_NAME
def test_imports_in_the_docs_resolve(path):
    lines = re.findall(
        r"^ *(from isthmus[\w.]* import .+)$", path.read_text(encoding="utf-8"), re.M
    )
    for node in (ast.parse(line.strip()).body[0] for line in lines):
        assert is_door(node.module), f"{node.module} is inside a package"
        for alias in node.names:
            assert resolve(f"{node.module}.{alias.name}") is not None


@TEXTS_BY_NAME
def test_files_named_in_the_docs_exist(path):
    text = path.read_text(encoding="utf-8")
    files = re.findall(r"(?<![\w./-])(?:[\w-]+/)*[\w-]+\.py\b", text)
    folders = re.findall(r"(?<![\w./-])(?:src|tests|benchmarks|examples|docs)/[\w/.-]*\w", text)
    links = [
        path.parent.relative_to(ROOT) / a for a in re.findall(r"\]\((?!https:)([^):#]+)", text)
    ]
    for name in {*map(str, links), *files, *folders} - NOT_OURS:
        below = (ROOT, SOURCE, ROOT / "benchmarks", ROOT / "docs")
        assert any((folder / name).exists() for folder in below), f"{path.name} names {name}"


@functools.cache
def options_of(command):
    """Every option that a command takes, as it is typed."""
    module = importlib.import_module(f"isthmus.cli.{commands.MODULES.get(command, command)}")
    alone = typer.Typer(add_completion=False)
    alone.command()(getattr(module, command))
    params = typer.main.get_command(alone).params
    return {"--help", *(name for one in params for name in (*one.opts, *one.secondary_opts))}


@TEXTS_BY_NAME
def test_options_in_the_docs_are_those_of_the_commands(path):
    text = path.read_text(encoding="utf-8")
    spans = re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.S))
    blocks = re.findall(r"```.*?```", text, re.S) + re.findall(r"(?:^ {4}.*\n)+", text, re.M)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    for line in [*lines, *(" ".join(span.split()) for span in spans)]:
        asked = re.search(r"(?:^|[ /])isthmus ([a-z]+)\b(.*)", line)
        if asked is None or asked[1] not in commands.COMMANDS:
            continue
        taken = options_of(asked[1])
        for option in re.findall(r"(?<!\S)--?[a-z][a-z0-9-]*", asked[2].partition(" #")[0]):
            assert option in taken, f"isthmus {asked[1]} has no {option}: {line}"
