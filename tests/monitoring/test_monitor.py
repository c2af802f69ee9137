"""The monitor: false warnings, what is found, and a state that continues."""

import json

import numpy as np
import pandas as pd
import pytest

from isthmus import AnomalyDetector, Autoencoder, load_bundle, save_bundle
from isthmus.errors import DataError
from isthmus.monitoring import Monitor, MonitorReference, Observed, wilson_interval


class Rows:
    """Two columns, their sum as score, the first as code; a reference of 500 rows."""

    def __init__(self, rng):
        self.rng = rng

    def draw(self, n, shift=0.0):
        columns = self.rng.normal([0, shift], size=(n, 2))
        columns[:, 0] = np.round(columns[:, 0])
        return Observed(columns.sum(axis=1), columns.sum(axis=1) > 3, columns[:, :1], columns)

    def monitor_reference(self):
        rows = self.draw(500)
        return MonitorReference.of_values(
            0.02, rows.scores, rows.codes, rows.columns, 1, ["a", "b"]
        )

    def observe(self, X):
        return X


@pytest.fixture(scope="module")
def frame():
    """A table with a category and missing values."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "width": rng.normal(size=4000),
            "heat": rng.gamma(3.0, size=4000),
            "kind": rng.choice(["nut", "bolt"], 4000),
        }
    )


@pytest.fixture(scope="module")
def detector(frame):
    encoder = Autoencoder(2, max_epochs=2)
    return AnomalyDetector(encoder, "neighbours", 0.02, "split", random_state=0).fit(frame[:2000])


@pytest.mark.slow
def test_false_warnings_are_at_most_the_level():
    e_values = []
    for seed in range(200):
        rows = Rows(np.random.default_rng([seed, 1]))
        e_values.append(Monitor(rows, seed=seed).update(rows.draw(1500)).e_value)
    for level in (0.05, 0.1, 0.2):
        share = (np.array(e_values) >= 1 / level).mean()
        assert share <= level + 2 * np.sqrt(level * (1 - level) / 200)


def test_a_shift_is_found_and_named_with_its_time():
    rows = Rows(np.random.default_rng(0))
    monitor = Monitor(rows)
    assert monitor.update(rows.draw(1000), time=np.arange(1000)).valid
    state = monitor.update(rows.draw(1000, shift=1.0), time=np.arange(1000, 2000))
    assert not state.valid
    assert state.moved[0] in ("b", "anomaly score")
    assert set(state.moved) <= {"b", "anomaly score"}
    assert abs(state.since["row"] - 1000) <= 48
    assert state.since["time"] == str(state.since["row"])
    assert 1000 < state.warned_at["row"] < 1200
    assert f"since about row {state.since['row']:,}" in str(state)
    assert not monitor.update(rows.draw(5000)).valid


def test_shares_of_the_level_add_up(detector):
    reference = detector.monitor_reference()
    assert reference.shares().sum() == pytest.approx(1)
    assert reference.names[-3:] == ("width", "heat", "kind")
    again = MonitorReference.from_dict(json.loads(json.dumps(reference.to_dict())))
    assert again.digest() == reference.digest()


def test_the_state_continues_whatever_the_chunks(detector, frame, tmp_path):
    whole, cut = detector.monitor(), detector.monitor()
    expected = whole.update(frame[2000:], time=np.arange(2000)).to_dict()
    for first in range(2000, 4000, 130):
        part = frame[first : first + 130]
        found = cut.update(part, time=np.arange(first - 2000, first - 2000 + len(part)))
        cut.save(tmp_path / "state.json")
        cut = Monitor.load(tmp_path / "state.json", detector)
    found = found.to_dict()
    assert found.pop("evidence") == pytest.approx(expected.pop("evidence"))
    assert found.pop("e_value") == pytest.approx(expected.pop("e_value"))
    assert found == expected
    assert expected["valid"]
    assert expected["n"] == 2000
    alarms = int((detector.predict(frame[2000:]) == -1).sum())
    assert expected["alarms"] == alarms
    assert expected["interval"] == wilson_interval(alarms, 2000)


def test_missing_values_and_new_categories_are_counted(detector, frame):
    later = frame[2000:2400].reset_index(drop=True)
    later.loc[::2, "heat"] = np.nan
    later.loc[:9, "kind"] = "screw"
    state = detector.monitor().update(later)
    assert state.missing == {"heat": 200}
    assert state.new_categories == {"kind": 10}
    assert not state.valid
    assert "heat" in state.moved


def test_reference_rows_do_not_count(detector, frame):
    state = detector.monitor().update(frame[1500:2300])
    assert (state.n, state.n_known) == (300, 500)


def test_nothing_is_promised_before_a_row_counts(detector, frame):
    monitor = detector.monitor()
    assert monitor.state().summary() == "no statement: no row counts yet"
    known = monitor.update(frame[:100])
    assert (known.n, known.n_known) == (0, 100)
    assert known.summary() == "no statement: no row counts yet"


def test_cross_calibration_compares_with_the_first_rows(frame, tmp_path):
    encoder = Autoencoder(2, max_epochs=2)
    detector = AnomalyDetector(encoder, "neighbours", 0.05, "cross", random_state=0)
    monitor = detector.fit(frame[:200]).monitor()
    lacking = frame[200:300].assign(heat=frame["heat"].where(frame.index != 250))
    early = monitor.update(lacking)
    assert "no statement before row 256" in str(early)
    monitor.save(tmp_path / "state.json")
    monitor = Monitor.load(tmp_path / "state.json", detector)
    assert monitor.state() == early
    state = monitor.update(frame[300:2000])
    assert state.valid
    assert state.n_learned == 256
    assert "code" in monitor.update(frame[2000:3000].assign(width=lambda x: x.width + 2)).moved


def test_categories_that_an_encoder_knows_of_its_rows_are_no_reference():
    rng = np.random.default_rng(0)

    def table(n):
        kinds = np.minimum(rng.zipf(1.5, n), 5000).astype(str)
        return pd.DataFrame({"kind": kinds, "x": rng.normal(size=n)}).astype({"kind": "category"})

    detector = AnomalyDetector(Autoencoder(max_epochs=1), "auto", 0.05, "cross", random_state=0)
    monitor = detector.fit(table(200)).monitor()
    state = monitor.update(table(2000))
    assert state.new_categories["kind"] > 200  # 15 %, of which the rows of the fit have none
    assert state.valid
    assert "kind" not in state.not_watched
    moved = monitor.update(table(800).assign(kind="1"))
    assert "kind" in moved.moved


def test_a_state_is_of_one_score_also_where_scores_are_learned_from_the_stream(frame, tmp_path):
    fitted = [
        AnomalyDetector(Autoencoder(2, max_epochs=1), method, 0.05, "cross", random_state=0)
        for method in ("neighbours", "reconstruction")
    ]
    one, other = (detector.fit(frame[:200]) for detector in fitted)
    one.monitor().save(tmp_path / "state.json")
    with pytest.raises(DataError, match="other rows or at another rate"):
        Monitor.load(tmp_path / "state.json", other)


def test_a_monitor_is_of_the_calibration_that_it_was_made_for(frame):
    detector = AnomalyDetector(
        Autoencoder(2, max_epochs=1), "neighbours", 0.05, "split", random_state=0
    ).fit(frame[:500])
    monitor = detector.monitor()
    state = monitor.update(frame[500:600])
    detector.recalibrate(frame[600:900])
    with pytest.raises(DataError, match="calibrated otherwise.*begin a new one"):
        monitor.update(frame[900:1000])
    assert monitor.state() == state
    assert detector.monitor().update(frame[900:1000]).n == 100


def test_the_reference_is_that_of_the_bundle(detector, frame, tmp_path):
    save_bundle(tmp_path / "press", detector.encoder_, {"normal": detector})
    loaded = load_bundle(tmp_path / "press").heads["normal"]
    assert loaded.monitor_reference().digest() == detector.monitor_reference().digest()
    moved = loaded.set_false_alarm_rate(0.1)
    assert moved.monitor_reference().digest() != detector.monitor_reference().digest()


def test_a_call_that_is_refused_changes_nothing(detector, frame):
    monitor = detector.monitor()
    monitor.update(frame[2000:2100])
    before = monitor.state()
    with pytest.raises(DataError, match="3 times and 100 instances"):
        monitor.update(frame[2100:2200], time=[1, 2, 3])
    with pytest.raises(DataError):
        monitor.update(frame[["width"]])
    with pytest.raises(DataError, match="monitor"):
        monitor.add(Observed(np.zeros(2), np.zeros(2, bool), np.zeros((2, 9))))
    assert monitor.state() == before


@pytest.mark.parametrize("level", [0, 1, True, "a"])
def test_a_level_is_between_0_and_1(detector, level):
    with pytest.raises(DataError, match="expected a number above 0"):
        detector.monitor(level)


def test_states_of_others_and_damaged_ones_are_refused(detector, frame, tmp_path):
    file = tmp_path / "state.json"
    with pytest.raises(DataError, match="cannot read"):
        Monitor.load(file, detector)
    detector.monitor().save(file)
    plain = json.loads(file.read_text())
    file.write_text(json.dumps(plain | {"reference": "0" * 64}))
    with pytest.raises(DataError, match="other rows or at another rate"):
        Monitor.load(file, detector)
    for damage in ({"counts": [[1]]}, {"martingales": {}}, {"format_version": 99}, {"n": None}):
        file.write_text(json.dumps(plain | damage))
        with pytest.raises(DataError, match="damaged|newer"):
            Monitor.load(file, detector)
    file.write_text("no JSON")
    with pytest.raises(DataError, match="damaged"):
        Monitor.load(file, detector)
