"""What clients and proxies send beside plain requests is answered alike."""

import gzip
import json

import numpy as np
import pytest
from _served import running

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
