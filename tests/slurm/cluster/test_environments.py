"""Where the Python of a job comes from: each way runs a real trial."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.slurm_cluster import Cluster
from support.slurm_trials import Following, profile
from support.trial_processes import trial_of, unexpected_files

pytestmark = pytest.mark.slow

TRIAL = trial_of("weights", processes=2, epochs=1)


def run(cluster: Cluster, folder: Path, **changes: Any) -> None:
    """A trial of two tasks on one node."""
    with Following(TRIAL, folder / "results", profile(nodes=1, **changes)) as following:
        job = following.wait_job()
        assert following.wait().status == "done"
    assert cluster.wait_over(job)["state"] == "COMPLETED"
    assert unexpected_files(following.folder) == []


def test_an_archive_unpacked_once_for_both_tasks(cluster: Cluster, tmp_path: Path) -> None:
    python = tmp_path / "environment" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\necho "$0" >> {tmp_path}/started\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    archive = tmp_path / "environment.tar"
    subprocess.run(["tar", "-cf", archive, "-C", tmp_path / "environment", "bin"], check=True)
    scratch = tmp_path / "scratch"
    run(cluster, tmp_path, environment={"kind": "archive", "archive": str(archive)}, scratch=str(scratch))
    started = (tmp_path / "started").read_text().split()
    assert len(started) == 2 and len(set(started)) == 1
    assert Path(started[0]).is_relative_to(scratch)
    assert len(list(scratch.iterdir())) == 1


@pytest.mark.parametrize("kind", ["venv", pytest.param("image", marks=pytest.mark.long)])
def test_another_python(cluster: Cluster, tmp_path: Path, kind: str) -> None:
    python = tmp_path / "python with a space"
    python.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/started\nshift\nexec {shlex.quote(sys.executable)} "$@"\n')
    if kind == "venv":
        python.write_text(python.read_text().replace('echo "$1"', "echo venv").replace("shift\n", ""))
    python.chmod(0o755)
    launch = {
        "venv": {"python": str(python)},
        "image": {"kind": "image", "launch": f"{shlex.quote(str(python))} inside"},
    }
    run(cluster, tmp_path, environment=launch[kind])
    assert (tmp_path / "started").read_text().split() == 2 * [{"venv": "venv", "image": "inside"}[kind]]
