"""The ``data_id`` of data sets as they are here now, to compare results with.

ImageNet's comes from its manifest; other data sets are read once. The ids are cached beside the results, by the state
of their files and the source of the suite. The cache may be deleted at any time.
"""

import hashlib
import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from suite.config import REGISTRY, Dataset, ImageNetSettings, InputError, identity
from suite.data import resolve_data_dir
from suite.records import json_cache, plugin_source, source_code

CACHE = "data_ids.json"  # in the results folder


class KnownIds:
    """The ``data_id`` of each data set, by its settings; None where it cannot be found here.

    Args:
        data_dir: where data sets lie, as for ``suite.data.load``.
        cache: the file that keeps what was found; None: nothing is kept.

    Attributes:
        problems: by name, why a data set cannot be read here.
    """

    def __init__(self, data_dir: Path | None, cache: Path | None = None) -> None:
        self._folder, self._cache = resolve_data_dir(data_dir), cache
        self._known: dict[str, str] | None = None
        self.problems: dict[str, str] = {}

    def __call__(self, settings: Dataset) -> str | None:
        """What ``load(settings).data_id`` would be now."""
        if isinstance(settings, ImageNetSettings) and settings.loader == "synthetic":
            return None  # no data, nothing to compare
        try:
            found = self._find(settings)
        except (InputError, OSError) as error:
            self.problems[settings.name] = str(error)
            return None
        self.problems.pop(settings.name, None)
        return found

    def _find(self, settings: Dataset) -> str:
        described, find = _source(settings, self._folder)
        key = _key(*described)
        if self._known is None:
            self._known = json_cache.read(self._cache)
        if key not in self._known:
            self._known[key] = find()
            json_cache.write(self._cache, self._known)
        return self._known[key]


def _source(settings: Dataset, folder: Path) -> tuple[list[object], Callable[[], str]]:
    """What a data_id depends on, with the state of each file, and how it is found."""
    if isinstance(settings, ImageNetSettings):
        from suite.data.imagenet import tree

        file = tree.list_of(settings, folder)
        return [settings.storage, settings.val_share, _state(file)], lambda: tree.read_data_id(settings, folder)

    from suite.data import plugin_reader, sources

    reader = plugin_reader.reader_of(settings)

    def find() -> str:
        source = sources.read(settings.name, folder) if reader is None else plugin_reader.read(settings, reader, folder)
        num = settings.train_images
        return sources.data_id(source if num is None else sources.subsample_train(source, num))

    # The files of CIFAR, and digits, cannot be others: their checksums are in the code that reads them.
    if reader is not None:
        entry = REGISTRY.find("dataset", settings.name)
        known = [identity(settings), str(entry.origin.package)]
        known += [plugin_source.source_id(entry)] if entry.is_plugin else []
        return [*known, *map(_state, plugin_reader.files_of(settings, reader, folder))], find
    states = [_state(file) for file in sources.unchecked_files(settings.name, folder)]
    return [settings.name, settings.train_images, metadata.version("scikit-learn"), *states], find


def _key(*described: object) -> str:
    text = json.dumps([source_code.source_id(), *described])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _state(file: Path) -> tuple[str, ...]:
    """A file's name and state; its name alone where there is none."""
    try:
        return str(file), *map(str, json_cache.file_state(file))
    except OSError:
        return (str(file),)
