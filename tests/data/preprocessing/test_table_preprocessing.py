"""Tables to network inputs and back, beside scikit-learn's transformers and pandas' dates."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, load, load_bundle
from isthmus.data import Schema
from isthmus.data.preprocessing import (
    MAX_SCALED,
    asinh_scale,
    column_warnings,
    learn_preprocessor,
    read_preprocessor,
    repeated_label_warnings,
)
from isthmus.data.preprocessing.scaling import sinh_unscale
from isthmus.errors import DataError, DataWarning, SchemaError
from isthmus.evaluation import Baselines

N = 400


@pytest.fixture(scope="module")
def mixed():
    """A table of every type, with values missing, a heavy tail and a constant column."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "width": rng.normal(50, 10, N),
            "price": rng.lognormal(0, 3, N),
            "new": rng.random(N) < 0.2,
            "kind": rng.choice(["bolt", "nut", "rivet"], N),
            "sold": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 365, N), "D"),
            "logged": pd.date_range("2024-01-01", periods=N, freq="h", tz="Europe/Berlin"),
            "size": pd.Categorical(rng.choice(["S", "M"], N), categories=["S", "M", "L"]),
            "plant": 7.0,
        }
    )
    frame.loc[::5, "width"] = np.nan
    frame.loc[::7, "kind"] = None
    return frame


def prepared(frame):
    """The schema's matrix, the preprocessor, and the network's inputs of a table."""
    schema = Schema.learn(frame)
    matrix = schema.check(frame)
    prepare = learn_preprocessor(matrix, schema)
    return matrix, prepare, prepare.to_network(matrix)


def error_of(frame):
    with pytest.raises(DataError) as caught:
        prepared(frame)
    return str(caught.value)


# --- asinh scaling -----------------------------------------------------------------------


def test_asinh_scaling_is_monotone_odd_and_linear_in_the_middle():
    u = np.concatenate([np.linspace(0, 5, 100), np.geomspace(5.01, 1e20, 200)])
    v = asinh_scale(u)
    assert (np.diff(v) > 0).all()
    np.testing.assert_array_equal(asinh_scale(-u), -v)
    assert asinh_scale(np.array([1e-3])) == pytest.approx(1e-3, rel=1e-6)
    np.testing.assert_allclose(v, 2 * np.arcsinh(u / 2), rtol=1e-6)


def test_asinh_scaling_is_inverted_to_a_relative_error_of_1e_4():
    u = np.concatenate([[0], np.geomspace(1e-6, 1e20, 500)])
    np.testing.assert_allclose(sinh_unscale(asinh_scale(u)), u, rtol=1e-4)


def test_scaling_and_unscaling_never_overflow():
    assert asinh_scale(np.array([np.inf, -np.inf, 1e308])).tolist() == [
        MAX_SCALED,
        -MAX_SCALED,
        MAX_SCALED,
    ]
    assert np.isfinite(sinh_unscale(np.array([1e4, -np.inf], np.float32))).all()


# --- numbers, booleans and dates beside scikit-learn ------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "uint8", "bool"])
def test_numbers_are_standardised_and_asinh_scaled(dtype):
    X = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 200, (50, 4)).astype(dtype)
    _, prepare, values = prepared(X)
    expected = asinh_scale(StandardScaler().fit_transform(X.astype(np.float64)))
    assert values.dtype == np.float32
    assert values.flags.c_contiguous
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-6)
    back = prepare.from_network(values)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, X.astype(np.float64), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("as_frame", [False, True])
