"""Bad input gets the documented refusal, and the service still answers."""

import contextlib
import gzip
import io
import json
import pickle
import re
import socket
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pandas as pd
import pytest
from _served import DEADLINE, running, until
from PIL import Image

from isthmus import export_bundle, save_bundle
from isthmus.errors import ServeError
from isthmus.serve import Limits, build_app
from isthmus.serve.server import Connections, check_host

JSON, NPY, CSV, PNG = "application/json", "application/x-npy", "text/csv", "image/png"
PARQUET, NDJSON = "application/vnd.apache.parquet", "application/x-ndjson"
GOOD = {"instances": np.zeros((1, 8, 8), int).tolist()}


def npy(X, **options):
    file = io.BytesIO()
    np.save(file, X, **options)
    return file.getvalue()


def png(width, height):
    """A PNG whose header states a size, with hardly any data."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )  # fmt: skip


def truncated_png():
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()[:70]


def npy_header(text):
    header = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def parquet(frame):
    file = io.BytesIO()
    frame.to_parquet(file)
    return file.getvalue()


def check(answer, status, message):
    assert answer.status_code == status, answer.text
    plain = answer.json()
    assert plain.keys() - {"digest"} == {"got", "expected", "fix"}
    assert all(plain.values())
    assert message in " ".join(plain.values())
    # What only a program or a command can do is of no use to a client.
    of_programs = re.search(r"--[a-z]|command line|load\(|DataFrame", answer.text)
    assert status in (404, 503) or not of_programs
    assert "/tmp" not in answer.text
    assert "site-packages" not in answer.text


class Bomb:
    def __reduce__(self):
        return print, ("unpickled",)


IMAGES = {
    "no JSON": (JSON, b"{", 400, "not JSON"),
    "no object": (JSON, b"[1]", 400, "list of instances"),
    "NaN": (JSON, b'{"instances": [[NaN]]}', 400, "null, not NaN"),
    "nested too deep": (JSON, b"[" * 100_000, 400, "not JSON"),
    "not UTF-8": (JSON, b'{"instances": ["\xff"]}', 400, "not JSON"),
    "no instances": (JSON, b'{"instances": []}', 422, "no instances"),
    "ragged": (JSON, b'{"instances": [[[1], [1, 2]]]}', 422, "of one length"),
    "text": (JSON, b'{"instances": [["a"]]}', 422, "lists of numbers"),
    "a number for an instance": (JSON, b'{"instances": [1]}', 422, "(n, 8, 8)"),
    "huge number": (JSON, b'{"instances": [[1' + b"0" * 400 + b"]]}", 422, "lists of numbers"),
    "wrong shape": (JSON, json.dumps({"instances": [[[1] * 4] * 4]}).encode(), 422, "(n, 8, 8)"),
    "channels of colour": (NPY, npy(np.zeros((2, 8, 8, 3), np.uint8)), 422, "0.299, 0.587, 0.114"),
    "an axis of one": (NPY, npy(np.zeros((2, 1, 8, 8), np.uint8)), 422, "X.reshape((-1, 8, 8))"),
    "another size as an array": (NPY, npy(np.zeros((2, 9, 8), np.uint8)), 422, "to 8x8"),
    "one image": (NPY, npy(np.zeros((8, 8), np.uint8)), 422, "X[None]"),
    "uint16": (NPY, npy(np.full((1, 8, 8), 300, np.uint16)), 422, "X / 65535"),
    "beyond a byte": (JSON, json.dumps({"instances": [[[256] * 8] * 8]}).encode(), 422, "uint8"),
    "NaN pixels": (NPY, npy(np.full((1, 8, 8), np.nan)), 422, "NaN"),
    "pickle": (NPY, npy(np.array([Bomb()]), allow_pickle=True), 422, "never unpickled"),
    "bare pickle": (NPY, pickle.dumps(Bomb()), 400, "numpy.save"),
    "cut short": (NPY, npy(np.zeros((2, 8, 8), np.uint8))[:-1], 400, "the whole file"),
    "10 TB declared": (
        NPY,
        npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (9999, 8, 8)}"),
        400,
        "the whole file",
    ),
    "shape below zero": (
        NPY,
        npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 8, 8)}"),
        422,
        "no instances",
    ),
    "brackets in a header": (NPY, npy_header("{'descr': '<f8', 'shape': (("), 400, "numpy.save"),
    "nested header": (NPY, npy_header("(" * 9000), 400, "numpy.save"),
    "code in a header": (NPY, npy_header("__import__('os').abort()"), 400, "numpy.save"),
    "truncated PNG": (PNG, truncated_png(), 400, "is damaged"),
    "no PNG": (PNG, b"GIF89a", 400, "not an image file"),
    "decompression bomb": (PNG, png(60_000, 60_000), 413, "pixels"),
    "more pixels than allowed": (PNG, png(5_000, 5_000), 413, "5000 x 5000 pixels"),
    "empty": (JSON, b"", 400, "empty body"),
    "a table": (CSV, b"a,b\n1,2\n", 415, "image/png"),
    "no type": ("", b"{}", 415, "Content-Type"),
    "unknown type": ("application/x-pickle", pickle.dumps(1), 415, "x-pickle"),
}


@pytest.mark.parametrize(
    ("kind", "content", "status", "message"), IMAGES.values(), ids=IMAGES.keys()
)
def test_images_that_cannot_be_read(client, capfd, kind, content, status, message):
    headers = {"Content-Type": kind} if kind else {}
    check(client.post("/predict", content=content, headers=headers), status, message)
    assert "unpickled" not in capfd.readouterr().out
    assert client.post("/predict", json=GOOD).status_code == 200


TABLES = {
    "ragged": (CSV, b"width,hue,ok,day\n1,red\n", 400, "line 2"),
    "not UTF-8": (CSV, b"width,hue\n\xff,red\n", 400, "text/csv; charset=windows-1252"),
    "an unknown charset": (f"{CSV}; charset=base64", b"width\n1\n", 415, "'base64'"),
    "not of its charset": (f"{CSV}; charset=ascii", b"width\n\xff\n", 400, "is not ascii"),
    "a decimal comma": (CSV, b"width;hue;ok;day\n1,5;red;true;\n", 422, "a decimal point"),
    "a line that is no JSON": (NDJSON, b"[1, null, null, null]\n\n{\n", 400, "line 3"),
    "a line for all": (NDJSON, b'{"instances": [[1, null, null, null]]}', 422, "instance 0"),
    "gzip": (CSV, b"\x1f\x8b\x08", 400, "UTF-8"),
    "header alone": (CSV, b"width,hue,ok,day\n", 400, "no rows"),
    "a column missing": (CSV, b"width,hue\n1,red\n", 422, "missing ['ok', 'day']"),
    "no number": (CSV, b"width,hue,ok,day\nx,red,true,2024-01-01\n", 422, "'width'"),
    "a million columns": (CSV, b"," * 1_000_000 + b"\n", 422, "far too many columns"),
    "infinite": (
        JSON,
        b'{"instances": [{"width": 1e999, "hue": null, "ok": null, "day": null}]}',
        422,
        "finite",
    ),
    "a list in a cell": (
        JSON,
        b'{"instances": [{"width": [1], "hue": null, "ok": null, "day": null}]}',
        422,
        "a list, an object",
    ),
    "columns that differ": (
        JSON,
        b'{"instances": [{"width": 1, "hue": null, "ok": null, "day": null}, {"width": 1}]}',
        422,
        "instance 1",
    ),
    "no Parquet": (PARQUET, b"PAR1 and no more PAR1", 400, "damaged Parquet"),
    "Parquet cut short": (PARQUET, parquet(pd.DataFrame({"a": [1]}))[:-9], 400, "damaged Parquet"),
    "Parquet bomb": (
        PARQUET,
        # Made when its test runs: it takes a second, in every process that collects tests.
        lambda: parquet(pd.DataFrame({"hue": ["x" * 100_000_000], "width": [1.0]})),
        413,
        "decompressed",
    ),
}


@pytest.mark.parametrize(
    ("kind", "content", "status", "message"), TABLES.values(), ids=TABLES.keys()
)
def test_tables_that_cannot_be_read(client, kind, content, status, message):
    path = "/bundles/parts/predict"
    content = content() if callable(content) else content
    check(client.post(path, content=content, headers={"Content-Type": kind}), status, message)
    assert client.get("/ready").status_code == 200


COMPRESSED = {
    "another encoding": ("br", b"\x8b", 415, "gzip, or none"),
    "no gzip": ("gzip", b"{}", 400, "not gzip"),
    "cut short": ("gzip", gzip.compress(json.dumps(GOOD).encode())[:-9], 400, "cut short"),
    "a bomb": ("gzip", gzip.compress(bytes(64 * 2**20)), 413, "when decompressed"),
    "gzip twice": ("gzip", gzip.compress(gzip.compress(b"{}")), 400, "not JSON"),
}


@pytest.mark.parametrize(
    ("coding", "content", "status", "message"), COMPRESSED.values(), ids=COMPRESSED.keys()
)
def test_compressed_bodies_that_cannot_be_read(client, coding, content, status, message):
    headers = {"Content-Type": JSON, "Content-Encoding": coding}
    check(client.post("/predict", content=content, headers=headers), status, message)
    assert client.get("/ready").status_code == 200


def test_wrong_paths_and_methods_and_missing_heads(client):
    check(client.get("/../../etc/passwd"), 404, "not served")
    check(client.post("/bundles/nuts/predict", json=GOOD), 404, "not served")
    check(client.get("/predict"), 405, "POST")
    check(client.post("/explain?top=0", json=GOOD), 422, "top")
    check(client.post("/bundles/parts/explain", json={"instances": [1]}), 404, "--residual")
    check(client.post("/nearest?k=51", json=GOOD), 422, "k=51")
    check(client.get("/known?n=0"), 422, "n=0")


@pytest.mark.parametrize(
    ("path", "cached"),
    [
        *((path, "no-store") for path in ("/health", "/ready", "/schema", "/metrics", "/nope")),
        *(("/openapi.json", "no-store"), ("/predict", "no-store")),
        *(("/", "no-cache"), ("/page/answer.js", "no-cache")),
    ],
)
def test_no_cache_stores_an_answer(client, path, cached):
    headers = client.get(path).headers
    assert headers["cache-control"] == cached
    assert headers["x-content-type-options"] == "nosniff"
    assert client.request("HEAD", path).headers["cache-control"] == cached


def test_text_that_python_cannot_parse_is_refused(client):
    header = {"Content-Type": NPY}
    for text in ("(" * 100, "\0", "1if 1else 2", "[" * 117, "'" * 3):
        check(client.post("/predict", content=npy_header(text), headers=header), 400, ".npy")
    row = "width,hue,ok,day,label\n1,red,true,2024-01-01,{}\n".format("9" * 5000)
    path = "/bundles/parts/labels?label=label&head=normal&normal=0"
    answer = client.post(path, content=row, headers={"Content-Type": CSV})
    check(answer, 422, "5000 characters")


def test_labels_need_a_queue_and_a_head(digits_folder, client):
    body = GOOD | {"labels": [1]}
    check(client.post("/labels", json=body), 422, "kind, normal")
    check(client.post("/labels", json=body | {"head": "x"}), 422, "kind, normal")
    check(client.post("/labels", json=GOOD | {"head": "normal"}), 422, "no list of labels")
    check(client.post("/labels?head=normal", json=body), 422, "?head= beside a JSON body")
    labels = client.post("/labels", json=GOOD | {"labels": ["good"], "head": "normal"})
    check(labels, 422, "send one of these for each instance")
    rows = b"width,hue,ok,day,good\n1,red,true,,1\n2,red,true,,0\n"
    for query, kind, status, message in (
        ("", CSV, 422, "?label=COLUMN"),
        ("?label=bad", CSV, 422, "'bad'"),
        ("?label=good&head=x", CSV, 422, "?head=NAME"),
        ("?label=good", CSV, 422, "?normal=0"),
        ("?label=good&normal=2", CSV, 422, "they are 0: 1, 1: 1"),
        ("?label=good", NPY, 415, "application/x-ndjson"),
        ("?label=good", NDJSON, 400, "line 1"),
    ):
        answer = client.post(
            f"/bundles/parts/labels{query}", content=rows, headers={"Content-Type": kind}
        )
        check(answer, status, message)
    with running([digits_folder / "digits"]) as without:
        check(without.post("/labels", json=body), 404, "--labels")


def test_a_full_queue(digits_folder, tmp_path):
    limits = Limits(labels_bytes=600)
    with running([digits_folder / "digits"], limits, labels=tmp_path / "queue") as client:
        body = GOOD | {"labels": [1], "head": "normal", "normal": 1}
        many = body | {"instances": GOOD["instances"] * 3, "labels": [1] * 3}
        assert client.post("/labels", json=body).status_code == 202
        before = (tmp_path / "queue").read_bytes()
        check(client.post("/labels", json=many), 503, "is full")
        assert (tmp_path / "queue").read_bytes() == before


def test_a_bundle_without_heads_gives_codes(tmp_path, table, table_fit):
    save_bundle(tmp_path / "bundle", table_fit)
    export_bundle(tmp_path / "bundle", tmp_path / "wine", table)
    with running([tmp_path / "wine"]) as client:
        rows = table[:3].tolist()
        check(client.post("/predict", json={"instances": rows}), 404, "isthmus detect")
        check(client.post("/nearest", json={"instances": rows}), 404, "--known")
        check(client.get("/known"), 404, "--known")
        assert client.get("/schema").json()["known"] is None
        rows[0][0] = None
        answer = client.post("/encode", json={"instances": rows})
        assert np.shape(answer.json()["codes"]) == (3, 4)


def test_a_declared_length_is_refused_before_anything_is_sent(client):
    head = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10000000000\r\n\r\n"
    check_raw(client, head, 413, "10000000000")


def test_an_answer_before_the_body_is_not_lost_to_a_reset(client):
    head = (
        b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Encoding: br\r\n"
        b"Content-Length: 3000000\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", client.base_url.port), DEADLINE) as raw:
        raw.sendall(head)
        raw.recv(1)  # the answer is there, and its end with it soon
        for _ in range(3):
            raw.sendall(bytes(1_000_000))
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert b" 415 " in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["fix"]


def test_a_client_that_goes_on_sending_is_disconnected(digits_folder):
    with running([digits_folder / "digits"], Limits(body_seconds=0.2)) as client:
        head = b"POST /nowhere HTTP/1.1\r\nHost: example.org\r\nContent-Length: 99999999\r\n\r\n"
        with socket.create_connection(("127.0.0.1", client.base_url.port), DEADLINE) as raw:
            raw.sendall(head)
            assert b" 403 " in b"".join(iter(lambda: raw.recv(65536), b""))

            def is_over():
                try:
                    raw.sendall(b" ")
                except OSError:
                    return True
                return False

            until(is_over)


def test_a_request_that_is_not_http(client):
    check_raw(client, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400, "HTTP/1.1")


def test_bytes_that_are_not_http_after_a_request(client):
    good = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with socket.create_connection(("127.0.0.1", client.base_url.port), DEADLINE) as raw:
        raw.sendall(good + b"\x16\x03\r\n\r\n")
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    first, _, refused = answer.partition(b"HTTP/1.1 400 ")
    assert first.startswith(b"HTTP/1.1 200 ")
    assert json.loads(refused.partition(b"\r\n\r\n")[2])["got"] == "a request that is not HTTP/1.1"


def check_raw(client, sent, status, message):
    with socket.create_connection(("127.0.0.1", client.base_url.port), DEADLINE) as raw:
        raw.sendall(sent)
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == str(status).encode()
    plain = json.loads(body)
    assert message in plain["got"] + plain["expected"]
    assert plain["fix"]


def test_limits_of_size_rows_and_slow_clients(digits_folder):
    limits = Limits(body_bytes=2000, rows=3, body_seconds=0.5)
    with running([digits_folder / "digits"], limits) as client:
        check(client.post("/predict", content=b" " * 2001), 413, "2000")
        parts = iter([b" " * 1000] * 3)
        check(client.post("/predict", content=parts), 413, "or more")
        check(client.post("/predict", json={"instances": [1] * 4}), 413, "at most 3")
        rows = npy(np.zeros((4, 8, 8), np.uint8))
        check(client.post("/predict", content=rows, headers={"Content-Type": NPY}), 413, "most 3")
        # A header that does not end, a body that does not come, nothing at all.
        check_raw(client, b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\n", 408, "header")
        head = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\nabc"
        check_raw(client, head, 408, "3 bytes of a body")
        check_raw(client, b"", 408, "header")
        assert client.post("/predict", json=GOOD).status_code == 200


def test_requests_in_flight_and_time(digits_folder):
    limits = Limits(in_flight=2, seconds=20)
    with running([digits_folder / "digits"], limits) as client:
        # The thread that runs graphs is held up by the test.
        free = threading.Event()
        held = client.service.models._thread.submit(free.wait, DEADLINE)
        with ThreadPoolExecutor(2) as pool:
            address = f"{client.base_url}/predict"
            waiting = [pool.submit(httpx.post, address, json=GOOD, timeout=DEADLINE) for _ in "12"]
            until(lambda: in_flight(client) == 2)
            refused = client.post("/predict", json=GOOD)
            check(refused, 503, "at one time")
            assert refused.headers["retry-after"] == "1"
            assert client.get("/health").status_code == 200
            free.set()
            assert [one.result().status_code for one in waiting] == [200, 200]
        held.result()
        assert client.post("/predict", json=GOOD).status_code == 200
    with running([digits_folder / "digits"], Limits(seconds=0.3)) as client:
        free = threading.Event()
        held = client.service.models._thread.submit(free.wait, DEADLINE)
        check(client.post("/predict", json=GOOD), 503, "longer than 0.3 s")
        free.set()
        held.result()
        until(lambda: client.post("/predict", json=GOOD).status_code == 200)


def in_flight(client):
    return client.service.metrics.registry.get_sample_value("isthmus_requests_in_flight")


def test_slow_bodies_take_no_place_of_whole_requests(digits_folder):
    limits = Limits(in_flight=2, body_seconds=DEADLINE)
    with running([digits_folder / "digits"], limits) as client, contextlib.ExitStack() as opened:
        head = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n"
        head += b"Expect: 100-continue\r\n\r\n"
        address = "127.0.0.1", client.base_url.port
        slow = [
            opened.enter_context(socket.create_connection(address, DEADLINE)) for _ in range(20)
        ]
        for one in slow:
            one.sendall(head)
            # The service reads the body of each: it has seen the headers.
            assert one.recv(4096).startswith(b"HTTP/1.1 100 ")
        assert in_flight(client) in (None, 0)
        assert client.post("/predict", json=GOOD).status_code == 200
        for one in slow:
            one.sendall(b"{}       ")
        assert all(b" 415 " in one.recv(4096) for one in slow)


def test_the_connection_that_waited_longest_makes_room_for_another(digits_folder):
    limits = Limits(connections=50, body_seconds=DEADLINE)
    with running([digits_folder / "digits"], limits) as client, contextlib.ExitStack() as opened:
        address = "127.0.0.1", client.base_url.port
        assert client.get("/health").status_code == 200
        many = []
        for _ in range(60):
            many.append(opened.enter_context(socket.create_connection(address, DEADLINE)))
            many[-1].sendall(b"GET /health HTTP/1.1\r\n" if len(many) > 55 else b"")
        with httpx.Client(trust_env=False) as probe:
            assert probe.get(f"{client.base_url}/health").status_code == 200
        # The first are told so. The client's own connection is idle since before.
        for one in many[:10]:
            answer = one.recv(4096)
            assert b" 503 " in answer
            assert b"50 connections" in answer
        many[-1].sendall(b"Host: 127.0.0.1\r\n\r\n")
        assert many[-1].recv(4096).startswith(b"HTTP/1.1 200 ")
        assert client.post("/predict", json=GOOD).status_code == 200


class FakeConnection:
    def close_for_another(self, limit):
        self.closed_at = limit


def test_the_limit_of_connections_closes_the_longest_idle_and_else_the_slowest():
    first, second, third, fourth, fifth = (FakeConnection() for _ in range(5))
    connections = Connections(2)
    assert connections.add(first)
    assert connections.add(second)
    connections.set_answering(first)
    connections.set_answering(second)
    assert not connections.add(third)
    connections.set_slow(first)
    connections.set_idle(second)
    assert connections.add(third)  # an idle one goes before one whose body began earlier
    assert second.closed_at == 2
    connections.set_idle(second)  # after it was closed
    connections.set_slow(third)
    assert connections.add(fourth)  # the slow are more than half
    assert first.closed_at == 2
    connections.remove(third)
    assert connections.add(fifth)
    assert not any(hasattr(one, "closed_at") for one in (third, fourth, fifth))


def test_a_token_is_needed_where_there_is_one(digits_folder):
    token = "0123456789abcdef"
    with running([digits_folder / "digits"], token=token) as client:
        for headers in (
            {},
            {"Authorization": "Bearer 0123456789abcdeg"},
            {"Authorization": "Bearer"},
            {"Authorization": f"Basic {token}"},
            {"Authorization": b"Bearer \xff"},
        ):
            for path in ("/predict", "/metrics", "/openapi.json", "/nowhere"):
                answer = client.post(path, json=GOOD, headers=headers)
                check(answer, 401, "Authorization: Bearer")
                assert answer.headers["www-authenticate"] == "Bearer"
        for path in ("/health", "/ready"):
            assert client.get(path).json() == {"status": "ok"}
            known = client.get(path, headers={"Authorization": f"Bearer {token}"}).json()
            assert known["bundles"].keys() == {"digits"}
        headers = {"Authorization": f"Bearer {token}", "Host": "example.org"}
        assert client.post("/predict", json=GOOD, headers=headers).status_code == 200


def test_requests_for_another_host_are_refused(client):
    # A name of its own that resolves to the loopback would make a page same-origin.
    check(client.post("/predict", json=GOOD, headers={"Host": "example.org:8000"}), 403, "Host")
    assert client.get("/schema", headers={"Host": "localhost:1"}).status_code == 200
    assert client.get("/schema", headers={"Host": "[::1]:1"}).status_code == 200


def test_probes_for_any_host_are_answered_without_names(client):
    for path in ("/health", "/ready"):
        for host in ("10.1.2.3:8000", "example.org", ""):
            answer = client.get(path, headers={"Host": host})
            assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        assert client.get(path).json()["bundles"].keys() == {"digits", "parts"}


def test_unexpected_errors_reveal_nothing(digits_folder, monkeypatch):
    with running([digits_folder / "digits"]) as client:

        def broken(*_):
            raise RuntimeError("/tmp/secret")

        monkeypatch.setattr("isthmus.serve.service.predictions", broken)
        check(client.post("/predict", json=GOOD), 500, "log")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_another_host_needs_a_token(host):
    with pytest.raises(ServeError, match="--token"):
        check_host(host, None)
    check_host(host, "0123456789abcdef")
    with pytest.raises(ServeError, match="at least 16"):
        check_host(host, "short")
    for own in ("127.0.0.1", "localhost", "::1"):
        check_host(own, None)


def test_paths_that_cannot_be_served(digits_folder, tmp_path):
    with pytest.raises(ServeError, match="neither a bundle nor an export"):
        build_app([tmp_path])
    with pytest.raises(ServeError, match="each name once"):
        build_app([digits_folder / "digits", digits_folder / "digits"])
    with pytest.raises(ServeError, match="give it one: NAME="):
        build_app([f"a b={digits_folder / 'digits'}"])


def test_a_head_without_codes_takes_no_labels(client, monkeypatch):
    kind = client.service.models.get("digits").heads["kind"]
    assert kind["takes_labels"] is True
    monkeypatch.setitem(kind, "takes_labels", False)
    body = GOOD | {"labels": [1] * len(GOOD["instances"]), "head": "kind"}
    check(client.post("/labels", json=body), 422, "stores no codes")
    assert client.get("/schema").json()["takes_labels"] is True  # the detector does
