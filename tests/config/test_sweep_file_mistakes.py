"""Sweep files: how each mistake in them is told."""

from pathlib import Path
from typing import Any

import pytest
from support.sweep_files import BASE, GOOD, GRID, TWICE, Load, Problems, valid, without_trials

from suite.config import (
    METHODS,
    ConvSettings,
    DigitsSettings,
    EdgePopupSettings,
    InputError,
    Resources,
    Schedule,
    Trial,
    WeightsSettings,
    sweep_file,
)
from suite.config.sweep_file import SweepFile, load_sweep

NAME = "must be at most 64 of A-Z, a-z, 0-9, _, . and -, the first one a letter or digit"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        # Unknown keys, with the nearest valid name.
        ("name: t", "name: t\nnam: x", f'nam: "x": not a setting; did you mean name? {valid(SweepFile)}'),
        ("epochs: 2", "epochs: 2, epoch: 3", f"base.epoch: 3: not a setting; did you mean epochs? {valid(Trial)}"),
        ("seed: 1", "seed: 1\n  zzz: 3", f"grid.zzz: 3: not a setting; {valid(Trial)}"),
        (
            "lr: 0.1",
            "lr: 0.1, momentun: 0.3",
            f"grid.method.momentun: 0.3: not a setting of weights; did you mean momentum? {valid(WeightsSettings)}",
        ),
        (
            "width_mult",
            "width_mul",
            f"grid.model.width_mul: 0.5: not a setting of conv2; did you mean width_mult? {valid(ConvSettings)}",
        ),
        (
            "dataset: digits",
            "dataset: {name: digits, augmen: none}",
            f'base.dataset.augmen: "none": not a setting of digits; did you mean augment? {valid(DigitsSettings)}',
        ),
        (
            "epochs: 2",
            "epochs: 2, schedule: {warmup_epoch: 1}",
            f"base.schedule.warmup_epoch: 1: not a setting of schedule; did you mean warmup_epochs? {valid(Schedule)}",
        ),
        (
            "epochs: 2",
            "epochs: 2, resources: {cpu: 1}",
            f"base.resources.cpu: 1: not a setting of resources; did you mean cpus? {valid(Resources)}",
        ),
        (
            "lr: 0.1",
            "lr: 0.1, sparsity: 0.5",
            f"grid.method.sparsity: 0.5: not a setting of weights; {valid(WeightsSettings)}",
        ),
        (
            "name: weights, lr: 0.1",
            "name: edge_popup, lr: 0.1, sparsity: 0.5, rerandomize_prob: 0.1",
            f"grid.method.rerandomize_prob: 0.1: not a setting of edge_popup; {valid(EdgePopupSettings)}",
        ),
        # Names of blocks.
        (
            "name: weights",
            "name: weigths",
            f'grid.method.name: "weigths": not a method; did you mean weights? valid: {", ".join(METHODS)}',
        ),
        (
            "digits",
            "digit",
            'base.dataset: "digit": not a dataset; did you mean digits? '
            "valid: digits, mnist, fashion_mnist, cifar10, cifar100, arrays, folder, imagenet",
        ),
        (
            "conv2",
            "cnv2",
            'grid.model.name: "cnv2": not a model; did you mean conv2? '
            "valid: conv2, conv4, conv6, resnet18, resnet34, resnet50, resnet101, vit, timm",
        ),
        ("name: weights, ", "", f"grid.method: name: is missing; valid: {', '.join(METHODS)}"),
        ("{name: weights, lr: 0.1}", "weights", 'grid.method: "weights": must be a block, as {name: ...}'),
        # Missing.
        (", epochs: 2", "", "grid: epochs: is missing and has no default"),
        (", lr: 0.1", "", "grid.method: lr: is missing and has no default"),
        ("weights", "edge_popup", "grid.method: sparsity: is missing and has no default"),
        ("name: t\n", "", "top level: name: is missing and has no default"),
        # Types: nothing is converted.
        ("lr: 0.1", "lr: fast", 'grid.method.lr: "fast": must be a valid number'),
        ("lr: 0.1", 'lr: "0.1"', 'grid.method.lr: "0.1": must be a valid number'),
        ("lr: 0.1", "lr: true", "grid.method.lr: true: must be a valid number"),
        ("lr: 0.1", "lr: ", "grid.method.lr: null: must be a valid number"),
        ("lr: 0.1", "lr: {a: 1}", 'grid.method.lr: {"a": 1}: must be a valid number'),
        ("seed: 1", "seed: true", "grid.seed: true: must be a valid integer"),
        ("seed: 1", "seed: 1.0", "grid.seed: 1.0: must be a valid integer"),
        ("seed: 1", "seed: 2020-13-41", 'grid.seed: "2020-13-41": must be a valid integer'),
        ("seed: 1", 'seed: "1"', 'grid.seed: "1": must be a valid integer'),
        ("epochs: 2", "epochs: 2, evaluate_test: 1", "base.evaluate_test: 1: must be a valid boolean"),
        ("epochs: 2", "epochs: 2, schedule: 3", "base.schedule: 3: must be a block of settings: Schedule"),
        ("name: t", "name: 3", "name: 3: must be a valid string"),
        # Ranges.
        ("lr: 0.1", "lr: -1", "grid.method.lr: -1: must be greater than 0"),
        ("lr: 0.1", "lr: .nan", "grid.method.lr: NaN: must be a finite number"),
        ("lr: 0.1", "lr: .inf", "grid.method.lr: Infinity: must be a finite number"),
        ("lr: 0.1", "lr: 1e999", "grid.method.lr: Infinity: must be a finite number"),
        ("lr: 0.1", "lr: 0.1, momentum: 1", "grid.method.momentum: 1: must be less than 1"),
        ("weights", "edge_popup, sparsity: 1.0", "grid.method.sparsity: 1.0: must be less than 1"),
        ("seed: 1", "seed: 4294967296", "grid.seed: 4294967296: must be less than 4294967296"),
        ("epochs: 2", "epochs: 0", "base.epochs: 0: must be greater than or equal to 1"),
        (
            "lr: 0.1",
            "lr: 0.1, distribution: normal",
            "grid.method.distribution: \"normal\": must be 'kaiming_uniform', 'kaiming_normal' or 'signed_constant'",
        ),
        (
            "epochs: 2",
            "epochs: 2, schedule: {warmup_epochs: 2, constant_epochs: 1}",
            'base.schedule: {"warmup_epochs": 2, "constant_epochs": 1}: '
            "warmup_epochs + constant_epochs must be at most epochs (2)",
        ),
        ("name: t", "name: ../x", f'name: "../x": {NAME}'),
        ("name: t", 'name: "t\\n"', f'name: "t\\n": {NAME}'),
        # Axes.
        ("seed: 1", "seed: []", "grid.seed: []: an axis must have at least one value"),
        ("{name: weights, lr: 0.1}", "[]", "grid.method: []: an axis must have at least one value"),
        ("seed: 1", "seed: [1, true]", "grid.seed[1]: true: must be a valid integer"),
        ("lr: 0.1", "lr: [[0.1, 0], 0.2]", "grid.method.lr[0][1]: 0: must be greater than 0"),
        # Duplicates, with both places.
        ("seed: 1", "seed: [1, 2, 1]", f"grid.seed[0] and grid.seed[2]: {TWICE}"),
        ("lr: 0.1", "lr: [1, 1.0]", f"grid.method.lr[0] and grid.method.lr[1]: {TWICE}"),
        (
            "seed: 1",
            "seed: 1\n  resources: [{cpus: 1}, {cpus: 2}]",
            f"grid.resources[0].cpus and grid.resources[1].cpus: {TWICE}",
        ),
        (
            "seed: 1",
            "seed: 1\n  dataset: [digits, {name: digits, augment: none}]",
            f"grid.dataset[0] and grid.dataset[1].name: {TWICE}",
        ),
        (
            "{name: weights, lr: 0.1}",
            "[{name: weights, lr: 0.1}, {name: weights, lr: 0.1, momentum: 0.9}]",
            f"grid.method[0].name and grid.method[1].name: {TWICE}",
        ),
        (GRID, "grid: []\n", "grid: []: must have at least one block"),
    ],
)
def test_a_mistake_in_a_setting(problems: Problems, old: str, new: str, problem: str) -> None:
    assert GOOD.count(old) == 1
    assert without_trials(problems(GOOD.replace(old, new))) == [f"s.yaml: {problem}"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (GOOD.encode("utf-16"), "cannot be read as text: 'utf-8' codec can't decode byte 0xff in position 0"),
        (GOOD.encode().replace(b"t\n", b"t # \xe9\n"), "cannot be read as text: 'utf-8' codec can't decode byte 0xe9"),
        ("- a\n- b\n", '["a", "b"]: a sweep file must be a mapping with name, base and grid'),
        ("hello", '"hello": a sweep file must be a mapping with name, base and grid'),
        ("", "null: a sweep file must be a mapping with name, base and grid"),
    ],
)
def test_a_file_that_is_no_sweep(problems: Problems, content: str | bytes, problem: str) -> None:
    (told,) = problems(content)
    assert told.startswith(f"s.yaml: {problem}")


