"""Mistakes in a sweep file name the line; text that is not YAML gets an error in plain words."""

from pathlib import Path

import pytest
from support.sweep_files import GOOD, TWICE, Load

from suite.config import InputError
from suite.config.sweep_file import load_sweep, load_trial
from suite.slurm.profile import load_profile

BLOCKS = """\
name: t
base: {dataset: digits, epochs: 2, global_batch_size: 64}
grid:
  - model: {name: conv2}
    method: {name: weights, lr: 0.1}
    seed: [1, 2]

  - model: {name: conv2}
    method: {name: weights, lr: 0.1}
    # a comment
    seed:
      - 2
      - 3
"""


def told(text: str, *options: str) -> list[str]:
    Path("s.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        load_sweep("s.yaml", overrides=options)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("old", "new", "begins"),
    [
        ("epochs: 2", "epochs: 0", "s.yaml:2: base.epochs: 0: "),
        ("lr: 0.1}\n    seed: [1", "lr: -1}\n    seed: [1", "s.yaml:5: grid[0].method.lr: -1: "),
        ("      - 3", "      - x", 's.yaml:13: grid[1].seed[1]: "x": '),
        ("[1, 2]", "[1,\n     2,\n     -3]", "s.yaml:8: grid[0].seed[2]: -3: "),  # a list over several lines
        ("name: t", "name: t\nsearch: greed", 's.yaml:2: search.name: "greed": '),
        ("name: t", "name: t\nnam: u", 's.yaml:2: nam: "u": '),
        ("    seed:\n", "    sed:\n", "s.yaml:12: grid[1].sed[0]: "),
        ("epochs: 2", "epochs: [2]", "s.yaml:2: base.epochs: lists are axes"),
        ("- 3", "- {uniform: [1, 2]}", "s.yaml:13: grid[1].seed[1]: "),
        (
            "- model: {name: conv2}\n    method: {name: weights, lr: 0.1}\n    #",
            "- method:\n      lr: 0.1\n    #",
            "s.yaml:8: grid[1].method: name: is missing",
        ),
    ],
)
def test_a_mistake_names_its_line(load: Load, old: str, new: str, begins: str) -> None:
    assert BLOCKS.count(old) == 1
    assert any(line.startswith(begins) for line in told(BLOCKS.replace(old, new))), told(BLOCKS.replace(old, new))


def test_what_is_missing_names_the_line_of_its_block(load: Load) -> None:
    assert told(BLOCKS.replace("    seed: [1, 2]\n", ""))[0].startswith("s.yaml:4: grid[0]: seed: is missing")


def test_a_trial_in_two_blocks_is_told_with_both_lines_and_its_values(load: Load) -> None:
    trial = 'model.name="conv2", method.name="weights", method.lr=0.1, seed=2'
    assert told(BLOCKS) == [f"s.yaml:8: grid[0] (line 4) and grid[1]: {TWICE}: {trial}"]
    assert told(GOOD.replace("seed: 1", "seed:\n  - 7\n  - 7"))[0].startswith(
        f"s.yaml:7: grid.seed[0] (line 6) and grid.seed[1]: {TWICE}: "
    )


def test_what_the_command_line_gave_has_no_line(load: Load) -> None:
    assert told(GOOD, "epochs=0") == ["s.yaml: --set epochs: 0: must be greater than or equal to 1"]


def test_a_profile_and_a_trial_name_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("partition: long\ntimeout_min: soon\ndriver:\n  cpus_per_task: 0\n")
    with pytest.raises(InputError) as caught:
        load_profile(file)
    first, second = caught.value.problems
    assert first.startswith(f"{file}:2: timeout_min: ") and second.startswith(f"{file}:4: driver.cpus_per_task: 0: ")
    file.write_text("dataset: digits\nepochs: 1\nglobal_batch_size: 64\nseed: 1\nmodel:\n  name: conv3\n")
    with pytest.raises(InputError) as caught:
        load_trial(file)
    assert any(line.startswith(f'{file}:6: model.name: "conv3": ') for line in caught.value.problems)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (GOOD.replace("seed: 1", "seed: 1\n  seed: 2"), "6:3: not YAML: the key 'seed' stands twice"),
        (GOOD + "name: u\n", "7:1: not YAML: the key 'name' stands twice"),
        ("name: t\nbase: {a: 1\ngrid: 3\n", "3:5: not YAML: the { of line 2 is not closed: a comma or } is missing"),
        ("name: t\nseed: [1, 2\n", "3:1: not YAML: the [ of line 2 is not closed: a comma or ] is missing"),
        ("name: t\nseed: (1, 2)]\ngrid: 3]\n- a", "4:1: not YAML: wrong indentation"),
        ("name: t\nseed: [\n", "3:1: not YAML: a [ or { is not closed"),
        ("name: t\n\tgrid: 3\n", "2:1: not YAML: a tab: indent with spaces"),
        ("grid:\n\tseed: 3\n", "2:1: not YAML: a tab: indent with spaces"),
        ("grid:\n   seed: 3\n  lr: 1\n", "3:3: not YAML: wrong indentation: the line does not line up"),
        ("name: t\n  grid: 3\n", "2:7: not YAML: a colon too many, or wrong indentation"),
        ("description: this: that\n", "1:18: not YAML: a colon too many, or wrong indentation: a text"),
        ("description: 'this\n", "2:1: not YAML: a quote is not closed"),
        ("name: @t\n", "1:7: not YAML: a text that begins with @ needs quotes"),
        ("name: t\ngrid\n", "3:1: not YAML: a key without a colon"),
        ("seed: - 1\n", "1:7: not YAML: wrong indentation: an item of a list"),
        ("seed: [1,,2]\n", "1:10: not YAML: a value is missing, or there is a comma too many"),
        (GOOD + "---\nname: u\n", "7:1: not YAML: another document begins here"),
        (GOOD + "[1, 2]: 3\n", "7:1: not YAML: a key must be a word"),
        ("name: t\nseed: " + "9" * 5000, '2:7: not YAML: "99999'),
    ],
)
def test_what_is_no_yaml_is_told_in_our_words_with_the_line(load: Load, text: str, problem: str) -> None:
    assert told(text)[0].startswith(f"s.yaml:{problem}")
