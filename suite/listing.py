"""What can be named in sweep files and on command lines, a line each: ``python -m suite list``."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path

from suite import console
from suite.config.plugins import Kind
from suite.config.registry import REGISTRY
from suite.config.shipped import PROFILES, SWEEPS, Shipped
from suite.config.yaml_text import parse

Lines = dict[str, str]  # names, and what they are; of commands the names alone, for a shell that completes them


def _classes(kind: Kind) -> Lines:
    """The settings classes of a kind; of a plugin also where it comes from."""
    found = REGISTRY.entries(kind)
    texts = {name: _first_sentence(inspect.getdoc(entry.settings) or "") for name, entry in found.items()}
    return {name: f"{text} [{found[name].origin}]" if found[name].is_plugin else text for name, text in texts.items()}


def _files(kind: Shipped, summary: Callable[[Path], str]) -> Lines:
    return {name: summary(path) for name, path in kind.files.items()}


def _described(path: Path) -> str:
    return _first_sentence(parse(path.read_text(encoding="utf-8"), str(path)).get("description", ""))


def _commented(path: Path) -> str:
    """The comment that a profile begins with, up to its first stop or colon."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))
    return re.split(r"[.:](?:\s|$)", comment)[0]


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.?])(?<!et al\.)\s", " ".join(text.split()).replace("``", "`"))[0]


KINDS: dict[str, Callable[[], Lines]] = {
    "commands": lambda: dict.fromkeys([*console.modules(), *console.OWN], ""),
    "methods": lambda: _classes("method"),
    "models": lambda: _classes("model"),
    "datasets": lambda: _classes("dataset"),
    "sweeps": lambda: _files(SWEEPS, _described),
    "profiles": lambda: _files(PROFILES, _commented),
}
