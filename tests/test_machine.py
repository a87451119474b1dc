"""On other systems than Linux: what works there, and what says that it needs Linux.

No Mac was at hand. ``support.mac`` hides what Python has on Linux alone, and ``/proc``.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.sweep_processes import ROOT, write_sweep
from support.trial_processes import trial_of

from suite import cli, launch, machine
from suite.config import ImageNetSettings, InputError
from suite.data.imagenet import tree
from suite.sweep import __main__ as sweep_command

ON_A_MAC = """
import sys
from support import mac
mac.become()
import os
from suite import cli
from suite.sweep import __main__ as sweep
from suite.train import __main__ as train
from analysis import figures, tables
assert not os.path.exists("/proc/self") and not hasattr(os, "sched_getaffinity")
assert cli.run(lambda: sweep.main(["s.yaml", "--dry-run"])) == 0
assert cli.run(lambda: train.main(["trial.json"])) == 0
assert cli.run(lambda: tables.main(["s.yaml"])) == 0
assert cli.run(lambda: figures.main(["s.yaml"])) == 0
"""


@pytest.mark.slow
def test_what_works_without_linux(tmp_path: Path) -> None:
    """Methods, ``--dry-run``, a trial in this process, tables and figures."""
    trial = trial_of("iterand", epochs=1).model_dump(mode="json")
    (tmp_path / "trial.json").write_text(json.dumps(trial))
    (tmp_path / "s.yaml").write_text(json.dumps({"name": "s", "grid": trial}))
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "-c", ON_A_MAC],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "1 missing; 1 to run" in done.stdout and "1 of 1" in done.stdout
    assert (tmp_path / "results/reports/s/figure.png").exists()


def test_cpus_are_those_of_the_machine_where_no_set_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert machine.num_cpus() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert machine.num_cpus() == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.num_cpus() == 1


def test_what_needs_linux_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one, two = trial_of("weights"), trial_of("weights", processes=2)
    dali = ImageNetSettings.model_validate({"name": "imagenet"})
    monkeypatch.setattr(sys, "platform", "darwin")
    launch.check(None, one)
    launch.check("inline", one)
    for name, trial in ((None, two), ("local", one)):
        with pytest.raises(InputError, match=r"processes: [12]: needs Linux, and this is darwin"):
            launch.check(name, trial)
    with pytest.raises(InputError, match="loader: dali: needs Linux, and this is darwin: use loader: torchvision"):
        tree.check(dali, tmp_path)


@pytest.mark.parametrize("options", [["--launcher", "slurm", "--profile", "p.yaml"], ["--set", "processes=2"]])
def test_a_sweep_that_needs_linux_queues_nothing(
    options: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(json.dumps({"name": "s", "grid": trial_of("weights").model_dump(mode="json")}))
    (tmp_path / "p.yaml").write_text("partition: main\n")
    monkeypatch.setattr(sys, "platform", "darwin")
    here = "--set" in options  # the profile may be of another machine, where SLURM is
    assert cli.run(lambda: sweep_command.main(["s.yaml", "--dry-run", *options])) == (2 if here else 0)
    assert cli.run(lambda: sweep_command.main(["s.yaml", *options])) == 2
    assert capsys.readouterr().err.count("needs Linux, and this is darwin") == (2 if here else 1)
    assert not list(tmp_path.glob("results/trials/*"))


def test_of_several_sweeps_the_last_is_looked_at_before_the_first_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A launcher that cannot run its trials was found out when the first sweep had been trained."""
    monkeypatch.chdir(tmp_path)
    for name, processes in (("a", 1), ("b", 2)):
        trial = trial_of("weights", processes=processes).model_dump(mode="json")
        (tmp_path / f"{name}.yaml").write_text(json.dumps({"name": name, "grid": trial}))
    assert cli.run(lambda: sweep_command.main(["a.yaml", "b.yaml", "--launcher", "inline"])) == 2
    assert "runs 1 process" in capsys.readouterr().err
    assert not list(tmp_path.glob("results/trials/*"))


