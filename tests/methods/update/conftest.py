"""Which pass over memory a masked step on CPUs takes, and how often it ranks a whole layer."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from support.compiled_loops import when_had
from support.paired_layers import PairedLayers
from support.triton_interpreter import interpreted

from suite.methods.update import cpu, cpu_blocks
from suite.methods.update.cpu_plan import Plan


@dataclass
class Passes:
    """What happened in a test: whether a compiled step was found, step by step, and whole layers ranked."""

    name: str
    expects_compiled: bool
    found: list[bool] = field(default_factory=list)
    num_ranked: int = 0

    def set_band(self, twins: PairedLayers, layer: int, band: tuple[float, float]) -> None:
        """Let the next step believe in this threshold, and half the width of a band around it."""
        if self.expects_compiled:
            twins.thresholds["plan"].bands[:, layer] = band
        else:
            twins.thresholds[twins.actual["params"][layer]] = band

    def band(self, twins: PairedLayers, layer: int) -> tuple[float, float]:
        if self.expects_compiled:
            return tuple(twins.thresholds["plan"].bands[:, layer])
        band: tuple[float, float] = twins.thresholds[twins.actual["params"][layer]]
        return band


@pytest.fixture(params=["compiled", "by_blocks"])
def step_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Passes]:
    """Each pass in turn; at the end, that it was the one used (``expects_compiled`` says whether it can be)."""
    seen = Passes(request.param, expects_compiled=request.param == "compiled")
    update_loop, rank_all = cpu._update_loop, cpu_blocks._select_in_whole_layer

    class CountingPlan(Plan):
        def update(self, *args: Any, **settings: Any) -> None:
            before = self.num_ranked
            super().update(*args, **settings)
            seen.num_ranked += self.num_ranked - before

    def noted_update_loop(*args: Any, **settings: Any) -> Any:
        update = None
        if seen.name == "compiled":
            once = partial(update_loop, *args, **settings)
            update = when_had(once) if seen.expects_compiled else once()
        seen.found.append(update is not None)
        return update

    def noted_rank_all(*args: Any) -> Any:
        seen.num_ranked += 1
        return rank_all(*args)

    monkeypatch.setattr(cpu, "Plan", CountingPlan)
    monkeypatch.setattr(cpu, "_update_loop", noted_update_loop)
    monkeypatch.setattr(cpu_blocks, "_WORTH_BLOCKS", 0)
    monkeypatch.setattr(cpu_blocks, "_select_in_whole_layer", noted_rank_all)
    yield seen
    assert seen.found and set(seen.found) == {seen.expects_compiled}


@pytest.fixture(scope="module")
def _world() -> Iterator[Any]:
    triton = pytest.importorskip("triton")
    if tuple(map(int, triton.__version__.split(".")[:2])) < (3, 9):
        pytest.skip("Triton's interpreter rounds a fused multiply-add twice before 3.9; test_gpu.py holds the kernels")
    with interpreted() as form:
        yield form


@pytest.fixture
def form(_world: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Triton's form with two programs in each phase of a search: each of 128 would take its time here."""
    assert _world.PROGRAMS_PER_PHASE in (2, 128)
    monkeypatch.setattr(_world, "PROGRAMS_PER_PHASE", 2)
    return _world
