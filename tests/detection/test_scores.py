"""Label-free scores against the formulas in their docstrings, and what no data may break."""

from numbers import Number

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist
from sklearn.covariance import LedoitWolf
from sklearn.preprocessing import StandardScaler

from isthmus import (
    AnomalyDetector,
    Autoencoder,
    CodeClassifier,
    export_bundle,
    load_bundle,
    save_bundle,
)
from isthmus.classification import StandardisedHead, build_head
from isthmus.classification import heads as build
from isthmus.detection import (
    LABEL_FREE,
    Features,
    MahalanobisScore,
    MissingPenalty,
    NeighbourScore,
    ReconstructionScore,
    anomaly_scores,
    extract_features,
    scores,
)
from isthmus.detection.scores import CombinedScore
from isthmus.errors import DataError
from isthmus.export import Exported


def looks(n, seed, scale=1.0):
    """Features of n instances: codes of three columns, residuals of five."""
    rng = np.random.default_rng(seed)
    codes = scale * rng.normal(size=(n, 3)) * [5, 1, 0.2]
    residuals = scale * rng.normal(size=(n, 5))
    return Features(codes.astype(np.float32), residuals.astype(np.float32), explained=2.5)


def equal_looks(n, value=1.0):
    """Features of n instances that are all the same."""
    full = np.full((n, 3), value, dtype=np.float32)
    return Features(full, 0 * full, explained=0.0)


def fit(kind, features):
    return kind().fit(features, np.random.default_rng(0))


def neighbours_by_brute_force(train, new, residuals, k=5):
    """The formula of `NeighbourScore`, written out."""

    def space(features):
        away = train.codes - train.codes.mean(axis=0)
        codes = features.codes * np.sqrt(train.explained / (away**2).mean(axis=0).sum())
        return np.hstack([codes, features.residuals]) if residuals else codes

    among = cdist(space(train), space(train))
    np.fill_diagonal(among, np.inf)
    apart = np.sort(among, axis=1)[:, :k].mean(axis=1)  # l(x_i)

    def ratio(distances):
        nearest = np.argsort(distances, axis=1)[:, :k]
        d = np.take_along_axis(distances, nearest, axis=1).mean(axis=1)
        overall = (0.3 + 500 / len(apart)) * apart.mean()
        return d / np.sqrt(apart[nearest].mean(axis=1) + overall)

    own = ratio(among)
    return ratio(cdist(space(new), space(train))) / own.mean(), own / own.mean()


# --- formulas ----------------------------------------------------------------------------


def test_the_reconstruction_score_is_the_root_of_a_tables_error(encoder, gaussians):
    train, new = gaussians(100, 1), gaussians(40, 2)
    score = fit(ReconstructionScore, extract_features(encoder, train))

    got = score.score(extract_features(encoder, new))

    roots = np.sqrt(encoder.reconstruction_error(train))
    expected = np.sqrt(encoder.reconstruction_error(new)) / roots.mean()
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_the_reconstruction_score_of_images_is_the_length_of_their_residual(digits):
    train, new = digits[0][:50] / 255, digits[0][1000:1030] / 255
    encoder = Autoencoder(n_components=4, max_epochs=1, random_state=0).fit(train)

    def lengths(X):
        back = encoder.inverse_transform(encoder.transform(X))
        return np.linalg.norm((X - back).reshape(len(X), -1), axis=1)

    got = fit(ReconstructionScore, extract_features(encoder, train)).score(
        extract_features(encoder, new)
    )

    np.testing.assert_allclose(got, lengths(new) / lengths(train).mean(), rtol=1e-4)


