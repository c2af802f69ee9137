"""What the benchmarks rest on: splits, statistics and records; and that each of them runs."""

import functools
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, rankdata, sem
from sklearn.decomposition import PCA

from isthmus import Autoencoder
from isthmus._core import to_json
from isthmus.errors import DataError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are not here", allow_module_level=True)
sys.path.append(str(BENCHMARKS))  # scripts find the modules beside them in this way

import anomaly  # noqa: E402
import block_rates  # noqa: E402
import growth  # noqa: E402
import guarantees  # noqa: E402
import one_class  # noqa: E402
import rounding  # noqa: E402
import scale  # noqa: E402
import series  # noqa: E402
import series_detection  # noqa: E402
from common import (  # noqa: E402
    anomaly_tables,
    detector_scores,
    peer_detectors,
    series_peers,
    summary_statistics,
)
from common.guarantee_measures import alarm_rates, guarantee, monitor, selection  # noqa: E402
from common.records import Journal, run  # noqa: E402

SEEDS = [0, 1, 1000]


@pytest.fixture
def abnormal():
    """Thirty rows in a hundred, here and there."""
    marks = np.zeros(100, dtype=bool)
    marks[np.random.default_rng(0).permutation(100)[:30]] = True
    return marks


@pytest.fixture
def folder(tmp_path):
    """Two tables of 64 rows, 8 of them far away; the second comes first by name alone."""
    for seed, name in enumerate(["2_near", "10_far"]):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(64, 4))
        X[:8] += 6
        np.savez(tmp_path / f"{name}.npz", X=X, y=(np.arange(64) < 8).astype(int))
    return tmp_path


@pytest.fixture
def quick(monkeypatch):
    """Encoders that train for one epoch: what they say is of no account here."""
    for module in (detector_scores, guarantee, alarm_rates, series, series_detection):
        monkeypatch.setattr(module, "Autoencoder", functools.partial(Autoencoder, max_epochs=1))


@pytest.fixture
def call(monkeypatch, tmp_path, capsys):
    """Run a script as the command line would, and return what it wrote as JSON."""

    def call(script, *words):
        out = tmp_path / "facts.json"
        monkeypatch.setattr(sys, "argv", ["x.py", *map(str, words), "--json", str(out)])
        script.main()
        return json.loads(out.read_text())

    return call


@pytest.mark.parametrize("seed", SEEDS)
def test_no_abnormal_row_trains_and_all_of_them_test(abnormal, seed):
    split = anomaly_tables.one_class_split(abnormal, seed)
    assert not abnormal[split.train].any()
    assert len(split.train) == 35
    assert sorted([*split.train, *split.test]) == list(range(100))


def test_splits_depend_on_the_seed_and_on_nothing_else(abnormal):
    first, again, other = (
        anomaly_tables.one_class_split(abnormal, seed).train for seed in (0, 0, 1)
    )
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


def test_of_a_large_table_so_many_rows_are_drawn_before_the_split(abnormal):
    split = anomaly_tables.one_class_split(abnormal, 0, max_rows=40)
    rows = [*split.train, *split.test]
    assert len(set(rows)) == len(rows) == 40
    assert len(split.train) == (~abnormal[rows]).sum() // 2


@pytest.mark.parametrize("seed", SEEDS)
def test_the_split_for_labels_is_stratified(abnormal, seed):
    split = anomaly_tables.labelled_split(abnormal, seed)
    assert (len(split.train), abnormal[split.train].sum()) == (70, 21)
    assert sorted([*split.train, *split.test]) == list(range(100))


def test_labels_are_of_abnormal_training_rows_and_fewer_are_among_more(abnormal):
    train = anomaly_tables.labelled_split(abnormal, 0).train
    one, two, three = (
        set(anomaly_tables.labelled_rows(abnormal, train, fraction, 0))
        for fraction in (0.01, 0.05, 0.1)
    )
    assert [len(one), len(two), len(three)] == [1, 2, 3]
    assert one < two < three <= set(train[abnormal[train]])


def test_the_validation_half_is_half_of_each_kind_and_always_the_same(abnormal):
    half = anomaly_tables.validation_half(abnormal)
    assert (half & abnormal).sum() == 15
    assert (half & ~abnormal).sum() == 35
    assert half.tolist() == anomaly_tables.validation_half(abnormal).tolist()


