"""Later series and labels of stretches of time, for a detector of time points."""

import copy

import numpy as np
import pandas as pd
import pytest

from isthmus import AnomalyDetector, load, load_bundle
from isthmus.bundle import save_bundle
from isthmus.errors import CalibrationError, CalibrationWarning, DataError

# Two draws of few time points may differ.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*gap.* in time:UserWarning"),
    pytest.mark.filterwarnings("ignore:normal data drift"),
]

CUT = {"kind": "series", "time": "when", "group": "machine", "window": 16, "stride": 1}
DAY = pd.Timedelta("1D")


@pytest.fixture
def detector(point_fit):
    """A detector that may be changed."""
    return copy.deepcopy(point_fit)


@pytest.fixture(scope="module")
def later(pump):
    """The same machines a day later."""
    table = pump(600, 5)
    return table.assign(when=table["when"] + DAY)


def state(detector):
    """Return what decides, for a comparison."""
    return (
        detector.point_threshold_,
        detector.offset_,
        len(detector.reference_set_.y),
        detector.reference_set_.y.tolist(),
        detector.false_alarms,
        detector.false_alarm_rate,
        detector.point_facts_,
        detector.data_fingerprint_,
        detector.update_facts_,
    )


def test_partial_fit_adds_later_series_and_trains_no_encoder(detector, point_fit, later):
    detector.partial_fit(load(later, **CUT))
    before, after = point_fit.reference_set_, detector.reference_set_
    assert detector.encoder_.digest_ == point_fit.encoder_.digest_
    n = len(before.y)
    n_new = 600 - 4 * 15  # two machines, of two stretches each
    assert len(after.y) == n + n_new
    assert detector.update_facts_["n_new"] == n_new
    assert detector.update_facts_["n_time_points"] == 600
    np.testing.assert_array_equal(after.timeline.first[:n], before.timeline.first)
    assert (after.timeline.first[n:] >= before.timeline.segments[-1, 1]).all()
    assert detector.point_facts_["n_held_out"] > point_fit.point_facts_["n_held_out"]
    for old, new in zip(before.folds, after.folds, strict=True):
        np.testing.assert_array_equal(new.held_out[: len(old.held_out)], old.held_out)
        assert len(new.features) == len(after.y)
        assert old.encoder.digest_ == new.encoder.digest_


def test_windows_of_a_new_block_share_no_time_point_with_those_fitted_on(detector, later):
    detector.partial_fit(later)
    reference_set = detector.reference_set_
    first, window = reference_set.timeline.first, reference_set.timeline.window
    everything = []
    for fold in reference_set.folds:
        calibrating = first[reference_set.calibration_rows(fold)]
        fitted = first[reference_set.training_rows(fold)]
        points = np.unique(calibrating[:, None] + np.arange(window))
        assert not np.isin(fitted[:, None] + np.arange(window), points).any()
        everything.append(reference_set.calibration_rows(fold))
    together = np.concatenate(everything)
    assert len(np.unique(together)) == len(together)


def test_a_frame_and_a_data_set_update_alike(point_fit, later):
    one = copy.deepcopy(point_fit).partial_fit(later)
    other = copy.deepcopy(point_fit).partial_fit(load(later, **CUT | {"stride": 5}))
    pd.testing.assert_frame_equal(one.score_points(later), other.score_points(later))


def test_an_updated_detector_decides_alike_from_a_bundle(detector, later, tmp_path):
    detector.partial_fit(later)
    save_bundle(tmp_path / "b", detector.encoder_, {"normal": detector})
    loaded = load_bundle(tmp_path / "b").head()
    pd.testing.assert_frame_equal(loaded.score_points(later), detector.score_points(later))
    shifted = later.assign(when=later["when"] + DAY, load=later["load"] + 0.01)
    pd.testing.assert_frame_equal(
        loaded.partial_fit(shifted).score_points(later),
        detector.partial_fit(shifted).score_points(later),
    )


