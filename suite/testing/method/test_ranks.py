"""The contract of ``suite.methods``, held against every registered method: on two ranks, with torch's own wrappers."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from suite import methods, tickets
from suite.testing.method.cases import (
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
    if name in MASKED and not methods.trains_weights(optimizer):
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


def found_on(rank: int, folder: Path) -> dict[str, Any]:
    """What one of two ranks makes of each method; its tickets go into ``folder``."""
    own = folder / str(rank)
    own.mkdir()
    found: dict[str, Any] = {}
    for name in NAMES:
        found[name] = {"sharded": sharded(name), "averaged": averaged(name, own)}
        found[name]["refused"] = [refusal(name, True), refusal(name, False)]
    return found


def main(folder: str, rank: str) -> None:
    """Be one of two ranks, and write what it found into ``folder``."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=int(rank), world_size=2)
    torch.save(found_on(int(rank), Path(folder)), Path(folder) / f"found-{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("contract")
    code = "from suite.testing.method.test_ranks import main; import sys; main(*sys.argv[1:])"
    commands = [[sys.executable, "-c", code, str(folder), str(rank)] for rank in range(2)]
    processes = [subprocess.Popen(command) for command in commands]
    assert [process.wait(300) for process in processes] == [0, 0]
    return [torch.load(folder / f"found-{rank}.pt", weights_only=True) for rank in range(2)]


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
