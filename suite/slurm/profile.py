"""Cluster profiles: what a cluster is asked for, as data. A file ``slurm/NAME.yaml``."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from suite.config import Count, InputError, Settings, shipped, yaml_text
from suite.config.error_messages import explain, nearest, short

_HERE = Path("slurm")
_OURS = {  # sbatch parameters that the suite decides
    "comment", "job-name", "output", "error", "nodes", "ntasks", "ntasks-per-node", "gpus", "gpus-per-node",
    "gpus-per-task", "gpus-per-socket", "requeue", "no-requeue", "signal", "open-mode", "array", "chdir", "export",
    "clusters", "hold", "wait", "parsable", "quiet", "test-only", "wrap",
}  # fmt: skip
_UNNAMEABLE = (os.pathsep, "%", "\\", "\n", "\r")  # PYTHONPATH has one meaning of these, names of log files others
_KEYS = {  # those that have a key here
    "partition": "partition", "account": "account", "qos": "qos", "constraint": "constraint", "mem": "memory_gb",
    "time": "timeout_min", "cpus-per-task": "cpus_per_task",
}  # fmt: skip
Text = Annotated[str, Field(min_length=1)]
Gigabytes = Annotated[float, Field(ge=0.01)]


class Environment(Settings):
    """Where a job's Python comes from."""

    kind: Literal["venv", "archive", "image"] = "venv"
    """A virtual environment on shared storage, an archive that is unpacked once per node, or a container image."""

    python: Text | None = None
    """For ``venv``: its Python; unset: the one that submits."""

    archive: Text | None = None
    """For ``archive``: a tar file with ``bin/python`` in it."""

    launch: Text | None = None
    """For ``image``: the command that starts Python in the container."""

    @field_validator("python", "archive", "launch")
    @classmethod
    def _belongs(cls, value: str | None, info: ValidationInfo) -> str | None:
        kind = {"python": "venv", "archive": "archive", "launch": "image"}[str(info.field_name)]
        if value is not None and info.data.get("kind", kind) != kind:
            raise ValueError(f"belongs to kind: {kind}")
        return str(Path(value).absolute()) if value and kind != "image" and "/" in value else value


class DriverSettings(Settings):
    """The small job in which Ray runs and from which trials are submitted, with ``--driver job``."""

    partition: str | None = None
    """Its partition; unset: that of the trials."""

    cpus_per_task: Count = 2
    """Its CPUs."""

    memory_gb: Gigabytes | None = None
    """Its memory in GB; unset: what following so many jobs takes."""

    timeout_min: Count = 1440
    """Its time limit in minutes."""


