"""The site as it is built: without a warning, and without anything from the network."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["'](https?:[^"']+|//[^"']+)"""
    r"""|<link\b[^>]*\bhref=["'](https?:[^"']+|//[^"']+)"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("myst_nb")
    pytest.importorskip("furo")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going"]
    command += ["-D", "nb_execution_mode=off", str(ROOT / "docs"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
def test_nothing_of_a_page_is_on_the_network(site):
    for page in site.rglob("*.html"):
        found = LOADED.findall(page.read_text(encoding="utf-8"))
        assert not found, f"{page.relative_to(site)}: {found}"
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"url\(['\"]?(https?:|//)|@import ['\"]https?:", text), sheet.name


@pytest.mark.slow
def test_search_knows_commands_and_methods(site):
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert all(f"_generated/methods/{name}" in index for name in ("simclr", "bert", "hubert"))
    assert (site / "search.html").exists()
