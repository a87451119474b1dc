"""Compiled loops are had once and kept; where they cannot be had or are not equal, nothing but the speed changes."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from support.compiled_loops import when_had
from support.paired_layers import PairedLayers

from suite.methods.update import compiled, cpu, machine_code
from suite.methods.update.code_cache import CodeCache, default_folder
from suite.methods.update.cpu_plan import Layers
from suite.methods.update.plain import RANKINGS, Redraw
from suite.methods.update.signs import Signs

NAME = "suite.methods.update.compiled"
SHAPES = [(1,), (300,), (17, 241)]
KIND = compiled.Kind(torch.float32, False)
TRAINING = """
import sys, torch
from torch import nn
from suite.methods.iterand import IteRand
model = nn.Sequential(nn.Linear(20, 30, bias=False), nn.Linear(30, 2, bias=False))
optimizer = IteRand(model.parameters(), sparsity=0.5, lr=0.1, rerandomize_every=2)
for _ in range(5):
    optimizer.zero_grad()
    model(torch.ones(2, 20)).square().sum().backward()
    optimizer.step()
print(sum(float(p.abs().sum()) for p in model.parameters()).hex(), "numba" in sys.modules)
"""


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """Nothing is loaded or checked yet, nor afterwards what this test made of it; the cache is an empty folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for each in (compiled.loop, compiled._cache):
        each.cache_clear()
    yield monkeypatch
    for each in (compiled.loop, compiled._cache):
        each.cache_clear()


@pytest.fixture(scope="module")
def users_cache() -> CodeCache:
    """That of this machine's user: what tests would compile may be there."""
    return CodeCache(default_folder())


@pytest.fixture
def kept_code(users_cache: CodeCache, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what was compiled in a test, or would have been if it were not kept already."""
    names: list[str] = []
    compile_ = compiled.Loop._compiled

    def noted(self: Any) -> bytes:
        names.append(self._name)
        key = machine_code.key_of(f"{self._name} {self._kind.dtype} packed={self._kind.packed}")
        code = users_cache.load(key)
        if code is None:
            code = compile_(self)
            users_cache.save(key, code)
        return code

    monkeypatch.setattr(compiled.Loop, "_compiled", noted)
    return names


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == NAME]


def layers(*dtypes: torch.dtype, num: int = 100) -> tuple[Layers, list[torch.Tensor]]:
    param, grad, theta, score, buffer = (torch.ones(num, dtype=dtype) for dtype in dtypes)
    return Layers([param], [theta], [score], [buffer]), [grad]


def is_compiled(tensors: Layers, grads: list[torch.Tensor]) -> bool:
    plan = cpu.Plan(tensors)
    settings: dict[str, Any] = dict(momentum=0.9, weight_decay=0.0, rank_by="scores")
    return cpu._update_loop(plan, grads, **settings) is not None


@pytest.mark.slow
def test_code_is_kept_and_loaded_without_numba(repository: Path, tmp_path: Path) -> None:
    """The first process compiles, later ones load, and both leave the bits of one that may not compile."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}

    def train(**more: str) -> tuple[str, str]:
        command = [sys.executable, "-c", TRAINING]
        settings: dict[str, Any] = dict(cwd=repository, env={**environment, **more}, capture_output=True, text=True)
        done = subprocess.run(command, timeout=300, check=True, **settings)
        bits, loaded = done.stdout.split()
        return bits, loaded

    (first, compiles), (second, loads) = train(), train()
    plain, _ = train(NUMBA_DISABLE_JIT="1", XDG_CACHE_HOME=str(tmp_path / "none"))
    assert first == second == plain
    assert (compiles, loads) == ("True", "False")
    entries = [path for path in tmp_path.rglob("*") if path.suffix == ".o"]
    assert len(entries) == 2  # update and redraw
    assert all(path.parent.stat().st_mode & 0o777 == 0o700 for path in entries)


@pytest.mark.parametrize("rank_by", RANKINGS)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("distribution", ["signed_constant", "kaiming_uniform"])
@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)])
def test_redraws_in_the_loop(dtype: torch.dtype, distribution: Any, packed: bool, rank_by: Any) -> None:
    """From one weight up, with ties, in both memory formats."""
    if packed and distribution != "signed_constant":
        return
    for seed, prob in ((5, 0.3), (2**32 - 1, 1.0), (0, 2.0**-32), (7, 0.999)):
        shapes = [(1,), (2,), (65,), (300,), (17, 241), (8, 6, 3, 3)]
        generator = torch.Generator().manual_seed(seed)
        dense = [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]
        scores = [torch.randint(-9, 9, shape, generator=generator).to(dtype) for shape in shapes]
        scores[-1] = scores[-1].contiguous(memory_format=torch.channels_last)
        dense[-1] = dense[-1].contiguous(memory_format=torch.channels_last)
        redraw = Redraw(3, prob, seed, distribution, [50] * len(shapes), list(range(4, 4 + len(shapes))))
        signs = [torch.where(theta < 0, -1, 1).to(dtype).mul_(0.2) for theta in dense]
        start = [Signs.packed(theta, 0.2) for theta in signs] if packed else dense
        results = []
        for by_loop in (True, False):
            thetas: list[Any] = [Signs.packed(theta, 0.2) for theta in signs] if packed else [t.clone() for t in dense]
            tensors = Layers([t.clone() for t in scores], thetas, scores, [torch.zeros_like(t) for t in scores])
            plan = cpu.Plan(tensors)
            loop = when_had(partial(cpu._redraw_loop, plan, distribution, rank_by))
            assert loop is not None
            plan.set_sparsity(0.6)
            if by_loop:
                plan.redraw(loop, tensors, redraw, rank_by)
            else:
                cpu.redraw_all_(thetas, scores, 0.6, rank_by, redraw)
            results.append([cpu_bits(theta) for theta in thetas])
        assert results[0] == results[1]
        assert prob < 0.1 or results[0] != [cpu_bits(theta) for theta in start]


