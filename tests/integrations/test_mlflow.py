"""MLflow: runs that log_dir= tracks, and bundles as models, on a local store."""

import re
import sys
import warnings

import numpy as np
import pandas as pd
import pytest

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, export_bundle, save_bundle
from isthmus.errors import BundleError, MissingExtraError, OutputError

pytestmark = pytest.mark.filterwarnings("ignore")  # of MLflow and what it imports

TABLE = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 4)), columns=list("abcd"))


def quick(**parameters):
    return Autoencoder(2, max_epochs=2, random_state=0, **parameters)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """MLflow with a store in a temporary folder; its settings are as before afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow = pytest.importorskip("mlflow")
        pytest.importorskip("mlflow.pyfunc")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    yield mlflow
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A bundle with a classifier and a detector, which is the last, and its export."""
    folder = tmp_path_factory.mktemp("press")
    detector = AnomalyDetector(quick(), random_state=0).fit(TABLE)
    encoder = detector.encoder_
    classifier = CodeClassifier(encoder).fit(TABLE[:100], TABLE["a"][:100] > 0)
    heads = {"sign": classifier, "normal": detector}
    save_bundle(folder / "bundle", encoder, heads)
    export_bundle(folder / "bundle", folder / "export", TABLE)
    return folder / "bundle", folder / "export"


def only_run(store, experiment):
    client = store.MlflowClient()
    found = client.get_experiment_by_name(experiment)
    (run,) = client.search_runs([found.experiment_id])
    return client, run


def test_a_fit_is_a_run_with_its_parameters_and_history(store):
    encoder = quick(log_dir="mlflow:press").fit(TABLE)

    client, run = only_run(store, "press")
    assert run.info.status == "FINISHED"
    assert run.data.params["max_epochs"] == "2"
    for name in ("train_loss", "validation_loss"):
        written = [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
        assert written == [(record["epoch"], record[name]) for record in encoder.history_]
    assert store.active_run() is None
    assert quick().fit(TABLE).digest_ == encoder.digest_


def test_a_run_of_the_caller_gets_the_history_and_stays_open(store):
    with store.start_run() as run:
        encoder = quick(log_dir="mlflow:").fit(TABLE)
        assert store.active_run().info.run_id == run.info.run_id
    found = store.get_run(run.info.run_id)
    assert found.data.metrics["train_loss"] == encoder.history_[-1]["train_loss"]


def test_a_fit_that_fails_ends_its_run_as_failed(store, monkeypatch):
    from isthmus.training import MLflowRun

    def fail(*_):
        raise RuntimeError("in an epoch")

    monkeypatch.setattr(MLflowRun, "on_epoch_end", fail)
    with pytest.raises(RuntimeError, match="in an epoch"):
        quick(log_dir="mlflow:press").fit(TABLE)
    assert only_run(store, "press")[1].info.status == "FAILED"


def test_a_store_that_fails_in_training_is_warned_about_once_and_the_fit_goes_on(
    store, monkeypatch
):
    def fail(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(store.MlflowClient, "log_metric", fail)
    with pytest.warns(UserWarning, match="no numbers from epoch 1") as told:
        encoder = quick(log_dir="mlflow:press").fit(TABLE)
    assert len([one for one in told if "no numbers" in str(one.message)]) == 1
    assert len(encoder.history_) == 2


def test_a_store_that_cannot_be_reached_is_an_error_before_training(store, monkeypatch):
    def fail(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(store.MlflowClient, "get_experiment_by_name", fail)
    with pytest.raises(OutputError, match="MLFLOW_TRACKING_URI"):
        quick(log_dir="mlflow:press").fit(TABLE)


def test_tracking_without_mlflow_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'isthmus[mlflow]'")):
        quick(log_dir="mlflow:press").fit(TABLE)


@pytest.mark.parametrize("head", ["normal", "sign"])
def test_a_model_decides_as_the_bundle_does_by_the_graph_and_without(
    store, folders, tmp_path, head
):
    from isthmus import load_bundle
    from isthmus.integrations import load_model, save_model

    bundle, export = folders
    expected = load_bundle(bundle).predictions(TABLE, head)
    for name, exported in (("by_graph", export), ("by_bundle", None)):
        save_model(tmp_path / name, bundle, exported, head=head)
        model = store.pyfunc.load_model(str(tmp_path / name))
        found = model.predict(TABLE)
        assert list(found) == list(expected)
        assert (found["prediction"] == expected["prediction"]).all()
        numbers = expected.columns.drop("prediction")
        np.testing.assert_allclose(found[numbers], expected[numbers], atol=1e-4)
        assert load_model(tmp_path / name).encoder.digest_ == load_bundle(bundle).encoder.digest_
        kinds = {path.suffix for path in (tmp_path / name).rglob("*") if path.is_file()}
        assert not kinds & {".pkl", ".pickle"}


def test_a_logged_model_is_loaded_by_its_address_and_decides_by_the_last_head(store, folders):
    from isthmus import load_bundle
    from isthmus.integrations import log_model

    with store.start_run():
        logged = log_model(*folders)
    found = store.pyfunc.load_model(logged.model_uri).predict(TABLE[:5])
    assert found["prediction"].tolist() == (
        load_bundle(folders[0]).predictions(TABLE[:5], "normal")["prediction"].tolist()
    )
    assert set(logged.flavors) == {"isthmus", "python_function"}


def test_models_without_a_head_or_of_others_are_refused(store, folders, tmp_path):
    from isthmus.integrations import load_model, save_model

    save_bundle(tmp_path / "encoder", quick().fit(TABLE))
    with pytest.raises(BundleError, match="no head"):
        save_model(tmp_path / "model", tmp_path / "encoder")
    with pytest.raises(BundleError, match="got the head 'other'"):
        save_model(tmp_path / "model", folders[0], head="other")
    (tmp_path / "other").mkdir()
    with pytest.raises(BundleError, match="holds no bundle"):
        load_model(tmp_path / "other")