def test_tables_come_in_the_order_of_their_numbers(folder):
    assert [path.stem for path in anomaly_tables.find_tables(folder)] == ["2_near", "10_far"]
    assert [path.stem for path in anomaly_tables.find_tables(folder, "10_far")] == ["10_far"]


def test_a_table_that_is_not_there_is_named_with_its_neighbour(folder):
    with pytest.raises(DataError, match="no far.npz.*did you mean 10_far"):
        anomaly_tables.find_tables(folder, "far")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": np.arange(4) % 3}, "y of 0 .* and 1"),
        ({"y": np.array([0, 0, 0, 1])}, "fewer than two"),
        ({"X": np.array([[1.0], [2], [np.nan], [3]])}, "row 2"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **({"X": np.ones((4, 1)), "y": [0, 0, 1, 1]} | arrays))
    with pytest.raises(DataError, match=message):
        anomaly_tables.read_table(tmp_path / "bad.npz")


def test_mean_ranks_are_scipys_with_the_highest_first():
    values = np.random.default_rng(0).integers(5, size=(20, 6)) / 5  # with many ties
    expected = np.mean([rankdata(-row) for row in values], axis=0)
    assert summary_statistics.mean_ranks(values) == pytest.approx(expected)


def test_the_interval_over_many_tables_is_the_normal_one():
    values = np.random.default_rng(0).exponential(size=400)
    found = summary_statistics.paired_interval(values)
    margin = norm.ppf(0.975) * values.std() / np.sqrt(400)
    assert found["mean"] == pytest.approx(values.mean())
    assert found["low"] == pytest.approx(values.mean() - margin, abs=margin / 10)
    assert found["high"] == pytest.approx(values.mean() + margin, abs=margin / 10)


def test_the_interval_of_two_tables_reaches_from_one_to_the_other():
    # Their mean is drawn as 0, 1/2 and 1 with probabilities 1/4, 1/2 and 1/4.
    assert summary_statistics.paired_interval([0.0, 1.0]) == {"mean": 0.5, "low": 0.0, "high": 1.0}


def one_run(table, seed, *values, extra=()):
    names = ["kNN", "ours", "ours, other (part)"]
    methods = {
        name: {"auroc": value, "seconds_fit": None if "part" in name else 2.0, "seconds_score": 1.0}
        for name, value in zip([*names, *extra], values, strict=True)
    }
    return {"table": table, "seed": seed, "methods": methods}


def test_a_summary_is_the_mean_over_tables_of_means_over_seeds():
    runs = [
        one_run("a", 0, 0.5, 0.75, 1.0),
        one_run("a", 1, 0.5, 0.25, 1.0),
        one_run("b", 0, 0.25, 0.5, 1.0, 0.5, extra=["late"]),
        one_run("b", 1, 0.25, 1.0, 1.0),
    ]
    found = summary_statistics.summarise(runs, "kNN", ["auroc"])
    assert found["per_table"]["auroc"]["b"] == {
        "kNN": 0.25,
        "ours": 0.75,
        "ours, other (part)": 1.0,
    }
    ours = found["methods"]["ours"]
    assert ours["auroc"]["mean"] == 0.625
    assert ours["auroc"]["spread"] == 0.0  # 5/8 with either seed
    assert ours["auroc"]["rank"] == 1.25
    assert ours["auroc"]["difference"] == {"mean": 0.25, "low": 0.0, "high": 0.5}
    assert (ours["seconds_fit"], ours["seconds_score"]) == (2.0, 1.0)
    part = found["methods"]["ours, other (part)"]
    assert (part["auroc"]["rank"], part["seconds_fit"]) == (None, None)
    assert found["left_out"] == ["late"]
    to_json(found)  # refuses what JSON does not know


def test_there_is_no_spread_over_seeds_that_lack_tables():
    runs = [one_run("a", 0, 0.5, 0.5, 0.5), one_run("a", 1, 0.5, 0.5, 0.5)]
    runs.append(one_run("b", 0, 0.5, 0.5, 0.5))
    assert (
        summary_statistics.summarise(runs, "kNN", ["auroc"])["methods"]["kNN"]["auroc"]["spread"]
        is None
    )


