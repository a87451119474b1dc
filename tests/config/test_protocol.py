"""The sweep files have the protocol's trials, setting by setting, and other sweeps leave it in one thing at a time."""

import itertools
import re
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from analysis.parts.cells import cells
from analysis.parts.differences import MAX_COMPARED
from suite.config import Trial
from suite.config.grid import flatten
from suite.config.search import SearchSettings
from suite.config.sweep_file import Sweep, load_sweep
from suite.records.ledger import Ledger

SWEEPS = Path(__file__).parents[2] / "sweeps"
WIDTHS, SEEDS = (0.25, 0.5, 1.0, 2.0), (1, 2, 3)
NETS = {  # masked lr, dense lr, weight decay, p
    "conv6": (0.3, 0.01, 1e-4, 0.5),
    "resnet18": (0.1, 0.1, 5e-4, 0.6),
    "resnet34": (0.1, 0.1, 5e-4, 0.6),
}
SERIES = [  # method, distribution
    ("weights", "kaiming_uniform"),
    *itertools.product(["edge_popup", "iterand"], ["kaiming_uniform", "signed_constant"]),
]
CIFAR10 = {
    "dataset": {"name": "cifar10", "train_images": None, "augment": "protocol"},
    "epochs": 100,
    "global_batch_size": 128,
    "schedule": {"warmup_epochs": 0, "constant_epochs": 0, "constant_lr": 0.0},
}
IMAGENET = {
    "epochs": 105,
    "global_batch_size": 128,
    "schedule": {"warmup_epochs": 5, "constant_epochs": 5, "constant_lr": 1e-5},
}
MASKED = {"rank_by": "scores", "score_init": "kaiming_uniform", "scale_fan": False}
MASKED |= {"max_score_grad_norm": None, "pack_signs": False, "plain_lr": None, "scope": "layer"}
MASKED |= {"sparsity_schedule": None}
UPDATE = {"update": "sgd", "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}


@cache
def load(name: str) -> Sweep:
    return load_sweep(SWEEPS / f"{name}.yaml")


def trials(name: str) -> list[Trial]:
    return list(load(name).trials.values())


def settings(trial: Trial) -> dict[str, Any]:
    return flatten(trial.model_dump())


def place(trial: Trial) -> tuple[Any, ...]:
    return trial.model.name, trial.model.width_mult, trial.method.name, trial.method.distribution, trial.seed


def method(name: str, distribution: str, lr: float, decay: float, p: float, **redrawn: float) -> dict[str, Any]:
    sgd = UPDATE | {"name": name, "distribution": distribution, "lr": lr, "momentum": 0.9, "weight_decay": decay}
    masked = {} if name == "weights" else MASKED | {"sparsity": p}
    return sgd | masked | (redrawn if name == "iterand" else {})


def on_cifar10(net: str, name: str, distribution: str, r: float = 0.1) -> dict[str, Any]:
    masked_lr, dense_lr, decay, p = NETS[net]
    lr = dense_lr if name == "weights" else masked_lr
    return method(name, distribution, lr, decay, p, rerandomize_every=300, rerandomize_prob=r)


def check(trial: Trial, shared: dict[str, Any], expected_method: dict[str, Any]) -> None:
    dump = trial.model_dump()
    assert {key: dump[key] for key in shared} == shared
    assert dump["method"] == expected_method
    assert (trial.model.norm_affine, trial.model.train_biases) == (None, None)  # trained in dense networks alone
    assert trial.evaluate_test and trial.precision == "fp32" and trial.processes == 1


def test_224_trials_of_which_215_are_distinct() -> None:
    width, ablation, imagenet = (
        load(name).trials for name in ("cifar10_width", "cifar10_rerandomize_prob", "imagenet")
    )
    assert (len(width), len(ablation), len(imagenet)) == (180, 36, 8)
    assert len(width) + len(ablation) + len(imagenet) == 224
    assert len(width.keys() | ablation.keys() | imagenet.keys()) == 215
    shared = {(place(width[i]), settings(width[i])["method.rerandomize_prob"]) for i in width.keys() & ablation.keys()}
    assert shared == {((net, 1.0, "iterand", "kaiming_uniform", seed), 0.1) for net in NETS for seed in SEEDS}


def test_the_width_sweep() -> None:
    found = trials("cifar10_width")
    planned = {(net, width, *series, seed) for net in NETS for width in WIDTHS for series in SERIES for seed in SEEDS}
    assert {place(trial) for trial in found} == planned
    for trial in found:
        check(trial, CIFAR10, on_cifar10(trial.model.name, trial.method.name, trial.method.distribution))


def test_the_ablation_of_r() -> None:
    found = trials("cifar10_rerandomize_prob")
    planned = itertools.product(NETS, [0.0, 0.01, 0.1, 1.0], SEEDS)
    places = [(t.model.name, t.method.model_dump()["rerandomize_prob"], t.seed) for t in found]
    assert sorted(places) == sorted(planned)
    for trial, (net, r, _) in zip(found, places, strict=True):
        assert trial.model.width_mult == 1.0
        check(trial, CIFAR10, on_cifar10(net, "iterand", "kaiming_uniform", r))


def test_imagenet() -> None:
    found = trials("imagenet")
    nets = [*itertools.product(["resnet34", "resnet50", "resnet101"], ["edge_popup", "iterand"])]
    nets += [("resnet18", "weights"), ("resnet34", "weights")]
    assert Counter((trial.model.name, trial.method.name) for trial in found) == Counter(nets)
    for trial in found:
        dense = trial.method.name == "weights"
        distribution = "kaiming_uniform" if dense else "signed_constant"
        redrawn = {"rerandomize_every": 1000, "rerandomize_prob": 0.1}
        check(trial, IMAGENET, method(trial.method.name, distribution, 0.1, 1e-4, 0.7, **redrawn))
        assert (trial.seed, trial.model.width_mult) == (1, 1.0)
        data = settings(trial)
        assert (data["dataset.name"], data["dataset.loader"], data["dataset.val_share"]) == ("imagenet", "dali", 0.01)
        assert (data["dataset.image_size"], data["dataset.resize"]) == (224, 256)


@cache
def protocol() -> dict[tuple[Any, ...], dict[str, Any]]:
    return {place(trial): settings(trial) for trial in trials("cifar10_width")}


def changed(trial: Trial, *, seed: int | None = None) -> frozenset[str]:
    """The settings in which a trial differs from the protocol's own of its place."""
    net, width, name, distribution, its = place(trial)
    reference = protocol()[net, width, name, distribution, seed or its]
    found = settings(trial)
    assert found.keys() == reference.keys()
    return frozenset(key for key, value in found.items() if value != reference[key])


def values(name: str, *keys: str) -> dict[tuple[Any, ...], Counter[tuple[Any, ...]]]:
    """By network, width, method and seed: the values of some settings."""
    found: dict[tuple[Any, ...], Counter[tuple[Any, ...]]] = defaultdict(Counter)
    for trial in trials(name):
        flat = settings(trial)
        found[trial.model.name, trial.model.width_mult, trial.method.name, trial.seed][
            tuple(flat.get(key) for key in keys)
        ] += 1
    return found


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("sparsity", {"method.sparsity"}),
        ("rerandomize", {"method.rerandomize_every", "method.rerandomize_prob"}),
        ("convergence", {"epochs"}),
    ],
)
def test_a_study_changes_what_it_studies_alone(name: str, keys: set[str]) -> None:
    differing = [changed(trial) for trial in trials(name)]
    assert set().union(*differing) == keys
    assert frozenset() in differing  # the protocol's own trials stand beside


