"""A whole training step as one CUDA graph: a prototype, for part 4."""

from collections.abc import Callable

import torch

from benchmarks.trainers import Trainer

_WARM_UP = 3  # steps in which thresholds are found and kernels chosen


def captured(trainer: Trainer) -> Callable[[], None]:
    """A function that takes a step on the next batch by replaying a graph; on CPUs, which have none, by calling it."""
    images, labels = (tensor.clone() for tensor in next(trainer.batches))

    def step() -> None:
        trainer.gradients_of(images, labels)
        trainer.optimizer.step()

    replay = _recorded(step) if trainer.device.type == "cuda" else step

    def next_step() -> None:
        for kept, new in zip((images, labels), next(trainer.batches), strict=True):
            kept.copy_(new)
        replay()

    return next_step


def _recorded(step: Callable[[], None]) -> Callable[[], None]:
    side = torch.cuda.Stream()  # what is captured must not have been begun on the default stream
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay
