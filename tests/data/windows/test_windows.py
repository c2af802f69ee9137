"""Windows of long series: none straddles a border, and a split shares no row."""

import gzip

import numpy as np
import pandas as pd
import pytest

from isthmus.data.load import load
from isthmus.data.windows import deciding_rows
from isthmus.data.windows.cutting import windows
from isthmus.errors import DataError


def long_table(lengths=(40, 55), channels=2):
    """Readings whose values say which group and row of it they are of."""
    parts = [
        pd.DataFrame(
            {"t": np.arange(n) * 10, "machine": name}
            | {f"c{c}": np.arange(n) + 1000 * c + 10_000 * g for c in range(channels)}
        )
        for g, (name, n) in enumerate(zip("abcdefgh", lengths, strict=False))
    ]
    return pd.concat(parts, ignore_index=True)


def cut(frame, **options):
    return load(frame, **{"kind": "series", "time": "t", "group": "machine"} | options)


def by_hand(frame, window, stride):
    """Windows, as plain loops would make them."""
    found = []
    for _, group in frame.groupby("machine", sort=False):
        values = group.drop(columns=["t", "machine"]).to_numpy(float)
        for first in range(0, len(values) - window + 1, stride):
            found.append((values[first : first + window], group.index[first]))
    return np.stack([values for values, _ in found]), [row for _, row in found]


# one array


@pytest.mark.parametrize(("window", "stride"), [(4, 1), (4, 3), (4, None), (3, 7), (20, 5)])
def test_windows_of_an_array(window, stride):
    values = np.random.default_rng(0).normal(size=(20, 3))
    X = windows(values, window, stride)
    starts = range(0, 20 - window + 1, stride or window)
    np.testing.assert_array_equal(X, [values[first : first + window] for first in starts])
    assert X.flags.c_contiguous
    X[:] = 0
    assert values.any()


def test_windows_of_one_channel():
    assert windows(np.arange(5), 2).tolist() == [[[0], [1]], [[2], [3]]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 11}, "got window=11 and a series of 10 rows; pass a window of 10 rows at most"),
        ({"window": 1}, "got window=1, expected a whole number of 2 or more"),
        ({"window": 2.0}, "got window=2.0, expected a whole number"),
        ({"window": True}, "got window=True"),
        ({"window": None}, "got no window"),
        ({"window": 4, "stride": 0}, "got stride=0, expected a whole number of 1 or more"),
    ],
)
def test_windows_that_cannot_be(options, message):
    with pytest.raises(DataError, match=message):
        windows(np.zeros((10, 2)), **options)
    with pytest.raises(DataError, match=r"shape \(2, 2, 2\), expected \(n, c\)"):
        windows(np.zeros((2, 2, 2)), 2)


# long tables


@pytest.mark.parametrize("stride", [1, 5, 16, 30])
def test_windows_are_those_cut_by_hand(stride):
    frame = long_table()
    data = cut(frame, window=16, stride=stride)
    X, first_rows = by_hand(frame, 16, stride)
    np.testing.assert_array_equal(data.X, X)
    assert data.X.dtype == np.float64
    np.testing.assert_array_equal(data.windows.first_row, first_rows)
    np.testing.assert_array_equal(data.windows.last_row, data.windows.first_row + 15)
    np.testing.assert_array_equal(data.windows.group, frame["machine"][first_rows])
    np.testing.assert_array_equal(data.windows.first_time, frame["t"][first_rows])
    np.testing.assert_array_equal(data.windows.last_time, data.windows.first_time + 150)
    assert (data.kind, data.schema.columns, data.y) == ("series", ("c0", "c1"), None)


def test_groups_may_be_interleaved():
    frame = long_table((30, 30)).sort_values("t", kind="stable", ignore_index=True)
    data = cut(frame, window=10)
    np.testing.assert_array_equal(data.X, by_hand(frame, 10, 10)[0])
    first, last = data.windows.first_row, data.windows.last_row
    assert (frame["machine"][first].to_numpy() == frame["machine"][last].to_numpy()).all()
    np.testing.assert_array_equal(last - first, 18)


def test_without_group_and_time_all_rows_are_one_series_in_their_order():
    frame = long_table((12, 8)).drop(columns=["t", "machine"])
    data = load(frame, kind="series", window=5)
    np.testing.assert_array_equal(data.X.reshape(20, 2), frame)
    assert data.windows.group is data.windows.first_time is None
    assert data.windows.to_frame().columns.tolist() == ["first_row", "last_row"]
    assert data.windows.to_frame().iloc[1].tolist() == [5, 9]


