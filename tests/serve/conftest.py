"""Exports to serve, and a service of them."""

import numpy as np
import pandas as pd
import pytest
from _served import machines, running

from isthmus import (
    AnomalyDetector,
    Autoencoder,
    CodeClassifier,
    export_bundle,
    load,
    save_bundle,
)
from isthmus.data import Dataset


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory, digits):
    """A folder with the bundle "bundle" of digits and its export "digits". Written once."""
    folder = tmp_path_factory.mktemp("served")
    X, y = digits
    encoder = Autoencoder(16, max_epochs=2, random_state=0).fit(X[:500])
    kind = CodeClassifier(encoder).fit(X[:300], y[:300])
    detector = AnomalyDetector(encoder, false_alarm_rate=0.05, random_state=0).fit(X[500:1000])
    save_bundle(folder / "bundle", encoder, {"kind": kind, "normal": detector})
    export_bundle(folder / "bundle", folder / "digits", X[1000:1100], residual=True)
    return folder


@pytest.fixture(scope="session")
def parts():
    """A table (300, 4) of numbers, categories, truth values and dates, with values missing."""
    rng = np.random.default_rng(0)
    n = 300
    hours = pd.to_timedelta(rng.integers(0, 10_000, n), unit="h")
    return pd.DataFrame(
        {
            "width": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
            "hue": rng.choice(np.array(["red", "blue", None], dtype=object), n),
            "ok": rng.random(n) < 0.5,
            "day": pd.Timestamp("2024-01-01") + hours,
        }
    )


@pytest.fixture(scope="session")
def parts_folder(tmp_path_factory, parts):
    """The export of a detector on that table, without residuals, with 50 reference
    rows; its bundle is in the same folder.
    """
    folder = tmp_path_factory.mktemp("served")
    detector = AnomalyDetector(
        Autoencoder(4, max_epochs=2, random_state=0), false_alarm_rate=0.1, random_state=0
    ).fit(parts)
    save_bundle(folder / "bundle", detector.encoder_, {"normal": detector})
    good = np.where(parts["ok"][:100], "good", "bad")
    export_bundle(folder / "bundle", folder / "parts", Dataset(parts[:100], good), known=50)
    return folder / "parts"


@pytest.fixture(scope="session")
def machines_folder(tmp_path_factory):
    """A folder with the bundle "bundle" of a detector on series and its export "machines"."""
    folder = tmp_path_factory.mktemp("served")
    columns = {"time": "at", "group": "machine", "keys": ["order"]}
    data = load(machines(), kind="series", window=16, stride=2, **columns)
    detector = AnomalyDetector(
        Autoencoder(4, max_epochs=3, random_state=0),
        false_alarm_rate=0.05,
        calibration="split",
        random_state=0,
    ).fit(data)
    save_bundle(folder / "bundle", detector.encoder_, {"normal": detector})
    export_bundle(folder / "bundle", folder / "machines", data, residual=True)
    return folder


@pytest.fixture(scope="session")
def client(digits_folder, parts_folder, tmp_path_factory):
    """A client of a service of digits and parts, with a queue of labels."""
    queue = tmp_path_factory.mktemp("queue") / "labels.jsonl"
    bundles = [digits_folder / "digits", f"parts={parts_folder}"]
    with running(bundles, labels=queue) as client:
        client.queue = queue
        yield client
