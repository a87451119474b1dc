"""The folders of attempts at a trial, and the two renames that decide who may publish.

An attempt writes only inside its own folder, ``attempt-N``. It publishes by renaming that folder to ``published``; who
takes a trial over renames the folder of every earlier attempt away. Only one rename of a folder succeeds, on every file
system and whatever a machine has cached: a name is looked up where the file system is kept, not where it is cached. An
attempt that lost keeps a folder that nobody reads.

A call that a network file system repeats after it was done (NFS) fails because the name is gone. What is there then
says by its token whose it is.
"""

import contextlib
import errno
import secrets
import shutil
from pathlib import Path

from pydantic import ValidationError

from suite.launch.owner import Owner
from suite.records import (
    DENSE,
    METRICS,
    RESULT,
    TICKET,
    attempt_number,
    is_attempt,
    is_checkpoint,
    listed,
    move,
    newest_attempt,
    write_text_atomic,
)

OWNER, PUBLISHED = "owner.json", "published"
_PUBLISHED_FILES = (METRICS, TICKET, DENSE, RESULT)  # in this order: a trial with a result is complete
_FRESH, _RETIRED = ".attempt-", ".over-"
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST)


def create(trial_folder: Path, number: int, token: str) -> bool:
    """Make ``attempt-number`` with its owner in it, in one step; False where there is or was a later one.

    Raises:
        OSError: the disk is full, say; nothing is left then.
    """
    fresh, attempt = trial_folder / f"{_FRESH}{secrets.token_hex(8)}", trial_folder / f"attempt-{number}"
    try:
        fresh.mkdir(exist_ok=True)
        write_text_atomic(fresh / OWNER, Owner.here(number, token).model_dump_json())
        if not _rename(fresh, attempt, token):
            return False
        newest = newest_attempt(trial_folder)  # we looked long ago: others may have begun, left and resumed since
        if newest is None or attempt_number(newest) <= number:
            return True
        retire(attempt)
    except FileNotFoundError:  # cleaned up by one who left a final trial
        pass
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return False


def inherit(attempt: Path) -> None:
    """Take every earlier attempt's right to publish, and what it has saved so far."""
    trial_folder, number = attempt.parent, attempt_number(attempt)
    for path in _attempts(trial_folder):
        if attempt_number(path) < number:
            _rename_away(path)
    if newest_attempt(trial_folder) != attempt:  # what is left is for a later one
        return
    left = [path for path in listed(trial_folder) if path.name.startswith(_RETIRED)]
    for path in sorted(left, key=_retired_number):  # the latest metrics come last
        for file in listed(path):
            if file.name == METRICS or is_checkpoint(file):
                with contextlib.suppress(FileNotFoundError):
                    move(file, attempt / file.name)
        shutil.rmtree(path, ignore_errors=True)


def publish(attempt: Path, token: str) -> bool:
    """Make what an attempt holds the records of its trial; False where it may not any more.

    It holds them all, safe on disk. Should we die on the way, ``complete`` moves the rest.
    """
    trial_folder = attempt.parent
    complete(trial_folder)  # what another one has begun
    if (trial_folder / RESULT).exists():
        return False
    ours = _rename(attempt, trial_folder / PUBLISHED, token)
    complete(trial_folder)
    return ours


def complete(trial_folder: Path) -> None:
    """Move what is left of a published attempt up into the folder of its trial. Any process may, at any time."""
    published = trial_folder / PUBLISHED
    if (published / RESULT).exists():
        for name in _PUBLISHED_FILES:
            with contextlib.suppress(FileNotFoundError):  # there is none, or another process has moved it
                move(published / name, trial_folder / name)
    if not published.exists():
        return
    rest = _rename_away(published)  # its result has moved up: nobody needs the rest
    if (rest / RESULT).exists():  # it was another one, published this moment
        _rename(rest, published, "")
    shutil.rmtree(rest, ignore_errors=True)


def retire(attempt: Path) -> None:
    """Take an attempt's right to publish, and remove it."""
    shutil.rmtree(_rename_away(attempt), ignore_errors=True)


def remove_attempts(trial_folder: Path) -> None:
    """Remove what attempts at a final trial leave behind."""
    complete(trial_folder)
    for path in listed(trial_folder):
        if not (trial_folder / RESULT).exists():  # moved away while we hung: somebody may run the trial again
            return
        if is_attempt(path) and path.is_dir():
            retire(path)
        elif path.name.startswith((_FRESH, _RETIRED)) and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def owner_of(attempt: Path) -> Owner | None:
    """The owner of an attempt; None where the file is missing or garbled."""
    owner = _owner_in(attempt)
    return owner if owner and owner.attempt == attempt_number(attempt) else None


def _owner_in(folder: Path) -> Owner | None:
    try:
        return Owner.model_validate_json((folder / OWNER).read_text())
    except (OSError, ValidationError, UnicodeDecodeError):
        return None


def _rename(folder: Path, target: Path, token: str) -> bool:
    """Rename a folder with the owner ``token``; False where it is gone, or the target is there already."""
    try:
        folder.rename(target)  # fails where there is a folder of that name, since it holds a file
    except FileNotFoundError:
        owner = _owner_in(target)  # ours where the call was done, and repeated
        return owner is not None and owner.token == token
    except OSError as error:
        if error.errno in _TAKEN or (target / OWNER).exists():  # SFTP has no error of its own for it
            return False
        raise
    return True


def _rename_away(folder: Path) -> Path:
    """Give a folder a name that nobody publishes from; its new path, whether or not it was there."""
    number = attempt_number(folder) if is_attempt(folder) else 0
    retired = folder.with_name(f"{_RETIRED}{number}-{secrets.token_hex(8)}")
    with contextlib.suppress(FileNotFoundError):  # it has published, or another process renamed it
        folder.rename(retired)
    return retired


def _retired_number(path: Path) -> int:
    return int(path.name.removeprefix(_RETIRED).partition("-")[0])


def _attempts(trial_folder: Path) -> list[Path]:
    found = [path for path in listed(trial_folder) if is_attempt(path) and path.is_dir()]
    return sorted(found, key=attempt_number)
