"""Searches: ranges of sweep files, what is drawn from them, and that no search looks at test images."""

import json
import math
import random
import subprocess
import sys
from collections import defaultdict
from typing import Any

import pytest
import yaml
from support.sweep_files import DRAWN, GOOD, RANGE, Load, Problems, only, valid, values

from suite.config import Trial, sweep_file
from suite.config.search import SearchSettings
from suite.config.sweep_file import load_sweep


def slow_draw(seed: int, name: str, key: str, i: int, kind: str, ends: list[Any]) -> Any:
    share = random.Random(f"{seed} {name} {key} {i}").random()
    if kind == "choice":
        return ends[math.floor(share * len(ends))]
    if kind == "uniform":
        return float(f"{ends[0] + share * (ends[1] - ends[0]):.2e}")
    return float(f"{ends[0] * (ends[1] / ends[0]) ** share:.2e}")


def test_the_trials_of_a_search_by_a_slow_reference(load: Load) -> None:
    sweep = load(DRAWN)
    expected = set()
    for width in (0.25, 0.5):
        for seed in (1, 2):
            for i in range(4):
                lr = slow_draw(7, "weights", "method.lr", i, "loguniform", [0.001, 1])
                decay = slow_draw(7, "weights", "method.weight_decay", i, "choice", [0.0, 1e-4, 1e-3])
                expected.add((width, seed, "weights", lr, decay, 0.9, None))
                lr = slow_draw(7, "edge_popup", "method.lr", i, "loguniform", [0.001, 1])
                sparsity = slow_draw(7, "edge_popup", "method.sparsity", i, "uniform", [0.25, 0.75])
                expected |= {(width, seed, "edge_popup", lr, 0.0, momentum, sparsity) for momentum in (0.0, 0.9)}

    def row(trial: Trial) -> tuple[Any, ...]:
        method = trial.method
        sparsity = getattr(method, "sparsity", None)
        return (
            trial.model.width_mult,
            trial.seed,
            method.name,
            method.lr,
            method.weight_decay,
            method.momentum,
            sparsity,
        )

    rows = values(sweep, row)
    assert set(rows) == expected and len(rows) == len(expected) == 48
    assert sweep.search == SearchSettings(name="random", num_trials=4, seed=7)
    assert sweep.searched == ("method.lr", "method.weight_decay", "method.sparsity")
    assert {tuple(ranges) for ranges in sweep.ranges_by_trial.values()} == {sweep.searched[:2], sweep.searched[::2]}
    assert sweep.ranges_by_trial.keys() == sweep.trials.keys()


def test_draws_are_written_down_here(load: Load) -> None:
    """On every machine, with every Python."""
    assert values(load(RANGE), lambda t: t.method.lr) == [0.0259, 0.0277, 0.0178, 0.0555, 0.0588]


def test_other_processes_draw_the_same(load: Load) -> None:
    ids = list(load(DRAWN).trials)
    code = (
        "import json; from suite.config.sweep_file import load_sweep; "
        "print(json.dumps(list(load_sweep('s.yaml').trials)))"
    )
    for hash_seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
        assert json.loads(done.stdout) == ids


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reordered(item) for key, item in reversed(value.items())}
    return [reordered(item) for item in value] if isinstance(value, list) else value


def test_the_order_of_keys_and_blocks_changes_nothing(load: Load) -> None:
    content = yaml.safe_load(DRAWN.replace("1e-4", "0.0001").replace("1e-3", "0.001"))
    assert list(content["grid"]["method"][0]) != list(reordered(content)["grid"]["method"][0])
    other = reordered(content)
    other["grid"]["method"].reverse()
    assert load(yaml.safe_dump(other, sort_keys=False)).trials.keys() == load(DRAWN).trials.keys()


def test_more_trials_keep_the_first(load: Load) -> None:
    few, many = (
        values(load(RANGE.replace("num_trials: 5", f"num_trials: {n}")), lambda t: t.method.lr) for n in (5, 9)
    )
    assert len(set(many)) == 9 and many[:5] == few


def test_seeds_of_the_search_and_methods_draw_differently(load: Load) -> None:
    drawn = defaultdict(set)
    for seed in (7, 8):
        for trial in load(DRAWN.replace("seed: 7", f"seed: {seed}")).trials.values():
            drawn[seed, trial.method.name].add(trial.method.lr)
    assert len(drawn) == 4 and len(set().union(*drawn.values())) == 16


