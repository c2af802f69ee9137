"""Readings of real tables: irregular steps, bins, time zones, missing stretches, dead channels."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, load_bundle, save_bundle
from isthmus.data import Schema, load
from isthmus.data.windows import TimePoints
from isthmus.errors import DataError

ZONE = "Europe/Berlin"


def table(times, **columns):
    return pd.DataFrame({"t": times, "flow": np.sin(np.arange(len(times)) / 3.0)} | columns)


def series(frame, **options):
    return load(frame, **{"kind": "series", "time": "t", "window": 8} | options)


def at(seconds):
    return pd.Timestamp("2024-05-01") + pd.to_timedelta(seconds, unit="s")


class TestIrregularSampling:
    """Few gaps are gaps; steps that vary throughout are no sampling rate."""

    def irregular(self, n=500, scale=1.0):
        steps = np.random.default_rng(0).exponential(scale, size=n)
        return np.cumsum(steps)

    def test_is_refused_with_the_share_and_the_way_to_mend_it(self):
        with pytest.raises(
            DataError, match=r"6\d% of them differ by more than half .* --resample 1s\)"
        ):
            series(table(at(self.irregular())))
        with pytest.raises(DataError, match=r"pass resample='1h' "):
            series(table(at(self.irregular(scale=4000))))
        with pytest.raises(DataError, match=r"pass resample='1' for the mean of each bin of 1 "):
            series(table(self.irregular()))
        assert len(series(table(self.irregular()), time=None, channels=["flow"])) == 62

    @pytest.mark.filterwarnings("ignore:.* in time")
    @pytest.mark.parametrize(("every", "refused"), [(9, True), (12, False)])
    def test_gaps_of_up_to_a_tenth_of_the_steps_are_gaps(self, every, refused):
        times = np.arange(500) + 100 * (np.arange(500) // every)
        if refused:
            with pytest.raises(DataError, match="the steps of time vary: 11%"):
                series(table(times))
        else:
            assert len(series(table(times)).points.segments) == 42

    def test_jitter_is_no_gap(self):
        times = np.arange(500) + np.random.default_rng(0).uniform(-0.2, 0.2, size=500)
        assert len(series(table(at(times))).points.segments) == 1

    @pytest.mark.filterwarnings("ignore:.*in time .steps of more")
    @pytest.mark.parametrize("period", [1.0, 1.003])
    def test_jitter_that_makes_gaps_is_said_with_a_width_that_works(self, period):
        rng = np.random.default_rng(0)
        times = period * (np.arange(2000) + rng.normal(scale=0.15, size=2000).clip(-0.4, 0.4))
        words = r"differ by 14% from the usual one, and \d+ of them are gaps for that; pass "
        with pytest.warns(UserWarning, match=words + r"resample='1s' .*--resample 1s") as found:
            series(table(at(times)))
        assert sum("differ by" in str(one.message) for one in found) == 1
        points = series(table(at(times)), resample="1s").points
        assert (len(points.segments), points.step) == (1, 1.0)

    @pytest.mark.filterwarnings("ignore:.*in time .steps of more")
    def test_rows_that_are_missing_at_regular_times_are_no_jitter(self):
        series(table(at(np.delete(np.arange(500), [100, 200, 201]))))

    def test_of_files_read_in_chunks_as_well(self, tmp_path):
        for name in "ab":
            table(self.irregular()).to_parquet(tmp_path / f"{name}.parquet")
        with pytest.raises(DataError, match="write the files at one rate"):
            load(tmp_path, kind="series", time="t", window=8)
        for option in ({"resample": 1}, {"time_zone": ZONE}):
            with pytest.raises(DataError, match="which is for a table in memory"):
                load(tmp_path, kind="series", time="t", window=8, **option)


class TestResampling:
    """`resample` makes bins of equal width."""

    def test_a_bin_is_the_mean_of_its_rows(self):
        rng = np.random.default_rng(0)
        times = np.sort(rng.uniform(0, 300, size=2000))
        frame = table(at(times), heat=rng.normal(size=2000))
        frame.loc[::7, "heat"] = np.nan
        points = series(frame, resample="2s").points
        expected = frame.set_index("t").resample("2s").mean()
        np.testing.assert_allclose(points.values, expected, rtol=1e-12)
        np.testing.assert_array_equal(points.time, expected.index)
        assert points.step == 2.0
        np.testing.assert_array_equal(points.position_of_row, times // 2)

    def test_numbers(self):
        points = series(table(np.arange(100) * 0.1), resample=0.3).points
        np.testing.assert_array_equal(points.position_of_row, np.arange(100) // 3)
        np.testing.assert_allclose(points.seconds, np.arange(34) * 0.3)
        points = series(table(np.arange(100) * 10), resample="20").points
        assert points.seconds.tolist() == list(range(0, 1000, 20))

    def test_groups_have_bins_of_their_own(self):
        frame = pd.concat(
            [table(at(np.arange(40) * 0.5), machine="b"), table(at(np.arange(60) * 0.5))],
            ignore_index=True,
        ).fillna({"machine": "a"})
        frame = frame.sort_values("t", kind="stable", ignore_index=True)
        points = series(frame, group="machine", resample="1s").points
        assert points.segments.tolist() == [[0, 20], [20, 50]]
        for code, name in enumerate(points.groups):
            rows = frame[frame["machine"] == name]
            mean = rows.set_index("t")["flow"].resample("1s").mean()
            np.testing.assert_allclose(points.values[points.codes == code, 0], mean, rtol=1e-12)

    @pytest.mark.filterwarnings("ignore:.* in time")
    def test_few_empty_bins_are_filled_and_more_are_a_gap(self):
        seconds = np.r_[0:30, 38:60, 70:90]
        data = series(table(at(seconds)), resample="1s")
        points = data.points
        assert points.segments.tolist() == [[0, 60], [60, 80]]
        assert points.filled.nonzero()[0].tolist() == list(range(30, 38))
        assert not np.isnan(points.values).any()
        found = points.choices["resample"]
        assert (found["n_rows"], found["n_time_points"], found["n_empty"], found["n_gaps"]) == (
            72, 80, 8, 1,
        )  # fmt: skip
        assert found["reason"] == (
            "resample 1s: 72 rows are 80 time points, of which 8 have no row and are filled on a "
            "line; 1 stretches of more than 8 such are gaps"
        )
        assert data.reading["resample"] == found

    def test_every_row_of_the_source_finds_its_time_point(self):
        frame = table(at(np.arange(100) * 0.4)).assign(id=[f"r{n}" for n in range(100)])
        frame = frame.assign(machine=np.where(np.arange(100) % 2, "b", "a"))
        points = series(frame, group="machine", keys=["id"], resample="1s").points
        order = points.in_table_order()
        found = points.table_identifiers()
        assert len(order) == len(found) == 100
        pd.testing.assert_frame_equal(found, frame[["machine", "t", "id"]], check_dtype=False)
        assert [points.groups[code] for code in points.codes[order]] == frame["machine"].tolist()
        np.testing.assert_array_equal(points.time[order], frame["t"].dt.floor("1s"))

    def test_of_a_part_only_rows_in_it_are_found(self):
        frame = table(at(np.arange(200) * 0.5))
        part = series(frame, resample="1s").take(np.array([2]))
        assert part.points.table_identifiers()["t"].tolist() == frame["t"][32:48].tolist()

    def test_a_bin_is_abnormal_when_one_of_its_rows_is(self):
        y = np.where(np.arange(100) == 41, "leak", "ok")
        data = series(table(at(np.arange(100) * 0.25), y=y), resample="1s", label="y", normal="ok")
        assert data.points.y.tolist() == ["ok"] * 10 + ["leak"] + ["ok"] * 14
        assert data.y.tolist() == ["ok", "leak", "ok"]

    def test_times_may_repeat_but_not_go_back(self):
        seconds = np.repeat(np.arange(50), 2)
        assert len(series(table(at(seconds)), resample="1s").points) == 50
        with pytest.raises(DataError, match="expected times that increase"):
            series(table(at(seconds[::-1])), resample="1s")

    @pytest.mark.parametrize(
        ("times", "resample", "message"),
        [
            (at(np.arange(50)), "soon", "got resample='soon', and times are dates"),
            (at(np.arange(50)), 5, "got resample=5, and times are dates"),
            (at(np.arange(50)), "1ME", "and times are dates; expected a width such as '1s'"),
            (np.arange(50), "1s", "got resample='1s', and times are numbers"),
            (np.arange(50), 0, "got resample=0, .* a number above 0"),
        ],
    )
    def test_widths_that_cannot_be(self, times, resample, message):
        with pytest.raises(DataError, match=message):
            series(table(times), resample=resample)

    def test_needs_times(self):
        with pytest.raises(DataError, match="resample=, which needs the column of times"):
            series(table(np.arange(50)), time=None, channels=["flow"], resample=1)


class TestStepAtFit:
    """Series of another sampling rate than at fit."""

    def test_another_rate_is_refused_with_the_hint(self):
        schema = series(table(at(np.arange(50)))).schema
        assert schema.step == 1.0
        assert Schema.from_dict(schema.to_dict()) == schema
        slow = table(at(np.arange(50) * 2))
        with pytest.raises(DataError, match=r"step of 2 in time, .* one of 1: .* --resample 1s\)"):
            series(slow, schema=schema)
        assert series(slow, schema=schema, resample="1s").schema.step == 1.0
        assert series(slow, schema=schema, time=None, channels=["flow"]).schema.step is None
        assert len(series(table(at(np.arange(50) * 1.19)), schema=schema)) == 6
        with pytest.raises(DataError, match="step of 2 in time"):
            TimePoints.of(slow, window=8, channels=["flow"], time="t", step=1.0)

    @pytest.mark.filterwarnings("ignore")
    def test_is_kept_by_a_fit_in_python(self, tmp_path):
        data, slow = series(table(at(np.arange(200)))), series(table(at(np.arange(200) * 2)))
        encoder = Autoencoder(2, architecture="dense", max_epochs=1, random_state=0).fit(data)
        classifier = CodeClassifier(clone(encoder)).fit(data, np.arange(len(data)) % 2)
        save_bundle(tmp_path / "b", encoder)
        for one in (encoder, classifier.encoder_, load_bundle(tmp_path / "b").encoder):
            assert (one.schema_.step, one.schema_.columns) == (1.0, ("flow",))
            for call in (one.transform, one.reconstruction_error, one.partial_fit):
                with pytest.raises(DataError, match=r"step of 2 in time, .* one of 1: "):
                    call(slow)
        with pytest.raises(DataError, match="step of 2 in time"):
            classifier.predict(slow)
        assert len(encoder.transform(slow.X)) == len(slow)
        assert AnomalyDetector(clone(encoder)).fit(data).encoder_.schema_.step == 1.0

    def test_bundles_without_a_step_load(self):
        plain = Schema.learn(np.zeros((2, 8, 1)), "series").to_dict()
        assert "step" not in plain
        assert Schema.from_dict(plain).step is None


class TestClockChange:
    """The hour that comes twice, and the one that is missing."""

    @pytest.mark.parametrize("freq", ["1h", "10min"])
    @pytest.mark.parametrize("text", [False, True])
    def test_local_times_with_their_zone(self, freq, text):
        moments = pd.date_range("2024-10-26", "2024-10-28", freq=freq, tz=ZONE)
        local = pd.Series(moments.tz_localize(None))
        frame = table(local.astype(str) if text else local)
        with pytest.raises(DataError, match=r"clocks go back: pass the time zone, .* --time-zone"):
            series(frame)
        points = series(frame, time_zone=ZONE).points
        assert points.segments.tolist() == [[0, len(frame)]]
        np.testing.assert_array_equal(points.seconds, moments.as_unit("s").astype("int64"))
        assert points.time.tolist() == moments.tolist()
        np.testing.assert_array_equal(points.table_identifiers()["t"], frame["t"])

    @pytest.mark.parametrize("resample", [None, "10min"])
    def test_times_are_written_as_in_the_file_and_none_twice(self, resample, tmp_path):
        moments = pd.date_range("2024-10-26 00:05", "2024-10-28", freq="10min", tz=ZONE)
        local = moments.strftime("%Y-%m-%d %H:%M")
        offset = [moment.isoformat()[-6:] for moment in moments]
        for name, cells in (("zone", local + offset), ("local", local)):
            table(cells).to_csv(tmp_path / "new.csv", index=False)
            zone = ZONE if name == "local" else None
            read = series(tmp_path / "new.csv", time_zone=zone, resample=resample).points
            written = read.as_written()
            assert written.table_identifiers()["t"].tolist() == list(cells)
            of_points = pd.Series(written.identifiers()["t"])
            assert of_points.is_unique
            utc = moments.tz_convert("UTC")
            begins = utc if resample is None else utc.floor("10min")
            assert pd.to_datetime(of_points, utc=True).tolist() == begins.tolist()
            assert of_points.str[-6:].tolist() == offset
            assert read.seconds.tolist() == begins.as_unit("s").astype("int64").tolist()

    def test_local_times_have_no_offset_where_clocks_do_not_change(self, tmp_path):
        cells = pd.date_range("2024-05-01", periods=40, freq="1D").strftime("%Y-%m-%dT00:00")
        table(cells).to_csv(tmp_path / "new.csv", index=False)
        points = series(tmp_path / "new.csv", time_zone=ZONE).points
        assert points.as_written().identifiers()["t"].tolist() == list(cells)
        dates = table(pd.date_range("2024-05-01", periods=40, freq="1D"))
        assert series(dates).points.as_written().time[0] == "2024-05-01 00:00:00"

    def test_groups_change_clocks_each_for_itself(self):
        moments = pd.date_range("2024-10-26", "2024-10-28", freq="10min", tz=ZONE)
        one = table(moments.tz_localize(None))
        frame = pd.concat([one.assign(machine=name) for name in "ba"])
        frame = frame.set_index(moments.append(moments)).sort_index(kind="stable")
        points = series(frame.reset_index(drop=True), group="machine", time_zone=ZONE).points
        expected = moments.as_unit("s").astype("int64").to_numpy()
        np.testing.assert_array_equal(points.seconds, np.tile(expected, 2))

    def test_offsets_in_text_may_change(self):
        moments = pd.date_range("2024-10-26", "2024-10-28", freq="1h", tz=ZONE)
        frame = table([moment.isoformat() for moment in moments])
        assert series(frame).points.segments.tolist() == [[0, 50]]
        with pytest.raises(DataError, match="time_zone='UTC', which is for local times, .* its z"):
            series(frame, time_zone="UTC")

    def test_the_hour_that_is_missing(self):
        moments = pd.date_range("2024-03-30", "2024-04-01", freq="30min", tz=ZONE)
        frame = table(moments.tz_localize(None))
        points = series(frame, time_zone=ZONE).points
        assert points.segments.tolist() == [[0, len(frame)]]
        wrong = table(pd.date_range("2024-03-30", "2024-04-01", freq="30min"))
        with pytest.raises(DataError, match=r"2024-03-31 02:00:00 in row 52, .* does not exist"):
            series(wrong, time_zone=ZONE)

    def test_one_of_the_two_hours_is_said(self):
        moments = pd.date_range("2024-10-26", "2024-10-28", freq="1h", tz=ZONE)
        frame = table(moments.tz_localize(None)).drop(27).reset_index(drop=True)
        with pytest.warns(UserWarning, match=r"^the table: (1 rows|1 gap)") as found:
            series(frame, time_zone=ZONE)
        assert any("come twice" in str(one.message) or "comes twice" in str(one.message)
                   for one in found)  # fmt: skip

    def test_bins_are_in_the_zone(self):
        moments = pd.date_range("2024-10-26", "2024-10-28", freq="10min", tz=ZONE)
        points = series(table(moments.tz_localize(None)), time_zone=ZONE, resample="1h").points
        assert points.time[[0, 27]].strftime("%H:%M%z").tolist() == ["00:00+0200", "02:00+0100"]
        assert len(points) == 50

    def test_zones_that_are_none(self):
        frame = table(at(np.arange(50)))
        with pytest.raises(DataError, match="time_zone='Berlin', which is no time zone"):
            series(frame, time_zone="Berlin")
        with pytest.raises(DataError, match="holds no dates"):
            series(table(np.arange(50)), time_zone=ZONE)

    @pytest.mark.parametrize("start", ["2024-10-28 01:00", "2024-10-27 12:00"])
    def test_other_steps_back_say_nothing_of_clocks(self, start):
        times = pd.date_range(start, periods=50, freq="1h")
        times = times[:20].append(times[19:])
        with pytest.raises(DataError) as error:
            series(table(times))
        assert "clocks" not in str(error.value)


class TestMissingStretches:
    """A long stretch without a reading is a gap; a channel that dies is said."""

    @pytest.mark.filterwarnings("ignore")
    def test_a_stretch_longer_than_half_a_window_is_a_gap(self):
        frame = table(np.arange(400), heat=np.cos(np.arange(400)))
        frame.loc[100:117, "flow"] = np.nan
        frame.loc[200:300, "heat"] = np.nan
        with pytest.warns(UserWarning, match="without a reading") as found:
            points = series(frame, window=36).points
        assert points.segments.tolist() == [[0, 200], [301, 400]]
        assert points.filled.nonzero()[0].tolist() == list(range(100, 118))
        assert np.isnan(points.values[200:301, 1]).all()
        assert points.choices["without_reading"] == {"n_stretches": 1, "n_time_points": 101}
        messages = [str(one.message) for one in found]
        assert messages[0] == (
            "the table: 1 stretch of more than 18 rows without a reading of a channel is a gap of "
            "101 rows together; the longest is 101 rows of column 'heat', from row 200, counting "
            "from 0"
        )
        assert "18 of 598 values are missing: filled" in messages[1]
        assert "or stretches without a reading); no window crosses one" in messages[2]

    def test_a_channel_that_ends_is_decided_with_its_last_reading_and_not_learned(self):
        frame = table(np.arange(400), heat=np.cos(np.arange(400)), load=np.sin(np.arange(400)))
        frame.loc[300:, "heat"] = np.nan
        frame.loc[350:352, "flow"] = np.nan
        frame.loc[390:, ["flow", "load"]] = np.nan
        words = (
            "^the table: column 'heat' has no reading from row 300, .* to the end, for 100 rows:"
        )
        with pytest.warns(UserWarning, match=words):
            data = series(frame, window=36, stride=1)
        assert data.points.segments.tolist() == [[0, 300]]
        assert len(data) == 300 - 36 + 1
        decided = data.points.to_decide()
        assert decided.segments.tolist() == [[0, 400]]
        assert (decided.values[300:, 1] == frame["heat"][299]).all()
        expected = np.zeros(400, dtype=int)
        expected[300:390], expected[350:353], expected[390:] = 1, 2, 3
        assert decided.n_filled.tolist() == expected.tolist()
        ended = {"n_channels": 1, "n_time_points": 100}
        assert data.points.choices["without_reading_to_the_end"] == ended

    @pytest.mark.filterwarnings("ignore:.*filled")
    def test_channels_that_are_read_less_often_are_filled(self):
        slow = np.where(np.arange(600) % 60 == 0, 5.0, np.nan)
        points = series(table(np.arange(600), slow=slow), window=32).points
        assert points.segments.tolist() == [[0, 600]]
        assert (points.values[:, 1] == 5).all()

    @pytest.mark.filterwarnings("ignore")
    def test_windows_of_load_cross_no_such_stretch(self):
        frame = table(np.arange(400))
        frame.loc[200:300, "flow"] = np.nan
        data = series(frame, stride=1)
        first = data.windows.first_row
        assert not ((first + 7 >= 200) & (first <= 300)).any()
        np.testing.assert_array_equal(data.X[..., 0], frame["flow"].to_numpy()[
            first[:, None] + np.arange(8)])  # fmt: skip

    def test_a_dead_channel_is_said(self):
        rng = np.random.default_rng(0)
        values = rng.normal(size=500)
        values[300:] = values[300]
        on = (np.arange(500) < 250).astype(float)
        with pytest.warns(UserWarning, match=r"column 'dead' holds the same value from row 300, "
                          r"counting from 0 on, for 200 rows: a dead sensor\?"):  # fmt: skip
            series(table(np.arange(500), dead=values))
        # One that is always constant, or switches seldom, is not.
        assert len(series(table(np.arange(500), on=on, constant=1.0))) == 62

    def test_labels_that_are_all_normal_are_fine(self):
        data = series(table(np.arange(100), y=0), label="y", normal=0)
        assert data.y.tolist() == [0] * 12
        assert not data.points.y.any()
        assert series(table(np.arange(100), y=0), label="y").y.tolist() == [0] * 12

    def test_a_series_shorter_than_the_windows_at_fit(self):
        schema = series(table(np.arange(50))).schema
        with pytest.raises(DataError, match="has 5 rows; windows are those at fit: pass 8 rows or"):
            series(table(np.arange(5)), schema=schema, window=None)
        with pytest.raises(DataError, match="has 5 time points, and windows have 8, as at fit"):
            TimePoints.of(np.zeros(5), window=8)
