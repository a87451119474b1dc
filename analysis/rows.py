"""Rows: the trials of a sweep, gathered into cells (one method, network and width, over its seeds)."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from suite.config import InputError, Trial
from suite.grid import flatten
from suite.ledger import Ledger, State
from suite.records import Summary
from suite.sweepfile import Sweep


@dataclass
class Cell:
    """All seeds of one combination. ``values`` are accuracies in [0, 1], by seed."""

    dataset: str
    model: str
    series: str  # the method, with those of its settings that vary in this sweep
    method: str
    width_mult: float
    results: dict[int, Summary] = field(default_factory=dict)
    missing: dict[int, State] = field(default_factory=dict)

    def values(self, metric: str) -> dict[int, float]:
        """``metric`` by seed, of the trials that are done; a diverged one never enters a comparison."""
        done = {seed: result for seed, result in self.results.items() if result.status == "done"}
        found = {seed: result.metrics.get(metric) for seed, result in done.items()}
        return {seed: value for seed, value in found.items() if value is not None}

    @property
    def name(self) -> str:
        """The cell in one line."""
        return f"{self.series}, {self.model} x{self.width_mult:g}, {self.dataset}"


def cells(sweep: Sweep, ledger: Ledger) -> list[Cell]:
    """Every planned cell of a sweep, with the results there are and the seeds that are missing.

    Raises:
        InputError: results are garbled, or were made from different data.
    """
    flats = {trial_id: _flat(trial) for trial_id, trial in sweep.trials.items()}
    varying, looked = _varying(flats.values()), ledger.look(sweep.trials)
    if garbled := [each.problem for each in looked.values() if each.state == "garbled" and each.problem]:
        raise InputError(*garbled)
    found: dict[tuple[Any, ...], Cell] = {}
    for trial_id, trial in sweep.trials.items():
        series = _series(flats[trial_id], varying[trial.method.name])
        key = (trial.dataset.name, trial.model.name, series, trial.model.width_mult)
        cell = found.setdefault(key, Cell(*key[:3], trial.method.name, trial.model.width_mult))
        state, result, _ = looked[trial_id]
        if result is not None:
            cell.results[trial.seed] = result
        if state != "done":
            cell.missing[trial.seed] = state
    _check_data(list(found.values()))
    return list(found.values())


def metric_of(sweep: Sweep) -> str:
    """What a sweep compares: the test accuracy, or that on validation data where it evaluates no test."""
    return "test/top1" if all(trial.evaluate_test for trial in sweep.trials.values()) else "val/top1"


def mixed(cells: list[Cell]) -> list[str]:
    """What the results of a table do not have in common, though they should: said under it."""
    notes = []
    results = [result for cell in cells for result in cell.results.values()]
    for name, values in (
        ("code", {result.code_id for result in results}),
        ("torch", {result.versions.get("torch", "?") for result in results}),
        ("device", {result.device for result in results}),
    ):
        if len(values) > 1:
            notes.append(f"Results come from more than one {name}: {', '.join(sorted(values))}.")
    return notes


def _flat(trial: Trial) -> dict[str, Any]:
    return flatten(trial.model_dump(exclude={"seed": True, "resources": True, "model": {"width_mult"}}))


def _varying(flats: Iterable[dict[str, Any]]) -> dict[str, list[str]]:
    """By method: the settings that take more than one value among its trials."""
    seen: dict[str, dict[str, set[Any]]] = defaultdict(lambda: defaultdict(set))
    for flat in flats:
        for key, value in flat.items():
            seen[flat["method.name"]][key].add(value)
    shown = ("dataset.name", "model.name")  # have columns of their own
    return {m: [k for k, v in keys.items() if len(v) > 1 and k not in shown] for m, keys in seen.items()}


def _series(flat: dict[str, Any], keys: list[str]) -> str:
    return " ".join([flat["method.name"], *(f"{key.split('.')[-1]}={flat[key]}" for key in keys)])


def _check_data(cells: list[Cell]) -> None:
    for dataset in {cell.dataset for cell in cells}:
        by_data: dict[str, str] = {}
        for cell in cells:
            if cell.dataset == dataset:
                by_data |= {result.data_id: result.trial_id for result in cell.results.values()}
        if len(by_data) > 1:
            examples = ", ".join(f"{data_id} (as in trial {trial_id})" for data_id, trial_id in by_data.items())
            raise InputError(f"{dataset}: results were made from different data: {examples}: a table never mixes them")
