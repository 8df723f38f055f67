"""Pages of files outside of docs/: contributing, changelog, example scripts."""

import re
from pathlib import Path

from docs.generate.markdown import fence

ROOT = Path(__file__).parents[2]
PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
EXAMPLES = """\
# Example scripts

Each script shows a method with the training loop in sight, in about 50 lines, without a run folder.
They are in the folder `examples` of the repository.

"""


def make_outside_pages() -> dict[str, str]:
    """Write the text of these pages, with links to pages of the site."""
    pages = {page: _point_inside((ROOT / file).read_text()) for file, page in PAGES.items()}
    scripts = sorted((ROOT / "examples").glob("*.py"))
    parts = [f"## {path.name}\n\n{fence(path.read_text(), 'python')}" for path in scripts]
    return pages | {"examples.md": EXAMPLES + "\n".join(parts)}


def _point_inside(text: str) -> str:
    """Change links from the top of the repository to links from docs/_generated."""
    for file, page in PAGES.items():
        text = text.replace(f"]({file}", f"]({page}")
    return re.sub(r"\]\(docs/", "](../", text)
