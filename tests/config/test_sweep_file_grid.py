"""Sweep files: what they mean."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.sweep_files import AXES, GOOD, GRID, RANGE, TWICE, Load, Problems, only, values, without_trials

from suite.config import Trial, identity
from suite.config.sweep_file import load_sweep


def test_a_sweep(load: Load) -> None:
    sweep = load(GOOD + "description: some words\n")
    assert (sweep.name, sweep.label, sweep.description, sweep.path) == ("t", "t", "some words", Path("s.yaml"))
    trial = only(sweep)
    assert trial == Trial.model_validate(
        {
            "dataset": {"name": "digits", "augment": "none"},
            "model": {"name": "conv2", "width_mult": 0.5},
            "method": {"name": "weights", "lr": 0.1},
            "seed": 1,
            "epochs": 2,
            "global_batch_size": 64,
        }
    )
    assert list(sweep.trials) == [trial.trial_id]


def test_a_name_alone_is_a_dataset(load: Load) -> None:
    assert load(GOOD).trials == load(GOOD.replace("dataset: digits", "dataset: {name: digits}")).trials


def test_product_of_axes_in_the_order_of_the_file(load: Load) -> None:
    sweep = load(AXES)
    assert values(sweep, lambda t: (t.seed, t.method.name, getattr(t.method, "sparsity", None))) == [
        (seed, *method) for seed in (1, 2) for method in [("weights", None), ("edge_popup", 0.3), ("edge_popup", 0.6)]
    ]


def test_a_list_in_a_list_is_one_axis(load: Load) -> None:
    assert values(load(GOOD.replace("seed: 1", "seed: [5, [3, 4], [[1]]]")), lambda t: t.seed) == [5, 3, 4, 1]


def test_a_list_of_blocks_is_their_union(load: Load) -> None:
    text = GOOD.replace(
        GRID,
        "grid:\n"
        "  - {model: {name: conv2, width_mult: [0.25, 0.5]}, seed: 1, method: {name: weights, lr: 0.1}}\n"
        "  - {model: {name: conv4}, seed: [1, 2], method: {name: edge_popup, lr: 0.3, sparsity: 0.5}, epochs: 3}\n",
    )
    assert values(load(text), lambda t: (t.model.name, t.model.width_mult, t.seed, t.epochs)) == [
        ("conv2", 0.25, 1, 2),
        ("conv2", 0.5, 1, 2),
        ("conv4", 1.0, 1, 3),
        ("conv4", 1.0, 2, 3),
    ]


@pytest.mark.parametrize(
    ("base", "above", "schedule"),
    [
        ("{warmup_epochs: 1}", "{constant_epochs: 1}", (1, 1)),  # a block goes over a block key by key
        ("{warmup_epochs: 1}", "{warmup_epochs: 2}", (2, 0)),
        ("{warmup_epochs: 1}", "{warmup_epochs: [0, 2]}", (0, 0)),
        ("{warmup_epochs: 1}", "{}", (0, 0)),  # but an empty one is a value, which hides it
    ],
)
def test_the_grid_goes_over_the_base(load: Load, base: str, above: str, schedule: tuple[int, int]) -> None:
    text = GOOD.replace("epochs: 2", f"epochs: 2, schedule: {base}").replace("seed: 1", f"seed: 1\n  schedule: {above}")
    first, *_ = load(text).trials.values()
    assert (first.schedule.warmup_epochs, first.schedule.constant_epochs) == schedule


def test_a_name_goes_over_a_block_and_a_block_over_a_name(load: Load) -> None:
    block, name = "{name: cifar10, augment: crop}", "cifar100"
    for base, above, expected in ((block, name, ("cifar100", "crop")), (name, block, ("cifar10", "crop"))):
        text = GOOD.replace("dataset: digits", f"dataset: {base}").replace("seed: 1", f"seed: 1\n  dataset: {above}")
        assert (only(load(text)).dataset.name, only(load(text)).dataset.augment) == expected


@pytest.mark.parametrize("how", ["grid", "--set"])
def test_a_setting_goes_over_a_name_alone_as_over_its_block(load: Load, how: str) -> None:
    text = GOOD.replace("digits", "cifar10")
    if how == "grid":
        sweep = load(text.replace("seed: 1", "seed: 1\n  dataset: {augment: crop}"))
    else:
        sweep = load(text, overrides=["dataset.augment=crop"])
    assert (only(sweep).dataset.name, only(sweep).dataset.augment) == ("cifar10", "crop")


NAMED = "model: {name: conv2, width_mult: 0.5}"


@pytest.mark.parametrize(
    ("above", "expected"),
    [
        ("{norm_affine: true}", [("conv2", 0.5, True)]),  # without a name: key by key
        ("{name: conv2, norm_affine: true}", [("conv2", 0.5, True)]),
        ("{name: conv4}", [("conv4", 0.5, None)]),  # another name too: nothing is dropped silently
        ("{name: conv4, norm_affine: true}", [("conv4", 0.5, True)]),
        ("{name: resnet18, width_mult: 0.25}", [("resnet18", 0.25, None)]),
        ("{name: [conv2, conv4]}", [("conv2", 0.5, None), ("conv4", 0.5, None)]),
    ],
)
def test_a_block_goes_over_a_block_key_by_key(load: Load, above: str, expected: list[Any]) -> None:
    text = GOOD.replace("epochs: 2", f"epochs: 2, {NAMED}").replace(NAMED + "\n", f"model: {above}\n")
    assert values(load(text), lambda t: (t.model.name, t.model.width_mult, t.model.norm_affine)) == expected


def test_a_setting_that_leaks_from_a_method_in_base_is_told(load: Load, problems: Problems) -> None:
    base = "method: {name: iterand, lr: 0.3, sparsity: 0.5, rerandomize_every: 7}"
    text = GOOD.replace("epochs: 2", f"epochs: 2, {base}")
    told = problems(text)
    assert [line.split(": not a setting of weights")[0] for line in told] == [
        "s.yaml: base.method.sparsity: 0.5",
        "s.yaml: base.method.rerandomize_every: 7",
    ]
    trial = only(load(text.replace("  method: {name: weights, lr: 0.1}", "  method: {lr: 0.2}")))
    assert identity(trial.method) == {"name": "iterand", "lr": 0.2, "sparsity": 0.5, "rerandomize_every": 7}


@pytest.mark.parametrize("empty", ["{}", "[{}]"])
def test_one_trial_that_stands_in_the_base(load: Load, empty: str) -> None:
    method, model = "method: {name: weights, lr: 0.1}", "model: {name: conv2}"
    text = GOOD.replace("epochs: 2", f"epochs: 2, seed: 1, {model}, {method}").replace(GRID, f"grid: {empty}\n")
    assert only(load(text)).seed == 1


def test_the_resolved_trials_are_the_same_sweep(load: Load) -> None:
    trials = load(AXES).trials
    resolved = {"name": "t", "grid": [trial.model_dump(mode="json") for trial in trials.values()]}
    assert load(yaml.safe_dump(resolved)).trials == trials


def test_the_default_sweep(repository: Path) -> None:
    sweep = load_sweep(repository / "sweeps" / "width_vs_acc.yaml")
    trials = values(sweep, lambda t: (t.model.width_mult, t.seed, t.method.name))
    widths, seeds, methods = (set(axis) for axis in zip(*trials, strict=True))
    assert len(widths) >= 4
    assert len(seeds) >= 10 and {1, 2, 3, 4, 5} < seeds
    assert methods == {"weights", "edge_popup", "iterand"}
    assert len(trials) == len(set(trials)) == len(widths) * len(seeds) * len(methods)
    assert all(t.dataset.name == "digits" and t.evaluate_test and t.threads == 1 for t in sweep.trials.values())


def test_ten_thousand_trials(load: Load) -> None:
    text = GOOD.replace("seed: 1", f"seed: {list(range(100))}").replace("lr: 0.1", f"lr: {list(range(1, 101))}")
    assert len(load(text).trials) == 10_000


# Ranges -------------------------------------------------------------------------------------------------------------


def test_a_range_in_base_is_that_of_every_block_over_it(load: Load) -> None:
    text = RANGE.replace("  method: {name: weights, lr: {loguniform: [0.01, 1]}}", METHODS_OVER_BASE)
    text = text.replace("epochs: 2", "epochs: 2, method: {lr: {loguniform: [0.01, 1]}}")
    rows = values(load(text), lambda t: (t.method.name, t.method.lr, getattr(t.method, "sparsity", None)))
    names = [name for name, *_ in rows]
    assert [names.count(name) for name in ("weights", "edge_popup", "iterand")] == [5, 5, 1]  # drawn together; hidden
    assert [lr for name, lr, _ in rows if name == "weights"] == values(load(RANGE), lambda t: t.method.lr)


METHODS_OVER_BASE = """\
  method:
    - {name: weights}
    - {name: edge_popup, sparsity: {uniform: [0.2, 0.8]}}
    - {name: iterand, lr: 0.5, sparsity: 0.5}"""


def test_two_blocks_with_ranges_are_two_axes(load: Load) -> None:
    sweep = load(RANGE.replace("epochs: 2", "epochs: 2, schedule: {constant_lr: {uniform: [0, 1]}}"))
    pairs = values(sweep, lambda t: (t.method.lr, t.schedule.constant_lr))
    assert len(set(pairs)) == 25 and len({lr for lr, _ in pairs}) == len({constant for _, constant in pairs}) == 5


def test_a_range_at_the_top_of_the_grid(load: Load) -> None:
    sweep = load(RANGE.replace("lr: {loguniform: [0.01, 1]}", "lr: 0.1") + "  epochs: {choice: [2, 3, 4]}\n")
    assert set(values(sweep, lambda t: t.epochs)) <= {2, 3, 4} and sweep.searched == ("epochs",)


def test_a_value_drawn_twice_is_one_trial(load: Load) -> None:
    sweep = load(
        RANGE.replace("{loguniform: [0.01, 1]}", "{choice: [0.1, 0.2]}").replace("m_trials: 5", "m_trials: 50")
    )
    assert sorted(values(sweep, lambda t: t.method.lr)) == [0.1, 0.2]


def test_what_is_drawn_may_stand_in_the_file_too(load: Load) -> None:
    text = RANGE.replace("{name: weights, lr: {loguniform: [0.01, 1]}}", "[{name: weights, lr: [0.1, 0.2]}, DRAWN]")
    text = text.replace("DRAWN", "{name: weights, lr: {choice: [0.1]}}")
    assert sorted(values(load(text), lambda t: t.method.lr)) == [0.1, 0.2]


def test_an_axis_that_says_the_same_twice_is_a_mistake_still(problems: Problems) -> None:
    told = problems(RANGE.replace("seed: 1", "seed: [1, 1]"))
    assert without_trials(told) == [f"s.yaml: grid.seed[0] and grid.seed[1]: {TWICE}"]


@pytest.mark.parametrize("key", ["momentum", "weight_decay", "sparsity", "rerandomize_prob"])
def test_zero_and_minus_zero_are_the_same_trial(problems: Problems, key: str) -> None:
    method = {"name": "iterand", "lr": 0.1, "sparsity": 0.5, key: [0.0, -0.0]}
    told = problems(GOOD.replace("{name: weights, lr: 0.1}", json.dumps(method)))
    assert without_trials(told) == [f"s.yaml: grid.method.{key}[0] and grid.method.{key}[1]: {TWICE}"]
