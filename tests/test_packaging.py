"""What is built and published: wheel, source archive, extras, recipe, citation."""

import ast
import csv
import email
import functools
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections import defaultdict
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import isthmus

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]

#: A script for each extra that uses what it brings; `bundle` is a fitted one of a small table.
USES = {
    "": "isthmus predict bundle new.csv -o out.csv",
    "excel": "isthmus predict bundle new.xlsx -o out.csv",
    "mcp": 'python -c "import isthmus.integrations as i; i.build_mcp_server()"',
    "mlflow": "python -c \"import isthmus.integrations as i; i.save_model('model', 'bundle')\"",
    "onnx": "isthmus export bundle new.csv -o exported",
    "pyod": 'python -c "import pandas as pd, isthmus.integrations as i; '
    "i.PyODDetector().fit(pd.read_csv('new.csv'))\"",
    "report": "isthmus report bundle new.csv -o page.html",
    "serve": "python -c \"import isthmus.serve as s; s.build_app(['exported'])\"",
    "tensorboard": "isthmus fit new.csv -o other --max-epochs 1 --log-dir logs",
}
#: Extras of people who work on isthmus.
OWN = {"all", "dev", "docs"}
#: Ray is in the environment of make test-slow alone, and aeon in that of make test-adapters: they
#: restrict what else is installed. Their own tests use them there.
NOT_LOCKED = {"aeon", "scale"}


def names_of(requirements: list[str]) -> dict[str, str]:
    """Requirements by canonical name: their versions."""
    found = map(Requirement, requirements)
    return {canonicalize_name(one.name): str(one.specifier) for one in found}


def test_every_extra_for_users_is_in_all_and_is_tried_alone():
    """But for aeon, which would keep all others at older releases of NumPy and pandas."""
    users = set(EXTRAS) - OWN
    assert Requirement(EXTRAS["all"][0]).extras == users - {"aeon"}
    assert set(USES) - {""} == users - NOT_LOCKED


def test_workflows_call_targets_and_extras_that_there_are():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    texts = [path.read_text("utf-8") for path in (ROOT / ".github" / "workflows").glob("*.yml")]
    called = re.findall(r"run: make ([a-z -]+)(\$\{\{)?", "\n".join(texts))
    words = {word for line, version in called for word in line.split() if not version}
    words |= {f"test-{one}" for one in re.findall(r"versions: (\w+)", "\n".join(texts))}
    assert {"check", "docs", "test", "test-newest", "test-oldest"} <= words <= targets
    (extras,) = re.findall(r"extra: \[\"\", (.*)\]", "\n".join(texts))
    assert set(extras.split(", ")) == set(EXTRAS) - OWN


def test_conda_recipe_has_the_requirements_of_the_project():
    text = (ROOT / "conda.recipe" / "meta.yaml").read_text("utf-8")
    run = re.search(r"  run:\n((?:    - .*\n)+)", text)[1]
    listed = names_of([line.removeprefix("    - ") for line in run.splitlines()])
    listed["torch"] = listed.pop("pytorch")
    assert listed.pop("python") == PROJECT["requires-python"]
    assert listed == names_of(PROJECT["dependencies"])


#: What a module is called where it is not its distribution's name, and of which requirement it is
#: a part that cannot be left out: FastAPI's classes are those of Starlette and pydantic.
PARTS = {
    **{"PIL": "pillow", "sklearn": "scikit-learn", "mlflow": "mlflow-skinny"},
    **{"starlette": "fastapi", "pydantic": "fastapi", "pydantic_core": "fastapi"},
    **{"anyio": "mcp", "markupsafe": "jinja2"},
}


def test_every_library_that_is_imported_is_required():
    """One that only comes with another may be gone with that one's next release."""
    required = {name for extra in set(EXTRAS) - OWN for name in names_of(EXTRAS[extra])}
    required |= set(names_of(PROJECT["dependencies"])) | {"isthmus"}
    imported = {}
    for path in (ROOT / "src" / "isthmus").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [str(node.module)]
            for name in names:
                imported.setdefault(name.split(".")[0], path.name)
    found = {name: file for name, file in imported.items() if name not in sys.stdlib_module_names}
    unstated = {
        name: file
        for name, file in found.items()
        if PARTS.get(name, canonicalize_name(name)) not in required
    }
    assert unstated == {}


