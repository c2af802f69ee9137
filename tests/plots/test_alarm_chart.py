"""Alarms over time: where they are, on which channel, and that nothing of a long series is lost."""

import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from isthmus import load
from isthmus.data import pump_events, pump_table
from isthmus.errors import DataError, MissingExtraError
from isthmus.plots import pixel_columns, plot_alarms, save_figure
from isthmus.plots.style import BLUE, ORANGE, VERMILION

SENSORS = ("pressure", "flow", "temperature", "vibration")


def time_points(table, group=None):
    """A long table as `load` reads it."""
    roles = {"kind": "series", "time": "datetime", "label": "anomaly", "normal": 0}
    return load(table, **roles, group=group, window=60, window_label="any")


@pytest.fixture(scope="module")
def pump():
    return pump_table("test")


@pytest.fixture(scope="module")
def alarms():
    """Alarms on the true anomalies of one sensor."""
    found = pump_events().query("channel != 'all'").reset_index(drop=True)
    peak = found["first"] + (found["last"] - found["first"]) / 2
    return found.assign(peak=peak, n_points=40, share=0.7)


@pytest.fixture(scope="module")
def points(pump):
    score = pump["anomaly"] * 2 + np.random.default_rng(0).uniform(0, 1, len(pump))
    verdict = np.where(score > 1.5, "abnormal", "normal")
    found = pd.DataFrame({"datetime": pump["datetime"], "anomaly_score": score, "p_value": 0.5})
    found.loc[:62, "anomaly_score"] = np.nan
    found = found.assign(verdict=np.where(found["anomaly_score"].isna(), "", verdict))
    return found.assign(**{f"share_{name}": 0.25 for name in SENSORS})


def names(figure):
    return [axes.get_ylabel() for axes in figure.axes]


def shaded(axes, colour=VERMILION):
    """First place, width and opacity of each shaded stretch."""
    return sorted(
        (path.get_extents().x0, path.get_extents().width, float(one.get_facecolor()[0][3]))
        for one in axes.collections
        if to_hex(one.get_facecolor()[0]) == colour.lower()
        for path in one.get_paths()
    )


def days(times):
    return pd.to_datetime(times).astype("datetime64[ns]").astype("int64").to_numpy() / 86_400e9


def test_every_panel_is_shaded_and_the_worst_channel_more(pump, alarms, points):
    figure = plot_alarms(time_points(pump), alarms, points)
    assert names(figure) == [*SENSORS, "label", "anomaly score"]
    assert figure.get_suptitle() == "7 alarms"
    minute = 1 / 1440
    for axes, name in zip(figure.axes, SENSORS, strict=False):
        found = shaded(axes)
        assert len(found) == len(alarms)
        dark = max(one[2] for one in found)
        worst = [one for one in found if one[2] == dark]
        of_channel = alarms[alarms["channel"] == name]
        assert len(worst) == len(of_channel)
        long = (of_channel["last"] - of_channel["first"] > pd.Timedelta(minutes=20)).to_numpy()
        starts = np.array([one[0] for one in worst])[long]
        assert starts == pytest.approx(days(of_channel["first"])[long] - minute / 2, abs=1e-6)
        red = next(line for line in axes.lines if to_hex(line.get_color()) == VERMILION.lower())
        x, y = red.get_data()
        inside = x[np.isfinite(y)]
        assert inside.min() == pytest.approx(days(of_channel["first"])[0])
        assert inside.max() == pytest.approx(days(of_channel["last"])[-1])
    figure.draw_without_rendering()


def test_the_true_anomalies_are_a_band(pump, alarms):
    figure = plot_alarms(time_points(pump), alarms)
    band = figure.axes[len(SENSORS)]
    assert len(shaded(band, ORANGE)) == len(pump_events())
    words = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert words == ["alarm", "its worst channel and peak", "label other than '0'"]
    figure = plot_alarms(time_points(pump), alarms, normal=0)
    texts = figure.axes[0].get_legend().get_texts()
    assert texts[-1].get_text() == "abnormal, by its label"


