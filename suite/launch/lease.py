"""The right to run a trial: one attempt at a time, and an old one cannot harm a new one.

Who may publish is decided by renames (``suite.launch.attempts``). When an owner is dead is decided here. Clocks of two
machines are never compared: an owner elsewhere is dead when its heartbeat stands still for a while by our own clock,
for a short while where its cluster says that its job is over.
"""

import contextlib
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

from suite.config import InputError
from suite.launch import attempts
from suite.launch.attempts import OWNER, owner_of, remove_attempts
from suite.launch.owner import Owner
from suite.records import FAILURE, RESULT, attempt_number, move, newest_attempt, write_text_atomic
from suite.records.file_errors import retrying
from suite.slurm import controller
from suite.stopping import Stopped

HEARTBEAT = "heartbeat"
LEASE_TIMEOUT_SECONDS = 60.0  # how long an owner elsewhere may be silent, and one here is waited for
HEARTBEAT_SECONDS = 5.0
_SILENT_BEATS = 3  # of an owner whose job is said to be over
_RETRY_SECONDS = 0.02


class Busy(InputError):
    """Somebody else runs the trial."""


class TakenOver(Exception):
    """Somebody else runs the trial now: this attempt has nothing more to write."""


class Lease:
    """A trial's folder, held by this process. ``folder`` is where it writes, ``number`` is the attempt's number."""

    def __init__(self, trial_folder: Path, number: int, token: str) -> None:
        self.trial_folder, self.number, self._token = trial_folder, number, token
        self.folder = trial_folder / f"attempt-{number}"
        self._stop_event, self._lost, self._published = threading.Event(), False, False
        self._beating = threading.Thread(target=self._beat, daemon=True)
        self._beating.start()

    @classmethod
    def acquire(
        cls,
        trial_folder: Path,
        *,
        timeout: float = LEASE_TIMEOUT_SECONDS,
        take_over: bool = False,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> "Lease":
        """Hold a trial: a new one, one that was left, or one whose owner is dead.

        Args:
            trial_folder: made where it is missing.
            timeout: seconds to wait for a living owner to end, and for one elsewhere to give a sign of life.
            take_over: take it from a living owner too; that one then ends by itself.
            should_stop: asked while it waits.

        Raises:
            Busy: its owner is alive; Stopped: as asked, before there was anything to save.
        """
        token = secrets.token_hex(8)
        while True:
            trial_folder.mkdir(parents=True, exist_ok=True)
            attempts.complete(trial_folder)
            held = newest_attempt(trial_folder)
            if held is not None and not take_over:
                _wait_for_end(held, timeout, should_stop)
            number = 1 if held is None else attempt_number(held) + 1
            if newest_attempt(trial_folder) == held and attempts.create(trial_folder, number, token):
                return cls(trial_folder, number, token)._begin()
            time.sleep(_RETRY_SECONDS)  # another was quicker, or what we see is out of date

    def _begin(self) -> "Lease":
        try:
            attempts.inherit(self.folder)
            attempts.complete(self.trial_folder)  # of one that published before we could take it over
        except BaseException:
            self.__exit__()
            raise
        return self

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *error: object) -> None:
        """Remove all attempts if the trial is final; else release it, so that the next attempt can resume."""
        self._stop_event.set()
        self._beating.join()
        if (self.trial_folder / RESULT).exists():
            remove_attempts(self.trial_folder)
        else:
            self._release()

    def check(self) -> None:
        """Raise TakenOver where somebody else has the trial now, as far as the last heartbeat knows."""
        if self._lost:
            raise TakenOver(f"{self.trial_folder}: another process has taken this trial over: this attempt ends")

    def check_now(self) -> None:
        """Look for a newer attempt now, then ``check``. A cached listing may not show it yet."""
        self._lost = self._lost or (self._is_followed() and not self._published)
        self.check()

    def check_error(self, error: BaseException) -> None:
        """Raise TakenOver where an error says that our folder is gone."""
        name = getattr(error, "filename", None)
        gone = isinstance(error, FileNotFoundError)  # a stale handle may pass
        self._lost = self._lost or (gone and not self._published and str(name).startswith(str(self.folder)))
        self.check()

    def publish(self) -> None:
        """Make what the attempt holds the records of the trial, which is final then.

        Raises:
            TakenOver: the trial belongs to another attempt now, whose files are untouched.
        """
        self._stop_event.set()  # it beats in a folder that is renamed next
        self._beating.join()
        self._published = attempts.publish(self.folder, self._token)
        self._lost = self._lost or not self._published
        retrying(lambda: attempts.complete(self.trial_folder), self.trial_folder)
        self.check()

    def publish_failure(self) -> None:
        """Move why the attempt failed up into the trial's folder.

        Raises:
            TakenOver: as in ``publish``. A failure moved up after that is ignored: its attempt is not the newest.
        """
        self.check_now()
        move(self.folder / FAILURE, self.trial_folder / FAILURE)

    def _is_followed(self) -> bool:
        newest = newest_attempt(self.trial_folder)
        later = newest is not None and attempt_number(newest) > self.number
        return later or not self.folder.exists() or not attempts.is_held(self.folder, self._token)

    def _release(self) -> None:
        owner = Owner.here(self.number, self._token).model_copy(update={"released": True})
        with contextlib.suppress(OSError):  # taken over, or a full disk: then our end says the same
            if attempts.is_held(self.folder, self._token):
                write_text_atomic(self.folder / OWNER, owner.model_dump_json())

    def _beat(self) -> None:
        count = 0
        while not self._stop_event.wait(HEARTBEAT_SECONDS if count else 0):
            count += 1
            try:
                (self.folder / HEARTBEAT).write_text(str(count))
                self._lost = self._lost or self._is_followed()
            except FileNotFoundError:
                self._lost = True
            except OSError:
                continue  # a full disk: the next beat may find room
            if self._lost:
                return