def test_missing_numbers_are_filled_with_the_median_and_flagged(as_frame):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3)) ** 3
    X[rng.random((60, 3)) < 0.3] = np.nan
    X[:, 1] = rng.normal(size=60)
    _, prepare, values = prepared(pd.DataFrame(X) if as_frame else X)
    filled = make_pipeline(SimpleImputer(strategy="median"), StandardScaler()).fit_transform(X)
    flags = MissingIndicator().fit_transform(X).astype(np.float64)
    flags = StandardScaler().fit_transform(flags)
    expected = np.column_stack([filled[:, 0], flags[:, 0], filled[:, 1:], flags[:, 1]])
    assert prepare.network_shape == (5,)
    np.testing.assert_allclose(values, asinh_scale(expected), rtol=1e-5, atol=1e-6)
    back = prepare.from_network(values)
    np.testing.assert_allclose(back[~np.isnan(X)], X[~np.isnan(X)], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(back[np.isnan(X[:, 0]), 0], np.nanmedian(X[:, 0]), atol=1e-6)


def test_a_value_missing_only_after_fit_is_the_median():
    X = np.random.default_rng(0).normal(size=(41, 2))
    _, prepare, _ = prepared(X)
    assert prepare.network_shape == (2,)
    np.testing.assert_array_equal(
        prepare.to_network(np.full((1, 2), np.nan)), prepare.to_network(np.median(X, axis=0)[None])
    )


def test_a_column_in_another_unit_is_named():
    metres = np.random.default_rng(0).normal([2, 20], [0.3, 5], size=(400, 2))
    frame = pd.DataFrame(metres, columns=["length", "heat"])
    schema = Schema.learn(frame)
    prepare = learn_preprocessor(schema.check(frame), schema)
    prepare.to_network(schema.check(frame))
    with pytest.warns(DataWarning, match="most values of column 'length' are more than 30 st"):
        prepare.to_network(schema.check(frame.assign(length=1000 * frame["length"])))
    with pytest.warns(DataWarning, match="most values of column 'heat' are more than 30"):
        prepare.to_network(schema.check(frame.assign(heat=frame["heat"] + 273)))
    frame.loc[:100, "heat"] = 1e6  # less than half
    prepare.to_network(schema.check(frame))


def test_booleans_are_scaled_as_numbers_and_restored_as_booleans(mixed):
    frame = mixed[["new", "price"]]
    _, prepare, values = prepared(frame)
    _, _, as_numbers = prepared(frame.astype(np.float64))
    np.testing.assert_array_equal(values, as_numbers)
    back = prepare.from_network(values)
    pd.testing.assert_series_equal(back["new"], frame["new"])


@pytest.mark.parametrize("column", ["sold", "logged"])
def test_dates_are_seconds_and_are_restored_with_their_dtype(mixed, column):
    matrix, prepare, values = prepared(mixed[[column]])
    seconds = np.array([when.timestamp() for when in mixed[column]])
    np.testing.assert_array_equal(matrix[:, 0], seconds)
    np.testing.assert_allclose(
        values, asinh_scale(StandardScaler().fit_transform(seconds[:, None])), rtol=1e-5, atol=1e-6
    )
    back = prepare.from_network(values)[column]
    assert back.dtype == mixed[column].dtype
    assert (back - mixed[column]).abs().max() < pd.Timedelta("10s")


@pytest.mark.parametrize("unit", ["ns", "us"])
def test_dates_are_clipped_to_the_range_of_their_dtype(unit):
    frame = pd.DataFrame({"day": pd.to_datetime(["2024-01-01", "2024-01-02"]).as_unit(unit)})
    _, prepare, _ = prepared(frame)
    first, last = prepare.from_network(np.array([[-MAX_SCALED], [MAX_SCALED]], np.float32))["day"]
    assert (first.year, last.year) == ((1677, 2262) if unit == "ns" else (1, 9999))


def test_naive_dates_are_read_as_utc():
    schema = Schema.learn(pd.DataFrame({"day": ["2024-05-17", "2024-05-18"]}))
    aware = pd.DataFrame({"day": pd.to_datetime(["2024-05-17 02:00+02:00"])})
    naive = pd.DataFrame({"day": pd.to_datetime(["2024-05-17"]).as_unit("ns")})
    np.testing.assert_array_equal(schema.check(aware), schema.check(naive))


# --- constant columns -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("constant", "later"),
    [
        (0.0, 1.0),
        (1000.0, 1010.0),
        (1e-9, 2e-9),
        (-3.0, 3.0),
        (0.1, np.nextafter(0.1, 1)),
        (1e100, 1e120),
        (True, False),
        ("on", "off"),
        (pd.Timestamp("2024-05-17"), pd.Timestamp("2024-05-18")),
    ],
)
def test_a_new_value_in_a_constant_column_is_far_from_zero(constant, later):
    frame = pd.DataFrame({"a": [constant] * 30, "b": np.arange(30.0)})
    _, prepare, values = prepared(frame)
    assert (values[:, 0] == 0).all()
    changed = prepare.schema.check(frame.assign(a=[later] * 30))
    moved = np.abs(prepare.to_network(changed)[:, 0])
    assert np.isfinite(moved).all()
    if constant != 0.1:  # there the difference is rounding noise
        assert (moved > 4).all()
    else:
        assert (moved < 1e-6).all()


