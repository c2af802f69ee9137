"""Rows of a report have the numbers of the file, as those of `predict` have."""

import numpy as np
import pandas as pd
import pytest

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, load, load_bundle, save_bundle
from isthmus.report import code_chapter, report_facts, write_report
from isthmus.report import gallery as drawn

FIRST = 100


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(300, 2))
    frame = pd.DataFrame(Z @ rng.normal(size=(2, 4)), columns=list("abcd")).round(6)
    frame["state"] = np.where(Z[:, 0] + 0.5 * rng.normal(size=300) > 0.5, "bad", "ok")
    frame.loc[[130, 170, 240], "b"] += 30
    return frame


@pytest.fixture(scope="module")
def folder(frame, tmp_path_factory):
    """The same rows in a CSV file, and in two files that are read in chunks."""
    folder = tmp_path_factory.mktemp("numbers")
    frame.to_csv(folder / "rows.csv", index=False)
    (folder / "parts").mkdir()
    frame[:140].to_parquet(folder / "parts" / "0.parquet", index=False)
    frame[140:].to_parquet(folder / "parts" / "1.parquet", index=False)
    return folder


def bundle_of(frame, path, seed):
    X, y = frame[:FIRST].drop(columns="state"), frame["state"][:FIRST]
    encoder = Autoencoder(2, max_epochs=2, random_state=seed).fit(X[:40])
    heads = {
        "kind": CodeClassifier(encoder, random_state=0).fit(X, y),
        "normal": AnomalyDetector(encoder, false_alarm_rate=0.1, random_state=seed).fit(X[40:]),
    }
    save_bundle(path, encoder, heads)
    return load_bundle(path)


@pytest.fixture(scope="module")
def press(frame, tmp_path_factory):
    return bundle_of(frame, tmp_path_factory.mktemp("numbers") / "press", 0)


@pytest.fixture(scope="module")
def earlier(frame, tmp_path_factory):
    return bundle_of(frame, tmp_path_factory.mktemp("numbers") / "earlier", 1)


@pytest.mark.parametrize("lazy", [False, True])
def test_every_chapter_of_a_range_names_the_rows_of_the_file(
    frame, folder, press, earlier, tmp_path, lazy, monkeypatch
):
    monkeypatch.setattr(drawn, "MAX_SAMPLE_ROWS", 150)
    monkeypatch.setattr(code_chapter, "MAX_ON_MAP", 25)
    source = folder / ("parts" if lazy else "rows.csv")
    data = load(source, label="state", rows=f"{FIRST}:")
    facts = write_report(press, tmp_path / "report.html", data, normal="ok", earlier=earlier)
    page = (tmp_path / "report.html").read_text("utf-8")

    def named(row):
        """Of two files with the file and the row in it."""
        file, first = ("0.parquet", 0) if row < 140 else ("1.parquet", 140)
        return f"row {row}" + f" (row {row - first} of {file})" * lazy

    for one in facts["flagged"][0]["cases"]:
        in_file = f" (row {one.get('file_row')} of {one.get('file')})" * lazy
        assert f"row {one['row']}{in_file}" == named(one["row"])
    assert ('<th scope="col">file</th>' in page) == lazy

    X, y = frame.drop(columns="state"), frame["state"]
    scores = -press.heads["normal"].score_samples(X)
    errors = press.encoder.reconstruction_error(X)
    predicted = press.heads["kind"].predict(X)
    for one in facts["flagged"][0]["cases"] + facts["verdicts"][0]["findings"]:
        assert one["score"] == pytest.approx(scores[one["row"]], rel=1e-5)
    if not lazy:
        assert {one["row"] for one in facts["flagged"][0]["cases"][:3]} == {130, 170, 240}
    (classes,) = facts["classes"]
    for one in classes["worst"] + classes["doubtful"]:
        assert one["label"] == y[one["row"]]
        assert f"{named(one['row'])}: " in page
    for cell in classes["cells"]:
        for row in cell["rows"]:
            assert (cell["label"], cell["predicted"]) == (y[row], predicted[row])
    for some in facts["code"]["shown"].values():
        for one in some:
            assert one["error"] == pytest.approx(errors[one["row"]], rel=1e-4)
    of_map = facts["code"]["map"]
    assert of_map["labels"] == y[of_map["rows"]].tolist()
    changed = {head["name"]: head for head in facts["changes"]["earlier"]["heads"]}["kind"]
    assert changed["rows"] == [one["row"] for one in changed["decisions"]] != []
    for one in changed["decisions"]:
        assert (one["now"], one["label"]) == (predicted[one["row"]], y[one["row"]])
    numbers = facts["data"]["drawn"]["rows"] if lazy else range(FIRST, 300)
    assert set(of_map["rows"]) <= set(numbers)
    # What is drawn there is that row.
    row = facts["code"]["shown"]["worst"][0]["row"]
    assert f">{named(row)}, error" in page
    assert f"{X['b'][row]:.6g}</span> →" in page


def test_nearest_normal_rows_are_those_of_the_training_part(frame, press, monkeypatch):
    monkeypatch.setattr(code_chapter, "MAX_ON_MAP", 25)
    data = load(frame, label="state").split(0.3, random_state=0)
    (found,) = report_facts(press, data, normal="ok", baselines=None)["flagged"]
    X = frame.drop(columns="state")
    known = press.encoder.row_hashes(X[:FIRST])
    rows = {row for one in found["cases"] for row in one["nearest"]}
    assert rows <= set(data.train.row_numbers().tolist())
    assert np.isin(press.encoder.row_hashes(X.iloc[sorted(rows)]), known).all()
    assert {one["row"] for one in found["cases"]} <= set(data.test.row_numbers().tolist())


def test_windows_are_named_by_their_number_and_where_they_begin(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(400, 2)), columns=["heat", "load"])
    options = {"kind": "series", "window": 10}
    encoder = Autoencoder(2, architecture="dense", max_epochs=1, random_state=0)
    encoder.fit(load(table, **options))
    encoder.save(tmp_path / "press")
    part = load(table, **options, rows="20:")
    facts = write_report(tmp_path / "press", tmp_path / "report.html", part)
    one = facts["code"]["shown"]["worst"][0]
    window = table[10 * one["row"] : 10 * one["row"] + 10].to_numpy()[None]
    assert one["error"] == pytest.approx(encoder.reconstruction_error(window)[0], rel=1e-4)
    assert f"window {one['row']}, from row {10 * one['row']}, error" in (
        tmp_path / "report.html"
    ).read_text("utf-8")


def test_rows_of_a_group_have_their_number_beside_it(tmp_path, frame, monkeypatch):
    monkeypatch.setattr(code_chapter, "MAX_ON_MAP", 25)
    table = frame.drop(columns="state").assign(machine=np.array(["p", "q"])[np.arange(300) % 2])
    detector = AnomalyDetector(
        Autoencoder(2, max_epochs=1, random_state=0), false_alarm_rate=0.05, random_state=0
    ).fit(load(table[:FIRST], group="machine"))
    save_bundle(tmp_path / "press", detector.encoder_, {"normal": detector})
    data = load(table, group="machine", rows=f"{FIRST}:")
    facts = write_report(tmp_path / "press", tmp_path / "report.html", data)
    first = facts["flagged"][0]["cases"][0]
    assert facts["flagged"][0]["names"] == ["machine"]
    assert first["ids"] == [table["machine"][first["row"]]]
    page = (tmp_path / "report.html").read_text("utf-8")
    assert f'<td class="n">1</td><td class="n">{first["row"]}</td>' in page
