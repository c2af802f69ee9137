"""Schema and preprocessing of a stream: those of the same data in memory."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest

from isthmus import load
from isthmus.data import Schema
from isthmus.data.preprocessing import Moments, column_warnings, learn_preprocessor
from isthmus.data.streaming import statistics as stream_learn
from isthmus.errors import DataError, DataWarning

N = 900


@pytest.fixture
def mixed():
    """Columns of every type; some with missing values, one constant, one far from zero."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "gap": np.where(rng.random(N) < 0.2, np.nan, rng.normal(3, 2, N)),
            "far": 1e9 + rng.normal(size=N),
            "same": np.full(N, 7.25),
            "whole": rng.integers(-5, 50, N),
            "kind": rng.choice(["nut", "bolt", "screw", None], N),
            "rare": ["one of a kind" if at == 5 else "usual" for at in range(N)],
            "text of numbers": [str(value) for value in rng.integers(0, 30, N)],
            "true": pd.array(rng.choice([True, False, None], N), dtype="boolean"),
            "day": pd.date_range("2024-01-01", periods=N, freq="h"),
            "group": pd.Categorical(rng.choice(["p", "q"], N), categories=["q", "p", "never"]),
        }
    )
    frame["late"] = [None] * 700 + ["only in the last file"] * 120 + ["other"] * 80
    return frame


def write(frame, folder, n_files=4):
    for at, rows in enumerate(np.array_split(np.arange(len(frame)), n_files)):
        frame.iloc[rows].to_parquet(folder / f"{at}.parquet", index=False)


def in_memory(X, kind="auto"):
    schema = Schema.learn(X, kind)
    return schema, learn_preprocessor(schema.check(X), schema)


def assert_close(found, expected):
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_close(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            assert_close(*pair)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)
    else:
        assert found == expected


def test_a_mixed_table_is_learned_as_in_memory(mixed, tmp_path):
    write(mixed, tmp_path)
    mixed.to_parquet(tmp_path.parent / f"{tmp_path.name}.parquet", index=False)
    whole = load(tmp_path.parent / f"{tmp_path.name}.parquet")
    stream = load(tmp_path)
    schema, preprocessor = in_memory(whole.X)

    assert stream.schema == schema == whole.schema
    assert_close(stream.preprocessor.to_dict(), preprocessor.to_dict())
    chunk = next(stream.chunks())
    np.testing.assert_allclose(
        stream.preprocessor.to_network(stream.schema.check(chunk.X)),
        preprocessor.to_network(schema.check(whole.X[: len(chunk)])),
        rtol=1e-6,
        atol=1e-6,
    )


@pytest.mark.parametrize("kind", ["table", "series", "images"])
def test_arrays_are_learned_as_in_memory(kind, tmp_path):
    rng = np.random.default_rng(1)
    X = rng.random((90, 4, 3)) if kind != "table" else rng.normal(5, 3, size=(90, 4))
    if kind == "table":
        X[::7, 1] = np.nan
    for at in range(3):
        np.save(tmp_path / f"{at}.npy", X[at * 30 : (at + 1) * 30])
    stream = load(tmp_path, kind=kind)
    schema, preprocessor = in_memory(X, kind)

    assert stream.schema == schema
    assert_close(stream.preprocessor.to_dict(), preprocessor.to_dict())


def test_the_median_of_a_long_column_is_within_the_stated_rank(tmp_path, monkeypatch):
    monkeypatch.setattr(stream_learn, "MEDIAN_ROWS", 1000)
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.exponential(size=(20_000, 40)), columns=[f"v{at}" for at in range(40)])
    write(X, tmp_path)
    fills = np.array([inputs.fill for inputs in load(tmp_path).preprocessor.inputs])
    ranks = (X.to_numpy() <= fills).mean(axis=0)
    # 3.29 standard errors of a share of one half in 1,000 rows; 0.64 % in 65,536.
    assert np.abs(ranks - 0.5).max() < 3.29 * 0.5 / np.sqrt(1000)
    assert np.unique(ranks).size > 1


def test_moments_of_chunks_are_those_of_all():
    rng = np.random.default_rng(0)
    values = 1e8 + rng.normal(size=(1000, 3))
    chunks = Moments()
    for part in np.array_split(values, 7):
        chunks.update(part)
    exact = values.astype(np.longdouble)
    np.testing.assert_allclose(chunks.mean, exact.mean(axis=0).astype(float), rtol=3e-16)
    np.testing.assert_allclose(chunks.variance, exact.var(axis=0).astype(float), rtol=1e-12)
    assert chunks.n == 1000


