"""Tables, arrays and datasets of other libraries mean what the same values in pandas mean."""

import datetime as dt
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from scipy import sparse
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)

from isthmus import (
    AnomalyDetector,
    Autoencoder,
    CodeClassifier,
    load,
    load_bundle,
    save_bundle,
)
from isthmus.data import (
    Schema,
    as_array_or_frame,
    as_instances,
    as_labels,
    containers,
    warn_of_order,
)
from isthmus.errors import DataError, DataWarning, SchemaError
from isthmus.evaluation import evaluate, evaluate_detector

N = 60
RNG = np.random.default_rng(0)
MIXED = pd.DataFrame(
    {
        "size": RNG.normal(10, 3, N),
        "count": RNG.integers(0, 9, N),
        "hue": pd.Series(RNG.choice(["red", "blue", "green"], N)).where(np.arange(N) != 3),
        "grade": pd.Categorical(RNG.choice(["a", "b"], N)),
        "new": RNG.random(N) < 0.5,
        "day": pd.Timestamp("2024-05-17") + pd.to_timedelta(RNG.integers(0, 90, N), "D"),
    }
)
MIXED.loc[5, "size"] = np.nan
OTHERS = {
    "polars": lambda frame: pl.from_pandas(frame),
    "pyarrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
    "RecordBatch": lambda frame: pa.RecordBatch.from_pandas(frame, preserve_index=False),
}


@pytest.fixture(scope="module")
def encoder():
    return Autoencoder(2, max_epochs=2, random_state=0).fit(MIXED)


@pytest.fixture(params=list(OTHERS))
def other(request):
    return OTHERS[request.param]


def test_tables_of_other_libraries_are_read_by_name_after_fit(encoder, other):
    expected = encoder.transform(MIXED)
    swapped = MIXED[list(MIXED)[::-1]]
    np.testing.assert_array_equal(encoder.transform(other(MIXED)), expected)
    np.testing.assert_array_equal(encoder.transform(other(swapped)), expected)
    with pytest.raises(SchemaError, match=r"missing \['size'\] and not known \['length'\]"):
        encoder.transform(other(MIXED.rename(columns={"size": "length"})))


def test_tables_of_other_libraries_are_fitted_like_those_of_pandas(encoder, other):
    fitted = Autoencoder(2, max_epochs=2, random_state=0).fit(other(MIXED))
    assert fitted.digest_ == encoder.digest_
    assert fitted.schema_.columns == tuple(MIXED)
    assert [c.type for c in fitted.schema_.types] == [c.type for c in encoder.schema_.types]
    assert list(fitted.feature_names_in_) == list(MIXED)


def test_load_schema_and_windows_take_tables_of_other_libraries(other):
    data = load(other(MIXED), label="grade", drop=["day"])
    assert data.schema.columns == ("size", "count", "hue", "new")
    np.testing.assert_array_equal(data.y, MIXED["grade"])
    schema = Schema.learn(other(MIXED))
    np.testing.assert_array_equal(schema.check(other(MIXED[::-1])), schema.check(MIXED[::-1]))
    long = pd.DataFrame({"t": np.arange(40), "load": np.arange(40.0)})
    windows = load(other(long), kind="series", time="t", window=10)
    assert windows.X.shape == (4, 10, 1)


