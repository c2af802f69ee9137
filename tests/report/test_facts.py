"""The numbers of a report, against what the library says when asked directly."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.manifold import trustworthiness
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from isthmus import Autoencoder, CodeClassifier, Dataset, advise, evaluate, load_bundle
from isthmus.errors import DataError, IsthmusError
from isthmus.evaluation import Baselines, evaluate_detector
from isthmus.report import code_chapter
from isthmus.report.comparison_chapter import comparison_facts, verdict
from isthmus.report.data_chapter import column_facts, data_facts
from isthmus.report.facts import report_facts


def test_facts_are_what_json_can_hold(facts):
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_the_classifier_is_tested_as_evaluate_tests_it(facts, press, splits):
    (found,) = facts["classes"]
    direct = evaluate(press.heads["kind"], splits.test.X, splits.test.y, baselines=None)["code"]

    assert {name: found[name] for name in direct} == direct


def test_mistakes_are_the_confusions_by_row_and_the_surest_come_first(
    facts, press, splits, place_of
):
    (found,) = facts["classes"]
    predicted = press.heads["kind"].predict(splits.test.X)
    wrong = np.flatnonzero(predicted != splits.test.y)

    assert sum(cell["count"] for cell in found["cells"]) == len(wrong)
    for cell in found["cells"]:
        for row in cell["rows"]:
            assert str(splits.test.y[place_of[row]]) == cell["label"]
            assert str(predicted[place_of[row]]) == cell["predicted"]
    sure = press.heads["kind"].predict_proba(splits.test.X).max(axis=1)
    assert place_of[found["worst"][0]["row"]] == wrong[np.argmax(sure[wrong])]
    assert np.all(np.diff([one["confidence"] for one in found["worst"]]) <= 0)


def test_a_confusion_lies_in_its_cell_of_the_matrix(facts):
    (found,) = facts["classes"]

    for cell in found["cells"]:
        row, column = cell["place"]
        assert found["confusion"][row][column] == cell["count"]


def test_samples_are_of_the_label_that_they_stand_under(facts, splits, place_of):
    samples = facts["data"]["samples"]

    assert [some["label"] for some in samples] == [str(digit) for digit in range(10)]
    for some in samples:
        assert len(set(some["rows"])) == 8
        labels = {str(splits.test.y[place_of[row]]) for row in some["rows"]}
        assert labels == {some["label"]}


def test_a_detector_stands_beside_distances_without_a_code(facts, press, splits):
    (found,) = facts["verdicts"]
    y = {
        name: np.where(part.y == 0, 1, -1)
        for name, part in (("train", splits.train), ("test", splits.test))
    }
    direct = evaluate_detector(
        press.heads["normal"],
        splits.test.X,
        y["test"],
        X_train=splits.train.X,
        y_train=y["train"],
    )

    assert found["n_known"] == 0
    assert found["raw"].items() <= direct["baselines"]["raw"].items()


def test_labels_that_stand_for_names_are_told_with_them(press, splits):
    names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    whole = Dataset(splits.test.X, splits.test.y, class_names=names)
    part = Dataset(splits.test.X[:5], splits.test.y[:5], class_names=names)
    hashes = {"test": np.zeros(0, np.uint64)}

    assert data_facts(None, whole, hashes)["names"]["3"] == "three"
    assert data_facts(None, part, hashes)["names"] == {}
    assert data_facts(None, splits.test, hashes)["names"] == {}


def test_the_nearest_normals_of_a_finding_are_found_in_the_training_part(
    facts, press, splits, place_of
):
    (found,) = facts["verdicts"]
    detector = press.heads["normal"]
    known = splits.train.X[
        np.isin(press.encoder.row_hashes(splits.train.X), detector.reference_set_.hashes)
    ]
    normals = press.encoder.transform(known)

    for one in found["findings"]:
        code = press.encoder.transform(splits.test.X[[place_of[one["row"]]]])
        at = np.searchsorted(splits.train.row_numbers(), one["nearest"])
        nearest = press.encoder.transform(splits.train.X[at])
        distances = np.sort(np.linalg.norm(normals - code, axis=1))
        assert np.linalg.norm(nearest - code, axis=1) == pytest.approx(distances[:3], rel=1e-4)


def test_advice_on_the_width_is_told_as_it_was_given(press, splits):
    advice = advise(splits.train.X[:300], widths=[4, 16], max_epochs=1, random_state=0)

    assert report_facts(press, advice=advice)["code"]["widths"] == advice.to_dict()
    assert report_facts(press, advice=advice.to_dict())["code"]["widths"] == advice.to_dict()
    with pytest.raises(DataError, match="isthmus advise --json"):
        report_facts(press, advice={"widths": [4, 16]})


def test_labels_that_were_changed_are_doubted(press, splits):
    y = splits.test.y.copy()
    changed = np.flatnonzero(press.heads["kind"].predict(splits.test.X) == y)[[5, 50, 100]]
    y[changed] = (y[changed] + 1) % 10
    (found,) = report_facts(press, Dataset(splits.test.X, y), baselines=None)["classes"]

    assert set(changed) <= {one["row"] for one in found["doubtful"]}
    assert all(one["label"] != one["likelier"] for one in found["doubtful"])


def test_the_detector_is_tested_as_evaluate_tests_it(facts, press, splits):
    (found,) = facts["verdicts"]
    y = np.where(splits.test.y == 0, 1, -1)
    direct = evaluate_detector(press.heads["normal"], splits.test.X, y)["code"]

    assert {name: found["found"][name] for name in direct} == direct
    assert found["asked"] == 0.1


def test_each_place_of_the_slider_counts_what_lies_above(facts, press, splits):
    (found,) = facts["verdicts"]
    scores = -press.heads["normal"].score_samples(splits.test.X)
    normal = splits.test.y == 0

    for step in found["steps"]:
        assert step["all"] == (scores > step["threshold"]).sum()
        assert step["normal"] == (scores[normal] > step["threshold"]).sum()
        assert step["abnormal"] == (scores[~normal] > step["threshold"]).sum()
    own = [step for step in found["steps"] if step["threshold"] == found["threshold"]]
    assert [step["all"] for step in own] == [found["flagged"]]
    assert found["flagged"] == (press.heads["normal"].predict(splits.test.X) == -1).sum()


def test_flagged_scores_are_drawn_right_of_the_threshold(press, splits):
    detector = press.heads["normal"]
    zeros = splits.test.X[splits.test.y == 0]
    scores = -detector.score_samples(zeros)
    few = np.flatnonzero(scores <= -detector.offset_)[:30]
    ones = splits.test.X[splits.test.y == 1][:1]
    part = Dataset(np.concatenate([np.tile(zeros[few], (10, 1, 1)), ones]))
    (found,) = report_facts(press, part)["verdicts"]
    edges, counts = found["histogram"]["edges"], found["histogram"]["counts"]["unknown"]
    above = [n for n, edge in zip(counts, edges, strict=False) if edge >= found["threshold"]]
    assert found["flagged"] == sum(above) == 1


def test_the_curves_have_the_area_that_is_stated(facts):
    (found,) = facts["verdicts"]
    x, y = np.transpose(found["found"]["roc"])

    assert np.trapezoid(y, x) == pytest.approx(found["found"]["auroc"], abs=0.005)


def test_all_instances_are_in_the_histogram(facts, splits):
    (found,) = facts["verdicts"]
    counts = found["histogram"]["counts"]

    assert sum(counts["normal"]) == (splits.test.y == 0).sum()
    assert sum(counts["abnormal"]) == (splits.test.y != 0).sum()


def test_findings_are_the_highest_scores(facts, press, splits):
    (found,) = facts["verdicts"]
    scores = -press.heads["normal"].score_samples(splits.test.X)

    listed = [one["score"] for one in found["findings"]]
    assert listed == pytest.approx(np.sort(scores)[::-1][: len(listed)])


def test_labels_that_mean_classes_are_no_labels_of_a_detector(press, splits):
    (found,) = report_facts(press, splits.test.take(np.arange(20)))["verdicts"]

    assert found["found"] is None
    assert list(found["histogram"]["counts"]) == ["unknown"]


def test_labels_of_zero_and_one_do_not_test_a_detector_unread(press, splits):
    two = splits.test.take(np.flatnonzero(splits.test.y < 2))
    facts = report_facts(press, two)
    assert facts["verdicts"][0]["found"] is None
    (warning,) = [one for one in facts["data"]["warnings"] if "do not test detectors" in one]
    assert "only 0 and 1" in warning
    assert "--normal 0" in warning
    facts = report_facts(press, two, normal=0)
    assert facts["verdicts"][0]["found"]["n_normal"] == (two.y == 0).sum()


def test_a_normal_class_that_is_none_is_refused(press, splits):
    with pytest.raises(DataError, match="got normal='x', and no label in digits is that: they are"):
        report_facts(press, splits.test, normal="x")


def test_what_a_head_knows_does_not_test_it(press, splits, place_of):
    known = splits.train.take(np.arange(1, 60, 2))  # the classifier was fitted on these
    both = Dataset(
        np.concatenate([known.X, splits.test.X]), np.concatenate([known.y, splits.test.y])
    )
    found, alone = (
        report_facts(press, part, normal="0", baselines=None) for part in (both, splits.test)
    )

    assert found["classes"][0]["n_known"] == 30
    assert found["classes"][0]["accuracy"] == alone["classes"][0]["accuracy"]
    assert found["verdicts"][0]["n_known"] == (known.y == 0).sum() > 0
    assert found["verdicts"][0]["found"]["n_normal"] == (splits.test.y == 0).sum()
    worst = alone["classes"][0]["worst"][0]["row"]
    assert found["classes"][0]["worst"][0]["row"] == place_of[worst] + 30
    assert "30 of 390 instances that were used to fit or calibrate the head 'kind' are left" in str(
        found["data"]["warnings"]
    )
    alone = report_facts(press, known, normal="0", baselines=None)
    assert alone["classes"] == []
    assert "the head 'kind' is not tested" in str(alone["data"]["warnings"])


@pytest.mark.parametrize("given", [{"baselines": "some"}, {"head": "forest"}])
def test_words_that_are_none_are_refused_before_anything_is_measured(press, splits, given):
    steps = []

    with pytest.raises((ValueError, IsthmusError), match=f"got .*{next(iter(given.values()))}"):
        report_facts(press, splits, on_progress=steps.append, **given)
    assert steps == []


# --- comparison with baselines ------------------------------------------------------------


def test_errors_are_the_encoders(facts, press, splits, place_of):
    errors = press.encoder.reconstruction_error(splits.test.X)

    assert facts["code"]["error"]["mean"] == pytest.approx(errors.mean())
    assert place_of[facts["code"]["shown"]["worst"][0]["row"]] == errors.argmax()
    assert place_of[facts["code"]["shown"]["best"][0]["row"]] == errors.argmin()


def test_layers_add_up_to_all_parameters(facts, press):
    assert sum(layer["parameters"] for layer in facts["code"]["layers"]) == (
        press.encoder.n_parameters_
    )


def test_who_is_near_on_the_map_is_near_as_a_code(press, splits, place_of, monkeypatch):
    monkeypatch.setattr(code_chapter, "MAX_ITERATIONS", 500)
    found = code_chapter.code_map(press.encoder, splits.test, 0)
    at = [place_of[row] for row in found["rows"]]
    codes = StandardScaler().fit_transform(press.encoder.transform(splits.test.X[at]))
    places = np.array(found["places"])

    assert found["labels"] == [str(label) for label in splits.test.y[at]]
    assert trustworthiness(codes, places, n_neighbors=10) > 0.95
    assert places.min() == 0
    assert places.max() == 1


def test_with_all_labels_the_curve_ends_where_evaluate_does(facts, press, splits):
    curves = facts["baseline_comparison"]["curves"]
    assert list(curves) == ["frozen code", "raw features", "PCA, same width", "untrained encoder"]
    assert {len(points) for points in curves.values()} == {5}  # 10, 30, 100, 300 and all

    head = CodeClassifier(press.encoder).fit(splits.train.X, splits.train.y)
    assert curves["frozen code"][-1]["accuracy"] == head.score(splits.test.X, splits.test.y)
    assert curves["frozen code"][0]["accuracy"] < curves["frozen code"][-1]["accuracy"]


def test_what_baselines_have_measured_is_taken_from_them(facts, press, splits, monkeypatch):
    train, test = splits.train, splits.test
    tests = Baselines(press.encoder, train.X, train.y, test.X, test.y, random_state=0)
    for name in ("raw", "pca", "untrained"):
        tests.test(name, "linear")
    head = CodeClassifier(press.encoder).fit(train.X, train.y)
    tests.add_result("code", "linear", evaluate(head, test.X, test.y, baselines=None)["code"])
    tests.clear_cache()
    monkeypatch.setattr(tests, "_fit_head", None)
    found = comparison_facts(press.encoder, train, test, measured=tests)
    for name, points in facts["baseline_comparison"]["curves"].items():
        for point, again in zip(points, found["curves"][name], strict=True):
            assert again == pytest.approx(point, abs=0.003)  # one of 360


@pytest.mark.parametrize(
    ("few", "many", "message"),
    [
        (0.9, 0.97, "the code improves on the baselines."),
        (0.9, 0.94, "the code improves on the baselines while labels are few."),
        (0.7, 0.97, "the code improves on the baselines only once labels are many."),
        (0.801, 0.949, "the code does not improve on the baselines here."),
        (0.7, 0.9, "the code does not improve on the baselines here."),
    ],
)
def test_the_verdict_follows_the_figures(few, many, message):
    def points(first, last):
        return [{"n_labels": 100, "accuracy": first}, {"n_labels": 9000, "accuracy": last}]

    curves = {"frozen code": points(few, many), "raw features": points(0.8, 0.95)}

    assert verdict(curves | {"supervised network": points(1, 1)[1:]}).endswith(message)


# --- the data ----------------------------------------------------------------------------


def test_columns_are_described_as_pandas_describes_them():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "width": np.where(rng.random(200) < 0.1, np.nan, rng.normal(size=200)),
            "kind": rng.choice(["nut", "bolt", "pin"], 200),
            "always": 1.0,
            "never": np.nan,
        }
    )
    width, kind, always, never = column_facts(frame)

    assert width["missing"] == frame["width"].isna().mean()
    assert (width["minimum"], width["median"], width["maximum"]) == (
        *(frame["width"].min(), frame["width"].median(), frame["width"].max()),
    )
    assert sum(width["counts"]) == frame["width"].notna().sum()
    assert kind["categories"] == [[k, n] for k, n in frame["kind"].value_counts().items()]
    assert sum(always["counts"]) == 200
    assert (never["minimum"], never["counts"]) == (None, [])


def test_what_to_be_wary_of_is_said(table):
    X = np.column_stack([table[:100], np.full(100, 7.0)])
    encoder = Autoencoder(3, max_epochs=1, random_state=0).fit(X)
    y = np.array(["usual"] * 150 + ["odd"])
    train = Dataset(np.vstack([X, X[:51]]), y)

    test = Dataset(X[:30])
    hashes = {"train": encoder.row_hashes(train.X), "test": encoder.row_hashes(test.X)}

    found = data_facts(train, test, hashes)["warnings"]

    assert found[0].startswith("30 of 30 test instances equal a training instance")
    assert found[1] == f"one column has the same value in all rows: {X.shape[1] - 1}"
    assert found[2].startswith("rare in the train part, below 1% of its labels: odd (1)")


def test_instances_that_the_encoder_learned_from_are_counted(press, splits):
    some = splits.train.take(np.arange(10))  # every other one was learned from

    assert any(
        warning.startswith("5 of 10 test instances were among those")
        for warning in report_facts(press, some)["data"]["warnings"]
    )


# --- odd data ----------------------------------------------------------------------------


def test_without_data_the_report_is_of_the_encoder_alone(press):
    found = report_facts(press)

    assert found["data"] is None
    assert (found["baseline_comparison"], found["classes"], found["verdicts"]) == (None, [], [])
    assert "map" not in found["code"]
    assert "This report covers" not in found["summary"]


@pytest.mark.parametrize("n", [1, 2, 29])
def test_few_instances_are_enough(press, splits, n):
    found = report_facts(press, splits.test.take(np.arange(n)), normal=str(splits.test.y[0]))

    assert found["code"]["map"]["n"] == n
    assert found["classes"][0]["n"] == n


def test_one_class_has_no_baseline_comparison(press, splits):
    alike = splits.train.take(np.flatnonzero(splits.train.y == 3))

    assert report_facts(press, alike.split(0.1, random_state=0))["baseline_comparison"] is None


def test_labels_that_are_missing_are_left_out(press, splits):
    y = splits.test.y[:29].astype(object)
    y[::3] = None
    found = report_facts(press, Dataset(splits.test.X[:29], y))

    assert found["classes"][0]["n"] == sum(label is not None for label in y)
    assert found["data"]["parts"]["test"]["n_labelled"] == found["classes"][0]["n"]


def test_abnormal_scores_rank_as_scikit_learn_ranks_them(facts, press, splits):
    scores = -press.heads["normal"].score_samples(splits.test.X)

    assert facts["verdicts"][0]["found"]["auroc"] == roc_auc_score(splits.test.y != 0, scores)


def test_a_table_without_labels(tmp_path, frame):
    Autoencoder(3, max_epochs=2, random_state=0).fit(frame).save(tmp_path / "wine")
    found = report_facts(load_bundle(tmp_path / "wine"), Dataset(frame[:25]))

    assert [column["name"] for column in found["data"]["columns"]] == list(frame.columns)
    assert found["data"]["parts"]["test"]["labels"] == []
