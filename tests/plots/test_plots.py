"""Pictures show the numbers they were given, and say so when they cannot."""

import io
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

import isthmus.plots
from isthmus import Autoencoder
from isthmus.errors import DataError, MissingExtraError
from isthmus.plots import plot_confusion, plot_history, save_figure
from isthmus.plots.baseline_comparison import plot_heads, plot_label_shares
from isthmus.plots.reconstructions import plot_predictions, plot_reconstructions, plot_samples
from isthmus.plots.style import name_classes, readable


def texts(labels):
    return [label.get_text() for label in labels]


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.get_visible()]


def pictures(figure):
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


def headline(figure):
    return figure.get_suptitle()


def crowd(n_classes, prefix="class "):
    labels = np.repeat(np.arange(n_classes), np.arange(n_classes) % 5 + 1)
    return labels, [f"{prefix}{at}" for at in range(n_classes)]


# label shares


def test_a_notebook_draws_a_figure_by_itself():
    png = plot_label_shares(["a", "b"], ["b", "a"])._repr_png_()  # what IPython asks for
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.width == 800


def test_upright_bars_are_the_shares():
    y = np.array([0, 0, 1, 2, 3, 4, 4, 4, 4, 4])
    (axes,) = plot_label_shares(y, [0, 1, 2, 3, 3]).axes
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == pytest.approx([0.2, 0.1, 0.1, 0.1, 0.5, 0.2, 0.2, 0.2, 0.4, 0])
    assert texts(axes.get_xticklabels()) == ["0", "1", "2", "3", "4"]
    assert texts(axes.get_legend().get_texts()) == ["train (10)", "test (5)"]
    assert texts(axes.texts) == ["0"], "the class that test lacks is marked"


def test_bars_of_train_and_test_are_side_by_side():
    (axes,) = plot_label_shares(["a", "b"], ["b", "b"]).axes
    spans = sorted((bar.get_y(), bar.get_y() + bar.get_height()) for bar in axes.patches)
    assert all(end <= start + 1e-9 for (_, end), (start, _) in pairwise(spans))


