"""Pages of the site that are generated from the code: commands, methods and the API reference.

`python -m docs.generate` writes them to docs/_generated, which git ignores; docs/conf.py does so
before each build.
"""

from pathlib import Path

from docs.generate.api import make_api_pages
from docs.generate.commands import make_command_pages
from docs.generate.defaults import make_defaults_page
from docs.generate.methods import make_method_pages
from docs.generate.outside import make_outside_pages

FOLDER = Path(__file__).parents[1] / "_generated"


def make_pages() -> dict[str, str]:
    """Return the MyST text of each generated page, by its path below the folder."""
    pages = make_command_pages() | make_method_pages() | make_defaults_page()
    return pages | make_api_pages() | make_outside_pages()


def write_pages(folder: Path = FOLDER) -> list[Path]:
    """Write all pages with changed text, and remove files of earlier pages."""
    pages = {folder / name: text for name, text in make_pages().items()}
    for path, text in pages.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for path in folder.rglob("*.md"):
        if path not in pages:
            path.unlink()
    return list(pages)
