"""Streams: which sources make one, how files are divided into chunks, and what is read of them."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from isthmus import Dataset, Stream, load
from isthmus.data.streaming import parquet
from isthmus.data.streaming.parquet import OpenGroup
from isthmus.errors import DataError, SchemaError, ShardError

N = 600


@pytest.fixture(scope="module")
def frame():
    """Rows whose `id` is their number."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "id": np.arange(N),
            "a": rng.normal(size=N).astype(np.float32),
            "b": rng.integers(0, 9, N),
            "class": rng.choice(["nut", "bolt"], N),
        }
    )


@pytest.fixture
def folder(frame, tmp_path):
    """Three files of 200 rows, in row groups of 60."""
    write(frame, tmp_path)
    return tmp_path


def write(frame, folder, n_files=3, **options):
    for at, rows in enumerate(np.array_split(np.arange(len(frame)), n_files)):
        options = {"row_group_size": 60, "index": False} | options
        frame.iloc[rows].to_parquet(folder / f"{at}.parquet", **options)


def values(stream):
    return np.concatenate([np.asarray(chunk.X) for chunk in stream.chunks()])


def test_a_folder_and_a_pattern_are_streams(folder):
    for source in (folder, str(folder), f"{folder}/*.parquet", f"{folder}/[01].parquet"):
        assert isinstance(load(source), Stream)
    stream = load(f"{folder}/*.parquet")
    assert repr(stream) == f"Stream('{folder}/*.parquet', 600 rows of 4 columns in 3 chunks)"
    assert len(stream) == N
    assert stream.train is stream
    assert stream.test is None
    assert stream.kind == "table"


def test_files_are_read_in_natural_order(frame, tmp_path):
    for at, rows in enumerate(np.array_split(np.arange(N), 12), start=1):
        frame.iloc[rows].to_parquet(tmp_path / f"Part{at}.parquet", index=False)
    for source in (tmp_path, f"{tmp_path}/*.parquet"):
        read = load(source).take(np.arange(N)).X
        assert read["id"].tolist() == frame["id"].tolist()


def test_a_row_is_named_with_its_file(frame, folder, monkeypatch):
    (folder / "more").mkdir()
    (folder / "2.parquet").rename(folder / "more" / "2.parquet")
    own = [*(("0.parquet", row) for row in range(200)), *(("1.parquet", row) for row in range(200))]
    own += [("more/2.parquet", row) for row in range(200)]
    monkeypatch.setattr("isthmus.data.streaming.parquet.MAX_CHUNK_ROWS", 50)
    stream = load(folder / "0.parquet", lazy=True)
    assert stream.file_of(3) is None
    assert stream.place(3) == "row 3, counting from 0"
    stream = load(f"{folder}/**/*.parquet")
    ids = stream.take(np.arange(N)).X["id"]
    at = dict(zip(ids.tolist(), range(N), strict=True))
    assert [stream.file_of(at[one]) for one in range(N)] == own
    assert stream.place(at[250]) == f"row {at[250]}, counting from 0 (row 50 of 1.parquet)"
    part = stream.take_range("230:430")
    assert [part.file_of(row) for row in range(230, 430)] == [
        own[ids[row]] for row in range(230, 430)
    ]
    rest = stream.without(np.array([0, 1, 250]))
    kept = rest.take(np.arange(len(rest))).X["id"]
    assert [rest.file_of(row) for row in range(len(rest))] == [own[one] for one in kept]
    some = part.take(np.array([20, 70]))
    assert [some.file_of(row) for row in some.row_numbers()] == [own[ids[250]], own[ids[300]]]
    assert some.place(1).endswith(f"(row {own[ids[300]][1]} of {own[ids[300]][0]})")


def test_one_file_is_a_stream_when_asked(folder, tmp_path):
    assert isinstance(load(folder / "0.parquet"), Dataset)
    assert isinstance(load(folder / "0.parquet", lazy=True), Stream)
    np.save(tmp_path / "x.npy", np.zeros((4, 2)))
    assert isinstance(load(tmp_path / "x.npy"), Dataset)
    assert isinstance(load(tmp_path / "x.npy", lazy=True), Stream)


def test_a_folder_with_images_is_read_as_before(folder):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / "picture.png")
    with pytest.warns(UserWarning, match="files skipped: "):
        assert isinstance(load(folder), Dataset)


