"""What belongs to a trial's id: a decision for every setting, and the id as decided."""

from collections import Counter

import pytest
from support.identity_table import (
    CANNOT,
    CHANGES,
    COMPARED,
    OF_A_SWEEP,
    ONE_VALUE,
    Change,
    changed,
    leaves,
    settings_of,
)

from suite.config import Trial

NOT_IN_ID = {key: change for key, (change, _) in (CANNOT | COMPARED).items()}


def trial_id(change: Change, *, other: bool) -> str:
    raw = settings_of(change.base)
    if not other:
        return Trial.model_validate(raw).trial_id
    new = changed(raw, change)
    if change.path == "method.name":  # keys of the old one
        new["method"] = {"name": change.value, "lr": 0.1, "sparsity": 0.5}
    if change.path == "dataset.name":
        new["dataset"] = {"name": change.value}
    assert Trial.model_validate(new) != Trial.model_validate(raw)
    return Trial.model_validate(new).trial_id


def test_every_setting_is_decided_once() -> None:
    """A new setting belongs into tests/support/identity_table.py: can it change numbers?"""
    decided = Counter([*CHANGES, *CANNOT, *COMPARED, *ONE_VALUE, *OF_A_SWEEP])
    assert decided == Counter(leaves())


@pytest.mark.parametrize("key", CHANGES)
def test_what_can_change_numbers_is_in_the_id(key: str) -> None:
    assert trial_id(CHANGES[key], other=True) != trial_id(CHANGES[key], other=False)


@pytest.mark.parametrize("key", NOT_IN_ID)
def test_what_cannot_or_is_compared_by_itself_is_not(key: str) -> None:
    assert trial_id(NOT_IN_ID[key], other=True) == trial_id(NOT_IN_ID[key], other=False)


@pytest.mark.parametrize("key", sorted(OF_A_SWEEP))
def test_what_belongs_to_a_sweep_is_no_setting_of_a_trial(key: str) -> None:
    assert key.startswith("SchedulerSettings.") and "scheduler" not in Trial.model_fields


@pytest.mark.parametrize("gpus", [0.25, 1.0])
def test_a_trial_on_a_gpu_keeps_the_id_it_has(gpus: float) -> None:
    """Golden: results of GPUs lie on disks under these ids."""
    assert Trial.model_validate({**settings_of({}), "resources": {"gpus": gpus}}).trial_id == "3e69606c4334"