def test_the_score_has_its_threshold_and_no_line_where_there_is_none(pump, alarms, points):
    figure = plot_alarms(time_points(pump), alarms, points)
    score, line = figure.axes[-1].lines
    least = points["anomaly_score"][points["verdict"] == "abnormal"].min()
    assert line.get_ydata()[0] == least
    assert np.nanmin(score.get_xdata()[np.isfinite(score.get_ydata())]) == pytest.approx(
        days(points["datetime"])[63]
    )
    assert plot_alarms(time_points(pump), alarms, points, threshold=1.7).axes[-1].lines[
        1
    ].get_ydata()[0] == pytest.approx(1.7)


def test_scores_far_above_the_threshold_have_a_logarithmic_axis(pump, alarms, points):
    far = points.assign(anomaly_score=np.exp(4 * points["anomaly_score"]))
    axes = plot_alarms(time_points(pump), alarms, far).axes[-1]
    assert (axes.get_yscale(), axes.get_ylabel()) == ("log", "anomaly score\n(logarithmic)")
    assert plot_alarms(time_points(pump), alarms, points).axes[-1].get_yscale() == "linear"


def test_a_long_table_and_an_array_are_drawn_too(pump, alarms, points):
    table = pump.drop(columns="anomaly")
    assert names(plot_alarms(table, alarms)) == list(SENSORS)
    figure = plot_alarms(table.sample(frac=1, random_state=0), alarms, points)
    assert names(figure) == [*SENSORS, "anomaly score"]
    line = figure.axes[0].lines[0]
    assert np.array_equal(line.get_ydata(), pump["pressure"])
    rows = pd.DataFrame({"first": [150], "last": [154], "channel": ["3"]})
    figure = plot_alarms(table[list(SENSORS)].to_numpy(), rows)
    assert names(figure) == ["0", "1", "2", "3"]
    assert figure.axes[-1].get_xlabel() == "row of the table"


def test_alarms_that_were_read_from_a_file_fit(pump, alarms, tmp_path):
    alarms.to_csv(tmp_path / "alarms.csv", index=False)
    read = pd.read_csv(tmp_path / "alarms.csv")
    figure = plot_alarms(time_points(pump), read)
    assert shaded(figure.axes[0]) == shaded(plot_alarms(time_points(pump), alarms).axes[0])


