"""The structure of the package: one import order, one door a package, no circle, light imports."""

import ast
import functools
import graphlib
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import isthmus

SOURCE = Path(isthmus.__file__).parent
ROOT = Path(__file__).parents[1]

# Bottom up: a file imports from its own package and from those before it.
ORDER = [
    "errors",
    "_core",
    "data",
    "monitoring",
    "distributed",
    "networks",
    "augmentations",
    "objectives",
    "training",
    "recipes",
    "autoencoder",
    "encoding",
    "detection",
    "classification",
    "bundle",
    "evaluation",
    "export",
    "scoring",
    "serve",
    "plots",
    "report",
    "demo",
    "integrations",
    "cli",
    "__main__",
]

# `Autoencoder.save` is a method for people, which calls the bundle when it is called.
AT_USE = {("isthmus.autoencoder.estimator", "isthmus.bundle.bundle")}

# Names that stand once for each kind of instance.
PER_KIND = {"__init__", "images", "tables", "series"}
#: Of a file, and of files: what a newcomer finds their way in.
MAX_LINES, MAX_FILES = 500, 269


def modules(root: Path = SOURCE) -> dict[str, Path]:
    """Every file by the name that it is imported by."""
    found = {}
    for path in root.rglob("*.py"):
        parts = path.relative_to(root.parent).with_suffix("").parts
        found[".".join(("isthmus", *parts[1:])).removesuffix(".__init__")] = path
    return found


@functools.cache
def taken_by(path: Path) -> list[tuple[str, str]]:
    """What a file imports from isthmus, at the top, at use or for types alone: module and name."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports are for stubs"
            if str(node.module).split(".")[0] == "isthmus":
                found += [(str(node.module), alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(a.name, "") for a in node.names if a.name.split(".")[0] == "isthmus"]
    return found


def doors(paths: dict[str, Path]) -> dict[str, dict[str, str]]:
    """Which module each name of a package's door is taken from, by the package's stub."""
    found: dict[str, dict[str, str]] = {}
    for package, path in paths.items():
        stub = path.with_suffix(".pyi")
        if path.name == "__init__.py" and stub.exists():
            found[package] = {
                alias.name: f"{package}.{node.module}"
                for node in ast.walk(ast.parse(stub.read_text(encoding="utf-8")))
                if isinstance(node, ast.ImportFrom)
                for alias in node.names
            }
    return found


def graph_of_files(paths: dict[str, Path]) -> dict[str, set[str]]:
    """Which files each file needs; a name taken from a door is of the file that defines it."""
    door = doors(paths)

    def defined_in(module: str, name: str) -> str:
        while name in door.get(module, {}):
            module = door[module][name]
        return f"{module}.{name}" if f"{module}.{name}" in paths else module

    return {
        module: {defined_in(*one) for one in taken_by(path)} - {module, "isthmus"}
        for module, path in paths.items()
        if path.name != "__init__.py"
    }


MODULES = modules()
FILES = sorted(module for module, path in MODULES.items() if path.name != "__init__.py")


@pytest.fixture(scope="module")
def graph():
    """Which files each file of isthmus needs."""
    return graph_of_files(MODULES)


@pytest.mark.parametrize("module", FILES)
def test_imports_go_down_the_order_only(graph, module):
    own = module.split(".")[1]
    for used in graph[module]:
        package = used.split(".")[1]
        assert package in ORDER, f"{module} imports {used}, which is in no package"
        if (module, used) not in AT_USE:
            assert ORDER.index(package) <= ORDER.index(own), f"{module} must not import {used}"


def test_every_package_is_in_the_order():
    assert {module.split(".")[1] for module in FILES} == set(ORDER)


def test_no_file_needs_itself_by_way_of_others(graph):
    at_import = {
        user: used - {last for first, last in AT_USE if first == user}
        for user, used in graph.items()
    }
    try:
        graphlib.TopologicalSorter(at_import).prepare()
    except graphlib.CycleError as error:
        pytest.fail("a circle of imports: " + " <- ".join(error.args[1]))


def test_a_circle_by_types_alone_is_found(tmp_path):
    for name, text in {
        "__init__.py": "",
        "one.py": "from isthmus.two import B",
        "two/__init__.py": "",
        "two/__init__.pyi": "from .b import B as B",
        "two/b.py": "if TYPE_CHECKING:\n    from isthmus.one import A",
    }.items():
        path = tmp_path / "isthmus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    graph = graph_of_files(modules(tmp_path / "isthmus"))
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(graph).prepare()


def outside_a_door(importer: str, path: Path) -> list[str]:
    """What a file takes from inside of a package that it is not in."""
    found = []
    for module, name in taken_by(path):
        package = module.rpartition(".")[0]
        inside = importer == package or importer.startswith(f"{package}.")
        if package not in ("", "isthmus") and MODULES[module].name != "__init__.py" and not inside:
            found.append(f"{module}.{name}")
    return found


@pytest.mark.parametrize("module", FILES)
def test_files_import_other_packages_by_their_door(module):
    assert outside_a_door(module, MODULES[module]) == []


@pytest.mark.parametrize(
    "path",
    sorted([*ROOT.glob("benchmarks/**/*.py"), *ROOT.glob("examples/*.py")]),
    ids=lambda path: path.name,
)
def test_benchmarks_and_examples_import_by_the_doors(path):
    assert outside_a_door(path.stem, path) == []


@pytest.mark.parametrize("module", FILES)
def test_no_private_name_is_taken_from_another_file(module):
    """Attributes of other objects are looked after by ruff's SLF001."""
    private = [
        f"{source}.{name}"
        for source, name in taken_by(MODULES[module])
        if name.startswith("_") and name != "__version__" and f"{source}.{name}" not in MODULES
    ]
    assert private == []


