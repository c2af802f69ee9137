"""Drift is found where there is some, and as often as stated where there is none."""

import warnings

import numpy as np
import pytest
from scipy.stats import anderson_ksamp, binomtest, energy_distance

from isthmus import Autoencoder
from isthmus.data import Column
from isthmus.errors import DataError
from isthmus.evaluation import drift as drift_module
from isthmus.evaluation import holm, measure_column_drift, measure_drift
from isthmus.evaluation.drift import anderson_darling, energy, permutation_p_value, permute


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def sample(rng, n, n_components=4):
    return rng.normal(size=(n, n_components)), rng.gamma(3.0, size=n)


def test_the_energy_statistic_is_the_formula(rng):
    codes = rng.normal(size=(23, 3)) * [1, 10, 0.1]
    groups = permute(9, 14, 5, rng)

    found = energy(codes, groups)

    scaled = codes / codes.std(axis=0)
    for of_first, value in zip(groups, found, strict=True):
        x, y = scaled[of_first], scaled[~of_first]
        mean = lambda a, b: np.mean([np.linalg.norm(p - q) for p in a for q in b])  # noqa: E731
        distance = 2 * mean(x, y) - mean(x, x) - mean(y, y)
        assert value == pytest.approx(9 * 14 / 23 * distance)


def test_the_energy_statistic_of_one_component_is_scipys(rng):
    values = rng.normal(size=40)
    scaled = values / values.std()

    found = energy(values[:, None], permute(15, 25, 0, rng))

    assert found[0] == pytest.approx(15 * 25 / 40 * energy_distance(scaled[:15], scaled[15:]) ** 2)


