"""A results folder with every kind of trial, and a slow reference of their states."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from support.fake_results import create_trial_folder, fake_result

from suite.config import Trial
from suite.records import StoppedEarly, read_result
from suite.records.ledger import Ledger

SCHEDULER = {"name": "fifo", "grace_epochs": 1, "reduction_factor": 4}


KINDS = ("done", "diverged", "fewer", "moved", "changed", "garbled", "binary", "failed", "stopped", "left", "file")


def trial_of(seed: int) -> Trial:
    settings: dict[str, Any] = {"dataset": {"name": "digits"}, "model": {"name": "conv2"}, "epochs": 1}
    method = {"name": "weights", "lr": 0.1}
    return Trial.model_validate({**settings, "method": method, "seed": seed, "global_batch_size": 64})


TRIALS = {trial.trial_id: trial for trial in map(trial_of, range(1, 41))}


def write_trial_state(ledger: Ledger, trial: Trial, kind: str) -> None:
    """What may be found of a trial."""
    folder = ledger.folder(trial.trial_id)
    if kind == "file":
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.touch()
        return
    create_trial_folder(ledger, trial.trial_id)
    config = trial.model_dump(mode="json")
    if kind == "fewer":  # before settings with defaults were added
        config = {key: value for key, value in config.items() if Trial.model_fields[key].is_required()}
    config |= {"moved": {"resources": {"cpus": 2.0, "gpus": 0.0}}, "changed": {"threads": 3}}.get(kind, {})
    if kind in ("done", "diverged", "fewer", "moved", "changed"):
        status = "diverged" if kind == "diverged" else "done"
        text = fake_result(trial, status=status, config=config).model_dump_json()
        (folder / "result.json").write_text(text)
    elif kind in ("garbled", "binary"):
        (folder / "result.json").write_bytes(b'{"trial_id": ' if kind == "garbled" else b"\xff\x00\n" * 99)
    elif kind == "failed":
        (folder / "failure.json").write_text("{}")
    elif kind == "stopped":
        stopped = StoppedEarly(scheduler=SCHEDULER, epochs=1)
        (folder / "stopped.json").write_text(stopped.model_dump_json())
    else:
        (folder / "attempt-1").mkdir()


def reference(ledger: Ledger, trials: Iterable[Trial] = TRIALS.values()) -> dict[str, str]:
    """What has become of trials, by opening everything."""
    return {trial.trial_id: reference_of(ledger.folder(trial.trial_id), trial) for trial in trials}


def reference_of(folder: Path, trial: Trial) -> str:
    if (folder / "result.json").is_file():
        try:
            result = json.loads((folder / "result.json").read_bytes())
        except ValueError:
            return "garbled"
        planned = trial.model_dump(mode="json")
        ran = {**planned, **{key: value for key, value in result["config"].items() if key != "resources"}}
        return str(result["status"]) if ran == planned else "differs"
    if (folder / "failure.json").is_file():
        return "failed"
    if (folder / "stopped.json").is_file():
        return "stopped" if json.loads((folder / "stopped.json").read_text())["scheduler"] == SCHEDULER else "left"
    return "unfinished" if folder.exists() else "missing"


def states(ledger: Ledger) -> dict[str, str]:
    """What the ledger says; what it knows of results is what stands in them."""
    found = ledger.lookup(TRIALS)
    for trial_id, (_, summary, _) in found.items():
        if summary is not None:
            result = read_result(ledger.folder(trial_id))
            known = summary.model_dump(exclude={"num_test_images", "record_bytes"})
            assert result is not None and known == result.model_dump(include=set(known))
            assert summary.num_test_images == len(result.test_predictions or [])
    return {trial_id: each.state for trial_id, each in found.items()}


def is_right(ledger: Ledger) -> bool:
    """Answers are right, now and at the next look, and every trial is found as its own state says."""
    expected = reference(ledger)
    return states(ledger) == expected == states(ledger)


def filled(ledger: Ledger) -> dict[str, str]:
    """Every trial done, and in the index."""
    for trial in TRIALS.values():
        write_trial_state(ledger, trial, "done")
    return states(ledger)