def test_rounding_noise_counts_as_a_constant_column():
    X = np.column_stack([np.where(np.arange(100_000) % 2, 0.1, 0.3 - 0.2), np.arange(1e5)])
    _, _, values = prepared(X)
    assert np.abs(values[:, 0]).max() < 1e-6


def test_constant_columns_are_zero_and_are_restored():
    frame = pd.DataFrame({"a": [5.0] * 10, "b": ["x"] * 10, "c": [True] * 10})
    _, prepare, values = prepared(frame)
    assert (values == 0).all()
    back = prepare.from_network(values)
    assert back.to_dict("list") == {"a": [5.0] * 10, "b": ["x"] * 10, "c": [True] * 10}


# --- categories beside OneHotEncoder ----------------------------------------------------------


def one_hot(frame, **rules):
    encoder = OneHotEncoder(sparse_output=False, **rules)
    raw = encoder.fit_transform(frame)
    centred = raw - raw.mean(axis=0)
    return encoder, asinh_scale(centred / np.sqrt(centred.var(axis=0).sum()))


def test_a_category_is_one_hot_with_variance_one_in_total(mixed):
    frame = mixed[["size"]]
    _, _, values = prepared(frame)
    _, expected = one_hot(frame)
    np.testing.assert_allclose(values, expected, atol=1e-6)
    assert sinh_unscale(values).var(axis=0).sum() == pytest.approx(1, rel=1e-4)


def test_a_missing_category_is_a_level_of_its_own_when_some_were_missing_at_fit(mixed):
    frame = mixed[["kind"]]
    _, prepare, values = prepared(frame)
    _, expected = one_hot(frame.astype(object).where(frame.notna(), None))
    np.testing.assert_allclose(values, expected, atol=1e-6)
    back = prepare.from_network(values)["kind"]
    assert (back == frame["kind"])[frame["kind"].notna()].all()
    assert back.notna().all()


def test_a_category_missing_only_after_fit_is_the_most_frequent():
    _, prepare, _ = prepared(pd.DataFrame({"a": ["x"] * 6 + ["y"] * 4}))
    np.testing.assert_array_equal(
        prepare.to_network(np.array([[np.nan]])), prepare.to_network(np.array([[0.0]]))
    )


@pytest.mark.parametrize("n_common", [3, 49, 50, 70])
def test_rare_categories_share_an_input(n_common):
    rng = np.random.default_rng(0)
    common = [f"c{at:02}" for at in range(n_common)]
    cells = common * 40 + [f"c{at:02}" for at in range(n_common)][:2] + ["once", "twice", "twice"]
    frame = pd.DataFrame({"a": rng.permutation(cells)})
    _, prepare, values = prepared(frame)
    least = max(2, int(np.ceil(len(frame) / 1000)))
    encoder, expected = one_hot(frame, min_frequency=least, max_categories=50)
    np.testing.assert_allclose(values, expected, atol=1e-6)
    infrequent = encoder.infrequent_categories_[0]
    rare = set() if infrequent is None else set(infrequent)
    back = prepare.from_network(values)["a"]
    alone = rare if len(rare) == 1 else set()
    expected_cells = [cell if cell not in rare - alone else "other values" for cell in frame["a"]]
    assert back.tolist() == expected_cells


def test_an_unknown_category_is_far_from_every_known_one():
    frame = pd.DataFrame({"a": list("xyz") * 20})
    _, prepare, values = prepared(frame)
    known = np.unique(values, axis=0)
    (unknown,) = prepare.to_network(prepare.schema.check(pd.DataFrame({"a": ["new"]})))
    apart = [np.linalg.norm(one - other) for one in known for other in known]
    assert min(np.linalg.norm(known - unknown, axis=1)) > 1.4 * max(apart)
    missing = prepare.to_network(np.array([[np.nan]]))
    assert not np.array_equal(unknown, missing[0])