def test_the_sparsities() -> None:
    sparsities = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
    found = values("sparsity", "method.sparsity")
    assert found.keys() == set(
        itertools.product(["conv6", "resnet18"], [0.25, 1.0], ["weights", "edge_popup", "iterand"], SEEDS)
    )
    for (_, _, name, _), counts in found.items():
        assert counts == Counter([(None,)] if name == "weights" else [(p,) for p in sparsities])


def test_the_grid_of_drawing_again() -> None:
    grid = Counter(itertools.product([30, 100, 300, 1000, 3000], [0.01, 0.1, 1.0]))
    found = values("rerandomize", "method.rerandomize_every", "method.rerandomize_prob")
    assert found.keys() == set(itertools.product(["conv6", "resnet18"], [1.0], ["edge_popup", "iterand"], SEEDS))
    for (_, _, name, _), counts in found.items():
        assert counts == (grid if name == "iterand" else Counter([(None, None)]))


def test_doubled_epochs_at_two_widths_per_method() -> None:
    found = values("convergence", "epochs")
    assert found.keys() == set(itertools.product(NETS, [0.25, 1.0], ["weights", "edge_popup", "iterand"], SEEDS))
    assert all(counts == Counter([(100,), (200,)]) for counts in found.values())


@pytest.mark.parametrize("net", ["conv6", "[resnet18, resnet34]"])
def test_the_gaps_of_both_lengths_stand_in_one_table(tmp_path: Path, net: str) -> None:
    sweep = load_sweep(SWEEPS / "convergence.yaml", only=[f"model={net}"])
    assert len({cell.series for cell in cells(sweep, Ledger(tmp_path))}) == 6 <= MAX_COMPARED


