"""The sweep that a search ends in: what is chosen, what is told about it, and that it runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.fake_results import create_trial_folder

from analysis import tuned as tuned_command
from analysis.reports import tuned
from suite.config import InputError, SchedulerSettings, Trial
from suite.config.sweep_file import Sweep, load_sweep
from suite.records import StoppedEarly, write_failure, write_stopped
from suite.records.ledger import Ledger

SEARCH = """\
name: find
search: grid
base: {dataset: digits, epochs: 3, global_batch_size: 64, resources: {cpus: 2}}
grid:
  model: {name: conv2, width_mult: [0.25, 0.5]}
  seed: [101, 102]
  method:
    - {name: weights, lr: [0.1, 0.2, 0.3], weight_decay: [0.0, 1e-5]}
    - {name: edge_popup, lr: [0.1, 0.2, 0.3], weight_decay: 1e-5, sparsity: 0.5}
"""
RANDOM = """\
name: find
search: {name: random, num_trials: 30}
base: {dataset: digits, epochs: 3, global_batch_size: 64}
grid:
  model: {name: conv2, width_mult: [0.25, 0.5]}
  seed: 101
  method:
    {name: edge_popup, lr: {loguniform: [0.01, 1]}, sparsity: {uniform: [0, 1]}, momentum: {choice: [0.5, 0.8, 0.9]}}
