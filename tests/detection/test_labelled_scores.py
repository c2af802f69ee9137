"""How head and label-free score are compared on rows held out, with scores that are known."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from isthmus import AnomalyDetector, Autoencoder
from isthmus.detection import (
    BlendedScore,
    Features,
    HeadScore,
    NeighbourScore,
    extract_features,
    scores,
)
from isthmus.detection import labelled_scores as label_curve
from isthmus.detection.labelled_scores import choose_weight, held_out_scores, measure_curve


def known(free, head):
    """Features that carry a label-free score and a head's score for each row in their codes."""
    codes = np.stack([free, head], axis=1).astype(np.float32)
    return Features(codes, codes[:, :1], explained=1.0)


def read(train, abnormal, test, rng):
    """Score by what the rows carry, whatever the training rows are."""
    return test.codes[:, 0].astype(float), test.codes[:, 1].astype(float)


def generator():
    return np.random.default_rng(0)


@pytest.fixture
def abnormal():
    return np.arange(120) >= 100


@pytest.fixture
def noise():
    return np.random.default_rng(1).normal(size=120)


def test_the_better_of_two_scores_gets_all_the_weight(abnormal, noise):
    good = noise + 20 * abnormal

    assert choose_weight(read, known(noise[::-1] * 9, good), abnormal, generator()) > 0.5
    assert choose_weight(read, known(good, noise[::-1] * 9), abnormal, generator()) < 0.5


def test_half_stays_where_both_are_as_good(abnormal, noise):
    for score in (noise, noise + 20 * abnormal):
        assert choose_weight(read, known(score, score), abnormal, generator()) == 0.5


@pytest.mark.parametrize(("n_normal", "n_abnormal"), [(100, 1), (100, 4), (2, 10), (1, 1)])
def test_a_head_that_cannot_be_tried_counts_one_half(n_normal, n_abnormal):
    def refuse(*args):
        raise AssertionError("nothing is to be measured")

    abnormal = np.arange(n_normal + n_abnormal) >= n_normal
    features = known(*np.zeros((2, len(abnormal))))
    assert choose_weight(refuse, features, abnormal, generator()) == 0.5


@pytest.mark.parametrize(("n_normal", "n_abnormal"), [(3, 5), (3, 9), (5, 5), (50, 5), (700, 23)])
@pytest.mark.parametrize("measure", [choose_weight, measure_curve])
def test_rows_that_are_scored_were_not_learned_from(measure, n_normal, n_abnormal):
    truth = np.arange(n_normal + n_abnormal) >= n_normal
    scored = []

    def spy(train, abnormal, test, rng):
        learned = train.codes[:, 0].astype(int)
        held_out = test.codes[:, 0].astype(int)
        assert not set(learned) & set(held_out)
        np.testing.assert_array_equal(truth[learned], abnormal)
        assert abnormal.any()
        assert (~abnormal).sum() >= 2
        assert 0 < truth[held_out].sum() < len(held_out)
        scored.append(held_out)
        return read(train, abnormal, test, rng)

    rows = np.arange(len(truth))
    measure(spy, known(rows, rows[::-1]), truth, generator())

    assert len(scored) >= 3
    if measure is choose_weight:  # a cross-validation: each row once
        held_out = np.concatenate(scored)
        assert sorted(held_out[truth[held_out]]) == list(rows[truth])
        assert len(set(held_out)) == len(held_out)
        assert len(held_out) == n_abnormal + min(n_normal, label_curve.MAX_NORMAL)


def test_the_curve_says_what_the_scores_reach(abnormal, noise):
    perfect, reversed_ = noise + 20 * abnormal, noise - 20 * abnormal

    curve = measure_curve(read, known(reversed_, perfect), abnormal, generator())

    expected = [{"labels": n, "label_free": 0.0, "head": 1.0} for n in (1, 2, 3, 5, 10)]
    assert curve.points == expected  # fewer than the twenty: some are to be found
    assert curve.wins_from == 1


def test_a_head_that_is_never_better_wins_from_nowhere(abnormal, noise):
    perfect = noise + 20 * abnormal

    curve = measure_curve(read, known(perfect, noise), abnormal, generator())

    assert all(point["label_free"] == 1 > point["head"] for point in curve.points)
    assert curve.wins_from is None


def test_the_head_wins_from_where_it_is_never_behind_again(abnormal, noise):
    def learns(train, abnormal, test, rng):
        free, head = read(train, abnormal, test, rng)
        sign = 1 if abnormal.sum() in (1, 5, 10) else -1  # good, bad with 2 and 3, good again
        return free, sign * head

    curve = measure_curve(learns, known(noise, noise + 20 * abnormal), abnormal, generator())

    assert [point["head"] for point in curve.points] == [1, 0, 0, 1, 1]
    assert curve.wins_from == 5


