"""Every code block of README and docs runs as it is pasted, in the order of its page."""

import re
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
#: Pages that take longer than a few seconds.
SLOW = {"README.md", "report.md", "serve.md", "scale.md"}


def listed(pages):
    """Pages as parameters of tests."""
    slow = [pytest.mark.slow]
    return [pytest.param(p, id=p.name, marks=slow if p.name in SLOW else []) for p in pages]


@pytest.fixture
def short_training(monkeypatch):
    """Train for two epochs where a page does not state how many."""
    monkeypatch.setattr(isthmus.recipes, "choose_max_epochs", lambda *_: 2)


@pytest.mark.parametrize("path", listed(p for p in PAGES if blocks_of(p)))
def test_every_block_runs_as_pasted(path, tmp_path, short_training):
    if path.name in FILES:
        FILES[path.name](tmp_path)
    excepted = EXCEPTED.get(path.name, {})
    blocks = [block for block in blocks_of(path) if block.language != "text"]
    with Page(tmp_path, excepted) as page:
        for block in blocks:
            page.run(block)
    unused = [start for start in excepted if not any(c.startswith(start) for c in page.skipped)]
    assert not unused, "exceptions that no command of the page needs"
    wholly = [b for b in blocks if b.commands and b.language == "shell"]
    n_excepted = sum(
        all(any(c.startswith(start) for start in excepted) for c in b.commands) for b in wholly
    )
    assert page.n_run == len(blocks) - n_excepted


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_block_is_read_and_has_a_language(path):
    text = path.read_text(encoding="utf-8")
    blocks = blocks_of(path)
    assert 2 * len(blocks) == len(re.findall(r"^ *```", text, re.M))
    assert {block.language for block in blocks} <= set(LANGUAGES)
    outside = re.sub(r"^ *```.*?^ *```", "", text, flags=re.S | re.M)
    assert not re.findall(r"^\n {4}\S.*", outside, re.M), "a block of code without a fence"