"""
Make = Callable[..., Sweep]
Fill = Callable[..., Ledger]


def top1(value: float) -> dict[str, Any]:
    return {"metrics": {"val/top1": value}}


def peak(trial: Trial) -> dict[str, Any]:
    """Best at lr 0.2 and without weight decay; other seeds and widths shift all alike."""
    shift = trial.seed / 10_000 + trial.model.width_mult / 10
    return top1(0.8 - abs(trial.method.lr - 0.2) - 100 * trial.method.weight_decay + shift)


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(*options: str) -> str:
        arguments = [str(tmp_path / "sweep.yaml"), "--results", str(tmp_path / "results"), *options]
        assert tuned_command.main(arguments) == 0
        return capsys.readouterr().out

    return run


def written(tmp_path: Path) -> Path:
    return tmp_path / "results" / "reports" / "find" / "tuned.yaml"


def test_the_written_sweep_has_the_best_settings(sweep: Make, fill: Fill, tmp_path: Path, run: Any) -> None:
    fill(sweep(text=SEARCH), peak)
    said = run()
    new = load_sweep(written(tmp_path))
    assert (new.name, new.search, new.scheduler) == ("find_tuned", None, SchedulerSettings())
    common = {"dataset": "digits", "epochs": 3, "global_batch_size": 64, "resources": {"cpus": 2.0}}
    methods = [
        {"name": "weights", "lr": 0.2},
        {"name": "edge_popup", "lr": 0.2, "weight_decay": 1e-5, "sparsity": 0.5},
    ]
    expected = [
        Trial.model_validate(
            {**common, "model": {"name": "conv2", "width_mult": width}, "seed": seed, "method": method}
        )
        for width in (0.25, 0.5)
        for seed in (1, 2, 3, 4, 5)
        for method in methods
    ]
    assert list(new.trials.values()) == expected and all(trial.evaluate_test for trial in expected)
    assert str(written(tmp_path)) in said


def test_the_comments_say_why(sweep: Make, fill: Fill, tmp_path: Path, run: Any) -> None:
    """By hand: at lr 0.2 the mean of 0.8 + seed / 10,000 + width / 10 is 0.84765."""
    fill(sweep(text=SEARCH), peak)
    said = run()
    lines = written(tmp_path).read_text().splitlines()
    start = lines.index("    method:") + 1
    assert lines[start : start + 3] == [
        "      # val/top1 84.77 %, mean of 4 trials; settings tried: 6, none left out",
        "      # runner-up: lr 0.2, weight_decay 1e-05: 84.67 %",
        "      - {name: weights, lr: 0.2}",  # no weight decay at all is the least there is
    ]
    assert lines[start + 3].startswith("      # val/top1 84.67 %, mean of 4 trials; settings tried: 3,")
    assert "WARNING" not in "".join(lines)
    assert "| weights, conv2, digits    | lr 0.2, weight_decay 0" in said
    assert "WARNING" not in said


def test_a_warning_is_printed_and_in_the_file(sweep: Make, fill: Fill, tmp_path: Path, run: Any) -> None:
    fill(sweep(("[0.0, 1e-5]", "[1e-6, 1e-5]"), text=SEARCH), peak)
    warning = "WARNING: method.weight_decay: 1e-06 lies on the lower edge of what was tried, 1e-06 to 1e-05: "
    assert run().count(f"- weights, conv2, digits: {warning}extend the search downwards") == 1
    assert f"      # {warning}extend the search downwards" in written(tmp_path).read_text().splitlines()


@pytest.mark.parametrize(
    ("best", "warning"), [(0.1, "lower edge of what was tried, 0.1 to 0.3: extend the search downwards"), (0.2, None),
                          (0.3, "upper edge of what was tried, 0.1 to 0.3: extend the search upwards")]
)  # fmt: skip
def test_edges_of_a_grid(sweep: Make, fill: Fill, best: float, warning: str | None) -> None:
    planned = sweep(text=SEARCH)
    groups = tuned.groups(planned, fill(planned, lambda t: top1(0.9 - abs(t.method.lr - best))))
    told = [[line for line in group.warnings if "method.lr" in line] for group in groups]
    assert told == [[f"method.lr: {best} lies on the {warning}"] if warning else []] * 2


@pytest.mark.parametrize(
    ("key", "values", "best", "side"),
    [
        ("rerandomize_prob", "[0.1, 0.5, 1.0]", 1.0, None),  # a probability cannot be larger
        ("rerandomize_prob", "[0, 0.5]", 0.0, None),
        ("rerandomize_prob", "[0.1, 0.5]", 0.5, "upper"),
        ("rerandomize_prob", "[0.1, 0.5]", 0.1, "lower"),
        ("rerandomize_every", "[1, 10]", 1, None),
        ("rerandomize_every", "[1, 10]", 10, "upper"),
        ("momentum", "[0.0, 0.9]", 0.0, None),
        ("momentum", "[0.0, 0.9]", 0.9, "upper"),
        ("sparsity", "[0.0, 0.5]", 0.0, None),
    ],
)
def test_nothing_lies_beyond_a_legal_bound(
    sweep: Make, fill: Fill, key: str, values: str, best: float, side: str | None
) -> None:
    text = RANDOM[: RANDOM.index("{name: edge_popup")]
    sparsity = "" if key == "sparsity" else "sparsity: 0.5, "
    text += f"{{name: iterand, lr: 0.1, {sparsity}{key}: {{choice: {values}}}}}\n"
    planned = sweep(text=text)
    [group] = tuned.groups(planned, fill(planned, lambda t: top1(0.9 - abs(getattr(t.method, key) - best) / 100)))
    assert group.kept[0].values == {f"method.{key}": best}
    assert [f"method.{key}: {best:g} lies on the {side} edge" in line for line in group.warnings] == [True] * bool(side)


def test_widths_count_alike_however_many_seeds_they_have(sweep: Make, fill: Fill) -> None:
    text = SEARCH.replace("[0.25, 0.5]}\n  seed: [101, 102]", "0.25}\n  seed: [101, 102, 103]")
    blocks = text[text.index("grid:\n") + 6 :]
    both = [blocks, blocks.replace("0.25", "0.5").replace("101, 102, 103", "101")]
    grid = "".join("  - " + block.strip().replace("\n", "\n  ") + "\n" for block in both)
    planned = sweep(text=text.replace(blocks, grid))
    # lr 0.1 is better at the narrow width with three seeds, lr 0.2 by more at the wide one with one
    values = {(0.25, 0.1): 0.6, (0.25, 0.2): 0.5, (0.5, 0.1): 0.5, (0.5, 0.2): 0.7}
    ledger = fill(planned, lambda t: top1(values.get((t.model.width_mult, t.method.lr), 0.1)))
    best = tuned.groups(planned, ledger)[0].kept[0]
    assert best.values["method.lr"] == 0.2 and best.mean == pytest.approx(0.6) and len(best.top1) == 4


REASONS = ["diverged", "failed", "stopped", "unfinished", "missing", "differs", "without val/top1"]


@pytest.mark.parametrize("reason", REASONS)
def test_a_trial_that_is_not_done_takes_its_setting_out(
    sweep: Make, fill: Fill, tmp_path: Path, run: Any, reason: str
) -> None:
    asha = ("search: grid", "search: grid\nscheduler: asha")
    planned = sweep(asha, text=SEARCH)
    [bad] = [
        t
        for t in planned.trials.values()
        if (t.method.name, t.method.lr, t.method.weight_decay) == ("weights", 0.2, 0.0)
        and (t.seed, t.model.width_mult) == (102, 0.5)
    ]
    other = {"config": bad.model_dump(mode="json") | {"epochs": 9}, **peak(bad)}
    results = {"diverged": {"status": "diverged", **peak(bad)}, "differs": other, "without val/top1": {"metrics": {}}}
    ledger = fill(planned, lambda t: results.get(reason) if t == bad else peak(t))
    if reason in ("failed", "stopped", "unfinished"):
        folder = create_trial_folder(ledger, bad.trial_id)
        if reason == "failed":
            write_failure(folder, bad.trial_id, ValueError("x"))
        if reason == "stopped":
            write_stopped(folder, StoppedEarly(scheduler=planned.scheduler.model_dump(), epochs=1))
    said = run()
    told = f"settings tried: 6, 1 left out (trials: 1 {reason})"
    assert told in written(tmp_path).read_text() and f"- weights, conv2, digits: {told}" in said
    chosen = next(iter(load_sweep(written(tmp_path)).trials.values())).method
    assert (chosen.lr, chosen.weight_decay) == (0.2, 1e-5)  # the second best


def test_a_setting_that_was_planned_for_one_width_only_is_not_compared(sweep: Make, fill: Fill) -> None:
    extra = "  - {model: {name: conv2, width_mult: 0.5}, seed: [101, 102], method: {name: weights, lr: 0.25}}\n"
    grid = SEARCH[SEARCH.index("grid:\n") + 6 :]
    planned = sweep((grid, "  - " + grid.strip().replace("\n", "\n  ") + "\n" + extra), text=SEARCH)
    weights, _ = tuned.groups(planned, fill(planned, lambda t: top1(t.model.width_mult + t.method.lr)))
    assert weights.kept[0].values["method.lr"] == 0.3
    assert weights.tried == "settings tried: 7, 1 left out (trials: 2 not planned)"


def test_a_group_without_a_complete_setting_is_told(sweep: Make, fill: Fill, run: Any) -> None:
    planned = sweep(text=SEARCH)
    fill(planned, lambda t: None if t.method.name == "weights" and t.seed == 101 else peak(t))
    with pytest.raises(InputError) as caught:
        run()
    told = "no setting has all of its trials done: settings tried: 6, 6 left out (trials: 12 missing)"
    assert caught.value.problems == (f"weights, conv2, digits: {told}",)
    assert "edge_popup" in run("--only", "method=edge_popup", "--out", str(planned.path.parent / "one.yaml"))


def test_data_are_never_mixed(sweep: Make, fill: Fill) -> None:
    planned = sweep(text=SEARCH)
    ledger = fill(planned, lambda t: peak(t) | ({"data_id": "other"} if t.seed == 102 else {}))
    with pytest.raises(InputError, match="digits: results were made from different data: e12a3fbdcab3941f, other"):
        tuned.groups(planned, ledger)


def test_groups_are_whatever_is_not_searched(sweep: Make, fill: Fill, tmp_path: Path, run: Any) -> None:
    text = SEARCH.replace("sparsity: 0.5", "sparsity: [0.3, 0.6], distribution: [signed_constant, kaiming_normal]")
    planned = sweep(("epochs: 3, ", ""), ("seed: [", "epochs: [3, 4]\n  seed: ["), text=text)
    fill(planned, peak)
    said = run("--seeds", "7,8")
    new = list(load_sweep(written(tmp_path)).trials.values())
    groups = {(t.epochs, t.method.name, getattr(t.method, "sparsity", 0), t.method.distribution) for t in new}
    assert len(groups) == 2 * (1 + 4) and len(new) == len(groups) * 2 * 2 and {t.seed for t in new} == {7, 8}
    assert "| edge_popup epochs=4 distribution=kaiming_normal sparsity=0.3, conv2, digits" in said


def test_networks_data_and_what_trials_run_on(sweep: Make, fill: Fill, tmp_path: Path, run: Any) -> None:
    """The narrow networks on a CPU, the wide ones on a GPU: one group; another dataset is another one."""
    grid = """\