def test_a_control_changes_one_thing() -> None:
    parts = frozenset(["model.norm_affine", "model.train_biases"])
    crop, original = frozenset(["dataset.augment"]), frozenset(["method.rank_by", "method.score_init"])
    both = [frozenset(), crop, parts]
    expected = {"weights": both, "edge_popup": [*both, original], "iterand": both}
    found: dict[tuple[Any, ...], list[frozenset[str]]] = defaultdict(list)
    for trial in trials("controls"):
        found[trial.model.name, trial.model.width_mult, trial.method.name, trial.seed].append(changed(trial))
    assert found.keys() == set(itertools.product(["conv6", "resnet18"], [0.25, 1.0], expected, SEEDS))
    assert all(Counter(kinds) == Counter(expected[name]) for (_, _, name, _), kinds in found.items())


def test_what_the_controls_are() -> None:
    for trial in trials("controls"):
        dense, kind = trial.method.name == "weights", changed(trial)
        flat = settings(trial)
        if "model.train_biases" in kind:
            assert (flat["model.norm_affine"], flat["model.train_biases"]) == (not dense, not dense)
        if "dataset.augment" in kind:
            assert flat["dataset.augment"] == "crop"
        if "method.rank_by" in kind:
            assert (flat["method.rank_by"], flat["method.score_init"]) == ("abs_scores", "fan_in_uniform")


def test_tuning_is_fair() -> None:
    sweep = load("tuning")
    assert sweep.search == SearchSettings(name="grid") and sweep.scheduler.name == "fifo"
    tried: dict[tuple[Any, ...], set[tuple[float, float]]] = defaultdict(set)
    for trial in sweep.trials.values():
        tried[place(trial)].add((trial.method.lr, trial.method.weight_decay))
        assert not trial.evaluate_test
        assert changed(trial, seed=1) <= {"method.lr", "method.weight_decay", "seed", "evaluate_test", "keep_network"}
    widths = (min(WIDTHS), 1.0, max(WIDTHS))
    planned = itertools.product(NETS, widths, SERIES, (101, 102, 103))
    assert tried.keys() == {(net, width, *series, seed) for net, width, series, seed in planned}
    grid = set(itertools.product([0.01, 0.03, 0.1, 0.3, 1.0], [1e-4, 5e-4]))
    assert all(settings == grid for settings in tried.values())
    assert {(lr, decay) for masked, dense, decay, _ in NETS.values() for lr in (masked, dense)} <= grid


def test_seeds_that_tuned_are_never_reported() -> None:
    sweeps = [load(path.stem) for path in sorted(SWEEPS.glob("*.yaml"))]
    tuned, reported = (
        {trial.seed for sweep in sweeps if (sweep.search is not None) == search for trial in sweep.trials.values()}
        for search in (True, False)
    )
    assert tuned and reported and not tuned & reported


def test_the_readme_tells_every_sweep_and_how_many_trials_it_has() -> None:
    row = r"^\| \[(\w+)\]\(\1\.yaml\) .*\| ([\d,]+) \|[^|]*\|$"
    told = dict(re.findall(row, (SWEEPS / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert {name: int(count.replace(",", "")) for name, count in told.items()} == {
        path.stem: len(trials(path.stem)) for path in SWEEPS.glob("*.yaml")
    }
