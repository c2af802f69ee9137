"""A report on a stream: what is drawn is said, and heads are tested on all rows."""

import re

import numpy as np
import pandas as pd
import pytest

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, load, load_bundle, save_bundle
from isthmus.data import Dataset
from isthmus.evaluation import evaluate, evaluate_detector
from isthmus.report import gallery as drawn
from isthmus.report import write_report
from isthmus.report.facts import report_facts


@pytest.fixture(scope="module")
def frame():
    """Rows of two classes, sorted by them."""
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(560, 2))
    X = Z @ rng.normal(size=(2, 5)) + 0.3 * rng.normal(size=(560, 5))
    frame = pd.DataFrame(X.astype(np.float32), columns=list("abcde"))
    frame["state"] = np.where(Z[:, 0] + 0.4 * rng.normal(size=560) > 0.8, "bad", "ok")
    return frame


@pytest.fixture(scope="module")
def in_order(frame):
    """What heads are tested on."""
    rest = frame[200:].sort_values("state", ignore_index=True)
    return Dataset(rest.drop(columns="state"), rest["state"])


@pytest.fixture(scope="module")
def folder(in_order, tmp_path_factory):
    """The same as files."""
    folder = tmp_path_factory.mktemp("rows")
    for at in range(3):
        rows = slice(at * 120, (at + 1) * 120)
        part = in_order.X[rows].assign(state=in_order.y[rows], number=in_order.y[rows] == "ok")
        part.astype({"number": int}).to_parquet(folder / f"{at}.parquet", index=False)
    return folder


@pytest.fixture(scope="module")
def press(frame, tmp_path_factory):
    X, y = frame[:200].drop(columns="state"), frame["state"][:200]
    encoder = Autoencoder(2, max_epochs=3, random_state=0).fit(X[:100])
    normal = X[100:][y[100:] == "ok"]
    heads = {
        "kind": CodeClassifier(encoder, random_state=0).fit(X, y),
        "normal": AnomalyDetector(encoder, false_alarm_rate=0.1, random_state=0).fit(normal),
    }
    path = tmp_path_factory.mktemp("streams") / "press"
    save_bundle(path, encoder, heads)
    return load_bundle(path)


def stream_of(folder, label="state"):
    return load(folder, label=label, columns=list("abcde"))


@pytest.fixture(scope="module")
def written(press, folder, tmp_path_factory):
    """Facts and page of a report that shows a hundred of them."""
    path = tmp_path_factory.mktemp("written") / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawn, "MAX_SAMPLE_ROWS", 100)
        facts = write_report(press, path, stream_of(folder), normal="ok")
    return facts, path.read_text("utf-8"), path.with_suffix(".md").read_text("utf-8")


def test_heads_are_tested_on_all_rows(press, written, in_order):
    (classes,), (verdicts,) = written[0]["classes"], written[0]["verdicts"]
    direct = evaluate(press.heads["kind"], in_order.X, in_order.y, baselines=None)["code"]
    assert classes["n"] == len(in_order) == 360
    assert classes["confusion"] == direct["confusion"]
    assert classes["accuracy"] == direct["accuracy"]
    assert {cell["count"] for cell in classes["cells"]} <= set(np.ravel(direct["confusion"]))
    found = evaluate_detector(press.heads["normal"], in_order.X, in_order.y, normal="ok")["code"]
    for name, value in found.items():
        assert verdicts["found"][name] == value
    assert verdicts["n"] == 360
    assert sum(map(sum, verdicts["histogram"]["counts"].values())) == 360


def test_what_is_drawn_is_said_and_shown(written, in_order):
    facts, page, markdown = written
    found = facts["data"]["drawn"]
    assert (found["n"], found["of"], len(found["rows"])) == (100, 360, 100)
    assert facts["data"]["parts"]["test"]["n"] == 100
    assert "These are 100 of 360 rows, a uniform random sample" in page
    assert "Heads are tested on all 360 rows" in page
    assert "100 of 360 instances, drawn at random" in markdown
    assert "drawn at random from 360; heads are tested on all 360." in facts["summary"]
    # A row goes by its number in the stream.
    one = facts["classes"][0]["worst"][0]
    assert one["row"] in found["rows"]
    assert str(in_order.y[one["row"]]) == one["label"]
    assert re.search(rf"row {one['row']} \(row \d+ of \w+\.parquet\): {one['label']}, pred", page)


def test_a_short_stream_is_looked_at_as_a_whole(press, folder, in_order):
    facts = report_facts(press, stream_of(folder), normal="ok", baselines=None)
    assert facts["data"]["drawn"] is None
    assert facts["data"]["parts"]["test"]["n"] == 360
    expected = evaluate(press.heads["kind"], in_order.X, in_order.y, baselines=None)["code"]
    assert facts["classes"][0]["confusion"] == expected["confusion"]


def test_labels_that_do_not_test_a_head(press, folder, monkeypatch):
    monkeypatch.setattr(drawn, "MAX_SAMPLE_ROWS", 100)
    facts = report_facts(press, stream_of(folder, "number"), baselines=None)
    assert facts["classes"] == []
    assert facts["verdicts"][0]["n"] == 360
    assert any("the head 'kind' is not tested" in one for one in facts["data"]["warnings"])


def test_a_damaged_file_is_left_out_and_named(press, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(drawn, "MAX_SAMPLE_ROWS", 100)
    for at in range(3):
        (tmp_path / f"{at}.parquet").write_bytes((folder / f"{at}.parquet").read_bytes())
    (tmp_path / "1.parquet").write_bytes(b"PAR1 and then nothing")
    stream = load(tmp_path, label="state", columns=list("abcde"), on_bad_shard="skip")
    facts = report_facts(press, stream, normal="ok")
    assert facts["classes"][0]["n"] == facts["verdicts"][0]["n"] == 240
    assert any("1.parquet could not be read" in one for one in facts["data"]["warnings"])


def test_a_part_set_aside_of_what_was_drawn_says_so(press, in_order):
    facts = report_facts(press, in_order.split(0.25, random_state=0), drawn_from=5000)
    assert facts["data"]["drawn"] == {"n": 360, "of": 5000, "rows": None, "heads_on_all": False}
    assert "drawn at random from 5,000." in facts["summary"]