def test_dtypes_of_polars_mean_what_they_mean_in_pandas():
    table = pl.DataFrame(
        {
            "text": ["a", None, "b"],
            "categorical": pl.Series(["x", "y", "x"], dtype=pl.Categorical),
            "enum": pl.Series(["x", "y", "x"], dtype=pl.Enum(["y", "x"])),
            "bool": [True, None, False],
            "date": [dt.date(2024, 5, 17), None, dt.date(2024, 5, 18)],
            "zone": pl.Series([dt.datetime(2024, 1, 1)] * 3).dt.replace_time_zone("Asia/Tokyo"),
            "whole": [1, None, 3],
            "decimal": pl.Series(["1.5", "2", "3"]).cast(pl.Decimal(10, 2)),
            "duration": [dt.timedelta(days=1), None, dt.timedelta(days=2)],
            "time": [dt.time(1), None, dt.time(2)],
            "null": [None, None, None],
        }
    )
    schema = Schema.learn(table)
    assert [column.type for column in schema.types] == [
        *["category"] * 3,
        "boolean",
        *["date"] * 2,
        *["number"] * 5,
    ]
    day, tokyo = pd.Timestamp("2024-05-17").timestamp(), 1704067200 - 9 * 3600
    nan = np.nan
    np.testing.assert_array_equal(
        schema.check(table),
        [
            [0, 0, 0, 1, day, tokyo, 1, 1.5, 86400, 3600, nan],
            [nan, 1, 1, nan, nan, tokyo, nan, 2, nan, nan, nan],
            [1, 0, 0, 0, day + 86400, tokyo, 3, 3, 172800, 7200, nan],
        ],
    )


def test_labels_of_other_libraries_have_their_missing_ones(other):
    y = other(pd.DataFrame({"y": ["a", None, "b"]}))
    column = y["y"] if isinstance(y, pl.DataFrame) else y.column("y")
    assert as_labels(column).tolist() == ["a", None, "b"]


def test_a_lazy_table_is_refused_with_the_call_that_reads_it(encoder):
    with pytest.raises(DataError, match=r"pass X\.collect\(\)"):
        encoder.transform(pl.from_pandas(MIXED).lazy())
    with pytest.raises(DataError, match=r"pass X\.collect\(\)"):
        load(pl.from_pandas(MIXED).lazy())


@pytest.mark.parametrize(
    ("methods", "call"),
    [(["collect", "toPandas"], "toPandas"), (["compute"], "compute"), (["to_pandas"], "to_pandas")],
    ids=["pyspark", "dask", "ibis"],
)
def test_a_table_elsewhere_is_refused_with_the_call_that_reads_it(encoder, methods, call):
    members = {"columns": ["a"], **dict.fromkeys(methods, lambda self: None)}
    remote = type("DataFrame", (), members)()
    for use in (encoder.transform, load, Autoencoder(2).fit):
        with pytest.raises(DataError, match=rf"DataFrame, whose rows .* pass X\.{call}\(\)"):
            use(remote)


def test_arrays_with_named_fields_are_tables_by_name():
    numbers = MIXED[["size", "count"]].fillna(0)
    schema = Schema.learn(numbers)
    records = numbers[["count", "size"]].to_records(index=False)
    for array in (
        records,
        np.asarray(records),
        records.astype([("count", ">i4"), ("size", ">f8")]),
    ):
        np.testing.assert_array_equal(schema.check(array), numbers.to_numpy(np.float64))
    assert Schema.learn(records).columns == ("count", "size")
    masked = np.ma.array(np.asarray(records))
    masked["size"][2] = np.ma.masked
    assert np.isnan(schema.check(masked)[2, 0])
    assert schema.check(masked)[2, 1] == numbers["count"][2]
    with pytest.raises(DataError, match="field 'a' holds several values"):
        as_array_or_frame(np.zeros(3, dtype=[("a", float, 2)]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint8, bool])
def test_masked_cells_of_a_table_are_missing(dtype):
    masked = np.ma.array([[1, 0], [0, 1], [1, 1]], dtype=dtype, mask=[[0, 0], [1, 0], [0, 0]])
    expected = [[1, 0], [np.nan, 1], [1, 1]]
    np.testing.assert_array_equal(Schema.learn(masked).check(masked), expected)
    np.testing.assert_array_equal(load(masked).X, expected)
    np.testing.assert_array_equal(as_instances(list(masked)).held, expected)
    unmasked = np.ma.array([[1, 0], [0, 1]], dtype=dtype)
    assert as_instances(unmasked).held.dtype == dtype


