"""Tiny data and fitted models that the tests share. Whatever ends in `_fit` is not to be refit."""

import os
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import fsspec
import hypothesis
import matplotlib
import numpy as np
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from sklearn.datasets import load_digits, load_wine

from isthmus import Autoencoder
from isthmus.cli import main
from isthmus.training import lock_checkpoints

# Tests that load ONNX Runtime or MLflow by themselves report nothing.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

# The same examples in every run, as in tests that draw with a seed.
hypothesis.settings.register_profile("seeded", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("seeded")


def pytest_collection_modifyitems(items):
    """Put tests marked `first` first: a process without work steals tests from another's end."""
    items.sort(key=lambda item: item.get_closest_marker("first") is None)


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """One thread each, so that suites side by side do not fight, and sums come out the same."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """Monitors' states and exports of this run alone: a service goes on from those it finds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLCONFIGDIR", matplotlib.get_cachedir())  # fonts take seconds to list
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def short_maps():
    """The shortest t-SNE that there is: no test asks how well a map is laid out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("isthmus.report.code_chapter.MAX_ITERATIONS", 250)
        yield


@pytest.fixture
def isthmus(monkeypatch, capsys, tmp_path):
    """Run the command in a fresh folder; return exit status, output, errors."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["isthmus", *map(str, words)])
        status = 0
        try:
            main()
        except SystemExit as leaving:
            status = leaving.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def another_run_writes():
    """Hold the lock of a folder of checkpoints in another thread, as another process would."""

    @contextmanager
    def hold_meanwhile(folder):
        held, done = threading.Event(), threading.Event()

        def hold():
            with lock_checkpoints(folder):
                held.set()
                done.wait()

        with ThreadPoolExecutor(1) as pool:
            pool.submit(hold)
            held.wait()
            try:
                yield
            finally:
                done.set()

    return hold_meanwhile


@pytest.fixture(scope="session")
def digits():
    """Images (1797, 8, 8) in uint8 of 0..255, and their labels."""
    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    return images, bunch.target


@pytest.fixture(scope="session")
def images(digits):
    """Three hundred of the digits."""
    return digits[0][:300]


@pytest.fixture(scope="session")
def table():
    """Measurements (178, 13) of wines, in units that differ by a factor of thousands."""
    return load_wine().data


@pytest.fixture(scope="session")
def frame():
    """The same as a DataFrame with the columns' names."""
    return load_wine(as_frame=True).data


@pytest.fixture(scope="session")
def image_fit(digits):
    """An encoder of the first 1,000 digits. Do not refit."""
    choices = {"architecture": "conv", "objective": "reconstruction", "max_epochs": 20}
    return Autoencoder(n_components=32, random_state=0, **choices).fit(digits[0][:1000])


@pytest.fixture(scope="session")
def table_fit(table):
    """An encoder of the wines. Do not refit."""
    return Autoencoder(n_components=4, max_epochs=20, random_state=0).fit(table)


class FarStore(MemoryFileSystem):
    """Files at far://..., which answers as often as it is told to."""

    protocol, cachable = "far", False
    store, pseudo_dirs = {}, [""]
    opened, answers, error = 0, None, None

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + str(path).removeprefix("far://").strip("/")

    def _open(self, path, mode="rb", **options):
        FarStore.opened += mode == "rb"
        if FarStore.answers is not None and FarStore.opened > FarStore.answers:
            raise FarStore.error
        return super()._open(path, mode, **options)

    def exists(self, path, **_):
        return super().exists(path) if FarStore.error is None else self.is_there

    is_there = True

    @classmethod
    def fill(cls, folder):
        """Hold a folder's files, and return their address."""
        for path in folder.iterdir():
            cls().pipe_file(f"/bucket/{path.name}", path.read_bytes())
        return "far://bucket"

    @classmethod
    def lose(cls, error, answers=0):
        """Raise an error from so many opened files on."""
        cls.opened, cls.answers, cls.error = 0, answers, error

    @classmethod
    def mend(cls):
        """Answer again."""
        cls.opened, cls.answers, cls.error = 0, None, None


@pytest.fixture
def far_store():
    """A store that can be lost, empty."""
    fsspec.register_implementation("far", FarStore, clobber=True)
    FarStore.mend()
    yield FarStore
    FarStore.mend()
    FarStore.store.clear()
    FarStore.pseudo_dirs[:] = [""]


# Of a module, because Playwright's loop would be in the way of tests that run one of their own.
@pytest.fixture(scope="module")
def browser():
    """Chromium, without a window."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium to open the page with")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def tab(browser):
    """The page that tests open their own in, one after the other: a new one takes half a second."""
    return browser.new_page()


@pytest.fixture
def window(tab):
    """Open a page at some width; it keeps what it complained of and asked for."""
    page, listeners = tab, {}

    def opened(width, scheme):
        page.set_viewport_size({"width": width, "height": 1000})
        page.emulate_media(color_scheme=scheme, media="screen")
        page.complaints, page.asked = [], []
        listeners["console"] = lambda message: page.complaints.append(message.text)
        listeners["pageerror"] = lambda error: page.complaints.append(str(error))
        listeners["request"] = lambda request: page.asked.append(request)
        for event, listener in listeners.items():
            page.on(event, listener)
        return page

    yield opened
    for event, listener in listeners.items():
        page.remove_listener(event, listener)
    page.evaluate("() => { localStorage.clear(); sessionStorage.clear(); }")
    page.context.clear_cookies()
    page.goto("about:blank")
