"""Faults that a change could bring into the methods, as replacements of text in a copy of the code."""

import shutil
import sys
from pathlib import Path
from typing import NamedTuple

PYTHON = sys.executable


class Mutant(NamedTuple):
    """A fault: what is replaced in which files of ``suite/methods``, and a test that must see it."""

    replaced: tuple[tuple[str, str, str], ...]
    test: str
    gate: bool  # whether the gate sees it in IteRand's cells of sweeps/width_vs_acc.yaml


MUTANTS = {
    "p for 1 - p": Mutant(
        (("update/plain.py", "round(sparsity * (num_weights - 1))", "round((1 - sparsity) * (num_weights - 1))"),),
        "test_plain.py::test_counts_checkable_by_head",
        gate=False,  # the sweep has p = 0.5
    ),
    "lowest scores kept": Mutant(
        (
            ("update/plain.py", '(scores if rank_by == "scores"', '(-scores if rank_by == "scores"'),
            ("update/cpu_blocks.py", "if sgd.absolute else block.score\n", "if sgd.absolute else -block.score\n"),
            ("update/cpu_blocks.py", "(score.abs() if absolute else score)", "(score.abs() if absolute else -score)"),
        ),
        "test_edge_popup.py::test_one_weight_by_hand",
        gate=True,
    ),
    "scores 2.45 times narrower": Mutant(
        (("random.py", 'math.sqrt(6 / fan_in) if init == "kaiming_uniform" else 1 /', "1 /"),),
        "test_random.py::test_uniform",
        gate=False,  # too little in five seeds: p = 0.13
    ),
    "no momentum": Mutant(
        (
            (
                "masked_step.py",
                '"momentum": group["momentum"],\n        "weight_decay"',
                '"momentum": 0.0,\n        "weight_decay"',
            ),
        ),
        "test_edge_popup.py::test_one_weight_by_hand",
        gate=True,
    ),
    "survivors redrawn": Mutant(
        (("update/plain.py", "redraw_(drawn, ~mask", "redraw_(drawn, mask"),),
        "test_iterand.py::test_redraw_touches_its_share_of_the_pruned_weights_only",
        gate=True,
    ),
    "one word for choice and value": Mutant(
        (("random.py", "stream=Stream.REDRAW", "stream=Stream.VALUES"),),
        "test_iterand.py::test_redrawn_values_have_the_distribution",
        gate=True,
    ),
}


def copy_code(repository: Path, folder: Path, mutant: Mutant | None = None) -> Path:
    """A copy of the suite with its tests of methods, and a fault in it.

    Raises:
        AssertionError: the text that is to be replaced is not there exactly once.
    """
    ignored = shutil.ignore_patterns("*.pyc.*")  # which somebody writes now
    for name in ("suite", "analysis", "sweeps", "tests/methods", "tests/support"):
        shutil.copytree(repository / name, folder / name, ignore=ignored)
    for name in ("pyproject.toml", "tests/conftest.py"):
        shutil.copy(repository / name, folder / name)
    for name, old, new in mutant.replaced if mutant else ():
        path = folder / "suite/methods" / name
        text = path.read_text()
        assert text.count(old) == 1, f"{name}: {old!r}: found {text.count(old)} times, must be once"
        path.write_text(text.replace(old, new))
    return folder
