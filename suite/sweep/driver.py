"""Where the driver of a sweep lives: in the process that was called, or in a small SLURM job of its own."""

import argparse
import os
import shlex
from pathlib import Path
from typing import Any

import yaml

from suite import environment, launch
from suite.config import InputError
from suite.config.sweep_file import Sweep
from suite.launch import submission, sweep_job
from suite.launch.packed import PACK
from suite.records import write_text_atomic
from suite.records.ledger import Ledger
from suite.slurm import controller, request
from suite.slurm.profile import Profile, find_profile, load_profile
from suite.slurm.record import JobRecord, forget_job, read_job, write_job
from suite.slurm.request import Request
from suite.slurm.site import Site
from suite.sweep.plan import Plan

MOST_JOBS_HERE = 16  # that a process on a login node follows, unless it is told to


def choose_driver(asked: str | None, profile: Profile, num_trials: int) -> str:
    """``here`` or ``job``: what was asked for, else by the number of jobs that are alive at once."""
    if profile.environment.kind == "image" and asked is None:
        return "here"  # in a container there may be no sbatch
    jobs = min(profile.max_live_jobs, profile.num_jobs(num_trials))
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


def profile_of(args: argparse.Namespace, sweep: Sweep, ledger: Ledger) -> Profile | None:
    """The profile of the cluster, where trials are to be jobs; else None.

    Raises:
        InputError: flags that do not belong together, or a trial does not fit on the nodes.
    """
    launch.check_cpus(args.cpus, args.launcher)
    if args.launcher != "slurm":
        for flag in ("profile", "driver"):
            if getattr(args, flag) is not None:
                raise InputError(f"--{flag} {getattr(args, flag)}: belongs to --launcher slurm")
        return None
    args.profile_path = find_profile(args.profile)
    profile = load_profile(args.profile_path)
    profile.check_place(ledger.root)
    if args.calibrate:
        raise InputError("--calibrate: measures on this machine, not on the cluster: run one trial there with --only")
    if profile.pack > 1 and sweep.scheduler.name != "fifo":
        raise InputError(
            f"{args.profile_path}: pack: {profile.pack}: must be 1 for a sweep with scheduler: {sweep.scheduler.name}"
        )
    check_fit(sweep, profile, args.profile_path)
    return profile


def preview(sweep: Sweep, ledger: Ledger, plan: Plan, profile: Profile) -> str:
    """The batch script of the first job, and what all of them ask for."""
    if not plan.to_run:
        return "no jobs: nothing is left to run"
    site, jobs = _jobs(sweep, ledger, plan, profile)
    record, asked = jobs[0]
    text = submission.script(site, record, _parameters(asked, profile, record))
    requests = [asked for _, asked in jobs]
    hours = sum(each.gpu_hours(profile) for each in requests)
    lives = choose_driver(None, profile, len(plan.to_run))
    return (
        f"{text}\n{len(requests)} jobs, {min(len(requests), profile.max_live_jobs)} at once, "
        f"{hours:g} GPU-hours asked for in all (one allocation each, all its time); --driver {lives}"
    )


def unused_variables() -> str | None:
    """What to say of variables by which a user sets defaults of sbatch: the profile decides."""
    names = environment.dropped(os.environ, "slurm", "SBATCH_*")
    return f"{', '.join(names)}: not used: the profile says what jobs ask for" if names else None


def check_accepted(sweep: Sweep, ledger: Ledger, plan: Plan, profile: Profile) -> None:
    """Ask SLURM whether it would take the jobs, one of each shape.

    Raises:
        InputError: it would not, and says why.
    """
    site, jobs = _jobs(sweep, ledger, plan, profile)
    for asked, record in {asked: record for record, asked in jobs}.items():
        submission.check_accepted(site, record, _parameters(asked, profile, record))