class Profile(Settings):
    """What each job asks for. Sizes are of one node; a trial says how many processes and GPUs it has."""

    partition: str | None = None
    """Partition of the jobs; unset: the cluster's default."""

    account: str | None = None
    """Account that is charged; unset: the cluster's default."""

    qos: str | None = None
    """Quality of service; unset: the cluster's default."""

    constraint: str | None = None
    """Features that nodes must have, as sbatch takes them."""

    nodes: Count | None = None
    """Nodes over which a trial is spread, or nodes of one job of packed trials; unset: as few as hold a trial."""

    tasks_per_node: Count = 1
    """Processes of a trial on one node, at most."""

    gpus_per_node: Annotated[int, Field(ge=0)] = 0
    """GPUs of one node, at most."""

    cpus_per_task: Count = 1
    """CPUs of each process."""

    memory_gb: Gigabytes | None = None
    """Memory of a node for one trial, in GB; unset: the cluster's default."""

    timeout_min: Count = 60
    """Time limit in minutes; a trial that needs longer resumes in the next job."""

    signal_seconds: Annotated[int, Field(ge=1)] = 90
    """Seconds before the time limit at which a trial saves itself."""

    extra: dict[str, Any] = Field(default_factory=dict)
    """More long options of sbatch, as ``exclude: node7``."""

    setup: list[str] = Field(default_factory=list)
    """Lines of shell that run before Python."""

    shared: Text | None = None
    """Folder that all nodes see; results must be below it. Unset: not checked."""

    scratch: str = "${TMPDIR:-/tmp}"
    """Folder on the disk of each node."""

    environment: Environment = Environment()
    """Where Python comes from."""

    max_live_jobs: Count = 32
    """Jobs that wait or run at the same time."""

    status_every_seconds: Annotated[float, Field(ge=30)] = 30.0
    """Seconds between two questions to SLURM's controller, which serves others too."""

    pack: Count = 1
    """Trials that share one job."""

    driver: DriverSettings = DriverSettings()
    """The job that submits trials, with ``--driver job``."""

    @field_validator("environment")
    @classmethod
    def _complete(cls, environment: Environment) -> Environment:
        needs = {"archive": "archive", "image": "launch"}.get(environment.kind)
        if needs and getattr(environment, needs) is None:
            raise ValueError(f"kind: {environment.kind} needs {needs}")
        return environment

    @field_validator("extra")
    @classmethod
    def _not_ours(cls, extra: dict[str, Any]) -> dict[str, Any]:
        for key, value in extra.items():
            plain = key.replace("_", "-").lstrip("-")
            if not re.fullmatch(r"[a-z][a-z-]+", plain):
                raise ValueError(f"{key} must be a long option of sbatch, as exclude")
            if not isinstance(value, str | int | float):
                raise ValueError(f"{key} must be a text, a number or true")
            if plain in _OURS:
                raise ValueError(f"{key} is decided by the suite")
            if plain in _KEYS:
                raise ValueError(f"{key} has a key of its own: {_KEYS[plain]}")
        return extra

    @field_validator("signal_seconds")
    @classmethod
    def _some_time_first(cls, seconds: int, info: ValidationInfo) -> int:
        minutes = info.data.get("timeout_min")
        if minutes is not None and seconds >= 60 * minutes:
            raise ValueError(
                f"must be less than timeout_min: {minutes}: a trial needs time before it is to save itself"
            )
        return seconds

    @field_validator("driver")
    @classmethod
    def _some_time_for_it(cls, driver: DriverSettings, info: ValidationInfo) -> DriverSettings:
        seconds = info.data.get("signal_seconds", 0)
        if seconds >= 60 * driver.timeout_min:
            raise ValueError(f"timeout_min must be more than signal_seconds: {seconds}")
        return driver

    @property
    def seconds_to_train(self) -> float:
        """What an allocation leaves for start-up and training: from its beginning to the warning."""
        return 60.0 * self.timeout_min - self.signal_seconds

    @property
    def seconds_to_stop(self) -> float:
        """What a job may use of its warning, so that it can still ask to be requeued."""
        return max(5.0, self.signal_seconds - 15.0)

    def num_jobs(self, num_trials: int) -> int:
        """How many jobs so many trials come to."""
        return -(-num_trials // self.pack)

    def check_place(self, folder: Path) -> None:
        """Raise InputError where compute nodes would not see a folder, or jobs could not name it."""
        if found := [sign for sign in _UNNAMEABLE if sign in str(folder.absolute())]:
            raise InputError(
                f"--results {str(folder)!r}: has {found[0]!r} in its path, which means something else in PYTHONPATH or "
                "in the names of log files: jobs need another folder"
            )
        if self.shared is not None and not folder.resolve().is_relative_to(Path(self.shared).resolve()):
            raise InputError(
                f"--results {folder}: compute nodes may not see it: must lie below shared: {self.shared}, as in "
                f"--results {Path(self.shared) / 'results'}"
            )


def load_profile(path: Path) -> Profile:
    """Read a profile.

    Raises:
        InputError: with one line for each mistake.
    """
    try:
        document = yaml_text.read(path.read_text(encoding="utf-8"), str(path), is_file=True)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text: {error}") from None
    raw = {} if document.value is None else document.value
    if not isinstance(raw, dict):
        raise InputError(f"{path}: {short(raw)}: a profile must be a mapping")
    try:
        return Profile.model_validate(raw)
    except ValidationError as error:
        lines = (explain(e, Profile, raw, {}) for e in error.errors())
        raise InputError(*(document.located(line, str(path)) for line in lines if line)) from None


def find_profile(name: str | None) -> Path:
    """The file of a profile: a path, or the name of a file in ``slurm/``, here or of the suite.

    Raises:
        InputError: there is none; it says which there are.
    """
    if name is not None:
        here = _HERE / f"{name.removesuffix('.yaml')}.yaml"
        path = (
            here if not os.path.isfile(name) and os.path.isfile(here) else shipped.resolve(Path(name), shipped.PROFILES)
        )
        if os.path.exists(path) and not os.path.isdir(path):  # a pipe, too
            return path
    asked = "is needed with --launcher slurm" if name is None else f"{name}: no such file or profile"
    there = nearest(name, [*(path.stem for path in _HERE.glob("*.yaml")), *shipped.PROFILES.files])
    raise InputError(f"--profile: {asked}; there are: {there or 'none in slurm/'}; or give a path")
