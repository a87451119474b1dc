"""What one job asks for, and how its Python starts: also unpacked on a node, by the real script."""

import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from support.trial_processes import trial_of, wait_for

from suite.config import InputError, Trial
from suite.slurm.environment import python_command
from suite.slurm.profile import Environment, Profile
from suite.slurm.request import (
    Request,
    check_fits,
    driver_parameters,
    parameters,
    request_for,
    request_for_pack,
    setup_lines,
)


def trial(processes: int = 1, gpus: float = 0, **more: Any) -> Trial:
    return trial_of("weights", processes=processes, resources={"gpus": gpus}, **more)


def node(**settings: Any) -> Profile:
    return Profile.model_validate(settings)


EIGHT = {"tasks_per_node": 8, "gpus_per_node": 8, "cpus_per_task": 8}


# Sizes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("processes", "gpus", "profile", "nodes", "tasks", "gpus_each"),
    [
        (1, 0, {}, 1, 1, 0),
        (1, 0, EIGHT, 1, 1, 0),
        (1, 1, EIGHT, 1, 1, 1),
        (1, 0.25, EIGHT, 1, 1, 1),  # a job has whole ones
        (2, 2, EIGHT, 1, 2, 2),
        (8, 8, EIGHT, 1, 8, 8),
        (16, 16, EIGHT, 2, 8, 8),
        (4, 0, {"tasks_per_node": 2}, 2, 2, 0),
        (4, 0, {}, 4, 1, 0),
        (4, 4, {**EIGHT, "nodes": 2}, 2, 2, 2),
        (4, 4, {**EIGHT, "nodes": 4}, 4, 1, 1),
        (16, 0, {**EIGHT, "nodes": 1, "tasks_per_node": 16}, 1, 16, 0),
    ],
)
def test_sizes(processes: int, gpus: float, profile: dict[str, Any], nodes: int, tasks: int, gpus_each: int) -> None:
    made, given = request_for(trial(processes, gpus), node(**profile)), node(**profile)
    assert made == Request(nodes, tasks, given.cpus_per_task, gpus_each)
    check_fits(trial(processes, gpus), given)


