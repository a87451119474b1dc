"""The documentation as a site: every link and anchor leads somewhere, and a browser asks no other host for anything."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import suite

LOADED = re.compile(
    r"""<(?:script|img|iframe|link|source)\b[^>]*?(?:src|href)=["'](?:https?:)?//[^"']*"""
    r"""|url\(["']?(?:https?:)?//[^)]*|@import[^;]*"""
)

pytestmark = pytest.mark.slow


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = build(Path(__file__).parents[1], folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_each_page_is_in_the_site(site: Path, repository: Path) -> None:
    pages = {page.relative_to(repository / "docs").with_suffix(".html") for page in (repository / "docs").rglob("*.md")}
    assert len(pages) > 20
    assert {page for page in pages if not (site / page).exists()} == set()


def test_docstrings_are_in_the_site(site: Path) -> None:
    text = (site / "reference/docstrings.html").read_text(encoding="utf-8")
    assert {name for name in suite.__all__ if f'.{name}" class="doc doc-heading">' not in text} == set()
    assert "rerandomize_every" in text


def test_a_browser_asks_no_other_host(site: Path) -> None:
    """The theme would load fonts, and Mermaid for diagrams, from elsewhere."""
    pages = [path for path in site.rglob("*") if path.suffix in (".html", ".css")]
    found = {(path.name, text) for path in pages for text in LOADED.findall(path.read_text(encoding="utf-8"))}
    assert found == set()
    assert not any('class="mermaid"' in path.read_text(encoding="utf-8") for path in site.rglob("*.html"))


def test_a_link_to_nothing_fails(tmp_path: Path, repository: Path) -> None:
    """One to a file outside docs/ too: pages name such files, as they are not in the site."""
    links = ("nowhere.md", "reference/commands.md#no-such-command", "../CONTRIBUTING.md")
    root = tmp_path / "repository"
    for name in ("docs", "suite"):
        shutil.copytree(repository / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "*.gz"))
    shutil.copy(repository / "mkdocs.yml", root)
    with (root / "docs/index.md").open("a", encoding="utf-8") as page:
        page.write("".join(f"\n[x]({link})\n" for link in links))
    done = build(root, tmp_path / "site")
    assert done.returncode == 1
    warned = "".join(line for line in done.stderr.splitlines() if line.startswith("WARNING"))
    assert [link for link in links if f"'{link}'" not in warned] == []
