"""Part 3: whole steps, dense and masked; peak memory; images/s beside public figures; where the time goes."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from benchmarks import dense_step, step, step_memory
from benchmarks.gpu.machine import check_kernels
from benchmarks.gpu.sheet import Sheet
from benchmarks.trainers import FUSED, ITERAND, SGD, WAYS, Row

MASKED = "edge-popup"
ROWS = (
    Row("resnet50", 1, 224, 256, device="cuda"),
    Row("resnet18", 1, 32, 128, device="cuda"),
    Row("resnet18", 0.25, 32, 128, device="cuda"),
    Row("conv6", 1, 32, 128, device="cuda"),
)
_REHEARSED = (Row("conv2", 0.0625, 8, 4),)
_IN_MEMORY = (FUSED, MASKED, "edge-popup, signs packed", ITERAND, "layers, threshold")
_COMPILING_SECONDS = 60.0  # for a compiler that has nothing in its cache
_NEEDED_SECONDS = 10.0


def run(sheet: Sheet) -> None:
    """Tables of ``benchmarks.step`` for each net: what matters most comes first, and what is compiled last."""
    check_kernels(sheet)
    rows = _REHEARSED if sheet.options.rehearsal else ROWS
    brief = sheet.options.rehearsal or sheet.options.smoke
    for row in rows:
        ways = (SGD, FUSED, MASKED) if sheet.options.smoke else WAYS
        call = partial(_measure_steps, sheet, row, ways, brief)
        sheet.measure(f"steps of {row.name}", call, needs=_NEEDED_SECONDS)
    for row in rows[: 1 if sheet.options.smoke else None]:
        sheet.measure(
            f"rate of {row.name}", partial(_measure_rate, sheet, row, 2 if brief else 20), needs=_NEEDED_SECONDS
        )
        sheet.measure(f"profile of {row.name}", partial(_measure_shares, sheet, row), needs=_NEEDED_SECONDS)
    if sheet.options.smoke:
        sheet.not_measured("peak memory, compiled steps", "smoke")
        return
    for row in rows:
        sheet.measure(f"memory of {row.name}", partial(_measure_memory, sheet, row), needs=_NEEDED_SECONDS)
    if sheet.options.rehearsal:
        sheet.not_measured("compiled steps", "a rehearsal")
        return
    row = replace(rows[0], compiled=True)
    for ways in ((SGD, FUSED), (SGD, FUSED, MASKED)):  # each net takes its time to compile
        call = partial(_measure_steps, sheet, row, ways, brief)
        sheet.measure(f"steps of {row.name}, {ways[-1]}", call, needs=_COMPILING_SECONDS)


def _measure_steps(sheet: Sheet, row: Row, ways: Sequence[str], brief: bool) -> None:
    rounds, seconds = (2, 0.0) if brief else (5, 0.1)
    for line in step.lines(row, rounds, ways=ways, sample_seconds=seconds):
        rate = {"images/s": row.batch / line["step, ms"] * 1e3}
        sheet.row("step", line | rate)


def _measure_rate(sheet: Sheet, row: Row, rounds: int) -> None:
    sheet.row("dense step", dense_step.speed(row, rounds))


def _measure_shares(sheet: Sheet, row: Row) -> None:
    for way in (FUSED, MASKED):
        sheet.row("shares of a step", {"way": way, **dense_step.shares(row, way)})


def _measure_memory(sheet: Sheet, row: Row) -> None:
    for way in _IN_MEMORY:
        for redraws in (False, True) if way == ITERAND else (False,):
            peak = step_memory.peak_mb(row.device, way, redraws, row, warm_up=replace(row, batch=2))
            sheet.row("memory", {"net and batch": row.name, "way": way, "redraws": redraws, "peak of a step, MB": peak})
