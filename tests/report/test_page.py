"""The page: whole by itself, escaped, its numbers those of the JSON."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from _commands import isthmus
from isthmus import (
    AnomalyDetector,
    Autoencoder,
    CodeClassifier,
    Dataset,
    advise,
    load,
    load_bundle,
    save_bundle,
)
from isthmus.errors import DataError
from isthmus.report import write_report
from isthmus.report.gallery import Gallery

EVIL = "<script>alert('x')</script>"


class Page(HTMLParser):
    """What a browser would fetch, what it would run, and what a person reads."""

    def __init__(self, text):
        super().__init__()
        self.links, self.scripts, self.ids, self.text = [], 0, [], []
        self._silent = 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.links += [given[name] for name in ("src", "href", "xlink:href") if name in given]
        self.ids += [given["id"]] if "id" in given else []
        self.scripts += tag == "script"
        self._silent += tag in ("script", "style")

    def handle_endtag(self, tag):
        self._silent -= tag in ("script", "style")

    def handle_data(self, text):
        if not self._silent:
            self.text.append(text)


def test_the_page_needs_nothing_beside_it(written):
    page = Page((written / "report.html").read_text("utf-8"))

    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    assert page.scripts == 2
    text = (written / "report.html").read_text("utf-8")
    assert not re.search(r"@import|url\((?!#)", text)


def test_no_identifier_is_there_twice(written):
    ids = Page((written / "report.html").read_text("utf-8")).ids

    assert len(ids) == len(set(ids))


def test_every_link_within_the_page_leads_somewhere(written):
    page = Page((written / "report.html").read_text("utf-8"))

    assert {link[1:] for link in page.links if link.startswith("#") and len(link) > 1} <= set(
        page.ids
    )


def test_numbers_on_the_page_are_those_of_the_json(written):
    facts = json.loads((written / "report.json").read_text("utf-8"))
    read = " ".join(" ".join(Page((written / "report.html").read_text("utf-8")).text).split())

    assert facts["summary"] in read
    for found in facts["classes"]:
        assert f"{100 * found['accuracy']:.2f} %" in read
        for one in found["per_class"]:
            row = [f"{100 * one[name]:.1f} %" for name in ("precision", "recall", "f1")]
            assert " ".join([str(one["label"]), *row, str(one["support"])]) in read
    for found in facts["verdicts"]:
        assert f"Classified as abnormal: {found['flagged']} of {found['n']} instances" in read
        assert f"AUROC {found['found']['auroc']:.4g}" in read
    for found in facts["flagged"]:
        for rank, one in enumerate(found["cases"], start=1):
            numbers = f"{rank} {one['row']} {one['score']:.4g} {one['p_value']:.4g} {one['given']}"
            assert numbers in read
    for card in facts["answer"]["cards"]:
        said = f"{card['title']} {card['value']} {card['words']}"
        assert said in read.replace("\xa0", " ")
    for points in facts["baseline_comparison"]["curves"].values():
        for point in points:
            low, high = (f"{100 * point[name]:.1f} %" for name in ("low", "high"))
            assert f"{100 * point['accuracy']:.1f} % ({low} to {high})" in read


def test_markdown_says_the_same(written):
    facts = json.loads((written / "report.json").read_text("utf-8"))
    text = (written / "report.md").read_text("utf-8")

    assert f"{facts['classes'][0]['accuracy']:.2%} of {facts['classes'][0]['n']:,}" in text
    assert facts["about"]["digest"] in text


def test_what_changed_is_on_the_page_as_in_the_json(written, press, splits, tmp_path):
    facts = json.loads((written / "report.json").read_text("utf-8"))["changes"]
    read = " ".join(" ".join(Page((written / "report.html").read_text("utf-8")).text).split())
    assert facts["drift"]["verdict"] in read
    for name in ("codes", "errors"):
        test = facts["drift"]["found"][name]
        p_values = " ".join(f"{test[key]:.4g}" for key in ("statistic", "p_value", "adjusted"))
        assert p_values in read

    dark = Dataset(splits.test.X * 0.5, splits.test.y, name="dark")
    found = write_report(press, tmp_path / "r.html", dark, normal="0", earlier=press.path)
    read = " ".join(" ".join(Page((tmp_path / "r.html").read_text("utf-8")).text).split())
    assert found["changes"]["drift"]["found"]["drifted"]
    assert found["changes"]["earlier"]["verdict"] == "The encoder is the same."
    for head in found["changes"]["earlier"]["heads"]:
        assert head["verdict"] in read


def test_advice_on_the_width_is_a_chapter_of_its_own(press, splits, tmp_path):
    advice = advise(splits.train.X[:300], widths=[4, 16], max_epochs=1, random_state=0)
    write_report(press, tmp_path / "r.html", advice=advice, plots=True)
    read = " ".join(" ".join(Page((tmp_path / "r.html").read_text("utf-8")).text).split())

    assert f"The advisor recommends {advice.n_components} numbers, {advice.why}" in read
    for row in advice.table:
        assert f"{row['width']} {row['error']:.4g} {row['pca_error']:.4g}" in read
    assert (tmp_path / "plots" / "widths.png").exists()


def test_instances_from_files_are_named_by_them(press, splits, tmp_path):
    files = [f"zero/{at} <a>.png" for at in range(12)]
    images = Dataset(splits.test.X[:12], keys=pd.DataFrame({"file": files}))
    save_bundle(tmp_path / "b", press.encoder)
    facts = write_report(tmp_path / "b", tmp_path / "report.html", images)
    text = (tmp_path / "report.html").read_text("utf-8")
    read = " ".join(Page(text).text)
    for one in facts["code"]["shown"]["worst"]:
        assert f"{files[one['row']]}, error {one['error']:.4g}" in read
    assert 'alt="zero/3 &lt;a&gt;.png"' in text
    live = json.loads(re.search(r'<script type="application/json"[^>]*>(.*?)</script>', text)[1])
    assert live["map"]["rows"] == [files[row] for row in facts["code"]["map"]["rows"]]


def test_pictures_are_files_too(written):
    names = {path.name for path in (written / "plots").iterdir()}

    assert {"history.png", "history.svg", "baseline_comparison.png", "confusion-kind.svg"} <= names
    assert {"scores-normal.png", "ranking-normal.svg", "reliability-kind.png"} <= names


def test_prediction_sets_and_calibration_are_on_the_page(report):
    folder, facts = report
    read = " ".join(" ".join(Page((folder / "report.html").read_text("utf-8")).text).split())
    found = facts["classes"][0]["calibration"]

    assert found["source"] == "cross"
    for one in found["sets"]:
        asked, reached = (f"{100 * share:.1f} %" for share in (1 - one["alpha"], one["coverage"]))
        assert f"{asked} {reached} {100 * one['interval'][0]:.1f} %" in read.replace("\xa0", " ")
    assert "It changes no predicted class." in read


def test_text_from_the_data_is_never_markup(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            EVIL: rng.normal(size=120),
            "category": rng.choice([f"{EVIL} a", "b"], 120),
            "other": rng.normal(size=120),
        }
    )
    y = np.where(frame[EVIL] > 0, f"{EVIL} up", "down")
    encoder = Autoencoder(2, max_epochs=2, random_state=0).fit(frame[:40])
    heads = {
        "updown": CodeClassifier(encoder).fit(frame[40:80], y[40:80]),
        "normal": AnomalyDetector(encoder, false_alarm_rate=0.2, random_state=0).fit(frame[40:80]),
    }
    save_bundle(tmp_path / "b", encoder, heads)
    data = Dataset(frame, y, name=EVIL).split(0.3, random_state=0)

    write_report(tmp_path / "b", tmp_path / "r.html", data, normal="down", command=EVIL, plots=True)

    text = (tmp_path / "r.html").read_text("utf-8")
    assert Page(text).scripts == 2
    assert "<script>alert" not in text
    assert "<script" not in re.sub("`[^`]*`", "", (tmp_path / "r.md").read_text("utf-8"))
    assert EVIL in " ".join(Page(text).text)


@pytest.mark.parametrize("kind", ["wide", "classes"])
def test_much_of_everything_stays_readable_and_small(kind, tmp_path):
    rng = np.random.default_rng(0)
    n, m, classes = (300, 600, 3) if kind == "wide" else (800, 8, 200)
    y = rng.permutation(np.arange(n) % classes)
    X = rng.normal(size=(n, m)) + y[:, None]
    encoder = Autoencoder(4, max_epochs=1, random_state=0).fit(X)
    save_bundle(tmp_path / "b", encoder, {"linear": CodeClassifier(encoder).fit(X, y)})

    write_report(tmp_path / "b", tmp_path / "r.html", Dataset(X, y), baselines=None)

    text = (tmp_path / "r.html").read_text("utf-8")
    assert len(text) < 3e6
    if kind == "wide":
        assert "The first 500 of 600" in text
    else:
        assert "and 170 rarer labels" in text


def test_a_series_is_drawn_as_curves(tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 100, 2)).cumsum(axis=1)
    encoder = Autoencoder(4, kind="series", max_epochs=1, random_state=0).fit(X)
    encoder.save(tmp_path / "b")
    data = Dataset(X, schema=encoder.schema_)

    write_report(load_bundle(tmp_path / "b"), tmp_path / "r.html", data)

    page = (tmp_path / "r.html").read_text("utf-8")
    assert page.count("<polyline") == 2 * (3 * 12 + 16)
    assert "Each channel is drawn on a scale of its own" in page


def test_channels_are_drawn_on_their_own_scales():
    table = pd.DataFrame({"heat": [20.0, 22.0, 21.0, 20.0], "rpm": [1500.0, 1400, 1450, 1475]})
    part = load(table, kind="series", window=4)
    encoder = Autoencoder(2, kind="series", architecture="dense", max_epochs=1, random_state=0)
    encoder.fit(np.random.default_rng(0).normal(size=(40, 4, 2)), channel_names=["heat", "rpm"])
    shown = Gallery(encoder, part)
    assert [one[0::2] for one in shown.legend()] == [
        ("heat", "20 to 22"),
        ("rpm", "1400 to 1500"),
    ]
    (curves,) = shown.on_map([0])["curves"]
    assert curves == [[0.0, 1.0, 0.5, 0.0], [1.0, 0.0, 0.5, 0.75]]
    assert 'points="1.0,38.0 32.3,2.0 63.7,20.0 95.0,38.0"' in shown.one(0)


@pytest.fixture(scope="module")
def folder(press, tmp_path_factory):
    """A folder with advice; the bundle is at `press.path`."""
    where = tmp_path_factory.mktemp("command")
    words = ("--widths", "4,16", "--max-epochs", "1", "--max-rows", "200")
    isthmus("advise", "digits", *words, "--json", "advice.json", cwd=where)
    return where


def test_a_report_with_all_that_can_be_given(press, folder):
    bundle = str(press.path)
    words = ("--normal", "0", "--baselines", "none", "--earlier", bundle, "-o", "all.html")
    words += ("--advice", "advice.json", "--plots", "--json", "-")

    done = isthmus("report", bundle, "digits", *words, cwd=folder)

    facts = json.loads(done.stdout)
    assert facts == json.loads((folder / "all.json").read_text("utf-8"))
    assert facts["baseline_comparison"] is None
    assert facts["changes"]["earlier"]["same_encoder"]
    assert facts["code"]["widths"]["dataset"]
    assert (folder / "plots" / "widths.png").exists()
    page = re.sub("<[^>]+>", "", (folder / "all.html").read_text("utf-8"))
    assert "--advice advice.json" in page


def test_without_data_it_tells_of_the_encoder(press, folder):
    isthmus("report", str(press.path), "-o", "alone.html", cwd=folder)
    facts = json.loads((folder / "alone.json").read_text("utf-8"))

    assert (facts["data"], facts["changes"], facts["classes"]) == (None, None, [])
    assert facts["about"]["digest"] == press.encoder.digest_


@pytest.mark.parametrize("name", ["table.json", "table.md"])
def test_no_file_of_another_is_written_over(name, tmp_path, press):
    theirs = tmp_path / name
    theirs.write_text('{"mine": 1}')
    with pytest.raises(DataError, match=f"{name} is there and is not of a report.*-o"):
        write_report(press, tmp_path / "table.html")
    assert theirs.read_text() == '{"mine": 1}'
    assert [*tmp_path.iterdir()] == [theirs]
    with pytest.raises(DataError, match="expected a name such as .*table.html"):
        write_report(press, theirs)


def test_a_report_replaces_an_earlier_one(written, tmp_path):
    for name in ("report.json", "report.md"):
        (tmp_path / name).write_bytes((written / name).read_bytes())
    encoder = Autoencoder(1, max_epochs=1).fit(np.random.default_rng(0).normal(size=(50, 3)))
    save_bundle(tmp_path / "press", encoder)
    write_report(tmp_path / "press", tmp_path / "report.html", command="again")
    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["command"] == "again"


def test_wrong_words_are_named_with_the_fix(press, folder):
    (folder / "torn.json").write_text("{", "utf-8")
    for words, message in (
        (("--advice", "torn.json"), "write it with: isthmus advise DATA --json"),
        (("--advice", "none.json"), "write it with: isthmus advise DATA --json"),
        (("--earlier", "plots"), "manifest.json"),
    ):
        words = ("report", str(press.path), "-o", "no.html", *words)
        done = isthmus(*words, cwd=folder, check=False)
        assert done.returncode == 1
        assert message in " ".join(done.stderr.split())
    assert not (folder / "no.html").exists()
