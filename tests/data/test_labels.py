"""What is no label, as the table of docs/data.md says; and labels that files write otherwise."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, evaluate, load_bundle, save_bundle
from isthmus.data import ClassMatcher, Dataset, as_labels, distinct_names
from isthmus.data.load import load
from isthmus.errors import DataError, DataWarning
from isthmus.evaluation import FewLabels, evaluate_detector
from isthmus.report.facts import report_facts


@pytest.mark.parametrize(
    ("y", "expected", "kind"),
    [
        ([1, 2, 3], [1, 2, 3], "i"),
        ((1.5, 2.0), [1.5, 2.0], "f"),
        ([True, False], [True, False], "b"),
        (["a", "b"], ["a", "b"], "O"),
        (["a", None], ["a", None], "O"),
        (["a", np.nan], ["a", None], "O"),
        ([["a"], ["b"]], ["a", "b"], "O"),
        (np.array([[1], [2]], np.uint8), [1, 2], "u"),
        (np.array(["a", "b"]), ["a", "b"], "U"),
        (pd.Series([1, 2], index=[7, 8]), [1, 2], "i"),
        (pd.Series(["a", None]), ["a", None], "O"),
        (pd.Series(["a", "b"], dtype="category"), ["a", "b"], "O"),
        (pd.Series(["a", None], dtype="category"), ["a", None], "O"),
        (pd.Series([1, 2], dtype="category"), [1, 2], "i"),
        (pd.Series([1, 2], dtype="Int64"), [1, 2], "i"),
        (pd.Series([True, None], dtype="boolean"), [True, None], "O"),
        (pd.Categorical(["a", "b"]), ["a", "b"], "O"),
    ],
    ids=str,
)
def test_forms(y, expected, kind):
    got = as_labels(y)
    assert isinstance(got, np.ndarray)
    assert got.tolist() == expected
    assert got.dtype.kind == kind


@pytest.mark.parametrize("y", [[1, None], pd.Series([1, None], dtype="Int64"), [1.0, np.nan]])
def test_missing_numbers_are_nan(y):
    got = as_labels(y)
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, [1, np.nan])


@pytest.mark.parametrize("y", [np.eye(3), [[1, 2], [3, 4]], 5, np.float64(3)])
def test_wrong_shape(y):
    with pytest.raises(DataError, match="labels of shape"):
        as_labels(y)


def test_distinct_names():
    assert distinct_names(np.array([10, 9, 10])) == ("9", "10")
    assert distinct_names(np.array(["b", None, "a"], object)) == ("a", "b")
    assert distinct_names(np.array([1.5, 2.0, np.nan])) == ("1.5", "2")
    assert distinct_names(np.array([b"a"])) == ("a",)
    assert distinct_names(np.array(["a", 1], object)) == ("1", "a")
    assert distinct_names(np.array([])) == ()


# --- labels and the classes of a head ----------------------------------------------------------

NUMBERS = st.lists(st.integers(-50, 10**12).filter(lambda n: n != -1), min_size=1, unique=True)


def written(labels, tmp_path):
    """Return labels in every form that they may come in, by name."""
    objects = np.array(labels, dtype=object)
    texts = np.array([str(label) for label in labels])
    found = {
        "objects": objects,
        "text": texts,
        "text as objects": texts.astype(object),
        "categories": as_labels(pd.Series(labels, dtype="category")),
        "text as categories": as_labels(pd.Series(texts, dtype="category")),
        "list": as_labels(labels),
    }
    frame = pd.DataFrame({"x": 0.0, "y": labels, "text": texts})
    frame.to_csv(tmp_path / "labels.csv", index=False)
    frame.to_parquet(tmp_path / "labels.parquet")
    for kind in ("csv", "parquet"):
        for column in ("y", "text"):
            data = load(tmp_path / f"labels.{kind}", label=column)
            found[f"{column} of {kind}"] = data.train.y
    if not isinstance(labels[0], bool | str):
        found["whole floats"] = np.array(labels, dtype=np.float64)
        found["text of floats"] = np.array([str(float(label)) for label in labels])
        found["nullable"] = as_labels(pd.Series(labels, dtype="Int64"))
        found["with gaps"] = as_labels([*labels, None])
        found["padded"] = np.array([f"{'-' * (n < 0)}0{abs(n)}" for n in labels])
    return found


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(
    classes=st.one_of(
        NUMBERS,
        st.just([False, True]),
        st.lists(st.text("abct", min_size=1, max_size=3), min_size=1, unique=True),
    ),
    data=st.data(),
)
def test_matching_is_the_same_in_every_form(classes, data, tmp_path):
    labels = data.draw(st.lists(st.sampled_from(classes), min_size=1, max_size=8))
    heads = [np.array(classes), np.array([str(one) for one in classes])]
    for head in heads:
        expected = np.array(labels) if head is heads[0] else np.array([str(one) for one in labels])
        for name, y in written(labels, tmp_path).items():
            rows, found = ClassMatcher(head).labelled(y)
            assert rows.tolist() == list(range(len(labels))), name
            if name in ("padded", "text of floats") and head is heads[1]:
                continue  # text and text have to be equal
            assert found.tolist() == expected.tolist(), name
            assert found.dtype.kind == expected.dtype.kind, name


@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(classes=st.sets(st.integers(0, 99), min_size=2))
def test_names_of_folders_are_matched(classes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("folders")
    for one in classes:
        (folder / str(one)).mkdir()
        Image.new("L", (2, 2), one).save(folder / str(one) / "a.png")
    data = load(folder).train
    rows, found = ClassMatcher(np.array(sorted(classes))).labelled(data.y)
    assert found.tolist() == data.X[:, 0, 0].tolist()
    assert len(rows) == len(classes)


@pytest.mark.parametrize(
    ("classes", "labels", "message"),
    [
        (np.array([0, "0"], dtype=object), [0], "label 0, which may be each of .* '0' and 0;"),
        (np.array([0, "0"], dtype=object), ["0"], "label '0', which may be each of .* '0' and 0;"),
        (np.array(["01", "1"]), [1], "label 1, which may be each of the classes '01' and '1';"),
        (np.array(["True", "true"]), [True], "'True' and 'true'; write labels as"),
        (np.array([0, 1]), ["1", "01"], "labels '1' and '01', which both read as 1;"),
        (np.array(["0", "1"]), [1, "1"], "labels 1 and '1', which both read as '1';"),
        (np.array([0, 1]), ["0", "eel"], "text, such as 'eel', but .* are numbers, such as 0;"),
        (np.array(["ok", "worn"]), [1, 0], "numbers, such as .*, but .* text, such as 'ok';"),
        (np.array(["0", "1"]), [True], "labels that are numbers, such as True, but"),
        (np.array([False, True]), ["1"], "labels that are text, such as '1', but"),
    ],
)
def test_what_may_be_several_classes_or_none_is_refused(classes, labels, message):
    with pytest.raises(DataError, match=message):
        ClassMatcher(classes).labelled(np.array(labels, dtype=object))


def test_text_is_matched_with_equal_text_alone():
    matcher = ClassMatcher(np.array(["01", "1"]))
    assert matcher.match(np.array(["1", "01", "001"])).tolist() == ["1", "01", "001"]


def test_labels_of_one_class_are_written_in_one_way_in_all_chunks():
    matcher = ClassMatcher(np.array([0, 1]))
    assert matcher.match(np.array(["1", "0"])).tolist() == [1, 0]
    with pytest.raises(DataError, match="'1' and '01', which both read as 1"):
        matcher.match(np.array(["01"]))


DOCS = Path(__file__).parents[2] / "docs" / "data.md"
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
    found = evaluate(classifier, X[: len(y)], y, baselines=None)
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


def outcome(column, encoder, detector, X, y, value, beside):
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
    for beside in [[1, -1]] if column == "a detector" else others(row):
        for y in forms(value, beside):
            found = outcome(column, table_fit, detector, table, y, value, beside)
            assert found == cell, (type(y), getattr(y, "dtype", None), list(y)[:3])


# --- labels of every type ----------------------------------------------------------------------


STRINGS = np.dtypes.StringDType


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        ([1, "b"] * 30, ["1", "b"]),
        (np.array([1, "b"] * 30, dtype=object), ["1", "b"]),
        (pd.Series([1, "b"] * 30, dtype="category"), ["1", "b"]),
        (np.array(["a", "b"] * 30, dtype=STRINGS()), ["a", "b"]),
        (np.array(["0", "1"] * 30, dtype=STRINGS(na_object=None)), ["0", "1"]),
        (np.array([b"a", b"b"] * 30), ["a", "b"]),
        (np.array([b"a", "b"] * 30, dtype=object), ["a", "b"]),
        (pd.Series([0, 1] * 30, dtype="Int64"), [0, 1]),
        (pd.Series([True, False] * 30, dtype="boolean"), [False, True]),
        (pd.Series(["a", "b"] * 30, dtype="string"), ["a", "b"]),
    ],
)
def test_a_classifier_reads_labels_of_every_type(y, classes, table_fit, table):
    classifier = CodeClassifier(table_fit).fit(table[:60], y)
    assert classifier.classes_.tolist() == classes
    found = evaluate(classifier, table[:60], y, baselines=None)
    assert found["code"]["classes"] == classes
    assert classifier.add_labels(table[60:62], y[:2]).classes_.tolist() == classes


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([1, "1", "b"] * 20, "such as 1, '1', which are the same as text"),
        ([True, 2] * 30, "True or False beside numbers"),
        ([{}, {1: 2}] * 30, "labels of the types dict"),
        (np.array([1j, 2j] * 30), "labels of dtype complex128"),
        (np.zeros(60, dtype=[("a", int)]), "got labels of dtype"),
        (pd.period_range("2020", periods=60, freq="M"), "types Period"),
        (np.linspace(0, 1, 60), "labels that name no classes"),
        ({1, 2}, "got labels of type set that are no column"),
        (3, "got labels of type int that are no column"),
        (np.ma.array([0, 1] * 30, mask=[0, 0, 1] * 20), "20 of 60 labels are missing"),
        (np.array(["a", None] * 30, dtype=STRINGS(na_object=None)), "30 of 60 labels are missing"),
    ],
)
def test_labels_that_are_no_classes_are_refused(y, message, table_fit, table):
    with pytest.raises(DataError, match=message):
        CodeClassifier(table_fit).fit(table[:60], y)


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
    expected = evaluate(bundle.heads["kind"], X, y, baselines=None)["code"]
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
    with pytest.raises(DataError, match="no label in data is that"):
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
    expected = evaluate(classifier, frame, state, baselines=None)["code"]
    assert found["code"]["confusion"] == expected["confusion"]
    assert found["code"]["classes"] == ["False", "True"]


def test_labels_that_are_no_class_are_counted_and_said(isthmus, frame):
    y = (frame["alcohol"] > 13).astype(int)
    encoder = Autoencoder(2, max_epochs=2, random_state=0).fit(frame)
    save_bundle("press", encoder, {"kind": CodeClassifier(encoder).fit(frame, y)})
    output = "3 instances have a label that is no class of the head"
    for new in (2, "2"):
        labels = y.astype(object).mask(np.arange(len(y)) < 3, new).astype(type(new))
        frame.assign(y=labels).to_parquet("rows.parquet", index=False)
        words = ("evaluate", "press", "rows.parquet", "--label", "y", "--json", "found.json")
        status, out, errors = isthmus(*words)
        assert status == 0, errors
        assert f"{output}, and count as wrong: 2 (3)" in out
        found = json.loads(Path("found.json").read_text("utf-8"))
        assert found["unknown_classes"] == [[2, 3]]
        words = ("report", "press", "rows.parquet", "--label", "y", "--json", "facts.json")
        assert isthmus(*words)[0] == 0
        facts = json.loads(Path("facts.json").read_text("utf-8"))
        assert facts["classes"] == []  # it was fitted on all of these rows
    bundle, rows = load_bundle("press"), frame * 1.01
    facts = report_facts(bundle, Dataset(rows, labels))
    assert facts["classes"][0]["unknown_classes"] == [[2, 3]]
    assert any(f"{output} 'kind'" in one for one in facts["data"]["warnings"])
    facts = report_facts(bundle, Dataset(rows, ["eel"] * len(rows)))
    assert facts["classes"] == []
    assert any(
        "the head 'kind' is not tested: got labels that are text, such as 'eel', but" in one
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


def test_labels_that_look_like_a_class_and_are_none_are_warned_of():
    matcher = ClassMatcher(np.array(["yes", "no", "a", "7"]))
    with pytest.warns(DataWarning, match="' no' beside 'no', 'Yes ' beside 'yes'; write"):
        found = matcher.match(np.array(["yes", "Yes ", " no", "maybe", "A", "7"]))
    assert found.tolist() == ["yes", "Yes ", " no", "maybe", "A", "7"]
    X = np.random.default_rng(0).normal(size=(40, 4))
    encoder = Autoencoder(2, max_epochs=1, random_state=0)
    classifier = CodeClassifier(encoder).fit(X, ["yes", "no"] * 20)
    for call in (classifier.score, classifier.add_labels):
        with pytest.warns(DataWarning, match="'No' beside 'no'; write them as at fit"):
            call(X[:20] + 1, ["yes", "No"] * 10)
