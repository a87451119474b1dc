"""What a trial's folder keeps about its job: found again in the queue, counted, and forgotten."""

import json
from pathlib import Path

import pytest

from suite.records import FAILURE, LOG, METRICS, RESULT, STOPPED, newest_checkpoint
from suite.slurm.controller import Job
from suite.slurm.record import (
    ALLOCATIONS,
    JOB,
    MAX_FRUITLESS_ALLOCATIONS,
    JobRecord,
    count_allocation,
    forget_job,
    read_job,
    write_job,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a trial's records will be."""
    return tmp_path / "trials" / "x"


@pytest.fixture
def record(folder: Path) -> JobRecord:
    """A job that was submitted, with the id 7."""
    return JobRecord.new("sweep.x", "x", folder).model_copy(update={"id": "7"})


def in_queue(record: JobRecord, **changes: str) -> dict[str, Job]:
    """A queue with one job: the one of the record, but for ``changes``."""
    known = {"id": record.id or "7", "state": "RUNNING", "name": record.name, "comment": record.comment}
    job = Job(**{**known, **changes})
    return {job.id: job}


# The file -----------------------------------------------------------------------------------------------------------


def test_a_job_is_read_as_it_was_written(folder: Path, record: JobRecord) -> None:
    assert read_job(folder) is None
    write_job(folder, record)
    assert read_job(folder) == record
    changed = record.model_copy(update={"cancelled": True, "id": None})
    write_job(folder, changed)
    assert read_job(folder) == changed
    assert [path.name for path in folder.iterdir()] == [JOB]


def test_every_job_has_a_token_and_a_folder_of_its_own(folder: Path) -> None:
    records = [JobRecord.new("sweep.x", "x", folder) for _ in range(100)]
    assert len({record.token for record in records}) == 100
    for record in records[:3]:
        assert record.id is None and not record.cancelled
        assert Path(record.folder) == folder / f"job-{record.token}"
        assert record.comment == f"x {record.token}"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"name": "a"}', b'{"name": 1, "token": 2, "folder": 3, "about": 4}'],
)
def test_a_garbled_file_is_no_job(folder: Path, content: bytes) -> None:
    folder.mkdir(parents=True)
    (folder / JOB).write_bytes(content)
    assert read_job(folder) is None


def test_what_a_later_version_adds_does_no_harm(folder: Path, record: JobRecord) -> None:
    write_job(folder, record)
    (folder / JOB).write_text(json.dumps({**json.loads((folder / JOB).read_text()), "added": 1}))
    assert read_job(folder) == record


# In the queue -------------------------------------------------------------------------------------------------------


def test_a_job_is_found_by_its_comment(record: JobRecord) -> None:
    """Before SLURM's answer with the id was seen, and where its name was cut or changed."""
    waiting = record.model_copy(update={"id": None})
    for name in (record.name, "cut"):
        (job,) = in_queue(record, id="31", name=name).values()
        others = in_queue(record, id="30", comment="x other", name="sweep.x.other")
        assert waiting.found_in({**others, "31": job}) == job
    assert record.found_in(in_queue(record, name="cut")) == in_queue(record, name="cut")["7"]


def test_a_job_is_found_by_id_and_name(record: JobRecord) -> None:
    """Some clusters lose comments."""
    for comment in ("", "(null)"):
        assert record.found_in(in_queue(record, comment=comment)) is not None


def test_a_foreign_job_of_the_same_id_is_another(record: JobRecord) -> None:
    """A new cluster counts from 1 again."""
    assert record.found_in(in_queue(record, name="other", comment="")) is None
    assert record.found_in(in_queue(record, name="other", comment="x 123456789abc")) is None
    assert record.found_in(in_queue(record, id="8", name="other", comment="")) is None


def test_an_earlier_job_of_the_same_trial_is_another(folder: Path, record: JobRecord) -> None:
    earlier = JobRecord.new(record.name, record.about, folder).model_copy(update={"id": "6"})
    assert record.found_in(in_queue(earlier)) is None
    assert record.model_copy(update={"id": None}).found_in(in_queue(earlier)) is None


def test_a_job_that_the_controller_does_not_know(record: JobRecord) -> None:
    assert record.found_in({}) is None
    assert record.model_copy(update={"id": None}).found_in({}) is None
    assert record.model_copy(update={"id": None}).found_in(in_queue(record, comment="")) is None  # the name: no proof


# Allocations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("checkpoints", "fruitless"),
    [
        ([0], [0]),
        ([0, 0, 0, 0], [0, 1, 2, 3]),
        ([0, 1, 2, 3], [0, 0, 0, 0]),
        ([0, 0, 5, 5, 5, 9, 9], [0, 1, 0, 1, 2, 0, 1]),
        ([3, 3, 3, 3, 10], [0, 1, 2, 3, 0]),
    ],
)
def test_allocations_that_led_nowhere_are_counted(folder: Path, checkpoints: list[int], fruitless: list[int]) -> None:
    folder.mkdir(parents=True)
    counted = []
    for attempt, step in enumerate(checkpoints, 1):  # each allocation takes the trial over from the one before
        if attempt == 1:
            (folder / "attempt-1").mkdir()
        else:
            (folder / f"attempt-{attempt - 1}").rename(folder / f"attempt-{attempt}")
        if step:
            (folder / f"attempt-{attempt}" / f"checkpoint-{step:010}.pt").touch()
        counted.append(count_allocation(folder, newest_checkpoint(folder)))
    assert counted == fruitless
    assert MAX_FRUITLESS_ALLOCATIONS == 3


def test_the_first_allocation_of_a_trial_without_an_attempt(folder: Path) -> None:
    folder.mkdir(parents=True)
    assert [count_allocation(folder, newest_checkpoint(folder)) for _ in range(3)] == [0, 1, 2]


# What is left -------------------------------------------------------------------------------------------------------


def test_only_records_are_left_once_a_trial_is_final(folder: Path, record: JobRecord) -> None:
    write_job(folder, record)
    count_allocation(folder, "")
    for name in ("job-0123", "job-4567"):
        (folder / name / "deeper").mkdir(parents=True)
        (folder / name / "7_0_log.out").write_text("x")
    (folder / "attempt-1").mkdir()
    kept = {RESULT, METRICS, FAILURE, STOPPED, LOG}
    for name in kept:
        (folder / name).touch()
    assert (folder / ALLOCATIONS).exists()
    forget_job(folder)
    assert {path.name for path in folder.iterdir()} == kept | {"attempt-1"}
    forget_job(folder)
    forget_job(folder / "nowhere")


def test_the_last_lines_of_a_job(folder: Path, record: JobRecord) -> None:
    assert record.last_lines() == []
    logs = Path(record.folder)
    logs.mkdir(parents=True)
    (logs / "7_0_log.out").write_text("".join(f"out {i}\n\n" for i in range(9)))
    assert record.last_lines() == [f"out {i}" for i in range(4, 9)]
    assert record.last_lines(1) == ["out 8"]
    with (logs / "7_0_log.out").open("ab") as log:
        log.write(b"submitit INFO (now) - Loading\nslurmstepd: \xff error\n")
    (logs / "7_1_log.out").write_text("rank 1\n")
    assert record.last_lines(2) == ["slurmstepd: \ufffd error", "rank 1"]
    with (logs / "7_0_log.out").open("ab") as log:
        log.seek(10**11)  # a hole: reading it all would take minutes
        log.write(b"\nlast\n")
    assert record.last_lines(2) == ["last", "rank 1"]
