"""Save checkpoints in a folder until a signal kills this process: ``killed_saver FOLDER SECONDS|"before the name"``."""

import os
import signal
import sys
from pathlib import Path

from support.checkpoint_states import IDENTITY, state_of

from suite.train import checkpoint

fsync = os.fsync


def die(descriptor: int) -> None:
    fsync(descriptor)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    folder, when = sys.argv[1:]
    if when != "before the name":
        signal.setitimer(signal.ITIMER_REAL, float(when))  # nobody catches its signal
    for step in range(1, 100_000):
        if (step, when) == (4, "before the name"):
            os.fsync = die
        checkpoint.save(Path(folder), state_of(step, 20_000), step=step, identity=IDENTITY)
        print(step, flush=True)
