"""On other systems than Linux: what works there, and what says that it needs Linux.

No Mac was at hand. ``support.mac`` hides what Python has on Linux alone, and ``/proc``.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.sweep_processes import ROOT
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
    assert cli.run(lambda: sweep_command.main(["s.yaml", "--dry-run", *options])) == 0
    assert cli.run(lambda: sweep_command.main(["s.yaml", *options])) == 2
    assert capsys.readouterr().err.count("needs Linux, and this is darwin") == 1
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
