"""The code of the suite itself: its identity, its commit, and a frozen copy of it for jobs that wait in a queue."""

import hashlib
import json
import os
import subprocess
import zipfile
from functools import cache
from io import BytesIO
from pathlib import Path

from suite import environment
from suite.config import InputError, Trial, plugins
from suite.records import plugin_source
from suite.records.atomic import write_bytes_atomic
from suite.records.code_id import code_id_of, source_id_of
from suite.records.frozen_code import NOTE, frozen_archive, note

_SUITE = Path(__file__).parents[1]
_PACKAGES = ("suite", "analysis")
_KNOWN = "SUITE_CODE_ID"  # environment: a source_id, and the code_id of that source
_ONE_TIME = (1980, 1, 1, 0, 0, 0)  # of all files: equal code makes equal archives


@cache
def code_id() -> str:
    """Identity of the code that can change numbers: 16 hex digits, see ``suite.records.code_id``."""
    if (archive := frozen_archive()) is not None:
        return str(note(archive)["code_id"])
    source, _, known = os.environ.get(_KNOWN, "").partition(" ")
    return known if source == source_id() else code_id_of(_SUITE)


def code_id_of_trial(trial: Trial) -> str:
    """``code_id``; for a trial that uses plugins with ``+`` and 16 hex digits of their source."""
    used = [[each.kind, each.name, each.source_id] for each in plugin_source.used_by(trial)]
    if not used:
        return code_id()
    return f"{code_id()}+{hashlib.sha256(json.dumps(sorted(used)).encode()).hexdigest()[:16]}"


@cache
def source_id() -> str:
    """Identity of the source that ``code_id`` is made from: other source, another id. Costs a few ms, not hundreds."""
    if frozen_archive() is not None:
        return code_id()
    return source_id_of(_SUITE)


def known_code_id() -> str:
    """What ``know_code_id`` takes: the ``code_id``, and the source that it is of."""
    return f"{source_id()} {code_id()}"


def know_code_id(known: str) -> None:
    """Take the ``code_id`` that another process worked out, here and in child processes, if it is of this source."""
    os.environ[_KNOWN] = known


@cache
def git_commit() -> str | None:
    """The commit of this checkout, with ``-dirty`` where files differ from it; None outside a checkout."""
    if (archive := frozen_archive()) is not None:
        commit = note(archive)["git_commit"]
        return None if commit is None else str(commit)
    if not (_SUITE.parent / ".git").exists():
        return None
    command = ["git", "-C", str(_SUITE.parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        given = environment.cleaned(os.environ, "git")
        return subprocess.run(command, env=given, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def freeze(folder: Path, *, write: bool = True) -> Path:
    """A copy of the running code that later edits do not touch: ``folder/HASH.zip``, to stand first in PYTHONPATH."""
    if (archive := frozen_archive()) is not None:
        return archive
    content = _zipped()
    path = folder / f"{hashlib.sha256(content).hexdigest()[:16]}.zip"
    if write and not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes_atomic(path, content)
    return path


def freeze_plugin_files(folder: Path, *, write: bool = True) -> list[Path]:
    """Copies of the files of ``--plugin`` that later edits do not touch: ``folder/HASH/NAME.py``."""
    copies = []
    for file in plugins.files_of_environment():
        content = file.read_bytes()
        copies.append(folder / hashlib.sha256(content).hexdigest()[:16] / file.name)
        if write and not copies[-1].exists():
            copies[-1].parent.mkdir(parents=True, exist_ok=True)
            write_bytes_atomic(copies[-1], content)
    return copies


def check_frozen(name: str) -> None:
    """Check that this very code is the copy that ``freeze`` made.

    Raises:
        InputError: it is not. ``name`` is that of the copy's file.
    """
    archive = frozen_archive()
    if archive is not None and f"{hashlib.sha256(archive.read_bytes()).hexdigest()[:16]}.zip" == name:
        return
    raise InputError(
        f"{archive or _SUITE.parent}: a job has found this code, not the copy {name} that was made for it: "
        "PYTHONPATH must reach its Python: see setup and environment of the profile"
    )


@cache
def whole_id() -> str:
    """Identity of all files of the suite, those that only tell of numbers included."""
    if (archive := frozen_archive()) is not None:
        return archive.name
    digest = hashlib.sha256()
    for file in _files():
        content = file.read_bytes()
        digest.update(f"{file.relative_to(_SUITE.parent).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:32]


def _files() -> list[Path]:
    files = [file for package in _PACKAGES for file in sorted((_SUITE.parent / package).rglob("*"))]
    return [file for file in files if file.is_file() and "__pycache__" not in file.parts]


def _zipped() -> bytes:
    buffer = BytesIO()
    ids = plugin_source.frozen_ids()
    noted = json.dumps({"code_id": code_id(), "git_commit": git_commit()} | ({"plugins": ids} if ids else {}))
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in _files():
            name = file.relative_to(_SUITE.parent).as_posix()
            archive.writestr(zipfile.ZipInfo(name, _ONE_TIME), file.read_bytes(), zipfile.ZIP_DEFLATED)
        for name, of_plugin in plugin_source.frozen_files():
            archive.writestr(zipfile.ZipInfo(name, _ONE_TIME), of_plugin, zipfile.ZIP_DEFLATED)
        archive.writestr(zipfile.ZipInfo(NOTE, _ONE_TIME), noted)
    return buffer.getvalue()
