"""``plain_lr``: what has no mask trains at a rate of its own, and old trials keep their ids and numbers."""

from pathlib import Path

import pytest
import torch
from support.trial_processes import trial_of
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from suite import data, models, train
from suite.config import Schedule, Trial
from suite.train import setup
from suite.train.loop import lr_at

MODEL = {"name": "resnet18", "width_mult": 0.0625, "norm_affine": True, "train_biases": True}


def build(trial: Trial) -> setup.Run:
    device = setup.configure_torch(trial)
    return setup.build(trial, data.load(trial.dataset, data_dir=None, device=device), device)


@pytest.mark.parametrize("method", ["edge_popup", "iterand"])
def test_unset_it_changes_neither_id_nor_groups(method: str) -> None:
    trial = trial_of(method, model=MODEL)
    same = trial.model_copy(update={"method": trial.method.model_copy(update={"plain_lr": None})})
    assert same.trial_id == trial.trial_id
    groups = build(trial).optimizer.param_groups
    own = (trial.method.lr, trial.method.weight_decay)
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [own, own]


@pytest.mark.parametrize("method", ["edge_popup", pytest.param("iterand", marks=pytest.mark.slow)])
def test_set_it_is_the_rate_of_what_has_no_mask(method: str, tmp_path: Path) -> None:
    schedule = Schedule(warmup_epochs=1, constant_epochs=1, constant_lr=0.05)
    first = trial_of(method, model=MODEL, epochs=2, schedule=schedule, keep_network=False)
    settings = first.method.model_copy(update={"plain_lr": first.method.lr / 8, "weight_decay": 0.01})
    trial = first.model_copy(update={"method": settings})
    assert trial.trial_id != first.trial_id
    run = build(trial)
    assert [group["lr"] for group in run.optimizer.param_groups] == [trial.method.lr, trial.method.lr / 8]
    assert [group["weight_decay"] for group in run.optimizer.param_groups] == [0.01, 0.0]
    seen: list[tuple[float, float]] = []
    hook = register_optimizer_step_post_hook(
        lambda optimizer, *_: seen.append(tuple(group["lr"] for group in optimizer.param_groups))
    )
    try:
        train.train(trial, tmp_path)
    finally:
        hook.remove()
    assert list(dict.fromkeys(seen)) == [(lr_at(trial, epoch), lr_at(trial, epoch) / 8) for epoch in range(2)]


@pytest.mark.parametrize("method", ["weights", "edge_popup"])
def test_records_hold_the_share_under_masks(method: str, tmp_path: Path) -> None:
    result = train.train(trial_of(method, epochs=1), tmp_path)
    assert result.masked_share == (None if method == "weights" else 1.0)


def test_a_network_with_attention_is_masked_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its packed projections train at the scores' rate only as scores; what stays without masks is on record."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.table = nn.Parameter(torch.full((8, 2), 0.1))
            self.head = nn.Linear(8, 10)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            rows = images.flatten(1).view(len(images), -1, 8)
            rows = rows + self.table.mean()
            return self.head(self.attention(rows, rows, rows)[0].mean(1))

    monkeypatch.setattr(models, "build", lambda *args, **kwargs: Net())
    with pytest.warns(UserWarning, match=r"prunable: 4\.\d% of the weights get no mask: table"):
        result = train.train(trial_of("edge_popup", epochs=1, keep_network=False), tmp_path)
    weights = 3 * 8 * 8 + 8 * 8 + 8 * 10
    assert result.masked_share == weights / (weights + 16)
    kept = sum(num - round(0.5 * (num - 1)) for num in (3 * 8 * 8, 8 * 8, 8 * 10)) + 16 + 24 + 8 + 10
    assert result.params_kept == pytest.approx(kept, abs=0)