def test_the_mahalanobis_score_is_ledoit_and_wolfs_distance():
    train, new = looks(80, 0), looks(40, 1)
    estimate = LedoitWolf().fit(train.codes.astype(np.float64))

    def distance(codes):
        away = codes - train.codes.mean(axis=0, dtype=np.float64)
        solved = np.linalg.solve(estimate.covariance_, away.T).T
        return np.sqrt((away * solved).sum(axis=1))

    got = fit(MahalanobisScore, train).score(new)

    expected = distance(new.codes) / distance(train.codes).mean()
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize("residuals", [False, True])
def test_the_neighbour_score_is_its_formula(residuals):
    train, new = looks(80, 0), looks(40, 1)
    score = NeighbourScore(residuals).fit(train, np.random.default_rng(0))

    expected, own = neighbours_by_brute_force(train, new, residuals)

    np.testing.assert_allclose(score.score(new), expected, rtol=1e-4)
    np.testing.assert_allclose(score.own_scores(), own, rtol=1e-4)


def test_the_combined_score_is_neighbours_in_code_and_residual():
    train, new = looks(80, 0), looks(40, 1)
    near, _ = neighbours_by_brute_force(train, new, residuals=True)
    np.testing.assert_allclose(fit(CombinedScore, train).score(new), near, rtol=1e-4)


def test_scores_are_one_on_average_over_the_rows_fitted_on():
    train = looks(200, 0)

    for kind in (ReconstructionScore, MahalanobisScore):
        assert fit(kind, train).score(train).mean() == pytest.approx(1)
    near = fit(NeighbourScore, train)
    assert near.own_scores().mean() == pytest.approx(1)  # each row against the others
    for kind in LABEL_FREE.values():  # so too, nearly, over new rows like them
        assert fit(kind, train).score(looks(2000, 1)).mean() == pytest.approx(1, abs=0.1)


# --- what is kept ------------------------------------------------------------------------


@pytest.mark.parametrize("name", LABEL_FREE)
def test_a_score_rebuilt_from_its_state_is_the_same(name):
    new = looks(40, 1)
    score = fit(LABEL_FREE[name], looks(80, 0))

    state = score.state()
    again = LABEL_FREE[name].from_state(state)

    np.testing.assert_array_equal(again.score(new), score.score(new))
    assert again.state().keys() == state.keys()
    assert all(map(is_plain, state.values()))


def is_plain(value):
    """Whether a value can be stored without pickle."""
    if isinstance(value, dict):
        return all(map(is_plain, value.values()))
    return isinstance(value, Number) or (isinstance(value, np.ndarray) and value.dtype != object)


def test_of_very_many_rows_some_are_kept(monkeypatch):
    train, new = looks(200, 0), looks(40, 1)
    monkeypatch.setattr(scores, "MAX_ROWS", 50)

    score = NeighbourScore(residuals=True).fit(train, np.random.default_rng(0))

    assert len(set(score.rows_)) == 50 == len(score.references_)
    assert score.rows_.min() < 50 < 150 < score.rows_.max()  # from all over
    expected, _ = neighbours_by_brute_force(train.take(score.rows_), new, residuals=True)
    np.testing.assert_allclose(score.score(new), expected, rtol=1e-4)
    assert score.own_scores().shape == (50,)


def numbers_as_looks(numbers):
    """Features of instances with equal codes and one number as residual."""
    column = np.asarray(numbers, dtype=np.float32)[:, None]
    return Features(np.zeros_like(column), column, explained=1.0)


def test_references_are_means_and_a_row_is_compared_without_itself(monkeypatch):
    monkeypatch.setattr(scores, "MAX_REFERENCES", 2)

    score = fit(CombinedScore, numbers_as_looks([0, 2, 10, 14]))

    assert sorted(score.references_[:, 1].tolist()) == [1, 12]
    assert score.own_distances_.tolist() == [2, 2, 4, 4]  # the mean of two without one: the other
    np.testing.assert_allclose(score.own_scores().mean(), 1)


def test_scores_of_rows_and_of_new_ones_are_alike_by_means_too(monkeypatch):
    train, new = looks(3000, 0), looks(2000, 1)
    exact = fit(CombinedScore, train).score(new)
    monkeypatch.setattr(scores, "MAX_REFERENCES", 1000)

    score = fit(CombinedScore, train)

    assert score.references_.shape == (1000, 8)
    assert abs(score.score(new).mean() - 1) < 0.02
    assert np.corrcoef(score.score(new), exact)[0, 1] > 0.95