@pytest.mark.parametrize("n_classes", [1, 2, 12, 13, 40])
def test_lying_bars_are_named_from_the_top(n_classes):
    y, names = crowd(n_classes, "kind of thing number ")
    (axes,) = plot_label_shares(y, y[: len(y) // 2 + 1], names).axes
    widths = [bar.get_width() for bar in axes.patches[:n_classes]]
    assert widths == pytest.approx(np.bincount(y) / len(y))
    assert texts(axes.get_yticklabels()) == names
    assert axes.yaxis_inverted()


def test_many_classes_are_bars_and_dots_with_every_fifth_named():
    y, names = crowd(200)
    (axes,) = plot_label_shares(y, y[::2], names).axes
    assert [bar.get_height() for bar in axes.patches] == pytest.approx(np.bincount(y) / len(y))
    dots = np.bincount(y[::2], minlength=200) / len(y[::2])
    assert axes.lines[0].get_ydata() == pytest.approx(dots)
    assert texts(axes.get_xticklabels()) == names[::5]
    assert "every 5th" in axes.get_xlabel()


def test_shares_are_of_the_labelled():
    (axes,) = plot_label_shares(["a", "a", "b", None], None).axes
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([2 / 3, 1 / 3])
    assert texts(axes.get_legend().get_texts()) == ["train (3 labelled of 4)"]


def test_measurements_are_no_labels():
    with pytest.raises(DataError, match="1001 distinct labels.*numpy.digitize"):
        plot_label_shares(np.linspace(0, 1, 1001), [0.5])
    with pytest.raises(DataError, match="no labels in test"):
        plot_label_shares([0, 1], [None, None])


# names


def test_names_go_to_labels_in_every_way_they_match():
    names = ["cat", "dog", "eel"]
    assert name_classes([[3, 5, 9]], names)[1][0].tolist() == [0, 1, 2]
    assert name_classes([[0, 2]], names)[1][0].tolist() == [0, 2]
    assert name_classes([np.array(["eel", "cat"])], names)[1][0].tolist() == [2, 0]
    found, (_, test) = name_classes([[1, 2, 3], [2, 7]], names)
    assert found == ["cat", "dog", "eel", "7"], "a class that only test has keeps its label"
    assert test.tolist() == [1, 3]
    with pytest.raises(DataError, match="got 3 class names for 2 distinct labels"):
        name_classes([[8, 9]], names)


def test_missing_labels_and_whole_floats():
    found, (train,) = name_classes([[2.0, None, 1.0]])
    assert found == ["1", "2"]
    assert train.tolist() == [1, -1, 0]


def test_readable_names_are_short_and_never_formulas():
    assert readable("one\ttwo", 20) == "one two"
    assert readable("a very long name 17", 9) == "a ver… 17"
    figure = plot_samples(np.zeros((2, 4, 4)), ["$5", "x$^$"])
    figure.draw_without_rendering()


# samples


def test_samples_are_the_first_images_under_their_labels(digits):
    X, y = digits
    figure = plot_samples(X, y, n=7)
    assert titles(figure) == [str(label) for label in y[:7]]
    for got, expected in zip(pictures(figure), X[:7], strict=True):
        assert np.array_equal(got, expected)
    assert figure.axes[0].images[0].get_clim() == (0, 255)
    assert headline(figure) == "The first 7 images and their labels"


def test_more_than_ten_go_on_in_the_next_row(images):
    figure = plot_samples(images, n=13)
    assert len(pictures(figure)) == 13
    figure.draw_without_rendering()
    visible = [axes for axes in figure.axes if axes.get_visible()]
    assert visible[10].get_position().y1 < visible[0].get_position().y0


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_colour_images_in_either_unit_look_the_same(channels):
    X = np.random.default_rng(0).integers(0, 256, (3, 6, 9, channels), dtype=np.uint8)
    X[0].flat[:2] = 0, 255
    bytes_, floats = plot_samples(X), plot_samples(X / 255)
    for one, other, expected in zip(pictures(bytes_), pictures(floats), X, strict=True):
        assert np.array_equal(one, expected.squeeze())
        assert other == pytest.approx(expected.squeeze() / 255)


def test_columns_of_one_scale_are_drawn_in_their_own_units():
    X = np.random.default_rng(0).normal(size=(6, 200))
    figure = plot_samples(X, n=2)
    assert figure.axes[1].lines[0].get_ydata() == pytest.approx(X[1])
    assert figure.get_supylabel() == "value"


def test_columns_of_many_scales_are_standardised(frame):
    figure = plot_samples(frame.iloc[:, -5:], ["a"] * len(frame))
    assert texts(figure.axes[0].get_yticklabels())[0] == readable(frame.columns[-5], 18)
    widths = [bar.get_width() for bar in figure.axes[3].patches]
    tail = frame.iloc[:, -5:]
    assert widths == pytest.approx(((tail - tail.mean()) / tail.std(ddof=0)).iloc[3].to_numpy())
    assert figure.get_supxlabel() == "standard deviations from mean"


def test_a_constant_column_is_drawn_at_zero():
    X = np.column_stack([np.full(5, 7e6), np.arange(5.0)])
    assert plot_samples(X).axes[0].patches[0].get_width() == 0


@pytest.mark.parametrize(
    ("X", "y", "n", "message"),
    [
        (np.zeros(5), None, 10, "one instance alone is X\\[None\\]"),
        (np.zeros((0, 4, 4)), None, 10, "shape \\(0, 4, 4\\)"),
        (np.zeros((5, 3, 8, 8)), None, 10, "channels first.*transpose"),
        (np.zeros((5, 4, 4)), [1, 2], 10, "2 labels for 5 instances"),
        (np.zeros((5, 4, 4)), None, 0, "got n=0"),
        (np.array([["a"]]), None, 10, "dtype"),
        (np.array([[1.0, np.inf]]), None, 10, "infinite"),
    ],
)
def test_what_cannot_be_drawn_is_said(X, y, n, message):
    with pytest.raises(DataError, match=message):
        plot_samples(X, y, n=n)


# reconstructions


def test_originals_stand_over_reconstructions(digits):
    X = digits[0][:12]
    back = X[::-1].astype(np.float32) * 1.1 - 5
    figure = plot_reconstructions(X, back, errors=np.arange(12) / 7)
    shown = pictures(figure)
    assert np.array_equal(shown[:10], X[:10])
    assert np.array_equal(shown[10:], back[:10])
    assert {axes.images[0].get_clim() for axes in figure.axes} == {(0, 255)}
    assert [axes.get_xlabel() for axes in figure.axes[10:13]] == ["0.00", "0.143", "0.286"]


def test_reconstructions_of_a_table_lie_over_its_rows(table_fit, frame):
    values = frame.to_numpy()
    back = table_fit.inverse_transform(table_fit.transform(values))
    figure = plot_reconstructions(frame, back, n=3)
    original, rebuilt = figure.axes[2].lines
    mean, spread = values.mean(axis=0), values.std(axis=0)
    assert original.get_ydata() == pytest.approx((values[2] - mean) / spread)
    assert rebuilt.get_ydata() == pytest.approx((back[2] - mean) / spread)
    assert texts(figure.legends[0].get_texts()) == ["original", "reconstruction"]


def test_named_columns_are_bars_and_their_reconstructions_dots():
    X = np.arange(12.0).reshape(4, 3)
    figure = plot_reconstructions(pd.DataFrame(X, columns=list("abc")), X + 1, errors=[0.5] * 4)
    axes = figure.axes[1]
    assert [bar.get_width() for bar in axes.patches] == [3, 4, 5]
    assert axes.lines[0].get_xdata().tolist() == [4, 5, 6]
    assert texts(figure.axes[0].get_yticklabels()) == ["a", "b", "c"]
    assert axes.get_title() == "error 0.500"


def test_tables_of_every_type_are_drawn_with_their_reconstructions():
    days = pd.to_datetime(["2024-05-17", "2024-05-18", None, "2024-05-20"])
    X = pd.DataFrame({"kind": list("abba"), "day": days, "width": [1.0, None, 3.0, 4.0]})
    back = X.assign(kind=list("abbb"), day=days.fillna(days[0]), width=2.0)
    figure = plot_reconstructions(X, back)
    first, second = figure.axes[0], figure.axes[1]
    kind = np.array([0, 1, 1, 0])
    assert first.patches[0].get_width() == pytest.approx((0 - kind.mean()) / kind.std())
    assert np.isnan(second.patches[2].get_width())
    assert figure.axes[3].lines[0].get_xdata()[0] == pytest.approx((1 - 0.5) / 0.5)
    assert texts(first.get_yticklabels()) == ["kind", "day", "width"]
    assert figure.get_supxlabel() == "standard deviations from mean"
    with pytest.raises(DataError, match="pass the instances as the DataFrame"):
        plot_reconstructions(np.zeros((4, 3)), back)


def test_units_and_shapes_that_differ_are_said(images):
    with pytest.raises(DataError, match="reconstructions \\* 255"):
        plot_reconstructions(images, images / 255)
    with pytest.raises(DataError, match="reconstructions / 255"):
        plot_reconstructions(images / 255, images)
    with pytest.raises(DataError, match="inverse_transform"):
        plot_reconstructions(images, images.reshape(len(images), -1))
    with pytest.raises(DataError, match="10 reconstructions for 300"):
        plot_reconstructions(images, images[:10])
    with pytest.raises(DataError, match="2 errors for 300"):
        plot_reconstructions(images, images, errors=[0.1, 0.2])


# history


def test_both_losses_and_the_learning_rate_are_drawn():
    history = [
        {"epoch": at, "train_loss": 1 / at, "validation_loss": 1.5 / at, "lr": 0.1 * at}
        for at in range(1, 6)
    ]
    loss, lr = plot_history(history, best_epoch=4, loss_name="nats").axes
    for line, name in zip(loss.lines, ["train_loss", "validation_loss"], strict=False):
        assert list(line.get_xdata()) == [1, 2, 3, 4, 5]
        assert list(line.get_ydata()) == [record[name] for record in history]
    assert list(lr.lines[-1].get_ydata()) == [record["lr"] for record in history]
    mark = loss.lines[-1]
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (4, 0.375)
    assert loss.get_ylabel() == "nats"


def test_the_history_of_an_autoencoder_is_understood(table_fit):
    loss = plot_history(table_fit).axes[0]
    assert len(loss.lines[0].get_xdata()) == len(table_fit.history_)
    assert f"epoch kept {table_fit.best_epoch_}," in texts(loss.get_legend().get_texts())[-1]


def test_the_epoch_kept_is_marked_where_another_measure_chose_it():
    X = np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)
    encoder = Autoencoder(2, max_epochs=4, validation_fraction=0, random_state=0)
    encoder.fit(X[:80], X_validation=X[80:] + 1)
    losses = [record["validation_loss"] for record in encoder.history_]
    encoder.history_[1]["validation_loss"] = min(losses) / 2  # which nothing is chosen by
    label = texts(plot_history(encoder).axes[0].get_legend().get_texts())[-1]
    assert label.startswith("epoch kept 4, ")
    label = texts(plot_history(encoder.history_).axes[0].get_legend().get_texts())[-1]
    assert label.startswith("lowest validation loss: epoch 2, ")


def test_one_epoch_without_validation_or_rate():
    (axes,) = plot_history([{"epoch": 1, "train_loss": 0.5, "validation_loss": None}]).axes
    assert texts(axes.get_legend().get_texts()) == ["training"]
    assert axes.get_title(loc="left") == "Training loss over 1 epoch"
    assert axes.get_xticks().tolist() == [1]


def test_the_lowest_validation_loss_is_marked_when_nothing_else_is_said():
    losses = [0.5, 0.3, 0.4]
    history = [
        {"epoch": at, "train_loss": 1.0, "validation_loss": loss} for at, loss in enumerate(losses)
    ]
    legend = plot_history(history).axes[0].get_legend()
    assert texts(legend.get_texts())[-1] == "lowest validation loss: epoch 1, 0.3"


@pytest.mark.parametrize(("last", "scale"), [(0.5, "linear"), (0.01, "log"), (0.0, "linear")])
def test_only_a_loss_that_fell_far_has_a_logarithmic_axis(last, scale):
    history = [{"epoch": 1, "train_loss": 1.0}, {"epoch": 2, "train_loss": last}]
    (axes,) = plot_history(history).axes
    assert axes.get_yscale() == scale
    assert ("logarithmic" in axes.get_ylabel()) == (scale == "log")


def test_history_errors():
    with pytest.raises(DataError, match="without records"):
        plot_history([])
    with pytest.raises(DataError, match="record 0 of the history has no 'train_loss'"):
        plot_history([{"epoch": 1, "loss": 0.5}])
    with pytest.raises(DataError, match="best_epoch=4.*1 to 1"):
        plot_history([{"epoch": 1, "train_loss": 0.5}], best_epoch=4)
    with pytest.raises(DataError, match="no loss is finite"):
        plot_history([{"epoch": 1, "train_loss": None}])


# confusion


def test_confusion_shows_counts_and_row_shares():
    matrix = [[30, 10, 0], [0, 500, 1], [0, 0, 0]]
    figure = plot_confusion(matrix, ["ant", "bee", "cow"])
    axes = figure.axes[0]
    shares = axes.images[0].get_array()
    assert np.asarray(shares[:2]) == pytest.approx(
        np.array([[0.75, 0.25, 0], [0, 500 / 501, 1 / 501]])
    )
    assert shares.mask[2].all(), "a class without instances has no shares"
    assert texts(axes.texts) == ["30\n75 %", "10\n25 %", "500\n99.8 %", "1\n0.2 %"]
    assert texts(axes.get_xticklabels()) == ["ant", "bee", "cow"]
    assert texts(axes.get_yticklabels()) == ["ant", "bee", "cow (none)"]
    assert axes.get_title(loc="left") == "Confusion: accuracy 97.97 %, 11 of 541 wrong"


@pytest.mark.parametrize(("k", "written"), [(2, True), (20, True), (60, False), (200, False)])
def test_counts_are_written_where_they_fit(k, written):
    axes = plot_confusion(50 * np.eye(k, dtype=int), [f"c{at}" for at in range(k)]).axes[0]
    assert bool(axes.texts) == written
    gap = axes.get_xticks()[1] - axes.get_xticks()[0]
    assert gap == (1 if k <= 50 else -(-k * 1.15 * 6.5 // (72 * 6)))


def test_a_given_accuracy_is_the_one_in_the_title():
    figure = plot_confusion([[1, 0], [0, 1]], "ab", accuracy=0.987)
    assert "accuracy 98.7 %" in figure.axes[0].get_title(loc="left")


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[1, 2]], "shape \\(1, 2\\)"),
        ([[0.5, 0.5], [0, 1]], "without normalize="),
        ([[1, -1], [0, 1]], "counts"),
        ([[0, 0], [0, 0]], "zeros"),
        (np.eye(3, dtype=int), "2 class names for 3 classes"),
    ],
)
def test_confusion_errors(matrix, message):
    with pytest.raises(DataError, match=message):
        plot_confusion(matrix, ["a", "b"])