def test_categories_match_whatever_dtype_they_are_read_in():
    schema = Schema.learn(pd.DataFrame({"deck": ["1", "2", "crew", "true", "crew"]}))
    as_read = [
        (pd.Series([1, 2]), [0, 1]),
        (pd.Series([2.0, np.nan]), [1, np.nan]),
        (pd.Series(["crew", "9"]), [2, 4]),
        (pd.Series([True, True]), [3, 3]),
        (pd.Series([8, 9]), [4, 4]),
    ]
    for column, expected in as_read:
        got = schema.check(pd.DataFrame({"deck": column}))[:, 0]
        np.testing.assert_array_equal(got, expected)
    whole = Schema.learn(pd.DataFrame({"a": pd.Categorical([10, 20])}))
    np.testing.assert_array_equal(whole.check(pd.DataFrame({"a": ["20", "30"]}))[:, 0], [1, 2])


def test_integer_categories_are_restored_as_integers():
    frame = pd.DataFrame({"a": pd.Categorical([10, 20, 10, 20])})
    _, prepare, values = prepared(frame)
    pd.testing.assert_frame_equal(prepare.from_network(values), frame)


# --- errors --------------------------------------------------------------


def test_the_error_names_a_column_without_values():
    message = error_of(pd.DataFrame({"a": [1.0, 2.0], "b": [None, None]}))
    assert message.startswith("column 'b' has no value in any of 2 rows")
    assert "command line --drop 'b')" in message
    assert "column 1 has no value" in error_of(np.array([[1, np.nan], [2, np.nan]]))
    names = [f"part {at}" for at in range(40)]
    all_ = error_of(pd.DataFrame({"a": range(40), "b": None, "c": names, "d": None}))
    assert all_.startswith(
        "2 problems of columns that nothing can be learned from:\n- 2 columns have"
    )
    assert "have no value in any of 40 rows, 'b' and 'd'; drop" in all_
    assert "drop=['b', 'd'] (on the command line --drop b --drop d)" in all_
    assert "- column 'c' holds 40 different values" in all_
    assert "pass it in keys= (--key)" in all_


@pytest.mark.parametrize("missing", [0, 5])
def test_a_column_of_identifiers_is_an_error(missing):
    names = [f"id {at}" for at in range(30)] + [None] * missing
    message = error_of(pd.DataFrame({"a": np.arange(30 + missing), "id": names}))
    assert "column 'id' holds 30 different values in 30 rows" in message
    assert "drop the column" in message


def test_ten_distinct_texts_are_categories():
    _, prepare, _ = prepared(pd.DataFrame({"city": [f"city {at}" for at in range(10)]}))
    assert prepare.network_shape == (1,)


def test_too_many_categories_are_an_error():
    cells = [f"{at:05}x" for at in range(10_001)] * 2
    assert "10,001 different values" in error_of(pd.DataFrame({"zip": cells}))


# --- whole tables -----------------------------------------------------------------------------


def test_a_table_is_restored_in_its_own_units(mixed):
    _, prepare, values = prepared(mixed)
    back = prepare.from_network(values)
    assert list(back.columns) == list(mixed.columns) == prepare.feature_names
    for name in ("width", "price", "plant"):
        there = mixed[name].notna()
        np.testing.assert_allclose(back[name][there], mixed[name][there], rtol=1e-3, atol=1e-4)
    for name in ("new", "size"):
        assert back[name].tolist() == mixed[name].tolist()
    assert list(back["size"].cat.categories) == ["M", "S"]
    assert not back.isna().any().any()


