"""A service of a detector by group: groups beside instances, or in a column of a table."""

import numpy as np
import pandas as pd
import pytest
from _served import running

from isthmus import AnomalyDetector, Autoencoder, export_bundle, load, save_bundle


def parts(seed, n=240):
    rng = np.random.default_rng(seed)
    machine = np.array(["a", "b"])[np.arange(n) % 2]
    values = rng.normal(size=(n, 3)) * np.where(machine == "a", 1, 5)[:, None]
    return pd.DataFrame(values, columns=list("xyz")).assign(machine=machine)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A detector by machine, and a client of a service of its export."""
    folder = tmp_path_factory.mktemp("grouped")
    encoder = Autoencoder(2, architecture="dense", max_epochs=1, random_state=0)
    detector = AnomalyDetector(encoder, "mahalanobis", false_alarm_rate=0.05, random_state=0)
    detector.fit(load(parts(0), group="machine"))
    save_bundle(folder / "press", detector.encoder_, {"normal": detector})
    export_bundle(folder / "press", folder / "onnx", parts(1))
    with running([folder / "onnx"]) as client:
        yield detector, client


def p_values(answer):
    return [one["p_value"] for one in answer.json()["predictions"]]


def test_groups_stand_beside_the_instances_or_in_them(served):
    detector, client = served
    new = parts(2, 6)
    rows = new.drop(columns="machine").to_dict("records")
    expected = detector.p_values(new)

    beside = client.post("/predict", json={"instances": rows, "groups": list(new["machine"])})
    np.testing.assert_allclose(p_values(beside), expected)
    inside = client.post("/predict", json={"instances": new.to_dict("records")})
    np.testing.assert_allclose(p_values(inside), expected)
    assert inside.json()["identifiers"][0] == {"machine": "a"}
    content = new.to_csv(index=False).encode()
    table = client.post("/predict", content=content, headers={"Content-Type": "text/csv"})
    np.testing.assert_allclose(p_values(table), expected)


def test_instances_without_groups_are_refused_where_they_are_decided_on(served):
    _, client = served
    rows = parts(2, 2).drop(columns="machine").to_dict("records")
    refused = client.post("/predict", json={"instances": rows})
    assert refused.status_code == 422
    assert "at fit the column 'machine'" in refused.text
    short = client.post("/predict", json={"instances": rows, "groups": ["a"]})
    assert (short.status_code, "one for each instance" in short.text) == (422, True)
    assert client.post("/encode", json={"instances": rows}).status_code == 200


def test_a_group_that_was_not_there_at_fit_is_warned_of(served):
    _, client = served
    rows = parts(2, 2).drop(columns="machine").to_dict("records")
    answer = client.post("/predict", json={"instances": rows, "groups": ["new", None]}).json()
    assert "2 of 2 instances are of groups that were not there" in answer["warnings"][0]


def test_the_description_of_the_service_has_the_groups(served):
    _, client = served
    body = client.get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"]
    properties = body["content"]["application/json"]["schema"]["properties"]
    assert "key machine of each instance" in properties["groups"]["description"]
    assert client.get("/schema").json()["group_columns"] == ["machine"]