def test_a_journal_is_taken_up_where_it_ended(tmp_path):
    path = tmp_path / "runs.jsonl"
    Journal(path, {"mode": "a"}).add({"table": "x", "seed": 0, "methods": {}})
    again = Journal(path, {"mode": "a"})
    assert again.has(table="x", seed=0)
    assert not again.has(table="x", seed=1)
    again.add({"table": "x", "seed": 1, "methods": {}})
    assert len(Journal(path, {"mode": "a"}).records) == 2


def test_a_journal_of_something_else_is_refused(tmp_path):
    path = tmp_path / "runs.jsonl"
    Journal(path, {"mode": "a"}).add({})
    with pytest.raises(DataError, match="'mode': 'a'.*'mode': 'b'"):
        Journal(path, {"mode": "b"})
    path.write_text("[1, 2]\n")
    with pytest.raises(DataError, match="does not hold the runs"):
        Journal(path, {"mode": "a"})


@pytest.mark.parametrize("name", peer_detectors.detectors(slow=True))
def test_every_peer_ranks_what_is_far_away_last(name, monkeypatch):
    monkeypatch.setattr("common.denoising_diffusion.MIN_STEPS", 0)
    train = np.random.default_rng(0).normal(size=(100, 3))
    score = peer_detectors.detectors(slow=True)[name](train, 0)
    scores = score(np.vstack([train[:20], [[9.0, -9.0, 9.0]]]))
    assert scores.argmax() == 20


def test_the_neighbours_are_the_five_nearest():
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(50, 3)), rng.normal(size=(7, 3))
    distances = np.sort(np.linalg.norm(test[:, None] - train, axis=2), axis=1)
    found = peer_detectors.neighbours(train, 0)(test)
    assert found == pytest.approx(distances[:, :5].mean(axis=1))


def test_the_pca_residual_is_what_pca_leaves():
    rng = np.random.default_rng(0)
    train = rng.normal(size=(50, 6)) * [9, 5, 1, 1, 1, 1]
    pca = PCA(0.9, svd_solver="full").fit(train)
    left = ((train - pca.inverse_transform(pca.transform(train))) ** 2).sum(axis=1)
    assert peer_detectors.pca_residual(train, 0)(train) == pytest.approx(left)


def test_the_pca_residual_leaves_something_where_every_component_is_needed():
    train = np.random.default_rng(0).normal(size=(500, 3))
    assert peer_detectors.pca_residual(train, 0)(train).mean() > 0.1


def test_the_parts_of_a_detector_hold_its_own_score(quick):
    X = np.random.default_rng(0).normal(size=(60, 4))
    detector = detector_scores.fit_detector(X[:40], seed=0)
    parts = detector_scores.score_parts(detector, X[40:])
    assert parts[detector.method_] == pytest.approx(-detector.score_samples(X[40:]))
    assert {"neighbours", "mahalanobis", "reconstruction"} < set(parts)


def test_what_is_drawn_for_a_detector_is_not_drawn_for_its_test():
    mine, new = guarantee.draw(np.arange(100, 200), 30, [0, 1])
    assert len(set(mine) | set(new)) == 60
    assert min(mine.min(), new.min()) >= 100


def test_a_check_allows_two_standard_errors():
    values = [0.1, 0.2, 0.3]
    found = guarantee.at_most(values, 0.2 - 1.99 * sem(values))
    assert (found["mean"], found["se"]) == (pytest.approx(0.2), pytest.approx(sem(values)))
    assert found["holds"]
    assert not guarantee.at_most(values, 0.2 - 2.01 * sem(values))["holds"]


def test_nothing_selected_is_no_false_discovery():
    abnormal = np.array([True, False])
    assert selection.discoveries(np.array([False, False]), abnormal) == (0.0, 0.0)


