"""What sbatch says when it takes no job: for good, or for now."""

import os
from pathlib import Path

import pytest

from suite.launch import submission
from suite.slurm.profile import Profile
from suite.slurm.record import JobRecord
from suite.slurm.request import Request, parameters
from suite.slurm.site import Site

ERROR = "sbatch: error: "
FAILED = "sbatch: error: Batch job submission failed: "


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Of a sweep whose results lie in a folder with a space."""
    return Site.prepare("s", Profile(), tmp_path / "my results", tmp_path)


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for the command; what it was given lies beside it."""
    command = tmp_path / "bin" / "sbatch"
    command.parent.mkdir()
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    return command


def says(sbatch: Path, text: str, status: int) -> None:
    sbatch.write_text(
        f"#!/bin/sh\ncat ${{1:-/dev/null}} > {sbatch}.given 2>/dev/null\necho '{text}' >&2\nexit {status}\n"
    )
    sbatch.chmod(0o755)


@pytest.mark.parametrize(
    "text",
    [
        ERROR + "invalid partition specified: nosuch",
        FAILED + "Requested node configuration is not available",
        FAILED + "Invalid account or account/partition combination specified",
        FAILED + "Requested time limit is invalid (missing or exceeds some limit)",
        ERROR + "Memory specification can not be satisfied",
        ERROR + "QOSMaxWallDurationPerJobLimit\n"
        + FAILED + "Job violates accounting/QOS policy (job submit limit, the size of it or its time limits)",
    ],
)  # fmt: skip
def test_refused_for_good(site: Site, sbatch: Path, text: str) -> None:
    says(sbatch, text, 1)
    record = JobRecord.new("s.1", "1", site.results)
    asked = parameters(Request(1, 1, 1, 0), site.profile, name="s.1", comment="1")
    with pytest.raises(submission.Refused, match=r"^sbatch: error: "):
        submission.submit(site, record, asked, print)
    with pytest.raises(submission.Refused):
        submission.check_accepted(site, record, asked)


@pytest.mark.parametrize(
    "text",
    [
        FAILED + "Socket timed out on send/recv operation",
        FAILED + "Unable to contact slurm controller (connect failure)",
        FAILED + "Transport endpoint is not connected",
        FAILED + "Slurm temporarily unable to accept job, sleeping and retrying",
        FAILED + "Protocol authentication error",
        ERROR + "QOSMaxSubmitJobPerUserLimit\n"
        + FAILED + "Job violates accounting/QOS policy (job submit limit, the size of it or its time limits)",
        ERROR + "AssocGrpSubmitJobsLimit\n"
        + FAILED + "Job violates accounting/QOS policy (job submit limit, the size of it or its time limits)",
        FAILED + "Required node not available (down, drained or reserved)",
        "",
    ],
)  # fmt: skip
def test_refused_for_now(site: Site, sbatch: Path, text: str) -> None:
    says(sbatch, text, 1)
    record = JobRecord.new("s.1", "1", site.results)
    asked = parameters(Request(1, 1, 1, 0), site.profile, name="s.1", comment="1")
    with pytest.raises(submission.TransientSubmitError):
        submission.submit(site, record, asked, print)
    submission.check_accepted(site, record, asked)


POLICY = FAILED + "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (POLICY, submission.LimitReached),  # as older SLURMs and some sites say it, without a word of which
        (ERROR + "QOSMaxSubmitJobPerUserLimit\n" + POLICY, submission.TransientSubmitError),
        (ERROR + "QOSMaxSubmitJobPerAccountLimit\n" + POLICY, submission.TransientSubmitError),
        (ERROR + "QOSGrpSubmitJobsLimit\n" + POLICY, submission.TransientSubmitError),
        (ERROR + "AssocMaxSubmitJobLimit\n" + POLICY, submission.TransientSubmitError),
        (ERROR + "AssocMaxJobsLimit\n" + POLICY, submission.TransientSubmitError),
        (ERROR + "QOSMaxJobsPerUserLimit\n" + POLICY, submission.TransientSubmitError),
        (ERROR + "QOSMaxCpuPerUserLimit\n" + POLICY, submission.LimitReached),
        (ERROR + "QOSMaxGRESPerUser\n" + POLICY, submission.LimitReached),
        (ERROR + "AssocGrpCPUMinutesLimit\n" + POLICY, submission.LimitReached),
        (ERROR + "QOSMaxCpuPerJobLimit\n" + POLICY, submission.Refused),
        (ERROR + "QOSMaxNodePerJobLimit\n" + POLICY, submission.Refused),
        (ERROR + "AssocMaxWallDurationPerJobLimit\n" + POLICY, submission.Refused),
        (ERROR + "You exceed the maximum number of 10 jobs\n" + FAILED + "Unspecified error", submission.LimitReached),
        (ERROR + "job quota exceeded\n" + FAILED + "Access/permission denied", submission.LimitReached),
        (FAILED + "Access/permission denied", submission.Refused),
        (FAILED + "Requested time limit is invalid (missing or exceeds some limit)", submission.Refused),
        (FAILED + "Resource temporarily unavailable", submission.TransientSubmitError),  # MaxJobCount
    ],
)  # fmt: skip
def test_limits_of_all_jobs_and_of_one(site: Site, sbatch: Path, text: str, kind: type[Exception]) -> None:
    says(sbatch, text.replace("'", ""), 1)
    asked = parameters(Request(1, 1, 1, 0), site.profile, name="s.1", comment="1")
    with pytest.raises((submission.Refused, submission.TransientSubmitError)) as caught:
        submission.submit(site, JobRecord.new("s.1", "1", site.results), asked, print)
    assert type(caught.value) is kind


def test_an_answer_without_an_id(site: Site, sbatch: Path) -> None:
    says(sbatch, "something of the site", 0)
    record = JobRecord.new("s.1", "1", site.results)
    with pytest.raises(submission.TransientSubmitError):
        submission.submit(site, record, parameters(Request(1, 1, 1, 0), site.profile, name="s.1", comment="1"), print)


def test_what_a_job_is_to_run_gets_its_name_once_the_id_is_known(site: Site, sbatch: Path) -> None:
    says(sbatch, FAILED + "Socket timed out", 1)
    record = JobRecord.new("s.1", "1", site.results)
    asked = parameters(Request(1, 1, 1, 0), site.profile, name="s.1", comment="1")
    for _ in range(2):
        with pytest.raises(submission.TransientSubmitError):
            submission.submit(site, record, asked, print)
    submission.name_pickle(record, "17")
    submission.name_pickle(record, "17")
    assert (Path(record.folder) / "17_submitted.pkl").is_file()
