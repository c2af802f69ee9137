"""The width advisor against PCA, data of known rank, and curves whose knee is known."""

import json
import shlex

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA

from _commands import isthmus
from isthmus import Autoencoder, advise, load, load_bundle
from isthmus.data import CLASSES, Dataset
from isthmus.errors import DataError
from isthmus.evaluation import FewLabels
from isthmus.evaluation.width_advice import find_knee, narrowest_sufficient
from isthmus.plots import plot_widths

RANK = 4
LINEAR = {"hidden_layer_sizes": (), "noise": 0.0, "lr": 0.02, "batch_size": 64, "patience": None}


@pytest.fixture(scope="module")
def low_rank():
    """A table (800, 24) of rank four with a little noise, and three classes in it."""
    rng = np.random.default_rng(0)
    hidden = rng.uniform(-1, 1, size=(800, RANK))
    X = hidden @ rng.normal(size=(RANK, 24)) + 0.05 * rng.normal(size=(800, 24))
    return X, np.digitize(hidden[:, 0], [-0.33, 0.33])


@pytest.fixture(scope="module")
def linear(low_rank):
    """Advice on linear autoencoders, without labels."""
    return advise(low_rank[0], widths=[8, 1, 2, 4], max_epochs=25, random_state=0, **LINEAR)


@pytest.fixture(scope="module")
def labelled(digits):
    """Advice on a few digits, with labels."""
    return quick(digits[0][:400], digits[1][:400])


def quick(X, y=None, widths=(2, 8, 32), **settings):
    settings = {"architecture": "dense", "max_epochs": 2, "random_state": 0} | settings
    return advise(X, y, widths, **settings)


def same(first, second):
    """Whether two pieces of advice are the same but for the time they took."""
    plain = [advice.to_dict() for advice in (first, second)]
    for row in (row for facts in plain for row in facts["table"]):
        del row["seconds"]
    return plain[0] == plain[1]


def test_linear_codes_lose_what_pca_loses_and_the_knee_is_at_the_rank(linear):
    rows = linear.to_frame()
    assert list(rows.index) == [1, 2, 4, 8]
    np.testing.assert_allclose(rows.kept, rows.pca_kept, atol=0.01)
    assert linear.knee == linear.knee_pca == linear.n_components == RANK
    assert "knee" in linear.why
    assert rows.kept[RANK] > 0.98 > rows.kept[2]
    assert rows.accuracy.isna().all()
    assert linear.enough_for_labels is None


def test_pcas_error_is_scikit_learns(digits):
    X = digits[0][:500]
    advice = quick(X, widths=[5, 20])
    seed_of_split = np.random.RandomState(0).randint(2**31 - 1)
    parts = Dataset(X).split(0.2, random_state=seed_of_split)
    train, test = (part.X.reshape(len(part), -1) / 255 for part in (parts.train, parts.test))
    assert advice.mean_error == pytest.approx(np.mean((test - train.mean(axis=0)) ** 2), rel=1e-5)
    for row in advice.table:
        pca = PCA(row["width"]).fit(train)
        back = np.clip(pca.inverse_transform(pca.transform(test)), 0, 1)
        assert row["pca_error"] == pytest.approx(np.mean((back - test) ** 2), rel=1e-4)
        assert row["pca_kept"] == 1 - row["pca_error"] / advice.mean_error


def test_the_codes_error_and_loss_are_those_of_the_autoencoder(digits):
    X = digits[0][:300]
    advice = quick(X, widths=[6])
    seed = np.random.RandomState(0).randint(2**31 - 1)
    parts = Dataset(X).split(0.2, random_state=seed)
    encoder = Autoencoder(6, architecture="dense", recipe="fast", max_epochs=2, random_state=seed)
    encoder.fit(parts.train.X)
    back = encoder.inverse_transform(encoder.transform(parts.test.X)) / 255
    (row,) = advice.table
    assert row["error"] == pytest.approx(np.mean((back - parts.test.X / 255) ** 2), rel=1e-4)
    assert row["loss"] == pytest.approx(encoder.reconstruction_error(parts.test.X).mean())
    assert advice.n_components == 6
    assert "no knee" in advice.why