def is_running(trial_folder: Path) -> bool:
    """A living process of this machine runs the trial."""
    held = newest_attempt(trial_folder)
    owner = owner_of(held) if held else None
    return owner is not None and owner.state() == "alive"


def _wait_for_end(held: Path, timeout: float, should_stop: Callable[[], bool]) -> None:
    """Return once the owner of an attempt is known to be dead, or has moved on; raise Busy where it lives on."""
    began, first = time.monotonic(), _heartbeat(held)
    patience: float | None = None
    while newest_attempt(held.parent) == held:
        owner = owner_of(held)
        state = owner.state() if owner else "unknown"
        if state == "gone":
            return
        moved = _heartbeat(held) != first
        if patience is None:
            patience = _patience(owner, timeout) if state == "unknown" else timeout
        if state == "unknown" and not moved and time.monotonic() >= began + patience:
            return
        if time.monotonic() >= began + timeout or (owner and state == "unknown" and moved):
            who = f"process {owner.pid} on {owner.host}" if owner else "another process"
            raise Busy(f"{held.parent}: {who} runs this trial: wait for it or stop it; --take-over takes it from there")
        if should_stop():
            raise Stopped(f"{held.parent}: stopped while another process runs this trial")
        time.sleep(min(0.2, timeout))


def _patience(owner: Owner | None, timeout: float) -> float:
    """For how many seconds the heart of an owner elsewhere must stand still before it is dead.

    A cluster's word shortens that, and no more: another cluster of its name may know another job by its id.
    """
    if owner and owner.in_our_cluster and (owner.is_earlier_run_of_our_job or controller.is_over(owner.job)):
        return min(timeout, _SILENT_BEATS * HEARTBEAT_SECONDS)
    return timeout


def _heartbeat(held: Path) -> str | None:
    try:
        return (held / HEARTBEAT).read_text()
    except OSError:
        return None
