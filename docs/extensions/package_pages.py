"""API pages of what `docs/api.md` does not list by task, one a package, written before a build.

What is public is what the stub of a package lists (`__init__.pyi`), or, of a module that is in
no package, what it defines itself. Everything public is documented once: where `api.md` names it,
else on the page of its package.
"""

import ast
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType

DOCS = Path(__file__).parents[1]
SOURCE = DOCS.parent / "src" / "isthmus"
#: Folders below `docs` that a build writes and git ignores.
PAGES = "generated/packages"


def public_modules() -> list[str]:
    """Return the names of the packages and modules that people import from, sorted."""
    stubs = {path.parent for path in SOURCE.rglob("__init__.pyi")}
    files = {path.with_suffix("") for path in SOURCE.glob("[!_]*.py")}
    names = [".".join(("isthmus", *path.relative_to(SOURCE).parts)) for path in stubs | files]
    return sorted(name for name in names if "._" not in name)


def public_names(module: str) -> list[str]:
    """Return the public names of a package by its stub, or of a module by what it defines."""
    folder = SOURCE.joinpath(*module.split(".")[1:])
    stub = folder / "__init__.pyi"
    if stub.exists():
        return re.findall(r"^from \S+ import (\w+) as \1$", stub.read_text("utf-8"), re.M)
    names: set[str] = set()
    for node in ast.parse(folder.with_suffix(".py").read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return sorted(name for name in names if not name.startswith("_"))


def listed_by_task() -> list[str]:
    """Return the full names that `docs/api.md` lists, in its order."""
    return re.findall(r"^    (isthmus\.[\w.]+)$", (DOCS / "api.md").read_text("utf-8"), re.M)


def identity(name: str) -> object:
    """Return what tells whether two names are one object: equal constants are not."""
    module, _, attribute = name.rpartition(".")
    found = getattr(importlib.import_module(module), attribute)
    return found if inspect.isclass(found) or inspect.isfunction(found) else name


def pages() -> dict[str, list[str]]:
    """Return the names on the page of each package: what is not documented before, in its order."""
    seen = {identity(name) for name in listed_by_task()}
    written: dict[str, list[str]] = {}
    # The deepest package first: what a package passes on from one inside is documented there.
    for module in sorted(public_modules(), key=lambda name: (-name.count("."), name)):
        names = []
        for name in public_names(module):
            full = f"{module}.{name}"
            if full not in seen and identity(full) not in seen:
                seen |= {identity(full), full}
                names.append(name)
        if names:
            written[module] = names
    return dict(sorted(written.items()))


def directive(module: ModuleType, name: str) -> list[str]:
    """Return the lines that document one name."""
    full, found = f"{module.__name__}.{name}", getattr(module, name)
    if inspect.isclass(found):
        return [f".. autoclass:: {full}", "   :members:", "   :inherited-members:", ""]
    kind = "autofunction" if inspect.isfunction(found) else "autodata"
    return [f".. {kind}:: {full}", ""]


def write_pages(app) -> None:
    """Write the page of each package, only where it has changed, so that a build stays short."""
    folder = DOCS / PAGES
    folder.mkdir(parents=True, exist_ok=True)
    written = pages()
    for module, names in written.items():
        found = importlib.import_module(module)
        lines = [f"``{module}``", "=" * (len(module) + 4), "", inspect.cleandoc(found.__doc__), ""]
        for name in names:
            lines += [name, "-" * len(name), "", *directive(found, name)]
        path, text = folder / f"{module.removeprefix('isthmus.')}.rst", "\n".join(lines)
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
    for path in folder.glob("*.rst"):
        if f"isthmus.{path.stem}" not in written:
            path.unlink()


def skip_foreign(app, what, name, obj, skip, options):
    """Leave out members that another library defines, such as scikit-learn's `get_params`."""
    function = inspect.unwrap(getattr(obj, "fget", None) or getattr(obj, "__func__", obj))
    module = getattr(function, "__module__", None) or "isthmus"
    return True if not module.startswith("isthmus") else None


def setup(app):
    """Register with Sphinx; before autosummary, which reads the pages."""
    app.connect("builder-inited", write_pages, priority=100)
    app.connect("autodoc-skip-member", skip_foreign)
    return {"parallel_read_safe": True}
