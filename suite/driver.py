"""Where the driver of a sweep lives: in the process that was called, or in a small SLURM job of its own."""

import argparse
from pathlib import Path

import yaml

from suite.config import InputError
from suite.launch import slurm, sweep_job
from suite.launch.packed import PACK
from suite.ledger import Ledger
from suite.plan import Plan
from suite.records import write_whole
from suite.slurm import controller, request
from suite.slurm.profile import Profile
from suite.slurm.record import JobRecord, forget_job, read_job, write_job
from suite.slurm.site import Site
from suite.sweepfile import Sweep

MOST_JOBS_HERE = 16  # that a process on a login node follows, unless it is told to


def chosen(asked: str | None, profile: Profile | None, num_trials: int) -> str:
    """``here`` or ``job``: what was asked for, else by the number of jobs that are alive at once."""
    if profile is None:
        return "here"
    jobs = min(profile.max_live_jobs, -(-num_trials // profile.pack))
    return asked or ("here" if jobs <= MOST_JOBS_HERE else "job")


def check_fit(sweep: Sweep, profile: Profile, path: Path) -> None:
    """Raise InputError where a trial does not fit on the nodes of the profile."""
    problems: list[str] = []
    for trial in sweep.trials.values():
        try:
            request.check_fits(trial, profile)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*(f"{path}: {problem}" for problem in dict.fromkeys(problems)))


def preview(sweep: Sweep, ledger: Ledger, plan: Plan, profile: Profile) -> str:
    """The batch script of the first job, and what all of them ask for."""
    if not plan.to_run:
        return "no jobs: nothing is left to run"
    about = next(iter(plan.to_run)) if profile.pack == 1 else PACK
    if profile.pack == 1:
        requests = [request.request_for(trial, profile) for trial in plan.to_run.values()]
    else:
        requests = [request.request_for_pack(profile)] * -(-len(plan.to_run) // profile.pack)
    site = Site.prepare(sweep.name, profile, ledger.root, ledger.root, write=False)
    record = JobRecord.new(f"{sweep.name}.{about}", about, ledger.folder(about).absolute())
    text = slurm.script(site, record, request.parameters(requests[0], profile, name="", comment=""))
    hours = sum(each.gpu_hours(profile) for each in requests)
    lives = chosen(None, profile, len(plan.to_run))
    return (
        f"{text}\n{len(requests)} jobs, {min(len(requests), profile.max_live_jobs)} at once, "
        f"{hours:g} GPU-hours asked for in all (one allocation each, all its time); --driver {lives}"
    )


def submit(sweep: Sweep, ledger: Ledger, profile: Profile, args: argparse.Namespace) -> str:
    """Submit the driver of a sweep as a job, or find the one there is; returns what to tell the user.

    Raises:
        InputError: SLURM refuses it, or does not answer.
    """
    folder = (ledger.root / "driver" / sweep.label).absolute()
    watch = f"python -m suite.status {_quoted(args)} --follow"
    if (found := _live(folder)) is not None:
        return f"the driver is there already: job {found.id}, {found.state}; {watch} shows how it goes"
    forget_job(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "sweep.yaml", sweep.path.read_text(encoding="utf-8"))
    write_whole(folder / "profile.yaml", yaml.safe_dump(profile.model_dump(mode="json")))
    record = JobRecord.new(f"{sweep.name}.driver", "driver", folder)
    write_job(folder, record)
    site = Site.prepare(sweep.name, profile, ledger.root, folder)
    parameters = request.driver_parameters(profile, name=record.name, comment=record.comment)
    try:
        job = slurm.submit(site, record, parameters, sweep_job.run_driver, _arguments(args, folder), str(Path.cwd()))
    except RuntimeError as error:
        raise InputError(f"sbatch: {' '.join(str(error).split())[-500:]}") from None
    write_job(folder, record.model_copy(update={"id": job}))
    return f"the driver is job {job}, its output in {record.folder}; {watch} shows how it goes"


def _live(folder: Path) -> controller.Job | None:
    """The driver's job, if there is one."""
    record = read_job(folder)
    if record is None:
        return None
    jobs = controller.my_jobs()
    if jobs is None:
        raise InputError("squeue: the controller does not answer: nothing was submitted; try again later")
    job = record.found_in(jobs)
    return job if job is not None and not job.over else None


def _arguments(args: argparse.Namespace, folder: Path) -> list[str]:
    """The command that the job runs: as it was given, with files that nobody edits."""
    given = [str(folder / "sweep.yaml"), "--results", str(args.results.absolute()), "--launcher", "slurm"]
    given += ["--profile", str(folder / "profile.yaml"), "--driver", "here"]
    for flag in ("only", "set"):
        for text in getattr(args, flag):
            given += [f"--{flag}", text]
    given += ["--retry-failed"] if args.retry_failed else []
    given += ["--data-dir", str(args.data_dir.absolute())] if args.data_dir else []
    return given + (["--tracking-uri", args.tracking_uri] if args.tracking_uri else [])


def _quoted(args: argparse.Namespace) -> str:
    return f"{args.file} --results {args.results}"
