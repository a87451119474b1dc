"""Results of other images do not count: what the ledger makes of a data_id, and what the plan says of it."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.fake_results import write_result

from suite.config import Dataset, InputError, Trial
from suite.config.sweep_file import Sweep
from suite.records.ledger import Ledger
from suite.sweep.plan import data_notes, make_plan, notes

NOW = {"digits": "d1", "mnist": "m1"}


def trial_of(seed: int = 1, dataset: str = "digits", **changes: Any) -> Trial:
    settings = {"dataset": dataset, "model": {"name": "conv2"}, "method": {"name": "weights", "lr": 0.1}}
    return Trial.model_validate({**settings, "seed": seed, "epochs": 1, "global_batch_size": 64, **changes})


def sweep_of(*trials: Trial) -> Sweep:
    return Sweep("t", "t", "", Path("t.yaml"), {trial.trial_id: trial for trial in trials})


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """One that knows the data of digits and mnist."""
    return Ledger(tmp_path / "results", data_ids=lambda settings: NOW.get(settings.name))


@pytest.mark.parametrize("status", ["done", "diverged"])
@pytest.mark.parametrize(
    ("dataset", "made_with", "counts"),
    [("digits", "d1", True), ("digits", "d0", False), ("mnist", "d1", False), ("cifar10", "c0", True)],
)
def test_a_result_counts_for_the_images_it_was_made_with(
    ledger: Ledger, status: str, dataset: str, made_with: str, counts: bool
) -> None:
    trial = trial_of(dataset=dataset)
    write_result(ledger, trial, status=status, data_id=made_with)
    for _ in range(2):  # from the record, then from the index
        [entry] = ledger.lookup({trial.trial_id: trial}).values()
        assert entry.state == ledger.state(trial) == (status if counts else "differs")
        assert (entry.summary is not None) == (ledger.result(trial) is not None) == counts
    assert Ledger(ledger.root).state(trial) == status  # a ledger that knows no data compares none


def test_the_plan_names_both_and_says_what_to_do(ledger: Ledger) -> None:
    trial = trial_of()
    write_result(ledger, trial, data_id="d0")
    with pytest.raises(InputError) as caught:
        make_plan(sweep_of(trial), ledger)
    assert str(caught.value) == (
        f"{ledger.folder(trial.trial_id)}: its result was made with other images of digits (data_id d0, now d1): "
        "name those with --data-dir or dataset.root, give --results another folder, or move the folder away"
    )
    ledger.folder(trial.trial_id).rename(ledger.root / "away")
    assert list(make_plan(sweep_of(trial), ledger).to_run) == [trial.trial_id]


def test_other_settings_come_before_other_images(ledger: Ledger) -> None:
    trial = trial_of()
    write_result(ledger, trial, data_id="d0", config={**trial.model_dump(mode="json"), "threads": 3})
    with pytest.raises(InputError, match="was made with other settings"):
        make_plan(sweep_of(trial), ledger)


def test_many_of_them_are_counted(ledger: Ledger) -> None:
    trials = [trial_of(seed) for seed in range(14)]
    for trial in trials:
        write_result(ledger, trial, data_id="d0")
    with pytest.raises(InputError) as caught:
        make_plan(sweep_of(*trials), ledger)
    assert len(caught.value.problems) == 11 and caught.value.problems[-1] == "and 4 more results"
    with pytest.raises(InputError) as caught:
        make_plan(sweep_of(*trials[:10]), ledger)
    assert len(caught.value.problems) == 10


def test_data_is_asked_for_once_and_only_where_there_are_results(tmp_path: Path) -> None:
    asked: Counter[Dataset] = Counter()

    def data_ids(settings: Dataset) -> str | None:
        asked[settings] += 1
        return None

    ledger = Ledger(tmp_path / "results", data_ids=data_ids)
    some = [trial_of(seed, {"name": "digits", "train_images": 100 + seed % 2}) for seed in range(20)]
    for trial in some:
        write_result(ledger, trial)
    sweep = sweep_of(*some, *(trial_of(seed, "mnist") for seed in range(1000)))
    for looks in (1, 2):
        assert make_plan(sweep, ledger).counts == {"done": 20, "missing": 1000}
        assert asked == dict.fromkeys((some[0].dataset, some[1].dataset), looks)


def test_data_that_is_not_here_is_told_once(ledger: Ledger) -> None:
    trials = [trial_of(seed) for seed in range(3)]
    for trial in trials:
        write_result(ledger, trial, data_id="d1")
    sweep = sweep_of(*trials)
    assert notes(sweep, make_plan(sweep, ledger), {}) == []
    told = data_notes({"cifar10": "its files are not in X"})
    assert told == ["cifar10: results count without a comparison with its images: its files are not in X"]
    assert notes(sweep, make_plan(sweep, ledger), {"cifar10": "its files are not in X"}) == told


# The kind of device --------------------------------------------------------------------------------------------------

GPU, CPU = {"gpus": 1.0}, {"gpus": 0.0}


@pytest.mark.parametrize(
    ("made", "wanted", "told"), [(GPU, CPU, "GPU"), (CPU, GPU, "CPU"), ({"gpus": 0.25}, {}, "GPU")]
)
def test_a_result_of_the_other_kind_of_device_counts_and_is_told(
    ledger: Ledger, made: dict[str, float], wanted: dict[str, float], told: str
) -> None:
    trials = [trial_of(seed, resources=wanted) for seed in (1, 2, 3)]
    for trial in trials[:2]:
        write_result(ledger, trial, data_id="d1", config=trial_of(trial.seed, resources=made).model_dump(mode="json"))
    write_result(ledger, trials[2], data_id="d1")
    sweep = sweep_of(*trials)
    plan = make_plan(sweep, ledger)
    assert plan.complete
    [note] = notes(sweep, plan, {})
    assert note.startswith(f"2 results were made on a {told}, and would now be made on the other kind of device: they")


@pytest.mark.parametrize(("made", "wanted"), [(GPU, {"gpus": 0.25}), (CPU, {"cpus": 4.0}), ({}, CPU)])
def test_the_same_kind_of_device_is_no_matter(ledger: Ledger, made: dict[str, float], wanted: dict[str, float]) -> None:
    trial = trial_of(resources=wanted)
    write_result(ledger, trial, data_id="d1", config={**trial.model_dump(mode="json"), "resources": made})
    assert notes(sweep_of(trial), make_plan(sweep_of(trial), ledger), {}) == []