# predictions


def test_wrong_predictions_are_told_by_words_colour_and_frame(digits):
    X, y = digits[0][:20], digits[1][:20]
    predicted = y.copy()
    predicted[4] = 9
    figure = plot_predictions(X, predicted, y)
    expected = [str(label) for label in y[:10]]
    expected[4] = "9 (is 4)"
    assert titles(figure) == expected
    assert headline(figure) == "The first 10 predictions: 9 of 10 right"
    right, wrong = figure.axes[3], figure.axes[4]
    assert right.title.get_color() != wrong.title.get_color()
    assert wrong.spines["top"].get_linewidth() > right.spines["top"].get_linewidth()
    assert np.array_equal(pictures(figure)[4], X[4])


def test_probabilities_and_names(images):
    p = np.tile([0.1, 0.87, 0.03], (len(images), 1))
    predicted = np.ones(len(images), dtype=int)
    actual = np.where(np.arange(len(images)) == 1, 2, 1)
    names = ["cat", "dog", "eel"]
    figure = plot_predictions(images, predicted, actual, p, n=2, class_names=names)
    assert titles(figure) == ["dog\n87 %", "dog\n(is eel)\n87 %"]
    assert titles(plot_predictions(images, predicted, probabilities=p[:, 1], n=1)) == ["1\n87 %"]


