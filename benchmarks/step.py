"""What training masks costs beside dense training, a whole step at a time: ``python -m benchmarks.step``.

Rows are nets and batches, from the default study's narrowest one to ResNet50, times the ways to train them: dense SGD
as torch runs it by default, and fused; edge-popup, also with packed signs; IteRand; and layers that select in each
forward pass (``benchmarks.layer_form``). All ways take steps in turns, on synthetic images; times are CPU time of the
process, or time of the device. IteRand's steps have no redraw: it has columns of its own. Then: peak memory; how fast
the dense step is, as images a second and as a share of the device's peak; and where its time goes.
"""

import argparse
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import torch

from benchmarks import dense_step, step_memory
from benchmarks.report import header, write_table
from benchmarks.timing import timed_parts
from benchmarks.trainers import CPU_ROWS, FUSED, GPU_ROWS, ITERAND, SGD, WAYS, Row, Trainer

_WARM_UP = 3  # rounds in which thresholds are found, and what is compiled is compiled
_SAMPLE_SECONDS, _MOST_STEPS = 0.25, 300
_FEWEST_REDRAWS = 5
Samples = dict[str, list[float]]  # seconds, by way


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser("python -m benchmarks.step", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--net", choices=sorted({row.net for row in CPU_ROWS + GPU_ROWS}), help="rows of one net only")
    parser.add_argument("--threads", type=int, default=1, help="on CPUs; default: %(default)s")
    parser.add_argument("--out", help="write PATH.csv too, PATH_memory.csv, PATH_dense.csv and PATH_shares.csv")
    parser.add_argument("--memory-of", nargs=3, metavar=("DEVICE", "WAY", "REDRAWS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.memory_of:
        device, way, redraws = args.memory_of
        print(step_memory.peak_mb(device, way, redraws == "1"))
        return
    _write_tables(args.net, args.rounds, args.threads, args.out)


def _write_tables(net: str | None, rounds: int, threads: int, out: str | None) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(
        header(torch.device(device), f"medians of {rounds} rounds in turns, with quartiles of the ratio to SGD's step")
    )
    rows = [row for row in CPU_ROWS * (device == "cpu") + GPU_ROWS if net in (None, row.net)]
    write_table(pd.DataFrame([line for row in rows for line in lines(row, rounds)]), out)
    if net in (None, step_memory.NET):
        print("Peak memory of a step:\n")
        write_table(pd.DataFrame(step_memory.lines(device, threads)), out and f"{out}_memory")
    print("How fast the dense step is:\n")
    write_table(pd.DataFrame([dense_step.speed(row, rounds) for row in rows]), out and f"{out}_dense")
    print("Where the time of a dense step goes:\n")
    write_table(pd.DataFrame([dense_step.shares(row) for row in rows]), out and f"{out}_shares")


def lines(
    row: Row, rounds: int, *, ways: Sequence[str] = WAYS, sample_seconds: float = _SAMPLE_SECONDS
) -> Iterator[dict[str, Any]]:
    """The table of a row; ``ways`` has both forms of SGD, and a sample of each way takes about ``sample_seconds``."""
    if not row.is_here:
        yield {"net and batch": row.name, "way": "not measured"}
        return
    steps, updates, redraw = _measured(row, rounds, ways, sample_seconds)
    update = {way: statistics.median(taken) for way, taken in updates.items()}
    for way, taken in steps.items():
        step, dense = statistics.median(taken), statistics.median(steps[SGD])
        ratios = statistics.quantiles([a / b for a, b in zip(taken, steps[SGD], strict=True)], n=4)
        yield {
            "net and batch": row.name,
            "way": way,
            "step, ms": 1e3 * step,
            "x SGD's": step / dense,
            "quartiles": f"{ratios[0]:.3f} to {ratios[2]:.3f}",
            "update, ms": 1e3 * update[way],
            "update x SGD's": update[way] / update[SGD],
            "x fused SGD's": update[way] / update[FUSED],
            "update / SGD's step": f"{update[way] / dense:.2%}",
            "a redraw, ms": 1e3 * redraw if way == ITERAND else "",
            "redraws / SGD's step": f"{redraw / row.every / dense:.2%}, every {row.every}" if way == ITERAND else "",
        }


def _measured(row: Row, rounds: int, ways: Sequence[str], sample_seconds: float) -> tuple[Samples, Samples, float]:
    """Steps and updates of each way, and what a redraw adds to an update of IteRand, where that is one of them."""
    trainers = {way: Trainer(row, way) for way in ways}
    _, second = timed_parts([trainers[SGD].step] * 2, trainers[SGD].device)
    num = min(_MOST_STEPS, max(1, math.ceil(sample_seconds / second)))
    steps, updates = defaultdict(list), defaultdict(list)
    for number in range(rounds + _WARM_UP):
        for way, trainer in trainers.items():
            step, update = _sample(trainer, num)
            if number >= _WARM_UP:
                steps[way].append(step)
                updates[way].append(update)
    if ITERAND not in trainers:
        return steps, updates, math.nan
    redraws = [_sample(trainers[ITERAND], 1, redraw=True)[1] for _ in range(max(num, _FEWEST_REDRAWS))]
    return steps, updates, statistics.median(redraws) - statistics.median(updates[ITERAND])


def _sample(trainer: Trainer, num: int, *, redraw: bool = False) -> tuple[float, float]:
    """Mean seconds of ``num`` steps, and of their updates."""
    whole = updates = 0.0
    for _ in range(num):
        trainer.set_redraw(redraw)
        gradients, update = timed_parts([trainer.gradients, trainer.optimizer.step], trainer.device)
        whole, updates = whole + gradients + update, updates + update
    return whole / num, updates / num


if __name__ == "__main__":
    main()
