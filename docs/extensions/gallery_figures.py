"""Pictures of the gallery: those of `isthmus.plots`, which pyplot does not know of.

The scraper of sphinx-gallery asks pyplot for open figures. The functions of `isthmus.plots` return
figures without opening them, so the values of the tutorial itself are searched too.
"""

import weakref

from matplotlib import pyplot
from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

_drawn: "weakref.WeakSet[Figure]" = weakref.WeakSet()


def scrape(block, block_vars, gallery_conf):
    """Save the figures that a cell made, and return the text that shows them."""
    opened = [pyplot.figure(number) for number in pyplot.get_fignums()]
    values = [*opened, *block_vars["example_globals"].values()]
    paths = []
    for value in values:
        if isinstance(value, Figure) and value not in _drawn:
            _drawn.add(value)
            path = next(block_vars["image_path_iterator"])
            value.savefig(path, dpi=110, bbox_inches="tight")
            paths.append(path)
    pyplot.close("all")
    return figure_rst(paths, gallery_conf["src_dir"])
