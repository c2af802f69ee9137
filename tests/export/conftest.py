"""Encoders, tables and a bundle to export. Do not refit what ends in `_fit`."""

import venv
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from packaging.requirements import Requirement

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, save_bundle


@pytest.fixture(scope="session")
def digit_encoder(digits):
    """Fitted on 500 digits: strided convolutions with batch normalisation, cross-entropy."""
    return Autoencoder(16, max_epochs=2, random_state=0).fit(digits[0][:500])


@pytest.fixture(scope="session")
def mixed():
    """A table (400, 7) of every type of column, with values missing, and one called "class"."""
    rng = np.random.default_rng(0)
    n = 400
    days = pd.to_timedelta(rng.integers(0, 10**7, n), unit="s")
    return pd.DataFrame(
        {
            "width": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
            "class": rng.choice(np.array(["nut", "bolt", "NA", None], dtype=object), n),
            "ok": rng.random(n) < 0.5,
            "day": pd.Timestamp("2024-01-01") + days,
            "size": pd.Categorical(rng.integers(0, 4, n)),
            "heavy tail": rng.normal(size=n) ** 9 * 1e5,
            "constant": 1.0,
        }
    )


@pytest.fixture(scope="session")
def mixed_encoder(mixed):
    """Fitted on the table's first 200 rows."""
    return Autoencoder(max_epochs=3, random_state=0).fit(mixed[:200])


@pytest.fixture(scope="session")
def strange(mixed):
    """Rows of the table with values that were not in the training rows."""
    rows = mixed[200:].copy().reset_index(drop=True)
    rows.loc[:9, "class"] = "cog"
    rows.loc[10:19, ["width", "heavy tail"]] = [-1e30, 1e200]
    rows.loc[20:29, "day"] = pd.NaT
    rows.loc[30:39, "size"] = np.nan
    rows["ok"] = rows["ok"].astype("boolean")
    rows.loc[40:49, "ok"] = pd.NA
    return rows


@pytest.fixture(scope="session")
def wine_bundle(tmp_path_factory, table):
    """A bundle of an array table with a classifier and a detector. Written once."""
    path = tmp_path_factory.mktemp("bundles") / "wine"
    detector = AnomalyDetector(Autoencoder(4, max_epochs=2), "combined", 0.1, random_state=0)
    detector.fit(table)
    kinds = CodeClassifier(detector.encoder_).fit(table[::2], (table[::2, 0] > 13).astype(int))
    save_bundle(path, detector.encoder_, {"kind": kinds, "normal": detector})
    return path


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory):
    """A fresh environment with numpy and onnxruntime, what these need, and nothing else."""
    where = tmp_path_factory.mktemp("bare")
    venv.create(where, with_pip=False)
    home = next(where.glob("lib/python*/site-packages"))
    wanted, linked = ["onnxruntime", "numpy"], set()
    while wanted:
        found = metadata.distribution(wanted.pop())
        if found.name in linked:
            continue
        linked.add(found.name)
        tops = {file.parts[0] for file in found.files or () if ".." not in file.parts}
        for top in tops - {path.name for path in home.iterdir()}:
            (home / top).symlink_to(Path(found.locate_file(top)).resolve())
        needs = map(Requirement, found.requires or ())
        wanted += [need.name for need in needs if need.marker is None or need.marker.evaluate()]
    return where / "bin" / "python"
