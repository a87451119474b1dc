"""How long calls take on a device."""

import time
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch


def timed(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call: CPU time of this process on CPUs, where others take turns; else time on the device."""
    return timed_parts([call], device)[0]


def timed_parts(calls: Sequence[Callable[[], object]], device: torch.device) -> list[float]:
    """Seconds of each of some calls, made one after the other; a GPU is not waited for between them."""
    if device.type == "cpu":
        marks = [time.process_time()]
        for call in calls:
            call()
            marks.append(time.process_time())
        return [end - begin for begin, end in pairwise(marks)]
    torch.cuda.synchronize(device)
    events = [torch.cuda.Event(enable_timing=True) for _ in range(len(calls) + 1)]  # type: ignore[no-untyped-call]
    events[0].record()
    for call, event in zip(calls, events[1:], strict=True):
        call()
        event.record()
    torch.cuda.synchronize(device)
    return [float(begin.elapsed_time(end)) / 1e3 for begin, end in pairwise(events)]
