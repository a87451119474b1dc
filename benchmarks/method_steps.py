"""What a step of each masked method costs beside SGD's: ``python -m benchmarks.method_steps``.

Rows are nets and batches of the studies, times the methods, with their own defaults. All take steps in turns, on
synthetic images, and times are CPU time of the process. Ordinary steps have no redraw and no recycling: a step that has
one is a column of its own, as are the bytes of training state that a weight takes.
"""

import argparse
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from benchmarks.report import header, write_table
from benchmarks.timing import timed_parts
from benchmarks.trainers import CPU_ROWS, SGD, Row, Trainer
from suite import methods
from suite.methods.update.signs import storage_of

_WARM_UP = 3
_SAMPLE_SECONDS, _MOST_STEPS = 0.25, 100


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.method_steps", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--rows", type=int, default=4, help="the first so many nets; default: %(default)s")
    parser.add_argument("--out", help="write PATH.csv too")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(
        header(torch.device("cpu"), f"medians of {args.rounds} rounds in turns, with quartiles of the ratio to SGD's")
    )
    found = [line for row in CPU_ROWS[: args.rows] for line in lines(row, args.rounds)]
    write_table(pd.DataFrame(found), args.out)


def lines(row: Row, rounds: int, *, sample_seconds: float = _SAMPLE_SECONDS) -> Iterator[dict[str, Any]]:
    """The table of a net and batch."""
    trainers = {way: Trainer(row, way) for way in (SGD, *(name for name in methods.names() if _is_masked(name)))}
    steps, updates = _measured(trainers, rounds, sample_seconds)
    for way, taken in steps.items():
        ratios = [a / b for a, b in zip(taken, steps[SGD], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        yield {
            "net and batch": row.name,
            "method": way,
            "step, ms": 1e3 * statistics.median(taken),
            "x SGD's": middle,
            "quartiles": f"{low:.2f} to {high:.2f}",
            "update, ms": 1e3 * statistics.median(updates[way]),
            "periodic update, ms": 1e3 * min(_sample(trainers[way], 1, periodic=True)[1] for _ in range(3)),
            "state bytes a weight": _state_bytes(trainers[way]),
        }


def _is_masked(name: str) -> bool:
    return bool(methods.get(name).masked)


def _measured(
    trainers: dict[str, Trainer], rounds: int, sample_seconds: float
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    _, second = timed_parts([trainers[SGD].step] * 2, trainers[SGD].device)
    num = min(_MOST_STEPS, max(1, math.ceil(sample_seconds / second)))
    steps, updates = defaultdict(list), defaultdict(list)
    for number in range(rounds + _WARM_UP):
        for way, trainer in trainers.items():
            step, update = _sample(trainer, num)
            if number >= _WARM_UP:
                steps[way].append(step)
                updates[way].append(update)
    return steps, updates


def _sample(trainer: Trainer, num: int, *, periodic: bool = False) -> tuple[float, float]:
    """Mean seconds of ``num`` steps, and of their updates."""
    gradients = updates = 0.0
    for _ in range(num):
        trainer.set_redraw(periodic)
        taken = timed_parts([trainer.gradients, trainer.optimizer.step], trainer.device)
        gradients, updates = gradients + taken[0], updates + taken[1]
    return (gradients + updates) / num, updates / num


def _state_bytes(trainer: Trainer) -> float:
    """Of the optimizer's state, over the weights of convolutions and linear layers."""
    params = [param for _, param in methods.prunable(trainer.model)]
    held = [value for param in params for value in trainer.optimizer.state[param].values()]
    tensors = [each if isinstance(each, Tensor) else storage_of(each) for each in held if each is not None]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / trainer.num_weights


if __name__ == "__main__":
    main()