@pytest.mark.slow
def test_a_run_without_labels_says_it_all_and_is_not_run_again(quick, folder, call, monkeypatch):
    words = [folder, "--seeds", 2, "--out", folder / "runs.jsonl"]
    found = call(anomaly, *words)
    [part] = found["summaries"]
    summary = part["summary"]
    assert (summary["tables"], summary["seeds"]) == (["2_near", "10_far"], [0, 1])
    assert {"isthmus", "isthmus neighbours (part)", *peer_detectors.PEERS} <= set(
        summary["methods"]
    )
    for name, method in summary["methods"].items():
        for metric in ("auroc", "aucpr", "auroc_other_half", "aucpr_other_half"):
            assert 0 <= method[metric]["mean"] <= 1
            assert (method[metric]["rank"] is None) == name.endswith("(part)")
    assert summary["methods"]["kNN"]["auroc"]["mean"] == 1.0  # eight rows far away
    monkeypatch.setattr(anomaly, "measure", None)
    assert call(anomaly, *words)["runs"] == found["runs"]


def test_few_labels_are_measured_once_where_fractions_come_to_the_same(quick, folder, call):
    found = call(anomaly, folder, "--labels", "--seeds", 1, "--tables", "2_near")
    assert [part["fraction"] for part in found["summaries"]] == [0.01, 0.05, 0.1]
    assert [one["labels"] for one in found["runs"]] == [1, 1, 1]
    first, *others = [one["methods"] for one in found["runs"]]
    assert others == [first, first]
    assert {"isthmus", "isthmus label-free (part)", "isthmus head (part)"} < set(first)


def test_fits_are_timed_beside_those_of_pyod(quick, folder, call, monkeypatch):
    fitted = []
    peers = {anomaly.PYOD: lambda train, seed: fitted.append(len(train))}
    monkeypatch.setattr(anomaly, "detectors", lambda: peers)
    found = call(anomaly, folder, "--fits", "--tables", "2_near")
    [one] = found["runs"]
    assert len(fitted) == anomaly.ROUNDS
    assert set(one["methods"]) == {"isthmus", anomaly.PYOD}
    assert all(method["seconds_fit"] >= 0 for method in one["methods"].values())


def test_validation_uses_other_seeds_and_compares_sums(quick, folder, call):
    found = call(anomaly, folder, "--validate", "--seeds", 1, "--tables", "2_near")
    [one] = found["runs"]
    assert one["seed"] == 1000
    methods = one["methods"]
    # The default is one of the sums it was chosen among.
    assert methods["combined"] == methods["near, k=5 + 0.25 reconstruction"]


def test_one_class_ranks_the_other_digits(quick, call):
    found = call(one_class, "digits", "--classes", "0")
    assert found["summary"]["tables"] == ["0"]
    assert found["summary"]["methods"]["kNN on pixels"]["auroc"]["mean"] > 0.99


def test_a_class_that_is_not_there_is_refused():
    with pytest.raises(DataError, match="'7', expected some of 0, 1"):
        one_class.choose_classes(np.array([1, 0, 1]), "0,7")


@pytest.mark.slow
def test_rates_and_selection_are_checked(quick, call, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 4)) + 9 * (np.arange(1000) < 20)[:, None]
    np.savez(tmp_path / "one.npz", X=X, y=(np.arange(1000) < 20).astype(int))
    monkeypatch.setattr(selection, "BATCH_NORMAL", 100)
    monkeypatch.setattr(selection, "BATCH_ABNORMAL", 20)
    words = ["--tables", "one", "--splits", 4, "--refit", 2, "--cross", 2, "--cross-table", "one"]
    found = call(
        guarantees,
        tmp_path,
        *words,
        *("--only", "rates,selection"),
        *("--simulated-batches", 5),
        *("--batch-table", "one", "--batches", 3),
    )
    assert [one["asked"] for one in found["rates"]] == [0.01, 0.05, 0.1] * 3
    assert [one["splits"] for one in found["rates"]] == [4] * 3 + [2] * 6
    assert all(one["expected"] <= one["asked"] for one in found["rates"])
    assert all(one["mean"] < one["asked"] + 0.1 for one in found["rates"])
    selected, *simulated = found["selection"]
    assert selected["power"] == 1.0  # nine standard deviations away
    assert selected["mean"] < 0.5
    assert selected["bound"] >= selected["mean"]
    assert len(simulated) == 2 * len(selection.SIMULATED)


@pytest.mark.slow
def test_no_verdict_differs_between_library_graph_stream_and_service(call):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("uvicorn")
    found = call(rounding, "--seeds", 6)  # one of each method
    assert found["rows"] == 6 * 240
    assert found["near"] > 0
    assert found["differ"] == dict.fromkeys(("graph", "stream", "service"), 0)
    assert max(found["scores"].values()) < 1e-4


