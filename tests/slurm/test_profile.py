"""Cluster profiles: those shipped, every mistake in one, and the options that belong to them."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.sweep_files import GOOD
from support.sweep_processes import run_sweep

from suite import cli
from suite.config import InputError
from suite.slurm import controller
from suite.slurm.profile import DriverSettings, Environment, Profile, find_profile, load_profile
from suite.sweep import __main__ as sweep

SHIPPED = sorted((Path(__file__).parents[2] / "slurm").glob("*.yaml"))
THERE = "there are: mine, cpu, gpu-container, gpu-node, gpu-preempt, test; or give a path"
Mistakes = Callable[[str | bytes], list[str]]
Command = Callable[..., tuple[int, str]]


def valid(cls: type[Profile] | type[Environment] | type[DriverSettings]) -> str:
    return f"valid: {', '.join(cls.model_fields)}"


@pytest.fixture
def mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mistakes:
    """The lines that tell what is wrong with a profile ``p.yaml``."""
    monkeypatch.chdir(tmp_path)

    def mistakes(text: str | bytes) -> list[str]:
        Path("p.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(InputError) as caught:
            load_profile(Path("p.yaml"))
        return [re.sub(r"^p.yaml:\d+: ", "p.yaml: ", each) for each in caught.value.problems]

    return mistakes


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The sweep command in this process: its exit status and what it says on standard error."""
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(GOOD)
    Path("slurm").mkdir()
    Path("slurm/mine.yaml").write_text("partition: main\n")

    def command(*args: str) -> tuple[int, str]:
        status = cli.run(lambda: sweep.main(["s.yaml", *args]))
        return status, capsys.readouterr().err.strip()

    return command


# What is right ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_profile_loads(path: Path) -> None:
    profile = load_profile(path)
    assert profile.partition
    assert {"cpu", "gpu-node", "gpu-preempt", "test"} <= {other.stem for other in SHIPPED}


def test_the_other_environment_in_the_comments_of_a_shipped_profile(repository: Path, tmp_path: Path) -> None:
    text = (repository / "slurm/cpu.yaml").read_text()
    found = re.search(r"(?m)^#  kind: image\n#  (launch: .*)$", text)
    assert found
    (tmp_path / "p.yaml").write_text(text.replace("  kind: venv", f"  kind: image\n  {found[1]}"))
    assert str(load_profile(tmp_path / "p.yaml").environment.launch).startswith("apptainer exec")


