"""What clients and proxies send beside plain requests is answered alike."""

import base64
import gzip
import io
import json

import numpy as np
import pytest
from _served import running
from PIL import Image

from isthmus.data.formats import resize_pixels
from isthmus.errors import ServeError
from isthmus.serve import Limits, build_app

GOOD = {"instances": np.zeros((1, 8, 8), int).tolist()}


def test_head_is_answered_as_get_without_the_body(client):
    for path in ("/health", "/ready", "/schema", "/metrics", "/openapi.json", "/", "/known?n=2"):
        whole, head = client.get(path), client.head(path)
        assert head.status_code == whole.status_code == 200
        assert head.content == b""
        assert head.headers["content-type"] == whole.headers["content-type"]
        if path != "/metrics":
            assert head.headers["content-length"] == whole.headers["content-length"]
    assert client.head("/nowhere").status_code == 404
    assert client.head("/predict").status_code == 405
    assert client.post("/health").headers["allow"] == "GET, HEAD"


def test_a_gzip_body_is_decided_as_it_is_plain(digits_folder):
    content = gzip.compress(json.dumps(GOOD).encode().ljust(9_000))
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    limits = Limits(body_bytes=10_000, bodies_bytes=12_000)
    with running([digits_folder / "digits"], limits) as client:
        for _ in range(3):  # more than are buffered at one time
            answer = client.post("/predict", content=content, headers=headers)
            assert answer.status_code == 200
        assert answer.json() == client.post("/predict", json=GOOD).json()
        large = gzip.compress(b" " * 10_001)
        assert client.post("/predict", content=large, headers=headers).status_code == 413


@pytest.mark.parametrize("root", ["/models", "models/"])
def test_a_proxy_may_remove_its_path_or_not(digits_folder, root):
    token = "0123456789abcdef"
    headers = {"Authorization": f"Bearer {token}"}
    with running([digits_folder / "digits"], token=token, root_path=root) as client:
        for prefix in ("", "/models"):
            assert client.get(f"{prefix}/health").status_code == 200
            assert client.get(f"{prefix}/page/main.js").status_code == 200
            assert client.get(f"{prefix}/").status_code == 200
            refused = client.post(f"{prefix}/predict", json=GOOD)
            assert refused.status_code == 401
            answer = client.post(f"{prefix}/predict", json=GOOD, headers=headers)
            assert len(answer.json()["predictions"]) == 1
            plain = client.get(f"{prefix}/openapi.json", headers=headers).json()
            assert plain["servers"] == [{"url": "/models"}]
            assert "/predict" in plain["paths"]
        assert client.get("/models").headers["location"] == "models/"
        assert client.get("/models/models/health", headers=headers).status_code == 404
        assert client.get("/modelsx/health", headers=headers).status_code == 404
        text = client.get("/metrics", headers=headers).text
        assert 'isthmus_requests_total{path="/predict",status="200"} 2.0' in text


def test_a_root_path_that_is_none(digits_folder):
    with pytest.raises(ServeError, match="/models"):
        build_app([digits_folder / "digits"], root_path="/a b")


@pytest.fixture(scope="module")
def X(digits):
    return digits[0][1200:1204]


