"""Part 4: many small trials on one GPU, in processes that share it, as CUDA graphs, and as one program.

The second and third are prototypes, which answer whether they are worth building.
"""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.gpu import sharing
from benchmarks.gpu.grouped_trials import GroupedTrials
from benchmarks.gpu.machine import check_kernels
from benchmarks.gpu.one_graph import captured
from benchmarks.gpu.sheet import NotMeasurable, Sheet
from benchmarks.timing import timed
from benchmarks.trainers import FUSED, Row, Trainer

ROWS = (Row("resnet18", 0.25, 32, 128, device="cuda"), Row("conv6", 0.25, 32, 128, device="cuda"))
_REHEARSED = (Row("conv2", 0.0625, 8, 4),)
WAYS = (FUSED, "edge-popup")
AT_ONCE = (1, 2, 4, 8)
NUM_GROUPED = 5
_NEEDED_SECONDS = 5.0
_WARM_UP = 3


class ManyTrials:
    """The cases of this part, in turns as the sheet's time allows."""

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet
        self._brief = sheet.options.smoke or sheet.options.rehearsal
        self._seconds = 0.2 if self._brief else 1.5
        self._steps, self._rounds = (1, 2) if self._brief else (50, 7)
        rows = _REHEARSED if sheet.options.rehearsal else ROWS
        self._rows = rows[:1] if self._brief else rows

    def run(self) -> None:
        """All cases; those of one process first."""
        for row in self._rows:
            for way in WAYS:
                name = f"{row.name}, {way}"
                call = partial(self._in_one_process, row, way)
                self._sheet.measure(f"one process: {name}", call, needs=_NEEDED_SECONDS)
        self._sheet.measure("processes that share the GPU", self._in_several, needs=3 * _NEEDED_SECONDS)
        if self._sheet.options.rehearsal:
            self._sheet.not_measured("CUDA graphs", "a CPU has none: what would be captured was called")
        if self._brief:
            why = "smoke" if self._sheet.options.smoke else "a rehearsal"
            self._sheet.not_measured("other nets, and more processes", why)

    def _in_one_process(self, row: Row, way: str) -> None:
        """A trial by plain steps, by a graph, and five as one program, in turns."""
        plain = Trainer(row, way)
        _repeat(plain.step, _WARM_UP)
        forms: dict[str, tuple[int, Callable[[], object]]] = {"plain steps": (1, plain.step)}
        for name, num, make in self._prototypes(row, way):
            what = f"{name}: {row.name}, {way}"
            if (step := self._sheet.measure(what, make, needs=_NEEDED_SECONDS)) is not None:
                forms[name] = (num, step)
        seconds: dict[str, list[float]] = defaultdict(list)
        for _ in range(self._rounds):
            for name, (_, step) in forms.items():
                seconds[name].append(timed(partial(_repeat, step, self._steps), plain.device))
        rates = {name: num * self._steps / statistics.median(seconds[name]) for name, (num, _) in forms.items()}
        for name, rate in rates.items():
            self._write(row, way, name, rate, rates["plain steps"])

    def _prototypes(self, row: Row, way: str) -> Iterator[tuple[str, int, Callable[[], Callable[[], object]]]]:
        def one_graph() -> Callable[[], object]:
            return captured(Trainer(row, way))

        def one_program() -> Callable[[], object]:
            grouped = GroupedTrials([Trainer(row, way) for _ in range(NUM_GROUPED)])
            _repeat(grouped.step, _WARM_UP)
            return grouped.step

        def program_in_a_graph() -> Callable[[], object]:
            raise NotMeasurable("not written: only if the two before it are worth it")

        yield "one CUDA graph", 1, one_graph
        yield f"{NUM_GROUPED} trials as one program", NUM_GROUPED, one_program
        yield "both", NUM_GROUPED, program_in_a_graph

    def _in_several(self) -> None:
        counts = AT_ONCE[:2] if self._brief else AT_ONCE
        with sharing.sharers(counts[-1], self._sheet.device) as shared:
            for row in self._rows:
                for way in WAYS[1:] if self._brief else WAYS:
                    rates: dict[int, float] = {}
                    for num in counts:
                        what = f"{num} processes: {row.name}, {way}"
                        measure = partial(shared.steps_a_second, num, row, way, self._seconds)
                        rate = self._sheet.measure(what, measure, needs=2 * self._seconds)
                        if rate is not None:
                            rates[num] = rate
                            self._write(row, way, f"{num} processes", rate, rates[min(rates)])

    def _write(self, row: Row, way: str, how: str, rate: float, base: float) -> None:
        values = {"net and batch": row.name, "way": way, "how": how, "steps/s": rate, "x the first": rate / base}
        self._sheet.row("many trials", values)


def _repeat(step: Callable[[], object], num: int) -> None:
    for _ in range(num):
        step()


def run(sheet: Sheet) -> None:
    """A table of steps a second, over all trials together."""
    check_kernels(sheet)
    ManyTrials(sheet).run()
