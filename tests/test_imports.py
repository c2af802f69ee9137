"""Rooms import one way, the front door is what it says, and what need not load torch does not."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import isthmus

SOURCE = Path(isthmus.__file__).parent

# From left to right: a file imports only from its own room and from rooms before it.
ROOMS = [
    "_version",
    "errors",
    "_extras",
    "_memory",
    "_notebook",
    "_progress",
    "storage",
    "nearest_neighbors",
    "manifest",
    "versions",
    "data",
    "workers",
    "networks",
    "augment",
    "objectives",
    "weights",
    "training",
    "recipes",
    "autoencoder",
    "heads",
    "evaluation",
    "bundle",
    "export",
    "scoring",
    "serve",
    "plots",
    "report",
    "demo",
    "cli",
    "__main__",
]


def room_of(module: str) -> str:
    return module.split(".")[1]


def imports_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("isthmus"):
            if node.module == "isthmus":
                found |= {f"isthmus.{alias.name}" for alias in node.names}
            else:
                found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.startswith("isthmus.")}
    return found


FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_from_right_to_left_only(path):
    own = path.relative_to(SOURCE).with_suffix("").parts[0]
    for module in imports_of(path):
        room = room_of(module)
        assert room in ROOMS, f"{path} imports {module}, which is no room"
        assert ROOMS.index(room) <= ROOMS.index(own), f"{own} must not import {module}"


# A method for people that calls what is further on, which it imports when it is called.
AT_USE = {("isthmus.autoencoder.estimator", "isthmus.autoencoder.parts")}


def modules() -> dict[str, Path]:
    names = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def names_taken_by(path: Path) -> list[tuple[str, str | None]]:
    """All that a file imports from isthmus, for types alone or at use too: module and name."""
    found: list[tuple[str, str | None]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "isthmus":
            found += [(str(node.module), alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(a.name, None) for a in node.names if a.name.split(".")[0] == "isthmus"]
    return found


def graph_of_files(paths: dict[str, Path]) -> dict[str, set[str]]:
    """Which files each file needs; what a package hands on is of the file that defines it."""
    taken = {module: names_taken_by(path) for module, path in paths.items()}
    handed_on = {
        module: {name: source for source, name in taken[module]}
        for module, path in paths.items()
        if path.name == "__init__.py"
    }

    def defined_in(module: str, name: str | None) -> str:
        while name is not None:
            if f"{module}.{name}" in paths:
                return f"{module}.{name}"
            if name not in handed_on.get(module, {}):
                break
            module = handed_on[module][name]
        return module

    return {
        module: {defined_in(*one) for one in found} - {module} for module, found in taken.items()
    }


def test_no_file_needs_itself_by_way_of_others():
    graph = graph_of_files(modules())
    for user, used in AT_USE:
        graph[user].remove(used)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        circle = error.args[1]
        pytest.fail("a circle of imports: " + " <- ".join(circle))


def test_a_circle_by_types_alone_is_found(tmp_path):
    for name, text in {
        "__init__": "",
        "one": "from isthmus.two import B",
        "two/__init__": "from isthmus.two.b import B",
        "two/b": "if TYPE_CHECKING:\n    from isthmus.one import A",
    }.items():
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    paths = {
        "isthmus": tmp_path / "__init__.py",
        "isthmus.one": tmp_path / "one.py",
        "isthmus.two": tmp_path / "two" / "__init__.py",
        "isthmus.two.b": tmp_path / "two" / "b.py",
    }
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(graph_of_files(paths)).prepare()


def test_every_room_is_listed():
    rooms = {path.relative_to(SOURCE).with_suffix("").parts[0] for path in FILES}
    assert rooms == set(ROOMS)


def test_public_names_are_sorted_and_all_there():
    assert isthmus.__all__ == sorted(isthmus.__all__)
    for name in isthmus.__all__:
        assert getattr(isthmus, name) is not None
    assert set(dir(isthmus)) == set(isthmus.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Autoencode'"):
        isthmus.Autoencode  # noqa: B018


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import isthmus", ["torch", "sklearn", "pandas", "numpy"]),
        ("import isthmus.errors", ["torch", "sklearn", "pandas", "numpy"]),
        ("import isthmus.cli.app", ["torch", "sklearn", "pandas", "numpy", "rich"]),
        ("import isthmus.manifest", ["torch", "sklearn", "pandas", "numpy"]),
        ("import isthmus.versions", ["torch", "sklearn", "pandas", "numpy"]),
        ("import isthmus.nearest_neighbors", ["torch", "sklearn", "pandas"]),
        ("import isthmus.data", ["torch"]),
        ("import isthmus.plots", ["torch", "matplotlib"]),
        ("from isthmus.export import Exported", ["torch", "onnx", "onnxruntime"]),
        ("import isthmus.scoring.on_ray", ["torch", "ray", "onnxruntime"]),
        ("from isthmus.serve import Limits", ["torch", "fastapi", "uvicorn"]),
        ("from isthmus.serve.labels import read_labels", ["torch", "fastapi", "pydantic_core"]),
        ("from isthmus.serve import build_app, serve", ["torch", "sklearn", "onnx"]),
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(statement, heavy):
    script = f"{statement}\nimport sys\nprint([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
