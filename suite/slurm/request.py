"""From a trial and a profile to what one job asks for."""

import math
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.config import InputError, Trial, plugins
from suite.slurm.profile import Profile

_DRIVER_GIGABYTES, _FOLLOWER_GIGABYTES = 1.0, 0.15  # measured: benchmarks/results/slurm_costs.md, and some


@dataclass(frozen=True)
class Request:
    """Nodes of one job, and what each has."""

    nodes: int
    tasks_per_node: int
    cpus_per_task: int
    gpus_per_node: int

    def gpu_hours(self, profile: Profile) -> float:
        """GPU-hours of one allocation that uses all its time."""
        return self.nodes * self.gpus_per_node * profile.timeout_min / 60


def request_for(trial: Trial, profile: Profile) -> Request:
    """What the job of one trial asks for.

    Raises:
        InputError: the trial does not fit on the nodes of the profile.
    """
    processes, gpus = trial.processes, math.ceil(trial.resources.gpus)
    nodes = profile.nodes or math.ceil(processes / profile.tasks_per_node)
    if processes % nodes or processes // nodes > profile.tasks_per_node:
        raise InputError(
            f"processes: {processes}: cannot be spread evenly over {nodes} nodes with at most tasks_per_node: "
            f"{profile.tasks_per_node}; set nodes or tasks_per_node of the profile, or processes"
        )
    per_node = math.ceil(gpus / nodes)
    if per_node > profile.gpus_per_node:
        raise InputError(
            f"resources.gpus: {trial.resources.gpus:g}: {per_node} on each node, the profile has gpus_per_node: "
            f"{profile.gpus_per_node}"
        )
    cpus = max(profile.cpus_per_task, trial.threads, math.ceil(trial.num_cpus / processes))
    return Request(nodes, processes // nodes, cpus, per_node)


def check_fits(trial: Trial, profile: Profile) -> None:
    """Raise InputError where a trial does not fit into a job of the profile."""
    if profile.pack == 1:
        request_for(trial, profile)
        return
    node = request_for_pack(profile)
    for kind, asked, there in (
        ("cpus", trial.num_cpus, node.cpus_per_task),
        ("gpus", trial.resources.gpus, node.gpus_per_node),
    ):
        if asked > there:
            raise InputError(
                f"resources.{kind}: {asked:g}: more than the {there} of one node (tasks_per_node, {kind[:-1]}s_per_"
                f"{'task' if kind == 'cpus' else 'node'} of the profile), on which a packed trial has to fit"
            )


def request_for_pack(profile: Profile) -> Request:
    """What the job of packed trials asks for: whole nodes, one task on each, in which Ray places the trials."""
    cpus = profile.cpus_per_task * profile.tasks_per_node
    return Request(profile.nodes or 1, 1, cpus, profile.gpus_per_node)


def parameters(request: Request, profile: Profile, *, name: str, comment: str) -> dict[str, Any]:
    """The parameters of submitit for a job of trials."""
    given = {
        "partition": profile.partition,
        "account": profile.account,
        "qos": profile.qos,
        "constraint": profile.constraint,
        "mem": profile.memory_gb and _memory(profile.memory_gb),
        "gpus_per_node": request.gpus_per_node or None,
    }
    return {
        **{key: value for key, value in given.items() if value is not None},
        "job_name": name,
        "comment": comment,
        "nodes": request.nodes,
        "ntasks_per_node": request.tasks_per_node,
        "cpus_per_task": request.cpus_per_task,
        "time": profile.timeout_min,
        "signal_delay_s": profile.signal_seconds,
        "wckey": None,
        # srun takes none of its CPUs from sbatch since SLURM 22.05; a rank that dies must not strand the others
        "srun_args": ["--export=ALL", f"--cpus-per-task={request.cpus_per_task}", "--kill-on-bad-exit=1"],
        "additional_parameters": {"requeue": True, "export": "ALL", **profile.extra},
    }


def driver_parameters(profile: Profile, num_trials: int, *, name: str, comment: str) -> dict[str, Any]:
    """The parameters of submitit for the job of a driver: small, and no GPU."""
    driver = profile.driver
    jobs = min(profile.max_live_jobs, profile.num_jobs(num_trials))
    small = profile.model_copy(
        update={
            "partition": driver.partition or profile.partition,
            "memory_gb": driver.memory_gb or _DRIVER_GIGABYTES + jobs * _FOLLOWER_GIGABYTES,
            "timeout_min": driver.timeout_min,
        }
    )
    return parameters(Request(1, 1, driver.cpus_per_task, 0), small, name=name, comment=comment)


def setup_lines(profile: Profile, archive: str, plugin_files: Sequence[Path] = ()) -> list[str]:
    """Lines of shell before Python starts: the profile's, then our code before any that is installed, and plugins."""
    files = shlex.quote(os.pathsep.join(map(str, plugin_files)))
    code = shlex.quote(archive)
    return [
        "export SUITE_JOB_STARTED=$(date +%s)",
        *profile.setup,
        f'export SUITE_SCRATCH="{profile.scratch}"',
        f"export PYTHONPATH={code}${{PYTHONPATH:+:$PYTHONPATH}}",
        "export PYTHONSAFEPATH=1  # not the folder it was submitted from",
        *([f"export {plugins.FILES}={files}"] if plugin_files else []),
    ]


def _memory(gigabytes: float) -> str:
    return f"{round(gigabytes * 1024)}M"
