"""What sweeps on a cluster cost: ``python -m benchmarks.slurm_costs`` against the cluster that $SLURM_CONF names.

Made for the one of ``slurm/test-cluster.sh``, with nobody else on it. Jobs that only wait stand for long ones: the
driver does not know the difference.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from suite.config import Trial
from suite.launch import slurm, submission
from suite.records import read_result
from suite.records.ledger import Ledger
from suite.slurm import request
from suite.slurm.controller import OVER, my_jobs
from suite.slurm.profile import Profile, load_profile
from suite.slurm.record import JobRecord, read_job
from suite.slurm.site import Site
from suite.slurm.watch import QueuePoller

ROOT = Path(__file__).parents[1]
_TRIAL: dict[str, Any] = {
    "dataset": "digits",
    "model": {"name": "conv2", "width_mult": 0.0625},
    "method": {"name": "weights", "lr": 0.02},
    "epochs": 2,
    "global_batch_size": 64,
}


def main() -> None:
    """Print what was measured, a table each."""
    parser = argparse.ArgumentParser("python -m benchmarks.slurm_costs", description=__doc__)
    parser.add_argument("--profile", type=Path, default=ROOT / "slurm" / "test.yaml", help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=120.0, help="to count status queries; default: %(default)s")
    parser.add_argument("--num-jobs", type=int, default=50, help="to time submission; default: %(default)s")
    args = parser.parse_args()
    profile = load_profile(args.profile)
    for measure in (_first_step, _submission, _driver, _queries, _hours):
        with tempfile.TemporaryDirectory(prefix="slurm-costs-") as folder:
            print(f"\n{(measure.__doc__ or '').splitlines()[0]}\n", flush=True)
            print(
                pd.DataFrame(measure(profile, Path(folder), args)).to_markdown(index=False, floatfmt=".3g"), flush=True
            )


def _first_step(profile: Profile, folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Seconds from sbatch to the first training step, on idle nodes (5 trials each, one after the other)."""
    rows = []
    for nodes in (1, 2):
        settings = profile.model_copy(update={"nodes": nodes})
        seconds = []
        with _site(settings, folder) as site:
            for seed in range(5):
                trial = Trial.model_validate({**_TRIAL, "seed": seed, "processes": nodes})
                clock = time.time()
                result = slurm.run(trial, Ledger(folder).folder(trial.trial_id), data_dir=None, site=site)
                seconds.append(result.started_at - clock)
        rows.append({"nodes": nodes, "median": statistics.median(seconds), "least": min(seconds), "most": max(seconds)})
    return rows