def test_channels_may_be_chosen_and_ordered():
    frame = long_table((10,)).assign(note="text")
    data = cut(frame, window=5, channels=["c1", "c0"])
    assert data.schema.columns == ("c1", "c0")
    np.testing.assert_array_equal(data.X[0, :, 1], np.arange(5))


def test_an_index_counts_as_a_column():
    frame = long_table((10,))
    np.testing.assert_array_equal(cut(frame.set_index("t"), window=5).X, cut(frame, window=5).X)


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
@pytest.mark.parametrize("dates", [False, True])
def test_files(tmp_path, ending, dates):
    frame = long_table()
    if dates:
        frame["t"] = pd.Timestamp("2024-03-01 12:00") + pd.to_timedelta(frame["t"], unit="s")
    path = tmp_path / f"readings{ending}"
    text = frame.to_csv(index=False).encode()
    if ending == ".parquet":
        frame.to_parquet(path)
    else:
        path.write_bytes(gzip.compress(text) if ending.endswith("gz") else text)
    data = cut(path, window=16, stride=5)
    np.testing.assert_array_equal(data.X, cut(frame, window=16, stride=5).X)
    assert data.name == path.name
    if dates:
        assert str(data.windows.first_time[1]).startswith("2024-03-01T12:00:50")


@pytest.mark.parametrize(
    "times",
    [
        pd.date_range("2024-01-01", periods=12, freq="D").strftime("%Y-%m-%d"),
        pd.date_range("2024-01-01", periods=12, freq="D", tz="Asia/Tokyo"),
        pd.date_range("2024-01-01", periods=12, freq="MS").date,
        pd.timedelta_range("0s", periods=12, freq="s"),
        np.arange(12) + 1_700_000_000_000_000_000,  # a float cannot tell these apart
        np.linspace(0, 0.11, 12),
        [str(hour) for hour in range(12)],
    ],
    ids=["text", "zone", "months", "spans", "nanoseconds", "steps", "digits"],
)
def test_times_of_all_kinds(times):
    frame = long_table((12,)).assign(t=times)
    data = cut(frame, window=4)
    assert len(data) == 3
    assert data.windows.first_time[1] == frame["t"].to_numpy()[4]
    back = frame.assign(t=frame["t"].to_numpy()[::-1])
    with pytest.raises(DataError, match="expected times that increase"):
        cut(back, window=4)


# time that does not run


def test_times_out_of_order():
    frame = long_table((6, 6))
    frame.loc[9, "t"] = 5
    with pytest.raises(
        DataError,
        match=r"group 'b': the time in row 9, counting from 0, is 5, after 20 in row 8, .* sort "
        r"the table with "
        r"table\.sort_values\(\['machine', 't'\]\)",
    ):
        cut(frame, window=3)


def test_times_that_come_twice():
    with pytest.raises(DataError, match="is in row 0, counting from 0, and again in row 1"):
        load(long_table((6,)).assign(t=0)[["t", "c0"]], kind="series", time="t", window=3)


