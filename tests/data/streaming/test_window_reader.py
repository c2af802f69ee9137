"""Windows of streamed tables: those that each file gives in memory, one file after the other."""

import itertools
import pickle
import warnings

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from isthmus import Stream, load
from isthmus.data.streaming import window_reader as module
from isthmus.errors import DataError, ShardError

CHANNELS = ["a", "b"]
CUT = {"kind": "series", "time": "t", "group": "machine"}


def readings(seed, lengths=(50, 33, 41), *, interleaved=False, n_gaps=2):
    """Readings of some machines, with gaps in time."""
    rng = np.random.default_rng(seed)
    parts = []
    for name, n in zip("xyz", lengths, strict=True):
        steps = np.full(n, 10)
        steps[rng.integers(1, n, n_gaps)] = 100
        parts.append(
            pd.DataFrame(
                {
                    "t": np.cumsum(steps),
                    "machine": name,
                    "a": rng.normal(size=n),
                    "b": rng.integers(0, 99, n),
                    "state": rng.choice([1, 1, 1, 0, -1], n),
                }
            )
        )
    frame = pd.concat(parts, ignore_index=True)
    return frame.sort_values("t", kind="stable", ignore_index=True) if interleaved else frame


def missing(frame, seed):
    """Leave values out, some for longer than a window."""
    rng = np.random.default_rng(seed)
    frame = frame.astype({"b": float})
    for name in CHANNELS:
        frame.loc[rng.random(len(frame)) < 0.3, name] = np.nan
    frame.loc[frame.index[60:75], "a"] = np.nan
    return frame


def write(frames, folder, row_group_size=17):
    folder.mkdir(exist_ok=True)
    for at, frame in enumerate(frames):
        frame.to_parquet(folder / f"{at}.parquet", index=False, row_group_size=row_group_size)
    return folder


