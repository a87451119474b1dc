"""The state of all live jobs, from one query for all of them: one thread asks, every follower reads its answer."""

import json
import logging
import threading
from dataclasses import asdict
from pathlib import Path

from suite.config import InputError
from suite.records import write_text_atomic
from suite.slurm import controller
from suite.slurm.controller import GONE, Job
from suite.slurm.record import JobRecord

log = logging.getLogger(__name__)


class QueuePoller:
    """Asks the controller every ``seconds`` and keeps the answer in ``file``, with its number."""

    def __init__(self, file: Path, seconds: float) -> None:
        self._file, self._seconds = file, seconds
        self._stop_event = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.queries = self.answers = 0

    def __enter__(self) -> "QueuePoller":
        """Ask for the first time.

        Raises:
            InputError: no answer; what is in the queue is not known, so nothing may be submitted.
        """
        if not self._ask():
            raise InputError("squeue: the controller does not answer: nothing was submitted; try again later")
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop_event.set()
        self._thread.join()

    def _watch(self) -> None:
        silent = False
        while not self._stop_event.wait(self._seconds):
            answered = self._ask()
            if not answered and not silent:
                log.warning("squeue: the controller does not answer; jobs go on, and so does the sweep")
            silent = not answered

    def _ask(self) -> bool:
        self.queries += 1
        jobs = controller.my_jobs()
        if jobs is None:
            return False
        text = json.dumps({"answer": self.answers + 1, "jobs": [asdict(job) for job in jobs.values()]})
        try:
            write_text_atomic(self._file, text)
        except OSError as error:  # a full disk: the answer before stands
            log.warning("%s: %s", self._file, error.strerror)
            return False
        self.answers += 1
        return True


class QueueSnapshot:
    """The newest answer of the watch, read from its file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read: tuple[int, dict[str, Job]] = (0, {})
        self._stamp = 0

    def jobs(self) -> dict[str, Job]:
        """All jobs of this user that the controller knows."""
        return self._look()[1]

    @property
    def poll_number(self) -> int:
        """The number of the newest answer."""
        return self._look()[0]

    def job(self, record: JobRecord, since: int) -> Job | None:
        """What has become of a job that was submitted after answer ``since``; None: that is not known yet.

        A job of which the controller knows nothing any more is over.
        """
        poll_number, jobs = self._look()
        if poll_number < since + 2:  # the question of since + 1 may have been on its way already
            return None
        return record.found_in(jobs) or Job(record.id or "", GONE, record.name, record.comment)

    def _look(self) -> tuple[int, dict[str, Job]]:
        stamp = self._file.stat().st_mtime_ns
        if stamp != self._stamp:
            read = json.loads(self._file.read_text())
            self._stamp = stamp
            self._read = read["answer"], {job["id"]: Job(**job) for job in read["jobs"]}
        return self._read