@pytest.mark.parametrize(
    ("processes", "gpus", "profile", "told"),
    [
        (1, 0, {"nodes": 2}, "processes: 1: cannot be spread evenly over 2 nodes"),
        (16, 0, {**EIGHT, "nodes": 1}, "processes: 16: cannot be spread evenly over 1 nodes"),
        (8, 0, {"tasks_per_node": 3}, "processes: 8: cannot be spread evenly over 3 nodes with at most tasks_per_node"),
        (1, 1, {}, "resources.gpus: 1: 1 on each node, the profile has gpus_per_node: 0"),
        (8, 8, {**EIGHT, "gpus_per_node": 4}, "resources.gpus: 8: 8 on each node, the profile has gpus_per_node: 4"),
    ],
)
def test_what_fits_nowhere(processes: int, gpus: float, profile: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        request_for(trial(processes, gpus), node(**profile))
    with pytest.raises(InputError, match=told):
        check_fits(trial(processes, gpus), node(**profile))


def test_a_trial_of_many_threads_has_a_cpu_for_each() -> None:
    assert request_for(trial(threads=12), node(cpus_per_task=4)).cpus_per_task == 12


def test_gpu_hours() -> None:
    profile = node(timeout_min=90, **EIGHT)
    assert request_for(trial(16, 16), profile).gpu_hours(profile) == 24
    assert request_for(trial(), profile).gpu_hours(profile) == 0
    assert request_for_pack(profile).gpu_hours(profile) == 12


def test_packed_trials_have_to_fit_on_one_node() -> None:
    profile = node(pack=4, nodes=3, tasks_per_node=2, cpus_per_task=4, gpus_per_node=2)
    assert request_for_pack(profile) == Request(3, 1, 8, 2)
    for fits in (trial(), trial(8), trial(2, 2), trial(threads=8), trial(gpus=0.25)):
        check_fits(fits, profile)
    with pytest.raises(InputError, match=r"resources\.cpus: 16: more than the 8 of one node \(tasks_per_node, cpus_pe"):
        check_fits(trial(16), profile)
    with pytest.raises(InputError, match=r"resources\.gpus: 4: more than the 2 of one node \(.*gpus_per_node of the"):
        check_fits(trial(4, 4), profile)


# Parameters and shell -----------------------------------------------------------------------------------------------


def test_parameters() -> None:
    profile = node(
        partition="p", account="a", qos="q", constraint="c", memory_gb=1.5, timeout_min=7, extra={"nice": 3}, **EIGHT
    )
    made = parameters(request_for(trial(2, 2), profile), profile, name="n", comment="c o")
    assert made == {
        "partition": "p",
        "account": "a",
        "qos": "q",
        "constraint": "c",
        "mem": "1536M",
        "gpus_per_node": 2,
        "job_name": "n",
        "comment": "c o",
        "nodes": 1,
        "ntasks_per_node": 2,
        "cpus_per_task": 8,
        "time": 7,
        "signal_delay_s": 90,
        "wckey": None,
        "srun_args": ["--export=ALL", "--cpus-per-task=8", "--kill-on-bad-exit=1"],
        "additional_parameters": {"requeue": True, "export": "ALL", "nice": 3},
    }


def test_what_is_unset_is_not_asked_for() -> None:
    made = parameters(request_for(trial(), Profile()), Profile(), name="n", comment="c")
    assert not {"partition", "account", "qos", "constraint", "mem", "gpus_per_node"} & made.keys()


def test_the_job_of_a_driver_is_small() -> None:
    profile = node(partition="p", memory_gb=100, account="a", extra={"nice": 3}, **EIGHT)
    made = driver_parameters(profile, 20, name="n", comment="c")
    asked = {key: made[key] for key in ("partition", "mem", "nodes", "ntasks_per_node", "cpus_per_task", "time")}
    assert list(asked.values()) == ["p", "4096M", 1, 1, 2, 1440]  # 1 GB, and 0.15 for each job that it follows
    assert "gpus_per_node" not in made and made["account"] == "a"
    own = profile.model_copy(update={"driver": profile.driver.model_copy(update={"partition": "s", "memory_gb": 2})})
    made = driver_parameters(own, 1000, name="n", comment="c")
    assert made["partition"] == "s" and made["mem"] == "2048M"
    packed = profile.model_copy(update={"pack": 10})
    assert driver_parameters(packed, 1000, name="n", comment="c")["mem"] == "5939M"  # at most 32 jobs


@pytest.mark.parametrize("before", ["", "/older"])
def test_the_lines_before_python(tmp_path: Path, before: str) -> None:
    """They are run by bash: our code stands first, and the scratch folder may name variables of the node."""
    archive = tmp_path / "it's code.zip"
    profile = node(setup=["export FIRST=1", "true"], scratch="${NODE_DISK:-/tmp}/x y")
    lines = setup_lines(profile, str(archive))
    assert lines[1:3] == profile.setup
    script = "\n".join(["set -eu", *lines, 'printf "%s\\n" "$FIRST" "$SUITE_SCRATCH" "$PYTHONPATH" "$PYTHONSAFEPATH"'])
    environment = {**os.environ, "NODE_DISK": "/disk", "PYTHONPATH": before}
    said = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True).stdout
    path = f"{archive}:{before}" if before else str(archive)
    assert said.splitlines() == ["1", "/disk/x y", path, "1"]


def test_python_of_a_virtual_environment_and_of_an_image(tmp_path: Path) -> None:
    assert python_command(Profile(), tmp_path) == sys.executable
    there = Profile(environment=Environment(python="/shared/my env/bin/python"))
    assert python_command(there, tmp_path) == "'/shared/my env/bin/python'"
    image = Profile(environment=Environment(kind="image", launch="apptainer exec 'a b.sif' python"))
    assert python_command(image, tmp_path) == "apptainer exec 'a b.sif' python"
    assert list(tmp_path.iterdir()) == []


# Unpacking on a node: the real script -------------------------------------------------------------------------------

# Stands for Python: says where it is and what it was given.
_PYTHON = '#!/bin/sh\necho "$0 $*"\n'


