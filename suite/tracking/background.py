"""Publishing while a sweep runs, by a process of its own: no store can delay a trial."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from suite import own_code
from suite.config.sweep_file import Sweep
from suite.records.ledger import Ledger

EVERY_SECONDS = 60.0  # shorter sweeps are published at their end alone
_END_SECONDS = 10.0


@contextmanager
def publishing(sweep: Sweep, ledger: Ledger) -> Iterator[None]:
    """Publish final trials each minute, as long as this is entered; the store's URI comes from the environment."""
    over = threading.Event()
    thread = threading.Thread(target=_publish, args=(sweep.label, ledger, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _publish(label: str, ledger: Ledger, over: threading.Event) -> None:
    if over.wait(EVERY_SECONDS):
        return
    command = [sys.executable, "-m", "suite.tracking", "publish", str(ledger.root), "--sweep", label]
    process = subprocess.Popen(
        [*command, "--every", str(EVERY_SECONDS)],
        env={**os.environ, **own_code.environment()},
        stdin=subprocess.PIPE,  # ends with us, however that comes about
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # what goes wrong is told at the end, when all is published once more
        start_new_session=True,  # Ctrl-C is for us
    )
    over.wait()
    with process, suppress(subprocess.TimeoutExpired):
        assert process.stdin
        process.stdin.close()
        try:
            process.wait(_END_SECONDS)
        finally:
            process.kill()  # a run half made is made anew
