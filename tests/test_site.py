"""The documentation site: everything public is on it, docstrings are escaped, tutorials run."""

import importlib
import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.py"))


@pytest.fixture
def extension(monkeypatch):
    """Import a file of `docs/extensions`, as Sphinx does."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "extensions"))

    def load(name):
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    return load


def test_what_is_public_for_the_site_is_what_packages_offer(extension):
    package_pages = extension("package_pages")
    for name in package_pages.public_modules():
        module = importlib.import_module(name)
        assert package_pages.public_names(name), name
        offered = getattr(module, "__all__", package_pages.public_names(name))
        assert {*package_pages.public_names(name), "__version__"} == {*offered, "__version__"}, name
        assert all(hasattr(module, one) for one in package_pages.public_names(name)), name


def test_every_public_name_has_one_place_on_the_site(extension):
    package_pages = extension("package_pages")
    by_task = package_pages.listed_by_task()
    placed = [*by_task, *(f"{m}.{n}" for m, names in package_pages.pages().items() for n in names)]
    found = [package_pages.identity(name) for name in placed]
    assert len(set(placed)) == len(placed)
    assert len({id(one) for one in found if not isinstance(one, str)}) == sum(
        not isinstance(one, str) for one in found
    )
    lacking = [
        f"{module}.{name}"
        for module in package_pages.public_modules()
        for name in package_pages.public_names(module)
        if package_pages.identity(f"{module}.{name}") not in found
    ]
    assert lacking == []


def test_marks_in_docstrings_are_escaped_but_in_code(extension):
    escape = extension("plain_docstrings").escape
    assert escape(["array of shape (n, *shape) of `digest_` and digest_, with |u|"]) == [
        r"array of shape (n, \*shape) of `digest_` and digest\_, with \|u\|"
    ]
    kept = [
        "digest_ : str",
        ">>> found_ = f(*shape)",
        "(1, *2)",
        "",
        "As follows::",
        "",
        "    a_ | b_",
        "",
        "a span `over *two",
        "lines_` and *stressed* words, n_components too",
    ]
    assert escape(kept) == kept
    assert escape(["encoder_, decoder_ : shape (n, n_)"]) == [
        r"encoder_, decoder_ : shape (n, n\_)"
    ]


@pytest.mark.parametrize(
    ("page", "target", "found"),
    [
        ("concepts", "../README.md#measured", "generated/repository/readme.md#measured"),
        ("objectives", "../examples/06_objectives.py",
         "generated/repository/examples.md#06_objectivespy"),
        ("guides", "../examples", "generated/repository/examples.md"),
        ("index", "tutorials/02_sensor_series.py", "generated/tutorials/02_sensor_series.rst"),
        ("generated/repository/readme", "../../data.md#tables", "../../data.md#tables"),
        ("generated/repository/readme", "../../../CHANGELOG.md",
         "../../generated/repository/changelog.md"),
        ("data", "detection.md#by-group", "detection.md#by-group"),
    ],
)  # fmt: skip
def test_links_that_leave_docs_lead_to_pages_of_the_site(extension, page, target, found):
    assert extension("outside_links").site_target(target, page) == found


def test_a_link_shows_the_title_of_a_page_where_it_names_the_file(extension):
    outside_links, source = (
        extension("outside_links"),
        ["see [data.md](data.md#labels), [it](x.md)"],
    )
    outside_links.lead_to_pages(None, "concepts", source)
    assert source == ["see [Data](data.md#labels), [it](x.md)"]
    source = ["- [docs/data.md](docs/data.md): [![picture](pictures/a.png)](concepts.md)"]
    outside_links.lead_to_pages(None, "index", source)
    assert source == ["- [Data](docs/data.md): [![picture](pictures/a.png)](concepts.md)"]


def test_every_page_is_in_a_table_of_contents():
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
    entries = [
        entry
        for text in texts.values()
        for block in re.findall(r"```{toctree}\n(.*?)```", text, re.S)
        for entry in re.findall(r"^(?:.*<)?([\w/]+)>?$", block, re.M)
    ]
    for path in texts:
        assert path.stem == "index" or path.stem in entries, f"add {path.stem} to docs/guides.md"


def test_every_tutorial_has_a_test_and_a_place_on_the_first_page():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for path in TUTORIALS:
        assert f"(tutorials/{path.name})" in index
        assert f'"{path.name}"' in Path(__file__).read_text(encoding="utf-8")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a tutorial as a script, in an empty folder, and return its names."""
    monkeypatch.chdir(tmp_path)
    return lambda name: runpy.run_path(str(ROOT / "docs" / "tutorials" / name))