def test_inputs_are_summed_by_column(mixed):
    _, prepare, values = prepared(mixed)
    per_column = prepare.per_feature(values**2)
    assert per_column.shape == mixed.shape
    np.testing.assert_allclose(per_column.sum(axis=1), (values**2).sum(axis=1), rtol=1e-5)
    # width has a flag beside, kind three levels and one for missing
    np.testing.assert_allclose(per_column[:, 0], (values[:, :2] ** 2).sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(per_column[:, 3], (values[:, 4:8] ** 2).sum(axis=1), rtol=1e-5)


def test_a_preprocessor_rebuilt_from_json_gives_the_same_bits(mixed):
    matrix, prepare, values = prepared(mixed)
    schema = Schema.from_dict(json.loads(json.dumps(prepare.schema.to_dict(), allow_nan=False)))
    plain = json.loads(json.dumps(prepare.to_dict(), allow_nan=False))
    same = read_preprocessor(plain, schema)
    assert same == prepare
    np.testing.assert_array_equal(same.to_network(matrix), values)
    pd.testing.assert_frame_equal(same.from_network(values), prepare.from_network(values))


def test_columns_of_an_array_have_numbered_names():
    _, prepare, _ = prepared(np.eye(3))
    assert prepare.feature_names == ["column 0", "column 1", "column 2"]


def test_the_largest_numbers_stay_finite():
    X = np.array([[1.7e308, 1.0], [-1.7e308, 2.0], [1.7e308, 1.0], [0.0, 1e-300]])
    _, prepare, values = prepared(X)
    assert np.isfinite(values).all()
    assert np.isfinite(prepare.from_network(values)).all()
    assert np.isfinite(prepare.to_network(X[:, ::-1])).all()


# --- in the autoencoder -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed_fit(mixed):
    """An encoder of the mixed table. Do not refit."""
    return Autoencoder(n_components=4, max_epochs=15, random_state=0).fit(mixed)


def test_the_codes_of_a_mixed_table_do_not_depend_on_column_order(mixed_fit, mixed):
    codes = mixed_fit.transform(mixed)
    assert mixed_fit.n_features_in_ == mixed.shape[1]
    assert list(mixed_fit.feature_names_in_) == list(mixed.columns)
    np.testing.assert_array_equal(mixed_fit.transform(mixed[mixed.columns[::-1]]), codes)
    np.testing.assert_array_equal(mixed_fit.transform(mixed_fit.schema_.check(mixed)), codes)
    back = mixed_fit.inverse_transform(codes)
    assert list(back.columns) == list(mixed.columns)
    assert back["new"].dtype == bool


def test_the_error_names_missing_and_unknown_columns(mixed_fit, mixed):
    with pytest.raises(SchemaError, match=r"missing \['kind'\] and not known \['sort'\]"):
        mixed_fit.transform(mixed.rename(columns={"kind": "sort"}))


def test_a_bundle_of_a_mixed_table_gives_the_same_codes(mixed_fit, mixed, tmp_path):
    mixed_fit.save(tmp_path / "press")
    same = load_bundle(tmp_path / "press").encoder
    codes = mixed_fit.transform(mixed)
    np.testing.assert_array_equal(same.transform(mixed), codes)
    pd.testing.assert_frame_equal(same.inverse_transform(codes), mixed_fit.inverse_transform(codes))


@pytest.mark.parametrize(
    "change",
    [{"plant": 8.0}, {"kind": "screw"}, {"new": None, "kind": None}, {"price": 1e300}],
    ids=["constant", "unknown", "missing", "huge"],
)
def test_the_reconstruction_error_of_unusual_values_is_finite_and_no_lower(
    mixed_fit, mixed, change
):
    before = mixed_fit.reconstruction_error(mixed)
    after = mixed_fit.reconstruction_error(mixed.assign(**change))
    assert np.isfinite(after).all()
    if None not in change.values():
        assert after.mean() > 1.5 * before.mean()


def test_arrays_with_missing_values_are_encoded(table):
    with_missing = table.copy()
    with_missing[::3, 4] = np.nan
    encoder = Autoencoder(n_components=4, max_epochs=2, random_state=0).fit(with_missing)
    assert np.isfinite(encoder.transform(with_missing)).all()
    back = encoder.inverse_transform(encoder.transform(with_missing))
    assert back.shape == table.shape
    assert np.isfinite(back).all()


def test_two_components_fit_one_category_column():
    frame = pd.DataFrame({"a": list("xyz") * 10})
    encoder = Autoencoder(n_components=2, max_epochs=2, random_state=0).fit(frame)
    assert (encoder.n_features_in_, encoder.transform(frame).shape) == (1, (30, 2))


def test_an_encoder_can_be_fitted_to_constant_columns():
    frame = pd.DataFrame({"a": [5.0] * 20, "b": ["x"] * 20, "c": [None, 1.0] * 10})
    encoder = Autoencoder(n_components=1, max_epochs=2, random_state=0).fit(frame)
    assert np.isfinite(encoder.reconstruction_error(frame)).all()


def test_heads_and_baselines_work_on_a_mixed_table(mixed_fit, mixed):
    y = np.where(mixed["new"], "new", "old")
    classifier = CodeClassifier(mixed_fit).fit(mixed, y)
    assert classifier.score(mixed, y) > 0.7
    baselines = Baselines(mixed_fit, mixed[:300], y[:300], mixed[300:], y[300:], random_state=0)
    for name in ("raw", "pca", "untrained"):
        train, test = baselines.train_features(name), baselines.test_features(name)
        assert np.isfinite(train).all()
        assert np.isfinite(test).all()
    assert baselines.train_features("raw").shape == (300, *mixed_fit.preprocessor_.network_shape)


def test_a_table_from_a_file_has_the_same_codes(mixed, mixed_fit, tmp_path):
    mixed.to_csv(tmp_path / "mixed.csv", index=False)
    data = load(tmp_path / "mixed.csv")
    codes = mixed_fit.transform(data.X)
    np.testing.assert_allclose(codes, mixed_fit.transform(mixed), atol=1e-4)
    parts = data.split(0.25, random_state=0)
    assert parts.train.schema == data.schema
    mixed.to_parquet(tmp_path / "mixed.parquet")
    read = load(tmp_path / "mixed.parquet")
    np.testing.assert_array_equal(mixed_fit.transform(read.X), mixed_fit.transform(mixed))


# --- extreme values, and what is warned about ---------------------------------------------------


@pytest.mark.parametrize("wild", [1000.0, -9999.0, 1e9, 1e300])
@pytest.mark.parametrize("n_wild", [1, 30])
def test_up_to_a_twentieth_of_wild_values_do_not_move_mean_and_scale(wild, n_wild):
    values = np.random.default_rng(0).normal(50, 10, size=600)
    X = np.column_stack([values, values])
    X[17 : 17 + n_wild, 0] = wild
    _, prepare, values = prepared(X)
    others = np.delete(X[:, 0], np.arange(17, 17 + n_wild))
    assert (prepare.inputs[0].mean, prepare.inputs[0].scale) == (others.mean(), others.std())
    assert (prepare.inputs[0].usual.low, prepare.inputs[0].usual.high) == (
        others.min(),
        others.max(),
    )
    assert prepare.inputs[1].usual is None
    assert (prepare.inputs[1].mean, prepare.inputs[1].scale) == (X[:, 1].mean(), X[:, 1].std())
    # In training they count as the nearest usual value; afterwards they stay far out.
    trained = prepare.to_training(X)
    assert np.abs(trained[:, 0]).max() < 4 < np.abs(values[17, 0])
    np.testing.assert_array_equal(
        np.delete(trained, np.s_[17 : 17 + n_wild], axis=0),
        np.delete(values, np.s_[17 : 17 + n_wild], axis=0),
    )
    again = read_preprocessor(json.loads(json.dumps(prepare.to_dict())), prepare.schema)
    assert again.inputs == prepare.inputs


def test_more_wild_values_than_a_twentieth_count_as_all_others():
    X = np.random.default_rng(0).normal(size=(600, 1))
    X[:31] = 1000
    _, prepare, values = prepared(X)
    assert prepare.inputs[0].usual is None
    assert prepare.inputs[0].scale == X.std()
    np.testing.assert_array_equal(prepare.to_training(X), values)


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.normal(size=5000),
        lambda rng: rng.exponential(size=5000),
        lambda rng: rng.uniform(size=5000),
        lambda rng: rng.standard_t(4, size=5000),
        lambda rng: rng.lognormal(size=5000),
        lambda rng: rng.poisson(0.02, size=5000),
        lambda rng: np.where(rng.random(5000) < 0.8, 0.0, rng.exponential(size=5000)),
        lambda rng: (rng.random(5000) < 0.01).astype(float),
        lambda rng: np.where(rng.random(5000) < 0.2, 100.0, 0.0) + rng.normal(size=5000),
    ],
    ids=["normal", "exponential", "uniform", "t", "lognormal", "counts", "zeros", "flag", "modes"],
)
def test_ordinary_columns_have_mean_and_deviation_of_all_values(draw):
    X = np.asarray(draw(np.random.default_rng(0)), dtype=np.float64)[:, None]
    _, prepare, _ = prepared(X)
    assert prepare.inputs[0] == type(prepare.inputs[0])(np.median(X), X.mean(), X.std())


