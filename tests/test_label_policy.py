"""What is no label, as the table of docs/data.md says; and labels that files write otherwise."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, evaluate, load_bundle, save_bundle
from isthmus.data import Dataset
from isthmus.errors import DataError
from isthmus.evaluation.detection import evaluate_detector
from isthmus.evaluation.few_labels import FewLabels
from isthmus.report import report_facts

DOCS = Path(__file__).parents[1] / "docs" / "data.md"
VALUES = {"None": None, "nan": np.nan, "NaT": pd.NaT, "NA": pd.NA, "-1": -1, "0": 0}
VALUES |= {'""': "", '"  "': "  ", '"-1"': "-1", '"0"': "0", "False": False}
#: Labels beside the one in question, and how often each stands there.
N_EACH = 10


def cells_of_the_table():
    """Return the cells of the table by column and row."""
    _, _, after = DOCS.read_text("utf-8").partition("| a label that is |")
    lines = ("| a label that is |" + after).split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    columns, rows = cells[0][1:], cells[2:]
    return [
        pytest.param(row[0], column, cell, id=f"{column}: {row[0]}")
        for row in rows
        for column, cell in zip(columns, row[1:], strict=True)
    ]


def others(row):
    """Return labels to stand beside that of a row, of each kind that they may be."""
    if "all others are 1" in row:
        return [[1]]
    value = row.split("`")[1]
    if value == "False":
        return [[True]]
    numbers, text = [3, 5], ["cat", "dog"]
    if value in ("-1", "0"):
        return [numbers]
    return [text] if value.startswith('"') and value.strip('" ') else [numbers, text]


def forms(value, beside):
    """Return the labels in every form that holds them, `N_EACH` times each."""
    plain = [value, *beside] * N_EACH
    objects = np.empty(len(plain), dtype=object)
    objects[:] = plain
    found = [objects, pd.Series(objects), list(plain)]
    if value is None or value is np.nan or value is pd.NA:
        found.append(pd.Series(plain, dtype="object").astype("category"))
        if isinstance(beside[0], int):
            found.append(np.array([np.nan if one is value else one for one in plain]))
            found.append(pd.Series(plain, dtype="Int64"))
    elif isinstance(value, str):
        if isinstance(beside[0], str):
            found += [np.array(plain), pd.Series(plain, dtype="string")]
            found.append(pd.Series(plain, dtype="category"))
    elif value is not pd.NaT and (value is not False or beside[0] is True):
        found += [np.array(plain), pd.Series(plain, dtype="category")]
        if value is not False:
            found += [np.array(plain, dtype=np.float32), pd.Series(plain, dtype="Int64")]
    return found


@pytest.fixture(scope="module")
def detector(table):
    return AnomalyDetector(
        Autoencoder(2, max_epochs=2, random_state=0), false_alarm_rate=0.1, random_state=0
    ).fit(table)


def told_by_fit(head, encoder, X, y, value):
    if head == "spreading" and set(y) == {-1, 1}:
        with pytest.raises(DataError, match="labels of one class"):
            CodeClassifier(encoder, head).fit(X[: len(y)], y)
        return "no label"
    classifier = CodeClassifier(encoder, head, random_state=0).fit(X[: len(y)], y)
    if classifier.n_unlabelled_:
        assert classifier.n_unlabelled_ == N_EACH
        return "no label"
    assert value in classifier.classes_
    return "a class"


def told_by_evaluation(encoder, X, y, value, beside):
    fitted_on = np.array([*beside, value if len(beside) == 1 else beside[0]] * 20)
    classifier = CodeClassifier(encoder).fit(X[: len(fitted_on)], fitted_on)
    found = evaluate(classifier, X[: len(y)], y, controls=None)
    if found["n_unlabelled"]:
        assert found["n_unlabelled"] == N_EACH
        return "no label"
    assert value in found["code"]["classes"]
    known = value in classifier.classes_.tolist()
    assert known or found["unknown_classes"] == [[value, N_EACH]]
    return "a class"


def told_by_few_labels(y, value):
    objects = np.asarray(y, dtype=object) if not isinstance(y, np.ndarray) else y
    few = FewLabels(objects, objects, "auto", 2, "linear", 0)
    there = value is not pd.NA and value in few.classes.tolist()
    assert len(few.held_out) == len(y) - (0 if there else N_EACH)
    return "a class" if there else "no label"


def told_by_detection(detector, X, y, value, normal):
    found = evaluate_detector(detector, X[: len(y)], y, normal=normal)
    if found["n_unlabelled"]:
        assert found["n_unlabelled"] == N_EACH
        return "no label"
    assert found["code"]["n_normal"] == N_EACH
    return "abnormal"


def told(column, encoder, detector, X, y, value, beside):
    """Return what a user of one column meets when one label is among others."""
    normal = str(beside[0]) if column == "a detector with `normal=`" else None
    try:
        if column.startswith("fitting classes"):
            head = "linear" if column == "fitting classes" else "spreading"
            return told_by_fit(head, encoder, X, y, value)
        if column == "testing classes":
            return told_by_evaluation(encoder, X, y, value, beside)
        if column == "few labels":
            return told_by_few_labels(y, value)
        assert normal is not None or column == "a detector"
        return told_by_detection(detector, X, y, value, normal)
    except DataError:
        return "refused"


@pytest.mark.parametrize(("row", "column", "cell"), cells_of_the_table())
def test_no_label_is_what_the_table_says(row, column, cell, table_fit, table, detector):
    value = VALUES[row.split("`")[1]]
    for beside in [[1]] if column == "a detector" else others(row):
        for y in forms(value, beside):
            found = told(column, table_fit, detector, table, y, value, beside)
            assert found == cell, (type(y), getattr(y, "dtype", None), list(y)[:3])


# --- labels that files write otherwise than the classes of a head ----------------------------


@pytest.fixture(scope="module")
def digits_bundle(image_fit, digits, tmp_path_factory):
    """A bundle whose classes are 0 to 9, and a folder of images for each of these."""
    X, y = digits
    folder = tmp_path_factory.mktemp("folders")
    encoder = {"kind": CodeClassifier(image_fit, random_state=0).fit(X[:300], y[:300])}
    zeros = X[1000:1500][y[1000:1500] == 0]
    encoder["normal"] = AnomalyDetector(image_fit, false_alarm_rate=0.1, random_state=0).fit(zeros)
    save_bundle(folder / "press", image_fit, encoder)
    tested = []
    for name in range(10):
        (folder / "images" / str(name)).mkdir(parents=True)
        for row in 1500 + np.flatnonzero(y[1500:] == name)[:4]:
            Image.fromarray(X[row]).save(folder / "images" / str(name) / f"{row}.png")
            tested.append(row)
    return folder / "press", folder / "images", X[tested], y[tested]


def test_a_report_on_folders_named_by_numbers(isthmus, digits_bundle):
    press, folder, X, y = digits_bundle
    status, _, errors = isthmus("report", press, folder, "--normal", "0", "--json", "facts.json")
    assert status == 0, errors
    facts = json.loads(Path("facts.json").read_text("utf-8"))
    bundle = load_bundle(press)
    expected = evaluate(bundle.heads["kind"], X, y, controls=None)["code"]
    (found,), (verdicts,) = facts["classes"], facts["verdicts"]
    assert found["confusion"] == expected["confusion"]
    assert found["classes"] == list(range(10))
    assert verdicts["found"]["n_normal"] == 4
    streamed = ("evaluate", press, folder, "--lazy", "--head", "kind", "--json", "found.json")
    assert isthmus(*streamed)[0] == 0
    found = json.loads(Path("found.json").read_text("utf-8"))
    assert found["code"]["confusion"] == expected["confusion"]


def test_a_detector_knows_the_normal_label_however_it_is_written(isthmus, digits_bundle):
    press, folder, X, y = digits_bundle
    flat = load_bundle(press)
    expected = evaluate_detector(flat.heads["normal"], X, np.where(y == 0, 1, -1))["code"]
    for normal in ("0", "00", "0.0"):
        for labels in (y, y.astype(float), y.astype(object), pd.Series(y).astype("category")):
            found = evaluate_detector(flat.heads["normal"], X, labels, normal=normal)
            assert found["code"] == expected
    words = ("evaluate", press, folder, "--head", "normal", "--normal", "0", "--json", "0.json")
    assert isthmus(*words)[0] == 0
    found = json.loads(Path("0.json").read_text("utf-8"))
    assert found["code"]["confusion"] == expected["confusion"]
    mixed = np.array([0, "0"] * 20, dtype=object)
    with pytest.raises(DataError, match="label '0', which may be each of the classes '0' and 0"):
        evaluate_detector(flat.heads["normal"], X, mixed, normal="0")
    with pytest.raises(DataError, match="which is no label of"):
        report_facts(flat, Dataset(X, y), normal="10")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_of_true_and_false_tests_classes_that_are_text(isthmus, frame, kind):
    state = np.where(frame["alcohol"] > 13, "True", "False").astype(object)
    some = state.copy()
    some[::10] = "Unknown"
    encoder = Autoencoder(2, max_epochs=2, random_state=0).fit(frame)
    classifier = CodeClassifier(encoder, random_state=0).fit(frame, some)
    save_bundle("press", encoder, {"state": classifier})
    rows = frame.assign(state=state == "True")
    if kind == "csv":
        rows.to_csv("rows.csv", index=False)
    else:
        rows.to_parquet("rows.parquet", index=False)
    words = ("evaluate", "press", f"rows.{kind}", "--label", "state", "--json", "found.json")
    status, _, errors = isthmus(*words)
    assert status == 0, errors
    found = json.loads(Path("found.json").read_text("utf-8"))
    expected = evaluate(classifier, frame, state, controls=None)["code"]
    assert found["code"]["confusion"] == expected["confusion"]
    assert found["code"]["classes"] == ["False", "True"]


def test_labels_that_are_no_class_are_counted_and_said(isthmus, frame):
    y = (frame["alcohol"] > 13).astype(int)
    encoder = Autoencoder(2, max_epochs=2, random_state=0).fit(frame)
    save_bundle("press", encoder, {"kind": CodeClassifier(encoder).fit(frame, y)})
    said = "3 instances have a label that is no class of the head"
    for new in (2, "2"):
        labels = y.astype(object).mask(np.arange(len(y)) < 3, new).astype(type(new))
        frame.assign(y=labels).to_parquet("rows.parquet", index=False)
        words = ("evaluate", "press", "rows.parquet", "--label", "y", "--json", "found.json")
        status, out, errors = isthmus(*words)
        assert status == 0, errors
        assert f"{said}, and count as wrong: 2 (3)" in out
        found = json.loads(Path("found.json").read_text("utf-8"))
        assert found["unknown_classes"] == [[2, 3]]
        words = ("report", "press", "rows.parquet", "--label", "y", "--json", "facts.json")
        assert isthmus(*words)[0] == 0
        facts = json.loads(Path("facts.json").read_text("utf-8"))
        assert facts["classes"] == []  # it was fitted on all of these rows
    bundle, rows = load_bundle("press"), frame * 1.01
    facts = report_facts(bundle, Dataset(rows, labels))
    assert facts["classes"][0]["unknown_classes"] == [[2, 3]]
    assert any(f"{said} 'kind'" in one for one in facts["data"]["warnings"])
    facts = report_facts(bundle, Dataset(rows, ["eel"] * len(rows)))
    assert facts["classes"] == []
    assert any(
        "tests the head 'kind': got labels that are text, such as 'eel', but" in one
        for one in facts["data"]["warnings"]
    )


def test_heads_are_compared_though_one_has_text_for_classes(isthmus, frame):
    y = (frame["alcohol"] > 13).to_numpy().astype(int)
    encoder = Autoencoder(2, max_epochs=2, random_state=0).fit(frame)
    for name, labels in (("then", y.astype(str)), ("now", y), ("other", np.where(y, "a", "b"))):
        save_bundle(name, encoder, {"kind": CodeClassifier(encoder).fit(frame, labels)})
    then, now, other = (load_bundle(name) for name in ("then", "now", "other"))
    rows = frame * 1.01
    for labels in (y, y.astype(str), y.astype(float)):
        facts = report_facts(now, Dataset(rows, labels), earlier=then)
        (found,) = facts["changes"]["earlier"]["heads"]
        assert found["changed"]["count"] == 0
        assert found["accuracy"]["then"] == found["accuracy"]["now"] > 0.5
    (found,) = report_facts(now, Dataset(rows, y), earlier=other)["changes"]["earlier"]["heads"]
    assert found["changed"]["count"] == len(rows)
    assert found["accuracy"]["then"] == 0
