"""Time points by group: own blocks, own clusters, and the rule for groups too small."""

import warnings

import numpy as np
import pandas as pd
import pytest

from isthmus import AnomalyDetector, Autoencoder, export_bundle, load, load_bundle, save_bundle
from isthmus.detection import block_calibration
from isthmus.detection.point_detection import blocks_of_groups, point_groups
from isthmus.errors import CalibrationWarning, DataError
from isthmus.evaluation import evaluate_time_points
from isthmus.export import Exported

CUT = {"kind": "series", "time": "t", "group": "machine", "window": 8, "stride": 1}


def long_table(seed, lengths):
    """Machines whose noise differs in scale."""
    rng = np.random.default_rng(seed)
    parts = [
        pd.DataFrame({"machine": name, "t": np.arange(n), "load": scale * rng.normal(size=n)})
        for name, (n, scale) in lengths.items()
    ]
    return pd.concat(parts, ignore_index=True)


SIZES = {"calm": (700, 1.0), "few": (16, 3.0), "loud": (700, 5.0)}


@pytest.fixture(scope="module")
def by_group_fit():
    """A detector of time points by machine, at a rate of 0.05. Do not refit."""
    encoder = Autoencoder(2, architecture="dense", max_epochs=1, random_state=0)
    detector = AnomalyDetector(encoder, false_alarm_rate=0.05, random_state=0, by_group=True)
    with pytest.warns(CalibrationWarning, match="1 of 3 groups have too few time points"):
        return detector.fit(load(long_table(0, SIZES), **CUT))


def test_groups_that_were_not_there_at_fit_are_promised_nothing_with_one_threshold_too():
    encoder = Autoencoder(2, architecture="dense", max_epochs=1, random_state=0)
    detector = AnomalyDetector(encoder, false_alarm_rate=0.05, random_state=0)
    detector.fit(load(long_table(0, {"calm": (700, 1.0)}), **CUT))
    with pytest.warns(
        CalibrationWarning, match=r"30 of 80 time points .* not there at fit \('loud'\).*no rate"
    ):
        detector.alarms(load(long_table(1, {"calm": (50, 1.0), "loud": (30, 5.0)}), **CUT))
    with warnings.catch_warnings(action="error"):
        detector.alarms(load(long_table(1, {"calm": (50, 1.0)}), **CUT))


def at_rate(rate):
    def found(blocks):
        return blocks.threshold_for_rate(rate), blocks.holds(rate), blocks.realised(rate)

    return found


def test_each_group_has_the_threshold_of_its_own_blocks():
    rng = np.random.default_rng(0)
    scores = np.concatenate(
        [rng.normal(size=400), 5 * np.repeat(rng.normal(size=100), 4), [9.0] * 4]
    )
    spans = np.array([[0, 200], [200, 400], [400, 800], [800, 804]])
    blocks = block_calibration(scores, spans, window=4, groups=["a", "a", "b", "c"])
    with pytest.warns(CalibrationWarning, match=r"1 of 3 groups .*\('c'\): they are decided by"):
        groups, realised, _ = point_groups(blocks, at_rate(0.05))

    alone = block_calibration(scores[400:800], np.array([[0, 400]]), window=4)
    assert groups.thresholds[groups.positions[1]] == alone.threshold_for_rate(0.05)
    assert (
        groups.facts[1]["mean_cluster"] == alone.mean_cluster > 2 * groups.facts[0]["mean_cluster"]
    )
    assert [one["calibration"] for one in groups.facts] == ["group", "group", "all rows"]
    assert groups.thresholds[groups.positions[2]] == blocks.threshold_for_rate(0.05)
    assert blocks_of_groups(blocks, ["a"]).n_points == 400
    assert set(realised["by_group"]) == {"a", "b", "c"}


def test_the_share_of_normal_points_is_about_the_same_in_each_group(by_group_fit):
    new = load(long_table(1, {"calm": (3000, 1.0), "loud": (3000, 5.0)}), **CUT)
    decided = by_group_fit.decide_points(new)
    shares = [decided.abnormal[decided.points.codes == at].mean() for at in range(2)]
    scores = decided.scores
    one_threshold = [
        (scores[decided.points.codes == at] > by_group_fit.point_threshold_).mean()
        for at in range(2)
    ]
    assert max(shares) < 0.1  # asked for 0.05, held out about 500 points of each
    assert max(one_threshold) > 2 * min(one_threshold) + 0.02


