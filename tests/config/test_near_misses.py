"""A mistake that is nearly right: what is said names what was meant."""

import pytest
from support.sweep_files import AXES, BASE, GOOD, Load, Problems


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"overrides": ["lr=0.5"]}, "s.yaml: --set lr: 0.5: not a setting; did you mean method.lr? valid: "),
        ({"overrides": ["width_mult=0.5"]}, "s.yaml: --set width_mult: 0.5: not a setting; did you mean model.width_m"),
        (
            {"overrides": ["method.seed=3"]},
            "s.yaml: --set method.seed: 3: not a setting of weights; did you mean s",
        ),
        (
            {"overrides": ["method.width_mult=1"]},
            "s.yaml: --set method.width_mult: 1: not a setting of weights; did y",
        ),
        ({"only": ["lr=0.1"]}, "--only lr: [0.1]: matches no trial; did you mean method.lr? valid: "),
        ({"only": ["seed=1,2"]}, "--only seed: 1,2: a list has brackets: seed=[1,2]; "),
        (
            {"only": ["method=weights, iterand"]},
            "--only method: weights, iterand: a list has brackets: method=[wei",
        ),
        ({"overrides": ["seed=1,2"]}, "--set seed: 1,2: a list has brackets: seed=[1,2]; "),
        ({"overrides": ["model.width_mult=0.5,1"]}, "--set model.width_mult: 0.5,1: a list has brackets: "),
    ],
)
def test_an_option_that_is_nearly_right(problems: Problems, options: dict[str, list[str]], said: str) -> None:
    assert problems(AXES, **options)[0].startswith(said)


def test_a_text_in_quotes_may_have_a_comma(load: Load) -> None:
    imagenet = GOOD.replace("dataset: digits", "dataset: {name: imagenet, root: here}")
    (trial,) = load(imagenet, overrides=['dataset.root="a,b"']).trials.values()
    assert trial.dataset.root == "a,b"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seed: 1", "seed: 1\n  lr: 0.1", "grid.lr: 0.1: not a setting; did you mean method.lr? valid: "),
        (BASE, BASE[:-1] + ", width_mult: 1}", "base.width_mult: 1: not a setting; did you mean model.width_mult? "),
        ("lr: 0.1", "lr: 0.1, epochs: 3", "grid.method.epochs: 3: not a setting of weights; did you mean epochs? "),
        ("name: t\n", "name: t\nepochs: 3\n", "epochs: 3: not a setting; did you mean base.epochs? "),
        ("dataset: digits", "dataset: {augment: none}", "base.dataset: name: is missing; valid: digits, mnist, "),
        ("name: conv2, ", "", "grid.model: name: is missing; valid: conv2, "),
        ("name: weights, ", "", "grid.method: name: is missing; valid: weights, "),
        ("name: t\n", "name: a b\n", 'name: "a b": must be at most 64 of A-Z, a-z, 0-9, _, . and -, the first'),
    ],
)
def test_a_setting_in_the_wrong_place(problems: Problems, old: str, new: str, said: str) -> None:
    assert GOOD.count(old) == 1
    assert problems(GOOD.replace(old, new))[0].startswith(f"s.yaml: {said}")