def test_windows_with_a_point_labelled_abnormal_are_neither_fitted_on_nor_calibrate(
    detector, later
):
    labelled = later.assign(anomaly=0)
    labelled.loc[100, "anomaly"] = 1  # row 50 of machine b
    with pytest.warns(UserWarning, match="0 is taken as normal"):
        detector.partial_fit(labelled, label="anomaly")
    assert detector.update_facts_["n_abnormal"] == 16
    assert detector.normal_ == 0
    abnormal = np.flatnonzero(detector.reference_set_.y == -1)
    assert len(abnormal) == 16
    for fold in detector.reference_set_.folds:
        assert not np.isin(abnormal, fold.held_out).any()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda f: f.assign(when=f["when"].iloc[0] + 2 * (f["when"] - f["when"].iloc[0])),
         DataError, "a step of 2 in time, and those at fit had one of 1"),
        (lambda f: f.drop(columns="heat"), DataError, "heat"),
        (lambda f: f[["load", "heat"]].iloc[::2], DataError, "no columns for groups"),
        (lambda f: f.iloc[:32], CalibrationError, "partial_fit: got series of"),
        (lambda f: f.iloc[:20], DataError, "longest stretch without a gap has 10 time points"),
        (lambda f: f.assign(load=np.where(f.index == 7, "x", f["load"])), DataError, "'x'"),
    ],
    ids=["step", "channels", "groups", "short", "shorter", "text"],
)  # fmt: skip
def test_a_refused_series_leaves_the_detector_unchanged(detector, later, change, error, words):
    before = state(detector)
    with pytest.raises(error, match=words):
        detector.partial_fit(change(later))
    assert state(detector) == before


def test_the_same_series_again_is_refused(detector, pump):
    before = state(detector)
    with pytest.raises(CalibrationError, match="in the reference set already"):
        detector.partial_fit(pump())
    assert state(detector) == before


def test_a_detector_of_tables_has_no_partial_fit(detector_fit):
    assert not hasattr(detector_fit, "partial_fit")
    assert not hasattr(AnomalyDetector(detector_fit.encoder_), "partial_fit")
    with pytest.raises(AttributeError) as found:
        detector_fit.partial_fit(np.zeros((3, 6)))
    assert "fitted on series by time point" in str(found.value.__cause__)


FORMS = {
    "text": ("2024-05-01 00:01:00", "2024-05-01T00:01:20"),
    "timestamp": (pd.Timestamp("2024-05-01 00:01:00"), pd.Timestamp("2024-05-01 00:01:20")),
    "numpy": (np.datetime64("2024-05-01T00:01:00"), np.datetime64("2024-05-01T00:01:20")),
}


@pytest.mark.parametrize("form", FORMS)
def test_windows_with_a_point_of_a_stretch_become_abnormal(detector, pump, form):
    begin, end = FORMS[form]
    stretches = pd.DataFrame({"machine": ["a"], "from": [begin], "to": [end]})
    detector.add_labels(pump(), stretches=stretches)
    reference_set = detector.reference_set_
    points = load(pump(), **CUT).points
    inside = (points.codes == points.groups.index("a")) & (points.seconds - points.seconds[0] >= 60)
    inside &= points.seconds - points.seconds[0] <= 80
    first = reference_set.timeline.first
    expected = inside[first[:, None] + np.arange(16)].any(axis=1)
    np.testing.assert_array_equal(reference_set.y == -1, expected)
    assert detector.update_facts_ == {
        "n_given": 1,
        "n_points": {"normal": 0, "abnormal": 21},
        "n_changed": 36,
        "n_new": 0,
    }
    assert detector.method_ == "series"
    for fold in reference_set.folds:
        assert not np.isin(np.flatnonzero(expected), reference_set.calibration_rows(fold)).any()


def test_normal_stretches_label_the_windows_that_lie_in_them(detector, pump):
    stretches = pd.DataFrame(
        {
            "machine": ["a", "b"],
            "from": ["2024-05-01 00:01:00", "2024-05-01 00:02:00"],
            "to": ["2024-05-01 00:01:20", "2024-05-01 00:02:00"],
            "label": ["normal", None],
        }
    )
    detector.add_labels(pump(), stretches=stretches)
    assert (detector.reference_set_.y == 1).sum() == 21 - 15
    assert (detector.reference_set_.y == -1).sum() == 16


