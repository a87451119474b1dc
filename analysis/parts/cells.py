"""Rows: the trials of a sweep, gathered into cells (one method, network and width, over its seeds)."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suite.config import InputError, Trial, identity
from suite.config.fields import numeric_settings
from suite.config.grid import flatten
from suite.config.sweep_file import Sweep
from suite.records import Summary, correctness
from suite.records.ledger import Ledger, State

Bits = NDArray[np.bool_]
_Kind = tuple[str, str, str]
_SPARSITY = "method.sparsity"
_OF_A_CELL = ("seed", "model.width_mult")  # no series differs in them


@dataclass
class Cell:
    """All seeds of one combination. ``values`` are accuracies in [0, 1], by seed."""

    dataset: str
    model: str
    series: str  # the method, with those of its settings that vary in this sweep
    method: str
    width_mult: float
    sparsity: float | None = None  # of a masked method
    curve: str = ""  # the series, whatever its sparsity
    epochs: int = 0
    series_without_epochs: str = ""  # the series, whatever its epochs
    data: str = ""  # equal where the images are: the results' data_id, or the planned settings before there is a result
    num_classes: int | None = None  # of its data set, where a result of these images records it
    planned: dict[int, str] = field(default_factory=dict)  # trial_id by seed
    results: dict[int, Summary] = field(default_factory=dict)
    missing: dict[int, State] = field(default_factory=dict)
    guesses: dict[int, float] = field(default_factory=dict)  # values of trials that have none (see ``failures``)

    def done(self) -> dict[int, Summary]:
        """By seed, the results of the trials that did not diverge."""
        return {seed: result for seed, result in self.results.items() if result.status == "done"}

    def values(self, metric: str) -> dict[int, float]:
        """``metric`` by seed, of the trials that are done, and ``guesses``."""
        found = {seed: result.metrics.get(metric) for seed, result in self.done().items()}
        return {seed: value for seed, value in found.items() if value is not None} | self.guesses

    def correct(self, metric: str) -> dict[int, Bits]:
        """By seed, which test images were right; empty unless all ``values`` have it."""
        if metric != "test/top1" or self.guesses:
            return {}
        values = self.values(metric)
        found = {seed: self.results[seed] for seed in values if self.results[seed].test_correct}
        return {seed: _bits(result) for seed, result in found.items()} if len(found) == len(values) else {}

    @property
    def num_planned(self) -> int:
        """How many trials it is to have."""
        return len(self.results.keys() | self.missing.keys())

    @property
    def recorded_classes(self) -> int | None:
        """The classes of its data set, as its own results record them; None where they are older, or there are none."""
        return max((result.num_classes or 0 for result in self.results.values()), default=0) or None

    @property
    def name(self) -> str:
        """The cell in one line."""
        return f"{self.series}, {self.model} x{self.width_mult:g}, {self.dataset}"


def cells(sweep: Sweep, ledger: Ledger) -> list[Cell]:
    """Every planned cell of a sweep, with the results there are and the seeds that are missing.

    Raises:
        InputError: results are garbled, or were made from different data though the same data were planned.
    """
    flats = {trial_id: _flat(trial) for trial_id, trial in sweep.trials.items()}
    varying, looked = _varying(flats.values()), ledger.lookup(sweep.trials)
    if garbled := [each.problem for each in looked.values() if each.state == "garbled" and each.problem]:
        raise InputError(*garbled)
    found: dict[tuple[Any, ...], Cell] = {}
    for trial_id, trial in sweep.trials.items():
        keys = varying[_kind(flats[trial_id])]
        series = _series(flats[trial_id], keys)
        place = (trial.dataset.name, trial.model.name, series, trial.model.width_mult)
        cell = found.setdefault(place, Cell(*place[:3], trial.method.name, trial.model.width_mult))
        cell.sparsity = getattr(trial.method, "sparsity", None)
        cell.epochs, cell.data = trial.epochs, planned_data(trial)
        cell.series_without_epochs = _series(flats[trial_id], [key for key in keys if key != "epochs"])
        cell.curve = _series(flats[trial_id], [key for key in keys if key != _SPARSITY])
        cell.planned[trial.seed] = trial_id
        state, result, _ = looked[trial_id]
        if result is not None:
            cell.results[trial.seed] = result
        if state != "done":
            cell.missing[trial.seed] = state
    data_ids = _data_ids(found.values())
    for cell in found.values():
        cell.data = data_ids.get(cell.data, cell.data)
    recorded = {cell.data: cell.recorded_classes for cell in found.values() if cell.recorded_classes}
    for cell in found.values():
        cell.num_classes = recorded.get(cell.data)
    return list(found.values())


def planned_data(trial: Trial) -> str:
    """The data of a trial in one line: the data set, with those of its settings that can change numbers."""
    settings = flatten(identity(trial.dataset))
    return " ".join([settings.pop("name"), *(f"{key}={value}" for key, value in settings.items())])


def comparable(found: list[Cell]) -> list[list[Cell]]:
    """The cells of each network and its data: only those of the same images are compared."""
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in found:
        groups.setdefault((cell.dataset, cell.model, cell.data), []).append(cell)
    return list(groups.values())


def in_order(found: list[Cell]) -> list[Cell]:
    """By dataset, network and width; methods as in the file."""
    return sorted(found, key=lambda cell: (cell.dataset, cell.model, cell.width_mult))


def metric_of(sweep: Sweep) -> str:
    """What a sweep compares: the test accuracy, or that on validation data where it evaluates no test."""
    return "test/top1" if all(trial.evaluate_test for trial in sweep.trials.values()) else "val/top1"


def mixed_provenance_notes(cells: list[Cell]) -> list[str]:
    """What the results of a table do not have in common, though they should: said under it."""
    notes = []
    results = [result for cell in cells for result in cell.results.values()]
    for name, values in (
        ("code", {result.code_id.partition("+")[0] for result in results}),  # the suite's own
        ("torch", {result.versions.get("torch", "?") for result in results}),
        ("device", {device for result in results for device in result.devices}),
    ):
        if len(values) > 1:
            notes.append(f"Results come from more than one {name}: {', '.join(sorted(values))}.")
    if used := sorted({str(each) for result in results for each in result.plugins}):
        notes.append(f"Plugins: {'; '.join(used)}.")
    return notes


def _bits(result: Summary) -> Bits:
    return correctness.decode(result.test_correct, result.num_test_images)


def _flat(trial: Trial) -> dict[str, Any]:
    return {key: value for key, value in flatten(numeric_settings(trial)).items() if key not in _OF_A_CELL}


def _varying(flats: Iterable[dict[str, Any]]) -> dict[_Kind, list[str]]:
    """By dataset, network and method: the settings that take more than one value among those trials.

    Those of the data set are compared over all networks and methods: two methods on different data never look alike.
    """
    seen: dict[tuple[str, ...], dict[str, set[Any]]] = defaultdict(lambda: defaultdict(set))
    kinds = {_kind(flat): flat for flat in flats}
    for flat in flats:
        for key, value in flat.items():
            seen[_among(flat, key)][key].add(value)
    return {kind: [key for key in flat if len(seen[_among(flat, key)][key]) > 1] for kind, flat in kinds.items()}


def _among(flat: dict[str, Any], key: str) -> tuple[str, ...]:
    """The trials among which a setting may vary."""
    return (flat["dataset.name"],) if key.startswith("dataset.") else _kind(flat)


def _kind(flat: dict[str, Any]) -> _Kind:
    return flat["dataset.name"], flat["model.name"], flat["method.name"]


def _series(flat: dict[str, Any], keys: list[str]) -> str:
    told = (f"{key.split('.')[-1]}={flat[key]}" for key in keys if flat[key] is not None)
    return " ".join([flat["method.name"], *told])


def _data_ids(cells: Iterable[Cell]) -> dict[str, str]:
    """The data_id of the results there are, by planned data."""
    found: dict[str, dict[str, str]] = defaultdict(dict)  # an example of each data_id
    for cell in cells:
        found[cell.data] |= {result.data_id: result.trial_id for result in cell.results.values()}
    for planned, by_data in found.items():
        if len(by_data) > 1:
            examples = ", ".join(f"{data_id} (as in trial {trial_id})" for data_id, trial_id in by_data.items())
            raise InputError(f"{planned}: results were made from different data: {examples}: a table never mixes them")
    return {planned: next(iter(by_data)) for planned, by_data in found.items() if by_data}
