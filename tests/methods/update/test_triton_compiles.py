"""Kernels compile for GPUs, to the very arithmetic that is meant; a GPU on which they fail goes without."""

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from suite.methods import update
from suite.methods.update import plain, select_backend

pytest.importorskip("triton")
pytestmark = pytest.mark.slow
INTERPRETED_NOT = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
UPDATE = dict.fromkeys(["RATE_IS_TENSOR", "ABSOLUTE", "SCALED", "DECAYS", "HAS_MOMENTUM", "PACKED", "WIDE"], False)
PER_THREAD = 2048 // (8 * 32)  # weights of one thread

_COMPILE = """
import json, sys
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from suite.methods.update import kernels, triton as form

TYPES = dict(
    table="*i64", num_layers="i32", chunk_layer="*i32", chunk_start="*i32", sizes="*i32", channels="*i32",
    pixels="*i32", constants="*fp32", bands="*fp32", counts="*i32", wanted="*i32", histograms="*i32", sync="*i32",
    band_rank="*fp32", band_position="*i32", band_start="*i64", band_room="*i32", minus_rate="fp32", momentum="fp32",
    decay="fp32", scale="*fp32",
)
REDRAW = dict(
    theta="*fp32", pruned="*u8", size="i32", channels="i32", pixels="i32", value_seed="i64", choice_seed="i64",
    draw="i32", parameter="i32", limit="i64", scale="fp32",
)
texts = []
for name, capability, constants in json.load(sys.stdin):
    kernel = getattr(kernels, name)
    types = dict(REDRAW if name == "redraw" else TYPES)
    if constants.get("RATE_IS_TENSOR"):
        types["minus_rate"] = "*fp32"
    if name == "redraw" and constants["PACKED"]:
        types["theta"] = "*u8"
    signature = {key: "constexpr" if key in constants else types[key] for key in kernel.arg_names}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    texts.append(compile(source, target=GPUTarget("cuda", capability, 32), options=dict(form._OPTIONS)).asm["ptx"])
json.dump([texts, [form.BLOCK, form.SEARCHED, form.PROGRAMS_PER_PHASE, form._OPTIONS]], sys.stdout)
"""


