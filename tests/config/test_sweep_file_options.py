"""--only and --set: what they choose and change, and how mistakes in them are told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.sweep_files import AXES, DRAWN, GOOD, RANGE, Load, Problems, valid, values

from suite import cli
from suite.config import Trial, WeightsSettings
from suite.config.sweep_file import load_sweep
from suite.records.ledger import Ledger


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (["seed=1"], 3),
        (["seed=[1, 2]"], 6),
        (["seed=[2, 7]"], 3),
        (["method=edge_popup"], 4),
        (["method.name=edge_popup"], 4),
        (["method=[weights, iterand]"], 2),
        (["method.sparsity=0.3"], 2),
        (["method.momentum=0.9"], 6),  # a default
        (["model.width_mult=5e-1"], 6),
        (["dataset=digits"], 6),
        (["model.norm_affine=null"], 6),
        (["evaluate_test=true"], 6),
        (["method=edge_popup", "seed=1"], 2),
    ],
)
def test_only_keeps_what_passes_every_filter(load: Load, filters: list[str], count: int) -> None:
    everything = load(AXES).trials
    kept = load(AXES, only=filters).trials
    assert len(kept) == count
    assert kept.items() <= everything.items()


def test_only_a_method(repository: Path) -> None:
    sweep = load_sweep(repository / "sweeps" / "width_vs_acc.yaml", only=["method=iterand"])
    assert set(values(sweep, lambda t: t.method.name)) == {"iterand"}
    assert len(sweep.trials) >= 20


@pytest.mark.parametrize(
    ("sets", "count", "get", "expected"),
    [
        (["epochs=7"], 6, lambda t: t.epochs, {7}),
        (["seed=9"], 3, lambda t: t.seed, {9}),  # an axis collapses
        (["seed=[7, 8, 9]"], 9, lambda t: t.seed, {7, 8, 9}),  # a list is an axis in its place
        (["seed=[7, 8]", "seed=9"], 3, lambda t: t.seed, {9}),  # the last one counts
        (["model.width_mult=1"], 6, lambda t: t.model.width_mult, {1.0}),
        (["model={name: conv4}"], 6, lambda t: (t.model.name, t.model.width_mult), {("conv4", 1.0)}),
        (["model.name=conv4"], 6, lambda t: (t.model.name, t.model.width_mult), {("conv4", 0.5)}),  # the rest stays
        (["method={name: weights, lr: 1e-2}"], 2, lambda t: t.method.lr, {0.01}),
        (["dataset=cifar10"], 6, lambda t: t.dataset.name, {"cifar10"}),
        (["schedule.warmup_epochs=1"], 6, lambda t: t.schedule.warmup_epochs, {1}),
        (["evaluate_test=false"], 6, lambda t: t.evaluate_test, {False}),
    ],
)
def test_set_goes_over_every_trial(
    load: Load, sets: list[str], count: int, get: Callable[[Trial], Any], expected: set[Any]
) -> None:
    sweep = load(AXES, overrides=sets)
    assert len(sweep.trials) == count
    assert set(values(sweep, get)) == expected


def test_set_for_the_trials_that_only_keeps(load: Load) -> None:
    sweep = load(AXES, only=["method=edge_popup"], overrides=["method.sparsity=[0.1, 0.2]"])  # no setting of weights
    assert values(sweep, lambda t: (t.seed, t.method.sparsity)) == [(1, 0.1), (1, 0.2), (2, 0.1), (2, 0.2)]
    assert len(load(AXES, only=["seed=9"], overrides=["seed=[8, 9]"]).trials) == 3  # only looks at what set has made


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"only": ["seed"]}, "--only: seed: must be KEY=VALUE, as in --only model.width_mult=0.25"),
        ({"overrides": ["=3"]}, "--set: =3: must be KEY=VALUE, as in --set model.width_mult=0.25"),
        (
            {"only": ["seed=[1"]},
            "--only seed: not YAML: the [ of line 1 is not closed: a comma or ] is missing before this",
        ),
        ({"only": ["method.momentum=0.8"]}, "--only method.momentum: [0.8]: matches no trial; values there: 0.9"),
        ({"overrides": ["epochs=abc"]}, 's.yaml: --set epochs: "abc": must be a valid integer'),
        ({"overrides": ["epochs=[1, 0]"]}, "s.yaml: --set epochs: 0: must be greater than or equal to 1"),
        ({"overrides": ["epocs=3"]}, f"s.yaml: --set epocs: 3: not a setting; did you mean epochs? {valid(Trial)}"),
        (
            {"overrides": ["method.sparsity=0.5"]},
            f"s.yaml: --set method.sparsity: 0.5: not a setting of weights; {valid(WeightsSettings)}",
        ),
        ({"overrides": ["model=conv4"]}, 's.yaml: --set model: "conv4": must be a block, as {name: ...}'),
        (
            {"overrides": ["schedule.warmup_epochs=3"]},
            's.yaml: --set schedule: {"warmup_epochs": 3}: warmup_epochs + constant_epochs must be at most epochs (2)',
        ),
    ],
)
def test_a_mistake_on_the_command_line(problems: Problems, options: dict[str, list[str]], problem: str) -> None:
    assert problems(AXES, **options) == [problem]


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("seed=9", "1, 2"),
        ("method=iterand", '"weights", "edge_popup"'),
        ("method.sparsity=0.5", "0.3, 0.6"),
        ("model.name=conv4", '"conv2"'),
        ("model.norm_affine=true", "null"),
    ],
)
def test_only_that_matches_nothing_tells_the_values_there(problems: Problems, option: str, told: str) -> None:
    (problem,) = problems(AXES, only=[option])
    assert problem.endswith(f"matches no trial; values there: {told}")


KEYS = (
    "accumulation_steps, channels_last, checkpoint, compile, dataset, dataset.name, deterministic, epochs, "
    "evaluate_test, global_batch_size, keep_network, method, method.lr, method.name, method.sparsity, model, "
    "model.name, model.width_mult, precision, processes, resources, schedule, seed, sync_batch_norm, tf32, threads"
)


@pytest.mark.parametrize(("key", "near"), [("epocs", "epochs"), ("method.sparsty", "method.sparsity"), ("zzz", None)])
def test_only_with_an_unknown_key_tells_the_nearest(problems: Problems, key: str, near: str | None) -> None:
    hint = f"did you mean {near}? " if near else ""
    assert problems(AXES, only=[f"{key}=2"]) == [f"--only {key}: [2]: matches no trial; {hint}valid: {KEYS}"]


@pytest.mark.parametrize(("flag", "option"), [("--only", "only"), ("--set", "overrides")])
def test_an_option_with_an_empty_list(problems: Problems, flag: str, option: str) -> None:
    assert problems(AXES, **{option: ["seed=[]"]}) == [f"{flag} seed: []: must have at least one value"]


# Ranges -------------------------------------------------------------------------------------------------------------


def test_set_and_only(load: Load) -> None:
    assert values(load(RANGE, overrides=["method.lr=0.3"]), lambda t: t.method.lr) == [0.3]
    assert load(RANGE, overrides=["method.lr=0.3"]).searched == ()
    assert len(load(RANGE, overrides=["method.lr=[0.3, 0.4]"]).trials) == 2
    lrs = values(load(RANGE), lambda t: t.method.lr)
    assert values(load(RANGE, only=[f"method.lr={lrs[2]}"]), lambda t: t.method.lr) == [lrs[2]]
    kept = load(DRAWN, only=["method=weights", "seed=2"])
    assert len(kept.trials) == 8 and kept.searched == ("method.lr", "method.weight_decay")
    assert kept.trials.items() <= load(DRAWN).trials.items()


def test_set_may_be_a_range(load: Load, problems: Problems) -> None:
    plain = RANGE.replace("{loguniform: [0.01, 1]}", "0.1")
    sweep = load(plain, overrides=["method.lr={loguniform: [0.01, 1]}"])
    assert sweep.trials.keys() == load(RANGE).trials.keys() and sweep.searched == ("method.lr",)
    told = problems(plain, overrides=["method.lr={loguniform: [1, 0]}"])
    rule = "loguniform must be two numbers, the first less than the second"
    assert told == [f's.yaml: --set method.lr: {{"loguniform": [1, 0]}}: {rule}']
    (told,) = problems(RANGE, overrides=["method={name: weights, lr: {uniform: [1, 2]}}"])
    assert told.endswith("has a range in it: set it alone, by its own key")
    (told,) = problems(GOOD, overrides=["method.lr={uniform: [1, 2]}"])
    assert "search: random" in told


# Label --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "label"),
    [
        ({}, "t"),
        ({"only": ["seed=1"]}, "t-only-seed=1"),
        ({"overrides": ["epochs=3"], "only": ["seed=1"]}, "t-only-seed=1-set-epochs=3"),
        ({"only": ["method=[weights, edge_popup]"]}, "t-only-method=weights,edge_popup-a70d03"),
        (
            {"only": ["dataset=  digits"], "overrides": ["method.lr=1e-4"]},
            "t-only-dataset=digits-set-method.lr=1e-4-c90f5e",
        ),
    ],
)
def test_the_label_names_the_options_and_the_report_folder(
    load: Load, options: dict[str, list[str]], label: str
) -> None:
    sweep = load(AXES, **options)
    assert (sweep.name, sweep.label) == ("t", label)
    assert cli.report_folder(sweep, Ledger(Path("results"))) == Path("results/reports") / label


def test_a_long_label_is_cut(load: Load) -> None:
    label = load(AXES, overrides=[f"seed={list(range(100))}"]).label
    assert len(label) == 107
    assert label.startswith("t-set-seed=0,1,2,")
    assert label != load(AXES, overrides=[f"seed={list(range(101))}"]).label


def test_other_options_other_label(load: Load) -> None:
    sweeps = [
        load(AXES, only=["seed=1"]),
        load(AXES, overrides=["seed=1", "method.lr=0.1"]),
        load(AXES, overrides=["seed=1"]),
    ]
    assert len({sweep.label for sweep in sweeps}) == 3