def test_a_line_of_the_file_is_named(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("t,c\n1,1\n\n3,1\n2,1\n")
    with pytest.raises(DataError, match=r"time in row 2, .*\(line 5 of the file\), is 2, after 3"):
        load(path, kind="series", time="t", window=2)


def test_no_window_crosses_a_gap():
    frame = long_table((40, 30))
    frame.loc[frame.index[25:40], "t"] += 6  # one and a half steps and a little more
    with pytest.warns(UserWarning, match="the table: 1 gap in time .* leaves 4 rows out"):
        data = cut(frame, window=10, stride=4)
    # The 25 rows before the gap have 3 over, the 15 after it 1.
    assert data.windows.first_row.tolist() == [0, 4, 8, 12, 25, 29, 40, 44, 48, 52, 56, 60]


def test_a_step_of_one_and_a_half_is_no_gap():
    frame = long_table((20,))
    frame.loc[frame.index[10:], "t"] += 5
    assert len(cut(frame, window=20)) == 1


def test_each_group_has_its_own_step():
    frame = long_table((20, 20))
    frame.loc[frame.index[20:], "t"] *= 100
    assert len(cut(frame, window=20)) == 2


def test_short_groups_are_left_out_by_name():
    with pytest.warns(UserWarning, match="1 of 3 groups is left out, with fewer .* 20 rows.*: 'b'"):
        data = cut(long_table((20, 19, 45)), window=20)
    assert data.windows.group.tolist() == ["a", "c", "c"]


def test_without_any_window_the_longest_is_named():
    frame = long_table((20, 30))
    with pytest.raises(DataError, match=r"window=31, and the longest series .* has 30 rows \(group "
                       r"'b'\); pass a window of 30 at most$"):  # fmt: skip
        cut(frame, window=31)
    frame.loc[frame.index[40:], "t"] += 100
    with pytest.raises(DataError, match="without a gap in time .* has 20 rows .* over gaps"):
        cut(frame, window=31)


# values


def test_missing_values_are_filled_along_time_within_a_group():
    frame = long_table((10, 10)).astype({"c0": float})
    frame.loc[[0, 4, 5, 9, 10], "c0"] = np.nan
    with pytest.warns(UserWarning, match="5 of 40 values are missing"):
        data = cut(frame, window=10)
    assert data.X[0, :, 0].tolist() == [1, 1, 2, 3, 4, 5, 6, 7, 8, 8]
    assert data.X[1, 0, 0] == 10_001  # not what the other group ended with


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"c0": "on", "c1": "x"}, {}, r"columns 'c0', 'c1' .* no numbers .*say which is label="),
        ({"c0": pd.Timestamp(0)}, {"label": "c1"}, "column 'c0' .* cannot be a channel"),
        ({"c0": ["1"] * 9 + ["?"]}, {}, r"column 'c0' of the table holds '\?' in row 9"),
        ({"c0": np.inf}, {}, "the value is infinite in column 'c0', row 0, .*of the table"),
        ({"c0": np.nan}, {}, "group 'a': column 'c0' of the table is empty from row 0, .*to row 9"),
        ({"t": [None, *range(9)]}, {}, "the time is missing in row 0"),
        ({"t": [*range(9), np.inf]}, {}, "the time is infinite in row 9"),
        ({"t": ["2024-01-01", *["noon"] * 9]}, {}, "holds 'noon' in row 1, .*expected a number or"),
        ({"t": True}, {}, "expected numbers or dates"),
        ({"machine": [None] + ["a"] * 9}, {}, "the group is missing in row 0"),
        ({}, {"group": "machin"}, "the table has no column 'machin'; did you mean 'machine'"),
        ({}, {"channels": ["c2"]}, "has no column 'c2'; it has t, machine, c0, c1"),
        ({}, {"label": "t"}, "got time='t', group='machine', label='t'; expected a column of its"),
        ({}, {"channels": []}, "no columns of readings"),
        ({}, {"channels": "c0"}, r"expected a list: \['c0'\]"),
        ({}, {"window": "all"}, "got window='all', expected a whole number or 'auto'"),
        ({}, {"stride": "auto", "window": 1}, "got window=1, expected a whole number of 2"),
        ({}, {"kind": "auto"}, "window=, time=, group= is for a long table .*kind='series'"),
    ],
)
def test_tables_that_cannot_be_cut(change, options, message):
    frame = long_table((10,)).assign(**change)
    with pytest.raises(DataError, match=message):
        cut(frame, **{"window": 5} | options)


def test_empty_and_doubled():
    frame = long_table((10,))
    with pytest.raises(DataError, match="the table holds no rows"):
        cut(frame.iloc[:0], window=5)
    with pytest.raises(DataError, match="more than one column called 'c0'"):
        cut(frame.set_axis(["t", "machine", "c0", "c0"], axis=1), window=5)


# labels


def slow_label(labels):
    """The rule as it is written down."""
    present = [label for label in labels if not pd.isna(label)]
    if not present:
        return None
    if -1 in present:
        return -1
    counts = {label: present.count(label) for label in present}
    return next(x for x in reversed(present) if counts[x] == max(counts.values()))


@pytest.mark.parametrize(
    "values", [[1, -1, 0, np.nan], [0, 1, 2], ["on", "off", None], [1.0, 2.0, np.nan]]
)
def test_the_label_of_a_window(values):
    rng = np.random.default_rng(0)
    y = pd.Series(np.repeat(rng.choice(np.array(values, dtype=object), 60), rng.integers(1, 9, 60)))
    y = y.infer_objects().to_numpy()
    first = np.arange(0, len(y) - 6, 3)
    got = y[deciding_rows(y, first, 6)]
    expected = [slow_label(list(y[at : at + 6])) for at in first]
    assert [None if pd.isna(x) else x for x in got] == expected