def quietly(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return load(*args, **options)


def check_same(folder, options, most_rows, monkeypatch):
    """Compare a stream with its files, each loaded by itself, to the last bit."""
    monkeypatch.setattr(module, "MAX_CHUNK_ROWS", most_rows)
    stream = quietly(folder, **options)
    files = [quietly(path, **options) for path in sorted(folder.iterdir())]
    chunks = list(stream.chunks(label=True, keys=True))

    assert isinstance(stream, Stream)
    assert all(len(chunk) <= most_rows for chunk in chunks)
    assert len(stream) == sum(map(len, files))
    X, expected = (np.concatenate([one.X for one in many]) for many in (chunks, files))
    assert (X.dtype, X.shape, X.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())
    if "label" in options:
        y, expected = (np.concatenate([one.y for one in many]) for many in (chunks, files))
        assert y.dtype == expected.dtype
        np.testing.assert_array_equal(y, expected)
    pd.testing.assert_frame_equal(
        pd.concat([chunk.keys for chunk in chunks], ignore_index=True),
        pd.concat([data.windows.to_frame() for data in files], ignore_index=True),
    )
    assert stream.schema.columns == files[0].schema.columns
    assert stream.schema.shape == files[0].schema.shape
    return stream


@pytest.mark.parametrize(("stride", "most_rows"), [(1, 15), (3, 1000), (6, 4), (11, 1)])
@pytest.mark.parametrize("interleaved", [False, True], ids=["grouped", "interleaved"])
def test_windows_are_those_of_each_file(tmp_path, monkeypatch, interleaved, stride, most_rows):
    frames = [missing(readings(at, interleaved=interleaved), at) for at in range(2)]
    options = CUT | {"window": 6, "stride": stride, "label": "state"}
    check_same(write(frames, tmp_path / "r"), options, most_rows, monkeypatch)


@pytest.mark.parametrize(
    "left_out", [["t"], ["machine"], ["t", "machine"], ["state"]], ids=lambda names: "-".join(names)
)
def test_time_group_and_label_may_be_left_out(tmp_path, monkeypatch, left_out):
    frames = [readings(at).assign(t=np.arange(124)).drop(columns=left_out) for at in range(2)]
    roles = {"time": "t", "group": "machine", "label": "state"}
    roles = {role: name for role, name in roles.items() if name not in left_out}
    options = {"kind": "series", "window": 8, "stride": 5} | roles
    check_same(write(frames, tmp_path / "r"), options, 4, monkeypatch)


@pytest.mark.parametrize(
    "as_time",
    [
        lambda t: pd.Timestamp("2024-03-01") + pd.to_timedelta(t, unit="s"),
        lambda t: (pd.Timestamp("2024-03-01") + pd.to_timedelta(t, unit="s")).dt.tz_localize("UTC"),
        lambda t: (pd.Timestamp("2024-03-01") + pd.to_timedelta(t, unit="D")).dt.date,
        lambda t: (pd.Timestamp("2024-03-01") + pd.to_timedelta(t, unit="s")).astype(str),
        lambda t: t / 7,
    ],
    ids=["dates", "zone", "days", "text", "fractions"],
)
def test_times_of_all_kinds(tmp_path, monkeypatch, as_time):
    frames = [readings(at).assign(t=lambda frame: as_time(frame["t"])) for at in range(2)]
    options = CUT | {"window": 5, "channels": CHANNELS}
    check_same(write(frames, tmp_path / "r"), options, 6, monkeypatch)


@pytest.mark.parametrize("kind", ["text", "sparse", "true"])
def test_labels_of_all_kinds(tmp_path, monkeypatch, kind):
    frames = [readings(at) for at in range(2)]
    for frame in frames:
        if kind == "text":
            frame["state"] = frame["state"].map({1: "on", 0: None, -1: "off"})
        elif kind == "sparse":  # one row alone, in no window, so that it makes all floats
            frame["state"] = frame["state"].astype("Int64")
            frame.loc[49, "state"] = pd.NA
        else:
            frame["state"] = frame["state"] > 0
    options = CUT | {"window": 6, "stride": 6, "label": "state", "channels": CHANNELS}
    check_same(write(frames, tmp_path / "r"), options, 5, monkeypatch)


def test_columns_are_matched_by_name_and_an_index_is_one(tmp_path, monkeypatch):
    frames = [readings(0), readings(1)[["state", "b", "a", "machine", "t"]]]
    folder = write(frames, tmp_path / "r")
    frames[1].set_index("t").to_parquet(folder / "2.parquet")
    options = CUT | {"window": 6, "label": "state", "channels": CHANNELS}
    check_same(folder, options, 9, monkeypatch)
    assert quietly(folder, **options | {"channels": None}).schema.columns == ("a", "b")


def test_parts_are_read_in_any_order_and_windows_can_be_taken(tmp_path, monkeypatch):
    folder = write([missing(readings(at, interleaved=True), at) for at in range(2)], tmp_path / "r")
    options = CUT | {"window": 6, "stride": 2, "label": "state"}
    stream = check_same(folder, options, 12, monkeypatch)
    whole = np.concatenate([chunk.X for chunk in stream.chunks()])
    for part in np.random.default_rng(0).permutation(np.array(stream.chunk_ranges, dtype=object))[
        :9
    ]:
        end = part.first_row + part.n_rows
        np.testing.assert_array_equal(stream.read(part).X, whole[part.first_row : end])
    rows = stream.draw(20, 0)
    np.testing.assert_array_equal(stream.take(rows).X, whole[rows])


def test_a_split_of_what_was_taken_shares_no_row(tmp_path):
    stream = quietly(write([readings(0), readings(1)], tmp_path / "r"), **CUT, window=8, stride=3)
    data = stream.take(np.arange(len(stream)))
    rows = data.windows
    assert (np.diff(np.sort(np.unique(rows.first_row))) >= 3).all()
    parts = data.split(0.3, random_state=0)
    inside = [
        {*itertools.chain(*map(range, one.windows.first_row, one.windows.last_row + 1))}
        for one in (parts.train, parts.test)
    ]
    assert not inside[0] & inside[1]


def test_a_key_is_that_of_the_last_row(tmp_path):
    frame = readings(0, n_gaps=0).assign(shift=lambda frame: frame.index // 10)
    write([frame], tmp_path / "r")
    with pytest.warns(UserWarning, match="class '1' .68 rows in 28 events. is in no window"):
        stream = load(tmp_path / "r", **CUT, window=20, label="state", keys=["shift", "machine"])
    keys = next(iter(stream.chunks(keys=True))).keys
    assert keys.columns.tolist() == ["group", "first_time", "last_time", "shift", "machine"]
    assert keys["shift"].tolist() == [1, 3, 6, 10, 12]
    assert stream.schema.columns == ("a", "b")
    with pytest.raises(DataError, match="key column 'first_time' is called like a column"):
        load(tmp_path / "r", **CUT, window=20, keys=["first_time"])


def test_each_group_column_is_carried_along(tmp_path):
    frame = readings(0, n_gaps=0).assign(site="007")
    write([frame], tmp_path / "r")
    stream = load(tmp_path / "r", **CUT | {"group": ["site", "machine"]}, drop=["state"], window=20)
    keys = next(iter(stream.chunks(keys=True))).keys
    assert keys.columns.tolist() == ["site", "machine", "first_time", "last_time"]
    assert list(stream.reader.key_types()) == keys.columns.tolist()
    assert set(keys["site"]) == {"007"}
    assert (
        keys["machine"].tolist()
        == load(frame, **CUT, drop=["site", "state"], window=20).windows.group.tolist()
    )


def test_the_label_as_a_key_is_that_of_the_window(tmp_path):
    folder = write([readings(0)], tmp_path / "r")
    options = CUT | {"window": 6, "label": "state"}
    chunk = next(iter(quietly(folder, **options, keys=["state", "state"]).chunks(keys=True)))
    assert chunk.y is None
    assert chunk.keys["state"].tolist() == quietly(folder / "0.parquet", **options).y.tolist()


def test_a_stream_can_be_sent_to_a_worker_of_ray(tmp_path):
    stream = quietly(write([readings(0)], tmp_path / "r"), **CUT, window=6, label="state")
    sent = pickle.loads(pickle.dumps(stream))
    np.testing.assert_array_equal(
        sent.read(sent.chunk_ranges[0]).X, stream.read(stream.chunk_ranges[0]).X
    )


def test_what_is_kept_does_not_grow_with_the_rows(tmp_path):
    sizes = []
    for n in (1_000, 20_000):
        frame = readings(0, (n, n, n), interleaved=True)
        folder = write([frame], tmp_path / f"{n}", row_group_size=n)
        stream = quietly(folder, **CUT, window=6, stride=1, label="state")
        sizes.append(len(pickle.dumps(stream.reader)))
    assert sizes[1] < 1.1 * sizes[0]


def test_a_part_is_bounded_in_bytes_too(tmp_path, monkeypatch):
    folder = write([readings(0, n_gaps=0)], tmp_path / "r")
    monkeypatch.setattr(module, "MAX_CHUNK_BYTES", 10 * 8 * 2 * 5)  # five windows of ten rows
    options = CUT | {"window": 10, "channels": CHANNELS}
    assert max(part.n_rows for part in load(folder, **options).chunk_ranges) == 5
    # The rows between windows count as well.
    assert max(part.n_rows for part in load(folder, **options, stride=20).chunk_ranges) == 2


def test_only_what_is_needed_is_read(tmp_path, monkeypatch):
    folder = write([readings(0, n_gaps=0)], tmp_path / "r")
    asked = []
    batches = pq.ParquetFile.iter_batches

    def watched(self, *args, **options):
        asked.append((options.get("row_groups"), sorted(options["columns"])))
        return batches(self, *args, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    monkeypatch.setattr(module, "MAX_CHUNK_ROWS", 2)
    stream = load(folder, **CUT, window=5, label="state", channels=["b"])
    assert asked == [(None, ["machine", "t"])]
    stream.read(stream.chunk_ranges[4], label=True)  # rows 40 to 49, in row groups of 17
    assert asked[1:] == [([2], ["b", "machine", "state"])]


def test_what_is_left_out_is_summed_up(tmp_path):
    frames = [readings(0), readings(1, (9, 8, 7), n_gaps=0), readings(2, (50, 9, 40))]
    folder = write(frames, tmp_path / "r")
    with pytest.warns(
        UserWarning, match="1 of 3 files holds no window, with fewer than 10"
    ) as caught:
        stream = load(folder, **CUT, window=10, label="state")
    assert len(caught) == 1
    output = str(caught[0].message)
    assert output.startswith(f"{folder}: 1 of 3")
    assert "1.parquet" in output
    assert "groups is left out" in output
    assert "gaps in time" in output
    assert {part.source[-9:] for part in stream.chunk_ranges} == {"0.parquet", "2.parquet"}


def test_without_any_window_the_longest_file_is_named(tmp_path):
    frames = [readings(0, (9, 12, 7), n_gaps=0), readings(1, (9, 13, 7), n_gaps=0)]
    folder = write(frames, tmp_path / "r")
    message = (
        r"window=14, and the longest series of 2 files, in .*1.parquet, has 13 rows \(group 'y'"
    )
    with pytest.raises(DataError, match=message):
        load(folder, **CUT, window=14)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.assign(t=frame["t"][::-1].to_numpy()), "after .* expected times that"),
        (
            lambda frame: frame.assign(t=1),
            "is in row 0, counting from 0, and again in row 1",
        ),
        (
            lambda frame: frame.assign(t=frame["t"].astype(str)),
            "column 't' is .* expected the same",
        ),
        (lambda frame: frame.assign(machine=None), "the group is missing in row 0"),
        (lambda frame: frame.assign(a="high"), "column 'a' is .*, expected the same type"),
        (lambda frame: frame.drop(columns="b"), "has no column 'b', which .* has"),
        (lambda frame: frame.assign(c=1), r"columns \['c'\] that .* with channels="),
    ],
    ids=["order", "twice", "type", "group", "text", "missing", "more"],
)
def test_a_bad_file_is_named_and_can_be_left_out(tmp_path, change, message):
    frame = readings(0, n_gaps=0)
    folder = write([frame, change(frame), frame], tmp_path / "r")
    options = CUT | {"window": 6, "label": "state"}
    with pytest.raises(ShardError, match=rf"(?s)(1.parquet.*)?{message}") as caught:
        load(folder, **options)
    assert "1.parquet" in str(caught.value)
    stream = load(folder, **options, on_bad_shard="skip")
    assert [one.source[-9:] for one in stream.skipped] == ["1.parquet"]
    assert len(stream) == 2 * len(load(folder / "0.parquet", **options))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": np.inf}, "the value is infinite in column 'a', row 0, .*of .*1.parquet"),
        ({"a": np.nan}, "group 'x': column 'a' of .*1.parquet is empty from row 0, .* to row 49"),
    ],
)
def test_bad_values_are_found_when_they_are_read(tmp_path, monkeypatch, change, message):
    monkeypatch.setattr(module, "MAX_CHUNK_ROWS", 3)
    frame = readings(0, n_gaps=0)
    folder = write([frame, frame.assign(**change)], tmp_path / "r")
    options = CUT | {"window": 6, "label": "state"}
    with pytest.raises(ShardError, match=message):
        list(load(folder, **options).chunks())
    stream = load(folder, **options, on_bad_shard="skip")
    assert sum(map(len, stream.chunks())) == len(load(folder / "0.parquet", **options))
    assert stream.skipped


def test_text_is_no_channel_which_is_said_when_opening(tmp_path):
    folder = write([readings(0).assign(note="fine")], tmp_path / "r")
    with pytest.raises(DataError, match="column 'note' .* cannot be a channel: no numbers"):
        load(folder, **CUT, window=6, label="state")


def test_one_file_is_cut_chunk_by_chunk_when_asked(tmp_path):
    path = write([readings(0, n_gaps=0)], tmp_path / "r") / "0.parquet"
    options = CUT | {"window": 6, "label": "state"}
    stream = load(path, **options, lazy=True)
    np.testing.assert_array_equal(stream.take(np.arange(len(stream))).X, load(path, **options).X)
    assert repr(stream).endswith("19 series of 6 time steps and 2 channels in 1 chunk)")


def test_windows_in_arrays_are_not_cut_again(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((4, 5, 2)))
    with pytest.raises(DataError, match="got window=, which cuts long tables"):
        load(tmp_path, kind="series", window=5)
