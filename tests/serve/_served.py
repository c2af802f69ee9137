"""Running services, and readings for one: in a thread for most tests, as a process for some."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import httpx
import numpy as np
import pandas as pd
import uvicorn

from isthmus.serve import Limits, build_app
from isthmus.serve.server import limited_protocol, track_requests

DEADLINE = 30


@contextlib.contextmanager
def running(bundles, limits=None, **options):
    """Yield a client of a service that runs in a thread on a free port."""
    limits = limits or Limits()
    app = build_app([str(one) for one in bundles], limits=limits, threads=1, **options)
    config = uvicorn.Config(
        track_requests(app),
        http=limited_protocol(limits),
        ws="none",
        log_config=None,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        with httpx.Client(base_url=address, timeout=DEADLINE, trust_env=False) as client:
            client.service = app.state.service
            client.app = app
            yield client
    finally:
        server.should_exit = True
        thread.join(DEADLINE)
        assert not thread.is_alive()


@contextlib.contextmanager
def process(*words, **environment):
    """Yield `isthmus serve` as a process of its own, and its address."""
    command = [sys.executable, "-m", "isthmus", "serve", *map(str, words), "--port", "0"]
    states = tempfile.TemporaryDirectory()
    if "--monitors" not in command:
        command += ["--monitors", states.name]
    served = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | environment,
        # Tests that run in the background inherit that it is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert select.select([served.stdout], [], [], DEADLINE)[0], "it did not start"
        line = served.stdout.readline().decode()
        if not line:
            raise AssertionError(served.stderr.read().decode())
        yield served, line.split()[2].rstrip(",")
    finally:
        served.kill()
        served.communicate()
        states.cleanup()


def until(true):
    """Poll a condition until it is true, at most until the deadline."""
    end = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < end, "it did not come true"


def machines(n=700, seed=0):
    """Readings of two machines beside each other; with seed 1 with anomalies in both."""
    rng = np.random.default_rng(seed)
    tables = []
    for at, name in enumerate(("drill", "saw")):
        wave = np.sin(np.arange(n) / 4 + at)
        table = pd.DataFrame(
            {
                "at": pd.date_range("2026-03-02", periods=n, freq="min").astype(str),
                "machine": name,
                "order": np.arange(n),
                "pressure": wave + rng.normal(0, 0.1, n),
                "flow": wave**2 + rng.normal(0, 0.1, n),
            }
        )
        if seed:
            table.loc[300:320, ["pressure", "flow"][at]] += 3
        tables.append(table)
    return pd.concat(tables).sort_values(["at", "machine"], ignore_index=True)