def test_labels_of_stretches_may_be_those_of_the_fit(detector, pump):
    stretches = pd.DataFrame(
        {"machine": ["a"], "from": ["2024-05-01 00:01:00"], "to": ["2024-05-01 00:01:20"]}
    )
    detector.add_labels(pump(), stretches=stretches.assign(label="ok"), normal="ok")
    assert (detector.reference_set_.y == 1).sum() == 6
    with pytest.raises(DataError, match="with normal=1 1 are normal"):
        detector.add_labels(pump(), stretches=stretches.assign(label=1))
    with pytest.raises(DataError, match="neither normal nor abnormal"):
        detector.add_labels(pump(), stretches=stretches.assign(label=0))


def test_stretches_of_new_series_are_added_and_never_calibrate(detector, later):
    n = len(detector.reference_set_.y)
    held_out = [fold.held_out.tolist() for fold in detector.reference_set_.folds]
    stretches = later["when"].iloc[[100, 110]]
    stretches = pd.DataFrame({"from": stretches.iloc[:1], "to": stretches.iloc[1:].to_numpy()})
    detector.add_labels(later, stretches=stretches.assign(machine="b"))
    assert detector.update_facts_["n_new"] == 6 + 15
    assert (detector.reference_set_.y[n:] == -1).all()
    assert (detector.reference_set_.timeline.first[n:] == -1).all()
    assert [fold.held_out.tolist() for fold in detector.reference_set_.folds] == held_out


@pytest.mark.parametrize(
    ("stretches", "words"),
    [
        ({"from": ["2023-01-01"], "to": ["2023-01-02"], "machine": ["a"]},
         "the stretch of a from 2023-01-01 to 2023-01-02 has no time point of the data"),
        ({"from": ["2024-05-02"], "to": ["2024-05-01"], "machine": ["a"]}, "ends before it begins"),
        ({"from": ["soon"], "to": ["2024-05-01"], "machine": ["a"]}, "got 'soon' in 'from'"),
        ({"from": [3], "to": [4], "machine": ["a"]}, "got 3 in 'from'"),
        ({"from": [None], "to": ["2024-05-01"], "machine": ["a"]}, "in row 0 has no 'from'"),
        ({"from": ["2024-05-01"], "to": ["2024-05-01"], "machine": ["c"]},
         "is of a group that the data has not; it has"),
        ({"from": ["2024-05-01"], "to": ["2024-05-01"]}, "without a column 'machine'"),
        ({"to": ["2024-05-01"], "machine": ["a"]}, "no column 'from'"),
        ({"from": ["2024-05-01"], "to": ["2024-05-01"], "machine": ["a"], "why": ["x"]},
         "the column 'why'; expected 'from', 'to', 'label', 'machine'"),
        ({"from": ["2024-05-01 00:00:09"], "to": ["2024-05-01 00:00:20"], "machine": ["a"],
          "label": ["normal"]}, "no window of 16 time points gets the label"),
        ({"from": ["2024-05-01"] * 2, "to": ["2024-05-01 00:01"] * 2, "machine": ["a"] * 2,
          "label": ["normal", "abnormal"]}, "labelled otherwise than an earlier stretch"),
        ({"from": ["2024-05-01T00:00:00Z"], "to": ["2024-05-01"], "machine": ["a"]},
         "have no offset from UTC"),
        ({"from": [], "to": []}, "got no stretches"),
        ({"from": ["2024-05-01"] * 2, "to": ["2024-05-02"] * 2, "machine": ["a", "b"]},
         "all .* labels are -1"),
    ],
)  # fmt: skip
def test_stretches_that_cannot_be_used_leave_the_detector_unchanged(
    detector, pump, stretches, words
):
    before = state(detector)
    with pytest.raises(DataError, match=words):
        detector.add_labels(pump(), stretches=pd.DataFrame(stretches))
    assert state(detector) == before


def test_labels_or_stretches_are_asked_for(detector, pump):
    for y, stretches, words in (([1], [(0, 1)], "both labels y and"), (None, None, "neither")):
        with pytest.raises(DataError, match=words):
            detector.add_labels(pump(), y, stretches=stretches)


