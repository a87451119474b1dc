"""Part 2: the masked update beside ``SGD(fused=True)``, and beside selections by ``kthvalue`` and ``topk``."""

from benchmarks import update
from benchmarks.gpu.machine import check_kernels
from benchmarks.gpu.sheet import Sheet

_REHEARSED_WIDTH = 0.0625
_NEEDED_SECONDS = 5.0  # for the slowest net


def run(sheet: Sheet) -> None:
    """A table a net; the rows of ``benchmarks.update``."""
    check_kernels(sheet)
    rehearsal, smoke = sheet.options.rehearsal, sheet.options.smoke
    nets = ["conv6"] if rehearsal or smoke else list(update.NETS)
    rounds = 2 if rehearsal or smoke else 25
    for net in nets:
        sheet.measure(net, lambda net=net: _measure(sheet, net, rounds), needs=_NEEDED_SECONDS)
    if skipped := sorted(update.NETS.keys() - set(nets)):
        sheet.not_measured(", ".join(skipped), "a rehearsal" if rehearsal else "smoke")


def _measure(sheet: Sheet, net: str, rounds: int) -> None:
    width_mult = _REHEARSED_WIDTH if sheet.options.rehearsal else 1.0
    for row in update.rows(net, sheet.device, rounds, width_mult=width_mult, kernels=True):
        sheet.row("update", row)
