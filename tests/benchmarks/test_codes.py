"""What the benchmarks of codes rest on, and that they run."""

import functools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are not here", allow_module_level=True)
sys.path.append(str(BENCHMARKS))  # scripts find the modules beside them in this way

import codes  # noqa: E402
import suggestions  # noqa: E402
from common.head_accuracy import Graph, draws, one_class  # noqa: E402
from isthmus import Autoencoder  # noqa: E402
from isthmus.classification import SpreadingHead  # noqa: E402
from isthmus.errors import DataError  # noqa: E402


@pytest.fixture(scope="module")
def halves(digits):
    """Standardised pixels and labels: 1,000 to learn from, the rest to test on."""
    images, y = digits
    flat = images.reshape(len(images), -1).astype(np.float32)
    flat = (flat - flat.mean(axis=0)) / np.maximum(flat.std(axis=0), 1)
    return flat[:1000], y[:1000], flat[1000:], y[1000:]


def test_one_graph_for_many_draws_decides_as_the_head_does(halves):
    train, y, test, _ = halves
    graph = Graph(train, test)
    for rows in draws(y, 2)[100]:
        partly = np.full(len(y), -1)
        partly[rows] = y[rows]
        expected = SpreadingHead().fit(train, partly).predict(test)
        np.testing.assert_array_equal(graph.predict(rows, y[rows]), expected)


def test_draws_have_as_many_labels_of_each_class_and_differ(halves):
    _, y, _, _ = halves
    found = draws(y, 3)
    assert list(found) == [100]  # 1,000 labels would be all there are
    for rows in found[100]:
        assert np.bincount(y[rows]).tolist() == [10] * 10
        assert len(set(rows.tolist())) == 100
    assert not np.array_equal(np.sort(found[100][0]), np.sort(found[100][1]))


def test_one_class_is_ranked_by_the_mean_distance_to_five_neighbours(halves):
    train, y, test, truth = halves
    found = one_class(train, y, test, truth)
    near = NearestNeighbors(n_neighbors=5).fit(train[y == 3])
    distances, _ = near.kneighbors(test)
    assert found["3"] == pytest.approx(roc_auc_score(truth != 3, distances.mean(axis=1)), abs=1e-9)
    assert len(found) == 10


@pytest.fixture
def few_digits(digits, tmp_path):
    """A folder of 300 training and 100 test images: the head with a network learns them soon."""
    for part, rows in (("train", range(300)), ("test", range(300, 400))):
        for row in rows:
            folder = tmp_path / "few" / part / str(digits[1][row])
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(digits[0][row]).save(folder / f"{row}.png")
    return tmp_path / "few"


@pytest.mark.slow
def test_a_run_says_it_all_and_is_not_run_again(few_digits, tmp_path, monkeypatch, capsys):
    words = [str(BENCHMARKS / "codes.py"), str(few_digits), "--only", "fast", "--max-epochs", "1"]
    words += ["--draws", "1", "--out", str(tmp_path / "runs.jsonl")]
    words += ["--json", str(tmp_path / "all.json"), "--picture", str(tmp_path / "picture.png")]
    monkeypatch.setattr(sys, "argv", words)

    codes.main()
    first = capsys.readouterr().out
    monkeypatch.setattr(codes, "in_a_process", lambda *_: pytest.fail("it was run again"))
    codes.main()

    assert "best" in first
    assert capsys.readouterr().out == first
    (run,) = json.loads((tmp_path / "all.json").read_text())["runs"]
    assert set(run["heads"]) == {"linear", "neighbours", "mlp", "svm", "best"}
    assert run["heads"]["best"]["test"] == run["heads"][run["heads"]["best"]["head"]]["test"]
    assert (tmp_path / "picture.png").stat().st_size > 0


def test_an_unknown_source_is_refused_with_those_there_are():
    with pytest.raises(DataError, match=r"got the source 'best', expected some of fast, default"):
        codes.choose_sources("best")


def test_suggestions_are_measured_with_several_encoders_each_of_them_once(
    few_digits, tmp_path, monkeypatch, capsys
):
    def call(seeds):
        out = tmp_path / f"{seeds}.json"
        words = ["x.py", str(few_digits), "--recipe", "fast", "--draws", "2", "--seeds", str(seeds)]
        words += ["--out", str(tmp_path / "runs.jsonl"), "--json", str(out)]
        monkeypatch.setattr(sys, "argv", words)
        suggestions.main()
        return json.loads(out.read_text())["runs"], capsys.readouterr().out

    monkeypatch.setattr(suggestions, "Autoencoder", functools.partial(Autoencoder, max_epochs=1))
    one, _ = call(1)
    two, printed = call(2)

    assert two[0] == one[0]
    assert [run["seed"] for run in two] == [0, 1]
    values = [
        [100 * draw["100"] for draw in run["accuracy"]["spreading"]["suggested"]] for run in two
    ]
    assert values[0] != values[1]
    low, high = np.min(values), np.max(values)
    assert f"{np.mean(values):.2f} ({low:.1f} to {high:.1f})" in printed
    assert all(f"{np.mean(of_one):.2f} (" in printed for of_one in values)
    monkeypatch.setattr(suggestions, "of_encoder", lambda *_: pytest.fail("it was run again"))
    assert call(2) == (two, printed)