@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:os.system [touch proof]", "!!python/name:os.system", "!!python/object:os.X {}", "!x 1"],
)
def test_tags_build_nothing(problems: Problems, tag: str) -> None:
    (told,) = problems(GOOD.replace("seed: 1", f"seed: {tag}"))
    assert told == "s.yaml:5:9: not YAML: tags (!) are not read"
    assert not Path("proof").exists()


@pytest.mark.parametrize("tag", ["!!bool 3", "!!timestamp 2001", "!!int x"])
def test_tags_with_other_values_are_mistakes(problems: Problems, tag: str) -> None:
    (told,) = problems(GOOD.replace("seed: 1", f"seed: {tag}"))
    assert told.startswith("s.yaml") and "not YAML" in told


def test_a_file_that_is_not_there(load: Load, tmp_path: Path) -> None:
    load(GOOD)
    with pytest.raises(InputError, match=r"^no/t.yaml: no such file; there are: .* and \d+ more$"):
        load_sweep("no/t.yaml")
    with pytest.raises(InputError, match=r"cannot be read as text: .*Is a directory"):
        load_sweep(tmp_path)
    with pytest.raises(InputError, match=r"cannot be read as text: .*Not a directory"):
        load_sweep("s.yaml/t.yaml")


def test_all_mistakes_at_once_in_order_and_none_twice(problems: Problems) -> None:
    text = """\
name: 3
descripton: x
base: {dataset: digit, epochs: 0, global_batch_size: 64.5}
grid:
  model: {name: conv2, width_mult: [0.5, -1, 0.25]}
  seed: [1, true, 1]
  method:
    - {name: weights, lr: 0.1, sparsity: 0.5}
    - {name: edge_popup, lr: "0.1", sparsity: 1.5}
    - {name: itrand, lr: []}
"""
    places = [problem.split(": ")[1:3] for problem in problems(text)]
    assert places == [
        ["name", "3"],
        ["descripton", '"x"'],
        ["grid.method[2].lr", "[]"],
        ["base.dataset", '"digit"'],  # of the first trial, as the next three
        ["grid.method[0].sparsity", "0.5"],
        ["base.epochs", "0"],
        ["base.global_batch_size", "64.5"],
        ["grid.method[1].lr", '"0.1"'],
        ["grid.method[1].sparsity", "1.5"],
        ["grid.method[2].name", '"itrand"'],
        ["grid.seed[1]", "true"],
        ["grid.model.width_mult[1]", "-1"],
    ]