def test_times_are_written_in_the_zone_of_the_data(pump, alarms):
    local = pump.assign(datetime=pump["datetime"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"))
    times = ["first", "last", "peak"]
    moved = alarms.assign(**{
        name: alarms[name].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo") for name in times
    })  # fmt: skip
    figure = plot_alarms(time_points(local), moved)
    figure.draw_without_rendering()
    assert figure.axes[-1].get_xlabel() == "datetime (Asia/Tokyo)"
    formatter = figure.axes[-1].xaxis.get_major_formatter()
    assert str(formatter._tz) == "Asia/Tokyo"
    assert shaded(figure.axes[0]) == shaded(plot_alarms(time_points(pump), alarms).axes[0])


def test_of_several_groups_the_one_with_most_alarms_is_drawn(pump, alarms):
    table = pd.concat([pump.assign(machine=name) for name in (7, 8, 9)], ignore_index=True)
    of = alarms.assign(machine=["8", "9", "9", "9", "7", "7", "8"])[["machine", *alarms.columns]]
    series = time_points(table, "machine")
    assert plot_alarms(series, of).get_suptitle() == "3 alarms; group 9, one of 3"
    figure = plot_alarms(series, of, group=7)
    assert figure.get_suptitle() == "2 alarms; group 7, one of 3"
    assert len(shaded(figure.axes[0])) == 2
    assert len(figure.axes[0].lines[0].get_xdata()) == len(pump)
    with pytest.raises(DataError, match="got group=6, expected one of 7; 8; 9"):
        plot_alarms(series, of, group=6)
    with pytest.raises(DataError, match="series without groups"):
        plot_alarms(time_points(pump), alarms, group=6)


def test_a_line_is_broken_at_a_gap_in_time(pump, alarms):
    gap = pump.drop(index=range(500, 560))
    with pytest.warns(UserWarning, match="1 gap in time"):
        series = time_points(gap)
    x, y = plot_alarms(series, alarms).axes[0].lines[0].get_data()
    assert np.isnan(y).sum() == 1
    assert x[np.isnan(y)][0] == pytest.approx(days(pump["datetime"])[560])


def test_the_most_involved_of_many_channels_are_drawn_and_the_rest_counted():
    X = np.random.default_rng(0).normal(size=(400, 40))
    alarms = pd.DataFrame({
        "first": [10, 100, 200], "last": [20, 150, 210], "channel": ["31", "7", "31"],
        "n_points": [11, 51, 11], "share": 0.5,
    })  # fmt: skip
    figure = plot_alarms(X, alarms, channels=2)
    assert names(figure) == ["7", "31"]
    assert figure.get_suptitle() == "3 alarms; 2 of 40 channels (most involved, 38 not shown)"
    assert names(plot_alarms(X, alarms, channels=["3", "1"])) == ["3", "1"]
    with pytest.raises(DataError, match="expected names among 0, 1.* and 30 more"):
        plot_alarms(X, alarms, channels=["40"])


def test_without_alarms_the_series_is_drawn(pump, alarms):
    figure = plot_alarms(pump.drop(columns="anomaly"), alarms.iloc[:0], time="datetime")
    assert figure.get_suptitle() == "no alarms"
    assert {to_hex(line.get_color()) for line in figure.axes[0].lines} == {BLUE.lower()}


def test_a_single_extreme_of_a_million_time_points_is_drawn():
    X = np.zeros((1_000_000, 2))
    X[654_321, 1], X[123_456, 1] = 50, -40
    alarms = pd.DataFrame({"first": [654_321], "last": [654_321], "channel": ["1"]})
    axes = plot_alarms(X, alarms).axes[1]
    line, red = axes.lines
    assert len(line.get_xdata()) <= 3001
    assert (np.nanmin(line.get_ydata()), np.nanmax(line.get_ydata())) == (-40, 50)
    assert line.get_xdata()[np.nanargmax(line.get_ydata())] == 654_321
    assert np.nanmax(red.get_ydata()) == 50
    ((_, width, _),) = shaded(axes)
    assert width >= 0.003 * 999_999, "an alarm of one time point is wide enough to be seen"


def test_pixel_columns_keep_the_extremes_of_each_and_where_they_were():
    rng = np.random.default_rng(0)
    x, y = np.sort(rng.uniform(0, 1, 5000)), rng.normal(size=5000)
    y[1000:1200] = np.nan
    line_x, line_y = pixel_columns(x, y, np.array([0]), 50, (0, 1))
    columns = np.minimum((50 * x).astype(int), 49)
    of_line = np.minimum((50 * line_x).astype(int), 49)
    for column in range(50):
        whole, drawn = y[columns == column], line_y[of_line == column]
        if np.isfinite(whole).any():
            assert np.nanmin(drawn) == np.nanmin(whole)
            assert np.nanmax(drawn) == np.nanmax(whole)
        else:
            assert np.isnan(drawn).all()
    assert set(np.round(line_x, 12)) <= set(np.round(x, 12))


@pytest.mark.parametrize(
    ("new", "of", "message"),
    [
        (None, {}, "expected a data set of a long table"),
        (np.zeros((3, 2, 2)), {}, "expected a data set of a long table"),
        (np.zeros((9, 2)), {"first": [20], "last": [30]}, "from 20 to 30 is outside the series"),
        (pd.DataFrame({"a": [1.0, 2]}), {"first": ["2026-03-01"]}, "name the column with time="),
    ],
)
def test_what_cannot_be_drawn_is_said(new, of, message):
    of = {"first": [1], "last": [2], "channel": ["0"]} | of
    with pytest.raises(DataError, match=message):
        plot_alarms(new, pd.DataFrame(of))


def test_tables_that_are_none_of_a_detector_are_refused(pump, alarms, points):
    with pytest.raises(DataError, match=r"alarms have no column 'first'.*alarms\(new\)"):
        plot_alarms(time_points(pump), points)
    with pytest.raises(DataError, match=r"points have no column 'anomaly_score'.*score_points"):
        plot_alarms(time_points(pump), alarms, alarms)


def test_the_picture_is_written(tmp_path, pump, alarms, points):
    png, svg = save_figure(plot_alarms(time_points(pump), alarms, points), tmp_path, "alarms")
    assert png.stat().st_size > 20_000
    assert svg.read_text("utf-8").startswith("<?xml")


def test_a_missing_matplotlib_names_the_extra(monkeypatch, pump, alarms):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match="drawing pictures.*isthmus\\[report\\]"):
        plot_alarms(time_points(pump), alarms)