def test_a_column_without_a_value_and_one_that_names_things(tmp_path, mixed):
    frame = mixed[["far"]].assign(nothing=np.nan)
    write(frame, tmp_path)
    with pytest.raises(DataError, match="column 'nothing' has no value in any of 900 rows"):
        load(tmp_path).schema  # noqa: B018
    empty = dict.fromkeys("abcdefg", np.nan)
    write(mixed[["far"]].assign(**empty, name=[f"name {at}" for at in range(N)]), tmp_path)
    with pytest.raises(DataError, match="2 problems of columns") as caught:
        load(tmp_path).schema  # noqa: B018
    assert "- 7 columns have no value in any of 900 rows, 'a', 'b', 'c', 'd', 'e' and 2 more;" in (
        str(caught.value)
    )
    assert "--drop f --drop g)" in str(caught.value)
    assert "- column 'name' holds 900 different values" in str(caught.value)
    write(mixed[["far"]].assign(name=[f"name {at}" for at in range(N)]), tmp_path)
    with pytest.raises(DataError, match="column 'name' holds 900 different values in 900 rows"):
        load(tmp_path).schema  # noqa: B018


def test_text_without_end_is_refused_before_it_fills_memory(tmp_path, mixed, monkeypatch):
    monkeypatch.setattr("isthmus.data.streaming.column_statistics.MAX_DISTINCT", 300)
    write(mixed[["far"]].assign(name=[f"name {at}" for at in range(N)]), tmp_path)
    with pytest.raises(DataError, match="more than 300 different texts"):
        load(tmp_path).schema  # noqa: B018


def test_an_infinite_number_is_named_with_its_row(tmp_path, mixed):
    frame = mixed[["far", "whole"]].copy()
    frame.loc[700, "far"] = np.inf
    write(frame, tmp_path)
    with pytest.raises(DataError, match=r"the value is inf in column 'far' of .*row 700"):
        load(tmp_path).schema  # noqa: B018


@pytest.mark.parametrize("n_wild", [1, 45])
def test_wild_values_of_a_stream_are_left_out_as_in_memory(n_wild, tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "temp": np.where(rng.random(N) < 0.2, np.nan, rng.normal(3, 2, N)),
            "flow": rng.normal(size=N),
            "row": np.arange(N),
        }
    )
    frame.loc[rng.permutation(N)[:n_wild], "flow"] = -9999.0
    write(frame, tmp_path)
    stream = load(tmp_path)
    with pytest.warns(DataWarning) as caught:
        found = stream.preprocessor.to_dict()
    assert_close(found, in_memory(frame)[1].to_dict())
    first = int((frame["flow"] == -9999).argmax())
    texts = [str(one.message) for one in caught]
    assert texts[0].startswith(f"column 'flow' holds -9999 in row {first}, counting from 0")
    assert texts[1].startswith("column 'row' increases strictly from row to row")
    assert len(texts) == 2


def test_the_scale_of_a_long_stream_is_that_of_a_sample_where_values_are_wild(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(stream_learn, "MEDIAN_ROWS", 2000)
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(20_000, 2)), columns=["temp", "flow"])
    usual = in_memory(X)[1]
    X.loc[123, "temp"] = 1e9  # hardly ever among the rows drawn
    write(X, tmp_path)
    temp, flow = load(tmp_path).preprocessor.inputs
    assert flow.scale == pytest.approx(usual.inputs[1].scale, rel=1e-12)
    # Three standard errors of a deviation from 2,000 rows.
    assert temp.scale == pytest.approx(usual.inputs[0].scale, rel=3 / np.sqrt(2 * 2000))


def test_wild_values_of_streamed_windows_are_left_out_as_in_memory(tmp_path):
    X = np.random.default_rng(1).normal(size=(90, 8, 3))
    X[40, 5, 2], X[70, 1, 2] = 1000, -200
    for at in range(3):
        np.save(tmp_path / f"{at}.npy", X[at * 30 : (at + 1) * 30])
    with pytest.warns(DataWarning, match="channel 2 holds 1000 in window 40, time step 5,"):
        found = load(tmp_path, kind="series").preprocessor.to_dict()
    expected = in_memory(X, "series")[1].to_dict()
    assert expected["usual"][:2] == [None, None]
    assert_close(found, expected)


