"""The compiled step stands back where it cannot be had or is not equal; nothing but the speed hangs on it."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.paired_layers import PairedLayers

from suite.methods.update import cpu, cpu_numba
from suite.methods.update.signs import Signs

NAME = "suite.methods.update.cpu_numba"
SGD = cpu.SgdSettings(0.1, 0.9, 5e-4, absolute=False, scale=None)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Nothing is compiled or checked yet, nor afterwards what this test made of it."""
    monkeypatch.setattr(cpu, "_WORTH_COMPILING", 0)
    checked, compile_ = cpu_numba._checked, cpu_numba._compile
    for each in (checked, compile_):
        each.cache_clear()
    yield monkeypatch
    for each in (checked, compile_):
        each.cache_clear()


def layers(*dtypes: torch.dtype, num: int = 100) -> list[cpu.LayerTensors]:
    param, grad, theta, score, buffer = (torch.ones(num, dtype=dtype) for dtype in dtypes)
    return [(param, grad, theta, score, buffer)]


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == NAME]


def test_where_numba_is_missing(fresh: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    fresh.setitem(sys.modules, "numba", None)
    with caplog.at_level(logging.WARNING):
        assert cpu_numba.step_for(layers(*[torch.float32] * 5), SGD, cpu.by_blocks) is None
        PairedLayers([(300,), (17, 241)]).run(20)
    (line,) = messages(caplog)
    assert "numba cannot be used" in line and "equal results" in line and "\n" not in line


def test_where_numba_cannot_compile(fresh: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*args: Any, **settings: Any) -> Any:
        raise OSError("no such processor")

    fresh.setattr(cpu_numba, "_compile", broken)
    with caplog.at_level(logging.WARNING):
        PairedLayers([(300,)]).run(5)
    (line,) = messages(caplog)
    assert "no such processor" in line


@pytest.mark.slow
@pytest.mark.parametrize("which", [3, 4, 0], ids=["score", "buffer", "param"])
def test_where_numba_rounds_otherwise(fresh: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, which: int) -> None:
    """In the last bit of one number of a layer."""
    step_through = cpu_numba._step_through

    def other(loop: Any, real: Any) -> Any:
        step = step_through(loop, real)

        def rounding(some: Any, arounds: Any, counts: Any, sgd: Any) -> Any:
            result = step(some, arounds, counts, sgd)
            tensor = some[0][which]
            at = int(tensor.abs().nan_to_num().argmax())
            tensor[at] = torch.nextafter(tensor[at], tensor.new_tensor(9.0))
            return result

        return rounding

    fresh.setattr(cpu_numba, "_step_through", other)
    with caplog.at_level(logging.WARNING):
        assert cpu_numba.step_for(layers(*[torch.float32] * 5), SGD, cpu.by_blocks) is None
        PairedLayers([(300,), (17, 241)]).run(20)
    (line,) = messages(caplog)
    assert "numba rounds otherwise than torch" in line


@pytest.mark.slow
def test_a_fresh_one_is_found_without_a_word(fresh: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger=NAME):
        update = cpu_numba.step_for(layers(*[torch.float32] * 5), SGD, cpu.by_blocks)
    assert update is not None and update is cpu_numba.step_for(layers(*[torch.float32] * 5), SGD, cpu.by_blocks)
    assert messages(caplog) == []


@pytest.mark.parametrize("which", range(5))
@pytest.mark.parametrize("other", [torch.float64, torch.bfloat16, torch.float16])
def test_mixed_dtypes_are_not_compiled(which: int, other: torch.dtype) -> None:
    dtypes = [torch.float32] * 5
    dtypes[which] = other
    assert cpu_numba.step_for(layers(*dtypes), SGD, cpu.by_blocks) is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_numbers_are_not_compiled(dtype: torch.dtype) -> None:
    assert cpu_numba.step_for(layers(*[dtype] * 5), SGD, cpu.by_blocks) is None


def test_signs_do_not_hide_a_mixture() -> None:
    [(param, grad, theta, score, buffer)] = layers(*[torch.float32] * 5)
    signs = Signs.packed(theta, 1.0)
    assert cpu_numba.step_for([(param, grad.bfloat16(), signs, score, buffer)], SGD, cpu.by_blocks) is None


@pytest.mark.slow
def test_layers_with_and_without_signs_are_not_compiled_together() -> None:
    plain = layers(*[torch.float32] * 5)
    [(param, grad, theta, score, buffer)] = plain
    packed = (param, grad, Signs.packed(theta, 1.0), score, buffer)
    assert cpu_numba.step_for([packed], SGD, cpu.by_blocks) is not None
    assert cpu_numba.step_for([*plain, packed], SGD, cpu.by_blocks) is None


SMALL = """
import sys, torch
from torch import nn
from suite.methods.edge_popup import EdgePopup
model = nn.Sequential(nn.Linear(int(sys.argv[1]), 512, bias=False), nn.Linear(512, 2, bias=False))
optimizer = EdgePopup(model.parameters(), sparsity=0.5, lr=0.1)
for _ in range(3):
    optimizer.zero_grad()
    model(torch.ones(2, int(sys.argv[1]))).square().sum().backward()
    optimizer.step()
print("numba" in sys.modules)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("inputs", "loads"), [(20, False), (512, True)])
def test_small_steps_never_load_numba(repository: Path, inputs: int, loads: bool) -> None:
    command = [sys.executable, "-c", SMALL, str(inputs)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, str(loads)), done.stderr
