"""`isthmus report`, as it is typed."""

import json

import pytest

from _commands import isthmus


@pytest.fixture(scope="module")
def folder(press, tmp_path_factory):
    """A folder with advice; the bundle is at `press.path`."""
    where = tmp_path_factory.mktemp("command")
    words = ("--widths", "4,16", "--max-epochs", "1", "--max-rows", "200")
    isthmus("advise", "digits", *words, "--json", "advice.json", cwd=where)
    return where


def test_a_report_with_all_that_can_be_given(press, folder):
    bundle = str(press.path)
    words = ("--normal", "0", "--controls", "none", "--earlier", bundle, "-o", "all.html")
    words += ("--advice", "advice.json", "--plots", "--json", "-")

    done = isthmus("report", bundle, "digits", *words, cwd=folder)

    facts = json.loads(done.stdout)
    assert facts == json.loads((folder / "all.json").read_text("utf-8"))
    assert facts["worth"] is None
    assert facts["changes"]["earlier"]["same_encoder"]
    assert facts["code"]["widths"]["dataset"]
    assert (folder / "plots" / "widths.png").exists()
    assert "--advice advice.json" in (folder / "all.html").read_text("utf-8")


def test_without_data_it_tells_of_the_encoder(press, folder):
    isthmus("report", str(press.path), "-o", "alone.html", cwd=folder)
    facts = json.loads((folder / "alone.json").read_text("utf-8"))

    assert (facts["data"], facts["changes"], facts["classes"]) == (None, None, [])
    assert facts["about"]["digest"] == press.encoder.digest_


def test_wrong_words_are_named_with_the_fix(press, folder):
    (folder / "torn.json").write_text("{", "utf-8")
    for words, said in (
        (("--advice", "torn.json"), "write it with: isthmus advise DATA --json"),
        (("--advice", "none.json"), "write it with: isthmus advise DATA --json"),
        (("--earlier", "plots"), "manifest.json"),
    ):
        words = ("report", str(press.path), "-o", "no.html", *words)
        done = isthmus(*words, cwd=folder, check=False)
        assert done.returncode == 1
        assert said in " ".join(done.stderr.split())
    assert not (folder / "no.html").exists()
