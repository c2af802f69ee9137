"""The service as a process: without torch, reloading of new versions, graceful stop."""

import asyncio
import inspect
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from hashlib import sha256
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn
from _served import DEADLINE, process, running, until
from uvicorn.protocols.http.h11_impl import H11Protocol

from isthmus import export_bundle, load_bundle
from isthmus._core import file_digest
from isthmus.cli import main
from isthmus.errors import ServeError
from isthmus.serve import Limits, build_app, serve
from isthmus.serve.models import Source
from isthmus.serve.server import DrainingTransport, limited_protocol

GOOD = {"instances": np.zeros((1, 8, 8), int).tolist()}


def test_a_process_serves_without_torch_and_finishes_what_is_in_flight(
    digits_folder, parts_folder, tmp_path
):
    words = [digits_folder / "digits", f"nuts={parts_folder}", "--threads", "1"]
    with process(*words, ISTHMUS_TOKEN="0123456789abcdef") as (served, address):
        headers = {"Authorization": "Bearer 0123456789abcdef"}
        with httpx.Client(base_url=address, trust_env=False, timeout=DEADLINE) as client:
            assert client.get("/ready", headers=headers).json()["bundles"].keys() == {
                "digits",
                "nuts",
            }
            assert client.post("/predict", json=GOOD, headers=headers).status_code == 200
            assert client.post("/predict", json=GOOD).status_code == 401
            for path in ("/explain?whole=true", "/nearest"):
                assert client.post(path, json=GOOD, headers=headers).status_code == 200
            assert client.get("/bundles/nuts/known", headers=headers).status_code == 200
        if sys.platform == "linux":
            assert "libtorch" not in Path(f"/proc/{served.pid}/maps").read_text()
        # Half a request before the signal, the other half after it.
        port = int(address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as raw:
            body = str(GOOD).replace("'", '"').encode()
            head = (
                "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Authorization: Bearer 0123456789abcdef\r\nContent-Length: {len(body)}\r\n"
                "Expect: 100-continue\r\n\r\n"
            )
            raw.sendall(head.encode())
            assert raw.recv(4096).startswith(b"HTTP/1.1 100 ")  # the service reads the body
            raw.sendall(body[:10])
            served.send_signal(signal.SIGTERM)
            until(lambda: refused(port))
            raw.sendall(body[10:])
            answer = b"".join(iter(lambda: raw.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"verdict" in answer
        assert served.wait(DEADLINE) == 0
        assert served.stderr.read() == b""


def test_ctrl_c_ends_as_in_every_other_command(digits_folder):
    with process(digits_folder / "digits") as (served, _):
        served.send_signal(signal.SIGINT)
        assert served.wait(DEADLINE) == 130


def test_the_address_is_announced_when_an_interrupt_ends_the_service(digits_folder, tmp_path):
    handlers = []

    def ready(address):
        handlers.append(signal.getsignal(signal.SIGINT))
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        serve([digits_folder / "digits"], port=0, monitors=tmp_path, ready=ready)
    assert handlers != [signal.default_int_handler]  # which can be lost within asyncio


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return True
    return False


def test_a_new_version_is_loaded_and_no_request_is_dropped(digits_folder, tmp_path):
    kept = tmp_path / "served"
    shutil.copytree(digits_folder / "digits", kept)
    with running([kept]) as client:
        service = client.service
        first = client.get("/health").json()["digest"]
        stop, statuses, digests = threading.Event(), [], set()

        def ask():
            with httpx.Client(base_url=client.base_url, trust_env=False, timeout=30) as own:
                while not stop.is_set():
                    answer = own.post("/predict", json=GOOD)
                    statuses.append(answer.status_code)
                    digests.add(answer.json()["digest"])

        asking = [threading.Thread(target=ask) for _ in range(3)]
        for one in asking:
            one.start()
        content = (kept / "model.onnx").read_bytes()
        changed = content.replace(b'"isthmus_version": "0', b'"isthmus_version": "9')
        assert changed != content
        changed = changed[:-64] + sha256(changed[:-64]).hexdigest().encode()  # as exports end
        (kept / "fresh").write_bytes(changed)
        (kept / "fresh").rename(kept / "model.onnx")
        until(lambda: client.get("/health").json()["digest"] != first)
        until(lambda: len(digests) == 2)
        # What cannot be read is not taken up, and is said.
        (kept / "model.onnx").write_bytes(b"no graph")
        until(lambda: client.get("/ready").json()["stale"] == ["served"])
        (kept / "model.onnx").unlink()
        assert service.models.reload() == []
        assert client.post("/predict", json=GOOD).status_code == 200
        stop.set()
        for one in asking:
            one.join(DEADLINE)
        assert set(statuses) == {200}
        assert first in digests


def test_a_bundle_is_exported_first(digits_folder, tmp_path, monkeypatch):
    asked = []

    def export_here(words, **_):
        # As the process would, whose imports take longer than all the rest of these tests.
        asked.append(words[:4])
        export_bundle(words[4], words[6], residual=words[7] == "--residual")
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", export_here)
    with running([digits_folder / "bundle"]) as client:
        answer = client.post("/predict", json=GOOD).json()
        [graph] = tmp_path.rglob("model.onnx")
        assert answer["digest"] == file_digest(graph)
        kind = load_bundle(digits_folder / "bundle").head("kind")
        [expected] = kind.predict(np.zeros((1, 8, 8), np.uint8))
        assert answer["predictions"][0]["class"] == expected
        assert client.post("/explain", json=GOOD).status_code == 200
    with running([digits_folder / "bundle"]):
        assert asked == [[sys.executable, "-m", "isthmus", "export"]]
    # What an earlier isthmus has exported may lack what this one serves.
    monkeypatch.setattr("isthmus.serve.models.CACHE_VERSION", 1000)
    with running([digits_folder / "bundle"]):
        assert len(asked) == 2


def test_the_cache_keeps_the_most_recently_used(digits_folder, tmp_path, monkeypatch):
    def export_here(words, **_):
        shutil.copytree(digits_folder / "digits", words[6])
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", export_here)
    monkeypatch.setattr("isthmus.serve.models.MAX_CACHED_EXPORTS", 3)
    first = Source(f"{digits_folder / 'bundle'}").graph().parent
    cache = first.parent
    for at, name in enumerate(["oldest", "older", "newer", "newest"]):
        (cache / name).mkdir()
        (cache / name / "model.onnx").touch()
        os.utime(cache / name, (at, at))
    os.utime(first, (0, 0))  # as if it had not been used since
    other = shutil.copytree(digits_folder / "bundle", tmp_path / "bundle")
    (other / "manifest.json").write_text((other / "manifest.json").read_text() + "\n")

    second = Source(str(other)).graph().parent

    assert second != first
    # This process serves the first.
    assert {one.name for one in cache.iterdir()} == {"newer", "newest", first.name, second.name}

    # The clock is set back to before all of them were used.
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    Source(f"{digits_folder / 'bundle'}").graph()
    used = sorted(cache.iterdir(), key=lambda one: one.stat().st_mtime_ns)
    assert [one.name for one in used][-2:] == [second.name, first.name]


def test_a_bundle_that_cannot_be_exported(digits_folder, tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "error: no such operator\n")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(ServeError, match="cannot be exported to be served: no such operator"):
        build_app([digits_folder / "bundle"])


def test_a_bundle_is_served_from_an_export_where_nothing_may_be_cached(
    digits_folder, tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ServeError, match="file is no folder; serve an export of it, written by:"):
        build_app([digits_folder / "bundle"])


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--host", "0.0.0.0"], "--token"), (["nowhere"], "neither a bundle nor an export")],
)
def test_a_service_that_cannot_start_reports_why_in_one_line(
    digits_folder, monkeypatch, capsys, words, message
):
    monkeypatch.setattr(sys, "argv", ["isthmus", "serve", str(digits_folder / "digits"), *words])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert message in line
    assert line.count("\n") == 1


async def connected():
    """Return a server's transport, and the client's socket."""
    server_end, client_end = socket.socketpair()
    server_end.setblocking(False)
    client_end.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=server_end)
    return transport, client_end


@pytest.mark.parametrize(("unread", "open_for_more"), [(True, True), (False, False)])
def test_a_connection_is_drained_only_while_more_may_arrive(unread, open_for_more):
    async def close_one():
        transport, client = await connected()
        draining = DrainingTransport(transport, 30, lambda: unread)
        transport.write(b"answer")
        draining.close()
        assert draining.is_closing()
        loop = asyncio.get_running_loop()
        assert await loop.sock_recv(client, 10) == b"answer"
        assert await loop.sock_recv(client, 10) == b""
        assert transport.is_closing() is not open_for_more
        draining.close()
        assert transport.is_closing()
        client.close()

    asyncio.run(close_one())


def test_a_disconnected_client_is_not_waited_for():
    async def lose_one():
        listening = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(listening.getsockname())
        server_end, _ = listening.accept()
        server_end.setblocking(False)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=server_end)
        transport.pause_reading()
        # Closing at once, without a farewell, as a process that is killed does.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        draining = DrainingTransport(transport, 30, lambda: True)
        draining.close()
        assert transport.is_closing()
        listening.close()

    asyncio.run(lose_one())


def test_uvicorn_has_the_interfaces_that_connections_use():
    connections = limited_protocol(Limits())
    config = uvicorn.Config(lambda *_: None, http=connections)
    config.load()
    assert config.http_protocol_class is connections
    given = set(inspect.signature(H11Protocol).parameters)
    assert {"config", "server_state", "app_state"} <= given
    assert issubclass(H11Protocol, asyncio.Protocol)
