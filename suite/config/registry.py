"""The methods, networks and data sets that blocks can name: those of the suite, and plugins. Loads no torch.

Those of the suite are the classes in ``_OWN``; ``plugins`` says where others come from. They are looked for when a name
is first asked for, so that a command can say what is wrong with them.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar, Union

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema

from suite.config import plugins
from suite.config.dataset_settings import (
    ArrayFileSettings,
    ArraySettings,
    CifarSettings,
    DigitsSettings,
    FolderSettings,
    GreyImageSettings,
    ImageNetSettings,
)
from suite.config.errors import InputError
from suite.config.method_settings import (
    BiPropSettings,
    EdgePopupSettings,
    FrozenSettings,
    ImpSettings,
    IteRandSettings,
    MagnitudeSettings,
    MethodSettings,
    RandomMaskSettings,
    RecycleSettings,
    WeightsSettings,
)
from suite.config.model_settings import ConvSettings, ModelSettings, ResNetSettings, TimmSettings, VitSettings
from suite.config.plugins import KINDS, Entry, Kind
from suite.config.settings import NamedSettings, named, names_of

S = TypeVar("S", bound=NamedSettings)
_OWN: dict[Kind, Sequence[type[NamedSettings]]] = {
    "dataset": (DigitsSettings, GreyImageSettings, CifarSettings, ArrayFileSettings, FolderSettings, ImageNetSettings),
    "model": (ConvSettings, ResNetSettings, VitSettings, TimmSettings),
    "method": (
        WeightsSettings,
        EdgePopupSettings,
        IteRandSettings,
        RecycleSettings,
        BiPropSettings,
        FrozenSettings,
        RandomMaskSettings,
        MagnitudeSettings,
        ImpSettings,
    ),
}


class Registry:
    """The entries of each kind, by name.

    Args:
        own: the settings classes of the suite.
    """

    def __init__(self, own: Mapping[Kind, Sequence[type[NamedSettings]]]) -> None:
        self._own = [Entry(kind, name, cls) for kind in KINDS for cls in own[kind] for name in names_of(cls)]
        self._found: dict[Kind, dict[str, Entry]] = {}
        self._problems: dict[tuple[str, str], str] = {}

    def entries(self, kind: Kind) -> Mapping[str, Entry]:
        """What there is of a kind, the suite's own first.

        Raises:
            InputError: a file of ``--plugin`` cannot be loaded, or has a name that is taken.
        """
        if not self._found:
            self._found, self._problems = self._look()
        return self._found[kind]

    def find(self, kind: Kind, name: str) -> Entry:
        """The entry of a name.

        Raises:
            InputError: there is none.
        """
        if (entry := self.entries(kind).get(name)) is not None:
            return entry
        why = self.problem(kind, name) or f"must be one of {', '.join(self.entries(kind))}"
        raise InputError(f"{kind}: {name!r}: {why}")

    def problem(self, kind: str, name: object) -> str | None:
        """Why an installed plugin of this name cannot be used; None where there is no such plugin."""
        return self.problems.get((kind, str(name)))

    @property
    def problems(self) -> Mapping[tuple[str, str], str]:
        """Why installed plugins cannot be used, by kind and name."""
        self.entries("method")
        return self._problems

    def edited_files(self) -> list[Path]:
        """The files of ``--plugin`` that have other source now than when they were loaded, or are gone."""
        known = {entry.origin.file: entry.origin.version for each in self._found.values() for entry in each.values()}
        return [file for file, version in known.items() if file and not _has_version(file, version)]

    def look_again(self) -> None:
        """Look for plugins now; where that fails, what there was stays.

        Raises:
            InputError: as ``entries``.
        """
        self._found, self._problems = self._look()

    def forget(self) -> None:
        """Look for plugins again when a name is next asked for."""
        self._found, self._problems = {}, {}

    def _look(self) -> tuple[dict[Kind, dict[str, Entry]], dict[tuple[str, str], str]]:
        """All entries; of two with one name neither, nor one that cannot be loaded: it is a problem of who uses it."""
        problems: dict[tuple[str, str], str] = {}
        given = list(self._own)
        for kind, point, origin in plugins.installed():
            try:
                given += plugins.entries_of(kind, point, origin)
            except InputError as error:
                problems[kind, point.name] = str(error)
        of_files = [entry for path in plugins.files_of_environment() for entry in plugins.entries_of_file(path)]
        found: dict[Kind, dict[str, Entry]] = {kind: {} for kind in KINDS}
        for entry in [*given, *of_files]:
            other = found[entry.kind].setdefault(entry.name, entry)
            if other.settings is not entry.settings:
                problems[entry.kind, entry.name] = (
                    f"two have this name, {_place(other)} and {_place(entry)}: rename one, or uninstall its package"
                )
        if taken := [problems[e.kind, e.name] for e in of_files if (e.kind, e.name) in problems]:
            raise InputError(*(f"--plugin: {problem}" for problem in dict.fromkeys(taken)))
        for kind in KINDS:
            found[kind] = {name: entry for name, entry in found[kind].items() if (kind, name) not in problems}
        return found, problems


def _has_version(file: Path, version: str) -> bool:
    try:
        return plugins.version_of_file(file.read_bytes()) == version
    except (OSError, SyntaxError, ValueError):
        return False


def _place(entry: Entry) -> str:
    return f"{entry.origin}" if entry.is_plugin else "the suite itself"


REGISTRY = Registry(_OWN)


class ByName(Mapping[str, type[S]], Generic[S]):
    """The settings classes of a kind, by each name they answer to, plugins included."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind

    def __getitem__(self, name: str) -> type[S]:
        return REGISTRY.entries(self._kind)[name].settings  # type: ignore[return-value] # plugins checks its base

    def __iter__(self) -> Iterator[str]:
        return iter(REGISTRY.entries(self._kind))

    def __len__(self) -> int:
        return len(REGISTRY.entries(self._kind))


