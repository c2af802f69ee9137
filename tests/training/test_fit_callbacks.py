"""Callbacks of scikit-learn at the fits of encoders and heads."""

import io
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, FrozenEncoder
from isthmus.errors import TrainingError

callback = pytest.importorskip("sklearn.callback")

N, EPOCHS = 60, 3
X = np.random.default_rng(0).normal(size=(N, 5))
Y = (X[:, 0] > 0).astype(int)


def quick(**parameters):
    return Autoencoder(2, max_epochs=EPOCHS, random_state=0, **parameters)


class Recorder:
    """Write down each call, and the code of the first instance by the fitted estimator."""

    def __init__(self, ends_after=None):
        self.calls, self.codes, self.ends_after = [], [], ends_after

    def setup(self, estimator, context):
        self.calls.append("setup")

    def teardown(self, estimator, context):
        self.calls.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
        assert X is not None or context.task_name not in ("fit", "epoch")
        self.calls.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
        self.calls.append(f"end {context.task_name}")
        if context.task_name == "epoch":
            self.codes.append(fitted_estimator.transform(X[:1]))
        return self.calls.count("end epoch") == self.ends_after


class Passed(Recorder):
    """One that meta-estimators pass on to their parts."""

    max_propagation_depth = None

    def on_fit_task_end(self, estimator, context):
        self.calls.append(f"end {context.task_name} of {type(estimator).__name__}")


def test_each_epoch_is_a_task_of_the_fit_and_weights_are_as_without():
    recorder = Recorder()
    encoder = quick().set_callbacks(recorder).fit(X)
    epochs = ["begin epoch", "end epoch"] * EPOCHS
    assert recorder.calls == ["setup", "begin fit", *epochs, "end fit", "teardown"]
    assert encoder.digest_ == quick().fit(X).digest_
    assert len(encoder.history_) == EPOCHS


def test_a_callback_gets_the_autoencoder_as_after_the_epoch():
    recorder = Recorder()
    quick(validation_fraction=0).set_callbacks(recorder).fit(X)
    for n, code in enumerate(recorder.codes, 1):
        # A constant rate makes the first epochs of a longer run those of a shorter one.
        assert code.shape == (1, 2)
        assert n == 1 or (code != recorder.codes[n - 2]).any()
    last = quick(validation_fraction=0).fit(X)
    assert (recorder.codes[-1] == last.transform(X[:1])).all()


def test_a_callback_ends_the_training():
    encoder = quick().set_callbacks(Recorder(ends_after=2)).fit(X)
    assert len(encoder.history_) == 2
    assert encoder.transform(X).shape == (N, 2)


def test_callbacks_are_closed_when_a_fit_fails():
    recorder = Recorder()
    with pytest.raises(TrainingError):
        quick(optimizer="adadelta", lr=1e30).set_callbacks(recorder).fit(X)
    assert recorder.calls[-1] == "teardown"
    assert "end fit" not in recorder.calls


@pytest.mark.parametrize("made", [Autoencoder, CodeClassifier, AnomalyDetector])
def test_a_clone_has_the_callbacks_and_no_callback_is_left_by_none(made):
    recorder = Recorder()
    estimator = made() if made is Autoencoder else made(quick())
    assert clone(estimator.set_callbacks(recorder))._skl_callbacks == [recorder]
    assert not hasattr(estimator.set_callbacks(), "_skl_callbacks")


def test_a_classifier_passes_callbacks_on_to_the_encoder_that_it_trains():
    recorder = Passed()
    CodeClassifier(quick()).set_callbacks(recorder).fit(X, Y)
    ends = [call for call in recorder.calls if call.startswith("end")]
    assert ends == [
        *["end epoch of Autoencoder"] * EPOCHS,
        "end fit of Autoencoder",
        "end fit-head of CodeClassifier",
        "end fit of CodeClassifier",
    ]


@pytest.mark.parametrize(
    ("estimator", "tasks"),
    [
        (CodeClassifier(FrozenEncoder(PCA(2).fit(X))), ["fit-head", "fit"]),
        (CodeClassifier(quick(), rejection_rate=0.2), ["fit-rejecter", "fit-head", "fit"]),
        (AnomalyDetector(quick(), false_alarm_rate=0.1, random_state=0), ["fit"]),
    ],
)
def test_what_is_trained_otherwise_is_one_task(estimator, tasks):
    recorder = Passed()
    twin = clone(estimator).set_callbacks(recorder)
    twin.fit(X, Y) if isinstance(twin, CodeClassifier) else twin.fit(X)
    ends = [call.split()[1] for call in recorder.calls if call.endswith(type(twin).__name__)]
    assert ends == tasks
    assert recorder.calls[-1] == "teardown"


def test_meta_estimators_pass_callbacks_on_without_a_warning():
    recorder = Passed()
    with warnings.catch_warnings(action="error"):
        make_pipeline(StandardScaler(), quick()).set_callbacks(recorder).fit(X)
        search = GridSearchCV(CodeClassifier(quick()), {"head": ["linear", "neighbours"]}, cv=2)
        search.set_callbacks(recorder).fit(X, Y)
    assert recorder.calls.count("end epoch of Autoencoder") == EPOCHS + 5 * EPOCHS
    assert recorder.calls.count("end fit of CodeClassifier") == 5


def test_a_monitor_of_scores_scores_each_epoch():
    def error(encoder, X, y):
        return {"error": encoder.reconstruction_error(X).mean()}

    monitor = callback.ScoringMonitor(scoring=error)
    encoder = quick(validation_fraction=0).set_callbacks(monitor).fit(X, X)
    log = monitor.get_logs().data
    assert [row["task_name"] for row in log] == ["fit", *["epoch"] * EPOCHS]
    assert log[-1]["error"] == log[0]["error"] == error(encoder, X, X)["error"]
    assert log[1]["error"] != log[2]["error"]


def test_scikit_learns_bar_counts_epochs(monkeypatch):
    from rich.console import Console

    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100)
    monkeypatch.setattr("rich.progress.get_console", lambda: console)
    quick().set_callbacks(callback.ProgressBar()).fit(X)
    assert "Autoencoder - fit" in written.getvalue()
    assert "100%" in written.getvalue()


def test_what_is_no_callback_is_refused():
    with pytest.raises(TypeError, match="FitCallback"):
        quick().set_callbacks(print)