@pytest.mark.slow
def test_realised_rates_of_simulated_blocks_stand_beside_the_rates_asked(call):
    found = call(block_rates, "--runs", 20)["rates"]
    assert [one["n"] for one in found] == [1200, 5000] * 4
    for one in found:
        assert one["points"]["mean"] <= 1 + 3 * one["points"]["error"]
        assert one["points_in_band"]["mean"] >= 0.7
    smooth = found[-2]
    assert smooth["all_points"]["mean"] > 1.3 > smooth["points"]["mean"]


@pytest.fixture
def slopes(tmp_path):
    """A pair in a folder of its own: series that go up or down."""
    rng = np.random.default_rng(0)
    (tmp_path / "slopes").mkdir()
    for part in ("TRAIN", "TEST"):
        lines = ["@univariate true", "@classLabel true up down", "@data"]
        for row in range(12):
            slope = 1 if row % 2 else -1
            values = slope * np.arange(16) + rng.normal(size=16)
            lines.append(",".join(f"{v:.4f}" for v in values) + (":up" if row % 2 else ":down"))
        (tmp_path / "slopes" / f"Slopes_{part}.ts").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_series_stand_beside_their_baselines(quick, call, slopes, capsys):
    facts = call(series, slopes, "--seeds", 2, "--peers-python", "nowhere/python")
    assert "MiniRocket and ROCKET are left out" in capsys.readouterr().err
    assert facts["mean"] == facts["summary"]["Slopes"]
    found = facts["summary"]["Slopes"]
    assert list(found) == [
        "frozen code",
        "raw features",
        "PCA, same width",
        "untrained encoder",
        "1-NN, raw values",
    ]
    assert found["1-NN, raw values"] == {"mean": 1, "lowest": 1, "highest": 1, "spread": 0}


def test_rocket_features_stand_beside_the_code(quick, call, slopes, monkeypatch, capsys):
    monkeypatch.setattr(series, "find_aeon", lambda python: ("1.6.0", slopes / "slopes"))
    monkeypatch.setattr(series, "AEON_PAIRS", ("Slopes",))
    monkeypatch.setattr(series, "measure_peers", lambda *_: {series.MINIROCKET: 1.0})
    facts = call(series, "--aeon", "--seeds", 1)
    assert facts["versions"]["aeon"] == "1.6.0"
    behind = 100 * (1 - facts["mean"]["frozen code"]["mean"])
    assert f"{behind:.1f} points" in capsys.readouterr().out


def test_a_ridge_classifier_decides_on_the_features_of_the_peers():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 9, 2)), np.arange(40) % 2
    X[y == 1] += 2
    arrays = {"X_train": X[:20], "y_train": y[:20], "X_test": X[20:], "y_test": y[20:]}

    class ChannelMeans:
        def fit_transform(self, X):
            return self.transform(X)

        def transform(self, X):
            assert X.shape == (20, 2, 9)  # aeon has the channels first
            return X.mean(axis=2)

    assert series_peers.accuracies(arrays, {"means": ChannelMeans}) == {"means": 1.0}


def test_half_a_pair_is_named(tmp_path):
    (tmp_path / "Odd_TRAIN.ts").touch()
    with pytest.raises(DataError, match="Odd_TEST.ts is not there"):
        series.find_pairs(tmp_path)


