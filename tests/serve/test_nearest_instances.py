"""What the page shows: reconstructions, residuals, and the nearest reference instances."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from _served import running, until

from isthmus import export_bundle, load_bundle
from isthmus.data.formats import resize_pixels
from isthmus.errors import ExportError
from isthmus.export import Exported, read_references
from isthmus.serve import Limits, build_app

GOOD = {"instances": np.zeros((1, 8, 8), int).tolist()}


@pytest.fixture(scope="module")
def X(digits):
    return digits[0][1200:1205]


@pytest.fixture(scope="module")
def references(digits_folder):
    """The reference instances of the digits."""
    exported = Exported(digits_folder / "digits", 1)
    return read_references(digits_folder / "digits" / "model.onnx", exported.facts, exported.schema)


@pytest.fixture(scope="module")
def whole(parts_folder, parts, tmp_path_factory):
    """A client of the table's bundle, exported with residuals."""
    target = tmp_path_factory.mktemp("whole") / "parts"
    export_bundle(parts_folder.parent / "bundle", target, parts[:50], residual=True)
    with running([target]) as client:
        yield client


def test_neighbours_are_the_nearest_by_the_librarys_codes(client, digits_folder, references, X):
    answer = client.post("/nearest", params={"k": 4}, json={"instances": X.tolist()}).json()
    assert answer["rebuilt"] is True
    codes = load_bundle(digits_folder / "bundle").encoder.transform(X)
    apart = np.linalg.norm(codes[:, None] - references.codes, axis=2)
    plain = [references.plain(at) for at in range(len(references))]
    for found, row in zip(answer["neighbours"], apart, strict=True):
        distances = [one["distance"] for one in found]
        assert distances == sorted(distances)
        assert distances == pytest.approx(np.sort(row)[:4], rel=1e-4)
        for one in found:
            places = [at for at, instance in enumerate(plain) if instance == one["instance"]]
            assert min(abs(row[places] - one["distance"])) < 1e-4 * row.max()
            assert one["label"] in references.labels[places]
    assert len(client.post("/nearest", json=GOOD).json()["neighbours"][0]) == 6


def test_a_stored_row_is_nearest_to_itself(client):
    some = client.get("/bundles/parts/known", params={"n": 20}).json()
    assert some["rebuilt"] is False
    assert sorted(set(some["labels"])) == ["bad", "good"]
    answer = client.post("/bundles/parts/nearest", json={"instances": some["instances"]}).json()
    for own, label, found in zip(
        some["instances"], some["labels"], answer["neighbours"], strict=True
    ):
        assert found[0]["distance"] < 1e-4
        assert own in [one["instance"] for one in found if one["distance"] < 1e-4]
        assert label == ("good" if own["ok"] else "bad")


@pytest.mark.parametrize("bundle", ["digits", "parts"])
def test_reference_instances_are_as_predict_takes_them(client, bundle):
    path = f"/bundles/{bundle}"
    some = client.get(f"{path}/known").json()
    assert len(some["instances"]) == len(some["labels"]) == 24
    assert client.get(f"{path}/known").json() == some
    answer = client.post(f"{path}/predict", json={"instances": some["instances"]})
    assert answer.status_code == 200, answer.text
    counts = pd.Series(some["labels"]).value_counts()
    assert counts.max() - counts.min() <= 1
    schema = client.get(f"{path}/schema").json()
    assert schema["known"] == {"n": 512 if bundle == "digits" else 50, "rebuilt": some["rebuilt"]}


def test_stored_instances_are_the_original_rows(client, parts):
    given = json.loads(parts[:100].to_json(orient="records", date_format="iso"))
    seen = {(one["width"], one["hue"], one["ok"], one["day"][:19]) for one in given}
    for one in client.get("/bundles/parts/known?n=50").json()["instances"]:
        width = None if one["width"] is None else round(one["width"], 10)
        assert (width, one["hue"], one["ok"], one["day"]) in seen


def test_a_whole_explanation_has_every_residual_and_the_reconstruction(client, digits_folder, X):
    body = {"instances": X.tolist()}
    answer = client.post("/explain?whole=true&top=2", json=body).json()
    short = client.post("/explain?top=2", json=body).json()
    encoder = load_bundle(digits_folder / "bundle").encoder
    back = encoder.inverse_transform(encoder.transform(X))
    for one, other, image in zip(answer["explanations"], short["explanations"], back, strict=True):
        assert one["top"] == other["top"]
        assert other.keys() == {"top", "rest"}
        residual = np.array(one["residual"])
        assert residual.shape == (8, 8)
        assert one["top"][0]["residual"] == pytest.approx(residual.max())
        assert all(isinstance(pixel, int) for row in one["reconstruction"] for pixel in row)
        assert np.abs(np.array(one["reconstruction"]) - image).max() <= 0.51
    again = {"instances": [one["reconstruction"] for one in answer["explanations"]]}
    assert client.post("/predict", json=again).status_code == 200