def test_verdicts_are_p_values_at_most_the_rate_in_each_group(by_group_fit):
    new = long_table(2, {"calm": (300, 1.0), "loud": (300, 5.0), "new": (300, 5.0)})
    with pytest.warns(CalibrationWarning, match=r"1 groups were not there at fit \('new'\)"):
        points = by_group_fit.score_points(new)
    own = points["machine"] != "new"
    np.testing.assert_array_equal(
        points["verdict"][own] == "abnormal", points["p_value"][own] <= 0.05
    )
    facts = {one["name"]: one for one in by_group_fit.point_facts_["groups"]}
    assert facts["loud"]["threshold"] != facts["calm"]["threshold"]
    assert (facts["few"]["calibration"], facts["calm"]["calibration"]) == ("all rows", "group")


def test_a_bundle_and_an_export_decide_by_group_too(by_group_fit, tmp_path):
    new = long_table(3, {"calm": (300, 1.0), "loud": (300, 5.0)})
    expected = by_group_fit.score_points(new)
    save_bundle(tmp_path / "press", by_group_fit.encoder_, {"normal": by_group_fit})
    bundle = load_bundle(tmp_path / "press")
    assert (bundle.manifest["format_version"], bundle.detector().by_group) == (2, True)
    pd.testing.assert_frame_equal(bundle.detector().score_points(new), expected)
    facts = export_bundle(bundle, tmp_path / "onnx", load(new, **CUT))
    assert facts["parity"]["points"]["normal"]["differ"] == 0
    exported = Exported(tmp_path / "onnx").score_points(new)
    np.testing.assert_array_equal(exported["verdict"], expected["verdict"])
    np.testing.assert_allclose(exported["p_value"], expected["p_value"])


def test_a_number_of_alarms_is_one_of_each_group(by_group_fit):
    encoder = by_group_fit.encoder_
    fresh = load(long_table(4, {"calm": (700, 1.0), "loud": (700, 5.0)}), **CUT)
    detector = AnomalyDetector(
        encoder, false_alarms="1 per 200 points", random_state=0, by_group=True
    ).fit(fresh)
    facts = detector.point_facts_["groups"]
    assert [one["calibration"] for one in facts] == ["group", "group"]
    assert facts[1]["threshold"] > facts[0]["threshold"]
    assert set(detector.point_facts_["realised"]["by_group"]) == {"calm", "loud"}


def test_an_evaluation_measures_each_group(by_group_fit):
    table = long_table(5, {"calm": (300, 1.0), "loud": (300, 5.0)}).assign(anomaly=0)
    table.loc[100:110, ["load", "anomaly"]] = 60, 1
    data = load(table, label="anomaly", normal=0, **CUT)
    found = evaluate_time_points(by_group_fit, data, normal=0)["by_group"]
    flags = by_group_fit.decide_points(data).abnormal
    assert [one["name"] for one in found] == ["calm", "loud"]
    assert found[1]["realised"] == flags[300:].mean()
    assert (found[0]["n_abnormal"], found[0]["found"], found[1]["auroc"]) == (11, 1.0, None)


def test_it_has_to_have_groups_and_says_what_windows_do(by_group_fit):
    table = long_table(0, {"calm": (300, 1.0)}).drop(columns="machine")
    data = load(table, kind="series", time="t", window=8, stride=1)
    encoder = Autoencoder(2, architecture="dense", max_epochs=1, random_state=0)
    with pytest.raises(DataError, match="long table was loaded without groups"):
        AnomalyDetector(encoder, by_group=True).fit(data)
    with pytest.raises(DataError, match=r"pass the groups of other instances as fit\(X, groups="):
        AnomalyDetector(encoder, by_group=True).fit(np.zeros((50, 3)))
    with pytest.warns(CalibrationWarning, match="windows are decided by one threshold"):
        by_group_fit.predict(np.zeros((2, 8, 1)))