def test_an_instance_without_a_label_is_neither_right_nor_wrong(table):
    actual = np.full(len(table), np.nan)
    actual[1] = 0
    figure = plot_predictions(table, np.zeros(len(table)), actual, n=3)
    assert headline(figure) == "The first 3 predictions: 1 of 1 right"
    assert titles(figure) == ["0", "0", "0"]


def test_prediction_errors(images):
    with pytest.raises(DataError, match="2 predictions for 300"):
        plot_predictions(images, [1, 2])
    with pytest.raises(DataError, match="predict_proba"):
        plot_predictions(images, np.ones(300), probabilities=np.full((300, 2), 7.0))
    with pytest.raises(DataError, match="2 labels for 300"):
        plot_predictions(images, np.ones(300), [1, 2])


# heads


ROWS = [
    {"features": "code", "head": "linear", "accuracy": 0.968, "interval": [0.964, 0.972]},
    {"features": "pca", "head": "linear", "accuracy": 0.921, "interval": [0.915, 0.927]},
    {"features": "code", "head": "mlp", "accuracy": 0.988, "interval": [0.985, 0.99]},
    {"features": "raw", "head": "network", "accuracy": 1.0, "interval": None},
]


def test_heads_are_dots_on_their_intervals():
    (axes,) = plot_heads(ROWS).axes
    lines, dots = axes.lines[::2], axes.lines[1::2]
    assert [dot.get_xdata()[0] for dot in dots] == [row["accuracy"] for row in ROWS]
    assert [list(line.get_xdata()) for line in lines[:3]] == [row["interval"] for row in ROWS[:3]]
    labels = texts(axes.get_yticklabels())
    assert labels == ["linear", "code", "pca", "mlp", "code", "network", "raw"]
    assert [labels[int(dot.get_ydata()[0])] for dot in dots] == ["code", "pca", "code", "raw"]
    assert texts(axes.texts) == ["96.80 %", "92.10 %", "98.80 %", "100.00 %"]
    assert dots[0].get_color() != dots[1].get_color(), "the code stands out"
    assert max(axes.get_xticks()) <= 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no rows"),
        ([{"features": "code", "head": "linear"}], "row 0 has no accuracy"),
        ([{**ROWS[0], "accuracy": 96.8}], "divide percent by 100"),
        ([ROWS[0], {**ROWS[0], "interval": [0.99, 1]}], "row 1 .* inside its interval"),
    ],
)
def test_heads_errors(rows, message):
    with pytest.raises(DataError, match=message):
        plot_heads(rows)