def test_a_whole_explanation_of_a_row_is_by_column(whole, parts_folder, parts):
    rows = parts[:20]
    content = rows.to_csv(index=False)
    headers = {"Content-Type": "text/csv"}
    answer = whole.post("/explain?whole=true", content=content, headers=headers).json()
    encoder = load_bundle(parts_folder.parent / "bundle").encoder
    back = encoder.inverse_transform(encoder.transform(rows))
    columns = list(parts)
    for at, one in enumerate(answer["explanations"]):
        assert len(one["residual"]) == 4
        for named in one["top"]:
            assert one["residual"][columns.index(named["feature"])] == named["residual"]
        found, row = one["reconstruction"], back.iloc[at]
        assert found["width"] == pytest.approx(row["width"], abs=1e-3)
        assert found["hue"] == row["hue"]
        assert found["ok"] is bool(row["ok"])
        assert abs(pd.Timestamp(found["day"]) - row["day"]) < pd.Timedelta(5, "s")
    again = {"instances": [one["reconstruction"] for one in answer["explanations"]]}
    assert whole.post("/predict", json=again).status_code == 200


def test_an_export_without_reconstructions(client, monkeypatch):
    monkeypatch.setattr(Exported, "rebuilds", False)
    answer = client.post("/explain?whole=true", json=GOOD)
    assert answer.status_code == 404
    assert "--residual" in answer.json()["fix"]
    assert client.post("/explain", json=GOOD).status_code == 200


def test_answers_that_are_too_large(digits_folder):
    with running([digits_folder / "digits"], Limits(values=500)) as client:
        two = {"instances": GOOD["instances"] * 2}
        assert client.post("/nearest?k=3", json=two).status_code == 200
        refused = client.post("/nearest?k=4", json=two)
        assert refused.status_code == 413
        assert refused.json()["got"] == "an answer of 512 values"
        four = {"instances": GOOD["instances"] * 4}
        assert client.post("/explain?whole=true", json=four).status_code == 413
        assert client.post("/explain?whole=false", json=four).status_code == 200
        assert len(client.get("/known?n=100").json()["instances"]) == 7


def test_damaged_reference_instances_are_refused_as_a_damaged_graph_is(digits_folder, tmp_path):
    folder = tmp_path / "served"
    shutil.copytree(digits_folder / "digits", folder)
    with running([folder]) as client:
        before = client.get("/known").json()
        (folder / "known.npz").write_bytes(b"no archive")
        (folder / "fresh").write_bytes((folder / "model.onnx").read_bytes())
        (folder / "fresh").rename(folder / "model.onnx")
        until(lambda: client.get("/ready").json()["stale"] == ["served"])
        assert client.get("/known").json() == before
    with pytest.raises(ExportError, match=r"known\.npz is damaged"):
        build_app([folder])
    (folder / "known.npz").unlink()
    with running([folder]) as client:
        assert client.get("/schema").json()["known"] is None


def test_thumbnails_of_images_too_large_for_an_answer(digits_folder, references, X):
    body = {"instances": X[:1].tolist()}
    with running([digits_folder / "digits"], Limits(values=100)) as client:
        refused = client.post("/nearest?k=6", json=body)
        assert refused.status_code == 413
        assert "?max_side=" in refused.json()["fix"]
        answer = client.post("/nearest?k=6&max_side=4", json=body).json()
        assert answer["thumbnails"] == {"from": [8, 8], "to": [4, 4]}
        (found,) = answer["neighbours"]
        small = [resize_pixels(one, (4, 4)).tolist() for one in references.instances]
        assert len(found) == 6
        assert all(one["instance"] in small for one in found)
        some = client.get("/known?n=6&max_side=4").json()
        at = some["positions"]
        assert some["instances"] == [small[place] for place in at]
        (whole,) = client.get(f"/known?at={at[3]}").json()["instances"]
        assert whole == references.plain(at[3])
        fewer = client.get("/known?n=6").json()
        assert len(fewer["instances"]) == 1
        assert "1 reference instances, not 6" in fewer["warnings"][0]
        assert client.get("/known?at=100000").status_code == 404
        assert client.post("/explain?whole=true", json=body).status_code == 413
        answer = client.post("/explain?whole=true&max_side=4", json=body).json()
        (one,) = answer["explanations"]
        assert np.shape(one["reconstruction"]) == np.shape(one["residual"]) == (4, 4)
        residual = Exported(digits_folder / "digits", 1).run(X[:1])["residual"][0]
        expected = resize_pixels(residual, (4, 4))
        assert np.array(one["residual"]) == pytest.approx(expected, rel=1e-4, abs=1e-6)
        assert "thumbnails" not in client.post("/nearest?k=1&max_side=8", json=body).json()
