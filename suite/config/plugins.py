"""Plugins: methods, networks and data sets that are not the suite's own. Loads no torch.

This module is the one place that imports code of others by its name. It takes names from two places only: the entry
points of installed packages (groups ``suite.methods``, ``suite.models``, ``suite.datasets``), and the files of
``--plugin``, which ``$SUITE_PLUGINS`` hands to the processes that a command starts. Sweep files and records are data:
they can name a plugin that is there, and load none.
"""

import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import SourceFileLoader
from importlib.metadata import EntryPoint
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Literal, get_args

from suite.config.dataset_settings import ArraySettings
from suite.config.errors import InputError
from suite.config.essential_source import essential
from suite.config.method_settings import MethodSettings
from suite.config.model_settings import ModelSettings
from suite.config.settings import NamedSettings, names_of

Kind = Literal["dataset", "model", "method"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FILES = "SUITE_PLUGINS"  # environment: the files of --plugin
GROUPS: dict[str, Kind] = {"suite.datasets": "dataset", "suite.models": "model", "suite.methods": "method"}
_BASES: dict[Kind, type[NamedSettings]] = {"dataset": ArraySettings, "model": ModelSettings, "method": MethodSettings}


@dataclass(frozen=True)
class Origin:
    """Where a plugin comes from.

    Attributes:
        package: the installed package, or the name of the file.
        version: of the package; of a file the first digits of SHA-256 over its source, without comments.
        file: the file, where it is one.
    """

    package: str
    version: str
    file: Path | None = None

    def __str__(self) -> str:
        return str(self.file) if self.file else f"package {self.package} {self.version}"

    @property
    def cure(self) -> str:
        """How to make such a plugin be there again."""
        return f"--plugin {self.package}" if self.file else f"pip install {self.package}"


SUITE = Origin("random-pruning-suite", "")


@dataclass(frozen=True)
class Entry:
    """A method, a network or a data set that blocks can name."""

    kind: Kind
    name: str
    settings: type[NamedSettings]
    origin: Origin = SUITE

    @property
    def is_plugin(self) -> bool:
        """It is not the suite's own."""
        return self.origin is not SUITE

    @property
    def identity(self) -> dict[str, Any]:
        """What a trial's id covers of a plugin, besides its name and its settings."""
        if self.origin.file:
            return {"source": self.origin.version}
        return {"package": self.origin.package, "results_version": self.settings.RESULTS_VERSION}

    def load(self) -> Any:
        """What the settings are of: the optimizer class, the builder or the reader.

        Raises:
            InputError: it cannot be loaded.
        """
        target = self.settings.IMPLEMENTATION
        if not isinstance(target, str):
            return target
        if not self.is_plugin:
            return _resolve(target)
        with _loading(f"{self.kind} {self.name}: {self.origin}: {target}"):
            return _resolve(target)


def installed() -> Iterator[tuple[Kind, EntryPoint, Origin]]:
    """The entry points of installed packages that name plugins; nothing of theirs is imported."""
    points = metadata.entry_points()
    for group, kind in GROUPS.items():
        for point in points.select(group=group):
            package, version = (point.dist.name, point.dist.version) if point.dist else ("?", "?")
            yield kind, point, Origin(package, version)


def entries_of(kind: Kind, point: EntryPoint, origin: Origin) -> list[Entry]:
    """The entries of an entry point, one for each name of its settings class.

    Raises:
        InputError: it cannot be loaded, or names something else.
    """
    said = f'{origin}: entry point {point.name} = "{point.value}"'
    with _loading(said, ": mend or uninstall the package"):
        found = _resolve(point.value)
    if not isinstance(found, type) or not issubclass(found, _BASES[kind]):
        raise InputError(f"{said}: must be a subclass of suite.config.{_BASES[kind].__name__}")
    if found.IMPLEMENTATION is None:
        raise InputError(f'{said}: has no IMPLEMENTATION, as "package.module:Name"')
    if point.name not in names_of(found):
        raise InputError(f"{said}: its field name must be a Literal that has {point.name!r}")
    return [Entry(kind, name, found, origin) for name in names_of(found)]


def entries_of_file(path: Path) -> list[Entry]:
    """The entries of a file of ``--plugin``: its settings classes that have an ``IMPLEMENTATION``.

    Raises:
        InputError: it cannot be read or run, or has none.
    """
    with _loading(f"--plugin {path}", path=path):
        source = path.read_bytes()
        module = _run(path)
    origin = Origin(path.name, version_of_file(source), path)
    found = [
        Entry(kind, name, cls, origin)
        for cls in vars(module).values()
        if isinstance(cls, type) and cls.__module__ == module.__name__ and "IMPLEMENTATION" in vars(cls)
        for kind, base in _BASES.items()
        if issubclass(cls, base)
        for name in names_of(cls)
    ]
    if not found:
        bases = ", ".join(f"suite.config.{base.__name__}" for base in _BASES.values())
        raise InputError(
            f"--plugin {path}: has no settings class with a name and an IMPLEMENTATION: a subclass of {bases}"
        )
    return found


def version_of_file(source: bytes) -> str:
    """The version of a file of ``--plugin``: 16 hex digits of its source, without comments."""
    return hashlib.sha256(essential(source)).hexdigest()[:16]


def files_of_environment() -> list[Path]:
    """The files of ``--plugin``, of this command or of the one that started this process."""
    return [Path(name) for name in os.environ.get(FILES, "").split(os.pathsep) if name]


def implementation(target: str) -> Any:
    """The object that the command line names, as ``package.module:Name``.

    Raises:
        InputError: there is none.
    """
    with _loading(target):
        return _resolve(target)


@contextmanager
def _loading(said: str, cure: str = "", path: Path | None = None) -> Iterator[None]:
    """Code of others runs: what it prints is no output of a command, and whatever it raises is an error in one line.

    Raises:
        InputError: it raised something, or ended the program; Ctrl-C passes.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except (Exception, SystemExit) as error:
        raise InputError(f"{said}: cannot be loaded: {_described(error, path)}{cure}") from error


def _resolve(target: str) -> Any:
    """The object that ``package.module:Name`` names."""
    module, _, name = target.partition(":")
    found: Any = importlib.import_module(module)
    for part in filter(None, name.split(".")):
        found = getattr(found, part)
    return found


class _Uncached(SourceFileLoader):
    """Compiles a file each time: bytecode of one second ago, for a text of this length, would count as up to date."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _run(path: Path) -> ModuleType:
    """Run a file as a module, which this process finds by its name: copies of its classes need that."""
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]  # two files in two folders may have one name
    name = f"suite_plugin_{path.stem.replace('.', '_')}_{digest}"  # a dot would be one of a package
    loader = _Uncached(name, str(path)) if path.suffix == ".py" else None
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    if spec is None or spec.loader is None:
        raise ImportError("must be a file of Python, with a name that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _described(error: BaseException, path: Path | None = None) -> str:
    """An error in one line, with the line of the file where it was raised."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if path and frame.filename == str(path)
    ]
    where = f" (line {lines[-1]})" if lines else ""
    return " ".join(f"{type(error).__name__}: {error}{where}".split())