# CPU quotas ----------------------------------------------------------------------------------------------------------

_V1 = "32 31 0:29 {top} /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n"
_V2 = "41 31 0:38 {top} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"


def system(root: Path, mounts: str, own: str, files: dict[str, str]) -> Path:
    """What Linux shows of control groups, below a folder."""
    for name, text in {"proc/self/mountinfo": mounts, "proc/self/cgroup": own, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("mounts", "own", "files", "quota"),
    [
        (_V2.format(top="/"), "0::/a/b\n", {"a/b/cpu.max": "150000 100000\n"}, 1.5),
        (_V2.format(top="/"), "0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "50000 100000\n"}, 0.5),
        (_V2.format(top="/"), "0::/a/b\n", {"a/b/cpu.max": "max 100000\n"}, None),
        (_V2.format(top="/"), "0::/\n", {"cpu.max": "400000 100000\n"}, 4.0),  # a container with a namespace
        (_V2.format(top="/kube/pod"), "0::/kube/pod\n", {"cpu.max": "400000 100000\n"}, 4.0),  # one without
        (_V2.format(top="/"), "0::/../../elsewhere\n", {"cpu.max": "300000 100000\n"}, 3.0),
        (_V2.format(top="/"), "0::/gone\n", {}, None),
        (
            _V1.format(top="/"),
            "4:cpu,cpuacct:/docker/x\n0::/\n",
            {"cpu,cpuacct/docker/x/cpu.cfs_quota_us": "250000", "cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000"},
            2.5,
        ),
        (
            _V1.format(top="/docker/x") + _V2.format(top="/"),
            "4:cpu,cpuacct:/docker/x\n0::/docker/x\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "20000", "cpu,cpuacct/cpu.cfs_period_us": "10000"},
            2.0,
        ),
        (
            _V1.format(top="/"),
            "4:cpu,cpuacct:/\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            None,
        ),
        (_V1.format(top="/"), "garbled", {}, None),
    ],
)
def test_the_quota_of_a_control_group(
    tmp_path: Path, mounts: str, own: str, files: dict[str, str], quota: float | None
) -> None:
    below = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    assert machine.cpu_quota(system(tmp_path, mounts, own, below)) == quota


def test_trials_share_what_the_quota_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    there = len(os.sched_getaffinity(0))
    for quota, num in ((0.2, 1), (1.9, 1), (float(there) + 5, there), (None, there)):
        monkeypatch.setattr(machine, "cpu_quota", lambda quota=quota: quota)
        assert machine.num_cpus() == num


def test_a_real_control_group(tmp_path: Path) -> None:
    """Of version 1, as this kernel may have it; the process lives in it and asks."""
    group = Path("/sys/fs/cgroup/cpu") / f"suite-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "cpu.cfs_quota_us").write_text("150000")
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    ask = "from suite import machine; print(machine.cpu_quota(), machine.num_cpus())"
    enter = f"echo $$ >{group}/cgroup.procs && exec {sys.executable} -c '{ask}'"
    try:
        done = subprocess.run(["sh", "-c", enter], cwd=ROOT, capture_output=True, text=True, check=False)
    finally:
        group.rmdir()
    assert done.stdout == "1.5 1\n", done.stderr


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--cpus", "0"], "--cpus 0: must be from 1 to "),
        (["--cpus", "9999"], "--cpus 9999: must be from 1 to "),
        (["--cpus", "1", "--launcher", "slurm", "--profile", "cpu"], "--cpus 1: is about trials on this machine"),
    ],
)
def test_cpus_that_cannot_be_kept_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flags: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_sweep(tmp_path / "s.yaml")
    assert cli.run(lambda: sweep_command.main(["s.yaml", "--dry-run", *flags])) == 2
    assert capsys.readouterr().err.startswith(told)