def test_one_wild_value_among_zeros_and_counts_is_left_out():
    values = np.where(np.arange(600) % 40, 0.0, 1.0 + np.arange(600) % 7)
    values[11] = 1e9
    _, prepare, _ = prepared(values[:, None])
    assert prepare.inputs[0].usual.high == 7
    assert prepare.inputs[0].scale == np.delete(values, 11).std()


def test_a_date_in_the_year_9999_does_not_move_the_scale_of_dates():
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(
        np.random.default_rng(0).integers(0, 365, 300), "D"
    )
    frame = pd.DataFrame({"day": pd.Series(days).astype("datetime64[s]"), "x": 1.5})
    frame.loc[17, "day"] = np.datetime64("9999-12-31")
    matrix, prepare, _ = prepared(frame)
    assert prepare.inputs[0].scale == np.delete(matrix[:, 0], 17).std()
    (found,) = column_warnings(matrix, prepare.schema, prepare)
    assert "column 'day' holds 9999-12-31 00:00:00 in row 17, counting from 0" in found
    assert "leave the cell empty if the value is missing" in found


def test_extreme_values_are_named_with_column_value_row_and_number():
    X = np.random.default_rng(0).normal(size=(600, 2))
    X[[17, 40, 41], 1] = -9999, 1000, 1000
    matrix, prepare, _ = prepared(pd.DataFrame(X, columns=["flow", "temp"]))
    (found,) = column_warnings(matrix, prepare.schema, prepare)
    scales = (9999 + np.median(X[:, 1])) / prepare.inputs[1].scale
    assert found.startswith(
        f"column 'temp' holds -9999 in row 17, counting from 0, {scales:,.4g} scales from its "
        "median, and 2 more such values; "
    )


