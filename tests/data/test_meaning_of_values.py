"""What a value means is decided at fit, and not by the rows that stand beside it later."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.data import NO_VALUE, Dataset, Schema, load
from isthmus.errors import DataError, DataWarning, SchemaError

# A column of a file: what is written in its cells at fit, its type, and for some cells of a later
# file what they stand for: a number, or the position of a category (their count: never seen).
COLUMNS = {
    "truth and a word": (
        ["True", "False", "Unknown"],
        "category",
        {"True": 1, "False": 0, "Unknown": 2, "true": 3},
    ),
    "leading zeros": (["007", "A12", "B07"], "category", {"007": 0, "A12": 1, "7": 3}),
    "a version": (["1.10", "rc", "beta"], "category", {"1.10": 0, "1.1": 3, "beta": 1}),
    "a point": (["2.0", "A", "B"], "category", {"2.0": 0, "2": 3, "B": 2}),
    "a sign": (["+5", "low", "high"], "category", {"+5": 0, "5": 3, "low": 2}),
    "a date and a word": (
        ["2024-05-01", "never", "soon"],
        "category",
        {"2024-05-01": 0, "soon": 2},
    ),
    "a time and a word": (["10:30", "late", "soon"], "category", {"10:30": 0, "late": 1}),
    "times": (["10:30", "9:15:30"], "number", {"10:30": 37800, "00:00": 0, "37800": 37800}),
    "numbers": (["1", "2.5", "1e3"], "number", {"007": 7, "+5": 5, "1.10": 1.1, "": np.nan}),
    "truth": (["true", "FALSE", "True"], "boolean", {"TRUE": 1, "false": 0, "1": 1, "": np.nan}),
    "dates": (
        ["2024-05-01", "2024-05-01T06:00Z"],
        "date",
        {"2024-05-02": 1714608000, "2024-05-01T02:00+02:00": 1714521600, "": np.nan},
    ),
}


@pytest.fixture
def csv(tmp_path):
    def write(frame, name="rows.csv"):
        frame.to_csv(tmp_path / name, index=False)
        return tmp_path / name

    return write


def repeated(cells, n=40):
    return [cells[at % len(cells)] for at in range(n)]


def fitted_frame(names):
    frame = pd.DataFrame({name: repeated(COLUMNS[name][0]) for name in names})
    return frame.assign(width=np.arange(40) / 8)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_cell_means_what_it_meant_at_fit_in_whatever_file(csv, name):
    cells, kind, meanings = COLUMNS[name]
    schema = load(csv(fitted_frame([name]))).schema
    assert schema.types[0].type == kind
    for text, meaning in meanings.items():
        alone = load(csv(pd.DataFrame({name: [text], "width": [1]})), schema=schema).X
        beside = pd.DataFrame({name: [text, *cells, text], "width": 1})
        together = load(csv(beside), schema=schema).X
        np.testing.assert_array_equal(schema.check(alone)[:, 0], [meaning])
        np.testing.assert_array_equal(schema.check(together)[[0, -1], 0], [meaning, meaning])


@settings(max_examples=40)
@given(st.data())
def test_a_file_cut_at_any_row_means_the_same(tmp_path_factory, data):
    schema = load(fitted_frame(COLUMNS)).schema
    n = data.draw(st.integers(2, 8))
    frame = pd.DataFrame(
        {
            name: data.draw(st.lists(st.sampled_from(sorted(meanings)), min_size=n, max_size=n))
            for name, (_, _, meanings) in COLUMNS.items()
        }
    ).assign(width=data.draw(st.sampled_from(["1", "0.5", "-2e1"])))
    folder = tmp_path_factory.mktemp("cut")
    frame.to_csv(folder / "whole.csv", index=False)
    whole = schema.check(load(folder / "whole.csv", schema=schema).X)
    expected = [
        [meanings[cell] for cell in frame[name]] for name, (_, _, meanings) in COLUMNS.items()
    ]
    np.testing.assert_array_equal(whole[:, :-1].T, expected)
    cut, halves = data.draw(st.integers(1, n - 1)), []
    for half in (frame[:cut], frame[cut:]):
        half.to_csv(folder / "half.csv", index=False)
        halves.append(schema.check(load(folder / "half.csv", schema=schema).X))
    np.testing.assert_array_equal(np.concatenate(halves), whole)


@pytest.mark.parametrize("name", [name for name in COLUMNS if COLUMNS[name][1] == "category"])
def test_a_type_that_a_program_guessed_from_the_rows_at_hand_means_the_same(csv, name):
    # pandas reads the one row alone as a truth value, a number or a date.
    cells, _, _ = COLUMNS[name]
    schema = load(csv(fitted_frame([name]))).schema
    whole = schema.check(pd.DataFrame({name: cells, "width": 1.0}))[:, 0]
    for at, cell in enumerate(cells):
        guessed = pd.read_csv(csv(pd.DataFrame({name: [cell], "width": [1.0]})))
        assert schema.check(guessed)[0, 0] == whole[at]
        if cell == "2024-05-01":
            assert schema.check(guessed.assign(**{name: pd.to_datetime([cell])}))[0, 0] == whole[at]


def test_a_guessed_number_that_two_categories_were_written_for_is_refused():
    schema = Schema.learn(pd.DataFrame({"part": ["007", "7", "x", "y", "z"]}))
    assert schema.check(pd.DataFrame({"part": ["7", "007"]}))[:, 0].tolist() == [1, 0]
    with pytest.raises(SchemaError, match=r"holds 7 \(int\), which both '007' and '7' were"):
        schema.check(pd.DataFrame({"part": [7]}))
    # Equal as floats, and two categories all the same.
    big = 2**53
    schema = Schema.learn(pd.DataFrame({"part": [str(big), str(big + 1), "x", "y", "z"]}))
    assert schema.check(pd.DataFrame({"part": [big + 1, big]}))[:, 0].tolist() == [1, 0]


def test_a_word_in_a_column_of_numbers_is_refused_with_its_line(csv):
    schema = load(csv(fitted_frame(["numbers"]))).schema
    path = csv(pd.DataFrame({"numbers": ["1", "two"], "width": 1}))
    with pytest.raises(
        SchemaError, match=r"'two' in row 1, .*\(line 3 of the file\).*expected a num"
    ):
        load(path, schema=schema)


def test_labels_are_numbers_only_where_all_are_written_as_numbers(csv):
    frame = pd.DataFrame({"width": [1, 2, 3], "class": ["007", "7", "8"]})
    assert load(csv(frame), label="class").y.tolist() == ["007", "7", "8"]
    frame["class"] = ["-1", "+1", "1"]
    assert load(csv(frame), label="class").y.tolist() == [-1, 1, 1]


def test_keys_are_text_as_written_and_no_features(csv):
    frame = pd.DataFrame({"id": ["001", "1", "NA"], "width": [1, 2, 3], "note": ["7", "07", ""]})
    data = load(csv(frame), keys=["id"], drop=["note"])
    assert list(data.X) == ["width"]
    assert data.keys["id"].tolist() == ["001", "1", "NA"]
    with pytest.raises(DataError, match=r"has no column 'idd'; did you mean 'id'\?"):
        load(csv(frame), keys=["idd"], category=["id"])


def test_columns_unknown_at_fit_are_carried_along(csv):
    schema = Schema.learn(pd.DataFrame({"width": [1.0, 2.0]}))
    data = load(csv(pd.DataFrame({"shift": ["01", "2"], "width": [3, 4]})), schema=schema)
    assert isinstance(data, Dataset)
    assert data.identifiers()["shift"].tolist() == ["01", "2"]
    assert schema.check(data.X)[:, 0].tolist() == [3, 4]
    with pytest.raises(SchemaError, match=r"missing \['width'\] and not known \['with'\]"):
        load(csv(pd.DataFrame({"with": [3, 4]})), schema=schema)


def test_groups_are_text_as_written(csv):
    frame = pd.DataFrame({"machine": ["007"] * 4 + ["7"] * 4 + ["NA"] * 4, "load": np.arange(12.0)})
    data = load(csv(frame), kind="series", group="machine", window=4)
    assert data.windows.group.tolist() == ["007", "7", "NA"]
    assert data.windows.first_row.tolist() == [0, 4, 8]


def test_a_category_that_reads_as_missing_is_one_in_every_file(tmp_path):
    land = ["DE", "NA", "FR", "null", "None"]
    frame = pd.DataFrame({"land": land, "other": list("abcde"), "width": np.arange(5.0)})
    schema = Schema.learn(frame)
    cells = frame.assign(other=["a", "NA", "nan", "", "b"])
    cells.to_csv(tmp_path / "rows.csv", index=False)
    cells.to_excel(tmp_path / "rows.xlsx", index=False)
    expected = [[0, 0, 0], [2, np.nan, 1], [1, np.nan, 2], [4, np.nan, 3], [3, 1, 4]]
    for name in ("rows.csv", "rows.xlsx"):
        found = schema.check(load(tmp_path / name, schema=schema).X)
        np.testing.assert_array_equal(found, expected)
    # What the user states to be missing is missing.
    found = schema.check(load(tmp_path / "rows.csv", schema=schema, na=["NA"]).X)
    np.testing.assert_array_equal(found[:, 0], [0, np.nan, 1, 4, 3])


def test_a_label_that_reads_as_missing_is_one_where_it_is_the_normal_value(tmp_path):
    frame = pd.DataFrame({"width": [1.0, 2, 3, 4], "state": ["NA", "worn", "", "null"]})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame.to_excel(tmp_path / "rows.xlsx", index=False)
    for name in ("rows.csv", "rows.xlsx"):
        with pytest.warns(DataWarning, match=r"^1 of 4 cells of the column of labels 'state'.*'nu"):
            data = load(tmp_path / name, label="state", normal="NA")
        assert data.y.tolist() == ["NA", "worn", None, None]
        with pytest.warns(DataWarning, match="^2 of 4 cells"):
            data = load(tmp_path / name, label="state")
        assert data.y.tolist() == [None, "worn", None, None]
    # What the user states to be missing is, and is counted.
    with pytest.warns(DataWarning, match="^1 of 4 cells"):
        data = load(tmp_path / "rows.csv", label="state", normal="NA", na=["NA"])
    assert data.y.tolist() == [None, "worn", None, None]
    assert data.reading == {"applied": {"na": {"NA": 1}}}


@pytest.mark.parametrize("cell", ["0x10", "-0X1F"])
def test_hexadecimal_is_text_whatever_stands_beside_it(csv, cell):
    schema = load(csv(fitted_frame(["numbers"]))).schema
    for beside in ("", "5", "1.5"):
        frame = pd.DataFrame({"numbers": [cell, beside], "width": [1, 2]})
        with pytest.raises(SchemaError, match=f"{cell}' in row 0, .*line 2 .*expected a number"):
            load(csv(frame), schema=schema)
        with pytest.raises(SchemaError, match=f"{cell}' in row 0.*expected a number"):
            schema.check(frame)
    at_fit = load(csv(pd.DataFrame({"part": [cell, "0x20"], "width": [1, 2]})))
    assert at_fit.X["part"].tolist() == [cell, "0x20"]


def typed_frame():
    """Return a table of every type of column, whose categories are text, numbers and truth."""
    return pd.DataFrame(
        {
            "width": np.arange(12) / 8,
            "ok": np.arange(12) % 2 == 0,
            "day": pd.Timestamp("2024-05-01") + pd.to_timedelta(np.arange(12), unit="D"),
            "kind": repeated(["bolt", "nut", "007"], 12),
            "land": repeated(["DE", "NA"], 12),
            "size": pd.Categorical(repeated([1, 2, 10], 12)),
            "fast": pd.Categorical(repeated([True, False], 12)),
        }
    )


@pytest.mark.parametrize("text", NO_VALUE)
@pytest.mark.parametrize("dtype", [object, "string", "category"])
def test_text_that_reads_as_missing_in_a_file_is_missing_in_a_frame(csv, text, dtype):
    frame = typed_frame()
    schema = Schema.learn(frame)
    cells = pd.DataFrame({name: pd.Series([text], dtype=dtype) for name in frame})
    expected = [np.nan] * 7
    if text == "NA":  # known at fit as a category
        expected[4] = 1
    np.testing.assert_array_equal(schema.check(cells), [expected])
    np.testing.assert_array_equal(schema.check(cells.to_numpy(dtype=object)), [expected])
    np.testing.assert_array_equal(schema.check(load(csv(cells), schema=schema).X), [expected])
    for name in frame:  # the same beside other cells
        beside = frame.astype(object)
        beside.loc[1, name] = text
        whole = schema.check(beside)
        np.testing.assert_array_equal(whole[1], np.where(frame.columns == name, expected, whole[1]))
        np.testing.assert_array_equal(
            whole[[0, *range(2, 12)]], schema.check(frame)[[0, *range(2, 12)]]
        )


@pytest.mark.parametrize(
    ("name", "position", "cells"),
    [
        ("size", 0, [1, 1.0, True, "1", "01", "1.0", "+1", " 1", "true", "True"]),
        ("size", 2, [10, 10.0, "10", "1e1", "0010"]),
        ("size", 3, [0, False, "false", "x", "1,0", 1.5, 2**60]),
        ("fast", 1, [True, "true", "TRUE", 1, 1.0, "1", "1.0"]),
        ("fast", 0, [False, "false", 0, "0", -0.0]),
        ("kind", 0, ["007", 7, 7.0]),
        ("kind", 3, ["7", "7.0", "True"]),
    ],
)
def test_a_category_is_the_same_whatever_type_its_cell_has(csv, name, position, cells):
    frame = typed_frame()
    schema = Schema.learn(frame)
    at = list(frame).index(name)
    for cell in cells:
        rows = frame.astype(object)
        rows.loc[2, name] = cell
        assert schema.check(rows)[2, at] == position
        assert schema.check(rows[2:3])[0, at] == position
        if isinstance(cell, str):
            assert schema.check(load(csv(rows[2:3]), schema=schema).X)[0, at] == position


def test_a_truth_value_is_no_number_among_categories_that_are_text():
    schema = Schema.learn(pd.DataFrame({"part": ["1", "A", "True"]}))
    for cells, positions in (([True, 1, "A"], [2, 0, 1]), ([1, True], [0, 2]), ([1], [0])):
        frame = pd.DataFrame({"part": pd.Series(cells, dtype=object)})
        assert schema.check(frame)[:, 0].tolist() == positions


def test_true_and_false_are_1_and_0_in_a_column_of_numbers_in_every_way_in(csv):
    schema = Schema.learn(pd.DataFrame({"width": [0.5, 2, 3], "ok": [1, 0, 1]}))
    for one, zero in ((True, False), ("true", "FALSE"), ("True", " false")):
        frame = pd.DataFrame({"width": [one, zero, 2.5], "ok": [zero, one, one]})
        for X in (frame, load(csv(frame), schema=schema).X):
            assert schema.check(X).tolist() == [[1, 0], [0, 1], [2.5, 1]]


def test_the_same_cells_are_missing_in_excel_and_csv(csv, tmp_path):
    pytest.importorskip("openpyxl")
    cells = ["NA", "null", "None", "<NA>", "x", None]
    frame = pd.DataFrame({"id": cells, "kind": cells, "n": [1, 2, 3, 4, 5, 6]})
    frame.to_excel(tmp_path / "rows.xlsx", index=False)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    for name in ("rows.xlsx", "rows.csv"):
        data = load(tmp_path / name, keys=["id"])
        assert data.X["kind"].isna().tolist() == [True, True, False, False, False, True]
        assert data.schema.types[0].categories == ("<NA>", "None", "x")
        assert data.keys["id"].tolist()[:5] == cells[:5]
        assert data.keys["id"].isna().tolist() == [False] * 5 + [True]


@pytest.mark.parametrize("text", NO_VALUE)
@pytest.mark.parametrize(
    "cells", [["true", "false"], ["1", "2.5"], ["2024-05-01", "2024-06-01"], [1, 2.5]]
)
def test_text_that_reads_as_missing_is_missing_in_a_frame_at_fit_as_in_a_file(csv, cells, text):
    frame = pd.DataFrame({"a": pd.Series([*cells, text, None], dtype=object), "b": "x"})
    data, of_file = load(frame), load(csv(frame))
    assert data.schema.types[0].type == of_file.schema.types[0].type != "category"
    np.testing.assert_array_equal(data.schema.check(data.X), of_file.schema.check(of_file.X))
    assert np.isnan(data.schema.check(data.X)[:, 0]).tolist() == [False, False, True, True]
    names = pd.DataFrame({"a": ["bolt", text]})
    assert Schema.learn(names).types[0].categories == tuple(sorted(["bolt", text]))
