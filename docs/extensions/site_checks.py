"""What a finished site is checked for, and its index for language models, `llms.txt`.

The build fails where something public is documented nowhere, and where a page loads anything
from the network.
"""

import re
from pathlib import Path

from package_pages import identity, public_modules, public_names
from sphinx.errors import ExtensionError

LOADED = re.compile(
    r"""<(?:script|img|iframe|audio|video|source)\b[^>]*?\bsrc=["'](?:https?:)?//[^"']*"""
    r"""|<link\b(?=[^>]*\brel=["'](?:stylesheet|preload|icon)["'])[^>]*\bhref=["'](?:https?:)?//[^"']*"""
)


def undocumented(app) -> list[str]:
    """Return the public names that no page documents under any of their names."""
    objects = app.env.get_domain("py").objects
    documented = {identity(name) for name in objects if is_public(name)}
    return [
        f"{module}.{name}"
        for module in public_modules()
        for name in public_names(module)
        if identity(f"{module}.{name}") not in documented
    ]


def is_public(name: str) -> bool:
    """Whether a name is one that people import: a public name of a package or module."""
    module, _, attribute = name.rpartition(".")
    return module in public_modules() and attribute in public_names(module)


def from_the_network(folder: Path) -> list[str]:
    """Return what the pages of a site load from elsewhere."""
    return [
        f"{path.relative_to(folder)}: {found}"
        for path in sorted(folder.rglob("*.html"))
        for found in LOADED.findall(path.read_text("utf-8"))
    ]


def check(app, exception) -> None:
    """Raise where the site lacks a public name or needs the network."""
    if exception is not None or app.builder.name != "html":
        return
    lacking = undocumented(app)
    if lacking:
        raise ExtensionError(f"no page documents {', '.join(lacking)}")
    loaded = from_the_network(Path(app.outdir))
    if loaded:
        raise ExtensionError("pages load from the network: " + "; ".join(loaded[:5]))


def first_sentence(text: str) -> str:
    """Return the first sentence of a paragraph on one line, without a term in front of it."""
    sentences = re.split(r"(?<=[.!?]) ", " ".join(text.split()))
    return next((one for one in sentences if one.count(" ") > 1), sentences[0])


def write_llms(app, exception) -> None:
    """Write `llms.txt`: the pages that people write, with their first sentences, in Markdown."""
    if exception is not None or app.builder.name != "html":
        return
    from docutils import nodes

    lines = ["# isthmus", ""]
    for page in ordered_pages(app.env, app.config.root_doc):
        tree = app.env.get_doctree(page)
        title = app.env.titles[page].astext()
        paragraphs = (
            p for p in tree.findall(nodes.paragraph) if not isinstance(p.parent, nodes.Admonition)
        )
        said = next((p.astext() for p in paragraphs), "")
        if page == app.config.root_doc:
            lines += [f"> {first_sentence(said)}", "", "## Pages", ""]
        else:
            lines.append(f"- [{title}]({page}.html): {first_sentence(said)}")
    (Path(app.outdir) / "llms.txt").write_text("\n".join(lines) + "\n", "utf-8")


def ordered_pages(env, page, seen=None) -> list[str]:
    """Return the pages below one in the order of their tables of contents."""
    seen = set() if seen is None else seen
    if page in seen:
        return []
    seen.add(page)
    below = env.toctree_includes.get(page, [])
    return [page, *(found for one in below for found in ordered_pages(env, one, seen))]


def setup(app):
    """Register with Sphinx."""
    app.connect("build-finished", check)
    app.connect("build-finished", write_llms)
    return {"parallel_read_safe": True}
