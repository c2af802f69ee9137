"""Windows to network inputs and back, and the checks of windows."""

import json

import numpy as np
import pytest

from isthmus.data import Schema
from isthmus.data.preprocessing import column_warnings, learn_preprocessor, read_preprocessor
from isthmus.data.schema import check_series
from isthmus.errors import DataError, SchemaError


@pytest.fixture
def X():
    """Windows (30, 12, 3) whose channels differ in unit by a factor of a million."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(30, 12, 3)) * [1e-3, 1.0, 1e3] + [5.0, 0.0, -1e4]


@pytest.fixture
def prepare(X):
    return learn_preprocessor(X, Schema.learn(X, "series"))


def test_channels_are_standardised_over_windows_and_time_and_come_first(X, prepare):
    values = prepare.to_network(X)
    assert values.shape == (30, *prepare.network_shape) == (30, 3, 12)
    assert values.dtype == np.float32
    assert values.flags.c_contiguous
    np.testing.assert_allclose(values.mean(axis=(0, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(values.std(axis=(0, 2)), 1, atol=1e-5)
    one = (X[4, 7, 2] - X[..., 2].mean()) / X[..., 2].std()
    assert values[4, 2, 7] == pytest.approx(one, rel=1e-5)


def test_new_windows_are_scaled_by_the_training_windows(X, prepare):
    shifted = prepare.to_network(X[:5] + 1e3) - prepare.to_network(X[:5])
    np.testing.assert_allclose(
        shifted.mean(axis=(0, 2)), 1e3 / X.reshape(-1, 3).std(axis=0), rtol=1e-4
    )


def test_from_network_inverts_to_network(X, prepare):
    back = prepare.from_network(prepare.to_network(X))
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, X, rtol=1e-6, atol=1e-4)
    squares = np.arange(30 * 3 * 12.0).reshape(30, 3, 12)
    np.testing.assert_array_equal(prepare.per_feature(squares)[3, 5], squares[3, :, 5])


def test_a_large_offset_is_subtracted_in_float64():
    X = np.random.default_rng(0).normal(size=(20, 8, 1)) + 1e8  # float32 has steps of 8 here
    prepare = learn_preprocessor(X, Schema.learn(X, "series"))
    np.testing.assert_allclose(prepare.to_network(X)[:, 0], (X[..., 0] - X.mean()) / X.std(),
                               atol=1e-5)  # fmt: skip


def test_a_constant_channel_becomes_zero(X):
    X[..., 1] = 0.1
    values = learn_preprocessor(X, Schema.learn(X, "series")).to_network(X)
    np.testing.assert_allclose(values[:, 1], 0, atol=1e-6)


def test_a_preprocessor_rebuilt_from_json_is_the_same(X, prepare):
    plain = json.loads(json.dumps(prepare.to_dict()))
    again = read_preprocessor(plain, prepare.schema)
    np.testing.assert_array_equal(again.to_network(X), prepare.to_network(X))


def series(value, dtype=np.float64):
    X = np.zeros((4, 6, 2), dtype)
    X[2, 3, 1] = value
    return X


@pytest.mark.parametrize("X", [series(1.7e308), series(-5, np.int16), series(1, "f4")])
def test_finite_real_windows_pass_the_check(X):
    check_series(X)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (series(np.nan), "1 of 4 windows, the first in window 2, time step 3, channel 1"),
        (series(-np.inf), "the first in window 2, time step 3, channel 1"),
        (series("a", object), "dtype object, expected real numbers"),
        (np.zeros((4, 6)), r"shape \(4, 6\), expected \(n, t, c\); .* X\[\.\.\., None\]"),
        (np.zeros((4, 6, 2, 1)), r"one window is \(t, c\)"),
        (np.zeros((4, 1, 2)), "at least two time steps"),
        (np.zeros((0, 6, 2)), r"shape \(0, 6, 2\)"),
    ],
)
def test_the_error_names_what_is_wrong_with_windows(X, message):
    with pytest.raises(DataError, match=message):
        check_series(X)


def test_windows_of_another_shape_are_an_error(X):
    schema = Schema.learn(X, "series")
    np.testing.assert_array_equal(schema.check(X[:2]), X[:2])
    with pytest.raises(SchemaError, match="as many time steps and channels"):
        schema.check(X[:, :10])
    with pytest.raises(SchemaError, match=r"X\[None\]"):
        schema.check(X[0])


@pytest.mark.parametrize("wild", [1000.0, -9999.0, 1e9])
def test_wild_values_of_a_channel_do_not_move_its_scale(wild):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 12, 2)) * [1.0, 5.0]
    plain = learn_preprocessor(X, Schema.learn(X, "series"))
    X[3, 7, 1] = wild
    prepare = learn_preprocessor(X, Schema.learn(X, "series"))
    others = np.delete(X[..., 1].ravel(), 3 * 12 + 7)
    assert (prepare.mean[0], prepare.scale[0]) == (plain.mean[0], plain.scale[0])
    assert (prepare.mean[1], prepare.scale[1]) == (others.mean(), others.std())

    values, u = prepare.to_network(X), (wild - others.mean()) / others.std()
    # The formula of the compression, far out; the rest is standardised as ever.
    assert values[3, 1, 7] == pytest.approx(np.sign(u) * 20 * (1 + np.log(abs(u) / 20)), rel=1e-5)
    np.testing.assert_array_equal(values[:, 0], plain.to_network(X)[:, 0])
    assert np.abs(prepare.to_training(X)[:, 1]).max() < 5
    np.testing.assert_allclose(prepare.from_network(values), X, rtol=1e-3, atol=1e-4)
    again = read_preprocessor(json.loads(json.dumps(prepare.to_dict())), prepare.schema)
    np.testing.assert_array_equal(again.to_network(X), values)
    (found,) = column_warnings(X, prepare.schema, prepare)
    assert found.startswith(
        f"channel 1 holds {wild:.6g} in window 3, time step 7, counting from 0, "
    )
