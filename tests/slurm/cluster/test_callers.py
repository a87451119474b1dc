"""Jobs of callers with variables, folders and code of their own."""

import os
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from support.slurm_cluster import Cluster
from support.slurm_trials import TRIAL, Following, profile
from support.stores import write_empty_store
from support.sweep_processes import ROOT, run_sweep, write_sweep
from support.trial_processes import unexpected_files

from suite.config import InputError
from suite.tracking.store import DATABASE, URI_VARIABLE, store_uri

pytestmark = pytest.mark.slow

STRANGE = {  # each makes all jobs fail, changes what they ask for, hides them, or makes them others
    "SBATCH_EXPORT": "NONE",
    "SBATCH_PARTITION": "high",
    "SBATCH_TIMELIMIT": "3",
    "SBATCH_NO_REQUEUE": "1",
    "SBATCH_JOB_NAME": "mine",
    "SBATCH_MEM_PER_NODE": "100M",
    "SBATCH_OUTPUT": "/dev/null",
    "SBATCH_OPEN_MODE": "truncate",
    "SBATCH_SIGNAL": "KILL@1",
    "SBATCH_ARRAY_INX": "1-3",
    "SBATCH_WAIT": "1",
    "SBATCH_EXCLUSIVE": "1",
    "SBATCH_GPUS": "16",
    "SBATCH_ACCOUNT": "other",
    "SBATCH_CONSTRAINT": "nowhere",
    "SLURM_EXPORT_ENV": "NONE",
    "SRUN_EXPORT_ENV": "NONE",
    "SLURM_HINT": "nomultithread",
    "SLURM_NTASKS": "3",
    "SLURM_STDOUTMODE": "none",
    "SLURM_EXIT_ERROR": "0",
    "SLURM_TIME_FORMAT": "relative",
    "SLURM_JOB_ID": "1",
    "SQUEUE_FORMAT": "%i",
    "SQUEUE_STATES": "PD",
    "SQUEUE_NAMES": "other",
    "SCANCEL_INTERACTIVE": "1",
    "RANK": "3",
    "LOCAL_RANK": "3",
    "WORLD_SIZE": "8",
    "MASTER_ADDR": "192.0.2.1",
    "MASTER_PORT": "1",
}


def test_variables_of_the_callers_shell_and_signs_in_the_name_of_the_folder(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = yaml.safe_load((ROOT / "slurm" / "test.yaml").read_text())
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump(settings))
    write_sweep(tmp_path / "s.yaml", seeds=(1,), epochs=1)
    with monkeypatch.context() as shell:
        for name, value in STRANGE.items():
            shell.setenv(name, value)
        shell.setenv(URI_VARIABLE, store_uri(write_empty_store(tmp_path / DATABASE).parent))
        flags = ("s.yaml", "--launcher", "slurm", "--profile", "profile.yaml", "--results", "my ${HOME} 'results'?")
        status, output = run_sweep(*flags, "--set", "processes=2", cwd=tmp_path)
    assert status == 0, output
    named = sorted(name for name in STRANGE if name.startswith("SBATCH_"))
    assert f"{', '.join(named)}: not used: the profile says what jobs ask for" in output
    jobs = [job for job in cluster.jobs() if job["name"].startswith("tiny.")]
    assert len(jobs) == 3 and not [job for job in cluster.jobs() if job["name"] == "mine"]
    assert len(list(tmp_path.glob("my */trials/*/result.json"))) == 3
    assert all(unexpected_files(path) == [] for path in tmp_path.glob("my */trials/*"))


def test_a_job_that_finds_other_code_runs_none_of_it(cluster: Cluster, tmp_path: Path) -> None:
    """As in a container whose entry sets PYTHONPATH anew: another version is installed there."""
    other = tmp_path / "other"
    shutil.copytree(ROOT / "suite", other / "suite")
    launch = f"env PYTHONPATH={shlex.quote(str(other))} {shlex.quote(sys.executable)}"
    before = cluster.num_submitted()
    with (
        Following(TRIAL, tmp_path / "results", profile(environment={"kind": "image", "launch": launch})) as following,
        pytest.raises(InputError, match=r"other: a job has found this code, not the copy [0-9a-f]{16}\.zip"),
    ):
        following.wait()
    assert cluster.num_submitted() - before == 1
    assert not list(following.folder.glob("attempt-*"))


def test_a_folder_that_jobs_cannot_name_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    write_sweep(tmp_path / "s.yaml", seeds=(1,), epochs=1)
    before = cluster.num_submitted()
    for name in ("results_12:30:00", "a\\b", "per%cent"):
        flags = ("s.yaml", "--launcher", "slurm", "--profile", str(ROOT / "slurm/test.yaml"), "--results", name)
        for more in ((), ("--dry-run",), ("--driver", "job")) if ":" in name else ((),):
            status, output = run_sweep(*flags, *more, cwd=tmp_path, timeout=60)
            assert status == 2 and output.startswith(f"--results {name!r}: "), output
            assert len(output.splitlines()) == 1 and not os.path.exists(tmp_path / name)
    assert cluster.num_submitted() == before