class Node:
    """A node's disk, an archive on shared storage, and the command that starts Python there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.archive, self.scratch = folder, folder / "the env.tar", folder / "disk" / "scratch"
        self.pack(_PYTHON)
        profile = Profile(environment=Environment(kind="archive", archive=str(self.archive)))
        self.command = python_command(profile, folder / "shared code")

    def pack(self, python: str, name: str = "bin/python") -> None:
        content = self.folder / "content"
        (content / "bin").mkdir(parents=True, exist_ok=True)
        (content / "bin" / "python").write_text(python)
        (content / "bin" / "python").chmod(0o755)
        with tarfile.open(self.archive, "w") as tar:
            tar.add(content / "bin" / "python", name)
            for i in range(200):
                tar.add(content / "bin" / "python", f"lib/{i}")

    def start(self, *args: str, path: str | None = None) -> subprocess.Popen[str]:
        environment = {**os.environ, "SUITE_SCRATCH": str(self.scratch)}
        environment["PATH"] = f"{path}:{environment['PATH']}" if path else environment["PATH"]
        command = f"exec {self.command} {' '.join(args)}"
        return subprocess.Popen(
            ["bash", "-c", command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, *args: str) -> tuple[int, str]:
        process = self.start(*args)
        out, err = process.communicate(timeout=60)
        return process.returncode, (out + err).strip()

    def unpacked(self) -> list[Path]:
        return sorted(self.scratch.glob("suite-env-*"))

    def fake_tar(self, body: str) -> str:
        """A folder for the front of PATH whose ``tar`` does ``body`` and then may call ``$TAR``, the real one."""
        (self.folder / "fake").mkdir(exist_ok=True)
        real = subprocess.run(["which", "tar"], capture_output=True, text=True, check=True).stdout.strip()
        (self.folder / "fake" / "tar").write_text(f"#!/bin/bash\nTAR={real}\n{body}\n")
        (self.folder / "fake" / "tar").chmod(0o755)
        return str(self.folder / "fake")


@pytest.fixture
def there(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_python_starts_from_the_archive_with_its_arguments(there: Node) -> None:
    status, said = there.run("-m", "x", "'a b'")
    (folder,) = there.unpacked()
    assert (status, said) == (0, f"{folder}/bin/python -m x a b")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(list((folder / "lib").iterdir())) == 200


def test_the_real_python_out_of_an_archive(there: Node) -> None:
    there.pack(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    assert there.run("-c", "'import sys; print(sys.version_info[0])'") == (0, "3")


def test_eight_at_once_unpack_once(there: Node) -> None:
    path = there.fake_tar(f'echo x >>"{there.folder}/count"\nsleep 0.3\nexec $TAR "$@"')
    started = [there.start(str(i), path=path) for i in range(8)]
    said = [process.communicate(timeout=60) for process in started]
    (folder,) = there.unpacked()
    assert said == [(f"{folder}/bin/python {i}\n", "") for i in range(8)]
    assert (there.folder / "count").read_text() == "x\n"
    assert there.run("again")[0] == 0


def test_an_unpacking_that_was_killed_is_repeated(there: Node) -> None:
    body = f'$TAR "$@" lib/0\nrm -f "$4"/bin/python\ntouch "{there.folder}/half"\nexec sleep 60'
    process = there.start("x", path=there.fake_tar(body))
    wait_for((there.folder / "half").exists)
    (folder,) = there.unpacked()
    assert (folder / "lib" / "0").exists() and not (folder / ".whole").exists()
    waiting = there.start("y")
    time.sleep(0.3)
    assert waiting.poll() is None  # for the first one
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    for child in children:  # its tar, which has the lock too
        os.kill(int(child), 9)
    assert waiting.communicate(timeout=60) == (f"{folder}/bin/python y\n", "")
    process.communicate()
    assert len(list((folder / "lib").iterdir())) == 200


def test_an_archive_without_python_says_so(there: Node) -> None:
    there.pack(_PYTHON, name="my-env/bin/python")
    for _ in range(2):
        assert there.run("x") == (1, f"{there.archive}: has no bin/python at its top")
    there.archive.unlink()
    status, said = there.run("x")
    assert status == 1 and str(there.archive) in said and "No such file" in said


def test_what_is_no_archive(there: Node) -> None:
    there.archive.write_text("no tar")
    status, said = there.run("x")
    assert status != 0 and "tar" in said
    assert not [path for path in there.unpacked() if (path / ".whole").exists()]


def test_a_changed_archive_gets_a_folder_of_its_own(there: Node) -> None:
    assert there.run("x")[0] == 0
    before = there.unpacked()
    there.pack(_PYTHON.replace("echo", "echo new"))
    os.utime(there.archive, (1e9, 1e9))
    status, said = there.run("x")
    assert status == 0 and said.startswith("new ")
    assert len(there.unpacked()) == 2 and set(before) < set(there.unpacked())


@pytest.mark.skipif(os.geteuid() != 0, reason="not root: cannot give a folder to somebody else")
def test_the_folder_of_somebody_else_is_refused(there: Node) -> None:
    assert there.run("x")[0] == 0
    (folder,) = there.unpacked()
    os.chown(folder, 65534, 65534)
    assert there.run("x") == (1, f"{folder}: belongs to somebody else")