class _AnyOf:
    """In an annotation: the settings classes of a kind, told apart by ``name``, as they are when the model is built."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        classes = tuple(dict.fromkeys(entry.settings for entry in REGISTRY.entries(self._kind).values()))
        return handler.generate_schema(Annotated[Union[classes], Field(discriminator="name")])  # noqa: UP007


DATASETS: ByName[NamedSettings] = ByName("dataset")
MODELS: ByName[ModelSettings] = ByName("model")
METHODS: ByName[MethodSettings] = ByName("method")
DatasetBlock = Annotated[ArraySettings | ImageNetSettings, _AnyOf("dataset")]
Dataset = Annotated[DatasetBlock, BeforeValidator(named)]  # `dataset: digits` is `dataset: {name: digits}`
Model = Annotated[ModelSettings, _AnyOf("model")]
Method = Annotated[MethodSettings, _AnyOf("method")]


def check_there(used: Iterable[Mapping[str, Any]], where: str) -> None:
    """Check that the plugins which a record, a plan or a network names are here.

    Args:
        used: the plugins, each with ``kind``, ``name``, ``package`` and ``version``.
        where: the file that names them.

    Raises:
        InputError: one is not; it names the package.
    """
    missing = []
    for each in used:
        kind, name, package = each.get("kind"), each.get("name"), str(each.get("package"))
        if kind in KINDS and name not in REGISTRY.entries(kind):
            cure = f"--plugin {package}" if package.endswith(".py") else f"pip install {package}"
            why = REGISTRY.problem(kind, name) or f"is missing here: {cure}"
            missing.append(f"{where}: {kind} {name} of {package} {each.get('version')}: {why}")
    if missing:
        raise InputError(*missing)


def set_files(files: Sequence[Path]) -> bool:
    """Use these files of ``--plugin``, here and in the processes that this one starts; False where it does already.

    Raises:
        InputError: one cannot be loaded, or has a name that is taken; those of before stay in use.
    """
    before = os.environ.get(plugins.FILES, "")
    wanted = os.pathsep.join(dict.fromkeys(os.path.abspath(file) for file in files))
    if wanted == before and not REGISTRY.edited_files():
        return False
    _set_environment(wanted)
    try:
        REGISTRY.look_again()
    except InputError:
        _set_environment(before)
        raise
    return True


def _set_environment(files: str) -> None:
    if files:
        os.environ[plugins.FILES] = files
    else:
        os.environ.pop(plugins.FILES, None)
