"""Sphinx's configuration: `make docs` builds the site into `dist/docs`, and fails at a warning."""

import sys
import warnings
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "extensions"))

import isthmus  # noqa: E402

project = "isthmus"
author = "the isthmus developers"
version = release = isthmus.__version__
copyright = author

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "plain_docstrings",
    "package_pages",
    "outside_links",
    "site_checks",
]
exclude_patterns = [
    "tutorials",
    "generated/tutorials/*.ipynb",
    "generated/tutorials/sg_execution_times*",
    "sg_execution_times*",
]
templates_path = ["templates"]
default_role = "py:obj"
highlight_language = "none"
smartquotes = False
toc_object_entries_show_parents = "hide"

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
python_maximum_signature_line_length = 88

copybutton_exclude = ".linenos, .gp, .go"

warnings.filterwarnings("ignore", message=".*FigureCanvasAgg is non-interactive.*")
sphinx_gallery_conf = {
    "examples_dirs": ["tutorials"],
    "gallery_dirs": ["generated/tutorials"],
    "filename_pattern": r"/\d\d_",
    "within_subsection_order": "FileNameSortKey",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("isthmus",),
    "reference_url": {"isthmus": None},
    "abort_on_example_error": True,
    "capture_repr": ("_repr_html_", "__repr__"),
    "ignore_repr_types": "Figure",
    "image_scrapers": ("gallery_figures.scrape",),
    "download_all_examples": True,
    "matplotlib_animations": False,
    "min_reported_time": 10**6,
    "write_computation_times": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "plot_gallery": "True",
}

html_theme = "pydata_sphinx_theme"
html_title = f"isthmus {release}"
html_static_path = ["static", "pictures"]
html_css_files = ["site.css"]
# Pages without pages below them have no navigation to show.
html_sidebars = {"index": [], "concepts": [], "comparison": []}
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {
    "logo": {"text": "isthmus"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc", "sg_download_links"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "back_to_top_button": True,
}