def test_labels_go_with_their_windows():
    frame = long_table((20, 20)).assign(state=["on"] * 14 + ["off"] * 6 + ["off"] * 20)
    data = cut(frame, window=10, label="state")
    assert data.y.tolist() == ["on", "off", "off", "off"]
    assert data.schema.columns == ("c0", "c1")
    assert load(data, kind="series") is data


# splitting


def rows_of(frame, part):
    """All rows of the table that a part's windows hold, found by their values."""
    where = dict(zip(frame["c0"], frame.index, strict=True))
    return {where[value] for value in part.X[:, :, 0].ravel().tolist()}


@pytest.mark.parametrize("stride", [1, 3, 8, 12])
@pytest.mark.parametrize("lengths", [(60,), (60, 45, 50), (40, 50, 30, 60, 35, 40)])
@pytest.mark.parametrize("shuffled", [False, True], ids=["grouped", "interleaved"])
def test_a_split_shares_no_row(lengths, stride, shuffled):
    frame = long_table(lengths)
    if shuffled:
        frame = frame.sort_values("t", kind="stable", ignore_index=True)
    data = cut(frame, window=8, stride=stride)
    parts = data.split(0.3, random_state=0)
    train, test = rows_of(frame, parts.train), rows_of(frame, parts.test)
    assert train
    assert test
    assert not train & test
    # What was dropped shares a row with the test part: nothing is lost without need.
    used = {*zip(parts.train.windows.first_row, parts.train.windows.last_row, strict=True)}
    used |= {*zip(parts.test.windows.first_row, parts.test.windows.last_row, strict=True)}
    for at in range(len(data)):
        one = data.take(np.array([at]))
        if (one.windows.first_row[0], one.windows.last_row[0]) not in used:
            assert rows_of(frame, one) & test


def test_few_groups_are_split_by_time():
    parts = cut(long_table((100, 50)), window=10).split(0.2)
    assert parts.test.windows.first_row.tolist() == [80, 90, 140]
    assert len(parts.train) == 12
    assert parts.train.schema.columns == ("c0", "c1")


def test_many_groups_are_set_aside_whole():
    data = cut(long_table([30] * 8), window=10, stride=5)
    groups = []
    for seed in (0, 0, 1, 2, 3):
        parts = data.split(0.25, random_state=seed)
        inside = set(parts.test.windows.group)
        assert len(inside) == 2
        assert not inside & set(parts.train.windows.group)
        assert len(parts.train) + len(parts.test) == len(data)
        groups.append(frozenset(inside))
    assert groups[0] == groups[1]
    assert len(set(groups)) > 1


@pytest.mark.parametrize("seed", range(5))
def test_groups_of_each_label_are_set_aside(seed):
    frame = long_table([30] * 7)
    frame["y"] = np.where(frame["machine"] < "d", "good", "bad")  # of 3 and of 4 groups
    frame.loc[frame["machine"].eq("a") & frame["t"].lt(100), "y"] = "bad"
    parts = cut(frame, window=10, stride=5, label="y").split(0.2, random_state=seed)
    assert [{*"abc"} & {*group} != set() for group in sorted(set(parts.test.windows.group))] == [
        True,
        False,
    ]
    assert not set(parts.test.windows.group) & set(parts.train.windows.group)


def test_groups_that_each_have_a_label_of_their_own():
    frame = long_table([30] * 7).assign(y=lambda frame: frame["machine"])
    parts = cut(frame, window=10, label="y").split(0.3, random_state=0)
    assert len(set(parts.test.y)) == 2


