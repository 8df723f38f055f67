"""How Sphinx builds the site; `make docs` calls it. Nothing is fetched while it builds."""

import re
import sys
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from docs.generate import write_pages  # noqa: E402 (found by the line above)

project, author, copyright = "selfwise", "The selfwise authors", "The selfwise authors"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "generate"]
html_theme, html_title = "furo", "selfwise"
html_static_path, html_css_files = ["_static"], ["site.css"]
html_show_sphinx, html_copy_source = False, False
html_theme_options = {"navigation_with_keys": True}
pygments_style, pygments_dark_style = "friendly", "github-dark"

myst_heading_anchors = 4
myst_url_schemes = ["http", "https", "mailto"]
suppress_warnings = ["myst.header"]  # generated tables may begin below a heading of level 2
default_role = "code"  # docstrings put names in single backticks, as Markdown does

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_inherit_docstrings = False  # what a method inherits is on the page of contracts
python_maximum_signature_line_length = 80
napoleon_numpy_docstring = False
napoleon_use_ivar = True
nitpicky = True
# classes of other libraries, whose documents are on the network
nitpick_ignore_regex = [
    ("py:.*", r"(?!selfwise\.).*"),
    ("py:class", r".*\.(\w+T|\w+_contra|Config)"),  # type variables, and the base of all configs
    (
        "py:class",
        r"selfwise\.(nn|training|distributed|glue|profiling|runs)\..*",
    ),  # parts of results
]

# notebooks are run once, and again when they have changed
nb_execution_mode = "cache"
nb_execution_cache_path = str(Path(__file__).parent / "_build" / "notebooks")
nb_execution_timeout = 900
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_output_stderr = "remove"  # warnings of libraries about the kernel

# pages at the top of the repository, and the folder of examples: their pages of the site
OUTSIDE = {
    "../CONTRIBUTING.md": "_generated/contributing.md",
    "../CHANGELOG.md": "_generated/changelog.md",
    "../examples)": "_generated/examples.md)",
}


def point_inside(app: Sphinx, name: str, source: list[str]) -> None:
    """Let links to what is outside of this folder lead to pages of the site."""
    up = "../" * name.count("/")
    for outside, page in OUTSIDE.items():
        source[0] = source[0].replace(f"]({up}{outside}", f"]({up}{page}")


def escape_docstring(app: Sphinx, what: str, name: str, thing: object, *rest: object) -> None:
    """Let stars and bars of a docstring mean themselves: they are products and norms."""
    lines = rest[-1]
    assert isinstance(lines, list)
    for i, line in enumerate(lines):
        parts = re.split(r"(`[^`]*`)", line)
        lines[i] = "".join(p if p[:1] == "`" else re.sub(r"([*|])", r"\\\1", p) for p in parts)


def shorten_signature(
    app: Sphinx,
    what: str,
    name: str,
    thing: object,
    options: object,
    args: str | None,
    returns: str,
) -> tuple[str, str] | None:
    """Types without their ranges, which are in the tables of options."""
    return (re.sub(r"Annotated\[(\w+), .*?\)\]", r"\1", args), returns) if args else None


def setup(app: Sphinx) -> None:
    """Make the generated pages before each build."""
    write_pages()
    app.connect("source-read", point_inside)
    app.connect("autodoc-process-docstring", escape_docstring, priority=100)  # before napoleon
    app.connect("autodoc-process-signature", shorten_signature)
    app.add_lexer("csv", TextLexer)