def repeated(paths, allowed):
    names = Counter(path.stem for path in paths if path.stem not in allowed)
    return [name for name, times in names.items() if times > 1]


def test_no_two_files_have_one_name():
    assert repeated(MODULES.values(), PER_KIND) == []


def test_no_file_is_too_long_for_a_chapter_and_there_are_few():
    lengths = {
        module: len(path.read_text("utf-8").splitlines()) for module, path in MODULES.items()
    }
    assert {module: n for module, n in lengths.items() if n > MAX_LINES} == {}
    assert len(MODULES) <= MAX_FILES


def test_no_two_files_of_the_benchmarks_have_one_name():
    assert repeated(ROOT.glob("benchmarks/**/*.py"), {"__init__"}) == []


@pytest.mark.parametrize("package", sorted(doors(MODULES)))
def test_a_door_is_sorted_and_all_of_it_is_there(package):
    module = __import__(package, fromlist=["__all__"])
    assert module.__all__ == sorted(module.__all__)
    for name in module.__all__:
        assert not name.startswith("_") or name == "__version__"
        assert getattr(module, name) is not None
    assert set(module.__all__) - {"__version__"} == set(doors(MODULES)[package])
    assert set(dir(module)) >= set(module.__all__) - {"__version__"}


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Autoencode"):
        isthmus.Autoencode  # noqa: B018


def test_architecture_lists_the_packages_in_their_order():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([\w.]+)` \|", text, re.MULTILINE)
    assert [name for name in listed if "." not in name] == [*ORDER[:-1]]
    assert all((SOURCE / name.replace(".", "/")).is_dir() for name in listed if "." in name)


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import isthmus", ["torch", "sklearn", "pandas", "numpy"]),
        ("import isthmus.errors", ["torch", "sklearn", "pandas", "numpy"]),
        ("import isthmus.cli.commands", ["torch", "sklearn", "pandas", "numpy", "rich"]),
        (
            "from isthmus.bundle import read_manifest, roll_back",
            ["torch", "sklearn", "pandas", "numpy"],
        ),
        ("from isthmus._core import find_nearest", ["torch", "sklearn", "pandas"]),
        ("from isthmus.data import Dataset, load, Stream", ["torch"]),
        ("from isthmus import Autoencoder", ["sklearn.cluster", "matplotlib"]),
        ("from isthmus.plots import plot_samples", ["torch", "matplotlib"]),
        ("from isthmus.export import Exported", ["torch", "onnx", "onnxruntime"]),
        ("from isthmus.scoring.ray import score_on_ray", ["torch", "ray", "onnxruntime"]),
        ("from isthmus.serve import Limits", ["torch", "fastapi", "uvicorn"]),
        (
            "from isthmus.serve.label_queue import read_labels",
            ["torch", "fastapi", "pydantic_core"],
        ),
        ("from isthmus.serve import build_app, serve", ["torch", "sklearn", "onnx"]),
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(statement, heavy):
    script = f"{statement}\nimport sys\nprint([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