def test_each_duplicate_is_told_with_the_first_place(problems: Problems) -> None:
    told = problems(GOOD.replace("seed: 1", "seed: [1, 1, 1]"))
    assert without_trials(told) == [f"s.yaml: grid.seed[0] and grid.seed[{i}]: {TWICE}" for i in (1, 2)]


def test_a_duplicate_over_two_blocks_of_the_grid(problems: Problems) -> None:
    block = "{model: {name: conv2}, seed: 1, method: {name: weights, lr: 0.1}}"
    (told,) = problems(GOOD.replace(GRID, f"grid:\n  - {block}\n  - {block}\n"))
    assert told == (
        f's.yaml: grid[0] and grid[1]: {TWICE}: model.name="conv2", seed=1, method.name="weights", method.lr=0.1'
    )


MISSING = "is missing and has no default"
IN_WORDS = "must be a block or a list of blocks; keys must be words"
BLOCK = "model: {name: conv2}, method: {name: weights, lr: 0.1}"
SEEDS = list(range(60)), list(range(60, 120))


@pytest.mark.parametrize(
    ("grid", "problem"),
    [
        ("", f"top level: grid: {MISSING}"),
        ("grid:\n", f"grid: null: {IN_WORDS}"),
        ("grid: abc\n", f'grid: "abc": {IN_WORDS}'),
        ("grid: [3]\n", f"grid: [3]: {IN_WORDS}"),
        ("grid:\n  - {seed: 1}\n  - 3\n", f'grid: [{{"seed": 1}}, 3]: {IN_WORDS}'),
    ],
)
def test_no_grid_is_one_mistake(problems: Problems, grid: str, problem: str) -> None:
    assert problems(GOOD.replace(GRID, grid)) == [f"s.yaml: {problem}"]


@pytest.mark.parametrize(("base", "told"), [("null", "null"), ("3", "3"), ("abc", '"abc"'), ("[]", "[]")])
def test_base_is_a_block(problems: Problems, base: str, told: str) -> None:
    assert problems(GOOD.replace(BASE, base)) == [f"s.yaml: base: {told}: must be a block; keys must be words"]