def test_every_requirement_of_an_extra_is_locked():
    lock = names_of((ROOT / "constraints.txt").read_text("utf-8").split())
    for extra in set(EXTRAS) - NOT_LOCKED:
        missing = set(names_of(EXTRAS[extra])) - set(lock) - {"isthmus"}
        assert not missing, f"{extra}: {missing}; make lock"


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Build source archive and, from it, wheel."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.mark.slow
def test_wheel_and_source_archive_hold_the_library_and_pass_twine(built):
    (wheel,), (source,) = built.glob("*.whl"), built.glob("*.tar.gz")
    files = [path for path in (ROOT / "src").rglob("*") if path.is_file()]
    library = {
        path.relative_to(ROOT / "src").as_posix()
        for path in files
        if "__pycache__" not in path.parts and path.suffix != ".pyc"
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        facts = email.message_from_bytes(archive.read(metadata))
    assert held == library
    assert facts["Version"] == isthmus.__version__
    assert set(facts.get_all("Provides-Extra")) == set(EXTRAS)
    with tarfile.open(source) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    read_by_tests = {"Dockerfile", "conda.recipe/meta.yaml", ".github/workflows/tests.yml"}
    assert {"LICENSE", "CITATION.cff", "tests/test_packaging.py", *read_by_tests} <= held
    assert {f"src/{name}" for name in library} <= held
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", wheel, source],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def closure(requirements: list[str]) -> dict[str, Distribution]:
    """What pip would install for some requirements, from what is installed here."""
    found: dict[str, Distribution] = {}

    def add(requirements: list[str], extras: set[str]) -> None:
        for requirement in map(Requirement, requirements):
            name, marker = canonicalize_name(requirement.name), requirement.marker
            if marker and not any(marker.evaluate({"extra": one}) for one in (extras or {""})):
                continue
            try:
                one = distribution(name)
            except PackageNotFoundError:
                pytest.skip(f"{name} is not installed")
            if name not in found or requirement.extras:
                found[name] = one
                add(one.requires or [], requirement.extras)

    add(requirements, set())
    return found


def files_of(one: Distribution) -> list[tuple[str, str]]:
    """Files of a distribution and the first part of each path.

    `Distribution.files` asks the disk for each, which takes seconds.
    """
    rows = csv.reader((one.read_text("RECORD") or "").splitlines())
    return [(row[0], row[0].partition("/")[0]) for row in rows]


@functools.cache
def owners_of_folders() -> dict[str, set[str]]:
    """Distributions with files in each folder of site-packages."""
    owners = defaultdict(set)
    for one in distributions():
        name = canonicalize_name(one.name)  # reads the metadata
        for top in {top for _, top in files_of(one)}:
            owners[top].add(name)
    return owners


def clean_environment(folder: Path, wheel: Path, requirements: list[str]) -> Path:
    """Make an environment of the wheel and some requirements alone, the latter as links.

    A folder that distributions share, such as `google`, is linked file by file.
    """
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    owners = owners_of_folders()
    for one in closure(requirements).values():
        here = Path(str(one.locate_file("")))
        names = {
            name if len(owners[top]) > 1 else top
            for name, top in files_of(one)
            if top not in ("..", "__pycache__")
        }
        for name in names:
            target = site / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(here / name)
    offline = ["--no-deps", "--no-index"]
    command = [*pip_of(folder / "bin"), "install", *offline, f"{wheel}"]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "bin"


def pip_of(programs: Path) -> list[str]:
    return [sys.executable, "-m", "pip", "--quiet", "--python", f"{programs / 'python'}"]


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A folder with a fitted bundle, its export, and a table in two formats."""
    import numpy as np
    import pandas as pd

    from isthmus import AnomalyDetector, Autoencoder, export_bundle, save_bundle

    folder = tmp_path_factory.mktemp("work")
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 4)), columns=list("abcd"))
    detector = AnomalyDetector(Autoencoder(max_epochs=1, random_state=0), random_state=0)
    save_bundle(folder / "bundle", detector.fit(table).encoder_, {"detector": detector})
    export_bundle(folder / "bundle", folder / "exported", table)
    table.to_csv(folder / "new.csv", index=False)
    table.to_excel(folder / "new.xlsx", index=False)
    return folder


@pytest.fixture
def run_in(work, tmp_path):
    """Run a command in a copy of `work`, with the programs of an environment and nothing else."""
    folder = shutil.copytree(work, tmp_path / "work")

    def run(programs: Path, command: str) -> subprocess.CompletedProcess:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
        } | {"PATH": f"{programs}:{os.environ['PATH']}"}
        return subprocess.run(
            command, shell=True, cwd=folder, env=environment, capture_output=True, text=True
        )

    return run


@pytest.mark.slow
@pytest.mark.parametrize("extra", USES)
def test_wheel_works_with_each_extra_alone(built, run_in, tmp_path, extra):
    """Nothing but the wheel and what pip would install with the extra can be imported."""
    (wheel,) = built.glob("*.whl")
    requirements = PROJECT["dependencies"] + EXTRAS.get(extra, [])
    programs = clean_environment(tmp_path / "clean", wheel, requirements)
    checked = subprocess.run([*pip_of(programs), "check"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    imported = run_in(programs, "python -c 'import isthmus; print(isthmus.__file__)'").stdout
    assert Path(imported.strip()).is_relative_to(tmp_path)
    version = run_in(programs, "isthmus --version").stdout.split()
    assert version == ["isthmus", isthmus.__version__]
    done = run_in(programs, USES[extra])
    assert done.returncode == 0, done.stderr
    if extra == "":  # what an extra brings is missing here, and the error says which extra it is
        for other in ("onnx", "report", "tensorboard"):
            assert f"isthmus[{other}]" in run_in(programs, USES[other]).stderr


def image_requirements() -> list[str]:
    """What the image of the service installs beside isthmus itself."""
    text = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    return re.search(r"-c /isthmus/constraints.txt ((?: +[\w-]+)+)", text)[1].split()


def test_what_the_image_installs_is_required_of_the_service():
    required = names_of(PROJECT["dependencies"] + EXTRAS["serve"])
    assert set(names_of(image_requirements())) <= set(required)
    assert "torch" not in image_requirements()


@pytest.mark.slow
def test_the_service_decides_with_what_its_image_installs(built, run_in, tmp_path):
    (wheel,) = built.glob("*.whl")
    programs = clean_environment(tmp_path / "clean", wheel, image_requirements())
    done = run_in(programs, "python -c 'import torch'")
    assert "No module named 'torch'" in done.stderr
    (tmp_path / "decide.py").write_text(
        "import numpy as np, isthmus.serve, isthmus.export\n"
        "from isthmus._core.process_state import run_in_threads\n"
        "isthmus.serve.build_app(['exported'])\n"
        "X = np.random.default_rng(0).normal(size=(300, 4))\n"
        "assert len(isthmus.export.Exported('exported').run(X)['verdict']) == 300\n"
        "run_in_threads(len, [X] * 20)  # as a search for the instances beside an answer does\n"
    )
    done = run_in(programs, f"python {tmp_path / 'decide.py'}")
    assert done.returncode == 0, done.stderr
