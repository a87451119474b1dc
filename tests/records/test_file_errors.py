"""Errors of a file system: tried again where that may help, reported with the file, and never taken for content."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.fake_results import fake_result
from support.trial_processes import trial_of

from suite import cli
from suite.records import (
    Writer,
    file_errors,
    read_failure,
    read_metrics,
    read_result,
    read_stopped,
    write_failure,
    write_stopped,
)
from suite.records.files import StoppedEarly
from suite.records.ledger import Ledger

PATH = Path("folder/file")


class Failing:
    """Fails the first ``times`` times, then says "done"."""

    def __init__(self, number: int, times: int) -> None:
        self.number, self.times, self.calls = number, times, 0

    def __call__(self, *args: Any, **kwargs: Any) -> str:
        self.calls += 1
        if self.calls <= self.times:
            raise OSError(self.number, os.strerror(self.number))
        return "done"


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EINTR, errno.ETIMEDOUT])
def test_what_may_pass_is_tried_again(number: int) -> None:
    failing = Failing(number, times=3)
    assert file_errors.retrying(failing, PATH, waits=(0, 0, 0)) == "done"
    failing = Failing(number, times=4)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        file_errors.retrying(failing, PATH, waits=(0, 0, 0))
    assert (caught.value.errno, caught.value.filename, failing.calls) == (number, str(PATH), 4)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ENOENT, errno.EACCES])
def test_what_does_not_pass_is_not_tried_again(number: int) -> None:
    failing = Failing(number, times=1)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        file_errors.retrying(failing, PATH)
    assert (failing.calls, caught.value.filename) == (1, str(PATH))


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "make room"),
        (errno.EROFS, "see that it can be read and written"),
        (errno.EACCES, "see that it can be read and written"),
        (errno.EMFILE, "allow more open files (ulimit -n)"),
        (errno.EFBIG, "allow larger files (ulimit -f)"),
        (errno.EIO, "wait until its file system works, or move away a file that stays unreadable"),
    ],
)
def test_each_kind_has_its_cure(number: int, cure: str) -> None:
    error = OSError(number, os.strerror(number), str(PATH))
    said = f"{PATH}: {os.strerror(number)}: the trial is unfinished: {cure}, and the same command resumes it"
    assert file_errors.is_of_files(error) and str(file_errors.unfinished(error)) == said


@pytest.mark.parametrize(
    ("error", "own"),
    [
        (FileNotFoundError(errno.ENOENT, "gone", "trials/x/attempt-1/metrics.jsonl"), True),
        (FileNotFoundError(errno.ENOENT, "gone", "trials/xy/attempt-1/metrics.jsonl"), False),
        (FileNotFoundError(errno.ENOENT, "gone", "elsewhere"), False),
        (OSError("a program's own"), False),
        (BrokenPipeError(errno.EPIPE, "gone"), False),
        (ConnectionRefusedError(errno.ECONNREFUSED, "no"), False),
    ],
)
def test_other_errors_are_of_files_where_the_file_is_the_trials_own(error: OSError, own: bool) -> None:
    assert file_errors.is_of_files(error, Path("trials/x")) is own
    assert not file_errors.is_of_files(error)


READERS: dict[str, Callable[[Path], Any]] = {
    "result.json": read_result,
    "failure.json": read_failure,
    "stopped.json": read_stopped,
    "metrics.jsonl": read_metrics,
}


@pytest.fixture
def trial_folder(tmp_path: Path) -> Path:
    """One with a record of each kind."""
    writer = Writer(tmp_path)
    writer.epoch({"epoch": 0})
    writer.finish(fake_result(trial_of("weights")))
    write_failure(tmp_path, "x", ValueError("once"))
    write_stopped(tmp_path, StoppedEarly(scheduler={}, epochs=1))
    return tmp_path


@pytest.mark.parametrize("name", READERS)
def test_records_that_cannot_be_read(trial_folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """They are neither missing nor garbled."""
    read, read_text = READERS[name], Path.read_text
    whole = read(trial_folder)
    failing = Failing(errno.EIO, times=1)

    def reading(path: Path, *args: Any, **kwargs: Any) -> str:
        if path.name == name:
            failing()
        return read_text(path, *args, **kwargs)

    monkeypatch.setattr(file_errors.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(Path, "read_text", reading)
    assert whole and read(trial_folder) == whole and failing.calls == 2
    failing.times = 1000
    with pytest.raises(OSError, match=os.strerror(errno.EIO)) as caught:
        read(trial_folder)
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(trial_folder / name))


def test_a_result_that_cannot_be_read_is_neither_missing_nor_garbled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What looks at many trials names the file, and leaves no traceback."""
    trial = trial_of("weights")
    folder = Ledger(tmp_path).folder(trial.trial_id)
    folder.mkdir(parents=True)
    Writer(folder).finish(fake_result(trial))
    monkeypatch.setattr(file_errors.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(Path, "open", Failing(errno.EIO, times=1000))
    (entry,) = Ledger(tmp_path).lookup({trial.trial_id: trial}).values()
    assert (entry.summary, entry.problem) == (
        None,
        f"{folder / 'result.json'}: cannot be read: {os.strerror(errno.EIO)}",
    )
    monkeypatch.setattr(Path, "read_text", Failing(errno.EIO, times=1000))
    assert cli.run(lambda: int(Ledger(tmp_path).result(trial) is None)) == 1
    said = f"{folder / 'result.json'}: {os.strerror(errno.EIO)}: nothing that was done is lost; mend it and repeat\n"
    assert capsys.readouterr().err.endswith(said)


def test_a_mistake_of_the_program_stays_one() -> None:
    with pytest.raises(FileNotFoundError):
        cli.run(lambda: len(Path("no such file").read_text()))