@pytest.mark.parametrize("most_rows", [60, 130, 1000, 25])
def test_chunks_cover_all_rows_once_and_are_bounded(frame, folder, monkeypatch, most_rows):
    monkeypatch.setattr(parquet, "MAX_CHUNK_ROWS", most_rows)
    stream = load(folder)
    chunks = list(stream.chunks())

    assert all(len(chunk) <= most_rows for chunk in chunks)
    first_rows = np.cumsum([0] + [part.n_rows for part in stream.chunk_ranges])
    assert [part.first_row for part in stream.chunk_ranges] == first_rows[:-1].tolist()
    found = pd.concat([chunk.X for chunk in chunks], ignore_index=True)
    pd.testing.assert_frame_equal(found, frame)


def test_a_cut_row_group_can_be_read_in_any_order(frame, folder, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_CHUNK_ROWS", 25)
    stream = load(folder)
    assert max(len(run) for run in stream.runs) == 3
    for at in np.random.default_rng(0).permutation(len(stream.chunk_ranges)):
        part = stream.chunk_ranges[at]
        rows = frame["id"][part.first_row : part.first_row + part.n_rows]
        assert stream.read(part).X["id"].tolist() == rows.tolist()


def test_a_cut_row_group_read_in_order_is_decoded_once(folder, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_CHUNK_ROWS", 25)
    skipped = []
    monkeypatch.setattr(OpenGroup, "skip", lambda self, n_rows: skipped.append(n_rows))
    for _ in load(folder).chunks():
        pass
    assert set(skipped) == {0}


def test_labels_and_keys_are_read_on_demand_and_are_no_features(frame, folder):
    stream = load(folder, label="class", keys=["id"])
    part = stream.chunk_ranges[1]
    rows = frame.iloc[200:400]

    bare = stream.read(part)
    assert (list(bare.X.columns), bare.y, bare.keys) == (["a", "b"], None, None)
    full = stream.read(part, label=True, keys=True)
    assert full.first_row == 200
    assert full.y.tolist() == rows["class"].tolist()
    assert full.keys["id"].tolist() == rows["id"].tolist()
    assert list(load(folder, columns=["b"]).read(part).X.columns) == ["b"]


@pytest.mark.parametrize("most_rows", [1000, 25])
@pytest.mark.parametrize("rows", ["150:420", "-70:", ":30", "225:226", ":"])
def test_a_range_of_rows_is_that_in_memory(frame, folder, rows, most_rows, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_CHUNK_ROWS", most_rows)
    expected = frame[slice(*(int(end) if end else None for end in rows.split(":")))]
    stream = load(folder, rows=rows)
    assert len(stream) == len(expected)
    ends = {"first": expected["id"].iloc[0], "last": expected["id"].iloc[-1], "n": len(expected)}
    assert stream.first_row == ends["first"]
    assert stream.reading_facts()["reading"] == {"rows": ends}
    assert np.concatenate([one.X["id"] for one in stream.chunks()]).tolist() == [*expected["id"]]
    sample = stream.sample(5, 0)
    assert sample.X["id"].isin(expected["id"]).all()
    assert frame["id"][sample.row_numbers()].tolist() == sample.X["id"].tolist()
    if len(expected) > 30:
        inner = stream.without(np.array([0, 3])).take_range("1:20")
        rest = expected["id"].drop(expected.index[[0, 3]])
        assert inner.take(np.arange(19)).X["id"].tolist() == [*rest[1:20]]


def test_a_category_of_numbers_is_one_as_in_memory(frame, folder, tmp_path):
    (tmp_path / "shown").mkdir()
    missing = frame.assign(b=frame["b"].where(frame["id"] != 300))  # whole numbers but in one file
    write(missing, folder, row_group_size=200)
    missing.to_parquet(tmp_path / "shown" / "all.parquet", index=False)
    expected = load(tmp_path / "shown" / "all.parquet", label="class", category=["b"]).schema
    assert expected.types[2].categories == tuple(range(9))
    assert load(folder, label="class", category=["b"]).schema == expected


def test_columns_that_a_model_does_not_take_are_carried_along(frame, folder, tmp_path):
    schema = load(folder, columns=["a", "b"]).schema
    stream = load(folder, keys=["id"], schema=schema)
    assert list(stream.take(np.array([5, 250])).keys.columns) == ["id", "class"]
    one = load(folder / "0.parquet", keys=["id"], schema=schema)
    pd.testing.assert_frame_equal(one.keys, stream.take(np.arange(200)).keys)
    for given in ({"drop": ["class"]}, {"columns": ["a", "b"]}, {"label": "class"}):
        assert list(load(folder, keys=["id"], schema=schema, **given).reader.keys) == ["id"]

    frame[200:400].drop(columns="class").assign(note=None).to_parquet(folder / "1.parquet")
    with pytest.warns(UserWarning, match="2 columns .*, 'class', 'note', are not in every file"):
        stream = load(folder, schema=schema)
    assert stream.reader.keys == ["id"]
    assert stream.reading_facts()["reading"] == {"columns_not_carried": ["class", "note"]}


@pytest.mark.parametrize(
    "labels",
    [
        ["0", "1", "2", "3.5"],
        ["0", "1", "007", "2"],
        ["true", "False", None, "TRUE"],
        [None, None, "1", "0"],
        ["true", "true", "1", "0"],
        [0, None, 1, 2],
    ],
)
@pytest.mark.parametrize("kind", ["table", "series"])
def test_text_labels_of_a_stream_are_read_as_in_memory(labels, kind, tmp_path):
    frame = pd.DataFrame({"a": np.arange(8.0), "y": np.repeat(pd.array(labels, object), 2)})
    write(frame, tmp_path, n_files=2)
    (tmp_path / "shown").mkdir()
    frame.to_parquet(tmp_path / "shown" / "all.parquet")
    cut = {"kind": "series", "window": 2} if kind == "series" else {}

    expected = load(tmp_path / "shown" / "all.parquet", label="y", **cut)
    found = load(tmp_path, label="y", **cut).sample(8, 0)
    assert found.y.tolist() == pytest.approx(expected.y.tolist(), nan_ok=True)
    assert [type(one) for one in found.y] == [type(one) for one in expected.y]
    assert found.class_names == expected.class_names


def test_columns_that_are_not_asked_for_are_never_read(folder, monkeypatch):
    asked = []
    read = pq.ParquetFile.read_row_groups

    def watched(self, groups, columns=None, **options):
        asked.append(columns)
        return read(self, groups, columns=columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", watched)
    stream = load(folder, label="class", columns=["a"])
    stream.schema  # noqa: B018
    stream.take(np.array([3]), label=False)
    assert asked == [["a"]] * 4
    stream.sample(2, 0)
    assert asked[4:] == [["a", "class"]] * len(asked[4:]) != []


def test_a_sample_is_rows_of_the_stream_with_their_labels(frame, folder):
    stream = load(folder, label="class")
    sample = stream.sample(100, seed=1)
    rows = sample.X["id"].to_numpy()

    assert len(np.unique(rows)) == 100
    pd.testing.assert_frame_equal(
        sample.X, frame.iloc[rows].drop(columns="class").reset_index(drop=True)
    )
    assert sample.y.tolist() == frame["class"][rows].tolist()
    assert stream.sample(100, seed=1).X.equals(sample.X)
    assert len(stream.sample(10_000, seed=0)) == N


def test_rows_are_drawn_uniformly(folder):
    stream = load(folder)
    drawn = np.concatenate([stream.draw(60, seed) for seed in range(300)])
    counts = np.bincount(drawn, minlength=N)
    # Chi-squared of 600 cells of 30 each: mean 599, deviation 35, less 10 % without replacement.
    assert ((counts - 30) ** 2 / 30).sum() < 720


def test_rows_can_be_left_out_again_and_again(frame, folder):
    stream = load(folder, keys=["id"])
    rest = stream.without(np.arange(0, N, 2)).without(np.array([0, 5, 299]))
    expected = np.delete(np.arange(1, N, 2), [0, 5, 299])

    assert len(rest) == 297
    chunks = list(rest.chunks(keys=True))
    assert np.concatenate([chunk.keys["id"] for chunk in chunks]).tolist() == expected.tolist()
    assert [chunk.first_row for chunk in chunks][1:] == np.cumsum([len(p) for p in chunks])[
        :-1
    ].tolist()


@pytest.mark.parametrize("dtype", ["float64", "float32", "uint8"])
def test_numpy_files(tmp_path, dtype, monkeypatch):
    monkeypatch.setattr("isthmus.data.streaming.npy_files.MAX_CHUNK_ROWS", 7)
    shape = (40, 5, 4) if dtype == "uint8" else (40, 6)
    X = (np.random.default_rng(0).random(shape) * 200).astype(dtype)
    np.save(tmp_path / "0.npy", X[:25])
    np.save(tmp_path / "1.npy", X[25:])
    stream = load(tmp_path)

    assert stream.kind == ("images" if dtype == "uint8" else "table")
    assert values(stream).dtype == dtype
    np.testing.assert_array_equal(values(stream), X)


def test_a_folder_of_images_file_by_file(tmp_path, monkeypatch):
    monkeypatch.setattr("isthmus.data.streaming.image_folder.MAX_CHUNK_FILES", 3)
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for at in range(4):
            shape = (6, 5, 3) if name == "dog" else (6, 5)
            Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(
                tmp_path / name / f"{at}.png"
            )
    whole = load(tmp_path)
    stream = load(tmp_path, lazy=True)

    assert repr(stream).endswith("8 images of 6x5x3 uint8 in 3 chunks)")
    np.testing.assert_array_equal(values(stream), whole.X)
    assert stream.schema == whole.schema
    assert stream.sample(8, 0).y.tolist() == whole.y.tolist()


def test_other_stores_by_their_address(frame):
    import fsspec

    store = fsspec.filesystem("memory")
    for at in range(2):
        with store.open(f"/bucket/{at}.parquet", "wb") as file:
            frame.iloc[at * 300 : (at + 1) * 300].to_parquet(file, index=False)
    for source in ("memory://bucket", "memory://bucket/*.parquet"):
        stream = load(source, label="class")
        assert np.concatenate([p.X["id"] for p in stream.chunks()]).tolist() == list(range(N))
    store.rm("/bucket", recursive=True)
    with pytest.raises(DataError, match=r"bucket/0.parquet cannot be reached .* run again"):
        list(stream.chunks())


def test_a_damaged_file_is_named_or_skipped(frame, folder):
    whole = (folder / "1.parquet").read_bytes()
    (folder / "1.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ShardError, match=r"cannot read .*1\.parquet: .*on_bad_shard='skip'"):
        load(folder)
    stream = load(folder, on_bad_shard="skip")
    assert len(stream) == 400
    ((skipped,),) = [stream.skipped]
    assert skipped.source.endswith("1.parquet")
    assert skipped.n_rows is None
    assert "1 skipped" in repr(stream)


def test_damage_inside_a_file_is_found_when_it_is_read(frame, folder):
    content = bytearray((folder / "1.parquet").read_bytes())
    content[4:2000] = b"\0" * 1996
    (folder / "1.parquet").write_bytes(content)
    with pytest.raises(ShardError, match=r"cannot read .*1\.parquet"):
        list(load(folder).chunks())

    stream = load(folder, on_bad_shard="skip")
    assert len(stream) == 600
    ids = np.concatenate([chunk.X["id"] for chunk in stream.chunks()])
    assert ids.tolist() == [*range(200), *range(400, 600)]
    assert len(stream) == 400
    assert stream.skipped[0].n_rows == 200
    # Numbers stay, so that rows drawn before are the same rows after.
    assert [part.first_row for part in stream.chunk_ranges] == [0, 400]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="b"), r"1.parquet has no column 'b', which .*0.parquet has"),
        (lambda f: f.assign(c=1), r"1.parquet has columns \['c'\] that .*0.parquet has not"),
        (
            lambda f: f.assign(b=f["b"].astype(str)),
            r"column 'b' is .*string in .*1.parquet and int64 in .*0.parquet, expected the same",
        ),
    ],
)
def test_a_file_of_another_schema_is_named_with_the_first(frame, folder, change, message):
    change(frame).to_parquet(folder / "1.parquet", index=False)
    with pytest.raises(ShardError, match=message):
        load(folder)
    assert len(load(folder, on_bad_shard="skip")) == 400


def test_widths_of_numbers_and_the_order_of_columns_may_differ(frame, folder):
    other = frame.iloc[200:400].astype({"a": "float64", "b": "int16"})
    other[["b", "class", "a", "id"]].to_parquet(folder / "1.parquet", index=False)
    stream = load(folder, label="class")
    found = pd.concat([chunk.X for chunk in stream.chunks()], ignore_index=True)
    pd.testing.assert_frame_equal(found, frame.drop(columns="class"), check_dtype=False)


def test_an_empty_file_has_no_part(frame, folder):
    frame.iloc[:0].to_parquet(folder / "0.parquet", index=False)
    assert [part.n_rows for part in load(folder).chunk_ranges] == [200, 200]
    for at in (1, 2):
        frame.iloc[:0].to_parquet(folder / f"{at}.parquet", index=False)
    with pytest.raises(DataError, match="holds no rows in 3 files"):
        load(folder)


def test_arrays_that_do_not_go_together(tmp_path):
    np.save(tmp_path / "0.npy", np.zeros((3, 2)))
    np.save(tmp_path / "1.npy", np.zeros((3, 3)))
    with pytest.raises(ShardError, match=r"1.npy holds instances of shape \(3,\).*0.npy"):
        load(tmp_path)
    content = (tmp_path / "0.npy").read_bytes()
    (tmp_path / "1.npy").write_bytes(content[:-8])
    with pytest.raises(ShardError, match=r"1.npy has .* bytes, and its header says"):
        load(tmp_path)
    np.save(tmp_path / "1.npy", np.asfortranarray(np.ones((3, 2))))
    with pytest.raises(ShardError, match="column by column"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "clas"}, "has no column 'clas'; did you mean 'class'"),
        ({"keys": "id"}, r"expected a list: \['id'\]"),
        ({"kind": "series"}, "got no window; say how many rows"),
        ({"kind": "series", "window": 5, "columns": ["a"]}, r"named with channels=\['a'\]"),
        ({"kind": "series", "window": 5, "label": "clas"}, "did you mean 'class'"),
        ({"window": 5, "group": "id"}, "window=, group= is for a long table .*kind='series'"),
        ({"kind": "images"}, "read row by row; leave kind out"),
        ({"on_bad_shard": "ignore"}, "expected 'fail' or 'skip'"),
        ({"y": [1, 2]}, "has its labels in its files"),
        ({"resize": (8, 8)}, "is for images"),
        ({"rows": "700:"}, "names none of the 600 instances"),
        ({"rows": slice(0, 9, 2)}, "with a step, .*; leave the step out"),
        ({"rows": "5"}, "expected first:end"),
        ({"category": ["beta"]}, "has no column 'beta'"),
        ({"kind": "series", "window": 5, "category": ["b"]}, "channels of windows are numbers"),
        ({"decimal": ","}, "decimal=, which is for CSV files"),
    ],
)
def test_words_that_do_not_go_with_a_stream(folder, options, message):
    with pytest.raises(DataError, match=message):
        load(folder, **options)