# files


def test_both_files_open_and_a_second_save_is_the_same(tmp_path, images):
    figure = plot_reconstructions(images, images, n=2)
    paths = save_figure(figure, tmp_path / "new", "reconstructions")
    assert [path.name for path in paths] == ["reconstructions.png", "reconstructions.svg"]
    with Image.open(paths[0]) as picture:
        picture.load()
        assert picture.width == 750, "five inches"
    assert ElementTree.parse(paths[1]).getroot().tag.endswith("svg")
    first = [path.read_bytes() for path in paths]
    again = save_figure(figure, tmp_path, "again")
    assert [path.read_bytes() for path in again] == first
    afresh = save_figure(plot_reconstructions(images, images, n=2), tmp_path, "afresh")
    assert [path.read_bytes() for path in afresh] == first
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [p.name for p in paths]


@pytest.mark.parametrize("name", ["", "..", "../away", "a/b"])
def test_a_name_stays_in_its_folder(tmp_path, name):
    with pytest.raises(ValueError, match="one file name"):
        save_figure(Figure(), tmp_path, name)


def test_pictures_of_odd_sizes_can_be_laid_out():
    y, names = crowd(40, "a rather long name of the class number ")
    for figure in (
        plot_label_shares(y, y, names),
        plot_confusion(np.eye(40, dtype=int), names),
        plot_samples(np.zeros((2, 3, 300))),
        plot_samples(np.zeros((11, 300, 3)), np.arange(11)),
        plot_reconstructions(np.ones((1, 1, 1)), np.zeros((1, 1, 1))),
        plot_samples(np.arange(3.0)[:, None]),
        plot_heads(ROWS[:1]),
    ):
        # What does not fit warns, and warnings are errors here.
        figure.draw_without_rendering()