def test_masked_cells_decide_as_missing_ones_do():
    X = RNG.normal(size=(N, 4))
    X[::7, 1] = np.nan
    encoder = Autoencoder(2, max_epochs=2, random_state=0)
    digest = encoder.fit(X).digest_
    filled = np.ma.masked_invalid(np.where(np.isnan(X), -9999, X)) * 1
    masked = np.ma.array(filled, mask=np.isnan(X))
    np.testing.assert_array_equal(encoder.transform(masked), encoder.transform(X))
    assert encoder.fit(masked).digest_ == digest


@pytest.mark.parametrize(
    ("X", "kind"),
    [
        (np.zeros((5, 8, 8), np.uint8), "images"),
        (np.zeros((5, 8, 8, 3)), "images"),
        (np.zeros((5, 8, 2)), "series"),
    ],
)
def test_masked_images_and_series_are_refused_with_their_count(X, kind):
    masked = np.ma.array(X, mask=np.zeros(X.shape, bool))
    assert Schema.learn(masked, kind).kind == kind
    masked[[1, 3], 0, 0] = np.ma.masked
    with pytest.raises(DataError, match="2 of 5 instances of shape .* the first is instance 1"):
        Schema.learn(masked, kind)


def test_masked_labels_are_missing_labels():
    y = np.ma.array([1, 2, 3], mask=[0, 1, 0])
    np.testing.assert_array_equal(as_labels(y), [1, np.nan, 3])


@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csr_matrix, sparse.dok_array])
def test_sparse_instances_are_refused_in_a_sentence(encoder, container):
    X = container(np.eye(6))
    numbers = Autoencoder(2, max_epochs=1, random_state=0).fit(np.eye(6))
    uses = [
        Autoencoder(2).fit,
        AnomalyDetector(Autoencoder(2)).fit,
        lambda X: CodeClassifier(numbers).fit(X, [0, 1] * 3),
        numbers.transform,
        numbers.reconstruction_error,
        load,
        Schema.learn,
        numbers.schema_.check,
    ]
    for use in uses:
        with pytest.raises(DataError, match=r"got a sparse .* pass X\.toarray\(\)"):
            use(X)


class Pairs(Dataset):
    """A map-style dataset of (instance, label)."""

    def __init__(self, X, as_item=lambda one: (torch.as_tensor(one), 0)):
        self.X, self.as_item = X, as_item

    def __len__(self):
        return len(self.X)

    def __getitem__(self, at):
        return self.as_item(self.X[at])


ROWS = RNG.normal(size=(N, 4)).astype(np.float32)
ITEMS = {
    "pairs": lambda one: (torch.as_tensor(one), 0),
    "tensors": torch.as_tensor,
    "arrays": lambda one: one,
    "lists": lambda one: ([*one.tolist()], "label"),
}


@pytest.mark.parametrize("as_item", ITEMS.values(), ids=ITEMS)
def test_a_dataset_of_torch_is_read_in_order(as_item):
    read = as_instances(Pairs(ROWS, as_item)).held
    np.testing.assert_array_equal(read, ROWS)


def test_datasets_and_loaders_of_torch_are_fitted_and_predicted():
    X = torch.as_tensor(ROWS)
    encoder = Autoencoder(2, max_epochs=2, random_state=0).fit(ROWS)
    dataset = TensorDataset(X, torch.zeros(N))
    assert Autoencoder(2, max_epochs=2, random_state=0).fit(dataset).digest_ == encoder.digest_
    expected = encoder.transform(ROWS)
    for instances in (dataset, DataLoader(dataset, 7), DataLoader(dataset, 7, drop_last=True)):
        np.testing.assert_array_equal(encoder.transform(instances), expected)
    with pytest.warns(UserWarning, match=r"row i of any result is of loader\.dataset\[i\]"):
        np.testing.assert_array_equal(
            encoder.transform(DataLoader(dataset, 7, shuffle=True)), expected
        )
    part = Subset(dataset, [5, 2])
    np.testing.assert_allclose(encoder.transform(part), expected[[5, 2]], rtol=1e-5)
    assert load(dataset).X.shape == (N, 4)