def test_where_many_rows_are_equal_so_are_references(monkeypatch):
    monkeypatch.setattr(scores, "MAX_REFERENCES", 40)
    many = numbers_as_looks(np.r_[np.zeros(300), np.linspace(5, 9, 100)])

    score = fit(CombinedScore, many)

    assert (score.score(numbers_as_looks([0.0])) == 0).all()
    assert (score.score(numbers_as_looks([1.0])) > 0).all()


def test_rows_of_many_numbers_stay_references(monkeypatch):
    monkeypatch.setattr(scores, "MAX_REFERENCES", 20)
    monkeypatch.setattr(scores, "MAX_AVERAGED_NUMBERS", 7)
    train = looks(50, 0)

    score = fit(CombinedScore, train)

    np.testing.assert_array_equal(score.references_, score.space(train))


def test_a_score_does_not_depend_on_how_many_rows_are_scored_together():
    score, new = fit(CombinedScore, looks(2500, 0)), looks(300, 1)
    whole = anomaly_scores(score, new)
    for size in (1, 7, 100):
        parts = [new.take(np.arange(i, min(i + size, 300))) for i in range(0, 300, size)]
        found = np.concatenate([anomaly_scores(score, part) for part in parts])
        np.testing.assert_array_equal(found, whole)


# --- data that could break them ------------------------------------------------------------


@pytest.mark.parametrize("name", LABEL_FREE)
def test_rows_that_are_all_the_same_look_normal_and_others_do_not(name):
    same = equal_looks(30)
    other = equal_looks(2, value=3.0)
    other.residuals[:] = 1
    score = fit(LABEL_FREE[name], same)

    assert np.isfinite(score.score(other)).all()
    assert (score.score(same) == 0).all()
    assert (score.score(other) > 1).all()


@pytest.mark.parametrize("n", [2, 3, 5, 6])
@pytest.mark.parametrize("name", LABEL_FREE)
def test_fewer_rows_than_neighbours_are_enough(name, n):
    train, new = looks(n, 0), looks(40, 1)

    got = fit(LABEL_FREE[name], train).score(new)

    assert np.isfinite(got).all()
    assert (got >= 0).all()
    if name == "neighbours":
        far = looks(40, 1, scale=100)
        assert np.median(fit(NeighbourScore, train).score(far)) > 10 * np.median(got)


@pytest.mark.parametrize("name", LABEL_FREE)
@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e-6, 1.0, 1e6, 1e12])
def test_scores_are_finite_at_any_scale(name, scale):
    score = fit(LABEL_FREE[name], looks(60, 0, scale))

    for other in (0.0, 1e-20, 1.0, 1e12):
        got = score.score(looks(20, 1, other))
        assert np.isfinite(got).all()
        assert got.shape == (20,)
        assert got.dtype == np.float64


@pytest.mark.parametrize("name", LABEL_FREE)
def test_many_copies_of_some_rows_leave_scores_finite(name):
    train = looks(60, 0).take(np.repeat(np.arange(6), 10))

    got = fit(LABEL_FREE[name], train).score(looks(40, 1))

    assert np.isfinite(got).all()
    assert len(set(got)) == 40


@pytest.mark.parametrize("calibration", ["split", "cross"])
def test_another_value_in_a_column_that_was_constant_is_more_abnormal_than_any_row(
    calibration, gaussians
):
    X = gaussians(100, 0)
    X[:, 3] = 7
    new = gaussians(20, 1)
    new[:, 3] = 8
    detector = AnomalyDetector(
        Autoencoder(n_components=2, max_epochs=3, random_state=0),
        false_alarm_rate=0.1,
        calibration=calibration,
        random_state=0,
    ).fit(X)

    assert np.isfinite(detector.score_samples(new)).all()
    assert detector.score_samples(new).max() < detector.score_samples(X).min()


