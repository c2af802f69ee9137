"""A bundle, and files to score with it. Written once."""

import os
import sys

import numpy as np
import pandas as pd
import pytest

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, load, save_bundle
from isthmus.scoring import score

N, N_FILES = 1000, 5


def rows_of(n, seed):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n, 3)), columns=["width", "height", "weight"])
    frame["colour"] = rng.choice(["red", "blue"], n)
    return frame


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """A classifier of three classes, and a detector, which is the head fitted last."""
    path = tmp_path_factory.mktemp("scoring") / "press"
    rows = rows_of(400, 0)
    detector = AnomalyDetector(
        Autoencoder(2, max_epochs=2), "neighbours", 0.1, "split", random_state=0
    ).fit(rows)
    y = np.array(["low", "middle", "high"])[np.digitize(rows["width"], [-0.5, 0.5])]
    kinds = CodeClassifier(detector.encoder_).fit(rows, y)
    save_bundle(path, detector.encoder_, {"kind": kinds, "normal": detector})
    return path


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """A folder of five Parquet files with the bundle's columns, and two that are keys."""
    folder = tmp_path_factory.mktemp("shards")
    rows = rows_of(N, 1).assign(id=np.arange(N) * 7, site=["a", "b"] * (N // 2))
    for at, some in enumerate(np.array_split(np.arange(N), N_FILES)):
        rows.iloc[some].to_parquet(folder / f"{at}.parquet", index=False)
    return folder


@pytest.fixture(scope="session")
def local(bundle, shards, tmp_path_factory):
    """The output for the shards, written by this process alone."""
    pytest.importorskip("onnxruntime")
    out = tmp_path_factory.mktemp("local") / "out.parquet"
    score(bundle, load(shards, keys=["id", "site"]), out)
    return pd.read_parquet(out)


@pytest.fixture
def ray(monkeypatch):
    """Ray, with workers that import the isthmus of this process."""
    module = pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    return module