def test_labels_are_measured_beside_pca_and_raw_features(labelled):
    rows = labelled.to_frame()
    assert labelled.n_labels == 100
    assert labelled.n_labelled_held_out == labelled.n_held_out == 80
    assert ((rows.pca_accuracy > 0.3) & (rows.pca_accuracy <= 1)).all()
    assert (rows.accuracy_std > 0).all()
    assert labelled.raw_accuracy > 0.75
    assert rows.pca_accuracy[32] == pytest.approx(labelled.raw_accuracy, abs=0.1)
    assert labelled.n_components == labelled.enough_for_labels
    best = rows.accuracy.max()
    assert rows.accuracy[labelled.n_components] >= best - 0.05
    assert "few-label accuracy" in labelled.why


def test_the_same_seed_gives_the_same_advice(labelled, digits):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert same(labelled, quick(digits[0][:400], digits[1][:400]))
    other = quick(digits[0][:400], digits[1][:400], widths=[2], random_state=1)
    assert other.mean_error != labelled.mean_error, "another split"
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (np.array([0, 1, -1, 2]), [1, 1, 0, 1]),
        (np.array([1, -1, -1, 1]), [1, 1, 1, 1]),
        (np.array([1.0, np.nan, 0.0, -1.0]), [1, 0, 1, 0]),
        (np.array(["a", None, "", " "], dtype=object), [1, 0, 0, 0]),
        (np.array(["a", "", "-1", "b"]), [1, 0, 1, 1]),
        (np.array([True, None, False, np.nan], dtype=object), [1, 0, 1, 0]),
    ],
)
def test_what_counts_as_unlabelled(y, expected):
    assert CLASSES.has_label(y).tolist() == [bool(there) for there in expected]


def test_unlabelled_instances_train_the_encoder_but_not_the_head(digits):
    X, y = digits[0][:400], digits[1][:400].astype(float)
    y[::2] = np.nan
    y[1::10] = -1
    advice = quick(X, y, widths=[8])
    assert advice.n_train == 320
    assert advice.n_labelled_held_out < 60
    assert advice.n_labels == 64, "half of the labelled, for there are not twice ten a class"
    assert advice.raw_accuracy > 0.5
    with pytest.raises(DataError, match="0 labelled training instances .* leave y out"):
        quick(X, np.full(400, -1.5) * np.nan)


def test_draws_are_of_all_classes_alike_and_of_labelled_rows():
    y = np.repeat([0, 1, 2, -1], [200, 50, 6, 100])
    few = FewLabels(y, y, 30, 3, "linear", 0)
    for rows, labels in few._draws:
        assert len(set(rows)) == 30
        assert y[few.rows[rows]].tolist() == labels.tolist()
        assert np.bincount(labels).tolist() == [12, 12, 6]
    assert len(few.held_out) == 256
    # Features that are the class itself: always right.
    one_hot = np.eye(4)[y]
    assert few.correct_predictions(one_hot[few.rows], one_hot[few.held_out]).all()


def test_a_head_that_uses_unlabelled_instances_gets_them():
    rng = np.random.default_rng(0)
    # Two clumps of which a label each says nothing about the rest but through its neighbours.
    names = np.repeat(["a", "b"], 150)
    X = rng.normal(size=(300, 2)) + np.where(names == "a", 0, 12)[:, None]
    few = FewLabels(names, names, 4, 3, "spreading", 0)
    assert few.rows.tolist() == list(range(300))
    assert few.correct_predictions(X, X[few.held_out]).all()
    assert len(FewLabels(names, names, 4, 3, "linear", 0).rows) <= 12


def test_the_cap_leaves_labelled_rows(digits):
    X, y = digits[0][:1000], np.full(1000, -1)
    y[:100] = digits[1][:100]
    advice = quick(X, y, widths=[4], max_rows=200)
    assert (advice.n_rows, advice.n_train, advice.n_held_out) == (1000, 160, 40)
    assert advice.n_labelled_held_out == 20, "half of those that were drawn are labelled"
    assert "drawn from 1,000" in advice.summary()


