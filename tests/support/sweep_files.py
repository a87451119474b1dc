"""Sweep files as texts, and what tests ask of the sweeps they give."""

from collections.abc import Callable
from typing import Any

from suite.config import Settings, Trial
from suite.config.sweep_file import Sweep

Load = Callable[..., Sweep]  # the fixtures of these names
Problems = Callable[..., list[str]]

GOOD = """\
name: t
base: {dataset: digits, epochs: 2, global_batch_size: 64}
grid:
  model: {name: conv2, width_mult: 0.5}
  seed: 1
  method: {name: weights, lr: 0.1}
"""
BASE = "{dataset: digits, epochs: 2, global_batch_size: 64}"
GRID = GOOD[GOOD.index("grid") :]
METHODS = """\
  method:
    - {name: weights, lr: 0.1}
    - {name: edge_popup, lr: 0.1, sparsity: [0.3, 0.6]}
"""
AXES = GOOD.replace("seed: 1", "seed: [1, 2]").replace("  method: {name: weights, lr: 0.1}\n", METHODS)  # 6 trials
DRAWN = """\
name: t
search: {name: random, num_trials: 4, seed: 7}
base: {dataset: digits, epochs: 2, global_batch_size: 64}
grid:
  model: {name: conv2, width_mult: [0.25, 0.5]}
  seed: [1, 2]
  method:
    - {name: weights, lr: {loguniform: [0.001, 1]}, weight_decay: {choice: [0.0, 1e-4, 1e-3]}}
    - {name: edge_popup, lr: {loguniform: [0.001, 1]}, sparsity: {uniform: [0.25, 0.75]}, momentum: [0.0, 0.9]}
"""
RANGE = GOOD.replace("name: t", "name: t\nsearch: {name: random, num_trials: 5}")
RANGE = RANGE.replace("lr: 0.1", "lr: {loguniform: [0.01, 1]}")
TWICE = "the same trial stands twice in the grid"


def only(sweep: Sweep) -> Trial:
    (trial,) = sweep.trials.values()
    return trial


def values(sweep: Sweep, get: Callable[[Trial], Any]) -> list[Any]:
    return [get(trial) for trial in sweep.trials.values()]


def valid(cls: type[Settings]) -> str:
    return f"valid: {', '.join(cls.model_fields)}"


def without_trials(problems: list[str]) -> list[str]:
    """Mistakes, those of a trial that stands twice without the trial."""
    return [f"{where}{twice}" if twice else where for where, twice, _ in (each.partition(TWICE) for each in problems)]
