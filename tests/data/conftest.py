"""Fixtures shared by the tests of isthmus.data."""

import gzip
import hashlib
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from isthmus.data.catalog import Entry, SourceFile

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def _idx_bytes(values: np.ndarray, code: int = 0x08) -> bytes:
    header = bytes([0, 0, code, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.tobytes()


@pytest.fixture
def idx_bytes():
    """Encode an array as IDX, independently of the package."""
    return _idx_bytes


@pytest.fixture
def arrays():
    """The four arrays of a data set like MNIST, of 6 and 4 images of 3x2 pixels."""
    rng = np.random.default_rng(0)
    shapes = ((6, 3, 2), (6,), (4, 3, 2), (4,))
    return {
        name: rng.integers(0, 256, shape, dtype=np.uint8)
        for name, shape in zip(NAMES, shapes, strict=True)
    }


@pytest.fixture
def contents(arrays):
    return {name: _idx_bytes(values) for name, values in arrays.items()}


@pytest.fixture
def archives(contents):
    return {name: gzip.compress(content, mtime=0) for name, content in contents.items()}


@pytest.fixture
def write_files(contents):
    """Write the four files into a folder, with changed names or compressed."""

    def write(folder: Path, rename=lambda name: name, pack=lambda content: content) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (folder / rename(name)).write_bytes(pack(content))
        return folder

    return write


@pytest.fixture
def make_entry(arrays, contents, archives):
    """Make a catalog entry of the four small files, with SHA-256s or MD5s of the archives."""

    def make(name="mnist", mirrors=(), checksum="sha256"):
        files = tuple(
            SourceFile(file, arrays[file].shape, sha256=hashlib.sha256(contents[file]).hexdigest())
            if checksum == "sha256"
            else SourceFile(
                file, arrays[file].shape, archive_md5=hashlib.md5(archives[file]).hexdigest()
            )
            for file in NAMES
        )
        return Entry(name, "small", ("no", "yes"), files, tuple(mirrors))

    return make


@pytest.fixture
def serve(monkeypatch):
    """Serve `{path: content}` over HTTP on localhost; yields a function that returns the URL."""
    # A proxy set in the environment would also be used for 127.0.0.1.
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    servers = []

    def start(pages: dict[str, bytes], requests: list[str] | None = None) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                if requests is not None:
                    requests.append(self.path)
                content = pages.get(self.path)
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Path of an empty cache of the user."""
    import pooch

    folder = tmp_path / "cache"
    monkeypatch.setattr(pooch, "os_cache", lambda project: folder)
    monkeypatch.delenv("ISTHMUS_DATA", raising=False)
    return folder