@pytest.mark.parametrize("ties", [False, True])
def test_the_anderson_darling_statistic_is_scipys(rng, ties):
    # scipy's is (A2 - 1) / sigma, with a sigma that n and m decide; the difference of two ways to
    # deal the same values out is free of the 1, the ratio of two differences of sigma.
    values = rng.integers(1, 8, size=40).astype(float) if ties else rng.gamma(3.0, size=40)
    groups = permute(15, 25, 6, rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of p-values off its table, and of names to come
        scipys = np.array(
            [anderson_ksamp([values[d], values[~d]], midrank=False).statistic for d in groups]
        )

    found = anderson_darling(values, groups)

    differences, theirs = np.diff(found), np.diff(scipys)
    np.testing.assert_allclose(differences / differences[0], theirs / theirs[0], rtol=1e-6)
    slope = differences[0] / theirs[0]
    np.testing.assert_allclose(found, slope * scipys + 1, rtol=1e-6)


def test_values_that_differ_by_rounding_are_equal(rng):
    values = np.repeat(rng.gamma(3.0, size=5), 20)
    groups = permute(40, 60, 3, rng)
    rounded = values * (1 + 1e-7 * rng.normal(size=100))
    np.testing.assert_allclose(anderson_darling(rounded, groups), anderson_darling(values, groups))

    constant = np.hstack([rng.normal(size=(100, 2)), np.ones((100, 1))])
    noisy = constant + [0, 0, 1e-7] * rng.normal(size=(100, 1))
    np.testing.assert_allclose(energy(noisy, groups), energy(constant[:, :2], groups))


def test_samples_without_any_difference_have_p_one():
    groups = permute(20, 20, 99, np.random.default_rng(0))
    assert permutation_p_value(energy(np.ones((40, 3)), groups)) == 1
    assert permutation_p_value(anderson_darling(np.ones(40), groups)) == 1


def test_shuffling_keeps_the_sizes_and_begins_as_it_came(rng):
    groups = permute(3, 7, 50, rng)
    assert groups.shape == (51, 10)
    assert groups[0].tolist() == [True] * 3 + [False] * 7
    assert (groups.sum(axis=1) == 3).all()
    assert len(np.unique(groups, axis=0)) > 20


def test_holm_is_as_by_hand():
    # 0.02 x 3; 0.025 x 2 = 0.05, raised to 0.06; 0.9 x 1.
    assert holm([0.9, 0.02, 0.025]) == pytest.approx([0.9, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.3]) == [0.3]
    assert holm([]) == []


@pytest.mark.parametrize("sides", [(20, 20), (25, 60)])
def test_without_drift_it_is_found_as_often_as_the_level_says(sides):
    rng = np.random.default_rng(1)
    runs, level = 200, 0.1
    found = {"drifted": 0, "codes": 0, "errors": 0}
    for run in range(runs):
        # Errors that depend on the codes, as they do.
        (c, e), (d, f) = (sample(rng, n, 3) for n in sides)
        e, f = e + c[:, 0] ** 2, f + d[:, 0] ** 2
        result = measure_drift(c, e, d, f, level=level, n_permutations=99, seed=run)
        found["drifted"] += result["drifted"]
        for name in ("codes", "errors"):
            found[name] += result[name]["p_value"] <= level
    # Exact tests: neither more often than the level nor, each by itself, hardly ever.
    for name in ("codes", "errors"):
        assert binomtest(found[name], runs, level).pvalue > 0.001
    assert binomtest(found["drifted"], runs, level, alternative="greater").pvalue > 0.001
    assert found["drifted"] > 0


CHANGES = {
    "a shift": ("codes", lambda c, e: (c + np.array([0.5, 0, 0, 0]), e)),
    "another spread": ("codes", lambda c, e: (c * 1.5, e)),
    "components that go together": (
        "codes",
        lambda c, e: (np.column_stack([c[:, 0], 0.9 * c[:, 0] + 0.19**0.5 * c[:, 1], c[:, 2:]]), e),
    ),
    "larger errors": ("errors", lambda c, e: (c, 1.4 * e)),
    "smaller errors": ("errors", lambda c, e: (c, e / 1.4)),
    "errors more and less": ("errors", lambda c, e: (c, 3 + 1.8 * (e - 3).clip(-1.6))),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_found_by_the_test_of_what_changed(change):
    rng = np.random.default_rng(4)
    where, apply = CHANGES[change]
    other = {"codes": "errors", "errors": "codes"}[where]

    found = measure_drift(
        *sample(rng, 300), *apply(*sample(rng, 300)), level=0.02, n_permutations=199
    )

    assert found["drifted"]
    assert found[where]["changed"]
    assert not found[other]["changed"]


def test_how_much_is_said_in_words_people_have(rng):
    codes, errors = sample(rng, 2000)
    moved = codes[900:] + np.array([0, -2, 0, 1])
    found = measure_drift(codes[:900], errors[:900], moved, 3 * errors[900:])

    assert [one["component"] for one in found["moved"][:2]] == [1, 3]
    assert found["moved"][0]["difference"] == pytest.approx(-2, abs=0.2)
    assert found["moved"][1]["difference"] == pytest.approx(1, abs=0.2)
    for name, middle in (("median_error", np.median), ("mean_error", np.mean)):
        result = found[name]
        assert (result["then"], result["now"]) == (middle(errors[:900]), middle(3 * errors[900:]))
        assert result["ratio"] == result["now"] / result["then"]
        low, high = result["interval"]
        assert 2.5 < low < 3 < high < 3.5
    high = found["high"]
    assert np.mean(errors[:900] > high["threshold"]) == pytest.approx(0.05, abs=0.002)
    assert high["count"] == np.sum(3 * errors[900:] > high["threshold"])
    assert high["share"] == high["count"] / 1100 > 0.3
    assert high["interval"][0] < high["share"] < high["interval"][1]
    assert high["expected"] == pytest.approx(0.05, abs=0.002)
    assert (found["n_reference"], found["n"], found["n_tested"]) == (900, 1100, [900, 1000])


def test_errors_of_zero_have_no_ratio(rng):
    codes, errors = sample(rng, 60)
    found = measure_drift(codes[:30], np.zeros(30), codes[30:], errors[30:])
    assert found["median_error"]["ratio"] is None
    assert found["errors"]["changed"]


def test_the_same_seed_says_the_same_and_leaves_global_randomness(rng, monkeypatch):
    monkeypatch.setattr(drift_module, "MAX_TESTED", 30)
    sides = (*sample(rng, 40), *sample(rng, 50))
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert measure_drift(*sides, seed=3) == measure_drift(*sides, seed=3)
    assert measure_drift(*sides, seed=3) != measure_drift(*sides, seed=4)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    assert measure_drift(*sides, seed=3)["n_tested"] == [30, 30]


def test_what_cannot_be_tested_is_said(rng):
    codes, errors = sample(rng, 40)
    with pytest.raises(DataError, match="19 new instances, expected at least 20"):
        measure_drift(codes, errors, codes[:19], errors[:19])
    with pytest.raises(DataError, match="0 reference instances"):
        measure_drift(codes[:0], errors[:0], codes, errors)
    with pytest.raises(DataError, match="4 components and a reference of 3"):
        measure_drift(codes[:, :3], errors, codes, errors)
    with pytest.raises(DataError, match=r"new codes of shape \(40, 4\) and errors of shape \(39,"):
        measure_drift(codes, errors, codes, errors[1:])
    with pytest.raises(DataError, match="infinite or NaN"):
        measure_drift(codes, errors, codes, errors * np.inf)
    with pytest.raises(DataError, match="0 or more"):
        measure_drift(codes, errors, codes, -errors)
    with pytest.raises(DataError, match="n_permutations=99"):
        measure_drift(codes, errors, codes, errors, level=0.01, n_permutations=99)
    with pytest.raises(DataError, match="level=2"):
        measure_drift(codes, errors, codes, errors, level=2)


@pytest.fixture(scope="module")
def encoder(digits):
    return Autoencoder(8, architecture="dense", max_epochs=20, random_state=0).fit(digits[0][:1000])


def test_new_digits_are_like_those_held_out_and_spoiled_ones_are_not(encoder, digits):
    held_out, images = encoder.held_out_, digits[0][1000:]
    # The last digits of the file were written by other people; its order is undone.
    rng = np.random.default_rng(0)
    noisy = np.clip(images + rng.normal(0, 40, images.shape), 0, 255).astype(np.uint8)

    def against(X):
        codes, errors = encoder.transform(X), encoder.reconstruction_error(X)
        return measure_drift(held_out.codes, held_out.errors, codes, errors, level=0.01)

    assert against(255 - images)["codes"]["changed"]
    assert against(noisy)["errors"]["changed"]
    assert against(noisy)["median_error"]["interval"][0] > 1
    assert not against(images)["drifted"]


def test_columns_are_said_to_have_moved_as_seldom_as_stated(rng):
    """Of numbers, and of three categories with missing values, whose test is conservative."""
    types = [Column(), Column(), Column("category", ("a", "b", "c"))]
    n_runs, raised = 150, 0
    for _ in range(n_runs):
        then, now = rng.normal(size=(2, 80, 3))
        for one in (then, now):
            one[:, 2] = rng.integers(0, 3, 80)
            one[rng.random(80) < 0.1, 2] = np.nan
        raised += bool(measure_column_drift(then, now, ["x", "y", "kind"], types)["moved"])
    assert binomtest(raised, n_runs, 0.05, alternative="greater").pvalue > 0.01


def test_a_column_of_which_more_is_missing_or_unseen_has_moved(rng):
    types = [Column("category", ("a", "b")), Column(), Column("boolean"), Column("date")]
    then = np.column_stack([np.arange(400) % 2, rng.normal(size=400), np.ones(400), np.ones(400)])
    now = then.copy()
    now[:200, 0] = 2
    now[:200, 1] = np.nan
    now[:, 3] = np.nan
    found = measure_column_drift(then, now, ["kind", "size", "on", "day"], types)
    day, *others = found["moved"]
    kind, size = sorted(others, key=lambda one: one["name"])
    assert (day["name"], day["then"], day["now"], day["missing"]["now"]) == ("day", None, None, 1)
    assert kind["category"] == "a category not seen at fit"
    assert (kind["then"], kind["now"]) == (0, 0.5)
    assert size["missing"] == {"then": 0, "now": 0.5}
    assert found["n_columns"] == 4


def test_columns_that_do_not_fit_are_refused(rng):
    for then, now, names in (
        (rng.normal(size=(30, 2)), rng.normal(size=(30, 3)), ["a", "b"]),
        (rng.normal(size=(30, 2)), rng.normal(size=(9, 2)), ["a", "b"]),
    ):
        with pytest.raises(DataError, match="expected"):
            measure_column_drift(then, now, names, [Column()] * 2)
