"""The processes of one trial: which of them this is, and what they say to each other.

Masked methods need no communication of their own: theta, scores and redraws are equal on all ranks by construction.
Gradients are averaged by torch's DistributedDataParallel; everything else here is small and goes over gloo on the CPU.
"""

import contextlib
import gc
import importlib
import inspect
import os
import re
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import FileStore, PrefixStore, Store, TCPStore  # type: ignore[attr-defined]
from torch.nn.parallel import DistributedDataParallel

from suite.config import InputError
from suite.stopping import Stopped

RENDEZVOUS = "SUITE_RENDEZVOUS"  # environment: the file through which ranks of one machine find each other
_FIRST_PORT, _NUM_PORTS = 20000, 20000
_MEETING_SECONDS = 1800.0  # for all ranks to come
_CONNECT = timedelta(seconds=3)


class PeerLost(Exception):
    """Another process of the trial is gone: nothing is wrong with the trial itself."""


class RanksDiffer(Exception):
    """What must be equal on all ranks is not."""


@dataclass(frozen=True)
class RankInfo:
    """Which process of a trial this is; ``local_rank`` counts on this machine."""

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1


def rank_info(processes: int, environ: Mapping[str, str] = os.environ) -> RankInfo:
    """The place of this process in a trial of ``processes``, from torchrun, the local launcher, or a SLURM step.

    Raises:
        InputError: it was not started as one of that many.
    """
    found = rank_info_from_env(environ)
    if found.world_size == processes:
        return found
    if processes == 1 and "RANK" not in environ:
        return RankInfo()  # a single process among the tasks of a SLURM step
    raise InputError(
        f"processes: {processes}: this is one of {found.world_size}: "
        "start as many with --launcher local, torchrun or srun"
    )


def rank_info_from_env(environ: Mapping[str, str] = os.environ) -> RankInfo:
    """What the environment says about this process, whatever the trial wants."""
    if "RANK" in environ:
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    elif "SLURM_STEP_NUM_TASKS" in environ:
        names = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NUM_TASKS")
    else:
        return RankInfo()
    try:
        return RankInfo(*(int(environ[name]) for name in names))
    except (KeyError, ValueError):
        given = ", ".join(f"{name}={environ.get(name, '(unset)')}" for name in names)
        raise InputError(f"environment: {given}: all of them must be whole numbers, or none be set") from None


class Group:
    """The ranks of a trial. With one process every exchange gives back what it was given."""

    def __init__(self, rank_info: RankInfo) -> None:
        self.rank, self.world_size = rank_info.rank, rank_info.world_size

    def all_reduce_max(self, values: list[int]) -> list[int]:
        """The largest of each of some numbers, over the ranks."""
        if self.world_size == 1:
            return values
        tensor = torch.tensor(values)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return [int(value) for value in tensor]

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """The sum over the ranks: a new tensor, on the CPU."""
        tensor = tensor.to("cpu", copy=True)
        if self.world_size > 1:
            dist.all_reduce(tensor)
        return tensor

    def all_gather_tensor(self, tensor: Tensor) -> Tensor:
        """The tensors of all ranks, stacked in their order: (world_size, ...), on the CPU."""
        parts = [torch.empty_like(tensor, device="cpu") for _ in range(self.world_size)]
        if self.world_size == 1:
            return tensor.cpu()[None]
        dist.all_gather(parts, tensor.cpu())
        return torch.stack(parts)

    def all_gather_bytes(self, data: bytes) -> list[Tensor]:
        """What each rank has, in their order: uint8 (n,), on the CPU."""
        tensor = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
        if self.world_size == 1:
            return [tensor]
        lengths = self.all_gather_tensor(torch.tensor(len(data))).tolist()
        padded = torch.nn.functional.pad(tensor, (0, max(lengths) - len(tensor)))
        return [row[:length].clone() for row, length in zip(self.all_gather_tensor(padded), lengths, strict=True)]

    def broadcast_bytes(self, data: bytes | None) -> bytes | None:
        """What rank 0 has: the others give None."""
        if self.world_size == 1:
            return data
        size = torch.tensor([-1 if data is None else len(data)])
        dist.broadcast(size, src=0)
        if size < 0:
            return None
        tensor = torch.zeros(int(size), dtype=torch.uint8)
        if data:
            tensor = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        dist.broadcast(tensor, src=0)
        return tensor.numpy().tobytes()

    def barrier(self) -> None:
        """Wait for all ranks."""
        self.all_reduce_max([0])

    def wrap_ddp(self, model: nn.Module, forward: Callable[[nn.Module], Tensor]) -> nn.Module:
        """The model with averaged gradients; its buffers are those of rank 0 at the beginning of every step.

        ``forward`` puts a batch through it once, and back: from then on gradients travel in the order in which they
        come. Without that the first step after a resume would add them up in another order than the quiet run did.
        """
        if self.world_size == 1:
            return model
        device = next(model.parameters()).device
        ids = [device] if device.type == "cuda" else None
        with _without_compiler():
            wrapped = DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)
        before = [buffer.clone() for buffer in model.buffers()]
        wrapped.train()  # type: ignore[no-untyped-call]
        with warnings.catch_warnings():  # of strides, where a layer has one channel: they mean nothing there
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
            forward(wrapped).sum().backward()  # type: ignore[no-untyped-call]
        for buffer, value in zip(model.buffers(), before, strict=True):
            buffer.copy_(value)
        model.zero_grad(set_to_none=True)
        return wrapped

    def without_sync(self, model: nn.Module, wanted: bool) -> AbstractContextManager[None]:
        """A backward in which gradients stay on their rank, if ``wanted``: for parts of a batch before the last."""
        return model.no_sync() if wanted and isinstance(model, DistributedDataParallel) else nullcontext()

    def broadcast_buffers(self, model: nn.Module) -> None:
        """Give all ranks the buffers (statistics of batch norm) of rank 0."""
        if self.world_size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)

    def check_equal(self, tensors: Mapping[str, Tensor]) -> None:
        """Compare named tensors over the ranks, by hashes.

        Raises:
            RanksDiffer: on every rank; it names the first rank and tensor that differ from rank 0's.
        """
        if self.world_size == 1 or not tensors:
            return
        hashes = self.all_gather_tensor(torch.stack([_hash(tensor) for tensor in tensors.values()]))
        different = (hashes != hashes[0]).nonzero()
        if len(different):
            rank, position = different[0].tolist()
            name = list(tensors)[position]
            raise RanksDiffer(f"rank {rank}: {name}: differs from rank 0's; {len(different)} differ in all")


