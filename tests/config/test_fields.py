"""What the settings classes say of their fields: what can change numbers, and how far a setting can go."""

from typing import Any

import pytest

from suite.config import Trial, identity
from suite.config.fields import legal_range, numeric_settings
from suite.config.grid import flatten

TRIAL: dict[str, Any] = {
    "dataset": {"name": "imagenet"},
    "model": {"name": "resnet18"},
    "method": {"name": "iterand", "lr": 0.1, "sparsity": 0.5},
    "seed": 1,
    "epochs": 2,
    "global_batch_size": 64,
}
PLACES = ("resources", "checkpoint", "keep_network", "dataset.root", "dataset.prefetch", "dataset.decoder.width_hint")


def trial(**changes: Any) -> Trial:
    return Trial.model_validate({**TRIAL, **changes})


def test_the_settings_that_can_change_numbers_are_those_of_the_identity() -> None:
    """Whole: those at their defaults too, which the identity leaves out."""
    one = trial(keep_network=False, dataset={"name": "imagenet", "root": "x", "decoder": {"hw_load": 0.5}})
    numeric = flatten(numeric_settings(one))
    assert flatten(identity(one)).items() < numeric.items()
    whole = flatten(one.model_dump())
    assert numeric.items() < whole.items()
    assert not any(key.startswith(PLACES) for key in numeric)
    assert {"method.weight_decay", "dataset.decoder.hw_load", "schedule.warmup_epochs"} < numeric.keys()


@pytest.mark.parametrize(
    ("key", "ends"),
    [
        ("method.weight_decay", (0, None)),
        ("method.rerandomize_prob", (0, 1)),
        ("method.sparsity", (0, 1)),  # 1 itself is not allowed, and nothing above it
        ("method.lr", (0, None)),
        ("method.max_score_grad_norm", (0, None)),  # or unset
        ("method.rerandomize_every", (1, None)),
        ("method.rank_by", (None, None)),
        ("model.width_mult", (1 / 64, None)),
        ("schedule.constant_lr", (0, None)),
        ("dataset.decoder.hw_load", (0, 1)),
        ("seed", (0, 2**32)),
        ("tf32", (None, None)),
    ],
)
def test_how_far_a_setting_can_go(key: str, ends: tuple[float | None, float | None]) -> None:
    assert legal_range(trial(), key) == ends