grid:
  - model: {name: conv2, width_mult: [0.25, 1.0]}
    dataset: [digits, mnist]
    seed: [101, 102]
    method: {name: weights, lr: [0.1, 0.2]}
  - model: {name: conv2, width_mult: 2.0}
    dataset: digits
    seed: [101, 102]
    resources: {gpus: 1}
    method: {name: weights, lr: [0.1, 0.2]}
"""
    text = "name: find\nsearch: grid\nbase: {epochs: 3, global_batch_size: 64}\n" + grid
    planned = sweep(text=text)
    ledger = fill(planned, peak)
    assert len(tuned.groups(planned, ledger)) == 2
    run("--seeds", "1")
    rows = [
        (t.dataset.name, t.model.width_mult, t.resources.gpus) for t in load_sweep(written(tmp_path)).trials.values()
    ]
    narrow = [(name, width, 0.0) for name in ("digits", "mnist") for width in (0.25, 1.0)]
    assert sorted(rows) == sorted([*narrow, ("digits", 2.0, 1.0)])


# What was drawn -----------------------------------------------------------------------------------------------------


def test_a_random_search(sweep: Make, fill: Fill, tmp_path: Path, run: Any) -> None:
    planned = sweep(text=RANDOM)
    fill(planned, lambda t: top1(1 - abs(t.method.lr - 0.2)))
    run()
    new = load_sweep(written(tmp_path))
    best = min((t.method for t in planned.trials.values()), key=lambda method: abs(method.lr - 0.2))
    assert {t.method for t in new.trials.values()} == {best} and len(new.trials) == 10
    assert {tuple(group.kept[0].values) for group in tuned.groups(planned, Ledger(tmp_path / "results"))} == {
        ("method.lr", "method.sparsity", "method.momentum")
    }


@pytest.mark.parametrize(
    ("key", "sign", "side"),
    [
        ("lr", 1, "upper"),
        ("lr", -1, "lower"),
        ("sparsity", 1, None),  # below 1, which the range ends at
        ("sparsity", -1, None),
        ("momentum", -1, "lower"),
        ("momentum", 1, "upper"),
        ("momentum", 0, None),
    ],
)
def test_edges_of_ranges(sweep: Make, fill: Fill, key: str, sign: int, side: str | None) -> None:
    planned = sweep(("num_trials: 30", "num_trials: 100"), text=RANDOM)  # enough to reach the edges
    target = {1: 1.0, -1: 0.0, 0: 0.8}[sign]  # 0.8 is inside of the choices
    ledger = fill(planned, lambda t: top1(0.9 - abs(getattr(t.method, key) - target) / 2))
    [group] = tuned.groups(planned, ledger)
    told = [line for line in group.warnings if line.startswith(f"method.{key}:")]
    ends = {"lr": "0.01 to 1", "sparsity": "0 to 1", "momentum": "0.5 to 0.9"}[key]
    assert [f"lies on the {side} edge of what was tried, {ends}: " in line for line in told] == ([True] if side else [])


def test_a_range_that_another_one_goes_on_from_has_no_edge_there(sweep: Make, fill: Fill) -> None:
    method = RANDOM[RANDOM.index("{name: edge_popup") :].strip()
    both = f"[{method}, {method.replace('[0.01, 1]', '[1, 100]')}]"
    planned = sweep((method, both), ("num_trials: 30", "num_trials: 100"), text=RANDOM)
    ledger = fill(planned, lambda t: top1(0.9 - abs(t.method.lr - 1) / 1000))
    [group] = tuned.groups(planned, ledger)
    assert not [line for line in group.warnings if "method.lr" in line]
    ledger = fill(planned, lambda t: top1(t.method.lr / 1000))
    [group] = tuned.groups(planned, ledger)
    assert [
        line for line in group.warnings if "method.lr" in line and "upper edge of what was tried, 0.01 to 100" in line
    ]


# The command --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--seeds", "1,102,101"], "--seeds: 101, 102: tuned this search: such seeds are never reported"),
        (["--only", "seed=101", "--seeds", "102"], "--seeds: 102: tuned this search: such seeds are never reported"),
        (["--seeds", "1,x"], "--seeds: 1,x: must be whole numbers, as in --seeds 1,2,3"),
        (["--seeds", ""], "--seeds: : must be whole numbers, as in --seeds 1,2,3"),
        (["--seeds", "1,1"], "--seeds: 1,1: must be different numbers from 0 to 4294967295"),
        (["--seeds=-1"], "--seeds: -1: must be different numbers from 0 to 4294967295"),
    ],
)
def test_wrong_seeds(sweep: Make, fill: Fill, tmp_path: Path, run: Any, options: list[str], problem: str) -> None:
    fill(sweep(text=SEARCH), peak)
    with pytest.raises(InputError) as caught:
        run(*options)
    assert caught.value.problems == (problem,) and not written(tmp_path).exists()


def test_a_sweep_that_does_not_search(sweep: Make, fill: Fill, run: Any) -> None:
    fill(sweep(("search: grid\n", ""), text=SEARCH), peak)
    with pytest.raises(InputError, match="has no search"):
        run()


def test_out(sweep: Make, fill: Fill, tmp_path: Path, run: Any) -> None:
    fill(sweep(text=SEARCH), peak)
    run("--out", str(tmp_path / "deep" / "mine.yaml"), "--set", "epochs=3")
    assert len(load_sweep(tmp_path / "deep" / "mine.yaml").trials) == 20
    before = (tmp_path / "sweep.yaml").read_text()
    with pytest.raises(InputError, match="is the search itself"):
        run("--out", str(tmp_path / "sweep.yaml"))
    assert (tmp_path / "sweep.yaml").read_text() == before
