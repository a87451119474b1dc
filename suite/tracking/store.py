"""Which MLflow store results go to, one writer at a time, and how a person opens it."""

import fcntl
import hashlib
import os
import re
import shlex
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, unquote

from suite import scratch
from suite.config import InputError
from suite.records import atomic
from suite.tracking import view

URI_VARIABLE = "MLFLOW_TRACKING_URI"  # MLflow's own
DATABASE = "mlflow.db"
# A name of the loopback address in every browser (RFC 6761); at localhost itself MLflow opens its assistant.
PAGE_HOST = "suite.localhost"
_SQLITE = "sqlite:///"
_DRIVER = "sqlite+pysqlite"  # the same; of sqlite:/// MLflow takes the rest for a path, and makes its folder
# Where SQLite's locks cannot be relied on. Everything in user space (fuse) may be on another machine.
_NETWORK = re.compile(
    r"nfs\d?|cifs|smb\w*|virtiofs|vboxsf|dvs|lustre|gpfs|beegfs|ceph|afs|panfs|wekafs|9p|fuse\b.*|gluster.*|pvfs2"
)


def uri_of(given: str | None) -> str | None:
    """The store that a caller names, by a flag or in the environment; None where that is unset, or empty."""
    return given or os.environ.get(URI_VARIABLE, "").strip() or None


def store_uri(results: Path) -> str:
    """The store used unless another is named: a SQLite file in the results folder.

    Raises:
        InputError: as ``sqlite_uri``.
    """
    return sqlite_uri((results / DATABASE).absolute())


def sqlite_uri(file: Path) -> str:
    """The address of a SQLite file, with ``?``, ``%`` and the like quoted.

    Raises:
        InputError: its name is not UTF-8, which no address can hold.
    """
    from sqlalchemy.engine import URL, make_url

    try:
        plain = f"{_SQLITE}{file}"
        quoted = URL.create(_DRIVER, database=str(file)).render_as_string()
        for uri in (plain, quoted):
            if make_url(uri).database == str(file):
                return uri
        return f"{_DRIVER}:///file:{quote(str(file))}?uri=true"  # SQLAlchemy before 2.1 quotes no names of files
    except UnicodeEncodeError:
        shown = os.fsencode(file).decode(errors="backslashreplace")
        raise InputError(
            f"MLflow: {shown}: a name that is not UTF-8: rename the folder, or give --tracking-uri"
        ) from None


def file_of(uri: str) -> Path:
    """The file of a SQLite store."""
    from sqlalchemy.engine import make_url

    found = make_url(uri)
    name = found.database or ""
    return Path(unquote(name.removeprefix("file:")) if "uri" in found.query else name)


def without_secret(text: str) -> str:
    """A text with the user and password of any URI in it left out."""
    text = re.sub(r"//(?:[^/\s]+|[^/\s:]*:[^@\s]*)@", "//***@", text)
    return re.sub(r"([?&](?:user|password)=)[^&\s]+", r"\1***", text)


def page(experiment: str) -> str:
    """The runs of an experiment, in its saved view and as training runs: the path on a server."""
    return f"/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={view.KEY}"


def how_to_open(results: Path, uri: str | None, experiment: str) -> str:
    """What opens the page of an experiment: a command for a store, an address for a server."""
    if uri is not None and uri.startswith("http"):
        return f"{without_secret(uri)}{page(experiment)}"
    store = [] if uri is None else ["--store", without_secret(uri)]
    command = shlex.join([sys.executable, "-m", "suite.ui", "--results", str(results), *store])
    return f"{command}, then http://{PAGE_HOST}:5000{page(experiment)}"


@contextmanager
def writing(results: Path, uri: str | None) -> Iterator[str]:
    """The URI to write to, while nobody else of this machine writes there; waits for who does.

    On a network file system the SQLite file is a copy on a disk of this machine, which takes the old one's place at the
    end.
    """
    with _locked(_lock_of(results, uri)):
        if uri is not None or not is_network(file_system(results)):
            yield uri or store_uri(results)
            return
        folder = scratch.make("suite-mlflow-")
        try:
            with suppress(FileNotFoundError):
                shutil.copyfile(results / DATABASE, folder / DATABASE)
            try:
                yield store_uri(folder)
            finally:
                _copy_back(folder / DATABASE, results / DATABASE)
        finally:
            scratch.remove(folder)


def file_system(path: Path) -> str:
    """The kind of file system that a path lies on, as the kernel names it; "" where it does not say."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return ""
    mounts = {_unescaped(fields[4]): line.partition(" - ")[2].split()[0] for line in lines if (fields := line.split())}
    above = map(str, (path.resolve(), *path.resolve().parents))
    return next((mounts[folder] for folder in above if folder in mounts), "")


def _unescaped(mount: str) -> str:
    """Blanks stand as octal numbers in the kernel's table."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), mount)


def is_network(kind: str) -> bool:
    """A file system of this kind is shared with other machines."""
    return _NETWORK.fullmatch(kind) is not None


def _copy_back(source: Path, target: Path) -> None:
    """Whole or not at all."""
    if not source.exists():
        return
    temporary = source.with_name("whole.db")
    with closing(sqlite3.connect(source)) as store, closing(sqlite3.connect(temporary)) as whole:
        store.backup(whole)
    for left in target.parent.glob(f".{target.name}.*"):  # by a process that was killed: the lock is ours
        left.unlink(missing_ok=True)
    with temporary.open("rb") as content, atomic.writing(target) as file:
        shutil.copyfileobj(content, file)


def _lock_of(results: Path, uri: str | None) -> Path:
    if uri is None:
        return results / ".mlflow.lock"
    if uri.startswith(_SQLITE):
        return Path(f"{file_of(uri)}.lock")
    name = hashlib.sha256(uri.encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"suite-mlflow-{os.geteuid()}-{name}.lock"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        with suppress(OSError):  # a file system without locks: at worst a run stands twice, and the next call mends it
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
