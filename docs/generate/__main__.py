"""`python -m docs.generate`: write the generated pages, as a build of the site does."""

from docs.generate import FOLDER, write_pages

print(f"wrote {len(write_pages())} pages to {FOLDER}")
