"""One update has the bits of the plain expression, though less is done around it."""

import gc
import importlib

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.optimizer import register_optimizer_step_post_hook

import suite.train
from suite import data
from suite.config import Trial
from suite.train.setup import Run, build, configure_torch
from suite.train.step import train_step

METHODS = {"weights": {}, "edge_popup": {"sparsity": 0.5}, "iterand": {"sparsity": 0.5, "rerandomize_every": 2}}


def made(method: str, accumulation_steps: int = 1) -> Run:
    settings = {"name": method, "lr": 0.1, **METHODS[method]}
    model = {"name": "conv2", "width_mult": 0.0625}
    trial = Trial.model_validate(
        dict(dataset="digits", model=model, method=settings, epochs=1, seed=1, global_batch_size=64)
        | {"accumulation_steps": accumulation_steps}
    )
    device = configure_torch(trial)
    return build(trial, data.load(trial.dataset, data_dir=None, device=device), device)


def plain_step(run: Run, images: Tensor, labels: Tensor, num_parts: int) -> Tensor:
    """As one would write it."""
    run.optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), dtype=torch.float64)
    for some, theirs in zip(images.tensor_split(num_parts), labels.tensor_split(num_parts), strict=True):
        loss = functional.cross_entropy(run.model(some), theirs)
        (loss * (len(theirs) / len(labels))).backward()
        total += loss.detach() * len(theirs)
    run.optimizer.step()
    return total


def bits(run: Run) -> list[Tensor]:
    state = run.optimizer.state_dict()["state"]
    return [*run.model.state_dict().values(), *(value for each in state.values() for value in each.values())]


@pytest.mark.parametrize("accumulation_steps", [1, 4])
@pytest.mark.parametrize("method", METHODS)
def test_bits_of_the_plain_expression(method: str, accumulation_steps: int) -> None:
    run, plain = made(method, accumulation_steps), made(method, accumulation_steps)
    sums = torch.zeros(2, dtype=torch.float64)
    for images, labels in run.data.train_batches(1, 0, 64):  # the last one is short
        num_parts = min(accumulation_steps, -(-len(labels) // (64 // accumulation_steps)))
        sums[0] += train_step(run, images, labels, len(labels))
        sums[1] += plain_step(plain, images, labels, num_parts)
    assert len(bits(run)) == len(bits(plain))
    assert all(torch.equal(a, b) for a, b in zip(bits(run), bits(plain), strict=True))
    assert sums[0] == sums[1] > 0


def test_the_last_batchs_gradient_is_gone() -> None:
    run = made("weights")
    (images, labels), *_ = run.data.train_batches(1, 0, 64)
    train_step(run, images, labels, 64)
    run.model.zero_grad(set_to_none=True)
    for param in run.model.parameters():
        param.grad = torch.full_like(param, torch.inf)
    train_step(run, images, labels, 64)
    assert all(param.grad is not None and param.grad.isfinite().all() for param in run.model.parameters())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("of_all", [False, True])
def test_hooks_of_steps_are_called(method: str, of_all: bool) -> None:
    run, called = made(method), []
    (images, labels), *_ = run.data.train_batches(1, 0, 64)
    register = register_optimizer_step_post_hook if of_all else run.optimizer.register_step_post_hook
    handle = register(lambda *_: called.append(1))
    try:
        train_step(run, images, labels, 64)
    finally:
        handle.remove()
    train_step(run, images, labels, 64)
    assert called == [1]


@pytest.mark.parametrize("enabled", [True, False])
def test_importing_leaves_the_collector_as_it_was(enabled: bool) -> None:
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        assert importlib.reload(suite.train).train is not None
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()