class _NoCompiler:
    """Answers what ``DistributedDataParallel`` asks of torch's compiler; what else is asked, that one answers."""

    utils = SimpleNamespace(get_optimize_ddp_mode=lambda: "ddp_optimizer")  # the default

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module("torch._dynamo"), name)


@contextlib.contextmanager
def _without_compiler() -> Iterator[None]:
    """Make a network parallel without importing torch's compiler, for seconds, where nothing is compiled."""
    if "torch._dynamo" in sys.modules:
        yield
        return
    plain = inspect.unwrap(DistributedDataParallel._inside_ddp_forward)
    vars(plain).setdefault("__dynamo_disable", plain)  # where torch keeps the form that is not compiled
    stand_in = vars(torch)["_dynamo"] = _NoCompiler()
    try:
        yield
    finally:
        if vars(torch).get("_dynamo") is stand_in:
            del torch._dynamo


SINGLE_PROCESS = Group(RankInfo())


@contextlib.contextmanager
def process_group(
    rank_info: RankInfo, device: torch.device, should_stop: Callable[[], bool] = lambda: False
) -> Iterator[Group]:
    """Be one of the ranks of a trial.

    Raises:
        PeerLost: another rank ended before its time, or did not come.
        Stopped: asked to, while the others were not there yet.
    """
    if rank_info.world_size == 1:
        yield Group(rank_info)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        store = _rendezvous(rank_info, should_stop)
        dist.init_process_group(backend, store=store, rank=rank_info.rank, world_size=rank_info.world_size)
        yield Group(rank_info)
        gc.collect()  # a network that outlives its group keeps torch waiting, now and then for ever
        dist.barrier()  # a rank that closes its connections early looks like a dead one
    except RuntimeError as error:  # gloo and NCCL raise no class of their own
        if isinstance(error, dist.DistError) or re.search(r"gloo|NCCL|Connection (reset|closed)", str(error)):
            raise PeerLost(f"rank {rank_info.rank}: lost another rank: {str(error).splitlines()[0]}") from error
        raise
    dist.destroy_process_group()  # not after an error: it would wait for those who are gone


def _rendezvous(rank_info: RankInfo, should_stop: Callable[[], bool]) -> Store:
    """A store that all ranks have come to. Waiting is done here, where a signal is heard, not inside of torch."""
    end = time.monotonic() + _MEETING_SECONDS
    store, arrived = None, 0
    while arrived < rank_info.world_size:
        if should_stop():
            raise Stopped("stopped before all ranks were there; the same command goes on")
        if time.monotonic() > end:
            raise PeerLost(
                f"rank {rank_info.rank}: {arrived} of {rank_info.world_size} ranks came in {_MEETING_SECONDS:.0f} s"
            )
        if store is None:
            store = _store(rank_info)
            arrived = store.add("arrived", 1) if store else 0
        else:
            arrived = store.add("arrived", 0)
            time.sleep(0.02)
    assert store is not None
    return PrefixStore("group", store)


def _store(rank_info: RankInfo, environ: Mapping[str, str] = os.environ) -> Store | None:
    """Where ranks meet: a file, torchrun's store, or a port of the SLURM step's first node; None: not there yet."""
    if RENDEZVOUS in environ:
        return FileStore(environ[RENDEZVOUS], rank_info.world_size)
    if "MASTER_ADDR" in environ:
        host, port = environ["MASTER_ADDR"], int(environ["MASTER_PORT"])
        serves = rank_info.rank == 0 and environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    else:
        host = first_host(environ["SLURM_STEP_NODELIST"])
        port = _FIRST_PORT + (int(environ["SLURM_JOB_ID"]) * 31 + int(environ["SLURM_STEP_ID"])) % _NUM_PORTS
        serves = rank_info.rank == 0
    try:
        if not serves:  # TCPStore itself prints a stack trace where nobody listens yet
            socket.create_connection((host, port), timeout=_CONNECT.seconds).close()
        store = TCPStore(host, port, rank_info.world_size, serves, timeout=_CONNECT, wait_for_workers=False)
    except (dist.DistError, OSError):
        if serves:
            raise
        time.sleep(0.2)
        return None
    store.set_timeout(timedelta(seconds=_MEETING_SECONDS))
    return PrefixStore(environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)


def first_host(nodes: str) -> str:
    """The first host of a SLURM node list: ``node[03-05,9],x1`` -> ``node03``."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes)
    return re.sub(r"\[([^,\-\]]*)[^\]]*\]", r"\1", first.group() if first else nodes)


def _hash(tensor: Tensor) -> Tensor:
    """A number that changes with any bit and its position: int64 (), on the CPU."""
    flat = tensor.detach().contiguous().flatten()
    kinds = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    bits = flat.view(kinds[flat.element_size()]).long()
    weights = (2 * torch.arange(len(bits), device=bits.device) + 1) * 0x9E3779B97F4A7C1  # odd: no bit is lost
    return (bits * weights).sum().cpu()