def encoded(pixels, form="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def decided(client, X):
    return client.post("/predict", json={"instances": X.tolist()}).json()["predictions"]


@pytest.mark.parametrize(
    ("kind", "form", "options"),
    [
        ("image/png", "PNG", {}),
        ("image/webp", "WEBP", {"lossless": True}),
        ("image/bmp", "BMP", {}),
        ("image/gif", "GIF", {}),
        ("image/tiff", "TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_lossless_image_files_are_decided_as_their_pixels(client, X, kind, form, options):
    content = encoded(X[0], form, **options)
    answer = client.post("/predict", content=content, headers={"Content-Type": kind}).json()
    assert answer["predictions"] == decided(client, X[:1])
    assert answer["warnings"] == []
    assert "resized_from" not in answer


def test_jpeg_by_either_name(client, X):
    content = encoded(X[0], "JPEG")
    pixels = np.asarray(Image.open(io.BytesIO(content)))
    for kind in ("image/jpeg", "image/jpg"):
        answer = client.post("/predict", content=content, headers={"Content-Type": kind}).json()
        assert answer["predictions"] == decided(client, pixels[None])


def test_several_images_in_a_form_are_one_batch_with_their_names(client, X):
    files = [("images", (f"{at}.png", encoded(one), "image/png")) for at, one in enumerate(X)]
    answer = client.post("/predict", files=files).json()
    assert answer["predictions"] == decided(client, X)
    assert answer["identifiers"] == [{"file": f"{at}.png"} for at in range(4)]
    assert answer["warnings"] == []
    # A client that states no type, and a field of the form beside.
    octets = [("file", ("a.bin", encoded(X[1]), "application/octet-stream"))]
    answer = client.post("/predict", files=octets, data={"note": "x"}).json()
    assert answer["predictions"] == decided(client, X[1:2])
    assert "1 fields of the form" in answer["warnings"][0]
    array = io.BytesIO()
    np.save(array, X)
    answer = client.post("/predict", files={"file": ("X.npy", array.getvalue())}).json()
    assert answer["predictions"] == decided(client, X)


def test_a_table_in_a_form(client, parts):
    content = parts[:5].to_csv(index=False)
    plain = client.post(
        "/bundles/parts/predict", content=content, headers={"Content-Type": "text/csv"}
    )
    form = client.post("/bundles/parts/predict", files={"file": ("parts.csv", content)})
    assert form.json() == plain.json()
    rows = parts[:5].assign(hue="müd")
    lines = rows.to_json(orient="records", lines=True, date_format="iso", force_ascii=False)
    expected = None
    for text, kind in ((rows.to_csv(index=False), "text/csv"), (lines, "application/x-ndjson")):
        for charset in ("UTF-8", "windows-1252", '"utf-16"'):
            content = text.encode(charset.strip('"'))
            for sent in (
                {"content": content, "headers": {"Content-Type": f"{kind}; charset={charset}"}},
                {"files": {"file": ("a.txt", content, f"{kind}; charset={charset}")}},
            ):
                answer = client.post("/bundles/parts/predict", **sent)
                expected = expected or answer.json()
                assert answer.json() == expected, (kind, charset)
    assert len(expected["predictions"]) == 5
    content = parts[:5].to_csv(index=False)
    two = [("file", ("a.csv", content)), ("file", ("b.csv", content))]
    assert client.post("/bundles/parts/predict", files=two).json()["got"] == "2 files"


def test_images_in_base64(client, X):
    text = [base64.b64encode(encoded(one)).decode() for one in X]
    forms = [
        text,
        [f"data:image/png;base64,{one}" for one in text],
        [{"b64": one.rstrip("=").replace("+", "-").replace("/", "_")} for one in text],
    ]
    for instances in forms:
        answer = client.post("/predict", json={"instances": instances}).json()
        assert answer["predictions"] == decided(client, X)
    refused = client.post("/predict", json={"instances": ["no base64!"]})
    assert refused.status_code == 422
    assert "base64" in refused.json()["expected"]
    assert client.post("/predict", json={"instances": [text[0], X[0].tolist()]}).status_code == 422
    body = {"instances": text[:1], "labels": [3], "head": "kind"}
    assert client.post("/labels", json=body).status_code == 202
    line = json.loads(client.queue.read_text("utf-8").splitlines()[-1])
    assert line["instance"] == X[0].tolist()


def test_files_of_another_size_are_resized_as_load_does_and_arrays_refused(client, X):
    large = resize_pixels(X[0], (20, 16))
    files = [("f", ("large.png", encoded(large))), ("f", ("own.png", encoded(X[1])))]
    answer = client.post("/predict", files=files).json()
    assert answer["resized_from"] == [[20, 16], None]
    assert answer["predictions"] == decided(client, np.stack([resize_pixels(large, (8, 8)), X[1]]))
    refused = client.post("/predict", json={"instances": [large.tolist()]}).json()
    assert "(n, 8, 8)" in refused["expected"]
    colour = np.stack([X[0], X[1], X[2]], axis=-1)
    grey = np.asarray(Image.fromarray(colour).convert("L"))
    answer = client.post(
        "/predict", content=encoded(colour), headers={"Content-Type": "image/png"}
    ).json()
    assert answer["predictions"] == decided(client, grey[None])
    assert answer["warnings"] == ["instance 0 has colour and was converted to grey as at fit"]
    frames = encoded(X[0], "GIF", save_all=True, append_images=[Image.fromarray(X[1])])
    answer = client.post("/predict", content=frames, headers={"Content-Type": "image/gif"}).json()
    assert answer["predictions"] == decided(client, X[:1])
    assert "several frames" in answer["warnings"][0]


def test_one_instance_without_a_list_around_it(client, X):
    answer = client.post("/predict", json={"instances": X[0].tolist()})
    assert answer.status_code == 422
    assert answer.json()["fix"] == 'put it into a list: {"instances": [INSTANCE]}'


def test_floats_of_a_bundle_of_bytes_are_pixels_divided_by_255(client, X):
    expected = decided(client, X)
    scaled = (X / 255).tolist()
    answer = client.post("/predict", json={"instances": scaled}).json()
    assert answer["predictions"] == expected
    assert answer["warnings"] == []
    # What an image means does not depend on those beside it.
    mixed = [scaled[0], X[1].tolist(), X[2].astype(float).tolist(), scaled[3]]
    assert client.post("/predict", json={"instances": mixed}).json()["predictions"] == expected
    between = client.post("/predict", json={"instances": [[[0.5] * 8] * 8]}).json()
    assert "rounded to the 256 levels" in between["warnings"][0]
    array = io.BytesIO()
    np.save(array, (X / 255).astype(np.float32))
    answer = client.post(
        "/predict", content=array.getvalue(), headers={"Content-Type": "application/x-npy"}
    )
    assert answer.json()["predictions"] == expected


def test_a_row_alone_is_decided_as_among_others(client, parts):
    day = "2024-05-17"
    rows = [
        {"width": 1, "hue": "red", "ok": True, "day": day},
        {"width": None, "hue": None, "ok": None, "day": None},
        {"width": "1.5", "hue": "blue", "ok": 1, "day": f"{day}T06:30:00Z"},
        {"width": -0.5, "hue": "1", "ok": "false", "day": f"{day} 06:30"},
        {"width": 10**15, "hue": "true", "ok": False, "day": day},
    ]
    path = "/bundles/parts/predict"
    together = client.post(path, json={"instances": rows})
    assert together.status_code == 200, together.text
    alone = [client.post(path, json={"instances": [row]}).json()["predictions"][0] for row in rows]
    for one, other in zip(together.json()["predictions"], alone, strict=True):
        assert one["p_value"] == other["p_value"]
        assert one["anomaly_score"] == pytest.approx(other["anomaly_score"], rel=1e-5)


def test_ids_and_other_columns_are_returned(client, parts, X):
    body = {"instances": X.tolist(), "ids": ["a", "007", 3, "a"]}
    answer = client.post("/predict", json=body).json()
    assert answer["identifiers"] == [{"id": "a"}, {"id": "007"}, {"id": 3}, {"id": "a"}]
    refused = client.post("/predict", json=body | {"ids": ["a"]})
    assert refused.status_code == 422
    assert refused.json()["got"] == "1 ids"
    rows = json.loads(parts[:2].to_json(orient="records", date_format="iso"))
    path = "/bundles/parts/predict"
    plain = client.post(path, json={"instances": rows}).json()
    named = [one | {"part": part} for one, part in zip(rows, ["007", "7"], strict=True)]
    answer = client.post(path, json={"instances": named}).json()
    assert answer.pop("identifiers") == [{"part": "007"}, {"part": "7"}]
    assert answer == plain
    content = parts[:2].assign(part=["a-1", "a-2"]).to_csv(index=False)
    answer = client.post(path, content=content, headers={"Content-Type": "text/csv"}).json()
    assert answer["identifiers"] == [{"part": "a-1"}, {"part": "a-2"}]


FORMS = {
    "no boundary": ("multipart/form-data", b"--x\r\n\r\n--x--", 400),
    "cut short": ("multipart/form-data; boundary=x", b"--x\r\n\r\nabc", 400),
    "no file": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n',
        422,
    ),
    "too many": ("multipart/form-data; boundary=x", b"\r\n--x" * 20_000 + b"\r\n--x--", 413),
}


@pytest.mark.parametrize(("kind", "content", "status"), FORMS.values(), ids=FORMS.keys())
def test_forms_that_cannot_be_read(client, kind, content, status):
    answer = client.post("/predict", content=content, headers={"Content-Type": kind})
    assert answer.status_code == status, answer.text
    assert answer.json()["fix"]


def test_images_together_are_bounded_before_they_are_decoded(digits_folder):
    content = encoded(np.zeros((100, 100), np.uint8))
    with running([digits_folder / "digits"], Limits(pixels=10_000)) as client:
        four = [("f", (f"{at}.png", content)) for at in range(4)]
        assert client.post("/predict", files=four).status_code == 200
        refused = client.post("/predict", files=[*four, four[0]])
        assert refused.status_code == 413
        assert refused.json()["fix"] == "send the images in several requests"