def test_keys_are_words(problems: Problems) -> None:
    assert problems(GOOD.replace(GRID, "grid: {1: 2}\n"))[0] == f's.yaml: grid: {{"1": 2}}: {IN_WORDS}'
    told = problems(GOOD.replace(BASE, "{1: 2}"))[0]
    assert told == 's.yaml: base: {"1": 2}: must be a block; keys must be words'


@pytest.mark.parametrize(
    ("epochs", "places"),
    [
        ("epochs: [2, 3]", ["base.epochs"]),
        ("epochs: [2]", ["base.epochs"]),
        ("epochs: []", ["base.epochs"]),
        ("epochs: [2], schedule: {warmup_epochs: [[0]]}", ["base.epochs", "base.schedule.warmup_epochs"]),
    ],
)
def test_base_takes_no_list(problems: Problems, epochs: str, places: list[str]) -> None:
    told = problems(GOOD.replace("epochs: 2", epochs))
    assert told[: len(places)] == [f"s.yaml: {place}: lists are axes: they belong under grid" for place in places]


def test_a_list_in_base_is_one_mistake(problems: Problems) -> None:
    assert len(problems(GOOD.replace("epochs: 2", "epochs: [2, 3]"))) == 1


@pytest.mark.parametrize(
    ("text", "places", "keys"),
    [
        (f"base: {BASE}\ngrid: {{{BLOCK}}}\n", ["grid"], ["seed"]),
        (f"base: {BASE}\ngrid: [{{seed: 1, {BLOCK}}}, {{{BLOCK}}}]\n", ["grid[1]"], ["seed"]),
        (f"base: {BASE}\ngrid: [{{seed: 1}}, {{seed: 2}}]\n", ["grid[0]", "grid[1]"], ["model", "method"]),
        (f"base: {BASE[:-1]}, {BLOCK}}}\ngrid: {{}}\n", ["base"], ["seed"]),
        ("grid: [{}]\n", ["top level"], [key for key, field in Trial.model_fields.items() if field.is_required()]),
    ],
)
def test_a_missing_key_names_its_block(problems: Problems, text: str, places: list[str], keys: list[str]) -> None:
    told = [f"s.yaml: {place}: {key}: {MISSING}" for place in places for key in keys]
    assert problems(f"name: t\n{text}") == told


@pytest.mark.parametrize(
    ("text", "options", "num"),
    [
        (GOOD.replace("seed: 1", f"seed: {list(range(51))}\n  threads: [1, 2]"), {}, 102),
        (GOOD.replace("seed: 1", f"seed: [{list(range(51))}, {list(range(51, 102))}]"), {}, 102),
        (GOOD.replace("seed: 1", f"seed: {list(range(51))}"), {"overrides": ["threads=[1, 2]"]}, 102),
        (GOOD.replace(GRID, "grid:\n" + "".join(f"  - {{seed: {seeds}, {BLOCK}}}\n" for seeds in SEEDS)), {}, 120),
        (GOOD.replace("seed: 1", "".join(f"k{i}: {list(range(100))}\n  " for i in range(20))), {}, 100**20),
    ],
    ids=["product", "nested list", "--set", "union of blocks", "counted, not made"],
)
def test_too_many_trials(
    problems: Problems, monkeypatch: pytest.MonkeyPatch, text: str, options: dict[str, Any], num: int
) -> None:
    monkeypatch.setattr(sweep_file, "MAX_TRIALS", 100)
    assert problems(text, **options) == [f"s.yaml: grid: {num} trials: must be at most 100"]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ("loader: dal", "loader: \"dal\": must be 'dali', 'torchvision' or 'synthetic'"),
        ("loader: torchvision, storage: tar", 'storage: "tar": tar shards are read by loader: dali only'),
        ("loader: torchvision, output: fp16", 'output: "fp16": must be fp32 with loader: torchvision'),
        ("num_images: 5", "num_images: 5: belongs to loader: synthetic"),
        ("stage: /scratch", 'stage: "/scratch": only storage: tar is copied'),
        ("image_size: 224, resize: 200", "resize: 200: must be at least image_size (224)"),
        ("loader_threads: 0", "loader_threads: 0: must be at least 1: DALI decodes in threads"),
        ("decoder: {hw_load: 2}", "decoder.hw_load: 2: must be less than or equal to 1"),
        ("val_share: 1", "val_share: 1: must be less than 1"),
    ],
)
def test_mistakes_in_the_settings_of_imagenet(problems: Problems, settings: str, problem: str) -> None:
    [told] = problems(GOOD.replace("dataset: digits", f"dataset: {{name: imagenet, {settings}}}"))
    assert problem in told, told