def test_defaults(load: Load) -> None:
    sweep = load(RANGE.replace("{name: random, num_trials: 5}", "random"))
    assert sweep.search == SearchSettings(name="random") and len(sweep.trials) == 20
    explicit = RANGE.replace("{name: random, num_trials: 5}", "{name: random, num_trials: 20, seed: 0}")
    assert load(explicit).trials == sweep.trials


# Mistakes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ('{"uniform": [2, 1]}', "uniform must be two numbers, the first less than the second"),
        ('{"uniform": [1, 1.0]}', "uniform must be two numbers, the first less than the second"),
        ('{"loguniform": [0, 1]}', "loguniform must be numbers greater than 0"),
        ('{"loguniform": [-1, 1]}', "loguniform must be numbers greater than 0"),
        ('{"uniform": [1]}', "uniform must be two numbers, the lowest and the highest"),
        ('{"uniform": [1, 2, 3]}', "uniform must be two numbers, the lowest and the highest"),
        ('{"uniform": 3}', "uniform must be two numbers, the lowest and the highest"),
        ('{"uniform": ["a", 1]}', "uniform must be two numbers, the lowest and the highest"),
        ('{"loguniform": [false, true]}', "loguniform must be two numbers, the lowest and the highest"),
        ('{"uniform": [.nan, 1]}', "must be finite numbers"),
        ('{"uniform": [0, .inf]}', "must be finite numbers"),
        (f'{{"uniform": [0, {10**400}]}}', "must be finite numbers"),
        ('{"choice": []}', "choice must be a list of at least one value"),
        ('{"choice": 3}', "choice must be a list of at least one value"),
        ('{"choice": [0.1, .inf]}', "must be finite numbers"),
        ('{"choice": [0.1, [0.2]]}', "choice must be a list of plain values; blocks belong into a list without it"),
        ('{"gauss": [0, 1]}', "not a kind of range; valid: uniform, loguniform, choice"),
        ('{"unifrom": [0, 1]}', "not a kind of range; did you mean uniform? valid: uniform, loguniform, choice"),
        ('{"uniform": [0, 1], "x": 2}', "a range must be one of uniform, loguniform, choice, and nothing else"),
    ],
)
def test_a_wrong_range(problems: Problems, given: str, rule: str) -> None:
    (told,) = problems(RANGE.replace("{loguniform: [0.01, 1]}", given))
    assert told.startswith("s.yaml: grid.method.lr: {") and told.endswith(f": {rule}")


@pytest.mark.parametrize("search", ["", "search: grid\n"])
@pytest.mark.parametrize("given", ["{uniform: [1, 2]}", "{choice: [1, 2]}"])
def test_a_range_needs_a_search_that_draws(problems: Problems, search: str, given: str) -> None:
    (told,) = problems(search + GOOD.replace("lr: 0.1", f"lr: {given}"))
    assert told.startswith("s.yaml: grid.method.lr: {")
    assert told.endswith(": a range: search: random draws from it, else it must be a value or a list")


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("seed: 1", "seed: {choice: [1, 2]}", "grid.seed"),
        ("width_mult: 0.5", "width_mult: {uniform: [0.5, 1]}", "grid.model.width_mult"),
        ("name: weights", "name: {choice: [weights]}", "grid.method.name"),
        ("dataset: digits", "dataset: {choice: [digits]}", "base.dataset"),
    ],
)
def test_what_is_never_drawn(problems: Problems, old: str, new: str, place: str) -> None:
    (told,) = problems(RANGE.replace(old, new))
    assert told.startswith(f"s.yaml: {place}: {{")
    assert told.endswith(": must be a value or a list: each drawn setting is run with all of them")


def test_a_range_in_a_list(problems: Problems) -> None:
    (told,) = problems(RANGE.replace("{loguniform: [0.01, 1]}", "[0.1, {uniform: [0.1, 1]}]"))
    assert told.startswith("s.yaml: grid.method.lr[1]: {") and told.endswith("it cannot stand in a list")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{name: random, num_trials: 0}", "search.num_trials: 0: must be greater than or equal to 1"),
        ("{name: random, num_trials: 2.5}", "search.num_trials: 2.5: must be a valid integer"),
        ("{name: random, seed: -1}", "search.seed: -1: must be greater than or equal to 0"),
        (
            "{name: random, num_trial: 3}",
            "search.num_trial: 3: not a setting of search; did you mean num_trials? VALID",
        ),
        ("rnadom", "search.name: \"rnadom\": must be 'grid' or 'random'"),
        ("{}", "search: name: is missing and has no default"),
        ("null", "search: null: must be grid or random"),
    ],
)
def test_a_wrong_search(problems: Problems, text: str, problem: str) -> None:
    told = problems(RANGE.replace("{name: random, num_trials: 5}", text))
    assert told == [f"s.yaml: {problem.replace('VALID', valid(SearchSettings))}"]


