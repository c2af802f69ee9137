"""Every code block of README and docs runs as it is pasted, in the order of its page."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

import isthmus.recipes
from _page_files import FILES
from _pages import LANGUAGES, Page, blocks_of

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

INSTALLS = "it installs what the tests have"
#: The commands that are not run, by page and how they begin, and why.
EXCEPTED = {
    "README.md": {
        "pip install": INSTALLS,
        "make": "makes environments of its own; .ci/run runs make test",
    },
    "index.md": {"pip install": INSTALLS},
    "integrations.md": {
        "pip install": INSTALLS,
        "mlflow models serve": "needs the whole of MLflow",
        "curl http://127.0.0.1:5000": "asks the server of MLflow",
    },
    "scale.md": {
        "pip install": INSTALLS,
        "isthmus predict press/ 'events/*.parquet' -o decided.parquet --key id --engine ray": (
            "needs Ray, see tests/scoring"
        ),
        "isthmus predict press/ s3://": "needs a store and a cluster",
        "isthmus fit 'events/*.parquet' --key id -o press/ --engine ray": (
            "needs Ray, see tests/distributed"
        ),
        "isthmus fit '/shared/": "needs a cluster",
        "torchrun": "starts processes that train together, see tests/distributed",
    },
    "security.md": {"python benchmarks/hardening.py": "takes seven minutes"},
    "serve.md": {
        "pip install": INSTALLS,
        "ISTHMUS_TOKEN": "listens beyond this machine",
        "curl http://press.example": "a name that no machine here has",
    },
}
#: Packages that the environment of the tests cannot have or does not need, by a word of the blocks
#: that do; their own tests run these blocks (make test-adapters).
ELSEWHERE = {"AeonDetector": "aeon", "skore": "skore"}
#: Pages that take longer than a few seconds.
SLOW = {"data.md", "index.md", "integrations.md", "report.md", "serve.md", "scale.md"}


def listed(pages):
    """Pages as parameters of tests."""
    imports = pytest.mark.filterwarnings("ignore:.*inferred as AnyType")  # MLflow, of itself
    slow = [imports, pytest.mark.slow]
    return [pytest.param(p, id=p.name, marks=slow if p.name in SLOW else imports) for p in pages]


@pytest.fixture
def short_training(monkeypatch):
    """Train for two epochs where a page does not state how many."""
    monkeypatch.setattr(isthmus.recipes, "choose_max_epochs", lambda *_: 2)


def runs_here(block):
    """Whether a block is code whose packages are installed."""
    missing = [word for word, package in ELSEWHERE.items() if find_spec(package) is None]
    return block.runs and not (
        block.language == "python" and any(word in block.code for word in missing)
    )


def run_page(path, folder):
    """Run all blocks of a page in a folder, count them, and return what the commands printed."""
    if path.name in FILES:
        FILES[path.name](folder)
    excepted = EXCEPTED.get(path.name, {})
    blocks = [block for block in blocks_of(path) if runs_here(block)]
    with Page(folder, excepted) as page:
        for block in blocks:
            page.run(block)
    unused = [start for start in excepted if not any(c.startswith(start) for c in page.skipped)]
    assert not unused, "exceptions that no command of the page needs"
    n_excepted = sum(
        all(any(c.startswith(start) for start in excepted) for c in block.commands)
        for block in blocks
        if block.language == "shell"
    )
    assert page.n_run == len(blocks) - n_excepted
    return "\n".join(page.printed)


@pytest.mark.parametrize(
    "path", listed(p for p in PAGES[1:] if any(block.runs for block in blocks_of(p)))
)
def test_every_block_runs_as_pasted(path, tmp_path, short_training):
    run_page(path, tmp_path)


@pytest.mark.slow
def test_the_stories_of_the_readme_run_as_pasted_and_find_what_it_says(tmp_path):
    printed = run_page(PAGES[0], tmp_path)
    found, n = map(int, re.search(r"found +(\d+) of (\d+) abnormal", printed).groups())
    assert n == 15
    assert found >= 13
    alarms, n = map(int, re.search(r"false alarms +(\d+) of (\d+) normal", printed).groups())
    assert n == 685
    assert alarms <= 0.01 * n + 3 * (0.01 * 0.99 * n) ** 0.5


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_block_is_read_and_has_a_language(path):
    text = path.read_text(encoding="utf-8")
    blocks = blocks_of(path)
    assert 2 * len(blocks) == len(re.findall(r"^ *```", text, re.M))
    assert {block.language for block in blocks} <= set(LANGUAGES)
    outside = re.sub(r"^ *```.*?^ *```", "", text, flags=re.S | re.M)
    assert not re.findall(r"^\n {4}\S.*", outside, re.M), "a block of code without a fence"