def test_an_empty_profile_is_one_of_defaults(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("# nothing\n")
    assert load_profile(tmp_path / "p.yaml") == Profile()


@pytest.mark.parametrize(
    "text",
    [
        "extra: {gres: 'gpu:2', nice: 100, exclusive: true, reservation: x}",
        "environment: {kind: venv, python: /shared/.venv/bin/python}",
        "environment: {kind: archive, archive: /shared/e.tar}",
        "environment: {kind: image, launch: apptainer exec x.sif python}",
        "{status_every_seconds: 30, memory_gb: 0.5, pack: 8, driver: {memory_gb: null, partition: small}}",
    ],
)
def test_what_a_profile_may_say(text: str, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(text)
    assert load_profile(tmp_path / "p.yaml") != Profile()


def test_a_profile_is_found_by_name_or_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("slurm").mkdir()
    for path in ("slurm/mine.yaml", "other.yaml"):
        Path(path).write_text("partition: x\n")
    assert find_profile("mine") == Path("slurm/mine.yaml")
    assert find_profile("slurm/mine.yaml") == Path("slurm/mine.yaml")
    assert find_profile("other.yaml") == Path("other.yaml")
    assert find_profile("other") == Path("other.yaml")
    for name in ("slurm", "", "mine.yml"):
        with pytest.raises(InputError, match=rf"--profile: {name}: no such file or profile; there are: .*\bmine\b"):
            find_profile(name)
    with pytest.raises(InputError, match=r"^--profile: is needed with --launcher slurm; .*mine,"):
        find_profile(None)


# Mistakes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        # Unknown keys, with the nearest valid name.
        ("partitoin: x", f'partitoin: "x": not a setting; did you mean partition? {valid(Profile)}'),
        ("zzz: 1", f"zzz: 1: not a setting; {valid(Profile)}"),
        (
            "environment: {kin: venv}",
            f'environment.kin: "venv": not a setting of environment; did you mean kind? {valid(Environment)}',
        ),
        (
            "driver: {memory: 3}",
            f"driver.memory: 3: not a setting of driver; did you mean memory_gb? {valid(DriverSettings)}",
        ),
        # Types.
        ("partition: 3", "partition: 3: must be a valid string"),
        ("tasks_per_node: 2.5", "tasks_per_node: 2.5: must be a valid integer"),
        ("tasks_per_node: '2'", 'tasks_per_node: "2": must be a valid integer'),
        ("memory_gb: 4G", 'memory_gb: "4G": must be a valid number'),
        ("timeout_min: null", "timeout_min: null: must be a valid integer"),
        ("setup: module load cuda", 'setup: "module load cuda": must be a valid list'),
        ("setup: [a, 1]", "setup.1: 1: must be a valid string"),
        ("driver: {cpus_per_task: x}", 'driver.cpus_per_task: "x": must be a valid integer'),
        ("extra: 3", "extra: 3: must be a valid dictionary"),
        # Ranges.
        ("nodes: 0", "nodes: 0: must be greater than or equal to 1"),
        ("gpus_per_node: -1", "gpus_per_node: -1: must be greater than or equal to 0"),
        ("memory_gb: 0", "memory_gb: 0: must be greater than or equal to 0.01"),
        ("memory_gb: .inf", "memory_gb: Infinity: must be a finite number"),
        ("signal_seconds: 0", "signal_seconds: 0: must be greater than or equal to 1"),
        ("status_every_seconds: 29.9", "status_every_seconds: 29.9: must be greater than or equal to 30"),
        ("pack: 0", "pack: 0: must be greater than or equal to 1"),
        ("driver: {timeout_min: 0}", "driver.timeout_min: 0: must be greater than or equal to 1"),
        # Parameters of sbatch that are not for a profile to give.
        ("extra: {job-name: x}", 'extra: {"job-name": "x"}: job-name is decided by the suite'),
        ("extra: {job_name: x}", 'extra: {"job_name": "x"}: job_name is decided by the suite'),
        ("extra: {--array: 3}", 'extra: {"--array": 3}: --array is decided by the suite'),
        ("extra: {requeue: true}", 'extra: {"requeue": true}: requeue is decided by the suite'),
        ("extra: {mem: 3G}", 'extra: {"mem": "3G"}: mem has a key of its own: memory_gb'),
        ("extra: {time: 3}", 'extra: {"time": 3}: time has a key of its own: timeout_min'),
        ("extra: {cpus_per_task: 3}", 'extra: {"cpus_per_task": 3}: cpus_per_task has a key of its own: cpus_per_task'),
        # Environments.
        ("environment: {kind: conda}", "environment.kind: \"conda\": must be 'venv', 'archive' or 'image'"),
        ("environment: {kind: archive}", 'environment: {"kind": "archive"}: kind: archive needs archive'),
        ("environment: {kind: image}", 'environment: {"kind": "image"}: kind: image needs launch'),
        ("environment: {archive: e.tar}", 'environment.archive: "e.tar": belongs to kind: archive'),
        ("environment: {kind: venv, launch: x}", 'environment.launch: "x": belongs to kind: image'),
        # Not a profile at all.
        ("[a]", '["a"]: a profile must be a mapping'),
        ("x", '"x": a profile must be a mapping'),
    ],
)
def test_a_mistake_has_one_line(mistakes: Mistakes, text: str, line: str) -> None:
    assert mistakes(text) == [f"p.yaml: {line}"]


@pytest.mark.parametrize("text", ["a: [", "a: 1\na: 2", "\t", "partition: *x"])
def test_what_is_no_yaml(mistakes: Mistakes, text: str) -> None:
    (line,) = mistakes(text)
    assert line.startswith("p.yaml:") and "not YAML" in line and "\n" not in line


def test_what_is_no_text(mistakes: Mistakes) -> None:
    (line,) = mistakes(b"partition: \xff\xfe")
    assert line.startswith("p.yaml: cannot be read as text: ")