def test_a_frame_with_categories_and_windows_of_series():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(200, 5)), columns=list("abcde"))
    frame["kind"] = rng.choice(["x", "y", "z"], size=200)
    advice = quick(frame, rng.choice(["p", "q"], size=200), widths="auto")
    assert advice.n_features == 8, "a category has an input for each value"
    assert [row["width"] for row in advice.table] == [2, 4]
    times = np.arange(400)
    long = pd.DataFrame({"t": times, "u": np.sin(times / 5), "v": rng.normal(size=400)})
    windows = load(long, kind="series", time="t", window=16)
    advice = quick(windows, architecture="conv1d", widths=[2, 4, 8])
    assert advice.kind == "series"
    assert advice.n_held_out == round(0.2 * len(windows))


@pytest.mark.parametrize(
    ("n_features", "expected"),
    [(2, [1]), (3, [1, 2]), (7, [1, 2, 3, 4, 5, 6]), (20, [2, 4, 8, 10, 16]),
     (64, [2, 4, 8, 16, 32]), (784, [8, 16, 32, 64, 128, 256])],
)  # fmt: skip
def test_widths_that_auto_takes(n_features, expected):
    from isthmus.evaluation.width_advice import _chosen_widths

    assert _chosen_widths("auto", n_features) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": [0, 4]}, r"widths=\[0, 4\], expected 'auto' or whole numbers from 1 to 23"),
        ({"widths": [4, 24]}, "narrower than the 24 values"),
        ({"widths": 8}, r"such as \[2, 4, 8, 12, 16\]"),
        ({"widths": []}, "expected 'auto'"),
        ({"widths": [2.5]}, "whole numbers"),
        ({"n_components": 8}, "pass widths="),
        ({"checkpoint_dir": "here"}, "leave it out"),
        ({"n_labels": 2}, r"n_labels=2, expected 'auto' or a whole number from 3 \(one a class\)"),
        ({"n_labels": 900}, r"to 640 \(the labelled"),
        ({"n_draws": 0}, "n_draws=0"),
        ({"max_rows": "many"}, "max_rows='many', expected 'auto' or"),
        ({"validation_fraction": 1.5}, "cannot set 150% of 800 instances aside"),
    ],
)
def test_what_cannot_be_used_is_said_before_training(low_rank, settings, message):
    with pytest.raises(DataError, match=message):
        advise(*low_rank, **settings)


def test_an_unknown_head_or_parameter_is_said(low_rank):
    with pytest.raises(ValueError, match="head='linaer'"):
        advise(*low_rank, head="linaer")
    with pytest.raises(TypeError, match="epochs"):
        advise(*low_rank, epochs=3)


def test_the_knee_of_known_curves():
    widths = 2 ** np.arange(7)
    assert find_knee(widths, [1, 0.6, 0.2, 0.15, 0.1, 0.05, 0]) == 4
    assert find_knee(widths, np.linspace(1, 0, 7)) is None
    assert find_knee(widths, np.ones(7)) is None
    assert find_knee(widths, [1, 0.99, 0.95, 0.9, 0.7, 0.4, 0]) is None, "bulges upwards"
    assert find_knee([2, 4], [1, 0]) is None
    # The authors' own example, -1/(x + 0.1) + 5 at ten points of [0, 1], has its knee at 0.22.
    x = np.arange(10) / 9
    assert find_knee(2 ** np.arange(10), 1 / (x + 0.1)) == 2**2


def test_the_narrowest_that_is_not_clearly_worse():
    rng = np.random.default_rng(0)
    right = [rng.random((5, 200)) < share for share in (0.6, 0.85)]
    nearly = right[1].copy()
    nearly[:, 0] = ~nearly[:, 0]
    assert narrowest_sufficient([2, 4, 8], [right[0], nearly, right[1]]) == 4
    assert narrowest_sufficient([2, 4, 8], [right[0], ~right[1], right[1]]) == 8
    assert narrowest_sufficient([2, 4], [right[1][:1], right[1][:1]]) == 2


