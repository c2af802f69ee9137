"""Docstrings of all that is on the API pages: what is passed, returned and raised, and examples.

`docs/api.md` lists by task what most programs need: of these each parameter, return value, error
and an example is asked for. Of all else that is public, on the pages of the packages, what a
docstring says about parameters is compared with the signature.
"""

import ast
import functools
import importlib
import inspect
import re
import sys
import textwrap
from pathlib import Path

import pytest

EXTENSIONS = Path(__file__).parents[1] / "docs" / "extensions"
SECTIONS = {
    *("Parameters", "Attributes", "Returns", "Yields", "Raises", "Warns"),
    *("Notes", "References", "Examples"),
}


@pytest.fixture(scope="module")
def public():
    """Return the names that are listed by task, and those on the pages of packages."""
    sys.path.insert(0, str(EXTENSIONS))
    try:
        pages = importlib.import_module("package_pages")
        by_task, by_package = pages.listed_by_task(), pages.pages()
    finally:
        sys.path.remove(str(EXTENSIONS))
    return by_task, [f"{package}.{name}" for package, names in by_package.items() for name in names]


def found_at(name):
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def function_of(member):
    """The function behind a member of a class, or None where it is none."""
    if isinstance(member, staticmethod | classmethod):
        member = member.__func__
    return inspect.unwrap(member) if inspect.isfunction(member) else None


def methods_of(found):
    """Public methods of a class that isthmus defines, by name."""
    for name in sorted(dir(found)):
        function = function_of(inspect.getattr_static(found, name))
        if name.startswith("_") or function is None:
            continue
        if function.__module__.startswith("isthmus."):
            yield name, function


def documented(names):
    """Classes and functions by name, and methods by class and name."""
    for name in names:
        found = found_at(name)
        if inspect.isclass(found) and found.__module__.startswith("isthmus."):
            yield name, found, None
            for method, function in methods_of(found):
                yield f"{name}.{method}", function, found
        elif inspect.isfunction(found):
            yield name, found, None


def docstring_of(found, owner=None):
    """The docstring, of a method without one that of the method it overrides."""
    if owner is None or found.__doc__:
        return inspect.cleandoc(found.__doc__ or "")
    for base in owner.__mro__:
        function = function_of(vars(base).get(found.__name__))
        if function is not None and function.__doc__:
            return inspect.cleandoc(function.__doc__)
    return ""


@functools.cache
def sections(text):
    """The lines of each section of a docstring, by its name."""
    parts, name = {}, "Summary"
    lines = text.splitlines()
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if line in SECTIONS and below == "-" * len(line):
            name = line
            assert name not in parts, f"{name} twice"
        parts.setdefault(name, []).append(line)
    return {name: lines if name == "Summary" else lines[2:] for name, lines in parts.items()}


def names_in(lines):
    """The names that a section describes, such as a and b of `a, b : float`."""
    heads = [line.split(" : ")[0] for line in lines if line and not line.startswith(" ")]
    return [name.strip() for head in heads for name in head.split(",")]


def parameters_of(found):
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    parameters = inspect.signature(found).parameters.values()
    return [stars.get(one.kind, "") + one.name for one in parameters if one.name != "self"]


def parameters_lacking(found, text, owner):
    """Parameters that are not described, and names described that are no parameters."""
    parts = sections(text)
    described = names_in(parts.get("Parameters", []))
    if inspect.isclass(found):
        if issubclass(found, BaseException) and "__init__" not in vars(found):
            return []
        # Of a dataclass the attributes are the parameters; of a base class there may be none.
        described += names_in(parts.get("Attributes", []))
        if "__init__" not in vars(found):
            return []
        return [name for name in parameters_of(found) if name not in described]
    expected = [name for name in parameters_of(found) if name != "cls" or owner is None]
    return sorted(set(expected) ^ set(described))


@functools.cache
def body_of(function):
    """What a function itself does: whether it returns and yields values, and what it raises."""
    node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    returns, yields, raises, todo = False, False, set(), list(node.body)
    while todo:
        one = todo.pop()
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        yields |= isinstance(one, ast.Yield | ast.YieldFrom)
        if isinstance(one, ast.Return) and one.value is not None:
            returns |= not (isinstance(one.value, ast.Constant) and one.value.value is None)
        if isinstance(one, ast.Raise) and one.exc is not None:
            raised = one.exc.func if isinstance(one.exc, ast.Call) else one.exc
            raises.add(ast.unparse(raised))
        todo.extend(ast.iter_child_nodes(one))
    return returns, yields, raises


@functools.cache
def examples_of_family(owner):
    """The docstrings of a class, of those that it extends, and of all that extend these."""
    todo = [one for one in owner.__mro__ if one.__module__.startswith("isthmus.")]
    family = set()
    while todo:
        one = todo.pop()
        if one not in family:
            family.add(one)
            todo += one.__subclasses__()
    documented_in = [*family, *(function for one in family for _, function in methods_of(one))]
    return "\n".join(one.__doc__ or "" for one in documented_in)


def is_called(name, owner):
    """Whether an example on the page of a class, or of one of its family, calls the method."""
    return re.search(rf"(>>>|\.\.\.) .*\.{name}\(", examples_of_family(owner)) is not None


def lacks(found, owner):
    """What a docstring lacks."""
    text = docstring_of(found, owner)
    parts = sections(text)
    if wrong := parameters_lacking(found, text, owner):
        yield f"parameters {', '.join(wrong)}"
    if not inspect.isclass(found):
        returns, yields, raises = body_of(found)
        if (returns or yields) and not {"Returns", "Yields"} & set(parts):
            yield "Returns"
        if raises and "Raises" not in parts:
            yield f"Raises {', '.join(sorted(raises))}"
    if "Examples" not in parts and (owner is None or not is_called(found.__name__, owner)):
        yield "an example"


def test_what_is_listed_by_task_is_documented_wholly(public):
    everything = list(documented(public[0]))
    lacking = {
        name: what for name, found, owner in everything if (what := list(lacks(found, owner)))
    }
    assert lacking == {}


def test_parameters_that_docstrings_describe_are_those_of_the_signature(public):
    wrong = {}
    for name, found, owner in documented(public[1]):
        text = docstring_of(found, owner)
        if inspect.isclass(found) or "Parameters" not in sections(text):
            continue
        if lacking := parameters_lacking(found, text, owner):
            wrong[name] = lacking
    assert wrong == {}
