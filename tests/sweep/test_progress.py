"""What the user sees: plans and failures, each character as it is."""

from pathlib import Path

import pytest
from support.fake_results import create_trial_folder, write_result
from support.sweep_files import AXES, Load

from suite.config import EdgePopupSettings, Trial
from suite.records import write_failure
from suite.records.ledger import Ledger
from suite.sweep import __main__ as command
from suite.sweep import ending
from suite.sweep.plan import make_plan


def varying(trial: Trial) -> str:
    """What the sweep varies besides the seed."""
    return f"sparsity={trial.method.sparsity}" if isinstance(trial.method, EdgePopupSettings) else ""


@pytest.mark.parametrize("name", ["res[/x]ults", "[bold]res[/bold]", "[link=file:x]"])
def test_brackets_in_a_path_are_no_markup(load: Load, capsys: pytest.CaptureFixture[str], name: str) -> None:
    load(AXES)
    file = Path("s.yaml").rename(f"{name}.yaml".replace("/", ""))
    assert command.main([str(file), "--dry-run", "--results", name]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].strip() == f"t: {file}"
    assert f"6 trials in {name}: 6 missing; 6 to run\n" in printed
    assert not Path(name).exists()


def test_the_dry_run_lists_each_trial_with_its_state(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    sweep, ledger = load(AXES), Ledger(Path("results"))
    done, failed, diverged, *others = sweep.trials.values()
    write_result(ledger, done)
    write_result(ledger, diverged, status="diverged")
    write_failure(create_trial_folder(ledger, failed.trial_id), failed.trial_id, ValueError("x"))
    assert command.main(["s.yaml", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if line[:1] == "│"]
    states = {trial.trial_id: "to run" for trial in others} | {
        done.trial_id: "done",
        failed.trial_id: "failed",
        diverged.trial_id: "diverged",
    }
    assert rows == [
        [i, t.method.name, "conv2", "x0.5", "digits", str(t.seed), varying(t), states[i]]
        for i, t in sweep.trials.items()
    ]
    counts, cost = printed.splitlines()[-2:]
    assert counts == "6 trials in results: 1 diverged, 1 done, 1 failed, 3 missing; 3 to run"
    assert cost.startswith("cost: 0:00:03 (0:00:06 of trials)")  # two epochs, as those that took a second for one


@pytest.mark.parametrize(
    "error",
    [
        "shape [64, 1] is not [/x] of [red]this[/red] \\[y]",
        "no key ':x:' in a:b:c",
    ],
)
def test_a_failure_is_told_whole(load: Load, capsys: pytest.CaptureFixture[str], error: str) -> None:
    sweep, ledger = load(AXES), Ledger(Path("re[/x]sults"))
    trial = next(iter(sweep.trials.values()))
    folder = create_trial_folder(ledger, trial.trial_id)
    write_failure(folder, trial.trial_id, RuntimeError(error))
    ending.show_failures(make_plan(sweep, ledger), ledger)
    told = f"failed: RuntimeError: {error}: {folder / 'failure.json'}; --retry-failed runs it again\n"
    assert capsys.readouterr().out == told


def test_what_to_change_where_all_trials_of_a_method_diverged(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    sweep, ledger = load(AXES), Ledger(Path("results"))
    of_method: dict[str, list[Trial]] = {}
    for trial in sweep.trials.values():
        of_method.setdefault(trial.method.name, []).append(trial)
    (name, [first, *others]), *_ = of_method.items()
    for trial in others:
        write_result(ledger, trial, status="diverged")
    ending.show_divergence(sweep, make_plan(sweep, ledger))
    assert capsys.readouterr().out == ""
    write_result(ledger, first, status="diverged")
    ending.show_divergence(sweep, make_plan(sweep, ledger))
    lr = first.method.lr
    start = f"diverged: all {len(others) + 1} trials of {name} with conv2, at method.lr {lr:g}: try {lr / 10:g}, "
    assert capsys.readouterr().out.startswith(start)
