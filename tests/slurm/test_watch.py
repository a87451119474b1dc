"""The queue as the controller tells it: one question for all jobs, and a controller that is silent."""

import logging
import time
from pathlib import Path

import pytest
from support.fake_slurm import Fake, answers, line
from support.trial_processes import wait_for

from suite.config import InputError
from suite.slurm import controller
from suite.slurm.controller import GONE, Job
from suite.slurm.record import JobRecord
from suite.slurm.watch import QueuePoller, QueueSnapshot


@pytest.fixture
def record(tmp_path: Path) -> JobRecord:
    return JobRecord.new("sweep.x", "x", tmp_path).model_copy(update={"id": "7"})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "queue.json"


# The watch ----------------------------------------------------------------------------------------------------------


def test_a_thousand_jobs_are_one_question(fake: Fake, tmp_path: Path, file: Path) -> None:
    records = [JobRecord.new(f"s.{i}", str(i), tmp_path).model_copy(update={"id": str(i)}) for i in range(1000)]
    calls = answers(fake, tmp_path, "".join(map(line, records)))
    with QueuePoller(file, 0.2) as watch:
        queue = QueueSnapshot(file)
        assert all(record.found_in(queue.jobs()) for record in records)
        wait_for(lambda: queue.poll_number >= 3)
        began = time.monotonic()
        for record in records:
            assert queue.job(record, 1) == Job(record.id or "", "RUNNING", record.name, record.comment)
        assert time.monotonic() - began < 1
    assert len(calls.read_text().splitlines()) == watch.queries < 30


def test_the_watch_ends_with_its_sweep(fake: Fake, tmp_path: Path, file: Path) -> None:
    calls = answers(fake, tmp_path, "")
    began = time.monotonic()
    with QueuePoller(file, 60):
        pass
    assert time.monotonic() - began < 5
    assert len(calls.read_text().splitlines()) == 1


SILENT = {"away": "echo 'Unable to contact slurm controller' >&2; exit 1", "hanging": "exec sleep 30"}


@pytest.mark.parametrize("body", SILENT.values(), ids=SILENT)
def test_a_silent_controller_at_the_start(fake: Fake, file: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller, "_SECONDS", 0.2)
    fake("squeue", body)
    with pytest.raises(InputError, match="squeue: the controller does not answer: nothing was submitted"):
        QueuePoller(file, 0.05).__enter__()
    assert not file.exists()


@pytest.mark.parametrize("body", SILENT.values(), ids=SILENT)
def test_while_the_controller_is_silent_the_last_answer_stands(
    fake: Fake,
    tmp_path: Path,
    file: Path,
    record: JobRecord,
    body: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    answers(fake, tmp_path, line(record))
    with QueuePoller(file, 0.05) as watch, caplog.at_level(logging.WARNING):
        queue = QueueSnapshot(file)
        wait_for(lambda: queue.poll_number >= 3)
        monkeypatch.setattr(controller, "_SECONDS", 0.2)
        fake("squeue", body)
        time.sleep(0.4)  # for a question that was on its way
        before, asked = queue.poll_number, watch.queries
        wait_for(lambda: watch.queries >= asked + 3)
        assert queue.poll_number == before
        job = queue.job(record, 0)
        assert job and job.state == "RUNNING" and not job.is_finished
        assert queue.job(record, before) is None  # of a job that was submitted since, nothing is known
        monkeypatch.setattr(controller, "_SECONDS", 30.0)
        answers(fake, tmp_path, line(record, "COMPLETED"))
        wait_for(lambda: queue.poll_number > before)
        assert (job := queue.job(record, 0)) and job.is_finished
    said = [message for message in caplog.messages if "does not answer" in message]
    assert said == ["squeue: the controller does not answer; jobs go on, and so does the sweep"]


# What has become of a job -------------------------------------------------------------------------------------------


def test_a_job_is_known_from_the_second_answer_on(fake: Fake, tmp_path: Path, file: Path, record: JobRecord) -> None:
    """The first may have been asked for before the job was submitted."""
    answers(fake, tmp_path, "")
    watch, queue = QueuePoller(file, 60), QueueSnapshot(file)
    assert watch._ask()
    assert queue.poll_number == 1
    assert queue.job(record, 1) is None
    assert watch._ask()
    assert queue.job(record, 1) is None
    answers(fake, tmp_path, line(record, "PENDING"))
    assert watch._ask()
    assert queue.job(record, 1) == Job("7", "PENDING", record.name, record.comment)
    answers(fake, tmp_path, "8|RUNNING|other|x\n")
    assert watch._ask()
    gone = queue.job(record, 1)
    assert gone == Job("7", GONE, record.name, record.comment) and gone.is_finished


def test_a_job_of_others_with_its_id_is_not_it(fake: Fake, tmp_path: Path, file: Path, record: JobRecord) -> None:
    answers(fake, tmp_path, "7|RUNNING|another|y 1\n")
    watch, queue = QueuePoller(file, 60), QueueSnapshot(file)
    assert watch._ask() and watch._ask()
    assert (job := queue.job(record, 0)) and job.state == GONE


def test_without_a_watch_there_is_no_answer(file: Path) -> None:
    with pytest.raises(FileNotFoundError):
        QueueSnapshot(file).jobs()
