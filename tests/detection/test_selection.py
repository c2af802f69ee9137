"""Selections: Benjamini and Hochberg's, bounds of false discoveries after the fact, online."""

import json
from itertools import pairwise

import numpy as np
import pytest
from crepes import ConformalClassifier
from online_fdr.p_values import Lond
from scipy.stats import false_discovery_control

from isthmus.detection import Calibration, FalseDiscoveryBound, OnlineSelection, Selection
from isthmus.detection.selection import benjamini_hochberg, null_envelope
from isthmus.errors import CalibrationError, DataError

# --- p-values and selections by other programs ---------------------------------------------


@pytest.mark.parametrize("n", [1, 19, 500])
def test_p_values_are_those_of_crepes_to_the_last_bit(n):
    rng = np.random.default_rng(n)
    own, scores = np.round(rng.normal(size=n), 1), np.round(rng.normal(size=300) * 2, 1)  # ties
    theirs = ConformalClassifier().fit(own).predict_p(scores[:, None], smoothing=False)[:, 0]
    np.testing.assert_array_equal(Calibration(own).p_values(scores), theirs)


@pytest.mark.parametrize("fdr", [0.05, 0.1, 0.3])
def test_selections_are_scipys(fdr):
    rng = np.random.default_rng(0)
    for n in (1, 2, 10, 200):
        for share in (0.0, 0.3, 1.0):
            p_values = rng.uniform(size=n) ** np.where(rng.uniform(size=n) < share, 4, 1)
            conformal = np.ceil(p_values * 100) / 101 + 1 / 101  # ties, as from calibration rows
            for p in (p_values, conformal):
                selected = benjamini_hochberg(p, fdr)
                np.testing.assert_array_equal(selected, false_discovery_control(p) <= fdr)


def test_nothing_is_selected_from_nothing_or_from_large_p_values():
    assert benjamini_hochberg(np.array([]), 0.1).tolist() == []
    assert not benjamini_hochberg(np.full(20, 0.2), 0.1).any()
    assert benjamini_hochberg(np.full(20, 0.1), 0.1).all()


def test_a_share_of_false_discoveries_out_of_range_is_refused():
    with pytest.raises(CalibrationError, match="got fdr=0"):
        benjamini_hochberg(np.array([0.5]), 0)


# --- bounds after the fact -----------------------------------------------------------------


def conformal(rng, n, normal, abnormal, shift=4.0):
    """P-values of a batch by n calibration rows, the normal instances first."""
    scores = np.concatenate([rng.normal(size=normal), rng.normal(size=abnormal) + shift])
    return Calibration(rng.normal(size=n)).p_values(scores)


@pytest.mark.parametrize(("n", "m", "confidence"), [(99, 50, 0.9), (30, 400, 0.5)])
def test_normal_p_values_exceed_the_envelope_as_rarely_as_stated(n, m, confidence):
    grid, most = null_envelope(n, m, confidence)
    rng = np.random.default_rng(1)
    above = 0
    for _ in range(1000):
        ranks = np.sort(np.rint(conformal(rng, n, m, 0) * (n + 1)))
        above += (np.searchsorted(ranks, grid, side="right") > most).any()
    error = np.sqrt(confidence * (1 - confidence) / 1000)
    assert above / 1000 <= 1 - confidence + 4 * error
    assert above / 1000 >= (1 - confidence) / 3  # numbers are whole, but not trivial
    assert grid[-1] == n + 1
    assert most[-1] == m


@pytest.mark.parametrize(("normal", "abnormal"), [(300, 0), (280, 20), (150, 150)])
def test_no_choice_after_the_fact_breaks_the_bound_more_often_than_stated(normal, abnormal):
    runs, broken, shares = 150, 0, []
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        p_values = conformal(rng, 200, normal, abnormal)
        bound = FalseDiscoveryBound(p_values, 200, 0.8)
        # The worst of all choices is among the smallest p-values of the normal instances.
        order = np.argsort(p_values[:normal], kind="stable")
        chosen = [order[:k] for k in (1, 2, 3, 5, 10, 20, 50, 100, normal)]
        broken += any(bound.most_false(rows) < len(rows) for rows in chosen)
        selection = Selection.of(p_values, 200, fdr=0.2, confidence=0.8)
        shares.append(selection.most_false_share)
    assert broken / runs <= 0.2 + 4 * np.sqrt(0.16 / runs)
    if abnormal == 150:
        assert np.mean(shares) < 0.3  # of 0.1 that are normal


