"""Clients that send slowly or nothing: is a client that sends whole requests answered as before?"""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from common.hardening_parts.rows import Row, Setting

#: Of each situation, and of the whole part.
SECONDS, MOST_SECONDS = 12.0, 90.0
#: p99 asked of the client that sends whole requests.
ASKED_MS = 200
_HEAD = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
#: Clients, what each sends at once, and what came of it before.
SITUATIONS = {
    "200 slow bodies": (200, _HEAD + b"Content-Length: 1000\r\n\r\n{", "503 for 9.6 s"),
    "200 slow headers": (200, _HEAD, "p99 30 ms"),
    "1,050 idle connections": (1050, b"", "503 for /health"),
}


def service(setting: Setting) -> list[Row]:
    """Return statuses and latencies of whole requests beside slow and idle clients."""
    body = prepare(setting.folder, setting.seed)
    seconds = min(SECONDS * setting.scale, MOST_SECONDS / (len(SITUATIONS) + 2))
    rows = []
    for name, (n, sent, found) in SITUATIONS.items():
        if not setting.has_time():
            break
        with running(setting.folder / "exported") as port, slow_clients(port, n, sent):
            rows.append(ask(name, port, body, seconds, found))
    return rows


def prepare(folder: Path, seed: int) -> bytes:
    """Write an export of a detector, and return a body of one instance."""
    from isthmus import AnomalyDetector, Autoencoder, export_bundle, save_bundle

    X = np.random.default_rng(seed).normal(size=(600, 5))
    encoder = Autoencoder(3, max_epochs=1, random_state=seed).fit(X[:200])
    detector = AnomalyDetector(encoder, random_state=seed).fit(X[200:])
    save_bundle(folder / "bundle", encoder, {"normal": detector})
    export_bundle(folder / "bundle", folder / "exported", X[:100])
    return json.dumps({"instances": X[:1].tolist()}).encode()


@contextlib.contextmanager
def running(exported: Path) -> Iterator[int]:
    """Serve an export in a process of its own, and yield its port."""
    words = [sys.executable, "-m", "isthmus", "serve", str(exported), "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        try:
            if process.stdout is None or not select.select([process.stdout], [], [], 60)[0]:
                raise RuntimeError("the service did not start within 60 s")
            address = process.stdout.readline().split()[2]
            yield int(address.rstrip(b",").rpartition(b":")[2])
        finally:
            process.terminate()


@contextlib.contextmanager
def slow_clients(port: int, n: int, sent: bytes) -> Iterator[None]:
    """Open n connections that send so much and then nothing."""
    with contextlib.ExitStack() as opened:
        for _ in range(n):
            client = opened.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            with contextlib.suppress(OSError):  # closed by the service already
                client.sendall(sent)
        yield


def ask(name: str, port: int, body: bytes, seconds: float, found: str) -> Row:
    """Predict on one connection and probe `/health` on new ones, for so long, by turns."""
    kept = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    took: list[float] = []
    statuses: dict[str, int] = {}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        probe = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        for client, path in ((kept, "/predict"), (probe, "/health")):
            began = time.perf_counter()
            status = status_of(client, path, body)
            took.append(time.perf_counter() - began)
            if status != "200":
                statuses[f"{path} {status}"] = statuses.get(f"{path} {status}", 0) + 1
        probe.close()
        time.sleep(0.005)
    kept.close()
    middle, late = (1000 * float(value) for value in np.quantile(took, (0.5, 0.99)))
    others = ", ".join(f"{n} of {key}" for key, n in statuses.items()) or "all 200"
    return Row(
        name,
        len(took),
        found,
        f"all 200, p99 under {ASKED_MS} ms",
        f"{others}, p50 {middle:.1f} ms, p99 {late:.1f} ms",
        not statuses and late < ASKED_MS,
    )


def status_of(client: http.client.HTTPConnection, path: str, body: bytes) -> str:
    """Return the status of an answer, or the name of the error."""
    headers = {"Content-Type": "application/json"}
    try:
        if path == "/predict":
            client.request("POST", path, body, headers)
        else:
            client.request("GET", path)
        answer = client.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException) as error:
        client.close()
        return type(error).__name__
    return str(answer.status)
