"""Monitors of a service: what counts, what /monitor and /metrics say, and restarts."""

import json

import numpy as np
import pandas as pd
import pytest
from _served import running

from isthmus import AnomalyDetector, Autoencoder, export_bundle, save_bundle
from isthmus.export import Exported, monitored_heads


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    n = 4000
    return pd.DataFrame(
        {
            "width": rng.normal(size=n),
            "heat": np.where(rng.random(n) < 0.02, np.nan, rng.gamma(3.0, size=n)),
            "kind": rng.choice(["nut", "bolt"], n),
        }
    )


@pytest.fixture(scope="module")
def exported(table, tmp_path_factory):
    """A folder with a detector and its export."""
    folder = tmp_path_factory.mktemp("monitored")
    detector = AnomalyDetector(Autoencoder(2, max_epochs=2), "neighbours", 0.02, "split", 0)
    detector.fit(table[:2000])
    save_bundle(folder / "bundle", detector.encoder_, {"normal": detector})
    export_bundle(folder / "bundle", folder / "press", table[:50])
    return folder / "press", detector


def send(client, rows, query=""):
    plain = json.loads(rows.to_json(orient="records"))
    answer = client.post(f"/predict{query}", json={"instances": plain})
    assert answer.status_code == 200
    return answer.json()["predictions"]


def test_an_export_is_compared_with_the_rows_of_its_detector(exported, table):
    folder, detector = exported
    head = monitored_heads(folder / "model.onnx", Exported(folder))["normal"]
    assert head.monitor_reference().digest() == detector.monitor_reference().digest()
    rows = table[2000:2200].reset_index(drop=True)
    rows.loc[:4, "kind"] = "screw"
    rows.loc[5, "kind"] = None
    found, expected = head.observe(rows), detector.observe(rows)
    assert np.array_equal(found.columns, expected.columns, equal_nan=True)
    assert (found.unseen == expected.unseen).all()
    assert found.unseen.sum() == 5
    assert (found.abnormal == expected.abnormal).all()
    assert np.allclose(found.scores, expected.scores, atol=1e-3)
    assert np.allclose(found.codes, expected.codes, atol=1e-4)


def test_every_answered_row_counts_unless_asked_not_to(exported, table):
    with running([exported[0]]) as client:
        assert client.get("/monitor").json()["heads"]["normal"]["n"] == 0
        predictions = send(client, table[2000:2300])
        send(client, table[2300:2400], "?monitor=false")
        client.post("/encode", json={"instances": json.loads(table[:3].to_json(orient="records"))})
        assert client.post("/predict", json={"instances": [{"width": "x"}]}).status_code == 422
        found = client.get("/bundles/press/monitor").json()["heads"]["normal"]
        assert found["n"] == 300
        assert found["alarms"] == [one["verdict"] for one in predictions].count("abnormal")
        assert found["valid"]
        assert not found["stored"]
        text = client.get("/metrics").text
        assert 'isthmus_monitored_rows{bundle="press",head="normal"} 300.0' in text
        assert 'isthmus_promise_valid{bundle="press",head="normal"} 1.0' in text


def test_a_shift_is_said_and_survives_a_restart(exported, table, tmp_path):
    with running([exported[0]], monitors=tmp_path) as client:
        send(client, table[2000:2500])
        for first in range(2500, 3000, 100):
            send(client, table[first : first + 100].assign(heat=lambda rows: rows.heat + 3))
        found = client.get("/monitor").json()["heads"]["normal"]
        assert not found["valid"]
        assert "heat" in found["moved"]
        assert abs(found["since"]["row"] - 500) <= 48
        assert found["since"]["time"].startswith("20")
        assert found["summary"].startswith("promise no longer holds since")
        assert (
            'isthmus_promise_valid{bundle="press",head="normal"} 0.0' in client.get("/metrics").text
        )
    with running([exported[0]], monitors=tmp_path) as client:
        again = client.get("/monitor").json()["heads"]["normal"]
        assert again == found
        with running([exported[0]], monitors=tmp_path) as other:  # the file is the first one's
            assert not other.get("/monitor").json()["heads"]["normal"]["stored"]


def test_a_damaged_state_is_put_aside(exported, table, tmp_path):
    with running([exported[0]], monitors=tmp_path) as client:
        send(client, table[2000:2100])
    [file] = tmp_path.glob("*.json")
    file.write_text("{")
    with running([exported[0]], monitors=tmp_path) as client:
        assert client.get("/monitor").json()["heads"]["normal"]["n"] == 0
    assert file.with_suffix(".damaged").read_text() == "{"


def test_an_export_without_reference_learns_from_the_first_rows(exported, table, tmp_path):
    from shutil import copytree

    folder = copytree(exported[0], tmp_path / "press")
    (folder / "monitor.json").unlink()
    with running([folder]) as client:
        send(client, table[2000:2400])
        found = client.get("/monitor").json()["heads"]["normal"]
        assert (found["n"], found["n_learned"], found["valid"]) == (400, 256, True)
        send(client, table[2400:2900].assign(heat=lambda rows: rows.heat + 3))
        assert not client.get("/monitor").json()["heads"]["normal"]["valid"]
