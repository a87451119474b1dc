"""Code blocks of the README and of docs/: commands, files, and changes of the code that an example asks for."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SHELL = ("", "bash", "sh", "shell", "console")  # languages of blocks that hold commands
_BLOCK = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_NAMED_FILE = re.compile(r"`([\w/]+\.py)`")


class Block(NamedTuple):
    """A code block: its language, its text, and the last file of the code that is named before it."""

    language: str
    text: str
    file: str | None


def documents() -> list[Path]:
    """Every page that people read for how to do something, without generated ones."""
    names = ["README.md", "CONTRIBUTING.md", "AGENTS.md", "SECURITY.md", "slurm/README.md", "sweeps/README.md"]
    return [ROOT / name for name in names] + sorted((ROOT / "docs").rglob("*.md"))


def blocks(file: Path | str, heading: str = "") -> Iterator[Block]:
    """The code blocks of a page, or of its section under one heading."""
    text = (ROOT / file).read_text(encoding="utf-8")
    if heading:
        (text,) = re.findall(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
    for found in _BLOCK.finditer(text):
        indent, language, content = found.groups()
        named = _NAMED_FILE.findall(text[: found.start()])
        yield Block(language, re.sub(rf"^{indent}", "", content, flags=re.MULTILINE), named[-1] if named else None)


def commands(file: Path) -> Iterator[str]:
    """The commands of a page, one by one, without comments."""
    for block in blocks(file):
        if block.language in SHELL:
            for line in block.text.replace("\\\n", " ").splitlines():
                for command in re.split(r"\s&&\s", _without_comment(line)):
                    if command.strip():
                        yield " ".join(command.split())


def _without_comment(line: str) -> str:
    return re.sub(r"(^|\s)#.*", "", line)


def words(command: str) -> list[str]:
    """The arguments of a command."""
    return shlex.split(command)


def copy_with_example(folder: Path, page: str, heading: str = "") -> Path:
    """A copy of the code in ``folder``, changed as the ``python`` and ``diff`` blocks of a page say.

    Raises:
        AssertionError: the text that a ``diff`` replaces is not in exactly one file, exactly once.
    """
    for name in ("suite", "analysis", "sweeps", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc.*"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for block in blocks(page, heading):
        if block.language == "python":
            _write_python(folder, block)
        elif block.language == "diff":
            for hunk in re.split(r"\n\n", block.text.rstrip("\n")):
                _apply(folder, hunk)
    return folder


def _write_python(folder: Path, block: Block) -> None:
    assert block.file, "no file is named before the block"
    file = folder / block.file
    before = file.read_text(encoding="utf-8") + "\n\n" if file.exists() else ""
    file.write_text(before + block.text, encoding="utf-8")


def _apply(folder: Path, hunk: str) -> None:
    lines = hunk.splitlines()
    old = "".join(f"{line[1:]}\n" for line in lines if line[:1] in "- ")
    new = "".join(f"{line[1:]}\n" for line in lines if line[:1] in "+ ")
    code = [file for room in ("suite", "analysis") for file in (folder / room).rglob("*.py")]
    found = [file for file in code if old in file.read_text(encoding="utf-8")]
    assert len(found) == 1, f"{old!r} is in {len(found)} files, must be in one"
    text = found[0].read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {found[0]}"
    found[0].write_text(text.replace(old, new), encoding="utf-8")