def warnings_of(frame):
    matrix, prepare, _ = prepared(frame)
    return column_warnings(matrix, prepare.schema, prepare)


@pytest.mark.parametrize(
    "column",
    [
        np.arange(300),
        np.cumsum(np.random.default_rng(0).exponential(size=300)),
        pd.date_range("2024-01-01", periods=300, freq="h"),
        pd.date_range("2024-01-01", periods=300, freq="h")[::-1],
        pd.DatetimeIndex(np.tile(pd.date_range("2024-01-01", periods=150, freq="h"), 2)),
        np.arange(300) // 2,
        -np.cumsum(np.random.default_rng(0).integers(0, 3, 300)),
    ],
    ids=[
        "row numbers",
        "increasing",
        "dates",
        "newest first",
        "two tables of dates",
        "each number twice",
        "meter that counts down",
    ],
)
def test_a_column_that_follows_the_order_of_the_rows_is_warned_about(column):
    frame = pd.DataFrame({"x": np.random.default_rng(1).normal(size=300), "t": column})
    (found,) = warnings_of(frame)
    assert found.startswith("column 't' ")
    assert "drop=['t']" in found
    assert "--drop 't'" in found
    readings = isinstance(column, pd.DatetimeIndex) and column[1] > column[0]
    assert ("kind='series', time='t' (on the command line" in found) == readings
    shuffled = frame.sample(frac=1, random_state=0)
    assert not [text for text in warnings_of(shuffled) if "in rows to come" in text]


def test_a_column_without_a_name_is_left_out_by_its_number():
    X = np.column_stack([np.random.default_rng(0).normal(size=50), np.arange(50)])
    (found,) = warnings_of(X)
    assert found.startswith("column 1 increases strictly from row to row")
    assert found.endswith("leave it out: np.delete(X, 1, axis=1)")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("customer", lambda rng: rng.integers(10_000, 99_999, 600)),
        ("machine_id", lambda rng: rng.integers(0, 500, 600)),
        ("a", lambda rng: rng.permutation(600)),
        ("a", lambda rng: rng.integers(0, 10**9, 600)),
    ],
    ids=["customers", "by name", "row numbers out of order", "large"],
)
def test_a_column_of_identifiers_is_warned_about(name, values):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=600), name: values(rng), "y": rng.normal(size=600)})
    (found,) = warnings_of(frame)
    assert found.startswith(f"column {name!r} holds ")
    assert "like an identifier" in found


