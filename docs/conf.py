"""The documentation's site.  `scripts/docs.sh` builds it.

Sources are the repository's own pages where they lie, so a link between two of them works there as on the site.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "docs" / "site")]

from docstrings import as_restructured_text  # noqa: E402
from generated import fill  # noqa: E402
from notebooks import as_markdown  # noqa: E402

import deshpc  # noqa: E402

project = "deshpc"
version = release = deshpc.__version__
copyright = "the authors of deshpc, Apache-2.0"
language = "en"

root_doc = "docs/index"
include_patterns = ["*.md", "docs/*.md", "examples/**.md", "examples/**.ipynb", "kernels/*.md"]
exclude_patterns = [".*", "build", "dist", "runs", "src", "tests", "scripts", "slurm", "**/.ipynb_checkpoints", "examples/*/data"]
source_suffix = {".md": "markdown", ".ipynb": "markdown"}

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
highlight_language = "text"
copybutton_exclude = ".linenos, .gp, .go"

autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
default_role = "code"
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!deshpc\.).*"),  # of other packages
    ("py:class", r"deshpc\.config\.schema\..*"),  # sections of a configuration: docs/options.md has them
]
autodoc_typehints_format = "short"
toc_object_entries = False

html_theme = "furo"
html_title = f"deshpc {release}"
html_extra_path = ["site/index.html"]
html_show_sphinx = False
html_copy_source = False
html_last_updated_fmt = None  # the same sources give the same bytes


def setup(app):
    app.connect("autodoc-process-docstring", as_restructured_text)
    app.connect("source-read", as_markdown)
    app.connect("source-read", fill)
