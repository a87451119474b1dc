"""The recipes of images, as far as a machine without a container engine can run them: files, commands, versions."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.documents import ROOT

from suite.slurm.environment import python_command
from suite.slurm.profile import find_profile, load_profile

DOCKERFILE, DEFINITION = ROOT / "containers/Dockerfile", ROOT / "containers/suite.def"


def instructions(name: str) -> list[str]:
    """What follows the instructions of this name in the Dockerfile."""
    return re.findall(rf"(?m)^{name} (.*)$", DOCKERFILE.read_text())


def section(name: str) -> list[str]:
    """The lines of a section of the Apptainer definition."""
    found = re.search(rf"(?ms)^%{name}\n(.*?)(?=^%|\Z)", DEFINITION.read_text())
    assert found
    return [line.strip() for line in found[1].splitlines() if line.strip()]


def copied() -> list[str]:
    return [source for line in instructions("COPY") for source in line.split()[:-1]]


def test_both_are_of_one_python_which_the_suite_takes() -> None:
    (image,) = instructions("FROM")
    assert f"From: {image}" in DEFINITION.read_text().splitlines()
    version = re.fullmatch(r"python:(\d+\.\d+)-slim", image)
    assert version and f"Programming Language :: Python :: {version[1]}" in (ROOT / "pyproject.toml").read_text()
    assert f"the Python of the image ({version[1]})" in (ROOT / "docs/how-to/containers.md").read_text()


def test_both_copy_the_same_files_and_install_by_the_same_command() -> None:
    sources = [tuple(line.split()) for line in section("files")]
    assert [source for source, _ in sources] == copied()
    assert all(target == f"/opt/suite/{source}" and (ROOT / source).exists() for source, target in sources)
    install = instructions("RUN")[-1]
    assert section("post") == ["cd /opt/suite", install.replace('".$EXTRAS"', ".")]


def test_the_index_of_cpu_builds_gives_the_pinned_pair(tmp_path: Path) -> None:
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    first, _ = instructions("RUN")
    shown = subprocess.run(
        ["sh", "-ec", f"pip() {{ echo $*; }}; {first}"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "TORCH_INDEX": "ADDRESS"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.fullmatch(r"install --no-cache-dir --index-url ADDRESS torch==\S+ torchvision==\S+\n", shown)


@pytest.mark.slow
def test_the_commands_install_a_suite_that_runs(tmp_path: Path) -> None:
    """With the real pip, from the files that are copied and no others; packages that are here are not fetched."""
    code, installed = tmp_path / "opt", tmp_path / "installed"
    for name in copied():
        target = code / name
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, _with_parent(target))
    (tmp_path / "bin").mkdir()
    offline = f"--no-index --no-deps --no-build-isolation --quiet --target {installed}"
    (tmp_path / "bin/pip").write_text(f'#!/bin/sh\nexec {sys.executable} -m pip "$@" {offline}\n')
    (tmp_path / "bin/pip").chmod(0o755)
    environment = {**os.environ, "EXTRAS": "", "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    for line in instructions("RUN"):
        subprocess.run(["sh", "-ec", line], cwd=code, env=environment, check=True, capture_output=True)
    for command in (*section("test"), "python -m suite list sweeps", "python -m suite.sweep width_vs_acc --dry-run"):
        words = [sys.executable, *command.split()[1:]]
        done = subprocess.run(
            words,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(installed)},
            capture_output=True,
            text=True,
            check=True,
        )
    assert "120 to run" in done.stdout
    assert (installed / "bin/suite").is_file() and (installed / "suite/sweeps/sweep.schema.json").is_file()


def _with_parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_the_profile_starts_python_in_the_image() -> None:
    profile = load_profile(find_profile("gpu-container"))
    command = python_command(profile, Path("unused")).split()
    assert command[:2] == ["apptainer", "exec"] and command[-2].endswith("suite.sif") and command[-1] == "python"
    assert profile.max_live_jobs <= 16, "else the driver would be a job, which a container cannot submit"
