"""`~` means the home folder wherever a path is given."""

import json

import numpy as np
import pandas as pd
import pytest
from tests._commands import isthmus

from isthmus import AnomalyDetector, Autoencoder, load_bundle, save_bundle
from isthmus.bundle import read_manifest, read_schema
from isthmus.encoding import encode_cached
from isthmus.export import Exported, export_bundle

X = np.random.default_rng(0).normal(size=(120, 4))


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder, and a working folder without a folder called `~`."""
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    yield tmp_path / "home"
    assert list((tmp_path / "work").rglob("*")) == []


def test_python_functions_expand_the_home_folder(home):
    encoder = Autoencoder(
        2, max_epochs=1, random_state=0, checkpoint_dir="~/checkpoints", log_dir="~/logs"
    ).fit(X)
    assert (home / "checkpoints" / "last.safetensors").is_file()
    encoder.save("~/bundle")
    assert (home / "bundle" / "manifest.json").is_file()
    assert load_bundle("~/bundle").encoder.digest_ == encoder.digest_
    detector = AnomalyDetector(encoder, false_alarm_rate=0.1, calibration="split", random_state=0)
    save_bundle("~/bundle", encoder, heads={"detector": detector.fit(X + 0.1)}, overwrite=True)
    assert read_manifest("~/bundle")["encoder"]["digest"] == encoder.digest_
    assert read_schema("~/bundle") == encoder.schema_
    export_bundle("~/bundle", "~/exported")
    assert (home / "exported").is_dir()
    Exported("~/exported")
    encode_cached(encoder, X, cache_dir="~/cache")
    assert len(list((home / "cache").iterdir())) == 1


def test_commands_expand_the_home_folder(home, tmp_path):
    pd.DataFrame(X).to_csv(home / "x.csv", index=False)
    fit = ["--max-epochs", "1", "--n-components", "2", "--json", "~/facts.json"]
    isthmus("fit", "~/x.csv", "-o", "~/b", *fit, cwd=tmp_path / "work")
    assert json.loads((home / "facts.json").read_text())
    isthmus("encode", "~/b", "~/x.csv", "-o", "~/codes.parquet", cwd=tmp_path / "work")
    assert len(pd.read_parquet(home / "codes.parquet")) == len(X)
    isthmus("info", "~/b", cwd=tmp_path / "work")
