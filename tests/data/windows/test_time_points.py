"""Time points of long tables: which there are, which windows cover them, and what `take` keeps."""

import numpy as np
import pandas as pd
import pytest

from isthmus.data import load
from isthmus.data.windows import TimePoints
from isthmus.errors import DataError

pytestmark = pytest.mark.filterwarnings(r"ignore:.* in time \(steps of more")


def table(n=40, machines=("b", "a"), seed=0):
    """Rows of machines in turn, an hour apart, with a gap of a day in the middle."""
    rng = np.random.default_rng(seed)
    hours = np.arange(n) + 24 * (np.arange(n) >= n // 2)
    frames = [
        pd.DataFrame(
            {
                "when": pd.Timestamp("2024-01-01") + pd.to_timedelta(hours, unit="h"),
                "machine": name,
                "flow": rng.normal(size=n),
                "heat": rng.normal(size=n),
                "state": np.where(np.arange(n) == 9, -1, 1),
                "note": [f"{name}{at}" for at in range(n)],
            }
        )
        for name in machines
    ]
    return pd.concat(frames).sort_values("when", kind="stable", ignore_index=True)


def load_windows(frame, window=8, stride=None, **options):
    return load(
        frame, kind="series", time="when", group="machine", keys=["note"], label="state",
        window=window, stride=stride, **options,
    )  # fmt: skip


def test_time_points_are_the_rows_of_the_table_sorted_by_group():
    frame = table()
    points = load_windows(frame).points
    expected = frame.sort_values(["machine", "when"], ascending=[False, True], kind="stable")
    np.testing.assert_array_equal(points.rows, expected.index)
    np.testing.assert_array_equal(points.values, expected[["flow", "heat"]])
    np.testing.assert_array_equal(points.time, expected["when"])
    np.testing.assert_array_equal(points.y, expected["state"])
    assert points.keys["note"].tolist() == expected["note"].tolist()
    assert points.groups == ["b", "a"]
    assert points.codes.tolist() == [0] * 40 + [1] * 40
    assert points.segments.tolist() == [[0, 20], [20, 40], [40, 60], [60, 80]]
    assert points.channels == ("flow", "heat")
    assert points.step == 3600.0
    assert points.seconds[1] == pd.Timestamp("2024-01-01 01:00").timestamp()


def test_output_is_in_the_order_of_the_table():
    frame = table()
    points = load_windows(frame).points
    found = points.table_identifiers()
    pd.testing.assert_frame_equal(found, frame[["machine", "when", "note"]], check_dtype=False)
    np.testing.assert_array_equal(points.values[points.in_table_order()], frame[["flow", "heat"]])


def test_without_time_and_groups_a_point_is_named_by_its_row():
    points = load(pd.DataFrame({"flow": np.arange(9.0)}), kind="series", window=4).points
    assert points.identifiers().columns.tolist() == ["row"]
    assert [points.time, points.seconds, points.step] == [None, None, None]
    assert points.groups == []


def test_several_group_columns_have_their_own_names():
    frame = table().assign(site=lambda t: np.where(t["machine"] == "a", 1, 2))
    data = load(
        frame[["when", "site", "machine", "flow"]],
        kind="series", time="when", group=["site", "machine"], window=8,
    )  # fmt: skip
    found = data.points.table_identifiers()
    assert found.columns.tolist() == ["site", "machine", "when"]
    assert found["site"].tolist() == frame["site"].tolist()


def test_times_with_a_zone_keep_it():
    frame = table()
    frame["when"] = frame["when"].dt.tz_localize("Europe/Berlin")
    points = load_windows(frame).points
    assert points.identifiers()["when"].dt.tz is not None
    assert points.seconds[0] == pd.Timestamp("2024-01-01", tz="Europe/Berlin").timestamp()
    assert load_windows(frame).windows.first_time[0] == frame["when"][0]


@pytest.mark.parametrize("stride", [1, 3])
def test_windows_are_views_that_are_those_of_load(stride):
    data = load_windows(table(), window=8, stride=stride)
    cut = data.points.cut(stride)
    np.testing.assert_array_equal(np.concatenate([found for _, found in cut]), data.X)
    first = np.concatenate([begins for begins, _ in cut])
    np.testing.assert_array_equal(first, data.windows.first_position)
    assert all(np.shares_memory(found, data.points.values) for _, found in cut)
    assert not any(found.flags.writeable for _, found in cut)


def test_windows_of_a_part_are_found_again_in_its_time_points():
    data = load_windows(table(), window=8, stride=2)
    part = data.take(np.array([9, 0, 1, 9, 20]))
    at = part.windows.first_position[:, None] + np.arange(8)
    np.testing.assert_array_equal(part.points.values[at], part.X)
    np.testing.assert_array_equal(part.points.rows[at[:, 0]], part.windows.first_row)
    # Ten rows of two windows that overlap; and three windows of which two are the same.
    assert sorted(np.diff(part.points.segments, axis=1).ravel()) == [8, 8, 10]
    assert len(part.points) == 26


def test_a_part_keeps_labels_keys_and_the_order_of_the_table():
    frame = table()
    part = load_windows(frame).take_range("3:6")
    points = part.points
    assert points.keys["note"].tolist() == frame["note"][points.rows].tolist()
    assert points.y.tolist() == frame["state"][points.rows].tolist()
    order = points.in_table_order()
    assert points.rows[order].tolist() == sorted(points.rows)
    assert (
        points.table_identifiers()["note"].tolist() == frame["note"][sorted(points.rows)].tolist()
    )


def test_windows_with_rows_between_them_leave_these_out():
    data = load(pd.DataFrame({"flow": np.arange(20.0)}), kind="series", window=4, stride=6)
    part = data.take(np.arange(len(data)))
    assert part.points.values.ravel().tolist() == [*range(4), *range(6, 10), *range(12, 16)]
    assert part.points.segments.tolist() == [[0, 4], [4, 8], [8, 12]]


@pytest.mark.parametrize("machines", [("b", "a"), tuple("abcdef")])
@pytest.mark.parametrize("stride", [1, 8])
def test_training_and_test_points_share_no_row(machines, stride):
    data = load_windows(table(60, machines), window=8, stride=stride)
    splits = data.split(0.3, random_state=0)
    train, test = splits.train.points, splits.test.points
    assert not set(train.rows) & set(test.rows)
    for part in (splits.train, splits.test):
        rows = part.windows.first_position[:, None] + np.arange(8)
        np.testing.assert_array_equal(part.points.values[rows], part.X)
        assert set(rows.ravel()) == set(range(len(part.points)))


def test_missing_readings_are_marked():
    frame = table()
    frame.loc[[4, 5], "flow"] = np.nan
    with pytest.warns(UserWarning, match="2 of 160 values are missing"):
        points = load_windows(frame).points
    assert sorted(points.rows[points.filled]) == [4, 5]
    assert not np.isnan(points.values).any()


def test_segments_too_short_for_a_window_are_there_without_one():
    frame = pd.DataFrame({"t": [0, 1, 2, 3, 4, 5, 90, 91], "flow": np.arange(8.0)})
    with pytest.warns(UserWarning, match="gap"):
        points = load(frame, kind="series", time="t", window=4).points
    assert points.segments.tolist() == [[0, 6], [6, 8]]
    assert points.covered.tolist() == [True] * 6 + [False] * 2
    assert len(points.cut()) == 1
    assert points.facts()["n_without_window"] == 2


class TestOf:
    """`TimePoints.of`: the forms in which a detector takes new data."""

    def test_forms_are_alike(self):
        frame = table(machines=("a",))
        data = load_windows(frame)
        options = {"window": 8, "channels": ("flow", "heat")}
        a = TimePoints.of(data, **options)
        b = TimePoints.of(frame, time="when", group="machine", **options)
        np.testing.assert_array_equal(a.values, b.values)
        np.testing.assert_array_equal(a.segments, b.segments)
        c = TimePoints.of(frame[["flow", "heat"]].to_numpy(), **options)
        np.testing.assert_array_equal(a.values, c.values)
        assert c.segments.tolist() == [[0, 40]]
        assert c.channels == ("flow", "heat")
        d = TimePoints.of(pd.DataFrame(c.values), **options)
        np.testing.assert_array_equal(c.values, d.values)

    def test_one_channel_needs_no_second_axis(self):
        assert TimePoints.of(np.arange(5), window=3).values.shape == (5, 1)
        assert TimePoints.of(pd.Series(np.arange(5), name="x"), window=3).channels == ("x",)

    def test_columns_are_found_by_name(self):
        frame = table(machines=("a",))[["heat", "note", "flow"]]
        points = TimePoints.of(frame, window=8, channels=("flow", "heat"))
        np.testing.assert_array_equal(points.values, frame[["flow", "heat"]])

    @pytest.mark.parametrize(
        ("new", "message"),
        [
            (np.zeros((5, 3)), r"shape \(5, 3\), expected \(m, 2\)"),
            (np.zeros((5, 8, 2)), "no order in time"),
            (np.array([["a", "b"]]), "readings of a series as numbers"),
            (np.zeros((0, 2)), r"shape \(0, 2\)"),
            (pd.DataFrame({"flow": [1.0]}), "no column 'heat'"),
        ],
    )
    def test_other_data_is_refused(self, new, message):
        with pytest.raises(DataError, match=message):
            TimePoints.of(new, window=8, channels=("flow", "heat"))

    def test_windows_and_channels_are_those_at_fit(self):
        data = load_windows(table())
        other = TimePoints.of(data, window=9)
        assert (other.window, data.points.window) == (9, 8)
        np.testing.assert_array_equal(other.values, data.points.values)
        holed = table()
        holed.loc[holed.index[10], "flow"] = np.nan
        with pytest.warns(UserWarning, match="missing"):
            data = load_windows(holed)
        with pytest.raises(DataError, match="windows of 8 rows with .* on windows of 9"):
            TimePoints.of(data, window=9)
        with pytest.raises(DataError, match="expected 'flow' as at fit"):
            TimePoints.of(data, window=8, channels=["flow"])
        with pytest.raises(DataError, match="windows and no time points"):
            TimePoints.of(load(np.zeros((3, 8, 2)), kind="series"), window=8)