def _submission(profile: Profile, folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Jobs that do nothing: each with its own sbatch, as the suite does, and as one array."""
    from submitit import SlurmExecutor

    parameters = request.parameters(request.Request(1, 1, 1, 0), profile, name="nothing", comment="nothing")
    with _site(profile, folder) as site:
        clock = time.monotonic()
        for i in range(args.num_jobs):
            record = JobRecord.new("costs", "nothing", folder / f"own-{i}")
            submission.submit(site, record, {**parameters, "job_name": "own"}, time.sleep, 0)
        own = time.monotonic() - clock, _wait_all("own", clock)
    executor = SlurmExecutor(folder=folder / "array")
    executor.parameters.update({**parameters, "job_name": "array"})
    clock = time.monotonic()
    executor.map_array(time.sleep, [0] * args.num_jobs)
    array = time.monotonic() - clock, _wait_all("array", clock)
    return [
        {
            "how": how,
            "jobs": args.num_jobs,
            "jobs submitted a second": args.num_jobs / sent,
            "seconds until all are done": all_,
        }
        for how, (sent, all_) in (("each its own", own), ("one array", array))
    ]


def _driver(profile: Profile, folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """The driver of a sweep, with jobs that wait: processes and memory of it and of all it started."""
    rows = []
    for jobs in (1, 16, 32):
        with _blocked(profile), _sweep(profile, folder / str(jobs), jobs) as process:
            _wait_submitted(folder / str(jobs) / "results" / "trials", jobs)
            time.sleep(10)
            pids = [process.pid, *_descendants(process.pid)]
            memory = {kind: sum(_memory(pid, kind) for pid in pids) / 2**20 for kind in ("Rss", "Pss")}
        rows.append(
            {"live jobs": jobs, "processes": len(pids), "GiB resident": memory["Rss"], "GiB in shares": memory["Pss"]}
        )
    for row in rows[1:]:
        row["MiB a job, in shares"] = 1024 * (row["GiB in shares"] - rows[0]["GiB in shares"]) / (row["live jobs"] - 1)
    return rows


def _queries(profile: Profile, folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Status queries, counted at squeue, with jobs that wait and are followed by threads of one process."""
    rows = []
    shim = folder / "bin" / "squeue"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\necho >> {folder}/asked\nPATH=${{PATH#*:}} exec squeue "$@"\n')
    shim.chmod(0o755)
    for jobs in (10, 200):
        (folder / "asked").write_text("")
        site_folder, before = folder / str(jobs), os.environ["PATH"]
        with _blocked(profile), _site(profile.model_copy(update={"memory_gb": None}), site_folder) as site:
            trials = [Trial.model_validate({**_TRIAL, "seed": seed}) for seed in range(jobs)]
            threads = [threading.Thread(target=_follow, args=(trial, site), daemon=True) for trial in trials]
            for thread in threads:
                thread.start()
            _wait_submitted(site_folder / "trials", jobs)
            os.environ["PATH"] = f"{shim.parent}:{before}"
            time.sleep(args.seconds)
            os.environ["PATH"] = before
            asked = len((folder / "asked").read_text())
            site.leave.touch()
            for thread in threads:
                thread.join()
        rows.append({"live jobs": jobs, "queries": asked, "queries a minute": 60 * asked / args.seconds})
    return rows


def _hours(profile: Profile, folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """GPU-hours asked for and used by the jobs of a sweep of 6 trials with one (fake) GPU each, and what they leave."""
    settings = profile.model_copy(update={"extra": {"gres": "gpu:1"}})
    with _sweep(settings, folder, 6) as process:
        process.wait()
    used = [_elapsed(job.id) for job in (my_jobs() or {}).values() if job.name.startswith("costs6.")]
    trials = [path for path in folder.glob("results/trials/*") if read_result(path)]
    asked = 6 * profile.timeout_min / 60
    files = [sum(path.is_file() for path in trial.rglob("*")) for trial in trials]
    return [
        {
            "trials done": len(trials),
            "GPU-hours asked": asked,
            "used": sum(used) / 3600,
            "most files left by a trial": max(files),
        }
    ]


@contextmanager
def _site(profile: Profile, folder: Path) -> Iterator[Site]:
    folder.mkdir(exist_ok=True)
    site = Site.prepare("costs", profile, folder, folder)
    site.leave.unlink(missing_ok=True)
    with QueuePoller(site.queue, profile.status_every_seconds):
        yield site


@contextmanager
def _blocked(profile: Profile) -> Iterator[None]:
    """All nodes taken, and all jobs of ours gone at the end."""
    options = ["--parsable", "--nodes=4", "--exclusive", "--output=/dev/null", f"--partition={profile.partition}"]
    subprocess.run(["sbatch", *options, "--wrap", "sleep 1000"], check=True, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        live = [job.id for job in (my_jobs() or {}).values() if not job.is_finished]
        subprocess.run(["scancel", *live], check=True)
        _until(lambda: all(job.is_finished for job in (my_jobs() or {}).values()))


@contextmanager
def _sweep(profile: Profile, folder: Path, jobs: int) -> Iterator[subprocess.Popen[bytes]]:
    """A sweep of so many trials, all of them live at once."""
    folder.mkdir(exist_ok=True)
    sweep = {"name": f"costs{jobs}", "base": _TRIAL, "grid": {"seed": list(range(jobs))}}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    settings = {**profile.model_dump(mode="json"), "memory_gb": 0.4, "max_live_jobs": jobs}
    (folder / "profile.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "suite.sweep", "sweep.yaml", "--launcher", "slurm", "--profile", "profile.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*command, "--driver", "here"], cwd=folder, env=environment, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _follow(trial: Trial, site: Site) -> None:
    folder = Ledger(site.results).folder(trial.trial_id)
    try:
        slurm.run(trial, folder, data_dir=None, should_stop=site.leave.exists, site=site)
    except Exception as error:  # it is stopped in the end
        print(error) if "goes on" not in str(error) else None


def _wait_submitted(folder: Path, jobs: int) -> None:
    def all_are() -> bool:
        records = [read_job(path) for path in folder.glob("*")]
        return sum(record is not None and record.id is not None for record in records) == jobs

    _until(all_are)


def _wait_all(name: str, since: float) -> float:
    _until(lambda: all(job.state in OVER for job in (my_jobs() or {}).values() if job.name == name))
    return time.monotonic() - since


def _until(what: Callable[[], bool], seconds: float = 400.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise TimeoutError("did not come about in time")
        time.sleep(0.5)


def _descendants(pid: int) -> list[int]:
    text = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(line.split()[0]): int(line.split()[1]) for line in text.splitlines()}
    found = [child for child, parent in parents.items() if parent == pid]
    return found + [inner for child in found for inner in _descendants(child)]


def _memory(pid: int, kind: str) -> float:
    """KiB of a process: Rss counts shared pages whole, Pss its share of them."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return float(next((line.split()[1] for line in lines if line.startswith(f"{kind}:")), 0))


def _elapsed(job: str) -> float:
    command = ["squeue", f"--jobs={job}", "--states=all", "--noheader", "--Format=TimeUsed"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    parts = [int(part) for part in text.replace("-", ":").split(":")]
    return float(sum(part * unit for part, unit in zip(reversed(parts), (1, 60, 3600, 86400), strict=False)))


if __name__ == "__main__":
    main()
