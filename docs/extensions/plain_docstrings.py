"""Docstrings are plain text with code in backticks: what looks like other markup is escaped.

`(n, *shape)`, `digest_` and `|u|` would start an emphasis, a link and a substitution in
reStructuredText, which docstrings here do not use.
"""

import re

MARKUP = re.compile(r"(?<![\w*\\])\*(?=[\w.])(?!\w[^*]*\w\*)|(?<=\w)_(?![\w`])|\|")


def escape(lines: list[str]) -> list[str]:
    """Return the lines with marks escaped, but in code spans, doctests and literal blocks."""
    escaped, in_code, in_doctest, literal = [], False, False, None
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if not line.strip():
            in_code = in_doctest = False
        elif literal is not None and indent > literal:
            escaped.append(line)
            continue
        else:
            literal = None
            in_doctest = in_doctest or line.lstrip().startswith(">>>")
        if not in_doctest and line.strip():
            name, colon, rest = line.partition(" : ")
            is_entry = bool(colon) and re.fullmatch(r"[\w*, ]+", name) is not None
            parts = (rest if is_entry else line).split("`")
            for at, part in enumerate(parts):
                parts[at] = part if in_code else MARKUP.sub(r"\\\g<0>", part)
                in_code ^= at < len(parts) - 1
            line = (name + colon if is_entry else "") + "`".join(parts)
            if line.endswith("::"):
                literal = indent
        escaped.append(line)
    return escaped


def setup(app):
    """Register with Sphinx; before numpydoc, whose own markup is meant."""
    app.connect(
        "autodoc-process-docstring",
        lambda app, what, name, obj, options, lines: lines.__setitem__(slice(None), escape(lines)),
        priority=100,
    )
    return {"parallel_read_safe": True}
