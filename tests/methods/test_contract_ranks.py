"""The contract of ``suite.methods``, held against every registered method: on two ranks, with torch's own wrappers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support.method_contract import (
    MASKED,
    NAMES,
    build,
    each_masked,
    each_method,
    fingerprint,
    give_grads,
    net,
    params_of,
    settings_of,
)
from support.ranks import join_group, on_ranks
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from suite import methods, tickets

STEPS = 4


def layers() -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(size, 6)) for size in (6, 6, 3, 6)]


def one_a_group(weights: list[nn.Parameter]) -> list[dict[str, Any]]:
    """A shard takes whole groups, and each layer keeps its position."""
    return [{"params": [weight], "first_parameter": i} for i, weight in enumerate(weights)]


def steps(optimizer: Any, weights: list[nn.Parameter]) -> list[Tensor]:
    for step in range(STEPS):
        give_grads(weights, step)
        optimizer.step()
    return [weight.detach().clone() for weight in weights]


def sharded(name: str) -> list[Tensor]:
    """What ZeroRedundancyOptimizer makes of the layers."""
    from torch.distributed.optim import ZeroRedundancyOptimizer  # which warns of torch.jit when it is imported

    weights, cls = layers(), methods.get(name)
    settings = settings_of(name)
    cls(one_a_group(weights), **settings)  # draws every layer on every rank
    return steps(ZeroRedundancyOptimizer(one_a_group(weights), cls, **settings), weights)


def averaged(name: str, folder: Path) -> list[Tensor]:
    """DistributedDataParallel around a network whose optimizer is there already; its ticket, too."""
    model = net()
    optimizer = build(name, methods.prunable(model))
    wrapped = DistributedDataParallel(model)
    for _ in range(STEPS):
        optimizer.zero_grad()
        wrapped(torch.ones(4, 2, 4, 4)).square().sum().backward()
        optimizer.step()
    if name in MASKED:
        tickets.save(folder / "network.ticket", wrapped, optimizer)
        tickets.load(folder / "network.ticket", model=net())
        tickets.load(folder / "network.ticket", model=wrapped)
    return [param.detach().clone() for param in params_of(optimizer)]


def refusal(name: str, sharded_first: bool) -> str:
    """What is said of a network that FSDP2 shards before or after its optimizer is made."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    mesh = init_device_mesh("cpu", (2,))
    try:
        if sharded_first:
            fully_shard(model, mesh=mesh)
            build(name, model.named_parameters() if name not in MASKED else [("0.weight", model[0].weight)])
        else:
            optimizer = build(name, methods.prunable(model))
            fully_shard(model, mesh=mesh)
            model(torch.ones(2, 4)).sum().backward()
            optimizer.step()
    except (ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def on_a_rank(folder: str) -> dict[str, Any]:
    with join_group() as group:
        own = Path(folder) / str(group.rank)
        own.mkdir()
        found: dict[str, Any] = {}
        for name in NAMES:
            found[name] = {"sharded": sharded(name), "averaged": averaged(name, own)}
            found[name]["refused"] = [refusal(name, True), refusal(name, False)]
        return found


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("contract")
    return on_ranks(2, on_a_rank, folder, folder=str(folder))


@each_method
def test_shards_of_an_optimizer_draw_and_train_as_one(name: str, ranks: list[Any]) -> None:
    weights = layers()
    whole = steps(build(name, weights), weights)
    for rank in ranks:
        assert fingerprint(rank[name]["sharded"]) == fingerprint(whole)


@each_method
def test_ranks_have_equal_weights_under_ddp(name: str, ranks: list[Any]) -> None:
    first, second = (fingerprint(rank[name]["averaged"]) for rank in ranks)
    assert first == second


@each_masked
def test_sharded_networks_are_refused_before_and_after(name: str, ranks: list[Any]) -> None:
    for rank in ranks:
        before, after = rank[name]["refused"]
        assert (
            before.startswith("ValueError: parameter 0.weight: is a DTensor")
            and "use DistributedDataParallel" in before
        )
        assert after.startswith("RuntimeError: parameter 0.weight: is a DTensor") and "(DDP)" in after


def test_dense_methods_refuse_shards_before(ranks: list[Any]) -> None:
    for name in set(NAMES) - set(MASKED):
        assert "parameter 0.weight: is a DTensor" in ranks[0][name]["refused"][0]