def ptx(*kernels: tuple[str, int, dict[str, Any]], cache: Path) -> list[str]:
    """The assembly of each kernel, compiled without a GPU for one of a compute capability, with the host's options."""
    environment = {**INTERPRETED_NOT, "TRITON_CACHE_DIR": str(cache), "PYTHONPATH": str(Path(__file__).parents[3])}
    result = subprocess.run(
        [sys.executable, "-c", _COMPILE],
        input=json.dumps(kernels),
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    texts, settings = json.loads(result.stdout)
    assert settings == [2048, 4096, 128, {"num_warps": 8, "enable_fp_fusion": False}]
    return list(texts)


def update_kernel(capability: int, **constants: Any) -> tuple[str, int, dict[str, Any]]:
    return "update", capability, {"BLOCK": 2048, **UPDATE, **constants}


def num_of(pattern: str, text: str) -> int:
    return len(re.findall(pattern, text))


@pytest.mark.parametrize("capability", [80, 90])
def test_only_the_multiply_adds_that_are_meant_are_fused(capability: int, tmp_path: Path) -> None:
    """One a weight for the rate, one for the decay; SGD's momentum, and all else, rounds twice."""
    variants: list[dict[str, Any]] = [
        {"DECAYS": True, "HAS_MOMENTUM": True, "WIDE": True},
        {"DECAYS": False, "HAS_MOMENTUM": True, "WIDE": True},
        {"DECAYS": True, "HAS_MOMENTUM": True, "ABSOLUTE": True, "SCALED": True, "PACKED": True, "WIDE": True},
        {"DECAYS": True, "RATE_IS_TENSOR": True, "ABSOLUTE": True},
        {"SCALED": True, "HAS_MOMENTUM": True, "RATE_IS_TENSOR": True, "num_layers": 1},
    ]
    texts = ptx(*(update_kernel(capability, **variant) for variant in variants), cache=tmp_path)
    for variant, text in zip(variants, texts, strict=True):
        assert f".target sm_{capability}" in text
        assert num_of(r"\bfma\.rn\.f32", text) == PER_THREAD * (1 + variant.get("DECAYS", False)), variant
        assert num_of(r"\bfma\b", text) == num_of(r"\bfma\.rn\.f32", text)
        assert num_of(r"\bmad\.(rn\.)?f", text) == 0
        assert num_of(r"\.ftz\b", text) == 0  # denormals stay
        four, four_out = num_of(r"\bld\.global\.v4\.b32", text), num_of(r"\bst\.global\.v4\.b32", text)
        if variant.get("WIDE"):
            read = 2 + (not variant.get("PACKED")) + variant.get("HAS_MOMENTUM", False)
            assert four == read * PER_THREAD // 4  # gradients and scores, theta, momenta
            assert four_out >= (2 + variant.get("HAS_MOMENTUM", False)) * PER_THREAD // 4
        else:
            assert four == 0  # an address may be any multiple of 4


@pytest.mark.parametrize("capability", [80, 90])
def test_masks_and_redraws_compile(capability: int, tmp_path: Path) -> None:
    """They compare and select: nothing is fused. Counts of other programs are read past the first cache."""
    select_mask = {"LAYERS": 64, "PROGRAMS_PER_PHASE": 128, "BLOCK": 4096}
    texts = ptx(
        ("select_mask", capability, {**select_mask, "ABSOLUTE": False, "PACKED": False}),
        ("select_mask", capability, {**select_mask, "ABSOLUTE": True, "PACKED": True}),
        ("select_mask", capability, {**select_mask, "LAYERS": 1, "num_layers": 1, "ABSOLUTE": False, "PACKED": False}),
        ("redraw", capability, {"BLOCK": 2048, "SIGNED": False, "PACKED": False}),
        ("redraw", capability, {"BLOCK": 2048, "SIGNED": True, "PACKED": False, "channels": 1, "pixels": 1}),
        ("redraw", capability, {"BLOCK": 2048, "SIGNED": True, "PACKED": True}),
        cache=tmp_path,
    )
    for text in texts:
        assert f".target sm_{capability}" in text
        assert num_of(r"\bfma\b", text) == num_of(r"\bmad\.(rn\.)?f", text) == num_of(r"\.ftz\b", text) == 0
    for text in texts[:3]:
        assert num_of(r"\bld\.global\.cg", text) > 0
        assert num_of(r"\batom\.global\.gpu\.acq_rel", text) >= 4


SETTINGS = {"momentum": 0.9, "weight_decay": 5e-4, "rank_by": "scores", "max_norm": None}
LOGGER = "suite.methods.update"


@pytest.fixture
def _unchecked() -> Iterator[None]:
    update._checked.cache_clear()
    yield
    update._checked.cache_clear()


def layers_on(device: str, dtype: torch.dtype = torch.float32) -> tuple[list[Any], list[Any]]:
    """Scores and thetas of which only the kind is known: no GPU is needed for them."""
    tensor = SimpleNamespace(device=torch.device(device), dtype=dtype)
    return [tensor], [tensor]


@pytest.mark.usefixtures("_unchecked")
def test_a_form_that_equals_torch_is_used(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from suite.methods.update import triton

    asked: list[dict[str, Any]] = []

    def equal(form: Any, device: Any, **settings: Any) -> bool:
        assert form is triton.masked_sgd_
        asked.append({"device": device, **settings})
        return True

    monkeypatch.setattr(update, "matches_reference", equal)
    for _ in range(3):
        assert select_backend(*layers_on("cuda:0"), **SETTINGS) is triton.masked_sgd_
    assert len(asked) == 1
    assert asked[0]["device"] == torch.device("cuda:0")
    assert (asked[0]["momentum"], asked[0]["weight_decay"], asked[0]["max_norm"]) == (0.9, 5e-4, None)
    others = [{"momentum": 0.0}, {"weight_decay": 0.0}, {"rank_by": "abs_scores"}, {"max_norm": 3.0}]
    for change in others:
        select_backend(*layers_on("cuda:0"), **{**SETTINGS, **change})
    select_backend(*layers_on("cuda:1"), **SETTINGS)
    assert len(asked) == 6  # each kind of step, and each GPU, for itself
    assert [bool(settings["momentum"]) for settings in asked] == [True, False, True, True, True, True]
    assert [bool(settings["weight_decay"]) for settings in asked] == [True, True, False, True, True, True]
    assert [settings["max_norm"] is None for settings in asked] == [True, True, True, True, False, True]
    assert asked[3]["rank_by"] == "abs_scores"
    assert not caplog.records


@pytest.mark.usefixtures("_unchecked")
@pytest.mark.parametrize("raises", [False, True])
def test_a_gpu_on_which_triton_fails_goes_without_it(
    raises: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One line in the log, one try; differing bits are no better than an error."""
    tries: list[Any] = []

    def unequal(*args: Any, **settings: Any) -> bool:
        tries.append(args)
        if raises:
            raise RuntimeError("PTXAS: no such GPU")
        return False

    monkeypatch.setattr(update, "matches_reference", unequal)
    with caplog.at_level(logging.WARNING, logger=LOGGER):
        for _ in range(3):
            assert select_backend(*layers_on("cuda:0"), **SETTINGS) is plain.masked_sgd_
    assert len(tries) == len(caplog.records) == 1
    assert ("RuntimeError: PTXAS: no such GPU" if raises else "differs") in caplog.text
    assert "cuda:0" in caplog.text


@pytest.mark.usefixtures("_unchecked")
def test_without_triton_torch_is_used(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "suite.methods.update.triton", None)
    monkeypatch.delattr(update, "triton", raising=False)
    for _ in range(2):
        assert select_backend(*layers_on("cuda:0"), **SETTINGS) is plain.masked_sgd_
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.usefixtures("_unchecked")
def test_other_devices_and_dtypes_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "matches_reference", lambda *args, **settings: pytest.fail("tried"))
    for device, dtype in (("cuda:0", torch.float64), ("cuda:0", torch.bfloat16), ("mps", torch.float32)):
        assert select_backend(*layers_on(device, dtype), **SETTINGS) is plain.masked_sgd_
    assert select_backend(*layers_on("cpu"), **SETTINGS).__module__ == "suite.methods.update.cpu"