def test_the_picture_has_both_curves_and_its_marks(labelled, linear):
    above, below = plot_widths(labelled).axes
    rows = labelled.to_frame()
    lines = {line.get_label(): line for line in below.lines}
    np.testing.assert_allclose(lines["code"].get_ydata(), rows.accuracy)
    np.testing.assert_allclose(lines["PCA"].get_ydata(), rows.pca_accuracy)
    assert lines["raw features"].get_ydata()[0] == labelled.raw_accuracy
    assert above.get_xlabel() == ""
    (above,) = plot_widths(json.loads(json.dumps(linear.to_dict()))).axes
    rows = linear.to_frame()
    lines = {line.get_label(): line for line in above.lines}
    np.testing.assert_allclose(lines["code"].get_ydata(), rows.error)
    np.testing.assert_allclose(lines["PCA"].get_ydata(), rows.pca_error)
    assert lines[f"knee of code: {RANK}"].get_xdata().tolist() == [RANK]
    assert lines[f"knee of PCA: {RANK}"].get_ydata().tolist() == [rows.pca_error[RANK]]
    assert lines[f"recommended: {RANK}"].get_xdata() == [RANK, RANK]
    assert above.get_xscale() == "log"
    with pytest.raises(DataError, match="got dict without a table of widths"):
        plot_widths({})


def test_the_summary_marks_the_width_recommended(labelled):
    lines = labelled.summary().splitlines()
    (marked,) = [line for line in lines if line.startswith("*") and "recommended" not in line]
    assert marked.split()[1] == str(labelled.n_components)
    assert max(map(len, lines[:-1])) <= 80
    assert repr(labelled) == f"Advice(n_components={labelled.n_components}, of widths 2, 8, 32)"


def test_the_command_prints_writes_and_draws(tmp_path):
    words = ["digits", "--widths", "2,8,32", "--max-rows", "300", "--max-epochs", "2"]
    done = isthmus("advise", *words, "-o", "wide.png", "--json", "-", cwd=tmp_path)
    facts = json.loads(done.stdout)
    assert [row["width"] for row in facts["table"]] == [2, 8, 32]
    assert facts["dataset"] == "digits"
    assert facts["n_train"] + facts["n_held_out"] == 300
    assert facts["output"] == ["wide.png", "wide.svg"]
    assert (tmp_path / "wide.png").stat().st_size > 10_000
    assert "recommended: n_components=" in done.stderr
    next_line = f"isthmus fit digits -o BUNDLE --n-components {facts['n_components']}"
    assert next_line in done.stderr


def test_the_command_refuses_early(tmp_path):
    for words, message in [
        (["--widths", "8;16"], "expected whole numbers such as 8,16,32, or auto"),
        (["-o", "wide.pdf"], "a name that ends in .png, .svg"),
        (["--widths", "64"], "whole numbers from 1 to 63"),
    ]:
        done = isthmus("advise", "digits", *words, cwd=tmp_path, check=False)
        assert done.returncode == 1
        assert message in done.stderr


def test_the_next_command_reads_the_file_as_it_was_read(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(60, 4)), columns=list("abcd")).round(3)
    table.assign(part=range(60), ok=[0, 1] * 30).to_csv(
        tmp_path / "t.csv", sep=";", decimal=",", index=False
    )
    options = ["--label", "ok", "--drop", "d", "--key", "part", "--decimal", ","]
    words = ("t.csv", "--widths", "2", "--max-epochs", "1", *options)
    done = isthmus("advise", *words, cwd=tmp_path)
    *_, line = (one for one in done.stdout.splitlines() if one.startswith("next"))
    line = shlex.split(line.replace("BUNDLE", "b"))[2:]
    isthmus(*line, "--max-epochs", "1", cwd=tmp_path)
    assert load_bundle(tmp_path / "b").encoder.schema_.columns == ("a", "b", "c")