def cpu_bits(theta: Any) -> bytes:
    tensor = theta.bits if isinstance(theta, Signs) else theta
    bits: bytes = tensor.contiguous().numpy().tobytes()
    return bits


def test_where_numba_is_missing(fresh: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    fresh.setitem(sys.modules, "llvmlite", None)
    fresh.delitem(sys.modules, "suite.methods.update.machine_code", raising=False)
    with caplog.at_level(logging.WARNING):
        PairedLayers(SHAPES).run(20)
    (line,) = messages(caplog)
    assert "no compiled code" in line and "equal results" in line and "\n" not in line


def test_where_nothing_can_be_compiled(fresh: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*args: Any, **settings: Any) -> Any:
        raise OSError("no such processor")

    fresh.setattr(machine_code, "compiled", broken)
    with caplog.at_level(logging.WARNING):
        PairedLayers(SHAPES).run(5)
    (line,) = messages(caplog)
    assert "no such processor" in line


@pytest.mark.parametrize("rounds", ["update", "redraw"])
def test_where_compiled_code_rounds_otherwise(
    fresh: pytest.MonkeyPatch, kept_code: list[str], caplog: pytest.LogCaptureFixture, rounds: str
) -> None:
    """In the last bit of one number of a layer: the loop is not used."""
    written = {"update": ("update", "momenta"), "redraw": ("redraw", "thetas")}[rounds]
    method = getattr(cpu.Plan, written[0])

    def other(self: Any, loop: Any, tensors: Any, *args: Any, **settings: Any) -> None:
        method(self, loop, tensors, *args, **settings)
        tensor = getattr(tensors, written[1])[-1].view(-1)
        tensor[3] = torch.nextafter(tensor[3], tensor.new_tensor(9.0))

    fresh.setattr(cpu.Plan, written[0], other)
    redraw = Redraw(1, 0.3, 5, "kaiming_uniform", [50] * 3, [0, 1, 2])
    with caplog.at_level(logging.WARNING):
        PairedLayers(SHAPES).run(5, redraw=redraw)
    (line,) = messages(caplog)
    assert "rounds otherwise than torch" in line


def test_a_garbled_entry_is_compiled_again(fresh: pytest.MonkeyPatch, kept_code: list[str], tmp_path: Path) -> None:
    PairedLayers(SHAPES).run(5)
    (entry,) = tmp_path.rglob("*.o")
    whole = entry.read_bytes()
    for garbled in (b"", whole[:100], whole[:-1], whole[:5000] + b"?" + whole[5001:]):
        entry.write_bytes(garbled)
        compiled.loop.cache_clear()
        kept_code.clear()
        PairedLayers(SHAPES).run(5)
        assert kept_code == ["update"]
        assert entry.read_bytes() == whole


def test_where_another_process_compiles(fresh: pytest.MonkeyPatch, kept_code: list[str], tmp_path: Path) -> None:
    """Steps take the form without a compiler meanwhile, and what the other one has kept afterwards."""
    fresh.setattr(compiled, "_LOOK_AGAIN", 0.0)
    twins = PairedLayers(SHAPES)
    cache = compiled._cache()
    assert cache is not None
    with cache.lock() as is_mine:
        assert is_mine
        twins.run(5)
        assert not kept_code
        code = compiled.Loop("update", KIND)._compiled()
        cache.save(machine_code.key_of("update torch.float32 packed=False"), code)
        kept_code.clear()
        twins.run(5)
    assert not kept_code and compiled.loop("update", KIND)._function is not None


def test_a_process_does_not_look_at_each_step(fresh: pytest.MonkeyPatch, kept_code: list[str]) -> None:
    looks: list[float] = []
    load = CodeCache.load
    fresh.setattr(CodeCache, "load", lambda self, key: looks.append(time.monotonic()) or load(self, key))
    cache = compiled._cache()
    assert cache is not None
    with cache.lock():
        PairedLayers(SHAPES).run(50)
    assert 1 <= len(looks) <= 2 + 50 * 0.2  # one a second


@pytest.mark.parametrize("large", [False, True])
def test_where_nothing_can_be_kept(
    fresh: pytest.MonkeyPatch, kept_code: list[str], tmp_path: Path, large: bool
) -> None:
    """A file is where the folder should be: only large steps are worth compiling in each process."""
    (tmp_path / "cache").write_text("")
    if large:
        fresh.setattr(compiled, "_WORTH_COMPILING", 100)
    PairedLayers(SHAPES).run(5)
    assert kept_code == ["update"] * large


@pytest.mark.parametrize("large", [False, True])
def test_a_folder_that_is_read_only(
    fresh: pytest.MonkeyPatch, kept_code: list[str], caplog: pytest.LogCaptureFixture, large: bool
) -> None:
    if large:
        fresh.setattr(compiled, "_WORTH_COMPILING", 100)
    fresh.setattr(CodeCache, "lock", lambda self: pytest.fail("it would write"))
    fresh.setattr(os, "access", lambda path, mode: False)
    with caplog.at_level(logging.WARNING):
        PairedLayers(SHAPES).run(5)
    assert kept_code == ["update"] * large and not messages(caplog)


def test_a_full_disk(fresh: pytest.MonkeyPatch, kept_code: list[str], caplog: pytest.LogCaptureFixture) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    fresh.setattr("suite.methods.update.code_cache.write_bytes_atomic", full)
    with caplog.at_level(logging.WARNING):
        PairedLayers(SHAPES).run(5)
    (line,) = messages(caplog)
    assert "not kept" in line and "No space left" in line
    assert kept_code == ["update"] and compiled.loop("update", KIND)._function is not None


@pytest.mark.parametrize("which", range(5))
@pytest.mark.parametrize("other", [torch.float64, torch.bfloat16, torch.float16])
def test_mixed_dtypes_are_not_compiled(which: int, other: torch.dtype) -> None:
    dtypes = [torch.float32] * 5
    assert when_had(lambda: is_compiled(*layers(*dtypes)) or None)
    dtypes[which] = other
    assert not is_compiled(*layers(*dtypes))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_numbers_are_not_compiled(dtype: torch.dtype) -> None:
    assert not is_compiled(*layers(*[dtype] * 5))


def test_layers_with_and_without_signs_are_not_compiled_together() -> None:
    tensors, grads = layers(*[torch.float32] * 5)
    packed = tensors._replace(thetas=[Signs.packed(tensors.thetas[0], 1.0)])  # type: ignore[arg-type]
    assert when_had(lambda: is_compiled(packed, grads) or None)
    both = Layers(*(list(some) + list(others) for some, others in zip(tensors, packed, strict=True)))
    assert not is_compiled(both, grads * 2)


MOVES: dict[str, Callable[[PairedLayers], None]] = {
    "storage": lambda twins: _set(twins, "params", lambda t: t.clone()),
    "state": lambda twins: _replace(twins, lambda t: t.clone()),
    "dtype": lambda twins: _set(twins, "params", lambda t: t.double()),
    "layout": lambda twins: _set(twins, "params", lambda t: t.t().contiguous().t()),
    "layout-in-place": lambda twins: _set(twins, "params", lambda t: t.view(t.shape[1], t.shape[0]).t()),
    "both-layouts": lambda twins: (_replace(twins, _turned), _set(twins, "params", _turned))[0],
}


def _turned(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.t().contiguous().t()


def _set(twins: PairedLayers, key: str, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    for lists in (twins.actual, twins.expected):
        for tensor in lists[key]:
            tensor.data = change(tensor.data)


def _replace(twins: PairedLayers, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    for lists in (twins.actual, twins.expected):
        for key in ("thetas", "scores", "momenta"):
            lists[key] = [change(tensor) for tensor in lists[key]]


@pytest.mark.parametrize("move", MOVES)
def test_a_plan_is_made_anew_where_tensors_have_changed(move: str) -> None:
    twins = PairedLayers([(30, 30), (60, 60)])
    twins.run(5)
    before = twins.thresholds["plan"]
    twins.run(1)
    assert twins.thresholds["plan"] is before
    MOVES[move](twins)
    twins.run(5)
    assert twins.thresholds["plan"] is not before