FLAT = np.random.default_rng(0).random((40, 8, 8))
FLAT[::4] = FLAT[::4, :1, :1]


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (FLAT, "^10 of 40 images have the same value in all pixels"),
        (np.full((40, 8, 8), 0.5), "^all 40 images are the same"),
        ((FLAT > 0.5).astype(np.uint8), r"^the uint8 pixels of 40 images are only 0 and 1"),
    ],
    ids=["flat", "same", "0 and 1"],
)
def test_images_that_teach_nothing_warn_as_in_memory(X, message, tmp_path):
    schema = Schema.learn(X)
    texts = column_warnings(X, schema, learn_preprocessor(X, schema))
    assert any(re.search(message, text) for text in texts)
    for at in range(4):
        np.save(tmp_path / f"{at}.npy", X[at * 10 : (at + 1) * 10])
    with pytest.warns(DataWarning) as caught:
        assert load(tmp_path, kind="images").schema == schema
    assert [str(one.message) for one in caught] == texts
    assert column_warnings(X[1:2], schema, learn_preprocessor(X, schema)) == []


def test_identifiers_of_a_stream_are_named_as_in_memory(tmp_path, recwarn):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "ticket": rng.permutation(10_000)[:N],  # unrelated to the other columns
            "order_no": rng.integers(0, 700, N),  # by its name
            "late": np.where(np.arange(N) < 300, np.nan, rng.permutation(5_000)[:N]),
            "row": np.arange(N),
            "a": rng.normal(size=N),
            "b": rng.normal(size=N),
        }
    )
    write(frame, tmp_path)
    schema, preprocessor = in_memory(frame)
    expected = column_warnings(schema.check(frame), schema, preprocessor)
    assert [text.split()[1] for text in expected] == ["'row'", "'ticket'", "'order_no'", "'late'"]

    assert load(tmp_path).schema.n_features == 6
    assert [str(one.message) for one in recwarn] == expected


RANDOM = np.random.default_rng(5)
TEXTS = [f"{value:.3f}" for value in RANDOM.normal(size=N)]
TWO_WORDS = ["1" if at % 3 else f"word {at}" for at in range(N)]


def with_cells(values, cells):
    return [cells.get(at, value) for at, value in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (with_cells(TEXTS, {711: "x"}), "holds 'x' in row 711, counting from 0"),
        (
            TWO_WORDS,
            "holds 'word 0' in row 0, counting from 0; .* such cells in this column.*, expected",
        ),
        ([str(at) if at % 3 == 0 else f"word {at % 7}" for at in range(N)], None),
        (with_cells(["2024-05-17"] * N, {500: "soon"}), "'soon' in row 500, counting from 0"),
        ([text.replace(".", ",") for text in TEXTS], "in row 0, counting from 0, expected numbers"),
        ([str(day) for day in pd.date_range("2024", periods=N, freq="h")], "'a' increases"),
        ([str(at) for at in range(N)], "column 'a' increases strictly from row to row"),
        (
            with_cells(TEXTS, {3: "-999", 711: "99999"}),
            "in row 711, counting from 0, .* and 1 more",
        ),
        (with_cells(RANDOM.normal(size=N), {3: -300, 711: 1e6}), "in row 711, .* and 1 more"),
        (with_cells(TEXTS, {711: "inf"}), "in column 'a' of .*, row 711, counting from 0"),
        ([[1, 2]] * N, "column 'a' of .* holds ndarray values .* with drop="),
    ],
    ids=[
        *("one word", "a third words", "a third numbers", "no date", "comma", "dates", "numbers"),
        *("wild text", "wild numbers", "infinite", "lists"),
    ],
)
def test_a_streamed_column_is_described_as_in_memory(values, said, tmp_path):
    frame = pd.DataFrame({"z": RANDOM.normal(size=N), "a": values})
    frame.to_parquet(tmp_path / "rows.parquet", index=False, row_group_size=170)
    texts = []
    for lazy in (False, True):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                data = load(tmp_path / "rows.parquet", lazy=lazy)
                schema = data.schema
                texts.append([str(one.message) for one in caught])
                if not lazy:
                    X = schema.check(data.X)
                    texts[0] += column_warnings(X, schema, learn_preprocessor(X, schema))
            except DataError as error:
                texts.append([str(error)])
    assert texts[1] == texts[0]
    assert texts[0] == [] if said is None else re.search(said, texts[0][0])


def test_a_streamed_identifier_in_text_is_named_as_in_memory(tmp_path):
    texts = [str(one) for one in RANDOM.permutation(N)]
    frame = pd.DataFrame({"z": RANDOM.normal(size=N), "ticket": texts})
    write(frame, tmp_path)
    with pytest.warns(DataWarning, match="column 'ticket' holds 100% distinct whole numbers"):
        load(tmp_path).schema  # noqa: B018
