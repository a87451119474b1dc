"""Trials on a GPU: resumed ones, networks in channels_last, gradients by nccl and by a gradient scaler."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from support.gpu import DEVICE, REHEARSAL
from support.trial_processes import METHODS, VOLATILE_FIELDS
from torch import Tensor, nn

from suite import methods, train
from suite.config import Trial
from suite.stopping import Stopped
from suite.train.distributed import Group, RankInfo

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]  # torch warns of what is not deterministic

NUM_EPOCHS = 1 if REHEARSAL else 2
NUM_STEPS = 2 if REHEARSAL else 30


def trial_of(method: str, **changes: Any) -> Trial:
    settings = {
        "dataset": {"name": "digits", "train_images": 128 if REHEARSAL else 1257},
        "model": {"name": "conv2" if REHEARSAL else "resnet18", "width_mult": 0.0625},
        "method": {"name": method, **METHODS[method]},
        "seed": 3,
        "epochs": NUM_EPOCHS,
        "global_batch_size": 64,
        "deterministic": True,
        "resources": {"gpus": 0 if REHEARSAL else 1},
    }
    return Trial.model_validate({**settings, **changes})


def stops_after(num: int) -> Callable[[], bool]:
    """Whether to stop: from the question with this number on."""
    asked = count()
    return lambda: next(asked) >= num


def numbers(result: Any) -> dict[str, Any]:
    return result.model_dump(exclude=VOLATILE_FIELDS | {"attempts"})


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_trial_resumes_with_equal_bits(method: str, channels_last: bool, tmp_path: Path) -> None:
    """Stopped inside its first epoch, from the checkpoint that it left."""
    trial = trial_of(method, channels_last=channels_last)
    quiet, hit = tmp_path / "quiet", tmp_path / "hit"
    quiet.mkdir()
    hit.mkdir()
    expected = train.train(trial, quiet)
    with pytest.raises(Stopped):
        train.train(trial, hit, should_stop=stops_after(1 if REHEARSAL else 7))
    assert list(hit.glob("checkpoint-*.pt"))
    resumed = train.train(trial, hit)
    assert numbers(resumed) == numbers(expected)
    assert resumed.num_updates == NUM_EPOCHS * -(-trial.dataset.train_images // 64)  # type: ignore[union-attr, operator]


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    num = 4 if REHEARSAL else 16
    layers = [nn.Conv2d(3, num, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(num, 8, 3, padding=1, bias=False)]
    return nn.Sequential(*layers, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(32, 10, bias=False)).to(DEVICE)


def optimizer_of(method: str, model: nn.Module) -> Any:
    return methods.get(method)(methods.prunable(model), **METHODS[method])


def state(model: nn.Module, optimizer: Any) -> list[Tensor]:
    """All that a step changes, copied."""
    kept = [value for param in model.parameters() for value in optimizer.state[param].values()]
    return [tensor.detach().clone() for tensor in (*model.parameters(), *kept) if isinstance(tensor, Tensor)]


def are_equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_channels_last_changes_no_number(method: str) -> None:
    """Equal gradients give equal updates, whatever the memory format of the weights."""
    models = [network(), network().to(memory_format=torch.channels_last)]
    optimizers = [optimizer_of(method, model) for model in models]
    for number in range(NUM_STEPS):
        for model, optimizer in zip(models, optimizers, strict=True):
            generator = torch.Generator(DEVICE).manual_seed(number)
            for param in model.parameters():
                param.grad = torch.randn(param.shape, device=DEVICE, generator=generator)
            optimizer.step()
    assert not models[1][2].weight.is_contiguous()
    assert are_equal(*(state(*pair) for pair in zip(models, optimizers, strict=True)))


@pytest.mark.parametrize("method", METHODS)
def test_a_step_that_the_gradient_scaler_skips_does_not_count(method: str) -> None:
    models = [nn.Linear(40, 10, bias=False, device=DEVICE) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    (model, optimizer), (twin, twin_optimizer) = [(model, optimizer_of(method, model)) for model in models]
    scaler = torch.amp.GradScaler(DEVICE.type, init_scale=2.0**10)
    images, classes = torch.randn(16, 40, device=DEVICE), torch.arange(16, device=DEVICE) % 10
    for overflow in (False, True, True, False, False):
        optimizer.zero_grad()
        scaler.scale(F.cross_entropy(model(images), classes)).backward()
        if overflow:
            model.weight.grad[0, 0] = float("inf")  # type: ignore[index]
        else:
            twin_optimizer.zero_grad()
            F.cross_entropy(twin(images), classes).backward()
            twin_optimizer.step()
        before = state(model, optimizer)
        scaler.step(optimizer)
        scaler.update()
        assert are_equal(state(model, optimizer), before) == overflow
    assert are_equal(state(model, optimizer), state(twin, twin_optimizer))


@pytest.mark.parametrize("method", METHODS)
def test_one_rank_of_nccl_changes_no_number(method: str, tmp_path: Path) -> None:
    """Gradients that DistributedDataParallel hands on as views of its buckets give the updates of plain ones."""
    backend = "gloo" if REHEARSAL else "cpu:gloo,cuda:nccl"
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group(backend, store=store, rank=0, world_size=1)
    try:
        model, twin = network(), network()
        optimizers = [optimizer_of(method, each) for each in (model, twin)]
        images = torch.randn(8, 3, 8, 8, device=DEVICE)
        group = Group(RankInfo(world_size=2))  # a group of one rank wraps nothing
        wrapped = group.wrap_ddp(model, lambda module: module(images))
        assert isinstance(wrapped, nn.parallel.DistributedDataParallel)
        with torch.backends.cudnn.flags(deterministic=True, benchmark=False):
            for _ in range(NUM_STEPS):
                for each, optimizer in zip((wrapped, twin), optimizers, strict=True):
                    optimizer.zero_grad()
                    each(images).square().mean().backward()
                    optimizer.step()
        assert are_equal(state(model, optimizers[0]), state(twin, optimizers[1]))
    finally:
        dist.destroy_process_group()
