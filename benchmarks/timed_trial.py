"""One trial as ``python -m suite.train`` runs it, its parts timed: ``python -m benchmarks.timed_trial METHOD WIDTH``.

Prints CPU seconds by part as JSON. Imports nothing that the command does not.
"""

import json
import runpy
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

METHODS: dict[str, dict[str, Any]] = {  # as in sweeps/width_vs_acc.yaml
    "weights": {"lr": 0.1, "weight_decay": 0.01},
    "edge_popup": {"lr": 0.3, "weight_decay": 0.003, "sparsity": 0.5},
    "iterand": {"lr": 1.0, "weight_decay": 0.003, "sparsity": 0.5, "rerandomize_every": 30, "rerandomize_prob": 0.1},
}
START = "start and imports"


class Parts:
    """CPU seconds of this process by part; what a part calls in another one counts there."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._open, self._since = ["rest"], time.process_time()

    def enter(self, part: str) -> None:
        """Count from here on as ``part``."""
        self._count()
        self._open.append(part)

    def leave(self) -> None:
        """Count as before ``enter``."""
        self._count()
        self._open.pop()

    def timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """``call``, counted as ``part``."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            self.enter(part)
            try:
                return call(*args, **kwargs)
            finally:
                self.leave()

        return timed

    def _count(self) -> None:
        now = time.process_time()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now


def run(method: str, width: float, epochs: int) -> dict[str, float]:
    """Run the trial in a folder of its own."""
    parts = Parts()
    parts.seconds[START] = time.process_time()
    parts.enter(START)
    import suite.train.loop  # noqa: F401 - it imports torch

    parts.leave()
    model = {"name": "conv2", "width_mult": width}
    settings = {"model": model, "method": {"name": method, **METHODS[method]}, "epochs": epochs, "seed": 1}
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
        config = Path(folder, "trial.json")
        config.write_text(json.dumps({"dataset": "digits", "global_batch_size": 64, **settings}))
        for patch in _patches(parts, method):
            patch.start()
        sys.argv[1:] = [str(config), "--folder", f"{folder}/trial"]
        with suppress(SystemExit):
            runpy.run_module("suite.train", run_name="__main__", alter_sys=True)
        assert Path(folder, "trial", "result.json").exists()
    parts.enter("")  # counts what came last
    return {name: seconds for name, seconds in parts.seconds.items() if name}


def _patches(parts: Parts, method: str) -> Iterator[Any]:
    from suite.data.arrays import ArrayData
    from suite.methods.edge_popup import EdgePopup
    from suite.methods.weights import Weights
    from suite.records import source_code
    from suite.train import checkpoint_manager, loop

    def batches(*args: Any, **kwargs: Any) -> Iterator[Any]:
        found = plain_batches(*args, **kwargs)
        following = parts.timed("batches", lambda: next(found, None))
        while (batch := following()) is not None:
            yield batch

    plain_batches = ArrayData.train_batches
    optimizer = EdgePopup if METHODS[method].get("sparsity") else Weights
    yield mock.patch.object(optimizer, "step", parts.timed("update", optimizer.step))
    yield mock.patch.object(loop, "build", parts.timed("data and network", loop.build))
    yield mock.patch.object(ArrayData, "train_batches", batches)
    yield mock.patch.object(loop.data, "load", parts.timed("data and network", loop.data.load))
    yield mock.patch.object(loop, "train_step", parts.timed("forward and backward", loop.train_step))
    yield mock.patch.object(loop, "evaluate", parts.timed("evaluation", loop.evaluate))
    yield mock.patch.object(loop, "_num_removed", parts.timed("masks counted", loop._num_removed))
    yield mock.patch.object(source_code, "code_id", parts.timed("identity of code", source_code.code_id))
    for name in ("epoch", "finish", "_write"):
        yield mock.patch.object(loop.Writer, name, parts.timed("records", getattr(loop.Writer, name)))
    manager = checkpoint_manager.CheckpointManager
    for name in ("resume", "after_step", "after_eval_batch", "after_epoch"):
        yield mock.patch.object(manager, name, parts.timed("stops and checkpoints", getattr(manager, name)))


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))))
