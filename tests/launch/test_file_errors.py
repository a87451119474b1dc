"""A file system that errs while a trial reads or writes: tried again, then reported; the trial is never to blame."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import failing_files
from support.forked import ForkServer
from support.trial_processes import folder_of, fork, records_of, trial_of, unexpected_files

from suite.config import Trial
from suite.launch import inline
from suite.records import FAILURE, newest_attempt, read_metrics, read_result
from suite.stopping import Stopped

pytestmark = pytest.mark.compiler
STOPPED_AT = 30  # steps of the 40
Command = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return failing_files.build(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def server(library: Path) -> Iterator[ForkServer]:
    """It has the library, which lets all calls pass where nothing is to fail."""
    with contextlib.closing(ForkServer(LD_PRELOAD=str(library))) as server:
        yield server


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trial, where nothing errs."""
    folder = tmp_path_factory.mktemp("quiet")
    inline.run(trial(), folder, data_dir=None)
    return folder


def trial(**changes: Any) -> Trial:
    return trial_of("edge_popup", model={"name": "conv2", "width_mult": 0.0625}, **changes)


def stop_in_second_epoch(results: Path) -> list[str]:
    """Leave the trial at a step; the names of its checkpoints."""
    folder, asked = folder_of(trial(), results), []
    with pytest.raises(Stopped):
        inline.run(trial(), folder, data_dir=None, should_stop=lambda: bool(asked.append(1)) or len(asked) > STOPPED_AT)
    return checkpoints(folder)


def checkpoints(folder: Path) -> list[str]:
    attempt = newest_attempt(folder)
    assert attempt
    return sorted(path.name for path in attempt.glob("checkpoint-*"))


@pytest.fixture
def command(server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs ``python -m suite.train`` in an environment: its status, and what it said."""

    def command(environment: dict[str, str], *, processes: int = 1) -> tuple[int, str]:
        said = tmp_path / "said.txt"
        said.unlink(missing_ok=True)
        with monkeypatch.context() as patch:
            for key, value in environment.items():
                patch.setenv(key, value)
            status = fork(trial(processes=processes), tmp_path, server=server).wait(timeout=300)
        return status, said.read_text()

    return command


@pytest.mark.slow
@pytest.mark.parametrize(("call", "number"), [("open", errno.ESTALE), ("read", errno.EIO)])
def test_a_checkpoint_that_is_read_at_the_second_try(
    tmp_path: Path, command: Command, library: Path, quiet: Path, call: str, number: int
) -> None:
    newest = stop_in_second_epoch(tmp_path)[-1]
    failing = failing_files.environment(library, call, newest, number, times=1)
    status, said = command(failing)
    assert status == 0 and "Traceback" not in said
    folder = folder_of(trial(), tmp_path)
    log = (folder / "log.txt").read_text()
    assert newest in log.splitlines()[-1] and "unusable" not in log and "not used" not in log
    assert f"{os.strerror(number)}: trying again" in log  # the disk did err
    assert records_of(folder) == records_of(quiet)
    assert unexpected_files(folder) == []


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_read_stays(tmp_path: Path, command: Command, library: Path, quiet: Path) -> None:
    before = stop_in_second_epoch(tmp_path)
    folder = folder_of(trial(), tmp_path)
    failing = failing_files.environment(library, "read", before[-1], errno.EIO)
    status, said = command(failing)
    assert checkpoints(folder) == before
    assert not (folder / FAILURE).exists() and "Traceback" not in said
    attempt = newest_attempt(folder)
    assert attempt
    words = f"{attempt / before[-1]}: {os.strerror(errno.EIO)}: the trial is unfinished"
    assert status == 2 and words in said.splitlines()[-1] and "the same command resumes it" in said.splitlines()[-1]
    status, said = command({})
    assert status == 0
    assert before[-1] in (folder / "log.txt").read_text().splitlines()[-1]
    assert records_of(folder) == records_of(quiet)


@pytest.mark.parametrize(
    ("call", "name", "number", "times"),
    [
        ("write", "metrics.jsonl", errno.EIO, 3),  # first half a line, then half a file, twice
        pytest.param("open", "metrics.jsonl", errno.ESTALE, 1, marks=pytest.mark.slow),
        pytest.param("fsync", "metrics.jsonl", errno.EIO, 1, marks=pytest.mark.slow),
        pytest.param("write", "result.json", errno.EIO, 1, marks=pytest.mark.slow),
        pytest.param("fsync", "network.ticket", errno.EIO, 1, marks=pytest.mark.slow),
    ],
)
def test_records_that_are_written_at_the_second_try(
    tmp_path: Path,
    command: Command,
    library: Path,
    quiet: Path,
    call: str,
    name: str,
    number: int,
    times: int,
) -> None:
    failing = failing_files.environment(library, call, name, number, times)
    status, said = command(failing)
    folder = folder_of(trial(), tmp_path)
    assert status == 0 and "Traceback" not in said and not (folder / FAILURE).exists()
    assert records_of(folder) == records_of(quiet)
    assert (folder / "metrics.jsonl").read_text().count("\n") == len(read_metrics(folder)) == 2
    assert unexpected_files(folder) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.EIO, errno.EDQUOT])
def test_records_that_cannot_be_written_leave_the_trial_unfinished(
    tmp_path: Path, command: Command, library: Path, quiet: Path, number: int
) -> None:
    failing = failing_files.environment(library, "write", "metrics.jsonl", number)
    status, said = command(failing)
    folder = folder_of(trial(), tmp_path)
    assert not (folder / FAILURE).exists() and "Traceback" not in said
    assert status == 2 and os.strerror(number) in said.splitlines()[-1]
    assert "metrics.jsonl" in said.splitlines()[-1] and "the same command resumes it" in said.splitlines()[-1]
    status, said = command({})
    assert status == 0
    assert "going on from step 20" in (folder / "log.txt").read_text()
    assert records_of(folder) == records_of(quiet)


@pytest.mark.slow
def test_a_result_that_cannot_be_read(tmp_path: Path, command: Command, library: Path) -> None:
    folder = folder_of(trial(), tmp_path)
    result = inline.run(trial(), folder, data_dir=None)
    failing = failing_files.environment(library, "read", "result.json", errno.EIO)
    status, said = command(failing)
    assert status == 2 and "Traceback" not in said
    assert said.splitlines()[-1].startswith(f"{folder / 'result.json'}: {os.strerror(errno.EIO)}: ")
    assert read_result(folder) == result and not (folder / FAILURE).exists()


@pytest.mark.slow
def test_a_rank_that_cannot_read_its_images(tmp_path: Path, command: Command, library: Path) -> None:
    """Rank 0, which writes the records, hears of it from a broken connection alone."""
    failing = failing_files.environment(library, "open", "digits.csv.gz", errno.EIO) | {"FAILING_RANK": "1"}
    status, said = command(failing, processes=2)
    folder = folder_of(trial(processes=2), tmp_path)
    assert not (folder / FAILURE).exists() and "Traceback" not in said
    assert status == 2
    assert f"digits.csv.gz: {os.strerror(errno.EIO)}: the trial is unfinished: wait until" in said.splitlines()[-1]


@pytest.mark.slow
def test_a_log_that_cannot_be_written_stops_no_trial(
    tmp_path: Path, command: Command, library: Path, quiet: Path
) -> None:
    stop_in_second_epoch(tmp_path)
    failing = failing_files.environment(library, "open", "log.txt", errno.EIO)
    status, said = command(failing)
    assert status == 0 and "Traceback" not in said
    assert records_of(folder_of(trial(), tmp_path)) == records_of(quiet)
