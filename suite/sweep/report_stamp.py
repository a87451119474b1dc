"""What the report of a sweep was made from and where it was published: neither is done again while that holds.

It lies in ``RESULTS/sweeps/LABEL.made.json``, a cache, which may be deleted at any time.
"""

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote

from pydantic import BaseModel, ValidationError

from suite.config.sweep_file import Sweep
from suite.records import METRICS, RESULT, source_code, write_text_atomic
from suite.records.ledger import Ledger
from suite.sweep.plan import Plan

_PACKAGES = ("numpy", "pandas", "scipy", "matplotlib", "tabulate")
_SQLITE = "sqlite:///"
State = tuple[int, ...]  # of a file: another one after any change, even a replacement of equal size and date


class _Stamp(BaseModel):
    """What the file holds."""

    made_from: str = ""
    files: dict[str, State] = {}
    store: str = ""
    experiment: str = ""


class ReportStamp:
    """Tells whether the report of a sweep is up to date, and published.

    Args:
        sweep: whose report.
        ledger: where its records are.
        plan: the states of its trials. What changes later makes the report stale.
        database: of the store that is used unless another is named.
    """

    def __init__(self, sweep: Sweep, ledger: Ledger, plan: Plan, database: Path) -> None:
        self._path = ledger.root / "sweeps" / f"{sweep.label}.made.json"
        self._database = database
        self._made_from = _made_from(sweep, ledger, plan)
        self._stamp = _read(self._path)

    @property
    def files(self) -> list[Path]:
        """The files of the report; none where any of them is missing or changed, or it was made from anything else."""
        found = {Path(name): state for name, state in self._stamp.files.items()}
        holds = self._stamp.made_from == self._made_from and all(_state(path) == kept for path, kept in found.items())
        return list(found) if holds else []

    def made(self, files: Iterable[Path]) -> None:
        """Keep what the report was made from, as it was when this object was created."""
        states = {str(path.absolute()): _state(path) for path in files}
        self._keep(_Stamp(made_from=self._made_from, files=states))

    def experiment(self, uri: str | None) -> str | None:
        """The experiment where the trials and the report are published; None where they are not."""
        holds = self._stamp.store == self._store(uri) and self.files
        return self._stamp.experiment if holds else None

    def published(self, uri: str | None, experiment: str) -> None:
        """Note that the trials and the report were published."""
        self._keep(self._stamp.model_copy(update={"store": self._store(uri), "experiment": experiment}))

    def _store(self, uri: str | None) -> str:
        """Names a store, without the password that a URI may hold; another file of SQLite is another store."""
        local = self._database if uri is None else _file_of(uri) if uri.startswith(_SQLITE) else None
        return _hash([uri, local and _state(local)[:1]])

    def _keep(self, stamp: _Stamp) -> None:
        self._stamp = stamp
        with contextlib.suppress(OSError):  # a full disk costs time, no more
            write_text_atomic(self._path, stamp.model_dump_json())


def _file_of(uri: str) -> Path:
    return Path(unquote(uri.removeprefix(_SQLITE).partition("?")[0]))


def _made_from(sweep: Sweep, ledger: Ledger, plan: Plan) -> str:
    records = {
        trial_id: [each.state, *(_state(ledger.folder(trial_id) / name) for name in (RESULT, METRICS) if each.summary)]
        for trial_id, each in plan.found.items()
    }
    about = [sweep.name, sweep.label, sweep.description, sweep.settings, sweep.text]
    return _hash([about, records, source_code.whole_id(), platform.python_version(), *map(_version, _PACKAGES)])


def _hash(described: object) -> str:
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:32]


def _version(package: str) -> str | None:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def _state(path: Path) -> State:
    with contextlib.suppress(OSError):
        found = os.stat(path)
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    return ()


def _read(path: Path) -> _Stamp:
    with contextlib.suppress(OSError, ValidationError, UnicodeDecodeError):
        return _Stamp.model_validate_json(path.read_bytes())
    return _Stamp()