@pytest.mark.parametrize(("n_normal", "n_abnormal"), [(100, 0), (100, 1), (2, 10)])
def test_there_is_no_curve_where_nothing_can_be_held_out(n_normal, n_abnormal):
    abnormal = np.arange(n_normal + n_abnormal) >= n_normal

    curve = measure_curve(read, known(*np.zeros((2, len(abnormal)))), abnormal, generator())

    assert curve.points == []
    assert curve.wins_from is None


AWAY = np.array([0, 0, 3, 0, 0, 0])


@pytest.fixture(scope="module")
def seen(encoder, gaussians):
    """Features of 120 normal and seven abnormal rows, and which are abnormal."""
    X = np.vstack([gaussians(120, 1), gaussians(7, 2) + AWAY])
    abnormal = np.arange(127) >= 120
    return extract_features(encoder, X, np.flatnonzero(~abnormal)), abnormal


@pytest.fixture(scope="module")
def new(encoder, gaussians):
    """Features of forty rows, half of them like the abnormal ones."""
    return extract_features(encoder, gaussians(40, 3) + np.outer(np.arange(40) % 2, AWAY))


# --- formulas ----------------------------------------------------------------------------


def test_the_head_is_its_formula(seen, new):
    features, abnormal = seen
    normal = features.take(np.flatnonzero(~abnormal))
    away = normal.codes - normal.codes.mean(axis=0)
    scale = np.sqrt(normal.explained / (away**2).mean(axis=0).sum())

    def space(v):
        return np.hstack([v.codes * scale, v.residuals]).astype(np.float64)

    def nearest(distances, k):
        return np.sort(distances, axis=1)[:, :k].mean(axis=1)

    among = cdist(space(normal), space(normal))
    np.fill_diagonal(among, np.inf)
    apart = nearest(among, 5)
    bad = space(features)[abnormal]

    def contrast(to_normal, points):
        little = 0.1 * apart.mean()
        return np.log(to_normal + little) - np.log(nearest(cdist(points, bad), 3) + little)

    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced"))

    free = NeighbourScore(residuals=True).fit(normal, generator())

    def inputs(v, near):
        return np.column_stack([v.codes, v.residuals, np.log(near + 1e-3)]).astype(np.float64)

    found = features.take(np.flatnonzero(abnormal))
    of_normal = inputs(normal, free.own_scores())  # each row against the others
    linear.fit(np.vstack([of_normal, inputs(found, free.score(found))]), np.sort(abnormal))
    own = [contrast(apart, space(normal)), linear.decision_function(of_normal)]
    other = [
        contrast(nearest(cdist(space(new), space(normal)), 5), space(new)),
        linear.decision_function(inputs(new, free.score(new))),
    ]
    parts = [(b - a.mean()) / a.std() for a, b in zip(own, other, strict=True)]

    score = HeadScore().fit_labelled(features, abnormal, generator())

    np.testing.assert_allclose(score.score(new), parts[0] + 0.5 * parts[1], rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(score.contribution(new), score.score(new))


def test_the_blend_weighs_label_free_score_and_head(seen, new):
    score = BlendedScore().fit_labelled(*seen, generator())
    free, head = held_out_scores(*seen, new, generator())

    w = score.weight_
    assert w in (0, 0.25, 0.5, 0.75, 1)
    np.testing.assert_allclose(score.score(new), (1 - w) * free + w * head)
    np.testing.assert_allclose(score.contribution(new), w * head)
    # Standardised logarithms: the order is the label-free score's own.
    np.testing.assert_array_equal(np.argsort(free), np.argsort(score.label_free_.score(new)))


def test_both_parts_are_in_standard_deviations_of_normal_rows(seen, encoder, gaussians):
    like_them = extract_features(encoder, gaussians(500, 4))
    for part in held_out_scores(*seen, like_them, generator()):
        assert abs(part.mean()) < 1
        assert 0.5 < part.std() < 2


@pytest.mark.parametrize("most", [20, 2000], ids=["means", "rows"])
@pytest.mark.parametrize("kind", [HeadScore, BlendedScore])
def test_a_score_rebuilt_from_its_state_is_the_same(kind, most, seen, new, monkeypatch):
    monkeypatch.setattr(scores, "MAX_REFERENCES", most)
    score = kind().fit_labelled(*seen, generator())

    again = kind.from_state(score.state())

    np.testing.assert_array_equal(again.score(new), score.score(new))
    np.testing.assert_array_equal(again.contribution(new), score.contribution(new))


@pytest.mark.parametrize("kind", [HeadScore, BlendedScore])
def test_without_labels_a_labelled_score_is_refused(kind, seen):
    with pytest.raises(TypeError, match=f"{kind.__name__} needs labels: use fit_labelled"):
        kind().fit(seen[0], generator())


@pytest.mark.parametrize("n_abnormal", [1, 2, 3, 6, 12])
@pytest.mark.parametrize("n_normal", [2, 3, 4, 7])
def test_a_handful_of_rows_is_enough(n_normal, n_abnormal, encoder, gaussians, new):
    features = extract_features(encoder, gaussians(n_normal + n_abnormal, 5))
    abnormal = np.arange(n_normal + n_abnormal) >= n_normal

    for kind in (HeadScore, BlendedScore):
        got = kind().fit_labelled(features, abnormal, generator()).score(new)
        assert np.isfinite(got).all()
        assert len(set(got)) == len(got)


def test_a_row_that_was_labelled_normal_and_abnormal_leaves_scores_finite(seen):
    features, abnormal = seen
    twice = np.append(np.arange(127), np.arange(5))

    score = BlendedScore().fit_labelled(
        features.take(twice), np.append(abnormal, [True] * 5), generator()
    )

    assert np.isfinite(score.score(features)).all()


# --- what labels find ----------------------------------------------------------------------


def around(centres, spread, seed):
    """Rows around places in the plane of hidden causes, with noise."""
    rng = np.random.default_rng(seed)
    causes = centres + spread * rng.normal(size=(len(centres), 2))
    mix = np.random.default_rng(9).normal(size=(2, 6))
    return causes @ mix + 0.3 * rng.normal(size=(len(centres), 6))


def two_clusters(n, seed):
    """Normal rows: two wide clusters, and few rows half way between them."""
    sides = np.random.default_rng([seed, 1]).choice([-1.75, 1.75], n)
    return around(np.stack([sides, 0 * sides], axis=1), 1.0, seed)


def test_five_labels_find_a_cluster_that_looks_normal_without_them():
    encoder = Autoencoder(n_components=2, max_epochs=15, random_state=0).fit(two_clusters(600, 0))
    between = np.zeros((60, 2))  # the mean of the normal rows
    X, labelled = two_clusters(240, 1), around(between[:5], 0.1, 2)
    test = np.vstack([two_clusters(300, 3), around(between, 0.1, 4)])
    truth = np.arange(360) >= 300
    detector = AnomalyDetector(
        encoder, false_alarm_rate=0.05, calibration="split", random_state=0
    ).fit(X)
    before, alarms_before = -detector.score_samples(test), detector.predict(test) == -1

    detector.add_labels(labelled, [-1] * 5)

    after, alarms = -detector.score_samples(test), detector.predict(test) == -1
    assert roc_auc_score(truth, before) < 0.7
    assert roc_auc_score(truth, after) > 0.9
    assert alarms_before[truth].mean() < 0.2
    assert alarms[truth].mean() > 0.6
    assert alarms[~truth].mean() < 0.12  # 48 calibration rows: two standard errors above 0.05
    assert detector.method_ == "blend"
    assert detector.head_weight_ > 0
    assert detector.wins_from_ == 1
    assert [point["labels"] for point in detector.label_curve_] == [1, 2, 3]
    assert all(point["head"] > point["label_free"] for point in detector.label_curve_)


def test_three_labels_that_tell_nothing_cost_little(encoder, gaussians):
    # Each abnormal row is so in its own way, so that some say nothing of the others. Half of a
    # blend is the head then, which ranks by little more than chance beside the plane it learned:
    # that may cost some hundredths of AUROC, and not what separates the head from the blend.
    measured = []
    for seed in range(10):
        rng = np.random.default_rng(seed)

        def strange(n, number, rng=rng):
            return gaussians(n, number) + 0.8 * rng.normal(size=(n, 6))

        X = np.vstack([gaussians(150, 10 + seed), strange(3, 30 + seed)])
        test = extract_features(
            encoder, np.vstack([gaussians(200, 50 + seed), strange(60, 70 + seed)])
        )
        abnormal, truth = np.arange(153) >= 150, np.arange(260) >= 200
        features = extract_features(encoder, X, np.flatnonzero(~abnormal))
        blend = BlendedScore().fit_labelled(features, abnormal, np.random.default_rng(seed))
        scores = blend.label_free_.score(test), blend.score(test), blend.head_.score(test)
        measured.append([roc_auc_score(truth, score) for score in scores])

    free, blended, head = np.mean(measured, axis=0)
    assert free > 0.85
    assert blended > free - 0.04
    assert blended > head
