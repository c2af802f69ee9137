"""The documentation site: everything public is on it, docstrings are escaped, tutorials run."""

import importlib
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


def test_names_of_the_top_are_listed_by_task(extension):
    package_pages = extension("package_pages")
    names = {f"isthmus.{name}" for name in package_pages.public_names("isthmus")}
    assert names <= set(package_pages.listed_by_task())


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
