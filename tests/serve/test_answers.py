"""Answers of the service equal the library's decisions, for every form of the instances."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from _served import running
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from isthmus import Autoencoder, CodeClassifier, export_bundle, load_bundle, save_bundle
from isthmus._core import file_digest
from isthmus.data import Schema, named_sets
from isthmus.export import Exported
from isthmus.serve import read_labels
from isthmus.serve.answers import explanations


def npy(X):
    file = io.BytesIO()
    np.save(file, X)
    return file.getvalue()


def picture(pixels, form="PNG"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def post(client, path, content, kind):
    return client.post(path, content=content, headers={"Content-Type": kind})


@pytest.fixture(scope="module")
def X(digits):
    return digits[0][1200:1205]


def test_predictions_are_the_librarys(client, digits_folder, X):
    answer = client.post("/predict", json={"instances": X.tolist()})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    opened = load_bundle(digits_folder / "bundle")
    kind, detector = opened.head("kind"), opened.head("normal")
    found = answer.json()["predictions"]
    assert [one["class"] for one in found] == kind.predict(X).tolist()
    expected = ["normal" if sign == 1 else "abnormal" for sign in detector.predict(X)]
    assert [one["verdict"] for one in found] == expected
    assert [one["p_value"] for one in found] == pytest.approx(detector.p_values(X))
    assert [one["anomaly_score"] for one in found] == pytest.approx(
        -detector.score_samples(X), abs=2e-4
    )
    shares = np.array([[one["probabilities"][str(k)] for k in range(10)] for one in found])
    assert shares == pytest.approx(kind.predict_proba(X), abs=1e-4)


def test_sets_of_classes_at_an_alpha(digits, X, tmp_path):
    encoder = Autoencoder(8, max_epochs=1, random_state=0).fit(digits[0][:300])
    classifier = CodeClassifier(encoder, calibration="split", random_state=0)
    classifier.fit(digits[0][300:700], np.array([f"d{label}" for label in digits[1][300:700]]))
    save_bundle(tmp_path / "b", encoder, {"kind": classifier})
    export_bundle(tmp_path / "b", tmp_path / "e", X)
    with running([tmp_path / "e"]) as client:
        for by_class in (False, True):
            path = f"/predict?alpha=0.2&by_class={by_class}"
            found = client.post(path, json={"instances": X.tolist()}).json()["predictions"]
            sets = classifier.predict_set(X, 0.2, by_class=by_class)
            assert [one["set"] for one in found] == named_sets(sets, classifier.classes_)
            p_values = [[one["class_p_values"][c] for c in classifier.classes_] for one in found]
            np.testing.assert_array_equal(p_values, classifier.class_p_values(X))
        plain = client.post("/predict", json={"instances": X.tolist()}).json()["predictions"]
        assert "set" not in plain[0]
        refused = client.post("/predict?alpha=1", json={"instances": X.tolist()})
        assert refused.status_code == 422


def test_sets_without_calibration_are_refused(client, X):
    refused = client.post("/predict?alpha=0.1", json={"instances": X.tolist()})
    assert refused.status_code == 404
    assert "isthmus classify --calibration cross" in refused.text


def test_every_answer_carries_the_digest_of_the_served_file(client, digits_folder, X):
    digest = file_digest(digits_folder / "digits" / "model.onnx")
    body = {"instances": X.tolist()}
    for path in ("/predict", "/encode", "/explain", "/nearest", "/bundles/digits/predict"):
        assert client.post(path, json=body).json()["digest"] == digest
    for path in ("/schema", "/known", "/health", "/ready", "/bundles/digits/schema"):
        assert client.get(path).json()["digest"] == digest
    assert client.post("/predict", json={"instances": []}).json()["digest"] == digest


def test_forms_of_the_same_images_give_the_same_answer(client, X):
    expected = client.post("/predict", json={"instances": X.tolist()}).json()
    assert post(client, "/predict", npy(X), "application/x-npy").json() == expected
    floats = {"instances": X.astype(float).tolist()}
    assert client.post("/predict", json=floats).json() == expected
    fortran = np.asfortranarray(X)
    assert post(client, "/predict", npy(fortran), "application/x-npy").json() == expected
    for image, one in zip(X, expected["predictions"], strict=True):
        answer = post(client, "/predict", picture(image), "image/png").json()
        assert answer["predictions"][0]["class"] == one["class"]
        assert answer["predictions"][0]["p_value"] == one["p_value"]
    jpeg = post(client, "/predict", picture(X[0], "JPEG"), "image/jpeg")
    assert jpeg.status_code == 200
    assert len(jpeg.json()["predictions"]) == 1


def test_forms_of_the_same_table_give_the_same_answer(client, parts, parts_folder):
    rows = parts[:40]
    raw = Exported(parts_folder, 1).run(rows)
    file = io.BytesIO()
    rows.to_parquet(file)
    records = json.loads(rows.to_json(orient="records", date_format="iso"))
    lists = [list(record.values()) for record in records]
    answers = [
        post(client, "/bundles/parts/predict", rows.to_csv(index=False), "text/csv; charset=utf-8"),
        post(
            client, "/bundles/parts/predict", file.getvalue(), "application/vnd.apache.parquet"
        ),
        client.post("/bundles/parts/predict", json={"instances": records}),
        client.post("/bundles/parts/predict", json={"instances": lists}),
    ]  # fmt: skip
    for answer in answers:
        assert answer.status_code == 200, answer.text
        found = answer.json()["predictions"]
        assert [set(one) for one in found] == [{"anomaly_score", "p_value", "verdict"}] * 40
        assert [one["anomaly_score"] for one in found] == pytest.approx(raw["anomaly_score"])
        assert [one["verdict"] == "normal" for one in found] == (raw["verdict"] == 1).tolist()


def test_codes_are_the_encoders(client, digits_folder, X):
    answer = client.post("/encode", json={"instances": X.tolist()}).json()
    encoder = load_bundle(digits_folder / "bundle").encoder
    assert np.array(answer["codes"]) == pytest.approx(encoder.transform(X), abs=1e-4)
    assert answer["reconstruction_error"] == pytest.approx(
        encoder.reconstruction_error(X), abs=1e-4
    )


def test_explanations_are_the_largest_residuals(client, digits_folder, X):
    answer = client.post("/explain", params={"top": 3}, json={"instances": X.tolist()})
    residual = Exported(digits_folder / "digits", 1).run(X)["residual"].reshape(len(X), -1)
    for one, row in zip(answer.json()["explanations"], residual, strict=True):
        found = [8 * y + x for y, x in (part["feature"] for part in one["top"])]
        assert row[found] == pytest.approx(np.sort(row)[::-1][:3])
        shares = [part["share"] for part in one["top"]]
        assert sum(shares) + one["rest"] == pytest.approx(1)
        assert shares[0] == pytest.approx(row.max() / row.sum())


def test_an_explanation_ranks_and_marks_values_missing_where_none_was_at_fit():
    schema = Schema.learn(pd.DataFrame({"flow": [1.0, 2.0], "temp": [1.0, 3.0]}))
    residual, missing = np.array([[0.5, 0.25], [0.5, 0.25]]), np.array([[False, True], [False] * 2])
    first, second = explanations(schema, residual, 2, missing)
    assert first["top"][0] == {
        "feature": "temp",
        "residual": 0.25,
        "share": pytest.approx(1.75 / 2.25),
        "missing": True,
    }
    assert second["top"] == explanations(schema, residual, 2)[1]["top"]
    assert "missing" not in second["top"][0] | first["top"][1]


def test_labels_are_queued_for_the_next_update(client, digits_folder, X):
    detector = load_bundle(digits_folder / "bundle").head("normal")
    body = {"instances": X.tolist(), "labels": [1, 1, -1, 1, -1], "head": "normal"}
    client.queue.write_text("")
    answer = client.post("/labels", json=body)
    assert answer.status_code == 202
    assert answer.json()["queued"] == 5
    refused = client.post("/labels", json=body | {"labels": [1, 1, -1, 1, 7]})
    assert refused.status_code == 422
    assert "0 to withdraw a label" in refused.json()["expected"]
    schema = Schema.from_dict(client.get("/schema").json()["schema"])
    read, y = read_labels(client.queue, schema, "digits", "normal")
    assert np.array_equal(read, X)
    assert read.dtype == X.dtype
    assert y.tolist() == [1, 1, -1, 1, -1]
    detector.add_labels(read, y)
    assert (detector.reference_set_.y == -1).sum() >= 2


def test_the_schema_describes_an_instance(client):
    plain = client.get("/bundles/parts/schema").json()
    assert plain["instance"]["required"] == ["width", "hue", "ok", "day"]
    assert plain["content_types"][2] == "text/csv"
    assert plain["explains"] is False
    assert client.get("/schema").json()["heads"]["kind"]["classes"] == list(range(10))


def test_metrics_count_what_was_answered(client, X):
    def count():
        samples = {}
        for family in text_string_to_metric_families(client.get("/metrics").text):
            for one in family.samples:
                samples[one.name, *one.labels.values()] = one.value
        return samples

    before = count()
    client.post("/encode", json={"instances": X.tolist()})
    client.post("/encode", content=b"no", headers={"Content-Type": "application/json"})
    client.get("/a/path/of/the/clients/own")
    after = count()
    for key in (("200", "/encode"), ("400", "/encode"), ("404", "other")):
        status, path = key
        name = next(k for k in after if k[0] == "isthmus_requests_total" and set(k[1:]) == set(key))
        assert after[name] == before.get(name, 0) + 1, (path, status)


def test_a_plain_client_gets_the_answers_of_the_docs(client, X):
    import requests

    session = requests.Session()
    session.trust_env = False
    answer = session.post(f"{client.base_url}/predict", json={"instances": X.tolist()}, timeout=30)
    assert answer.json()["predictions"][0].keys() == {
        "class", "probabilities", "anomaly_score", "p_value", "verdict",
    }  # fmt: skip
    session.close()


def test_values_out_of_range_and_unknown_categories(client, parts):
    rows = json.loads(parts[:2].to_json(orient="records", date_format="iso"))
    rows[0]["hue"] = "a hue never seen"
    rows[1] |= {"width": None, "hue": None, "ok": None, "day": None}
    assert client.post("/bundles/parts/predict", json={"instances": rows}).status_code == 200
    # More missing values than at fit are a warning of the answer.
    dead = client.post("/bundles/parts/predict", json={"instances": rows[1:] * 8}).json()
    lacking = [text for text in dead["warnings"] if "lacks the value in 8 of 8 rows" in text]
    assert [text.split("'")[1] for text in lacking] == ["width", "ok", "day"]
    assert any("8 of 8 rows have no value in any column" in text for text in dead["warnings"])
