"""Which pass over memory a masked step on CPUs takes, and how often it ranks a whole layer."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.triton_interpreter import interpreted

from suite.methods.update import cpu, cpu_numba


@dataclass
class Passes:
    """What happened in a test: whether a compiled step was found, step by step, and whole layers ranked."""

    name: str
    expects_compiled: bool
    found: list[bool] = field(default_factory=list)
    num_ranked: int = 0


@pytest.fixture(params=[pytest.param("compiled", marks=pytest.mark.slow), "by_blocks"])
def step_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Passes]:
    """Each pass in turn; at the end, that it was the one used (``expects_compiled`` says whether it can be)."""
    seen = Passes(request.param, expects_compiled=request.param == "compiled")
    step_for, rank_all = cpu_numba.step_for, cpu._select_in_whole_layer

    def noted_step_for(*args: Any) -> Any:
        update = step_for(*args)
        seen.found.append(update is not None)
        return update

    def noted_rank_all(*args: Any) -> Any:
        seen.num_ranked += 1
        return rank_all(*args)

    monkeypatch.setattr(cpu, "_WORTH_COMPILING", 0 if seen.expects_compiled else 1 << 60)
    monkeypatch.setattr(cpu_numba, "step_for", noted_step_for)
    monkeypatch.setattr(cpu, "_select_in_whole_layer", noted_rank_all)
    yield seen
    if seen.name == "by_blocks":
        assert not seen.found
    else:
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
