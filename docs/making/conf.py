"""Sphinx's settings for `make docs`: which files are pages, what is read from the code, and how it looks."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # notebooks run `hotlap`
os.environ.setdefault("HOTLAP_CACHE", str(HERE.parents[1] / "build" / "docs-cache"))

import api  # noqa: E402
import files  # noqa: E402

import hotlap  # noqa: E402
import pages  # noqa: E402

project = "hotlap"
release = hotlap.__version__
root_doc = "docs/index"  # the source folder is the repository's, so that a page's links hold in both
include_patterns = ["*.md", "docs/**", "records/README.md", "records/*/README.md", "benchmarks/*/README.md"]
exclude_patterns = ["docs/making", ".*", "build", "dist", "runs", "src", "tests", "**/.*"]

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.linkcode"]
myst_heading_anchors = 4
suppress_warnings = [
    "toc.not_included",  # records and files of code are pages that others link to
    "misc.highlighting_failure",  # `!hotlap` in a notebook is not Python
]

nb_execution_mode = "force"  # notebooks are kept without outputs
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 72
python_use_unqualified_type_names = True
add_module_names = False
napoleon_custom_sections = [("Class attributes", "params_style")]
default_role = "py:obj"  # a name in a docstring is a link if it is documented, else code
highlight_language = "none"
pygments_style, pygments_dark_style = "friendly", "github-dark"
smartquotes = False

html_theme = "furo"
html_title = f"hotlap {release}"
html_static_path = ["style.css"]
html_css_files = ["style.css"]
html_additional_pages = {"index": "forward.html"}
templates_path = ["."]
html_copy_source = False
html_show_copyright = False

linkcode_resolve = api.source


def setup(app):
    app.connect("builder-inited", lambda app: pages.write(Path(app.srcdir)))
    app.connect("source-read", files.point)
    app.connect("autodoc-process-docstring", api.quote)
    app.connect("autodoc-process-signature", api.shorten)
    app.connect("doctree-read", api.colons)