def test_a_bound_is_no_more_than_what_was_chosen_and_grows_with_it():
    p_values = conformal(np.random.default_rng(0), 500, 300, 100)
    bound = FalseDiscoveryBound(p_values, 500)
    order = np.argsort(p_values)
    most = [bound.most_false(order[:k]) for k in range(401)]
    assert most[0] == 0
    assert all(0 <= b - a <= 1 for a, b in pairwise(most))
    assert 300 <= most[-1] == bound.most_normal < 400
    assert most[10] <= 10


def test_bounds_of_groups_are_added_up_and_promise_nothing_where_nothing_is_promised():
    rng = np.random.default_rng(0)
    parts = [conformal(rng, n, 200, 50, shift=6.0) for n in (300, 500)]
    of = np.repeat([0, 1, 2], [250, 250, 10])
    p_values = np.concatenate([*parts, np.full(10, 0.001)])
    bound = FalseDiscoveryBound(p_values, [300, 500, 0], 0.9, of)
    chosen = p_values <= 0.02
    each = [
        FalseDiscoveryBound(part, n, 1 - 0.1 / 3).most_false(part <= 0.02)
        for part, n in zip(parts, (300, 500), strict=True)
    ]
    assert bound.most_false(chosen) == sum(each) + 10


def test_a_selection_of_nothing_has_nothing_false():
    empty = Selection.of(np.array([]), 99)
    none = Selection.of(np.full(20, 0.9), 99)
    assert (len(empty), empty.most_false, len(none), none.most_false_share) == (0, 0, 0, 0.0)


def test_a_detector_selects_with_a_bound(detector_fit, gaussians):
    far = gaussians(40, 3) * np.linspace(1, 5, 40)[:, None]
    new = np.vstack([gaussians(40, 2), far])
    selection = detector_fit.selection(new, fdr=0.3, confidence=0.8)
    np.testing.assert_array_equal(selection.mask, detector_fit.select(new, fdr=0.3))
    np.testing.assert_array_equal(selection.p_values, detector_fit.p_values(new))
    facts = json.loads(json.dumps(selection.facts()))
    assert (facts["n"], facts["fdr"], facts["confidence"]) == (80, 0.3, 0.8)
    assert facts["n_selected"] == selection.mask.sum() > facts["most_false"] > 0
    with pytest.raises(CalibrationError, match="got confidence=1, expected a number in"):
        detector_fit.selection(new, confidence=1)


# --- a stream ------------------------------------------------------------------------------


def test_online_selections_are_those_of_online_fdr():
    rng = np.random.default_rng(0)
    p_values = np.where(rng.random(2000) < 0.3, rng.random(2000) ** 8, rng.random(2000))
    other = Lond(alpha=0.1)
    expected = [bool(other.test_one(p)) for p in p_values.tolist()]
    online, found = OnlineSelection(0.1), []
    for chunk in np.split(p_values, [1, 7, 500]):
        online = OnlineSelection.from_state(json.loads(json.dumps(online.state())))
        found += online.update(chunk).tolist()
    assert found == expected
    assert (online.n_seen, online.n_selected) == (2000, sum(expected))
    assert sum(expected) > 100


def test_an_online_selection_holds_its_share_with_one_calibration_set():
    shares = []
    for seed in range(100):
        p_values = conformal(np.random.default_rng(seed), 1000, 200, 200, shift=6.0)
        order = np.random.default_rng(seed).permutation(400)
        selected = OnlineSelection(0.2).update(p_values[order])
        shares.append((selected & (order < 200)).sum() / max(1, selected.sum()))
    assert np.mean(shares) <= 0.2 + 3 * np.std(shares) / 10


def test_what_is_no_p_value_and_no_state_is_refused():
    online = OnlineSelection()
    with pytest.raises(DataError, match="got the p-value 1.5 at 1"):
        online.update(np.array([0.0, 1.5]))
    assert online.n_seen == 0
    with pytest.raises(DataError, match="expected the state of an online selection"):
        OnlineSelection.from_state({"rule": "lond", "fdr": 0.1, "n_seen": 1, "n_selected": 2})
