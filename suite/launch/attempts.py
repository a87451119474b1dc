"""The folders of attempts at a trial, and the two renames that decide who may publish.

An attempt writes its epochs, checkpoints and result only inside its own folder, ``attempt-N``. It publishes by renaming
that folder to ``published``. A take-over renames the folder of every earlier attempt away. Of two renames of one folder
only one succeeds, wherever the file system makes a rename atomic. Cached names do not matter: the server looks the name
up. The folder of an attempt that lost is emptied and removed; what is still written there does not count.

NFS may repeat a rename that was already done; the repeat fails because the old name is gone. The token in the target's
``owner.json`` then tells whether the rename was ours.
"""

import contextlib
import errno
import json
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
    saved_in,
    write_text_atomic,
)

OWNER, PUBLISHED = "owner.json", "published"
_PUBLISHED_FILES = (METRICS, TICKET, DENSE, RESULT)  # in this order: a trial with a result is complete
_FRESH, _RETIRED = ".attempt-", ".over-"  # records.saved_in knows these, too
_LOOKS = 3  # at a folder, of which the first may be out of date
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT)


def create(trial_folder: Path, number: int, token: str) -> bool:
    """Make ``attempt-number`` with its owner in it, in one step; False if an attempt of this or a later number exists.

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
    left = [path for path in saved_in(trial_folder) if not is_attempt(path)]
    for path in reversed(left):  # the latest metrics come last
        if not _emptied(path, attempt):
            return
        shutil.rmtree(path, ignore_errors=True)


def _emptied(path: Path, attempt: Path) -> bool:
    """Move what was saved in a folder; False where the attempt is gone, or a look at the folder may be out of date."""
    for _ in range(_LOOKS):
        saved = [file for file in listed(path) if file.name == METRICS or is_checkpoint(file)]
        if not saved:
            return True
        if not all(_moved(file, attempt / file.name) for file in saved):
            return False
    return False


def publish(attempt: Path, token: str) -> bool:
    """Make what an attempt holds the records of its trial; False where it may not any more.

    It holds them all, synced. ``complete`` then moves them up.
    """
    trial_folder = attempt.parent
    complete(trial_folder)  # what another one has begun
    if _is_there(trial_folder / RESULT) or not is_held(attempt, token):
        return False
    return _rename(attempt, trial_folder / PUBLISHED, token)


def complete(trial_folder: Path) -> None:
    """Move what is left of a published attempt up into the folder of its trial. Any process may, at any time."""
    published = trial_folder / PUBLISHED
    if not _is_there(trial_folder / RESULT):
        for path in listed(trial_folder):  # one who cleaned up here died before it saw what this was
            if path.name.startswith(f"{_RETIRED}0-") and _is_there(path / RESULT):
                _rename(path, published, "")
        if _is_there(published / RESULT):
            _move_up(published)
    if not _is_there(published):
        return
    rest = _rename_away(published)  # its result has moved up: nobody needs the rest
    if not _is_there(trial_folder / RESULT) and _is_there(rest / RESULT):  # another one, published this moment
        _rename(rest, published, "")
        complete(trial_folder)
    shutil.rmtree(rest, ignore_errors=True)


def _move_up(published: Path) -> None:
    trial_folder = published.parent
    for name in _networks_of_others(published / RESULT):  # of an earlier result, which was moved away
        (trial_folder / name).unlink(missing_ok=True)
    for name in _PUBLISHED_FILES:
        with contextlib.suppress(FileNotFoundError):  # there is none, or another process has moved it
            move(published / name, trial_folder / name)


def _networks_of_others(result: Path) -> tuple[str, ...]:
    """The network files that a result has nothing to do with."""
    try:
        stored = json.loads(result.read_text(encoding="utf-8"))["stored"]
        forms = {each["form"] for each in stored}
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # moved this moment; or of an earlier version
        return ()
    return (TICKET, DENSE) if not forms else (DENSE,) if "ticket" in forms else (TICKET,)


def retire(attempt: Path) -> None:
    """Take an attempt's right to publish, and remove it."""
    shutil.rmtree(_rename_away(attempt), ignore_errors=True)


def remove_attempts(trial_folder: Path) -> None:
    """Remove what attempts at a final trial leave behind, as far as that can be removed."""
    with contextlib.suppress(OSError):  # the trial is final: on a read-only disk, say, the rest stays
        complete(trial_folder)
    for path in listed(trial_folder):
        if not (trial_folder / RESULT).exists():  # moved away while we hung: somebody may run the trial again
            return
        if is_attempt(path) and path.is_dir():
            with contextlib.suppress(OSError):
                retire(path)
        elif path.name.startswith((_FRESH, _RETIRED)) and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def owner_of(attempt: Path) -> Owner | None:
    """The owner of an attempt; None where the file is missing or garbled."""
    owner = _owner_in(attempt)
    return owner if owner and owner.attempt == attempt_number(attempt) else None


def is_held(attempt: Path, token: str) -> bool:
    """No other token than ``token`` is in an attempt: one that was moved away, and begun again, has the same number."""
    owner = _owner_in(attempt)
    return owner is None or owner.token == token


def _owner_in(folder: Path) -> Owner | None:
    try:
        return Owner.model_validate_json((folder / OWNER).read_text())
    except (OSError, ValidationError, UnicodeDecodeError):
        return None


def _rename(folder: Path, target: Path, token: str) -> bool:
    """Rename a folder with the owner ``token``; False where it is gone, or the target is there already."""
    try:
        folder.rename(target)  # fails where there is a folder of that name, since it holds a file
    except OSError as error:
        if (owner := _owner_in(target)) is not None:  # ours where the call was done, whatever was answered
            return owner.token == token
        if error.errno not in _TAKEN:
            raise
        return False
    return True


def _rename_away(folder: Path) -> Path:
    """Give a folder a name that nobody publishes from; its new path, whether or not it was there."""
    number = attempt_number(folder) if is_attempt(folder) else 0
    retired = folder.with_name(f"{_RETIRED}{number}-{secrets.token_hex(8)}")
    with contextlib.suppress(FileNotFoundError):  # it has published, or another process renamed it
        folder.rename(retired)
    return retired


def _moved(source: Path, target: Path) -> bool:
    """Move a file; False where the folder of the target is gone. One that another process has moved is no matter."""
    try:
        move(source, target)
    except FileNotFoundError:
        return not _is_there(source)
    return True


def _is_there(path: Path) -> bool:
    """As ``Path.exists``, which hides errors of the file system since Python 3.14."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _attempts(trial_folder: Path) -> list[Path]:
    found = [path for path in listed(trial_folder) if is_attempt(path) and path.is_dir()]
    return sorted(found, key=attempt_number)
