"""What the machine has, for the first lines of a part; and the kernels in Triton's interpreter, for a rehearsal."""

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from benchmarks.gpu.sheet import NotMeasurable, Sheet

ROOT = Path(__file__).parents[2]
LACKING = "the numpy form serves"


def describe(sheet: Sheet) -> None:
    """Note device, versions and commit, and what of the compilers is missing."""
    from benchmarks.report import header
    from suite.records import source_code

    said = header(sheet.device, f"commit {source_code.git_commit()}, code {source_code.code_id()}")
    sheet.note("machine", " ".join(said.split()))
    if problem := _import_problem("numba"):
        sheet.note("numba", f"{problem}: {LACKING}")


def _import_problem(name: str) -> str:
    try:
        importlib.import_module(name)
    except Exception as error:  # numba refuses a numpy that is newer than it
        return f"{type(error).__name__}: {error}"
    return ""


def check_kernels(sheet: Sheet, **settings: Any) -> None:
    """See that masked steps on this device are taken by the kernels.

    Raises:
        NotMeasurable: they are not: without Triton, or where it gives other bits.
    """
    from suite.methods import masked_step

    scores, thetas = [torch.randn(64, 64, device=sheet.device) for _ in range(2)]
    defaults: dict[str, Any] = dict(lr=0.1, momentum=0.9, weight_decay=5e-4, rank_by="scores", max_norm=None)
    form = masked_step.select_backend([scores], [thetas], **{**defaults, **settings})
    if not form.__module__.endswith("update.triton"):
        reason = _import_problem("triton") or "it gives other bits than torch here: see the log"
        raise NotMeasurable(f"masked steps do not take Triton's kernels ({reason})")


@contextmanager
def interpreted_kernels() -> Iterator[None]:
    """Let masked steps on CPUs take Triton's kernels, in its interpreter.

    Raises:
        NotMeasurable: it is too old.
    """
    os.environ["SUITE_GPU_REHEARSAL"] = "1"  # tests marked gpu then run on the CPU
    sys.path.insert(0, str(ROOT / "tests"))
    from support.triton_interpreter import interpreted

    from suite.methods import masked, masked_step, update

    if tuple(map(int, metadata.version("triton").split(".")[:2])) < (3, 9):
        raise NotMeasurable("Triton's interpreter rounds a fused multiply-add twice before 3.9")

    def select(*lists: Any, **settings: Any) -> Any:
        return form.masked_sgd_

    with (
        interpreted() as form,
        mock.patch.object(form, "PROGRAMS_PER_PHASE", 2),  # each of 128 would take its time
        mock.patch.object(update, "select_backend", select),
        mock.patch.object(masked_step, "select_backend", select),
        mock.patch.object(masked, "prepare"),  # compiles loops for CPUs
    ):
        yield
