"""The queue as the controller tells it: one question for all jobs, and a controller that is silent."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.trial_processes import wait_for

from suite.config import InputError
from suite.slurm import controller
from suite.slurm.controller import GONE, Job
from suite.slurm.record import JobRecord
from suite.slurm.watch import QueuePoller, QueueSnapshot

Fake = Callable[..., Path]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Puts a command of SLURM on PATH that runs these lines of shell; returns the file with the calls it had."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")

    def fake(name: str, body: str) -> Path:
        calls = tmp_path / f"{name}-calls"
        fresh = folder / f".{name}"
        fresh.write_text(f'#!/bin/sh\necho "$*" >>"{calls}"\n{body}\n')
        fresh.chmod(0o755)
        fresh.replace(folder / name)  # whoever runs the old one goes on
        return calls

    return fake


def answers(fake: Fake, tmp_path: Path, text: str | bytes, status: int = 0) -> Path:
    """squeue says this."""
    said = tmp_path / "said"
    said.write_bytes(text if isinstance(text, bytes) else text.encode())
    return fake("squeue", f'cat "{said}"; exit {status}')


def line(record: JobRecord, state: str = "RUNNING") -> str:
    return f"{record.id}|{state}|{record.name}|{record.comment}\n"


@pytest.fixture
def record(tmp_path: Path) -> JobRecord:
    return JobRecord.new("sweep.x", "x", tmp_path).model_copy(update={"id": "7"})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "queue.json"


# Answers ------------------------------------------------------------------------------------------------------------


def test_the_jobs_of_one_answer(fake: Fake, tmp_path: Path) -> None:
    calls = answers(fake, tmp_path, "7|RUNNING|sweep.x|x 12\n8_[1-5]|PENDING|other|(null)\n9|COMPLETED|n|\n")
    assert controller.my_jobs() == {
        "7": Job("7", "RUNNING", "sweep.x", "x 12"),
        "8_[1-5]": Job("8_[1-5]", "PENDING", "other", "(null)"),
        "9": Job("9", "COMPLETED", "n", ""),
    }
    assert calls.read_text() == "--me --states=all --noheader --format=%i|%T|%j|%k\n"
    answers(fake, tmp_path, "")
    assert controller.my_jobs() == {}


def test_bars_in_names_and_comments_of_others(fake: Fake, tmp_path: Path, record: JobRecord) -> None:
    others = "5|RUNNING|a|b|c\n6|PENDING|n|c|d|e\n"
    answers(fake, tmp_path, others + line(record))
    jobs = controller.my_jobs()
    assert jobs and jobs.keys() == {"5", "6", "7"}
    assert [jobs[i].state for i in "567"] == ["RUNNING", "PENDING", "RUNNING"]
    assert jobs["6"].comment == "c|d|e"
    assert record.found_in(jobs) == jobs["7"]


def test_garbled_lines_are_left_out(fake: Fake, tmp_path: Path, record: JobRecord) -> None:
    answers(fake, tmp_path, "\nslurm_load_jobs warning\n1|RUNN\n|||\n" + line(record) + "8|RUNNING|cut")
    jobs = controller.my_jobs()
    assert jobs and record.found_in(jobs) == jobs["7"]
    assert "1" not in jobs and "8" not in jobs


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "REQUEUED"])
def test_jobs_that_may_still_run(state: str) -> None:
    assert not Job("1", state, "", "").is_finished


@pytest.mark.parametrize("state", ["GONE", "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED"])
def test_jobs_that_are_over(state: str) -> None:
    assert Job("1", state, "", "").is_finished


def test_a_single_job(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text, over in (("7|RUNNING|a|b\n", False), ("7|TIMEOUT|a|b\n", True), ("", True), ("8|RUNNING|a|b\n", True)):
        calls = answers(fake, tmp_path, text)
        assert controller.is_over("7") is over
    assert calls.read_text().startswith("--jobs=7 ")
    fake("squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert controller.is_over("7")
    fake("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    assert not controller.is_over("7")
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert not controller.is_over("7")
    assert controller.my_jobs() is None


def test_cancel_and_requeue(fake: Fake) -> None:
    cancelled, requeued = fake("scancel", "exit 0"), fake("scontrol", "exit 0")
    assert controller.cancel([]) and not cancelled.exists()
    assert controller.cancel(["7", "8"]) and controller.requeue("9")
    assert (cancelled.read_text(), requeued.read_text()) == ("7 8\n", "requeue 9\n")
    fake("scancel", "exit 1"), fake("scontrol", "exit 1")
    assert not controller.cancel(["7"]) and not controller.requeue("9")


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
