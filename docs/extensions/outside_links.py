"""Links of the pages in `docs` that leave the folder: on the site they lead to pages of the site.

The pages are read in the repository too, where a link names a file: `../examples/01_compress.py`,
`tutorials/01_keras_tutorial.py`, `../CHANGELOG.md`.
"""

import ast
import re
from pathlib import Path

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
#: Texts of the repository's root that are pages of the site.
ROOT_PAGES = {
    "CHANGELOG.md": "changelog",
    "CONTRIBUTING.md": "contributing",
    "README.md": "readme",
    "LICENSE": "license",
}
#: Where these pages are written, below `docs`; git ignores it.
PAGES = "generated/repository"


def root_page(name: str) -> str:
    """Return a text of the repository's root as a page."""
    text = (ROOT / name).read_text("utf-8")
    if name == "LICENSE":
        return f"# License\n\n```text\n{text}```\n"
    return re.sub(r"\]\((?!https?:|#)", "](../../../", text).replace("](../../../docs/", "](../../")


def examples_page() -> str:
    """Return the page with the scripts in `examples`, each below its name."""
    lines = ["# Examples", "", "Short scripts, which the tests run.", ""]
    for path in sorted((ROOT / "examples").glob("*.py")):
        code = path.read_text("utf-8")
        said = ast.get_docstring(ast.parse(code)) or ""
        body = code.split('"""', 2)[2].strip()
        lines += [f"## {path.name}", "", said, "", "```python", body, "```", ""]
    return "\n".join(lines)


def write_pages(app) -> None:
    """Write the pages, only where they have changed, so that a build stays short."""
    folder = DOCS / PAGES
    folder.mkdir(parents=True, exist_ok=True)
    texts = {page: root_page(name) for name, page in ROOT_PAGES.items()}
    for page, text in {**texts, "examples": examples_page()}.items():
        path = folder / f"{page}.md"
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def site_target(target: str, page: str) -> str:
    """Return where a link of a page leads on the site; `target` is a file of the repository."""
    path, hash_mark, heading = target.partition("#")
    try:
        file = (DOCS / page).parent.joinpath(path).resolve().relative_to(ROOT)
    except ValueError:
        return target
    name = file.as_posix()
    if name in ROOT_PAGES:
        found = f"{PAGES}/{ROOT_PAGES[name]}.md{hash_mark}{heading}"
    elif name == "examples":
        found = f"{PAGES}/examples.md"
    elif file.parent.name == "examples":
        found = f"{PAGES}/examples.md#{file.name.replace('.', '')}"
    elif name == "docs/tutorials":
        found = "generated/tutorials/index.rst"
    elif file.parent.as_posix() == "docs/tutorials":
        found = f"generated/tutorials/{file.stem}.rst"
    else:
        return target
    return "../" * page.count("/") + found


def link_text(text: str) -> str:
    """Return what a link shows: where it names the file of a page, such as `data.md`, its title."""
    file = DOCS / text.removeprefix("docs/")
    if re.fullmatch(r"(docs/)?[a-z]+\.md", text) and file.exists():
        return file.read_text("utf-8").partition("\n")[0].removeprefix("# ")
    return text


def lead_to_pages(app, page, source) -> None:
    """Replace the links of a page before it is read: their targets, and texts that name files."""
    source[0] = re.sub(
        r"(\[[^][]*)?\]\((?!https?:|#)([^)\s]+)\)",
        lambda found: (
            ("" if found[1] is None else f"[{link_text(found[1][1:])}")
            + f"]({site_target(found[2], page)})"
        ),
        source[0],
    )


def setup(app):
    """Register with Sphinx."""
    app.connect("builder-inited", write_pages, priority=100)
    app.connect("source-read", lead_to_pages)
    return {"parallel_read_safe": True}