def submit(sweep: Sweep, ledger: Ledger, profile: Profile, args: argparse.Namespace) -> str:
    """Submit the driver of a sweep as a job, or find the one there is; returns what to tell the user.

    Raises:
        InputError: SLURM refuses it, or does not answer.
    """
    if profile.environment.kind == "image":
        raise InputError(
            "--driver job: environment.kind: image: sbatch may not be there in a container; use --driver here"
        )
    folder = (ledger.root / "driver" / sweep.label).absolute()
    watch = f"python -m suite.status {_quoted(sweep, args)} --follow"
    text = sweep.text
    if (found := _live(folder)) is not None:
        if (folder / "sweep.yaml").read_text(encoding="utf-8") != text:
            raise InputError(f"{sweep.path}: was edited since job {found.id} drives it: scancel {found.id}, and repeat")
        return f"the driver is there already: job {found.id}, {found.state}; {watch} shows how it goes"
    forget_job(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomic(folder / "sweep.yaml", text)
    write_text_atomic(folder / "profile.yaml", yaml.safe_dump(profile.model_dump(mode="json")))
    record = JobRecord.new(f"{sweep.name}.driver", "driver", folder)
    write_job(folder, record)
    site = Site.prepare(sweep.name, profile, ledger.root, folder)
    parameters = request.driver_parameters(profile, len(sweep.trials), name=record.name, comment=record.comment)
    call = (sweep_job.run_driver, _arguments(args, folder), str(Path.cwd()), profile.seconds_to_stop)
    try:
        job = submission.submit(site, record, parameters, *call)
    except submission.TransientSubmitError as error:
        raise InputError(f"sbatch: {error}: repeat the command: it looks whether the job is there") from None
    write_job(folder, record.model_copy(update={"id": job}))
    return f"the driver is job {job}, its output in {record.folder}; {watch} shows how it goes"


def _jobs(sweep: Sweep, ledger: Ledger, plan: Plan, profile: Profile) -> tuple[Site, list[tuple[JobRecord, Request]]]:
    """The jobs that a plan comes to, as they would be submitted."""
    site = Site.prepare(sweep.name, profile, ledger.root, ledger.root, write=False)
    if profile.pack == 1:
        asked = {trial_id: request.request_for(trial, profile) for trial_id, trial in plan.to_run.items()}
        abouts = list(asked.items())
    else:
        abouts = [(PACK, request.request_for_pack(profile))] * profile.num_jobs(len(plan.to_run))
    folders = {about: ledger.folder(about).absolute() for about, _ in abouts}
    return site, [(JobRecord.new(f"{sweep.name}.{about}", about, folders[about]), each) for about, each in abouts]


def _parameters(asked: Request, profile: Profile, record: JobRecord) -> dict[str, Any]:
    return request.parameters(asked, profile, name=record.name, comment=record.comment)


def _live(folder: Path) -> controller.Job | None:
    """The driver's job, if there is one."""
    record = read_job(folder)
    if record is None:
        return None
    jobs = controller.my_jobs()
    if jobs is None:
        raise InputError("squeue: the controller does not answer: nothing was submitted; try again later")
    job = record.found_in(jobs)
    if job is None or job.is_finished:
        return None
    if record.id is None:  # the answer of sbatch was lost
        submission.name_pickle(record, job.id)
        write_job(folder, record.model_copy(update={"id": job.id}))
    return job


def _arguments(args: argparse.Namespace, folder: Path) -> list[str]:
    """The command that the job runs: as it was given, with files that nobody edits."""
    given = [str(folder / "sweep.yaml"), "--results", str(args.results.absolute()), "--launcher", "slurm"]
    given += ["--profile", str(folder / "profile.yaml"), "--driver", "here", "--wait"]
    for flag in ("only", "set"):
        for text in getattr(args, flag):
            given += [f"--{flag}", text]
    given += ["--retry-failed"] if args.retry_failed else []
    return given + (["--data-dir", str(args.data_dir.absolute())] if args.data_dir else [])


def _quoted(sweep: Sweep, args: argparse.Namespace) -> str:
    return shlex.join([str(sweep.path), "--results", str(args.results)])
