"""What torch promises around ``step()`` holds, though our step goes past torch's wrapper where nobody looks."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.profiler import ProfilerActivity, profile

from suite import methods
from suite.testing.method.cases import settings_of

MASKED = [name for name in methods.names() if methods.get(name).masked]
each_method = pytest.mark.parametrize("name", methods.names())
each_masked_method = pytest.mark.parametrize("name", MASKED)


def optimizer_of(name: str, model: nn.Module) -> Any:
    return methods.get(name)(methods.prunable(model), **{**settings_of(name), "lr": 0.01, "weight_decay": 0.0})


def trained(name: str) -> tuple[nn.Module, Any]:
    """A network with gradients, and its optimizer."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 20, bias=False), nn.ReLU(), nn.Linear(20, 4, bias=False))
    optimizer = optimizer_of(name, model)
    model(torch.ones(3, 6)).square().sum().backward()
    return model, optimizer


@pytest.fixture
def removed() -> Iterator[list[Any]]:
    """Handles of hooks that are removed after the test."""
    handles: list[Any] = []
    yield handles
    for handle in handles:
        handle.remove()


Register = Callable[[Any, Any], Any]
HOOKS: dict[str, Register] = {
    "pre": lambda optimizer, hook: optimizer.register_step_pre_hook(hook),
    "post": lambda optimizer, hook: optimizer.register_step_post_hook(hook),
    "global pre": lambda _, hook: register_optimizer_step_pre_hook(hook),
    "global post": lambda _, hook: register_optimizer_step_post_hook(hook),
}


@each_method
@pytest.mark.parametrize("kind", HOOKS)
def test_hooks_are_called_once_a_step(kind: str, name: str, removed: list[Any]) -> None:
    _, optimizer = trained(name)
    param = optimizer.param_groups[0]["params"][0]
    seen = [param._version]
    removed.append(HOOKS[kind](optimizer, lambda opt, args, kwargs: seen.append(param._version)))
    optimizer.step()
    optimizer.step()
    assert len(seen) == 3 and (seen[0] == seen[1]) == ("pre" in kind)
    removed.pop().remove()
    optimizer.step()
    assert len(seen) == 3


@each_method
def test_hooks_change_no_bits(name: str) -> None:
    results = []
    for hooked in (True, False):
        model, optimizer = trained(name)
        if hooked:
            optimizer.register_step_post_hook(lambda *_: None)
        for _ in range(3):
            optimizer.step()
        results.append([param.detach().numpy().tobytes() for param in model.parameters()])
    assert results[0] == results[1]


@each_method
def test_a_profiler_sees_the_step(name: str) -> None:
    _, optimizer = trained(name)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        optimizer.step()
        optimizer.step()
    (event,) = [event for event in seen.key_averages() if event.key.startswith("Optimizer.step#")]
    assert (event.key, event.count) == (f"Optimizer.step#{type(optimizer).__name__}.step", 2)


@each_method
def test_schedulers_and_closures(name: str) -> None:
    model, optimizer = trained(name)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)

    def closure() -> float:
        optimizer.zero_grad()
        loss = model(torch.ones(3, 6)).square().sum()
        loss.backward()
        return float(loss.detach())

    losses = []
    for _ in range(3):
        losses.append(optimizer.step(closure))
        scheduler.step()
    assert len(set(losses)) > 1 and optimizer.param_groups[0]["lr"] == 0.01 * 0.5**3


@each_method
@pytest.mark.parametrize("form", ["compiled", "no compiler"])
@pytest.mark.parametrize("width", [20, 600])
def test_autograd_sees_that_weights_have_changed(
    width: int, form: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step between forward and backward would give gradients of other weights."""
    if form == "no compiler":
        monkeypatch.setattr("suite.methods.update.cpu._update_loop", lambda *args, **settings: None)
    model = nn.Sequential(nn.Linear(6, width, bias=False), nn.ReLU(), nn.Linear(width, width, bias=False))
    optimizer = optimizer_of(name, model)
    model(torch.ones(3, 6)).square().sum().backward()
    loss = model(torch.ones(3, 6)).square().sum()
    before = [param._version for param in model.parameters()]
    optimizer.step()
    assert all(param._version > old for param, old in zip(model.parameters(), before, strict=True))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@each_masked_method
def test_preparing_changes_nothing(name: str) -> None:
    results = []
    for prepares in (True, False):
        model, optimizer = trained(name)
        if prepares:
            optimizer.prepare()
        optimizer.step()
        results.append([param.detach().numpy().tobytes() for param in model.parameters()])
    assert results[0] == results[1]