def test_labels_stay_with_their_windows_in_a_split():
    frame = long_table((60,))
    data = cut(frame.assign(y=frame["c0"] // 10), window=10, label="y")
    test = data.split(0.4).test
    np.testing.assert_array_equal(test.y, test.X[:, 0, 0] // 10)


@pytest.mark.parametrize(
    ("lengths", "fraction", "message"),
    [
        ((10,), 0.2, "cannot set 20% of 1 windows aside"),
        ((60,), 1.5, "expected a fraction between 0 and 1"),
        ((12,), 0.5, "no window is left that shares no row"),
    ],
)
def test_a_split_that_cannot_be(lengths, fraction, message):
    with pytest.raises(DataError, match=message):
        cut(long_table(lengths), window=10, stride=1).split(fraction)


# labels of windows


def rare_events(normal="ok", abnormal="leak", text=True):
    """200 rows, of which 15 in five events of three are abnormal, one event in each 40 rows."""
    label = np.full(200, normal, dtype=object)
    for first in (10, 50, 90, 130, 170):
        label[first : first + 3] = abnormal
    frame = pd.DataFrame({"t": np.arange(200), "a": np.sin(np.arange(200.0)), "state": label})
    return frame if text else frame.infer_objects()


@pytest.fixture(params=["in memory", "csv", "stream"])
def read(request, tmp_path):
    def read(frame, **options):
        options = {"kind": "series", "time": "t", "label": "state", "window": 40} | options
        source = frame
        if request.param == "csv":
            frame.to_csv(tmp_path / "r.csv", index=False)
            source = tmp_path / "r.csv"
        elif request.param == "stream":
            frame.to_parquet(tmp_path / "r.parquet", index=False)
            source, options = tmp_path / "r.parquet", options | {"lazy": True}
        data = load(source, **options)
        return data if data.in_memory else data.take(np.arange(len(data)))

    return read


@pytest.mark.parametrize(
    ("normal", "abnormal", "options"),
    [
        ("ok", "leak", {"normal": "ok"}),
        ("ok", "leak", {"normal": "ok", "window_label": "any"}),
        (0, 1, {"normal": 0}),
        (0, 1, {"normal": "0"}),
        (1, -1, {}),
        (1, -1, {"window_label": "any"}),
    ],
)
def test_one_abnormal_row_makes_a_window_abnormal(read, normal, abnormal, options):
    frame = rare_events(normal, abnormal, text=False)
    frame.loc[frame.index >= 160, "state"] = normal
    data = read(frame, **options)
    assert data.y.tolist() == [abnormal] * 4 + [normal]
    assert data.window_label == "any"


def test_a_class_that_no_window_has_is_counted(read):
    match = (
        r"class 'leak' \(15 rows in 5 events\) is in no window's label; pass window_label='any', "
        "and normal="
    )
    with pytest.warns(UserWarning, match=match):
        data = read(rare_events())
    assert data.y.tolist() == ["ok"] * 5
    assert data.window_label == "majority"
    with pytest.warns(UserWarning, match="class '-1' .15 rows in 5 events. is in no window"):
        assert read(rare_events(1, -1, text=False), window_label="majority").y.tolist() == [1] * 5


def test_the_label_of_the_last_row(read):
    frame = rare_events()
    frame.loc[39, "state"] = "leak"
    data = read(frame, window_label="last")
    assert data.y.tolist() == ["leak", "ok", "ok", "ok", "ok"]
    assert data.window_label == "last"


def test_the_most_frequent_abnormal_label():
    y = np.array(["leak"] + ["ok"] * 5 + ["leak", "jam", "jam", None], dtype=object)
    assert y[deciding_rows(y, np.array([0, 2]), 8, "any", "ok")].tolist() == ["leak", "jam"]


def test_any_needs_what_is_normal(read):
    with pytest.raises(DataError, match="window_label='any' and labels such as 'leak', 'ok'"):
        read(rare_events(), window_label="any")
    with pytest.raises(DataError, match="window_label='some', expected one of any, majority, last"):
        read(rare_events(), window_label="some")


def test_a_class_whose_rows_are_in_no_window(read):
    frame = rare_events()
    frame.loc[:199, "state"] = "ok"
    frame.loc[199, "state"] = "leak"
    match = "class 'leak' .1 row in 1 event. .* none of these rows is in a window"
    with pytest.warns(UserWarning, match=match):
        assert read(frame, window=150, normal="ok").y.tolist() == ["ok"]


@pytest.mark.parametrize("site", [["007", "7"], [7, 8], ["NA", "n"]], ids=["text", "numbers", "NA"])
def test_several_group_columns(read, site):
    parts = [
        rare_events().assign(site=one, m=m, a=float(at)).iloc[:80]
        for at, (one, m) in enumerate([(site[0], 1), (site[1], 1), (site[0], 2)])
    ]
    table = pd.concat(parts, ignore_index=True)
    table.loc[table["t"] >= 40, "state"] = "ok"
    data = read(table, group=["site", "m"], normal="ok")
    assert data.X[:, 0, 0].tolist() == [0, 0, 1, 1, 2, 2]
    assert data.y.tolist() == ["leak", "ok"] * 3
    where = data.windows.to_frame()
    assert where.columns[:2].tolist() == ["site", "m"]
    assert where["site"].astype(str).tolist() == [str(site[at]) for at in (0, 0, 1, 1, 0, 0)]
    assert where["m"].astype(str).tolist() == ["1", "1", "1", "1", "2", "2"]
    with pytest.raises(DataError, match="got time='t', group='site', group='site'"):
        read(table, group=["site", "site"])
