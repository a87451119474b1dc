"""The job of a trial, kept in the trial's folder: whoever comes later finds the job and submits no second one."""

import os
import secrets
import shutil
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from suite.records import listed, write_text_atomic
from suite.slurm.controller import Job

JOB, ALLOCATIONS = "job.json", "allocations"
_COMPLAINT = "! "  # begins a line that says what was wrong with an allocation
_LAST_BYTES = 16384  # of a log, in which its last lines are looked for
MAX_FRUITLESS_ALLOCATIONS = 3  # allocations in a row without a newer checkpoint


class JobRecord(BaseModel):
    """A job as it was submitted; ``id`` is None from before that until SLURM has said it.

    ``token`` tells it from every other job: it stands in the job's comment. ``folder`` holds its log.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    token: str
    folder: str
    about: str  # the trial_id, or "pack"
    id: str | None = None
    cancelled: bool = False  # by us

    @classmethod
    def new(cls, name: str, about: str, folder: Path) -> "JobRecord":
        """A job that is about to be submitted; its log goes below ``folder``."""
        token = secrets.token_hex(6)
        return cls(name=name, token=token, about=about, folder=str(folder / f"job-{token}"))

    @property
    def comment(self) -> str:
        """What the job carries: what it runs, and the token."""
        return f"{self.about} {self.token}"

    def matches(self, job: Job) -> bool:
        """A job of the queue is this one: ids alone begin again on a new cluster, comments are lost on some."""
        return job.comment == self.comment or (job.id == self.id and job.name == self.name)

    def found_in(self, jobs: dict[str, Job]) -> Job | None:
        """This job among those that the controller knows; None where it knows it no more, or never did."""
        if self.id is not None:
            job = jobs.get(self.id)
            return job if job is not None and self.matches(job) else None
        return next((job for job in jobs.values() if self.matches(job)), None)

    def last_lines(self, number: int = 5) -> list[str]:
        """The end of what the job said, without what submitit says about itself."""
        files = sorted(Path(self.folder).glob("*_log.out"))
        lines = [line.strip("\0") for file in files for line in _end(file).splitlines()]
        return [line for line in lines if line.strip() and not line.startswith("submitit INFO")][-number:]


def _end(file: Path) -> str:
    with file.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - _LAST_BYTES))
        return log.read().decode(errors="replace")


def read_job(trial_folder: Path) -> JobRecord | None:
    """The job of a trial; None where it has none, or the file is garbled."""
    try:
        return JobRecord.model_validate_json((trial_folder / JOB).read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError):
        return None


def write_job(trial_folder: Path, record: JobRecord) -> None:
    """Keep the job of a trial."""
    trial_folder.mkdir(parents=True, exist_ok=True)
    write_text_atomic(trial_folder / JOB, record.model_dump_json())


def forget_job(trial_folder: Path) -> None:
    """Remove what jobs left in the folder of a trial that is final."""
    for path in listed(trial_folder):
        if path.name in (JOB, ALLOCATIONS):
            path.unlink(missing_ok=True)
        elif path.name.startswith("job-") and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def count_allocation(folder: Path, now: str) -> int:
    """Note in a folder that an allocation begins, where work stands ``now``; returns how many in a row led nowhere."""
    before = _allocations(folder)
    _append(folder, now)
    fruitless, state = 0, now
    for began, complaint in reversed(before):
        if began != state and not complaint:
            break
        fruitless, state = fruitless + 1, began
    return fruitless


def note_worthless(folder: Path, complaint: str) -> None:
    """Note in a folder that the allocation that ends led nowhere, whatever it has saved."""
    _append(folder, f"{_COMPLAINT}{complaint}")


def last_complaint(folder: Path) -> str:
    """What was noted of the newest allocation that has ended; "" where nothing was."""
    return ([complaint for _, complaint in _allocations(folder)[:-1]] or [""])[-1]


def _allocations(folder: Path) -> list[tuple[str, str]]:
    """Where work stood as each allocation began, and what was wrong with it."""
    path = folder / ALLOCATIONS
    found: list[tuple[str, str]] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        if line.startswith(_COMPLAINT) and found:
            found[-1] = (found[-1][0], line.removeprefix(_COMPLAINT))
        else:
            found.append((line, ""))
    return found


def _append(folder: Path, line: str) -> None:
    with (folder / ALLOCATIONS).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
        file.flush()
        os.fsync(file.fileno())
