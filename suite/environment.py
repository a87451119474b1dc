"""Variables of the caller's shell that would change what the suite promises, and what becomes of each.

``TABLE`` is the one place that says so; ``docs/reference/environment.md`` shows it.
"""

import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from suite.config import InputError

Fate = Literal["kept", "removed", "removed if empty", "set", "default", "refused"]


@dataclass(frozen=True)
class Rule:
    """What becomes of some variables.

    ``names`` are words, ``*`` stands for any letters. ``value`` belongs to "set", and to "default", which sets a
    variable that the caller has not set.
    """

    fate: Fate
    names: str
    why: str
    value: str = ""

    def covers(self, name: str, value: str) -> bool:
        """This rule is about a variable of that name and value."""
        if self.fate == "removed if empty" and value.strip():
            return False
        return any(fnmatchcase(name, pattern) for pattern in self.names.split())


_LOOPBACK_HOSTS = "localhost:*,127.0.0.1:*,[[]::1]:*,suite.localhost:*"
# For each program, the first rule that covers a variable decides; a variable that none covers is passed on.
TABLE: dict[str, tuple[Rule, ...]] = {
    "slurm": (
        Rule("kept", "SLURM_CONF SLURM_CONF_SERVER SLURM_JWT", "say which cluster is asked, and as whom"),
        Rule("removed", "SBATCH_*", "sbatch lets them override the job script, and so the profile"),
        Rule(
            "removed", "SRUN_* SLURM_* SLURMD_* SALLOC_*", "describe the job we may be in; srun takes them as options"
        ),
        Rule("removed", "SQUEUE_* SCANCEL_* SCONTROL_* SINFO_* SACCT_*", "hide jobs, or change how they are printed"),
        Rule("removed", "PMI* SUBMITIT_*", "describe the job we may be in"),
        Rule("set", "LC_ALL", "messages are read (for squeue, scancel, scontrol and sbatch --test-only)", "C"),
    ),
    "git": (
        Rule("removed", "GIT_CONFIG_PARAMETERS", "git -c sets it for the repository of its caller"),
        Rule("kept", "GIT_CONFIG_* GIT_EXEC_PATH", "say where git is, and whose folders it trusts"),
        Rule("removed", "GIT_*", "name another repository, as in a hook or git rebase --exec"),
    ),
    "ray": (
        Rule("set", "RAY_AIR_NEW_OUTPUT", "the new display always prints a table", "0"),
        Rule("set", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "a trial without a GPU keeps CUDA_VISIBLE_DEVICES", "0"),
        Rule("set", "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS RAY_USAGE_STATS_ENABLED", "silent, and private", "0"),
        Rule("set", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "the records are the log", "1"),
        Rule("set", "TUNE_GLOBAL_CHECKPOINT_S", "of Tune's own state: the ledger has what counts", str(10**9)),
        Rule("set", "RAY_enable_worker_prestart RAY_prestart_worker_first_driver", "those workers stay idle", "0"),
        Rule("set", "TUNE_MAX_PENDING_TRIALS_PG", "with 1, Tune's choice here, a worker waits for a trial", "16"),
        Rule("removed if empty", "RAY_memory_*", "an empty one ends Ray as it is loaded"),
        Rule("kept", "RAY_memory_*", "when Ray ends processes because memory is short"),
        Rule("set", "RAY_gcs_server_request_timeout_seconds RAY_gcs_server_port_wait_time_s", "a busy machine", "180"),
        Rule("set", "RAY_raylet_start_wait_time_s", "a busy machine (30, Ray's own choice, is too short)", "60"),
        Rule("set", "RAY_worker_register_timeout_seconds", "a busy machine", "300"),
        Rule("set", "RAY_agent_register_timeout_ms", "a busy machine", "180000"),
        Rule("removed", "RAY_* TUNE_*", "lead to another Ray, add resources or folders, change what Tune does"),
    ),
    "mlflow": (
        Rule("removed if empty", "MLFLOW_*", "an empty one counts as unset"),
        Rule("removed", "MLFLOW_ENABLE_ASYNC_LOGGING", "a run would be FINISHED before its metrics are there"),
        Rule("removed", "MLFLOW_TRUNCATE_LONG_VALUES", "a long value of a setting would be an error"),
        Rule("removed", "MLFLOW_RUN_ID MLFLOW_EXPERIMENT_ID MLFLOW_EXPERIMENT_NAME", "belong to the caller's own run"),
        Rule("default", "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "an absent server blocks a call for minutes", "1"),
        Rule("default", "MLFLOW_HTTP_REQUEST_TIMEOUT", "an absent server blocks a call for minutes", "20"),
        Rule(
            "default", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT MLFLOW_DISABLE_TELEMETRY", "silent, and private", "true"
        ),
        Rule(
            "default",
            "MLFLOW_SQLALCHEMYSTORE_POOLCLASS",
            "a copy of the store that stays open keeps its room",
            "NullPool",
        ),
    ),
    "mlflow server": (
        Rule("set", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "eight more processes, for language models", "false"),
        Rule("set", "MLFLOW_DISABLE_TELEMETRY", "private", "true"),
        Rule("set", "MLFLOW_SERVER_ALLOWED_HOSTS", "names of this machine alone", _LOOPBACK_HOSTS),
        Rule("set", "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", "the page's own name", "http://suite.localhost:*"),
        Rule("removed if empty", "MLFLOW_*", "an empty one counts as unset"),
        Rule("kept", "MLFLOW_S3_* MLFLOW_MYSQL_* MLFLOW_SQLALCHEMYSTORE_*", "say how a store is reached"),
        Rule("removed", "MLFLOW_*", "change what is served, where, and to whom"),
        Rule("removed", "UVICORN_* GUNICORN_* FLASK_* WEB_CONCURRENCY", "change what is served, where, and to whom"),
    ),
    "matplotlib": (
        Rule("removed", "MPLBACKEND", "figures are files; a notebook's backend is missing here"),
        Rule(
            "removed",
            "MATPLOTLIBRC",
            "figures look the same everywhere (a matplotlibrc in a folder does not count either)",
        ),
    ),
    "python": (
        Rule("kept", "PYTHONPATH PYTHONSAFEPATH", "the suite sets both for what it starts: its own code comes first"),
        Rule("removed", "PYTHONWARNINGS PYTHONDEVMODE", "warnings of libraries would become errors"),
        Rule("removed", "PYTHONINSPECT PYTHONSTARTUP", "a process that should end would wait for input"),
        Rule(
            "removed",
            "PYTHONOPTIMIZE",
            "leaves out checks (assert); a command with 2 or -OO ends: Ray reads docstrings",
        ),
        Rule("removed", "PYTHONIOENCODING PYTHONVERBOSE PYTHONPROFILEIMPORTTIME", "processes read each other's output"),
    ),
    "ranks": (
        Rule("removed", "RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE", "say which process of the caller's job this is"),
        Rule("removed", "GROUP_RANK GROUP_WORLD_SIZE ROLE_* MASTER_ADDR MASTER_PORT TORCHELASTIC_*", "the same"),
        Rule("removed", "SUITE_RENDEZVOUS", "the place where another trial's processes meet"),
    ),
    "numbers": (
        Rule("removed", "NVIDIA_TF32_OVERRIDE TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "the setting tf32 decides"),
        Rule("removed", "ONEDNN_DEFAULT_FPMATH_MODE DNNL_DEFAULT_FPMATH_MODE", "the setting precision decides"),
        Rule("removed", "ONEDNN_MAX_CPU_ISA DNNL_MAX_CPU_ISA ONEDNN_CPU_ISA_HINTS DNNL_CPU_ISA_HINTS", "change bits"),
        Rule("removed", "MKL_CBWR MKL_ENABLE_INSTRUCTIONS MKL_DEBUG_CPU_TYPE MKL_DYNAMIC", "change bits"),
        Rule("kept", "ATEN_CPU_CAPABILITY", "records name it with the processor"),
    ),
    "threads": (
        Rule(
            "refused", "OMP_DYNAMIC OMP_THREAD_LIMIT", "a trial would have fewer threads than its setting threads says"
        ),
    ),
}
_QUIET_WARNINGS = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
_WHO = {
    "slurm": "`sbatch`, `srun`, `squeue`, `scancel`, `scontrol`, and what jobs inherit",
    "git": "`git`, asked for the commit of this checkout",
    "ray": "Ray and Tune, in a sweep",
    "mlflow": "MLflow, when results are published",
    "mlflow server": "MLflow's server, started by `suite.ui`",
    "matplotlib": "matplotlib, when figures are drawn",
    "python": "every Python that a command starts",
    "ranks": "the trials of a sweep, jobs, and ranks that a launcher starts; `suite.train` itself reads them",
    "numbers": "torch and its libraries, in every trial",
    "threads": "torch's threads, when it is imported",
}


def cleaned(environ: Mapping[str, str], *programs: str) -> dict[str, str]:
    """Return a copy of an environment as some programs get it."""
    found = dict(environ)
    for program in programs:
        rules = TABLE[program]
        found = {name: value for name, value in found.items() if not _is_dropped(name, value, rules)}
        for rule in rules:
            if rule.fate in ("set", "default"):
                given = dict.fromkeys(rule.names.split(), rule.value)
                found = {**found, **given} if rule.fate == "set" else {**given, **found}
    return found


def clean(*programs: str) -> None:
    """Change this process's environment to what ``cleaned`` returns."""
    wanted = cleaned(os.environ, *programs)
    for name in os.environ.keys() - wanted:
        del os.environ[name]
    os.environ.update(wanted)


def clean_command() -> None:
    """Change the environment of a command to what it and the processes that it starts need.

    Raises:
        InputError: Python itself was started in a way in which libraries fail.
    """
    if sys.flags.optimize > 1:
        raise InputError("environment: PYTHONOPTIMIZE=2, or python -OO: libraries need their docstrings: unset it")
    if os.environ.get("PYTHONWARNINGS") or os.environ.get("PYTHONDEVMODE"):
        sys.warnoptions.clear()
        warnings.resetwarnings()
        for category in _QUIET_WARNINGS:  # as Python does without these variables
            warnings.simplefilter("ignore", category)
    clean("matplotlib", "python", "numbers")
    if os.path.expanduser("~") == "~":  # no HOME, and a user id that the system does not know: libraries fail
        os.environ["HOME"] = "/"


@contextmanager
def without(*programs: str) -> Iterator[None]:
    """Keep variables from what is imported while this is entered."""
    before = dict(os.environ)
    clean(*programs)
    try:
        yield
    finally:
        os.environ.update(before)


def dropped(environ: Mapping[str, str], program: str, pattern: str) -> list[str]:
    """Return the names of variables that a program does not get, of those that match ``pattern``, sorted."""
    found = [name for name in environ.keys() - cleaned(environ, program).keys() if fnmatchcase(name, pattern)]
    return sorted(found)


def refuse(*programs: str) -> None:
    """Raise InputError where a variable is set that these programs cannot be kept from reading."""
    rules = [rule for program in programs for rule in TABLE[program] if rule.fate == "refused"]
    found = [
        (f"{name}={value}", rule.why)
        for name, value in os.environ.items()
        for rule in rules
        if rule.covers(name, value)
    ]
    if found:
        raise InputError(*(f"environment: {what}: must not be set: {why}: unset it" for what, why in found))


def table() -> str:
    """Return the table as Markdown, as the documentation has it."""
    return "\n".join(line for program in TABLE for line in _section(program))


def _section(program: str) -> Iterable[str]:
    yield from (
        f"### {program}",
        "",
        f"Read by {_WHO[program]}.",
        "",
        "| variables | what becomes of them | why |",
        "|:--|:--|:--|",
    )
    for rule in TABLE[program]:
        value = f" to `{rule.value}`" if rule.value else ""
        fate = {"default": f"set{value}, unless set", "refused": "removed; refused by `suite.train`"}.get(
            rule.fate, rule.fate + value
        )
        yield f"| {' '.join(f'`{name}`' for name in rule.names.split())} | {fate} | {rule.why} |"
    yield ""


def _is_dropped(name: str, value: str, rules: Iterable[Rule]) -> bool:
    rule = next((rule for rule in rules if rule.covers(name, value)), None)
    return rule is not None and rule.fate.startswith(("removed", "refused"))
