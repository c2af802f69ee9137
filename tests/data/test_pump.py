"""The simulated pump: always the same, normal in training, neither easy nor hopeless."""

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from isthmus import load
from isthmus.data import pump_events, pump_table

SENSORS = ["pressure", "flow", "temperature", "vibration"]
WINDOW = 64


@pytest.fixture(scope="module")
def parts():
    return pump_table("train"), pump_table("test")


def windows(table):
    values = np.lib.stride_tricks.sliding_window_view(table, WINDOW, axis=0)
    return values.reshape(len(values), -1)


def spread_over_points(scores):
    """The mean score of the windows that cover a time point."""
    return np.convolve(scores, np.ones(WINDOW)) / np.convolve(np.ones(len(scores)), np.ones(WINDOW))


def test_a_seed_gives_the_same_rows_and_another_gives_others(parts):
    train, test = parts
    pd.testing.assert_frame_equal(train, pump_table("train"))
    both = pump_table()
    pd.testing.assert_frame_equal(both, pd.concat([train, test], ignore_index=True))
    assert (both["datetime"].diff().dropna() == pd.Timedelta(minutes=1)).all()
    assert not np.array_equal(pump_table("train", seed=1)["flow"], train["flow"])


def test_only_the_test_part_has_anomalies_and_they_are_its_events(parts):
    train, test = parts
    assert not train["anomaly"].any()
    inside = np.zeros(len(test), dtype=bool)
    for event in pump_events().itertuples():
        inside |= test["datetime"].between(event.first, event.last).to_numpy()
    assert np.array_equal(inside, test["anomaly"] == 1)
    assert set(pump_events()["channel"]) == {*SENSORS, "all"}


def test_the_pump_is_warm_when_the_table_begins(parts):
    temperature = parts[0]["temperature"]
    cycles = [temperature[at : at + 60].max() for at in (0, 1440, 2880)]
    assert np.ptp(cycles) < 2, "the same hour of three days"


def test_a_cycle_is_an_hour(parts):
    flow = parts[0]["flow"].to_numpy()
    flow = flow - flow.mean()
    lags = np.array([np.mean(flow[lag:] * flow[:-lag]) for lag in range(30, 100)])
    assert 57 <= 30 + lags.argmax() <= 63


@pytest.mark.parametrize("peer", ["residual", "forest"])
def test_it_is_neither_trivial_nor_impossible(parts, peer):
    train, test = (part[SENSORS].to_numpy() for part in parts)
    mean, spread = train.mean(axis=0), train.std(axis=0)
    fitted, new = windows((train - mean) / spread), windows((test - mean) / spread)
    if peer == "residual":
        pca = PCA(0.95, svd_solver="full").fit(fitted)
        scores = ((new - pca.inverse_transform(pca.transform(new))) ** 2).mean(axis=1)
    else:
        scores = -IsolationForest(random_state=0).fit(fitted).score_samples(new)
    assert 0.75 < roc_auc_score(parts[1]["anomaly"], spread_over_points(scores)) < 0.97


def test_it_is_loaded_by_its_name_as_a_series_with_time_points(parts):
    pump = load("pump")
    for loaded, table in zip((pump.train, pump.test), parts, strict=True):
        assert loaded.kind == "series"
        assert loaded.channel_names == tuple(SENSORS)
        assert np.array_equal(loaded.points.values, table[SENSORS])
        assert np.array_equal(loaded.points.y, table["anomaly"])
        assert loaded.points.step == 60
    assert pump.train.X.shape[1:] == (64, 4)
    assert not np.any(pump.train.y)
    assert 0 < np.mean(pump.test.y) < 1
