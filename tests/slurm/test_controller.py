"""Single answers of the controller: which job a line is about, what may be said of it, and what is asked for."""

from pathlib import Path

import pytest
from support.fake_slurm import SHOWS_ALL, UNKNOWN, Fake, answers, line

from suite.slurm import controller
from suite.slurm.controller import Job
from suite.slurm.record import JobRecord


@pytest.fixture
def record(tmp_path: Path) -> JobRecord:
    return JobRecord.new("sweep.x", "x", tmp_path).model_copy(update={"id": "7"})


# All jobs ------------------------------------------------------------------------------------------------------------


def test_the_jobs_of_one_answer(fake: Fake, tmp_path: Path) -> None:
    calls = answers(fake, tmp_path, "7|RUNNING|sweep.x|x 12\n8|PENDING|other|(null)\n9|COMPLETED|n|\n")
    assert controller.my_jobs() == {
        "7": Job("7", "RUNNING", "sweep.x", "x 12"),
        "8": Job("8", "PENDING", "other", "(null)"),
        "9": Job("9", "COMPLETED", "n", ""),
    }
    assert calls.read_text() == "--me --all --states=all --noheader --format=%A|%T|%j|%k\n"
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


@pytest.mark.parametrize(
    "state", ["PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "REQUEUED", "REVOKED"]
)
def test_jobs_that_may_still_run(state: str) -> None:
    assert not Job("1", state, "", "").is_finished


@pytest.mark.parametrize("state", ["GONE", "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED"])
def test_jobs_that_are_over(state: str) -> None:
    assert Job("1", state, "", "").is_finished


def test_a_single_job(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake("scontrol", SHOWS_ALL)
    for text, over in (("7|RUNNING|7\n", False), ("7|TIMEOUT|7\n", True), ("", True), ("8|RUNNING|8\n", True)):
        calls = answers(fake, tmp_path, text)
        assert controller.is_over("7") is over
    assert calls.read_text() == "--jobs=7 --all --states=all --noheader --format=%A|%T|%i\n" * 4
    fake("squeue", UNKNOWN)
    assert controller.is_over("7")
    fake("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    assert not controller.is_over("7")
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert not controller.is_over("7")
    assert controller.my_jobs() is None


# What squeue of SLURM 22.05 printed for --jobs=ID, and what is known then of the job of an id
LISTED = {
    "running task": ("5|RUNNING|1_0", {"5": "RUNNING", "1_0": "RUNNING", "1": None, "0": None}),
    "array": (
        "5|CANCELLED|1_0\n1|PENDING|1_[3-9%2]\n7|RUNNING|1_2\n6|RUNNING|1_1",
        {"1": "PENDING", "5": "CANCELLED", "1_0": "CANCELLED", "7": "RUNNING", "1_2": "RUNNING", "1_10": None},
    ),
    "array whose last task has begun": ("8|RUNNING|8_1\n9|RUNNING|8_0", {"8": "RUNNING", "8_1": "RUNNING"}),
    "array whose last task has ended": ("8|CANCELLED|8_1\n9|RUNNING|8_0", {"8": "CANCELLED", "9": "RUNNING"}),
    "waiting task": ("1|PENDING|1_6", {"1_6": "PENDING"}),
    "range that is cut": ("12|PENDING|12_[1-2,4,8,16-17,32,64-65,68,7", {"12": "PENDING"}),
    "cancelled array": ("4|CANCELLED|4_[1-3]", {"4": "CANCELLED"}),
    "cancelled array, later": ("4|CANCELLED|4", {"4": "CANCELLED"}),
    "task of a cancelled array": ("4|CANCELLED|4_2", {"4_2": "CANCELLED"}),
    "task of no array": ("", {"1_12": None}),
    "heterogeneous": (
        "2|RUNNING|2+0\n3|RUNNING|2+1",
        {"2": "RUNNING", "2+0": "RUNNING", "3": "RUNNING", "2+1": "RUNNING"},
    ),
    "component cancelled": (
        "23|CANCELLED|22+1\n22|RUNNING|22+0",
        {"22": "RUNNING", "22+0": "RUNNING", "23": "CANCELLED", "22+1": "CANCELLED"},
    ),
    "component, by its own id": ("3|RUNNING|2+1", {"3": "RUNNING"}),
}


@pytest.mark.parametrize(("text", "known"), LISTED.values(), ids=LISTED)
def test_a_job_among_those_that_squeue_lists(
    fake: Fake, tmp_path: Path, text: str, known: dict[str, str | None]
) -> None:
    fake("scontrol", SHOWS_ALL)
    answers(fake, tmp_path, f"{text}\n" if text else "")
    for job, state in known.items():
        assert controller.is_over(job) is (state in (None, "CANCELLED")), job
        assert controller.is_running(job) is (state == "RUNNING"), job


def test_a_job_of_a_federation(fake: Fake, tmp_path: Path) -> None:
    """Its id is large; the cluster that began with it calls it revoked while another one runs it."""
    for text, running in (
        ("67108869|REVOKED|67108869\n", False),
        ("67108869|RUNNING|67108869\n67108869|REVOKED|67108869\n", True),
    ):
        answers(fake, tmp_path, text)
        assert not controller.is_over("67108869")
        assert controller.is_running("67108869") is running
    lines = ["67108869|REVOKED|sweep.x|x 1\n", "67108869|RUNNING|sweep.x|x 1\n"]
    for text in (lines[0], "".join(lines), "".join(lines[::-1])):
        answers(fake, tmp_path, text)
        jobs = controller.my_jobs()
        assert jobs and not jobs["67108869"].is_finished
        assert jobs["67108869"].state == ("RUNNING" if lines[1] in text else "REVOKED")


@pytest.mark.parametrize("text", ["7|TIMEO", "CLUSTER: other\n7|TIMEOUT|7\n", "module loaded\n"])
def test_an_answer_that_is_not_understood_says_nothing(fake: Fake, tmp_path: Path, text: str) -> None:
    fake("scontrol", SHOWS_ALL)
    answers(fake, tmp_path, text)
    assert not controller.is_over("7") and not controller.is_running("7")


@pytest.mark.parametrize("job", ["", "garbage", "7_", "7-8", "7_[0-3]", "7,8"])
def test_what_is_no_id_is_not_asked_for(fake: Fake, job: str) -> None:
    calls = fake("squeue", f"echo 'squeue: error: Invalid job id: {job}' >&2; exit 1")
    assert not controller.is_over(job) and not controller.is_running(job) and not controller.requeue(job)
    assert not calls.exists()


@pytest.mark.parametrize(
    ("config", "over"),
    [
        ("echo 'JobCredentialPrivateKey = /etc/jobs'; echo 'PrivateData             = accounts,usage'", True),
        ("echo 'PrivateData             = jobs'", False),
        ("echo 'PrivateData             = accounts,jobs,usage'", False),
        ("exit 1", False),
    ],
    ids=["others", "jobs", "jobs among others", "no answer"],
)
def test_an_unknown_job_may_be_one_that_is_hidden(fake: Fake, config: str, over: bool) -> None:
    asked = fake("scontrol", config)
    for body in (UNKNOWN, "exit 0"):
        fake("squeue", body)
        assert controller.is_over("7") is over
    assert asked.read_text() == "show config\n" * 2
    fake("squeue", "echo '7|TIMEOUT|7'")
    assert controller.is_over("7")


def test_cancel_and_requeue(fake: Fake, tmp_path: Path) -> None:
    cancelled, requeued = fake("scancel", "exit 0"), fake("scontrol", "exit 0")
    answers(fake, tmp_path, "9|RUNNING|9\n")
    assert controller.cancel([]) and not cancelled.exists()
    assert controller.cancel(["7", "8"]) and controller.requeue("9")
    assert (cancelled.read_text(), requeued.read_text()) == ("7 8\n", "requeue 9\n")
    fake("scancel", "exit 1"), fake("scontrol", "exit 1")
    assert not controller.cancel(["7"]) and not controller.requeue("9")


@pytest.mark.parametrize(
    ("job", "named"), [("8", "8_1"), ("9", "8_0"), ("8_0", "8_0"), ("2", "2"), ("2+0", "2"), ("67108869", "67108869")]
)
def test_what_is_requeued(fake: Fake, tmp_path: Path, job: str, named: str) -> None:
    """A task alone, not all of its array; a heterogeneous job by the id of its first component."""
    requeued = fake("scontrol", "exit 0")
    listed = ["8|RUNNING|8_1", "9|RUNNING|8_0", "2|RUNNING|2+0", "3|RUNNING|2+1", "67108869|RUNNING|67108869"]
    answers(fake, tmp_path, "".join(f"{line}\n" for line in listed))
    assert controller.requeue(job)
    assert requeued.read_text() == f"requeue {named}\n"


def test_nothing_is_requeued_that_the_queue_does_not_have(fake: Fake) -> None:
    """Without an answer of squeue it is not known whether the id is that of a whole array."""
    requeued = fake("scontrol", "exit 0")
    for body in (UNKNOWN, "exit 0", "exit 1"):
        fake("squeue", body)
        assert not controller.requeue("8")
    assert not requeued.exists()


@pytest.mark.parametrize("name", ["SQUEUE_PARTITION", "SCANCEL_STATE", "SLURM_CLUSTERS"])
def test_what_users_set_for_themselves_is_not_passed_on(fake: Fake, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "other")
    fake("scancel", f'[ -z "${name}" ]')
    assert controller.cancel(["7"])