def test_all_mistakes_are_told_at_once(mistakes: Mistakes) -> None:
    lines = mistakes("{nodes: 0, qos: 3, zzz: 1, driver: {x: 1}, environment: {kind: image}}")
    assert [line.split(": ")[1] for line in lines] == ["qos", "nodes", "environment", "driver.x", "zzz"]


def test_environment_of_another_kind_and_incomplete(mistakes: Mistakes) -> None:
    assert mistakes("environment: {kind: archive, launch: x}") == [
        'p.yaml: environment.launch: "x": belongs to kind: image'
    ]


# The place of results -----------------------------------------------------------------------------------------------


def test_results_must_lie_where_nodes_see_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    profile = Profile(shared=str(tmp_path / "shared"))
    for fine in ("shared", "shared/results", tmp_path / "shared" / "x"):
        profile.check_place(Path(fine))
        Profile().check_place(Path(fine))
    for wrong in ("results", "shared2", tmp_path):
        told = f"--results {wrong}: compute nodes may not see it: must lie below shared: {tmp_path}/shared, as in"
        with pytest.raises(InputError, match=re.escape(told)):
            profile.check_place(Path(wrong))


# The command --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (
            ("--launcher", "slurm"),
            f"--profile: is needed with --launcher slurm; {THERE}",
        ),
        (
            ("--launcher", "slurm", "--profile", "nine"),
            f"--profile: nine: no such file or profile; {THERE}",
        ),
        (("--profile", "mine"), "--profile mine: belongs to --launcher slurm"),
        (("--launcher", "local", "--profile", "mine"), "--profile mine: belongs to --launcher slurm"),
        (("--driver", "job"), "--driver job: belongs to --launcher slurm"),
        (("--driver", "here", "--launcher", "inline", "--dry-run"), "--driver here: belongs to --launcher slurm"),
    ],
)
def test_options_that_need_each_other(command: Command, args: tuple[str, ...], line: str) -> None:
    assert command(*args) == (2, line)
    assert not Path("results").exists()


def test_a_trial_that_fits_on_no_node(command: Command) -> None:
    status, said = command("--launcher", "slurm", "--profile", "mine", "--set", "resources.gpus=1", "--dry-run")
    assert (status, said) == (2, "slurm/mine.yaml: resources.gpus: 1: 1 on each node, the profile has gpus_per_node: 0")


def test_results_outside_of_shared_storage(command: Command, tmp_path: Path) -> None:
    Path("slurm/mine.yaml").write_text("shared: /nowhere/shared\n")
    status, said = command("--launcher", "slurm", "--profile", "mine", "--dry-run")
    assert status == 2 and said.startswith("--results results: compute nodes may not see it: must lie below shared: ")
    assert said.endswith("as in --results /nowhere/shared/results")


def test_a_pack_and_a_scheduler(command: Command) -> None:
    Path("s.yaml").write_text(GOOD.replace("name: t", "name: t\nsearch: grid\nscheduler: asha"))
    Path("slurm/mine.yaml").write_text("pack: 4\n")
    status, said = command("--launcher", "slurm", "--profile", "mine", "--dry-run")
    assert (status, said) == (2, "slurm/mine.yaml: pack: 4: must be 1 for a sweep with scheduler: asha")


def test_a_machine_without_slurm(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    status, said = command("--launcher", "slurm", "--profile", "mine")
    assert status == 2
    assert said.startswith("--launcher slurm: no sbatch, squeue, scancel, scontrol on PATH: run it on a login node")
    assert not Path("results").exists()
    assert command("--launcher", "slurm", "--profile", "mine", "--dry-run")[0] == 0
    assert not Path("results").exists()
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "scontrol" else name)
    with pytest.raises(InputError, match="no scontrol on PATH"):
        controller.check_slurm_available()


def test_the_command_says_it_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(GOOD)
    (tmp_path / "p.yaml").write_text("{nodes: 0, partitoin: x}")
    status, said = run_sweep("s.yaml", "--launcher", "slurm", "--profile", "p.yaml", cwd=tmp_path)
    assert status == 2
    lines = said.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [["p.yaml:1", "nodes"], ["p.yaml:1", "partitoin"]]
