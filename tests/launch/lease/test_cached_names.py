"""A take-over where names are cached (NFS, Lustre, FUSE): the old owner still sees its folder, and does no harm.

``--hits 100`` plays a hundred rounds of each kind.
"""

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support import trial_processes
from support.forked import ROOT, ForkedProcess, fork_server
from support.stale_names import build_passthrough, mounted
from support.trial_processes import wait_for

from suite.records import newest_attempt, newest_checkpoint, read_metrics, read_result
from suite.stopping import EXIT_TAKEN_OVER

EPOCHS = 6
STEPS = 20 * EPOCHS  # 1,257 images in batches of 64
FINAL, TAKEN_OVER = 0, EXIT_TAKEN_OVER
Places = tuple[Path, Path, Path]  # the folder of results on its own disk, and as each owner sees it


def start(folder: Path, *, take_over: bool = False, caching: Path | None = None) -> ForkedProcess:
    trial = trial_processes.trial_of("iterand", epochs=EPOCHS)
    arguments = ["support.stale_trial", trial.model_dump_json(), str(folder), json.dumps(take_over), str(caching or "")]
    with open(os.devnull, "r+b") as null:
        return fork_server().start(arguments, dict(os.environ), ROOT, [null, null, 2])


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("quiet") / "trial"
    assert start(folder).wait(120) == FINAL
    return trial_processes.records_of(folder)


@pytest.fixture(params=["two mounts", "open files"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Places]:
    real = tmp_path / "real"
    real.mkdir()
    if request.param == "open files":
        yield real, real, real
        return
    program = build_passthrough(tmp_path)
    if program is None:
        pytest.skip("needs /dev/fuse, gcc and libfuse3-dev with its examples")
    with ExitStack() as stack:
        yield real, *(stack.enter_context(mounted(program, real, tmp_path / name)) for name in ("one", "two"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_an_old_owner_that_sees_stale_names_does_no_harm(
    quiet: Any, places: Places, request: pytest.FixtureRequest
) -> None:
    chance, ends = random.Random(str(places[1] == places[2])), []
    for count in range(max(2, request.config.getoption("--hits"))):
        ends.append(play(places, f"trial-{count}", chance, pauses=count == 0 or chance.random() < 0.5))
        assert set(ends[-1]) <= {FINAL, TAKEN_OVER}, (count, ends[-1])
        assert FINAL in ends[-1], (count, ends[-1])
        assert_whole(places[0] / f"trial-{count}", quiet)
    print(f"{len(ends)} rounds: {sorted((end, ends.count(end)) for end in set(ends))}")
    assert (TAKEN_OVER, FINAL) in ends


def play(places: Places, name: str, chance: random.Random, *, pauses: bool) -> tuple[int, int]:
    """One owner is taken over at a random moment; one that pauses wakes while the other trains, or thereafter."""
    real, one, two = places
    first = start(one / name, caching=one if one == two else None)
    step = 1 if name == "trial-0" else min(chance.randrange(int(1.2 * STEPS)), STEPS - 1)
    wait_for(lambda: steps_of(real / name, first) >= step, every=0.002)
    held = newest_attempt(real / name)
    if pauses:
        trial_processes.signal_processes([first.pid], signal.SIGSTOP)
    second = start(two / name, take_over=True)
    if pauses:
        wait_for(lambda: newest_attempt(real / name) != held or second.poll() is not None)
        time.sleep(chance.uniform(0, 0.5))
        trial_processes.signal_processes([first.pid], signal.SIGCONT)
    return first.wait(120), second.wait(120)


def assert_whole(folder: Path, quiet: Any) -> None:
    assert [line["epoch"] for line in read_metrics(folder)] == list(range(EPOCHS))
    assert trial_processes.records_of(folder) == quiet
    assert not trial_processes.unexpected_files(folder)


def steps_of(folder: Path, process: ForkedProcess) -> int:
    """Steps that are saved; a million at the end of the process."""
    if process.poll() is not None or read_result(folder) is not None:
        return 10**6
    name = newest_checkpoint(folder)
    return int(name.split("-")[1].split(".")[0]) if name else -1