def test_rows_and_numbers_are_times_where_the_series_has_those(point_fit, pump):
    table = pump(gap=False)
    table = table[table["machine"] == "a"].reset_index(drop=True)
    encoder = point_fit.encoder
    cut = {"kind": "series", "window": 16, "stride": 1}
    choices = {"random_state": 0, "false_alarm_rate": 0.1}
    rows = AnomalyDetector(encoder, **choices).fit(load(table[["load", "heat"]], **cut))
    rows.add_labels(
        table[["load", "heat"]].to_numpy(), stretches=[(100, 105), (200, 230, "normal")]
    )
    numbered = table.assign(when=np.arange(len(table)) / 4)[["when", "load", "heat"]]
    numbers = AnomalyDetector(encoder, **choices).fit(load(numbered, time="when", **cut))
    numbers.add_labels(numbered, stretches=[(25, 26.25), (50.0, 57.5, "normal")])
    np.testing.assert_array_equal(rows.reference_set_.y, numbers.reference_set_.y)
    assert (rows.reference_set_.y == -1).sum() == 6 + 15
    assert (rows.reference_set_.y == 1).sum() == 31 - 15


def test_times_of_a_zone_are_read_on_its_clock(pump):
    from isthmus.data.windows import TimePoints
    from isthmus.detection.labelled_stretches import label_time_points, stretch_table

    times = pd.date_range("2024-10-27 00:00", periods=300, freq="min", tz="Europe/Berlin")
    points = TimePoints.of(pd.DataFrame({"t": times, "load": np.arange(300.0)}), window=4, time="t")

    def label(begin, end):
        return np.flatnonzero(label_time_points(points, stretch_table([(begin, end)])) == -1)

    np.testing.assert_array_equal(label("2024-10-27 01:00", "2024-10-27 01:01"), [60, 61])
    np.testing.assert_array_equal(label("2024-10-26T23:00Z", "2024-10-27 01:01+02:00"), [60, 61])
    second_time = label("2024-10-27 02:00+01:00", "2024-10-27 02:01+01:00")
    np.testing.assert_array_equal(second_time, [180, 181])
    with pytest.raises(DataError, match="twice or never on the clock of Europe/Berlin"):
        label("2024-10-27 02:00", "2024-10-27 03:01")
    text = TimePoints.of(
        pd.DataFrame({"t": times.strftime("%Y-%m-%dT%H:%M:%S%z"), "load": np.arange(300.0)}),
        window=4,
        time="t",
    )
    with pytest.raises(DataError, match="write the stretch with one"):
        label_time_points(text, stretch_table([("2024-10-27 01:00", "2024-10-27 01:01")]))


def test_rates_move_both_thresholds_and_the_facts(detector, point_fit):
    detector.set_false_alarm_rate(0.1)
    assert detector.offset_ > point_fit.offset_
    assert detector.point_threshold_ < point_fit.point_threshold_
    assert detector.point_facts_["false_alarm_rate"] == 0.1
    assert detector.point_facts_["threshold"] == detector.point_threshold_
    detector.set_false_alarms("1 per 100 points")
    assert detector.point_facts_["false_alarms"] == "1 per 100 points"
    assert "false_alarm_rate" not in detector.point_facts_
    with pytest.warns(CalibrationWarning, match="'1 per year' needs at least 365 days"):
        detector.set_false_alarms("1 per year")
    assert not detector.point_facts_["held"]
    before = state(detector)
    with pytest.raises(CalibrationError):
        detector.set_false_alarms("often")
    with pytest.raises(CalibrationError):
        detector.set_false_alarm_rate(1.5)
    assert state(detector) == before
    detector.set_false_alarm_rate(0.05)
    assert detector.false_alarms is None
    assert detector.point_threshold_ == point_fit.point_threshold_


def test_rates_of_alarms_are_for_time_points(detector_fit):
    with pytest.raises(DataError, match="not fitted on series by time point"):
        copy.deepcopy(detector_fit).set_false_alarms("1 per day")
