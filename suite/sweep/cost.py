"""What the trials of a sweep will cost, told from records of like trials, or measured by ``--calibrate``.

Like trials differ in nothing that takes time: in seed, learning rate, weight decay, sparsity and other numbers of the
method alone. An epoch costs the median of theirs.
"""

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from suite import machine, own_code
from suite.config import InputError, Trial
from suite.records import Summary
from suite.records.index import Index
from suite.records.ledger import Ledger

_CHECKPOINTS = 3  # of a trial that lie on the disk at most: two, and the one being written
_HOUR = 3600.0
_METHOD = ("name", "pack_signs")  # of a method's settings, those that take time
_NOT_TIME = {"seed", "epochs", "schedule", "checkpoint", "resources", "method"}


@dataclass(frozen=True)
class CostModel:
    """Of one kind of trial: seconds of an epoch and of the test, bytes of training state and of records."""

    epoch: float
    test: float = 0.0
    state_bytes: float = 0.0
    record_bytes: float = 0.0

    def seconds(self, trial: Trial) -> float:
        """Of a whole trial."""
        return self.epoch * trial.epochs + self.test


@dataclass(frozen=True)
class Cost:
    """Of so many trials: ``seconds`` of all of them, one after the other, and of the ``wall`` with some at once.

    ``disk_bytes`` stay, ``scratch_bytes`` are checkpoints while trials run. ``unknown`` trials are in none of it.
    """

    trials: int
    unknown: int
    seconds: float
    wall: float
    gpu_hours: float
    disk_bytes: float
    scratch_bytes: float

    def text(self) -> str:
        """One line for people."""
        if not self.trials:
            return "cost: none: nothing is left to run"
        if self.trials == self.unknown:
            return "cost: unknown until trials like these have run; --calibrate times a few steps"
        gpus = f", {self.gpu_hours:.3g} GPU-hours" if self.gpu_hours else ""
        records = f", {_size(self.disk_bytes)} of records" if self.disk_bytes else ""
        rest = f"; without {self.unknown} trials, as none like them has run yet" if self.unknown else ""
        return (
            f"cost: {duration(self.wall)} ({duration(self.seconds)} of trials{gpus}){records}, "
            f"up to {_size(self.scratch_bytes)} of checkpoints meanwhile{rest}"
        )


def kind_of(settings: Mapping[str, Any]) -> str:
    """What trials have in common that take equally long for an epoch: of plain settings, as records have them."""
    rest = {key: value for key, value in settings.items() if key not in _NOT_TIME}
    method = {key: settings["method"][key] for key in _METHOD if key in settings["method"]}
    gpu = bool(settings.get("resources", {}).get("gpus"))
    return json.dumps([rest, method, gpu], sort_keys=True)


def cost_models(ledger: Ledger) -> dict[str, CostModel]:
    """By kind, what trials took whose records are there."""
    known: dict[str, list[Summary]] = defaultdict(list)
    for summary in Index(ledger.root).everything().values():
        if summary.num_epochs and "method" in summary.config:
            known[kind_of(summary.config)].append(summary)
    return {kind: _fit_cost_model(summaries) for kind, summaries in known.items()}


def _fit_cost_model(summaries: list[Summary]) -> CostModel:
    return CostModel(
        epoch=median(each.seconds / each.num_epochs for each in summaries),
        state_bytes=median(each.state_bytes_per_weight * each.params_total for each in summaries),
        record_bytes=median(each.record_bytes for each in summaries),
    )


def estimate(
    trials: Iterable[Trial], known: Mapping[str, CostModel], at_once: int | None = None, cpus: int | None = None
) -> Cost:
    """The cost of trials.

    Args:
        trials: are to run.
        known: what like trials took.
        at_once: how many run at a time; None: as many as fit on this machine.
        cpus: that they may use there; None: all that this process may use.
    """
    trials = list(trials)
    found = [(trial, known.get(kind_of(trial.model_dump(mode="json")))) for trial in trials]
    priced = [
        (trial, model, model.seconds(trial), min(at_once or _fit_here(trial, cpus), len(trials)))
        for trial, model in found
        if model
    ]
    total_wall = sum(seconds / slots for _, _, seconds, slots in priced)
    return Cost(
        trials=len(trials),
        unknown=len(trials) - len(priced),
        seconds=sum(seconds for _, _, seconds, _ in priced),
        wall=max([total_wall, *(seconds for _, _, seconds, _ in priced)]),
        gpu_hours=sum(seconds * trial.resources.gpus for trial, _, seconds, _ in priced) / _HOUR,
        disk_bytes=sum(model.record_bytes for _, model, _, _ in priced),
        scratch_bytes=max((_CHECKPOINTS * model.state_bytes * slots for _, model, _, slots in priced), default=0.0),
    )


def _fit_here(trial: Trial, cpus: int | None = None) -> int:
    """How many trials like this run at once on this machine."""
    by_cpus = (cpus or machine.num_cpus()) / trial.num_cpus
    gpus = len(list(Path("/dev").glob("nvidia[0-9]*"))) or 1
    part = trial.resources.gpus
    if part:  # what is left of two GPUs makes no third place
        return max(1, int(min(by_cpus, gpus * int(1 / part) if part < 1 else gpus / part)))
    return max(1, int(by_cpus))


def calibrate(trials: Iterable[Trial], known: Mapping[str, CostModel], data_dir: Path | None) -> dict[str, CostModel]:
    """``known``, with what some steps of each other kind took, measured one after the other on this machine.

    Raises:
        InputError: a trial cannot be measured so.
    """
    kinds = {kind_of(trial.model_dump(mode="json")): trial for trial in trials}
    new = {kind: trial for kind, trial in kinds.items() if kind not in known}
    if not new:
        return dict(known)
    if several := [trial.processes for trial in new.values() if trial.processes > 1]:
        raise InputError(f"processes: {several[0]}: --calibrate measures trials of one process; run one with --only")
    command = [sys.executable, "-m", "suite.train.calibrate", *([str(data_dir)] if data_dir else [])]
    settings = json.dumps([trial.model_dump(mode="json") for trial in new.values()])
    environment = {**os.environ, **own_code.environment()}
    done = subprocess.run(command, env=environment, input=settings, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(*(done.stderr.strip().splitlines()[-1:] or ["--calibrate: ended without a word"]))
    measured = [json.loads(line) for line in done.stdout.splitlines()]
    fresh = {
        kind: CostModel(each["epoch"], each["test"], each["bytes"]) for kind, each in zip(new, measured, strict=True)
    }
    return {**known, **fresh}


def compared(estimated: Cost, summaries: Iterable[Summary], wall: float) -> tuple[str, dict[str, Any]]:
    """The estimate beside what came of it: in one line, and for the report."""
    spent = [each.seconds for each in summaries]
    text = f"took {duration(wall)} ({duration(sum(spent))} of trials)"
    if estimated.trials > estimated.unknown:
        text += f"; estimated: {duration(estimated.wall)} ({duration(estimated.seconds)} of trials)"
    actual = {"trials": len(spent), "seconds": sum(spent), "wall": wall}
    return text, {"estimated": asdict(estimated), "actual": actual}


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, as 1:02:03."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _size(num_bytes: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 999.5:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"