@pytest.mark.parametrize("name", LABEL_FREE)
def test_instances_beyond_anything_seen_have_finite_scores_that_grow(name, encoder, gaussians):
    score = fit(LABEL_FREE[name], extract_features(encoder, gaussians(100, 1)))

    far = score.score(
        extract_features(encoder, np.outer([1, 10, 1e3, 1e9, 1e30], gaussians(1, 2)[0]))
    )

    assert np.isfinite(far).all()
    assert (np.diff(far[:3]) > 0).all()
    assert (np.diff(far) >= 0).all()


@pytest.fixture
def features():
    """Columns of all sizes, one of them constant, one far from zero: (500, 4), float32."""
    values = np.random.default_rng(0).normal([0, 0.1, 1000, -3], [1, 0, 0.5, 1e-3], (500, 4))
    return values.astype(np.float32)


def test_means_and_deviations_are_those_of_all_rows_in_float64(features, monkeypatch):
    monkeypatch.setattr(build, "SCALED_AT_ONCE", 4 * 7)  # seven rows, and three at last
    found, expected = build.fitted_scaler(features), StandardScaler().fit(np.float64(features))
    np.testing.assert_allclose(found.mean_, expected.mean_, rtol=1e-12)
    np.testing.assert_allclose(found.scale_, expected.scale_, rtol=1e-9)
    assert found.scale_[1] == 1  # a constant column is left as it is
    assert found.n_samples_seen_ == 500


def test_features_are_written_over_only_when_told_to(features):
    y, before = features[:, 0] > 0, features.copy()
    kept = StandardisedHead(build_head("linear", n_labels=500)).fit(features, y)
    np.testing.assert_array_equal(features, before)
    own = StandardisedHead(build_head("linear", n_labels=500)).fit(features, y, overwrite=True)
    np.testing.assert_allclose(features.std(axis=0), [1, 0, 1, 1], atol=1e-3)
    np.testing.assert_array_equal(own.head_.coef_, kept.head_.coef_)


def test_instances_are_scored_in_parts_as_all_together(detector_fit, gaussians, monkeypatch):
    X = gaussians(50, 5)
    expected = -anomaly_scores(
        detector_fit.fitted_score_, extract_features(detector_fit.encoder_, X)
    )
    errors = detector_fit.encoder_.reconstruction_error(X)
    monkeypatch.setattr(type(detector_fit.encoder_), "_inference_batch", lambda self: 7)
    np.testing.assert_allclose(detector_fit.score_samples(X), expected, atol=2e-6)
    np.testing.assert_allclose(detector_fit.encoder_.reconstruction_error(X), errors, rtol=1e-5)


# --- values that are missing where none was at fit ---------------------------------------------

NAMES = ["flow", "temp", "force", "speed"]


