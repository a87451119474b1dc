"""Jobs of trials and packs: how they come into a queue that takes only some, what they leave, and who removes it."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from suite.launch import job_chain, submission
from suite.launch.job_chain import JobChain
from suite.slurm.profile import Profile
from suite.slurm.request import Request, parameters
from suite.slurm.site import Site
from suite.slurm.watch import QueuePoller

# Stands for a cluster whose QOS lets a user have so many jobs; each file in its folder is a job.
SBATCH = """#!/bin/sh
exec 9>{queue}.lock; flock 9
if [ $(ls {queue} | wc -l) -ge {most} ]; then
    printf '%b\\n' "{said}" >&2; exit 1
fi
case "$*" in *--test-only*) exit 0;; esac
id=$(($(cat {queue}.id 2>/dev/null || echo 0) + 1)); echo $id >{queue}.id
sed -n 's/^#SBATCH --job-name=//p;s/^#SBATCH --comment=//p' "$1" | tr -d "'" >{queue}/$id
echo "Submitted batch job $id"
"""
SQUEUE = """#!/bin/sh
for id in $(ls {queue}); do echo "$id|RUNNING|$(sed -n 2p {queue}/$id)|$(sed -n 1p {queue}/$id)"; done
"""
POLICY = (
    "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user s size and/or time limits)"
)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str], Path]:
    """Puts a cluster on PATH; returns the folder of its queue."""
    monkeypatch.setattr(job_chain, "_LOOK_SECONDS", 0.02)

    def cluster(most: int, said: str) -> Path:
        queue, tools = tmp_path / "queue", tmp_path / "bin"
        queue.mkdir(), tools.mkdir()
        for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE), ("srun", "")):
            (tools / name).write_text(text.format(queue=queue, most=most, said=said))
            (tools / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
        return queue

    return cluster


@pytest.mark.parametrize(
    "said",
    [
        f"sbatch: error: QOSMaxSubmitJobPerUserLimit\\nsbatch: error: {POLICY}",
        f"sbatch: error: AssocMaxSubmitJobLimit\\nsbatch: error: {POLICY}",
        f"sbatch: error: {POLICY}",
        "sbatch: error: You exceed the maximum number of 2 jobs\\nsbatch: error: Batch job submission failed: denied",
    ],
    ids=["qos", "association", "no word of which", "of the site"],
)
def test_as_many_jobs_as_the_cluster_takes_and_the_rest_as_they_end(
    cluster: Callable[[int, str], Path], tmp_path: Path, said: str
) -> None:
    queue = cluster(2, said)
    site = Site.prepare("s", Profile(), tmp_path / "results", tmp_path)
    asked = parameters(Request(1, 1, 1, 0), site.profile, name="", comment="")
    chains = [JobChain(site, tmp_path / f"results/{i}", str(i), asked, (print,)) for i in range(6)]
    errors: list[BaseException] = []

    def submit(chain: JobChain) -> None:
        try:
            chain.submit(lambda: False)
        except BaseException as error:
            errors.append(error)

    most = 0
    with QueuePoller(site.queue, 0.1):
        threads = [threading.Thread(target=submit, args=(chain,)) for chain in chains]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 60
        while any(thread.is_alive() for thread in threads) and time.monotonic() < end:
            jobs = sorted(queue.iterdir())
            most = max(most, len(jobs))
            if len(jobs) == 2:
                jobs[0].unlink()  # it has ended
            time.sleep(0.05)
    assert errors == [] and most == 2
    assert sorted(chain.record.id or "" for chain in chains) == list("123456")
    told = [path.read_text() for path in tmp_path.glob("results/*/log.txt")]
    counts = [text.count("trying again until SLURM takes the job") for text in told]
    assert told and max(counts) <= len(chains)  # once for each of them, which share a logger here; not each minute


@pytest.mark.parametrize("others", [True, False])
def test_a_job_that_no_queue_takes_is_refused_where_nothing_of_ours_is_in_it(
    cluster: Callable[[int, str], Path], tmp_path: Path, others: bool
) -> None:
    queue = cluster(0, f"sbatch: error: {POLICY}")
    if others:
        (queue / "9").write_text("about another\ns.other\n")
    site = Site.prepare("s", Profile(), tmp_path / "results", tmp_path)
    asked = parameters(Request(1, 1, 1, 0), site.profile, name="", comment="")
    chain = JobChain(site, tmp_path / "results/a", "a", asked, (print,))
    with QueuePoller(site.queue, 60):
        if others:
            assert not chain._try_submit()
            submission.check_accepted(site, chain.record, asked)
            return
        with pytest.raises(submission.Refused, match="sbatch: error: Batch job submission failed: Job violates"):
            chain.submit(lambda: False)
        with pytest.raises(submission.Refused):
            submission.check_accepted(site, chain.record, asked)


def test_the_job_of_the_driver_is_none_that_ends(
    cluster: Callable[[int, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = cluster(0, f"sbatch: error: {POLICY}")
    (queue / "7").write_text("s\ns.driver\n")
    assert submission.has_other_jobs()
    monkeypatch.setenv(submission.DRIVER_JOB, "7")
    assert not submission.has_other_jobs()


@pytest.mark.parametrize("place", ["ours", "the results that ours were copied from", "what a record may say"])
def test_the_log_of_a_job_is_removed_in_our_folder_alone(tmp_path: Path, place: str) -> None:
    site: Any = SimpleNamespace(sweep="s", queue=tmp_path / "queue.json")
    jobs = JobChain(site, tmp_path / "ours/packs", "pack", {}, ())
    folders = {"ours": "ours/packs/job-5", "the results that ours were copied from": "first/packs/job-5"}
    log = tmp_path / folders.get(place, "home")
    log.mkdir(parents=True)
    (log / "5_0_log.out").write_text("epoch 1")
    jobs.record = jobs.record.model_copy(update={"folder": str(log)})
    jobs.remove_log()
    assert log.exists() == (place != "ours")
