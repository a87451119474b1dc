"""Recycling, biprop and frozen networks with the options of all masked methods: resuming and tickets."""

from pathlib import Path
from typing import Any

import pytest

from suite import tickets
from suite.testing.method.cases import (
    NUM_STEPS,
    advance,
    check_effective,
    fingerprint,
    full_state,
    model_and_optimizer,
    restore,
    through_file,
)

SCHEDULE = {"shape": "cubic", "start": 0.3, "begin_update": 1, "end_update": 6}
OPTIONS: dict[str, dict[str, Any]] = {
    "adam": {"update": "adam"},
    "global": {"scope": "global"},
    "schedule": {"sparsity_schedule": SCHEDULE},
    "all": {"update": "adam", "scope": "global", "sparsity_schedule": SCHEDULE, "max_score_grad_norm": 0.5},
}
CASES = [
    (name, key)
    for name in ("recycle", "biprop", "frozen")
    for key, options in OPTIONS.items()
    if name != "frozen" or "scope" not in options
]


@pytest.mark.parametrize(("name", "key"), CASES)
def test_options_of_masked_methods(name: str, key: str, tmp_path: Path) -> None:
    model, whole = model_and_optimizer(name, **OPTIONS[key])
    _, first = model_and_optimizer(name, **OPTIONS[key])
    for step in range(NUM_STEPS):
        advance(whole, [step])
        check_effective(whole)
    advance(first, range(3))
    second = restore(name, first, through_file(first.state_dict()))
    advance(second, range(3, NUM_STEPS))
    assert full_state(second) == full_state(whole)
    tickets.save(tmp_path / "t", model, whole)
    other = tickets.load(tmp_path / "t", model=model_and_optimizer(name, seed=9)[0])
    assert fingerprint(dict(other.state_dict())) == fingerprint(dict(model.state_dict()))
