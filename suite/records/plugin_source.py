"""The source of plugins: its identity, which of them a trial uses, and what a frozen copy of the code needs of them."""

import hashlib
import importlib.util
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from suite.config import REGISTRY, Trial
from suite.config.essential_source import essential
from suite.config.plugins import KINDS, Entry
from suite.records import frozen_code

_COMPILED = {".so", ".pyd", ".dylib"}  # cannot be imported from an archive
_OF_METADATA = ("METADATA", "entry_points.txt")


class PluginUse(BaseModel):
    """A plugin that a trial used, as records have it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: str
    name: str
    package: str  # or the name of the file
    version: str
    source_id: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name} of {self.package} {self.version}"


def used_by(trial: Trial) -> list[PluginUse]:
    """The plugins that a trial uses, as they are here now."""
    return [
        PluginUse(
            kind=entry.kind,
            name=entry.name,
            package=entry.origin.package,
            version=entry.origin.version,
            source_id=source_id(entry),
        )
        for entry in trial.plugins
    ]


@cache
def source_id(entry: Entry) -> str:
    """Identity of a plugin's source, without comments: of its file, or of the modules of its package; 16 hex digits."""
    if entry.origin.file:
        return entry.origin.version
    if (frozen := frozen_code.plugin_ids().get(entry.origin.package)) is not None:
        return frozen
    digest = hashlib.sha256()
    for name, file in sorted(_files(entry).items()):
        if file.suffix == ".py":
            digest.update(f"{name}\0".encode() + essential(file.read_bytes()) + b"\0")
    return digest.hexdigest()[:16]


def frozen_files() -> Iterator[tuple[str, bytes]]:
    """The files of installed plugins, by their names in an archive; packages with compiled code stay where they are."""
    for package, entries in _packages().items():
        files = {name: file for entry in entries for name, file in _files(entry).items()}
        if any(file.suffix in _COMPILED for file in files.values()):
            continue
        yield from ((name, file.read_bytes()) for name, file in sorted(files.items()))
        found = metadata.distribution(package)
        folder = f"{package.replace('-', '_')}-{found.version}.dist-info"
        yield from ((f"{folder}/{name}", (found.read_text(name) or "").encode()) for name in _OF_METADATA)


def frozen_ids() -> dict[str, str]:
    """``source_id`` of installed plugins, by package."""
    return {package: source_id(entries[0]) for package, entries in _packages().items()}


def _packages() -> dict[str, list[Entry]]:
    """The installed plugins, by package."""
    found: dict[str, list[Entry]] = {}
    for entry in (entry for kind in KINDS for entry in REGISTRY.entries(kind).values()):
        if entry.is_plugin and not entry.origin.file:
            found.setdefault(entry.origin.package, []).append(entry)
    return found


def _files(entry: Entry) -> dict[str, Path]:
    """The files of the top-level packages that a plugin's settings and implementation are in, by names below them."""
    target = entry.settings.IMPLEMENTATION
    modules = [entry.settings.__module__, *([target] if isinstance(target, str) else [])]
    found: dict[str, Path] = {}
    for top in {module.partition(":")[0].partition(".")[0] for module in modules}:
        spec = importlib.util.find_spec(top)
        for place in spec.submodule_search_locations or () if spec else ():
            inside = (file for file in Path(place).rglob("*") if file.is_file() and "__pycache__" not in file.parts)
            found |= {f"{top}/{file.relative_to(place).as_posix()}": file for file in inside}
        if spec and spec.origin and not spec.submodule_search_locations:
            found[Path(spec.origin).name] = Path(spec.origin)
    return found