def test_labels_in_a_dataset_of_torch_are_those_of_its_pairs():
    y = np.array(["b", "a"])[np.arange(N) % 2]
    items = [(torch.as_tensor(row), label) for row, label in zip(ROWS, y.tolist(), strict=True)]
    pairs = Pairs(items, lambda item: item)
    encoder = Autoencoder(2, max_epochs=2, random_state=0).fit(pairs)
    expected = CodeClassifier(encoder, "neighbours").fit(ROWS, y)
    found = CodeClassifier(encoder, "neighbours").fit(DataLoader(pairs, 7))
    np.testing.assert_array_equal(found.predict(pairs), expected.predict(ROWS))
    assert found.classes_.tolist() == ["a", "b"]
    tested = evaluate(found, pairs, X_train=pairs, random_state=0)
    assert tested == evaluate(expected, ROWS, y, X_train=ROWS, y_train=y, random_state=0)

    assert load(pairs).y.tolist() == y.tolist()
    assert load(pairs, y=np.arange(N)).y.tolist() == list(range(N))
    numbers = TensorDataset(torch.as_tensor(ROWS), torch.arange(N) % 3)
    assert load(Subset(numbers, [5, 1])).y.tolist() == [2, 1]
    assert load(numbers).y.tolist() == (np.arange(N) % 3).tolist()
    assert load(TensorDataset(torch.as_tensor(ROWS), torch.as_tensor(ROWS))).y is None
    with pytest.warns(UserWarning, match=f"labels that came with {N} instances are not used"):
        AnomalyDetector(encoder, "neighbours", 0.2, "split", random_state=0).fit(
            TensorDataset(torch.as_tensor(ROWS) + 1, torch.zeros(N))
        )


@pytest.mark.parametrize(
    ("shape", "expected"), [((1, 8, 9), (8, 9)), ((3, 8, 9), (8, 9, 3)), ((8, 9, 3), (8, 9, 3))]
)
def test_images_of_a_dataset_of_torch_have_their_channels_last(shape, expected):
    X = RNG.random((5, *shape))
    read = as_instances(Pairs(X)).held
    assert read.shape == (5, *expected)
    assert read[2].reshape(*expected)[4, 6].tolist() == (
        X[2, 4, 6].tolist() if shape == expected else np.squeeze(X[2, :, 4, 6]).tolist()
    )


class Endless(IterableDataset):
    """A dataset without numbers."""

    def __iter__(self):
        return iter(ROWS)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (Endless(), "whose instances have no number"),
        (DataLoader(Endless()), "with an IterableDataset"),
        (DataLoader(Pairs(ROWS), sampler=WeightedRandomSampler([1.0] * N, N)), "WeightedRandom"),
        (DataLoader(Pairs(ROWS), collate_fn=list), "its own collate_fn"),
        (Pairs(ROWS, lambda one: {"image": one}), "items are of type dict"),
        (Pairs(["some", "text"], str), "items are of type str"),
        (Pairs(ROWS, lambda one: one[: 1 + int(one[0] > 0)]), r"instance \d+ of the Pairs is"),
        (Pairs(ROWS[:0]), "without instances"),
    ],
)
def test_what_of_torch_cannot_be_read_in_order_is_refused(X, message):
    with pytest.raises(DataError, match=message):
        as_instances(X)


def test_a_dataset_of_torch_is_read_up_to_a_bound(monkeypatch):
    monkeypatch.setattr(containers, "LARGEST_DATASET", N * 16 - 1)
    with pytest.raises(DataError, match="60 instances, which take .* chunk by chunk"):
        as_instances(Pairs(ROWS))


def test_a_column_alone_is_refused_with_the_call_that_makes_a_table():
    with pytest.raises(DataError, match=r"pass X\.to_frame\(\)"):
        as_instances(pd.Series([1.0, 2.0]))