def test_quantities_are_not_taken_for_identifiers():
    rng = np.random.default_rng(0)
    weight = rng.normal(50, 10, 600)
    frame = pd.DataFrame(
        {
            "weight": weight,
            "price": (weight * 1000 + rng.normal(0, 3000, 600)).round(),
            "salary": rng.normal(50_000, 9000, 600).round(),
            "rank": rng.integers(0, 50, 600),
            "length": rng.uniform(0, 1, 600),
        }
    )
    assert warnings_of(frame) == []


def test_columns_that_repeat_the_label_are_named():
    rng = np.random.default_rng(0)
    bad = rng.random(200) < 0.1
    y = np.where(bad, "fraud", "ok").astype(object)
    y[rng.random(200) < 0.5] = None
    table = pd.DataFrame(
        {
            "checked": np.where(bad, "x", None),  # filled in once the label is known
            "flag": bad.astype(int),
            "hour": np.where(bad, rng.integers(0, 5, 200), rng.integers(8, 20, 200)),
            "kind": np.where(bad, "online", rng.choice(["online", "shop"], 200)),
            "one": 1,
        }
    )
    found = repeated_label_warnings(table, y)
    assert [text.split("'")[1] for text in found] == ["checked", "flag"]
    assert repeated_label_warnings(table, np.where(bad, None, "ok")) == []  # of one class
    few = np.where(np.arange(200) < 8, y, None)
    assert repeated_label_warnings(table, few) == []
    assert repeated_label_warnings(np.zeros((200, 8, 8)), y) == []


@pytest.mark.parametrize("streamed", [True, False])
def test_categories_that_look_alike_are_warned_of(tmp_path, streamed):
    rng = np.random.default_rng(0)
    kinds = ["yes", "no", " Yes", "A", "a", "no one"]
    table = pd.DataFrame({"x": rng.normal(size=300), "kind": rng.choice(kinds, 300)})
    table.to_parquet(tmp_path / "rows.parquet")
    X = load(tmp_path / "rows.parquet", lazy=True) if streamed else table
    with pytest.warns(DataWarning, match="'kind' holds ' Yes', 'yes', which differ in case or"):
        Autoencoder(1, max_epochs=1, random_state=0).fit(X)


@pytest.mark.parametrize("fitted", [True, False])
def test_encoders_and_heads_warn_of_rows_that_were_read_twice(fitted):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(120, 3)), columns=list("abc")).assign(d=["x", "y"] * 60)
    X = pd.concat([table[:60], table[:30]])
    encoder = Autoencoder(2, max_epochs=1, random_state=0)
    encoder = encoder.fit(table[60:]) if fitted else encoder
    with pytest.warns(DataWarning, match="60 of 90 instances equal another one"):
        CodeClassifier(encoder).fit(X, ["ok", "bad"] * 45)
    with pytest.warns(DataWarning, match="60 of 90 instances equal another one"):
        AnomalyDetector(encoder, false_alarm_rate=0.1, random_state=0).fit(X)


def test_heads_warn_of_a_column_that_repeats_the_label():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(120, 3)), columns=list("abc"))
    bad = np.arange(120) < 20
    table["checked"] = np.where(bad, "x", "")
    table.loc[bad, "a"] += 4
    encoder = Autoencoder(2, max_epochs=1, random_state=0).fit(table)
    with pytest.warns(DataWarning, match="'checked' repeats the label"):
        CodeClassifier(encoder).fit(table, np.where(bad, "fraud", "ok"))
    detector = AnomalyDetector(Autoencoder(2, max_epochs=1, random_state=0), random_state=0)
    with pytest.warns(DataWarning, match="'checked' repeats the label"):
        detector.fit(table, np.where(bad, -1, np.where(np.arange(120) < 80, 1, 0)))