@pytest.mark.slow
def test_time_points_are_found_beside_the_other_detectors(quick, call, tmp_path, monkeypatch):
    monkeypatch.setattr("common.series_rates.FIT_SIZES", (600,))
    monkeypatch.setattr("common.series_rates.SCORE_SIZE", 2000)
    rng = np.random.default_rng(0)
    waves = np.sin(np.arange(800) / 4)[:, None] + 0.05 * rng.normal(size=(800, 2))
    y = (np.arange(300) // 50 == 3).astype(int)
    waves[500:][y == 1] *= 6
    np.savez(tmp_path / "wave_loud.npz", train=waves[:500], test=waves[500:], y=y)
    facts = call(series_detection, tmp_path, "--seeds", 1, "--window", 16, "--ablation")
    assert facts["rates"]["n"] == 0  # the training part is too short to tell
    assert [one["n"] for one in facts["seconds"]] == [600, 200, 2000]
    found = facts["summary"]
    assert list(found["isthmus"]) == ["all", "wave"]
    assert "without the network's residual" in found
    for name in ("isthmus", "PCA residual", "nearest windows"):
        assert found[name]["all"]["auroc"] > 0.9
        assert 0.5 < found[name]["all"]["vus_pr"] <= 1


def test_monitor_is_measured_without_drift_and_with_a_shift(call, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "one.npz", X=rng.normal(size=(900, 4)), y=(np.arange(900) < 9).astype(int))
    monkeypatch.setattr(monitor, "QUIET", (0,))
    monkeypatch.setattr(monitor, "MOST", 1000)
    monkeypatch.setattr(monitor, "SHIFTS", (1.0,))
    words = ["--tables", "one", "--runs", 2, "--shifted", 2, "--stream", 500]
    found = call(guarantees, tmp_path, "--only", "monitor", *words)["monitor"]
    assert [one["stream"] for one in found[:-1]] == ["simulated"] * 3 + ["one"] * 3
    assert all(one["splits"] == 2 and 0 <= one["mean"] <= 1 for one in found[:-1])
    assert found[-1]["monitor"]["found"] == found[-1]["named"] == 1.0
    assert found[-1]["monitor"]["quartiles"][1] < 200


@pytest.mark.parametrize("script", [anomaly, guarantees, one_class, series, series_detection])
def test_help_says_what_is_measured(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["x.py", "--help"])
    with pytest.raises(SystemExit) as left:
        script.main()
    assert left.value.code == 0
    assert script.__doc__.splitlines()[0] in capsys.readouterr().out


def test_bad_input_is_one_sentence_and_status_1(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x.py", str(tmp_path)])
    with pytest.raises(SystemExit, match="^error: .* holds no .npz file"):
        run(anomaly.main)


def test_scale_writes_its_rows_once_and_says_what_did_not_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(scale, "FILE_ROWS", 100)
    small, large = scale.data(tmp_path, 150), scale.data(tmp_path, 300)
    frame = pd.read_parquet(large)
    assert frame["id"].tolist() == list(range(300))
    pd.testing.assert_frame_equal(pd.read_parquet(small)[:100], frame[:100])
    assert len(list((tmp_path / "files").iterdir())) == 4  # three whole ones, and half of one

    journal = Journal(None, {"kills": 20})
    for rows, peak in ((100, 900.0), (200, 950.0), (300, 1000.0)):
        # A start that takes its time is no reason to call it bent.
        seconds = {"seconds": 50 + rows / 10, "rows_per_second": 10.0, "peak_mb": peak}
        journal.add({"name": "memory", "rows": rows, "fit": seconds, "score": seconds})
    journal.add({"name": "array", "rows": 100, "rows_per_second": 12.0})
    journal.add({"name": "kill_fit", "same": 19, "killed": 20, "wrong": None})
    held = [row[-1] for row in scale.table(journal, [100, 200, 300])]
    assert held == ["NO", "yes", "yes", "NO"]


@pytest.mark.parametrize("script", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
def test_every_script_prints_its_help(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit, match="^0$"):
        runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out.startswith(f"usage: {script.name}")


def test_an_exponent_is_the_slope_of_the_upper_half():
    seconds = {size: max(6e-5, 2e-9 * size**1.5) for size in (10, 100, 1000, 10**4, 10**5)}

    assert growth.exponent(seconds) == pytest.approx(1.5)
    assert growth.steepest(seconds) == pytest.approx(1.5)


@pytest.mark.slow
def test_growth_is_printed_by_axis_with_what_is_above_the_highest(call, monkeypatch):
    monkeypatch.setitem(growth.AXES, "classes", ((2, 5, 10), growth.AXES["classes"][1]))
    facts = call(growth, "--only", "classes,references", "--largest", "1000")

    assert set(facts["axes"]) == {"classes", "references"}
    assert list(facts["axes"]["references"]["score"]["seconds"]) == ["500", "1000"]
    assert all(np.isfinite(one["exponent"]) for one in facts["axes"]["classes"].values())
