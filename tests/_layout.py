"""Faults of a page's layout in a browser: what is cut, text beyond its box, words broken inside."""

import pytest

#: Windows that a page is looked at in, by width and colour scheme; all six take a while.
WINDOWS = [(390, "dark"), (1440, "light")] + [
    pytest.param(one, marks=pytest.mark.slow)
    for one in ((390, "light"), (768, "dark"), (768, "light"), (1440, "dark"))
]
#: Opens what is folded, and returns the faults as text.
FAULTS = r"""() => {
    for (const folded of document.querySelectorAll("details")) folded.open = true;
    const found = [], page = document.documentElement;
    if (page.scrollWidth > page.clientWidth) found.push(`page ${page.scrollWidth} wide`);
    for (const box of document.querySelectorAll(".scroll")) {
        if (!box.offsetParent || box.querySelector("table.matrix")) continue;
        if (box.scrollWidth > box.clientWidth + 1) found.push(`cut: ${box.ariaLabel ?? box.id}`);
    }
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const unseen = "script, style, svg, noscript, select, .hidden, .skip, [hidden]";
    const range = document.createRange();
    const seen = () => [...range.getClientRects()].filter((one) => one.width > 1);
    while (texts.nextNode()) {
        const node = texts.currentNode, parent = node.parentElement;
        if (!node.data.trim() || parent.closest(unseen)) continue;
        let outer = parent;
        while (outer && getComputedStyle(outer).clipPath === "none") outer = outer.parentElement;
        if (outer) continue; // for screen readers alone
        range.selectNodeContents(node);
        const rects = seen();
        if (!rects.length) continue;
        const words = node.data.trim().slice(0, 60);
        for (let box = parent; box && box !== document.body; box = box.parentElement) {
            const style = getComputedStyle(box);
            if (style.display.startsWith("inline") && style.display !== "inline-block") continue;
            const edge = box.getBoundingClientRect();
            if (rects.some((one) => one.left < edge.left - 2 || one.right > edge.right + 2)) {
                found.push(`beyond ${box.tagName} ${box.className}: ${words}`);
                break;
            }
            if (style.overflowX !== "visible") break;
        }
        for (const { 0: word, index } of node.data.matchAll(/[^\s\u00a0\-\u2010\u2013\/]{2,}/g)) {
            range.setStart(node, index);
            range.setEnd(node, index + word.length);
            const lines = new Set(seen().map((one) => Math.round(one.top)));
            if (lines.size > 1) found.push(`broken: ${word}`);
        }
    }
    return [...new Set(found)];
}"""


def faults(page):
    """Return what is cut, beyond its box or broken on a page, with all that is folded open."""
    return page.evaluate(FAULTS)


def violations(page):
    """Return what axe-core has against a page: rules and elements."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]
