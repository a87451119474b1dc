"""A gate for changes of code: a sweep, compared with kept trials of other seeds.

Trials that were kept from the same code on the same kind of machine must come out bit for bit. All others are compared
by a permutation test (``permutation``). ``docs/explanation/gate.md`` says why, and how a reference is made.
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.parts.cells import Cell, cells
from analysis.statistics.permutation import POWER, PermutationTest
from suite.config import InputError, Trial
from suite.config.sweep_file import Sweep
from suite.records import Outcome, Result, write_text_atomic
from suite.records.ledger import Ledger

METRICS = ("test/top1", "train/loss", "test/loss")
FRESH_SEEDS = 5  # the lowest of a sweep: of more, and 25 kept ones, there are too many arrangements to look at each
_LEAST = 1e-3  # of the errors: a network without one has a logarithm, too

MEASURES: dict[str, Callable[[pd.DataFrame], "pd.Series[float]"]] = {
    "test errors": lambda rows: np.log((1 - rows["test/top1"]).clip(lower=_LEAST)),
    "train loss": lambda rows: np.log(rows["train/loss"].clip(lower=_LEAST**3)),
    "test loss": lambda rows: np.log(rows["test/loss"].clip(lower=_LEAST**3)),
}


class ReferenceTrial(NamedTuple):
    """A trial of the reference: its ``METRICS``, and a hash of all its metrics and test predictions."""

    seed: int
    metrics: dict[str, float]
    result_hash: str


@dataclass(frozen=True)
class Reference:
    """The kept trials by trial_id, all from one code on one kind of machine."""

    code_id: str
    git_commit: str | None
    device: str
    versions: dict[str, str]
    data_id: str
    trials: dict[str, ReferenceTrial]

    def same_kind(self, result: Outcome) -> bool:
        """Whether a result has this code, data and, from first step to last, kind of machine: bits must be equal then.

        Of versions those count that both have: what one did without, such as DALI, decides nothing.
        """
        alike = (result.code_id, result.data_id, result.devices) == (self.code_id, self.data_id, [self.device])
        both = self.versions.keys() & result.versions.keys()
        return alike and all(self.versions[package] == result.versions[package] for package in both)


def read(path: Path) -> Reference:
    """The kept reference.

    Raises:
        InputError: there is none, or it is garbled.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Reference(
            **found | {"trials": {name: ReferenceTrial(*trial) for name, trial in found["trials"].items()}}
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: is no reference ({error}): --keep writes one") from None


def keep(sweep: Sweep, ledger: Ledger, path: Path) -> None:
    """Write the trials of a sweep as reference.

    Raises:
        InputError: some are not done, or they come from more than one code or kind of machine.
    """
    found = {name: ledger.result(trial) for name, trial in sweep.trials.items()}
    results = {name: result for name, result in found.items() if result is not None and result.status == "done"}
    if missing := sorted(found.keys() - results.keys()):
        raise InputError(f"{len(missing)} of {len(found)} trials are not done: {', '.join(missing[:5])}")
    first = next(iter(results.values()))
    origin = {key: getattr(first, key) for key in Reference.__dataclass_fields__ if key != "trials"}
    if not all(Reference(**origin, trials={}).same_kind(result) for result in results.values()):
        raise InputError(f"{ledger.root}: results of more than one code, data set or kind of machine: keep only one")
    trials = {name: ReferenceTrial(sweep.trials[name].seed, _metrics(r), result_hash(r)) for name, r in results.items()}
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(trial)}" for name, trial in trials.items())
    head = json.dumps(origin, indent=1).removesuffix("\n}")
    write_text_atomic(path, f'{head},\n "trials": {{\n{lines}\n }}\n}}\n')  # a line a trial, for readable changes