def test_images_in_several_parquet_files_are_refused_with_the_way(tmp_path):
    images = [{"bytes": b"\x89PNG", "path": f"{at}.png"} for at in range(4)]
    table = pd.DataFrame({"image": images, "label": [0, 1, 0, 1], "width": [1.0, 2.0, 3.0, 4.0]})
    write(table, tmp_path, n_files=2)
    for options in ({}, {"kind": "images"}, {"label": "label"}, {"columns": ["image"]}):
        with pytest.raises(DataError, match=r"images in the column 'image', .*concatenate\(\[load"):
            load(tmp_path, **options)
    with pytest.raises(DataError, match="a folder of image files, which lazy=True"):
        load(tmp_path / "0.parquet", lazy=True)
    assert list(load(tmp_path, drop=["image"]).schema.columns) == ["label", "width"]
    lists = pd.DataFrame({"a": [[1, 2], [3]] * 5, "b": range(10)})
    write(lists, tmp_path, n_files=2)
    with pytest.raises(DataError, match="column 'a' .* holds ndarray values .*, expected numbers"):
        _ = load(tmp_path).schema


def test_words_that_are_for_streams(folder):
    with pytest.raises(DataError, match=r"got keys=\['id'\], which names columns of a table"):
        load(np.zeros((3, 2)), keys=["id"])
    with pytest.raises(DataError, match="got lazy=True, which is for files"):
        load(np.zeros((3, 2)), lazy=True)
    with pytest.raises(DataError, match="names no files"):
        load(f"{folder}/*.pq")
    with pytest.raises(SchemaError):
        load(folder, label="class").schema.check(np.zeros((3, 7)))