def draw_table(n, seed, missing=0.0):
    """Rows (n, 4) with a share of the values of the first three columns missing."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2)) @ [[1.0, 0.5, -1.0, 2.0], [0.0, 1.0, 1.0, 0.5]]
    X += rng.normal(0, 0.3, size=(n, 4))
    X[:, :3][rng.random((n, 3)) < missing] = np.nan
    return pd.DataFrame(X, columns=NAMES)


@pytest.fixture(scope="module")
def table_encoder():
    return Autoencoder(n_components=2, max_epochs=3, random_state=0).fit(draw_table(300, 0))


def detector_of(table_encoder, X, **options):
    return AnomalyDetector(
        table_encoder, calibration="split", false_alarm_rate=0.05, random_state=0, **options
    ).fit(X)


@pytest.fixture(scope="module")
def table_detector(table_encoder):
    return detector_of(table_encoder, draw_table(600, 1))


def dead(n=100, column="temp"):
    X = draw_table(n, 2)
    X[column] = np.nan
    return X


@pytest.mark.parametrize("method", [*LABEL_FREE, "blend", "head"])
def test_a_dead_sensor_is_abnormal_in_every_row_by_every_score(table_encoder, method):
    X, y = draw_table(600, 1), None
    if method in ("blend", "head"):
        X.iloc[:10] += 6
        y = np.where(np.arange(600) < 10, -1, 0)
    detector = AnomalyDetector(
        table_encoder, method=method, calibration="split", false_alarm_rate=0.05, random_state=0
    ).fit(X, y)
    assert (detector.predict(dead()) == -1).all()
    assert detector.p_values(pd.DataFrame(np.full((1, 4), np.nan), columns=NAMES)) <= 0.01


def test_the_addition_is_the_quantile_of_good_and_turing_for_each_missing_value():
    residuals = np.arange(1.0, 100.0)[:, None].astype(np.float32)
    missing = np.zeros((99, 4), bool)
    missing[5, 0] = missing[7, 1] = missing[8, 1] = missing[9, 2] = True
    training = Features(residuals, residuals, 1.0, True, missing)
    score = ReconstructionScore().fit(training, np.random.default_rng(0))
    penalty = MissingPenalty.learn(score, training, "unusual")
    # Two columns with a single missing value: (2 + 1) / 100 of the rows bring a first one.
    scores = residuals[:, 0] / residuals.mean()
    assert penalty.amount == pytest.approx(np.quantile(scores, 0.97) - scores.min())
    assert penalty.columns.tolist() == [False, False, False, True]
    # Four rows lack a value in a column that lacks up to four, and 3 % bring a first one.
    assert penalty.levels[:3] == pytest.approx([np.quantile(scores, 0.93)] * 3)
    assert penalty.levels[3] == -np.inf
    rows = np.array([[True, True, True, True], [True, False, False, False], [False] * 4])
    new = Features(residuals[:3], residuals[:3], 1.0, True, rows)
    level = 0.02 * np.ones(3) + 0.98 * penalty.levels[0]
    assert penalty.raised(np.ones(3), new).tolist() == pytest.approx(
        [level[0] + penalty.amount, level[1], 1.0]
    )
    assert penalty.raised(np.full(3, 9.0), new).tolist() == [9 + penalty.amount, 9, 9]
    assert MissingPenalty.learn(score, training, "ignore") is None
    # Missing values in more than a tenth of the rows are common.
    missing[:11, 0] = True
    assert MissingPenalty.learn(score, training, "unusual").levels[0] == -np.inf


def test_a_dead_sensor_that_lacked_few_values_at_fit_is_abnormal(tmp_path):
    X = draw_table(2000, 1)
    X.loc[np.arange(1, 2000, 100), "temp"] = np.nan  # 1 %
    X.loc[np.arange(0, 2000, 5), "flow"] = np.nan  # 20 %
    encoder = Autoencoder(n_components=2, max_epochs=3, random_state=0)
    detector = detector_of(encoder, X)
    p_values = detector.p_values(dead(200))
    assert (detector.predict(dead(200)) == -1).all()
    # About 1 % of normal rows have a higher score and 1 % lack it as well; 20 % is not rare.
    assert p_values.max() < 0.03
    assert np.median(p_values) > 0.01
    assert (detector.predict(dead(200, "flow")) == -1).mean() < 0.3
    found = detector.explain(dead(1))
    assert found.top(1)[0][0][0] == "temp (missing)"
    encoder = detector.encoder_
    classifier = CodeClassifier(encoder, "neighbours", rejection_rate=0.05, random_state=0)
    classifier.fit(draw_table(400, 3), np.arange(400) % 2)
    assert (classifier.predict(dead(50, "speed")) == -1).all()
    save_bundle(tmp_path / "press", encoder, {"normal": detector, "kind": classifier})
    rows = pd.concat([dead(30), dead(30, "flow"), dead(30, "speed"), draw_table(30, 4)])
    loaded = load_bundle(tmp_path / "press").head("normal")
    np.testing.assert_array_equal(loaded.score_samples(rows), detector.score_samples(rows))
    export_bundle(tmp_path / "press", tmp_path / "out", rows)
    exported = Exported(tmp_path / "out")
    found = exported.run(rows)
    np.testing.assert_allclose(
        found["normal.anomaly_score"], -detector.score_samples(rows), atol=1e-5
    )
    np.testing.assert_array_equal(found["class"], classifier.predict(rows))
    missing = exported.missing_where_complete(exported.feed(rows))
    assert missing.sum(axis=0).tolist() == [30, 30, 0, 30]  # the classifier's table has all values


@pytest.mark.parametrize("missing", [0.0, 0.002, 0.05])
def test_the_rate_holds_where_later_rows_lack_values_as_often_as_at_fit(table_encoder, missing):
    rates = []
    for seed in range(40):
        detector = detector_of(table_encoder, draw_table(300, 20_000 + seed, missing))
        rates.append((detector.predict(draw_table(300, 30_000 + seed, missing)) == -1).mean())
    # 60 calibration rows: floor(0.05 * 61) / 61 is expected, 0.0492.
    assert abs(np.mean(rates) - 3 / 61) < 3 * np.std(rates) / np.sqrt(40)


def test_a_reason_says_what_is_missing(table_detector):
    found = table_detector.explain(dead(3, "speed"))
    assert [row[0][0] for row in found.top(1)] == ["speed (missing)"] * 3
    assert (found.frame(1)["share_1"] > 0.5).all()
    assert table_detector.suggestions(dead(3, "speed"), 1)["reason"][0].startswith(
        "speed (missing) ("
    )
    assert "(missing)" not in str(table_detector.explain(draw_table(3, 3)).top(4))


def test_missing_values_can_be_ignored_or_refused(table_encoder, table_detector):
    X = draw_table(600, 1)
    ignoring, refusing = (
        detector_of(table_encoder, X, missing="ignore"),
        detector_of(table_encoder, X, missing="error"),
    )
    filled = dead().fillna({"temp": table_encoder.preprocessor_.inputs[1].fill})
    np.testing.assert_array_equal(ignoring.score_samples(dead()), ignoring.score_samples(filled))
    np.testing.assert_array_equal(refusing.score_samples(X), table_detector.score_samples(X))
    with pytest.raises(DataError, match="100 values missing in columns .* in column 'temp', row 0"):
        refusing.predict(dead())
    with pytest.raises(DataError, match="got missing='drop', expected one of unusual, ignore, err"):
        detector_of(table_encoder, X, missing="drop")


@pytest.mark.parametrize("policy", ["unusual", "error"])
def test_bundle_and_graph_decide_alike(table_encoder, policy, tmp_path):
    detector = detector_of(table_encoder, draw_table(600, 1), missing=policy)
    save_bundle(tmp_path / "press", table_encoder, {"normal": detector})
    loaded = load_bundle(tmp_path / "press").head("normal")
    assert loaded.missing == policy
    rows = draw_table(60, 4) if policy == "error" else pd.concat([dead(30), draw_table(30, 4)])
    np.testing.assert_array_equal(loaded.score_samples(rows), detector.score_samples(rows))
    export_bundle(tmp_path / "press", tmp_path / "out", rows)
    exported = Exported(tmp_path / "out")
    found = exported.run(rows)
    np.testing.assert_allclose(found["anomaly_score"], -detector.score_samples(rows), atol=1e-5)
    np.testing.assert_array_equal(found["verdict"], detector.predict(rows))
    if policy == "error":
        with pytest.raises(DataError, match="in column 'temp', row 0"):
            exported.run(dead())
    missing = exported.missing_where_complete(exported.feed(rows))
    assert missing is None if policy == "error" else missing[:30, 1].all() and missing.sum() == 30
    loaded.add_labels(draw_table(5, 6), np.full(5, 1), normal=1)
    assert loaded.missing_penalty_.columns.all()


def test_a_missing_category_is_unusual_too(tmp_path):
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": rng.normal(size=400), "kind": rng.choice(["nut", "bolt"], 400)})
    table_encoder = Autoencoder(n_components=1, max_epochs=2, random_state=0).fit(X[:200])
    detector = detector_of(table_encoder, X[200:].reset_index(drop=True))
    rows = X[:40].copy()
    rows.loc[:19, "kind"] = None
    assert (detector.predict(rows[:20]) == -1).all()
    save_bundle(tmp_path / "press", table_encoder, {"normal": detector})
    export_bundle(tmp_path / "press", tmp_path / "out", rows)
    verdict = Exported(tmp_path / "out").run(rows)["verdict"]
    np.testing.assert_array_equal(verdict, detector.predict(rows))
