"""The service beside a minimal endpoint written by hand: requests a second, waiting, memory, start.

python benchmarks/serve.py [--seconds 3] [--rounds 3] [--requests 100000] [--clients 4]

Both are FastAPI over ONNX Runtime with the same graph, in processes of their own on the loopback;
they are asked in turns by the same clients, over raw sockets, so that the client costs little.
"""

import argparse
import json
import os
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

HAND_WRITTEN = """
import sys
import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[2])
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
names = ["class", "probabilities", "anomaly_score", "p_value", "verdict"]
app = FastAPI()

class Body(BaseModel):
    instances: list

@app.post("/predict")
def predict(body: Body):
    X = np.array(body.instances, dtype=np.uint8)
    columns = [values.tolist() for values in session.run(names, {"X": X})]
    return {"predictions": [dict(zip(names, row)) for row in zip(*columns)]}

uvicorn.run(app, port=int(sys.argv[3]), log_level="warning", access_log=False)
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def write_export(folder, size):
    from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, export_bundle, save_bundle

    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (600, size, size), dtype=np.uint8)
    encoder = Autoencoder(32, max_epochs=1, random_state=0).fit(X[:300])
    kind = CodeClassifier(encoder).fit(X[:300], np.arange(300) % 10)
    detector = AnomalyDetector(encoder, false_alarm_rate=0.05, random_state=0).fit(X[300:])
    save_bundle(folder / "bundle", encoder, {"kind": kind, "normal": detector})
    export_bundle(folder / "bundle", folder / "graph", X[:50])
    return folder / "graph"


class Asker:
    """One connection that sends the same request again and again."""

    def __init__(self, port, n, size):
        X = np.random.default_rng(n).integers(0, 256, (n, size, size))
        body = json.dumps({"instances": X.tolist()}).encode()
        head = (
            "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self.request = head.encode() + body
        self.raw = socket.create_connection(("127.0.0.1", port))
        self.raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self):
        self.raw.sendall(self.request)
        answer = self.raw.recv(1 << 20)
        while b"\r\n\r\n" not in answer:
            answer += self.raw.recv(1 << 20)
        head, _, body = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer[:500])
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        got = len(body)
        while got < length:
            got += len(self.raw.recv(1 << 20))


def load(port, n, size, clients, seconds, most=None):
    """Return seconds of each request that was answered in the time, and how long it took."""
    took, begun = [], time.perf_counter()

    def work():
        asker = Asker(port, n, size)
        while time.perf_counter() - begun < seconds and (most is None or len(took) < most):
            start = time.perf_counter()
            asker.ask()
            took.append(time.perf_counter() - start)

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return took, time.perf_counter() - begun


def memory(process):
    """Return what a process has in memory, in MB."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def start_ours(graph, threads):
    """Return the process, its port and the seconds until it was ready."""
    words = [sys.executable, "-m", "isthmus", "serve", str(graph), "--port", "0"]
    start = time.perf_counter()
    process = subprocess.Popen([*words, "--threads", str(threads)], stdout=subprocess.PIPE)
    select.select([process.stdout], [], [], 60)
    port = int(process.stdout.readline().split()[2].rstrip(b",").rpartition(b":")[2])
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.sendall(b"GET /ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        if b"200" not in raw.recv(4096):
            raise RuntimeError("it is not ready")
    return process, port, time.perf_counter() - start


def start_theirs(graph, threads):
    port = free_port()
    words = [sys.executable, "-c", HAND_WRITTEN, str(graph / "model.onnx"), str(threads), str(port)]
    start = time.perf_counter()
    process = subprocess.Popen(words)
    while time.perf_counter() - start < 60:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.02)
        else:
            return process, port, time.perf_counter() - start
    raise RuntimeError("the endpoint written by hand did not start")


def compare(ours, theirs, n, clients, options):
    rates, waits = {"ours": [], "theirs": []}, {"ours": [], "theirs": []}
    for port in (ours, theirs):
        load(port, n, options.size, clients, 0.5)
    for _ in range(options.rounds):
        for name, port in (("ours", ours), ("theirs", theirs)):
            took, seconds = load(port, n, options.size, clients, options.seconds)
            rates[name].append(len(took) / seconds)
            waits[name] += took
    ratios = [a / b for a, b in zip(rates["ours"], rates["theirs"], strict=True)]
    for name in rates:
        p50, p99 = np.percentile(waits[name], [50, 99]) * 1e3
        print(f"{n:3} images  {clients} clients  {name:<7}{statistics.median(rates[name]):8.1f} "
              f"requests/s   p50 {p50:6.2f} ms   p99 {p99:6.2f} ms")  # fmt: skip
    print(f"    ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3, help="of load in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=100_000, help="to look at memory after")
    parser.add_argument("--longest", type=float, default=300, help="seconds for these at most")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--size", type=int, default=28)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--export", type=Path, help="a folder with an export of such images")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        graph = options.export or write_export(Path(folder), options.size)
        starts = []
        for _ in range(3):
            process, _, seconds = start_ours(graph, options.threads)
            process.terminate()
            process.wait()
            starts.append(seconds)
        ours, port, _ = start_ours(graph, options.threads)
        theirs, their_port, _ = start_theirs(graph, options.threads)
        try:
            print(f"start to ready {statistics.median(starts):.2f} s "
                  f"({min(starts):.2f} to {max(starts):.2f})")  # fmt: skip
            for n in (1, 32):
                for clients in (1, options.clients):
                    compare(port, their_port, n, clients, options)
            load(port, 1, options.size, options.clients, options.longest, options.requests // 10)
            before = memory(ours)
            took, _ = load(
                port, 1, options.size, options.clients, options.longest, options.requests
            )
            print(f"memory {before:.1f} MB before, {memory(ours):.1f} MB after "
                  f"{len(took):,} requests")  # fmt: skip
        finally:
            for process in (ours, theirs):
                process.terminate()
                process.wait()


if __name__ == "__main__":
    main()
