"""How long trials would take, from a few of their steps: ``python -m suite.train.calibrate``, for ``--calibrate``.

Reads a JSON list of trials' settings, writes a line a trial: ``{"epoch": seconds, "test": seconds, "bytes": state}``.
"""

import itertools
import json
import math
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch

from suite import cli, data
from suite.config import Trial
from suite.data.interface import SplitName
from suite.train.evaluate import evaluate
from suite.train.loop import state_bytes
from suite.train.setup import Run, build, configure_torch
from suite.train.step import train_step

_STEP_SECONDS, _EVALUATION_SECONDS = 4.0, 2.0  # looked at, at most
_WARM_UP, _MOST_STEPS = 2, 200


class _Enough(Exception):
    """Enough of an evaluation was seen."""


def measure(trial: Trial, data_dir: Path | None) -> dict[str, float]:
    """Of a trial of one process: seconds of an epoch with its validation, and of the test; bytes of training state."""
    device = configure_torch(trial)
    images = data.load(trial.dataset, data_dir=data_dir, device=device, channels_last=trial.channels_last)
    run = build(trial, images, device)
    num_steps = math.ceil(images.num_epoch_images(trial.global_batch_size) / trial.global_batch_size)
    epoch = num_steps * _step_seconds(run) + _evaluation_seconds(run, "val")
    test = _evaluation_seconds(run, "test") if trial.evaluate_test else 0.0
    return {"epoch": epoch, "test": test, "bytes": float(state_bytes(run))}


def _step_seconds(run: Run) -> float:
    size = run.trial.global_batch_size
    run.ddp_model.train()
    some = partial(run.data.train_batches, run.trial.seed, first=0, rank=0, world_size=1)
    batches = itertools.chain.from_iterable(some(i, size) for i in itertools.count())  # one may be all warm-up
    num, start = 0, time.perf_counter()
    for count, (images, labels) in enumerate(itertools.islice(batches, _WARM_UP + _MOST_STEPS), 1 - _WARM_UP):
        train_step(run, images, labels, len(labels))
        _wait_for(run.device)
        if count <= 0:
            start = time.perf_counter()
        elif time.perf_counter() - start > _STEP_SECONDS:
            return (time.perf_counter() - start) / count
        num = count
    return (time.perf_counter() - start) / num if num > 0 else 0.0


def _evaluation_seconds(run: Run, split: SplitName) -> float:
    total = math.ceil(run.data.num_images(split) / run.data.eval_batch_size)
    seen, start = 0, time.perf_counter()

    def after_batch() -> None:
        nonlocal seen
        _wait_for(run.device)
        seen += 1
        if time.perf_counter() - start > _EVALUATION_SECONDS:
            raise _Enough

    run.model.eval()
    with suppress(_Enough):
        evaluate(run.predict, run.data, split, after_batch=after_batch)
    return (time.perf_counter() - start) / max(seen, 1) * total


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the trials that stand on the input; the first argument may name the folder of data sets."""
    arguments = sys.argv[1:] if argv is None else argv
    data_dir = Path(arguments[0]) if arguments else None
    for settings in json.load(sys.stdin):
        print(json.dumps(measure(Trial.model_validate(settings), data_dir)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main, prints=True))