# matplotlib


def test_a_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    calls = [
        lambda: plot_label_shares([0, 1], [0, 1]),
        lambda: plot_samples(np.zeros((2, 4, 4))),
        lambda: plot_reconstructions(np.zeros((2, 4, 4)), np.zeros((2, 4, 4))),
        lambda: plot_history([{"epoch": 1, "train_loss": 0.5}]),
        lambda: plot_confusion([[1]], ["a"]),
        lambda: plot_predictions(np.zeros((2, 4, 4)), [0, 1]),
        lambda: plot_heads(ROWS),
    ]
    for call in calls:
        with pytest.raises(MissingExtraError, match="drawing pictures.*isthmus\\[report\\]"):
            call()


def test_drawing_leaves_pyplot_and_settings_alone():
    script = (
        "import matplotlib, sys, tempfile, isthmus.plots as plots\n"
        "every = matplotlib.rcParams\n"
        "read = lambda: [(k, every[k]) for k in every if k != 'backend']\n"
        "before = read()\n"
        "plots.save_figure(plots.plot_label_shares([0, 1], [1, 1]), tempfile.mkdtemp(), 'a')\n"
        "assert read() == before\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)


def test_a_dark_style_of_the_person_changes_no_colour_of_ours(tmp_path):
    import matplotlib

    with matplotlib.rc_context({"figure.facecolor": "black", "savefig.facecolor": "black"}):
        path, _ = save_figure(plot_label_shares([0, 1], [1, 1]), tmp_path, "dark")
    with Image.open(path) as picture:
        assert picture.convert("RGB").getpixel((1, 1)) == (255, 255, 255)


def test_public_names_are_sorted():
    assert isthmus.plots.__all__ == sorted(isthmus.plots.__all__)