def test_a_grid_draws_nothing(problems: Problems) -> None:
    for key in ("num_trials", "seed"):
        told = problems(GOOD + f"search: {{name: grid, {key}: 3}}\n")
        assert told == [f"s.yaml: search.{key}: 3: belongs to search: random"]


def test_a_search_without_ranges(problems: Problems) -> None:
    (told,) = problems(GOOD + "search: random\n")
    assert told.startswith('s.yaml: search: "random": draws nothing: no setting is a range')


def test_a_value_that_the_setting_cannot_have_is_told_once_with_its_range(problems: Problems) -> None:
    told = problems(RANGE.replace("{loguniform: [0.01, 1]}", "{uniform: [-2, -1]}"))
    assert told == ['s.yaml: grid.method.lr: {"uniform": [-2, -1]}: must be greater than 0']
    told = problems(RANGE.replace("epochs: 2", "epochs: {uniform: [2, 9]}"))
    assert told == ['s.yaml: base.epochs: {"uniform": [2, 9]}: must be a valid integer, which choice draws']
    told = problems(RANGE.replace("epochs: 2", "epochs: {choice: [2.5]}"))
    assert told == ['s.yaml: base.epochs: {"choice": [2.5]}: must be a valid integer']


@pytest.mark.parametrize(
    ("text", "num"),
    [
        (RANGE.replace("num_trials: 5", "num_trials: 101"), 101),
        (DRAWN, 2 * 2 * (4 + 2 * 4)),
        (RANGE.replace("epochs: 2", "epochs: 2, schedule: {constant_lr: {uniform: [0, 1]}}"), 25),
        (RANGE.replace("num_trials: 5", "num_trials: 100000").replace("epochs: 2", "epochs: {choice: [1]}"), 10**10),
    ],
)
def test_draws_are_counted_before_they_are_made(
    problems: Problems, monkeypatch: pytest.MonkeyPatch, text: str, num: int
) -> None:
    monkeypatch.setattr(sweep_file, "MAX_TRIALS", num - 1)
    monkeypatch.setattr(sweep_file, "draw", lambda *_: pytest.fail("drawn"))
    assert problems(text) == [f"s.yaml: grid: {num} trials: must be at most {num - 1}"]


# No test images -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("search", ["grid", "{name: grid}", "random"])
def test_a_search_looks_at_no_test_image(load: Load, problems: Problems, search: str) -> None:
    text = (RANGE if search == "random" else GOOD).replace("search: {name: random, num_trials: 5}\n", "")
    text += f"search: {search}\n"
    assert set(values(load(text), lambda t: t.evaluate_test)) == {False}
    given = text.replace("epochs: 2", "epochs: 2, evaluate_test: false")
    assert load(given).trials == load(text).trials
    rule = "true: must be false: no test image is looked at in a search"
    assert problems(given.replace("false", "true")) == [f"s.yaml: base.evaluate_test: {rule}"]
    assert problems(text, overrides=["evaluate_test=true"]) == [f"s.yaml: --set evaluate_test: {rule}"]
    assert problems(text.replace("seed: 1", "seed: 1\n  evaluate_test: [false, true]")) == [
        f"s.yaml: grid.evaluate_test[1]: {rule}"
    ]


def test_without_a_search_nothing_changes(load: Load) -> None:
    sweep = load(GOOD)
    assert (sweep.search, sweep.searched, sweep.ranges_by_trial) == (None, (), {})
    assert only(sweep).evaluate_test


def test_the_resolved_trials_are_the_same_search(load: Load) -> None:
    trials = load(DRAWN).trials
    grid = [trial.model_dump(mode="json") for trial in trials.values()]
    scheduler = {"name": "asha", "grace_epochs": 1, "reduction_factor": 4}
    resolved = {"name": "t", "search": {"name": "grid"}, "scheduler": scheduler, "grid": grid}
    assert load(yaml.safe_dump(resolved)).trials == trials


def test_the_search_that_comes_with_the_suite(repository: Any) -> None:
    sweep = load_sweep(repository / "sweeps" / "tuning_digits.yaml")
    assert sweep.search == SearchSettings(name="grid") and len(sweep.trials) == 630
    assert not any(trial.evaluate_test for trial in sweep.trials.values())
