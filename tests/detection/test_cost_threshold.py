"""The threshold by cost: against every threshold tried by hand, its bundle, and the command."""

import json

import numpy as np
import pandas as pd
import pytest

from _commands import isthmus
from isthmus import AnomalyDetector, Autoencoder, load_bundle, save_bundle
from isthmus.bundle import read_manifest
from isthmus.detection import choose_rate_by_cost
from isthmus.errors import CalibrationWarning, DataError


@pytest.fixture
def detector(encoder, gaussians):
    """A detector with 60 calibration rows; to be changed."""
    return AnomalyDetector(
        encoder, "combined", false_alarm_rate=0.05, calibration="split", random_state=0
    ).fit(gaussians(300, 1))


def labelled(gaussians, n_normal=300, n_abnormal=100):
    """Normal rows, and abnormal ones that overlap with them."""
    X = np.vstack([gaussians(n_normal, 5), gaussians(n_abnormal, 6) * 1.7])
    return X, np.repeat([1, -1], [n_normal, n_abnormal])


@pytest.mark.filterwarnings("ignore:calling every instance")
@pytest.mark.parametrize("prevalence", [None, 0.02])
@pytest.mark.parametrize("costs", [(1, 1), (30, 1), (1, 20)])
def test_no_rate_costs_less(detector, gaussians, costs, prevalence):
    X, y = labelled(gaussians)
    miss, alarm = costs
    scale = 0.25 if prevalence is None else prevalence
    tried = []
    for k in range(1, detector.n_calibration_ + 1):
        flagged = detector.set_false_alarm_rate(k / (detector.n_calibration_ + 1)).predict(X) == -1
        missed, false = (~flagged[y == -1]).mean(), flagged[y == 1].mean()
        tried.append(scale * miss * missed + (1 - scale) * alarm * false)
    detector.set_threshold_by_cost(
        X, y, cost_of_miss=miss, cost_of_alarm=alarm, prevalence=prevalence
    )
    choice, flagged = detector.cost_choice_, detector.predict(X) == -1
    assert choice.cost == pytest.approx(min(tried))
    assert choice.rate == detector.false_alarm_rate_
    assert (flagged[y == -1].sum(), flagged[y == 1].sum()) == (
        choice.n_found,
        choice.n_false_alarms,
    )
    assert detector.set_false_alarm_rate(0.05).cost_choice_ is None


def test_rows_fitted_on_do_not_choose(detector, gaussians):
    X, y = labelled(gaussians)
    detector.set_threshold_by_cost(X, y, cost_of_miss=3, cost_of_alarm=1)
    before = detector.cost_choice_
    more, labels = np.vstack([X, gaussians(300, 1)]), np.append(y, np.ones(300, int))
    detector.set_threshold_by_cost(more, labels, cost_of_miss=3, cost_of_alarm=1)
    assert detector.cost_choice_.n_left_out == 300
    assert detector.cost_choice_.rate == before.rate
    assert detector.cost_choice_.n_normal == before.n_normal


def test_new_rows_that_equal_others_by_chance_choose_too():
    rng = np.random.default_rng(0)
    counts = rng.poisson(1, size=(1000, 2)).astype(float)
    detector = AnomalyDetector(
        Autoencoder(1, max_epochs=1), "combined", 0.05, "split", random_state=0
    ).fit(counts)
    normal = rng.poisson(1, size=(1000, 2)).astype(float)
    X = np.vstack([normal, rng.poisson(4, size=(60, 2))])
    y, costs = np.repeat([1, -1], [1000, 60]), {"cost_of_miss": 10, "cost_of_alarm": 1}
    detector.set_threshold_by_cost(X, y, prevalence=0.05, **costs)
    assert detector.cost_choice_.n_left_out == 0
    of_all = choose_rate_by_cost(detector.p_values(X), y, prevalence=0.05, **costs)
    assert detector.cost_choice_ == of_all

    # Rows of the fit themselves are still left out where they are more than chance explains.
    mixed = rng.normal(size=(1000, 2))
    mixed[:100] = np.round(mixed[:100])
    detector.fit(mixed)
    detector.set_threshold_by_cost(
        np.vstack([mixed[:500], X]), np.append(np.ones(500, int), y), prevalence=0.05, **costs
    )
    assert detector.cost_choice_.n_left_out >= 500


def test_what_says_little_is_said(detector, gaussians):
    X, y = labelled(gaussians, 30, 5)
    with pytest.warns(CalibrationWarning, match="chosen on 5 abnormal labelled instances only"):
        detector.set_threshold_by_cost(X, y, cost_of_miss=10, cost_of_alarm=1)
    X, y = labelled(gaussians)
    with pytest.warns(CalibrationWarning, match="calling every instance normal would cost less"):
        detector.set_threshold_by_cost(
            gaussians(100, 9), np.repeat([1, -1], 50), cost_of_miss=1, cost_of_alarm=1e6
        )
    for wrong, message in (
        ({"cost_of_miss": 0, "cost_of_alarm": 1}, "got cost_of_miss=0, expected a number above 0"),
        ({"cost_of_miss": 1, "cost_of_alarm": np.inf}, "got cost_of_alarm=inf"),
        ({"cost_of_miss": 1, "cost_of_alarm": 1, "prevalence": 2}, "got prevalence=2, expected"),
    ):
        with pytest.raises(DataError, match=message):
            detector.set_threshold_by_cost(X, y, **wrong)
    with pytest.raises(DataError, match="got 300 normal and 0 abnormal labelled instances"):
        choose_rate_by_cost(np.full(300, 0.5), np.ones(300), cost_of_miss=1, cost_of_alarm=1)


def test_bundle_and_command_state_the_choice(detector, gaussians, tmp_path):
    save_bundle(tmp_path / "press", detector.encoder_, {"normal": detector})
    X, y = labelled(gaussians)
    rows = pd.DataFrame(X).assign(state=np.where(y == 1, "ok", "worn"))
    rows.to_csv(tmp_path / "labelled.csv", index=False)
    words = ("--label", "state", "--normal", "ok", "--cost-of-miss", "30", "--cost-of-alarm", "1")
    words += ("--prevalence", "0.1", "--json", "facts.json")
    done = isthmus("detect", "press", "labelled.csv", *words, cwd=tmp_path)
    facts = json.loads((tmp_path / "facts.json").read_text())
    found = load_bundle(tmp_path / "press").heads["normal"]
    assert found.cost_choice_.facts() == facts["cost_choice"]
    entry = read_manifest(tmp_path / "press")["heads"]["normal"]
    assert entry["cost_choice"] == facts["cost_choice"]
    assert facts["cost_choice"]["rate"] == found.false_alarm_rate_ == facts["false_alarm_rate"]
    assert facts["cost_choice"]["prevalence"] == 0.1
    assert "a miss costs 30, a false alarm 1, 10 % are abnormal (stated): found " in done.stdout
    for words, message in (
        (("labelled.csv", "--cost-of-miss", "3"), "needs both --cost-of-miss and --cost-of-alarm"),
        (("--cost-of-miss", "3", "--cost-of-alarm", "1"), "no DATA"),
    ):
        refused = isthmus("detect", "press", *words, cwd=tmp_path, check=False)
        assert refused.returncode == 1
        assert message in refused.stderr