def result_hash(result: Result) -> str:
    """First 16 hex digits of SHA-256 over a result's metrics and test predictions."""
    text = json.dumps([result.metrics, result.test_predictions], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _metrics(result: Outcome) -> dict[str, float]:
    """What is compared.

    Raises:
        InputError: the trial evaluated no test.
    """
    found = {metric: value for metric in METRICS if (value := result.metrics.get(metric)) is not None}
    if len(found) < len(METRICS):
        raise InputError(f"trial {result.trial_id}: has no {', '.join(sorted(set(METRICS) - set(found)))}")
    return found


def differing_bits(sweep: Sweep, ledger: Ledger, reference: Reference) -> tuple[list[str], list[str]]:
    """Of the trials that were kept: those whose bits differ though they must be equal; those whose bits are equal."""
    differing, equal = [], []
    for name, trial in sweep.trials.items():
        if name in reference.trials and (result := ledger.result(trial)):
            if result_hash(result) == reference.trials[name].result_hash:
                equal.append(name)
            elif reference.same_kind(result):
                differing.append(name)
    return differing, equal


def compare(sweep: Sweep, found: list[Cell], reference: Reference) -> tuple[PermutationTest, list[str]]:
    """The fresh trials of a sweep against the kept ones of other seeds, and what its columns are.

    Raises:
        InputError: the reference was made from other data, or has no trials with the settings of a cell.
    """
    fresh, found = [], first_seeds(sweep, found)
    for cell in found:
        if other := {result.data_id for result in cell.results.values()} - {reference.data_id}:
            raise InputError(f"data {', '.join(other)}: must be that of the reference: {reference.data_id}")
        fresh += [_place(cell) | {"seed": seed} | _metrics(result) for seed, result in cell.results.items()]
    before, after = kept_quantities(sweep, found, reference), quantities(fresh)
    return PermutationTest(before.to_numpy(), after[before.columns].to_numpy()), list(before.columns)


def kept_quantities(sweep: Sweep, found: list[Cell], reference: Reference) -> pd.DataFrame:
    """What is compared of the kept trials, of the seeds that the sweep does not plan.

    Raises:
        InputError: the reference has no trials with the settings of a cell.
    """
    planned = {trial.seed for trial in sweep.trials.values()}
    seeds = sorted({trial.seed for trial in reference.trials.values()} - planned)
    kept = []
    for cell in found:
        trial = sweep.trials[next(iter(cell.planned.values()))]
        kept += [_place(cell) | {"seed": seed} | _kept(trial, seed, cell.name, reference) for seed in seeds]
    return quantities(kept)


def _place(cell: Cell) -> dict[str, Any]:
    return {"cell": cell.name, "series": f"{cell.series}, {cell.model}, {cell.dataset}"}


def first_seeds(sweep: Sweep, found: list[Cell]) -> list[Cell]:
    """The cells with those seeds alone that are compared."""
    seeds = sorted({trial.seed for trial in sweep.trials.values()})[:FRESH_SEEDS]

    def own(by_seed: dict[int, Any]) -> dict[int, Any]:
        return {seed: value for seed, value in by_seed.items() if seed in seeds}

    return [replace(cell, results=own(cell.results), missing=own(cell.missing)) for cell in found]


def _kept(trial: Trial, seed: int, cell: str, reference: Reference) -> dict[str, float]:
    trial_id = trial.model_copy(update={"seed": seed}).trial_id
    if trial_id not in reference.trials:
        raise InputError(f"{cell}: the reference has no trial {trial_id} (seed {seed}): made with other settings?")
    return reference.trials[trial_id].metrics


def quantities(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """What is compared, a row a seed: accuracy by cell; by series, means over widths of logarithms of ``MEASURES``."""
    long = pd.DataFrame(rows)
    accuracy = long.pivot_table(index="seed", columns="cell", values="test/top1", sort=False)
    logs = long.assign(**{measure: take(long) for measure, take in MEASURES.items()})
    means = {
        f"{series}: {measure}": rows.groupby("seed")[measure].mean()
        for series, rows in logs.groupby("series", sort=False)
        for measure in MEASURES
    }
    return accuracy.assign(**means)


def table(compared: PermutationTest, columns: Sequence[str]) -> str:
    """The comparison as Markdown: accuracies in % and points; logarithms as geometric means and factors."""
    m, n = len(compared.reference), len(compared.fresh)
    kept, fresh = compared.groups
    before, after, spread = kept.mean(axis=0), fresh.mean(axis=0), kept.std(axis=0, ddof=1)
    numbers = (before, spread, after, compared.difference, compared.critical_difference, compared.detectable_shift())
    rows = []
    for name, changed, values in zip(columns, compared.significant, zip(*numbers, strict=True), strict=True):
        form = _as_factors if any(name.endswith(f": {measure}") for measure in MEASURES) else _as_points
        first, sd, second, *rest = form(*map(float, values))
        rows.append([name, first, sd, m, second, n, *rest, "CHANGED" if changed else "same"])
    head = ["", "reference", "sd", "n", "fresh", "n", "difference", "bound", f"found {100 * POWER:g} %", "verdict"]
    align = ["left", *["right"] * (len(head) - 2), "left"]
    return pd.DataFrame(rows, columns=head).to_markdown(index=False, disable_numparse=True, colalign=align)


def _as_points(before: float, spread: float, after: float, difference: float, bound: float, found: float) -> list[str]:
    plain = [f"{100 * value:.2f}" for value in (before, spread, after)]
    return [*plain, f"{100 * difference:+z.2f}", f"± {100 * bound:.2f}", f"{100 * found:.2f}"]


def _as_factors(before: float, spread: float, after: float, *logs: float) -> list[str]:
    return (
        [f"{math.exp(value):.4f}" for value in (before,)]
        + [f"x {math.exp(spread):.2f}", f"{math.exp(after):.4f}"]
        + [f"x {math.exp(value):.2f}" for value in logs]
    )


def judge(sweep: Sweep, ledger: Ledger, reference: Reference, *, other_machine: bool = False) -> tuple[bool, str]:
    """Whether a sweep passes, and the text that says why."""
    found = first_seeds(sweep, cells(sweep, ledger))
    if missing := [f"{state}: {cell.name}, seed {seed}" for cell in found for seed, state in cell.missing.items()]:
        return False, "\n".join([*missing, "gate: FAILED: every trial must be done"])
    differing, equal = differing_bits(sweep, ledger, reference)
    compared, columns = compare(sweep, found, reference)
    wrong = [name for name, changed in zip(columns, compared.significant, strict=True) if changed]
    if differing and not other_machine:
        wrong.append(
            f"bits of {len(differing)} trials ({', '.join(differing[:5])}) of this code on this kind of machine"
        )
    notes = [
        f"bits: {len(equal)} of the kept trials came out equal, {len(differing)} differ that should not",
        f"false alarms: at most {compared.false_alarms:g}, over all {len(columns)} comparisons",
        f"far from all others, and counted as less far: {compared.num_clipped} of {compared.rows.size} values",
        f"p: {compared.p_value:.3g} of the ways to choose the fresh seeds among all differ as much",
        f"found {100 * POWER:g} %: the shift that is found with this probability",
        f"gate: {'FAILED: ' + '; '.join(wrong) if wrong else 'passed'}",
    ]
    return not wrong, "\n".join([table(compared, columns), "", *notes])
