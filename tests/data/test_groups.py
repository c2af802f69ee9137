"""Groups of instances: which column names them, and that they stay with their rows."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from isthmus import load
from isthmus.data import as_groups, group_text, match_groups, read_groups, warn_of_alike
from isthmus.errors import DataError, DataWarning

FRAME = pd.DataFrame(
    {
        "load": np.arange(8.0),
        "heat": np.arange(8.0)[::-1],
        "machine": ["a", "b", "a", None, "b", "a", "b", "a"],
        "site": [1, 1, 2, 2, 1, 1, 2, 2],
        "ok": [1, 1, 1, 1, -1, 1, 1, 1],
    }
)
GROUPS = ["a", "b", "a", "", "b", "a", "b", "a"]


def test_numbers_and_text_that_read_alike_are_one_group():
    assert [group_text(one) for one in (7, 7.0, "7", np.int64(7), "007")] == ["7"] * 4 + ["007"]
    assert as_groups(pd.DataFrame({"a": [1, None], "b": ["x", "y"]}), 2).tolist() == ["1, x", ""]


def test_a_group_that_a_file_writes_in_another_way_is_that_of_the_fit_where_there_is_one():
    fitted = as_groups([7, 1.5, "north, 02"], 3).tolist()
    later = as_groups(["7", "007", "7.0", "1.50", "1.5", "north, 2", "8", "7 ", None, "True"], 10)
    assert match_groups(later, fitted).tolist() == [
        "7", "7", "7", "1.5", "1.5", "north, 02", "8", "7 ", "", "True",
    ]  # fmt: skip
    # 7 and 7.0 are there: 007 may be either.
    both = np.array(["7", "7.0", "007"], dtype=object)
    assert match_groups(both, ["7", "7.0"]).tolist() == ["7", "7.0", "007"]
    # Of two columns each part may be written in another way.
    pairs = as_groups(pd.DataFrame({"a": ["north"], "b": ["02.0"]}), 1)
    assert match_groups(pairs, as_groups([("north", 2)], 1).tolist()).tolist() == ["north, 2"]


def test_groups_of_a_fit_that_read_as_one_number_are_warned_of():
    with pytest.warns(DataWarning, match="'007' and '7'; write them alike"):
        warn_of_alike(["7", "a", "007"])
    with warnings.catch_warnings(action="error"):
        warn_of_alike(["7", "8", "a", "b"])


def test_groups_that_differ_do_not_become_one():
    parts = [("a, b", "c"), ("a", "b, c"), ("a,", "b,c")]
    assert len({group_text(one) for one in parts}) == 3
    assert as_groups([True, 1, True], 3).tolist() == ["True", "1", "True"]


@pytest.mark.parametrize("ending", ["csv", "parquet", "frame"])
def test_the_group_of_a_table_is_no_feature_and_stays_with_its_row(tmp_path, ending):
    source = FRAME
    if ending != "frame":
        source = tmp_path / f"parts.{ending}"
        getattr(FRAME, f"to_{ending}")(source, index=False)
    data = load(source, label="ok", group="machine", drop=["site"])

    assert list(data.X.columns) == ["load", "heat"]
    assert data.groups.tolist() == GROUPS
    assert data.instances().groups.tolist() == GROUPS
    parts = data.split(0.25, random_state=0)
    for part in (parts.train, parts.test, data.take_range("2:5")):
        rows = part.row_numbers()
        assert part.groups.tolist() == [GROUPS[row] for row in rows]
        np.testing.assert_array_equal(part.identifiers()["row"], rows)
    assert data.identifiers().columns.tolist() == ["machine"]


def test_several_columns_name_a_group_together():
    data = load(FRAME, label="ok", group=["machine", "site"])
    assert data.groups.tolist()[:4] == ["a, 1", "b, 1", "a, 2", ""]


def test_the_column_that_a_data_set_was_loaded_with_goes_before_that_of_the_fit():
    instances, groups = read_groups(load(FRAME, group="site"), columns=("machine",))
    assert groups.tolist() == ["1", "1", "2", "2", "1", "1", "2", "2"]
    assert "machine" not in instances.held.columns
    _, groups = read_groups(load(FRAME, keys=["machine"]), columns=("machine",))
    assert groups.tolist() == GROUPS


def test_the_chunks_of_a_stream_bring_their_groups(tmp_path):
    for at in range(2):
        FRAME[at * 4 : at * 4 + 4].to_parquet(tmp_path / f"{at}.parquet", index=False)
    stream = load(tmp_path, label="ok", group="machine", drop=["site"])

    assert [chunk.groups.tolist() for chunk in stream.chunks(keys=True)] == [GROUPS[:4], GROUPS[4:]]
    assert stream.take(np.array([1, 6])).groups.tolist() == ["b", "b"]
    assert not stream.reader.identifies_rows  # so that predictions have the number of each row
    assert stream.schema.columns == ("load", "heat")


def test_sub_folders_of_images_are_groups_where_that_is_asked_for(tmp_path):
    for machine in ("left", "right"):
        (tmp_path / machine).mkdir()
        for at in range(2):
            Image.fromarray(np.full((4, 4), at, np.uint8)).save(tmp_path / machine / f"{at}.png")
    data = load(tmp_path, group="folder")

    assert (data.groups.tolist(), data.y) == (["left"] * 2 + ["right"] * 2, None)
    assert load(tmp_path).groups is None
    assert sorted(set(load(tmp_path).y)) == ["left", "right"]
    with pytest.raises(DataError, match="read chunk by chunk have no groups"):
        load(tmp_path, group="folder", lazy=True)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (FRAME, {"group": "machin"}, "has no column 'machin'; did you mean 'machine'"),
        (FRAME.to_numpy()[:, :2].astype(float), {"group": "machine"}, "the source is no table"),
        ("digits", {"group": "machine"}, "digits is no table; pass the group of each instance"),
    ],
)
def test_groups_that_a_source_cannot_have_are_refused(source, options, message):
    with pytest.raises(DataError, match=re.escape(message)):
        load(source, **options)