def test_tables_for_rows_keep_the_index_of_the_rows(tmp_path):
    names = [f"pump {at % 50}" for at in range(N)]  # some names occur twice
    table = pd.DataFrame(RNG.normal(size=(N, 4)), columns=list("abcd"), index=names)
    detector = AnomalyDetector(
        Autoencoder(2, max_epochs=1, random_state=0),
        false_alarm_rate=0.1,
        calibration="split",
        random_state=0,
    ).fit(table)
    assert detector.explain(table).frame().index.tolist() == names
    assert detector.explain(pl.from_pandas(table)).frame().index.tolist() == list(range(N))
    found = detector.suggestions(table, 5)
    assert found.index.tolist() == [names[row] for row in found["row"]]
    rows = pl.from_pandas(table)
    pd.testing.assert_frame_equal(
        detector.suggestions(rows, 5).reset_index(drop=True), found.reset_index(drop=True)
    )
    classifier = CodeClassifier(detector.encoder_, random_state=0)
    chosen = classifier.fit(table, np.arange(N) % 2).suggestions(table, 5)
    assert chosen.index.tolist() == [names[row] for row in chosen["row"]]
    save_bundle(tmp_path / "b", detector.encoder_, {"d": detector, "c": classifier})
    bundle = load_bundle(tmp_path / "b")
    assert bundle.predictions(table, "d", explain=True).index.tolist() == names
    assert bundle.predictions(table, "c").index.tolist() == names


@pytest.mark.parametrize("as_rows", [np.ndarray.tolist, lambda values: values])
def test_rows_with_text_are_a_table_of_mixed_columns(as_rows):
    values = np.array([[1.5, "nut"], [None, "bolt"], [3.0, "nut"]], dtype=object)
    schema = Schema.learn(as_rows(values))
    assert [column.type for column in schema.types] == ["number", "category"]
    np.testing.assert_array_equal(schema.check(as_rows(values)), [[1.5, 1], [np.nan, 0], [3, 1]])
    np.testing.assert_array_equal(load(as_rows(values)).X.isna().to_numpy().sum(), 1)


def test_a_detector_is_fitted_on_an_array_with_text():
    rng = np.random.default_rng(0)
    values = np.empty((200, 2), dtype=object)
    values[:, 0], values[:, 1] = rng.normal(size=200), rng.choice(["a", "b"], 200)
    encoder = Autoencoder(1, max_epochs=2, random_state=0)
    detector = AnomalyDetector(encoder).fit(values)
    frame = pd.DataFrame({"0": values[:, 0].astype(float), "1": values[:, 1]})
    np.testing.assert_array_equal(detector.p_values(values[:5]), detector.p_values(frame[:5]))
    assert detector.predict([[9.0, "a"]]).tolist() == [-1]


def test_labels_with_the_index_of_the_table_in_another_order_are_warned_of():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(40, 3)), columns=list("abc"), index=rng.permutation(40))
    y = pd.Series(np.where(X["a"] > 0, 1, -1), index=X.index)
    encoder = Autoencoder(2, max_epochs=1, random_state=0).fit(rng.normal(size=(40, 3)))
    classifier = CodeClassifier(encoder).fit(X.to_numpy(), y)
    detector = AnomalyDetector(encoder, false_alarm_rate=0.1, random_state=0).fit(X.to_numpy(), y)
    calls = [
        lambda y: classifier.fit(X, y),
        lambda y: classifier.add_labels(X, y),
        lambda y: classifier.score(X, y),
        lambda y: evaluate(classifier, X, y, baselines=None),
        lambda y: detector.fit(X, y),
        lambda y: detector.add_labels(X, y),
        lambda y: evaluate_detector(detector, X, y),
        lambda y: detector.fit(X, groups=y),
    ]
    for call in calls:
        with pytest.warns(DataWarning, match=r"in another order.*\.loc\[X\.index\]"):
            call(y.sort_index())


@pytest.mark.parametrize("index", [range(2), range(3), [5, 6, 7], [0, 1, 1], list("abc")])
def test_labels_with_another_index_or_none_count_by_position(index):
    X = pd.DataFrame({"a": [1, 2, 3]}, index=[0, 1, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for y in (pd.Series(0, index=index), np.zeros(3), [0, 0, 0], None):
            warn_of_order(X, y)
            warn_of_order(X.to_numpy(), y)