def test_the_story_takes_a_third_of_the_lines_of_keras():
    text = (ROOT / "docs" / "tutorials" / "01_keras_tutorial.py").read_text(encoding="utf-8")
    cells = text.split('"""')[2]
    lines = cells.splitlines()
    ours = [line for line in lines if line.strip() and not line.startswith("#")]
    keras, inside = [], False
    for line in lines:
        if line.startswith("# .. code-block:: python"):
            inside = True
        elif inside and line.startswith("#    "):
            keras.append(line)
        elif line != "#":
            inside = False
    assert len(keras) > 90
    # Imports, all steps, the evaluation beside baselines, and the detector that Keras's has not.
    assert len(ours) <= len(keras) / 3, (len(ours), len(keras))


@pytest.mark.slow
def test_the_keras_tutorial_ends_with_classes_and_with_normal_or_not(run):
    found = run("01_keras_tutorial.py")
    assert found["encoder"].n_parameters_ == 4969
    assert found["codes"].shape == (360, 128)
    digits = found["digits"]
    assert found["classifier"].score(digits.test.X, digits.test.y) > 0.95
    zeros = found["zero_in_test"]
    # Of 36 zeros: 0.05 and three standard errors.
    assert found["abnormal"][zeros].mean() <= 0.05 + 3 * (0.05 * 0.95 / 36) ** 0.5
    assert found["abnormal"][~zeros].mean() > 0.95


@pytest.mark.slow
def test_the_faults_of_the_pump_lie_in_alarms(run):
    found = run("02_sensor_series.py")
    assert found["pump"].points.window == 64
    assert found["faults"]["found"].sum() >= 7
    assert len(found["alarms"]) <= 10
    assert found["shares"].idxmax() == "share_flow"


@pytest.mark.slow
def test_labels_that_the_detector_asks_for_raise_what_it_is_worth(run):
    found = run("03_bank_table.py")
    precision = [one["average precision"] for one in found["rounds"]]
    assert precision[-1] > 2 * precision[0]
    # Five standard errors, of the calibration rows and of the payments of the day.
    for one in found["rounds"]:
        assert float(one["false alarms"].rstrip("%")) < 1 + 5 * 0.29
    asked, chance = (found["recent_fraud"][rows].sum() for rows in (found["asked"], slice(90)))
    assert asked >= 4 * chance
    trees = [one["average precision"] for one in found["compared"]]
    assert trees[0] < precision[-1] < trees[2]


@pytest.mark.slow
def test_defects_are_found_on_parts_that_lie_alike_only(run):
    found = run("04_images_of_parts.py")
    good, *defects = found["flagged_by_kind"](found["detector"], found["new"])["flagged"]
    assert good / 300 <= 0.02 + 4 * (0.02 * 0.98 / 300) ** 0.5
    assert sum(defects) > 0.85 * 180
    _, scratch, dent, _ = found["flagged_by_kind"](found["loose_detector"], found["new_loose"])[
        "flagged"
    ]
    assert scratch + dent < 0.3 * 120
    classes = found["kind"][found["rest"]]
    assert 0.75 < (found["predicted"] == classes).mean() < 0.95


@pytest.mark.slow
def test_decisions_that_were_interrupted_are_complete_and_find_leaks(run):
    found = run("05_past_one_machine.py")
    table, leak = found["table"], found["truth"]["leak"].to_numpy()
    assert len(table) == 40_000
    flagged = table["prediction"].to_numpy() == -1
    assert flagged[leak].mean() > 0.8
    assert flagged[~leak].mean() < 0.002
