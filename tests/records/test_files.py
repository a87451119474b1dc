"""The files of a trial: written whole, read back as written, and what a crash leaves of them."""

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from suite.config import InputError
from suite.records import (
    Result,
    Writer,
    move,
    read_failure,
    read_metrics,
    read_result,
    write_failure,
    write_text_atomic,
)


@pytest.fixture
def result() -> Result:
    return Result(
        trial_id="0123456789ab",
        status="done",
        config={"method": {"name": "weights", "lr": 1e-05}, "seed": 4294967295, "model": {"norm_affine": None}},
        metrics={"val/top1": 1 / 3, "val/loss": None},
        test_predictions=[3, 0, 9],
        num_epochs=2,
        num_updates=40,
        params_total=100,
        params_kept=50,
        state_bytes_per_weight=19.7,
        peak_memory_mb=0.1 + 0.2,
        seconds=1.5,
        started_at=1.7e9,
        data_id="d",
        code_id="c",
        git_commit=None,
        versions={"torch": "2.11"},
        host="höst",
        device="CPU",
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_trial_from_first_epoch_to_result(tmp_path: Path, result: Result) -> None:
    folder = tmp_path / "x"
    assert read_result(folder) is None
    assert read_metrics(folder) == []
    folder.mkdir()
    writer = Writer(folder)
    lines: list[dict[str, float]] = [{"epoch": 0, "val/top1": 1 / 3}, {"epoch": 1, "val/top1": 1e-300}]
    for i, line in enumerate(lines, start=1):
        writer.epoch(line)
        assert read_metrics(folder) == lines[:i]  # at once
    assert read_result(folder) is None
    writer.finish(result)
    assert read_result(folder) == result
    assert read_metrics(folder) == lines
    assert names(folder) == ["metrics.jsonl", "result.json"]


def test_what_is_no_number_is_null(tmp_path: Path, result: Result) -> None:
    writer = Writer(tmp_path)
    writer.epoch({"a": float("nan"), "b": float("inf"), "c": -float("inf"), "d": 10**400 // 10**399})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"a": null, "b": null, "c": null, "d": 10}\n'
    writer.finish(result.model_copy(update={"metrics": {"val/loss": float("nan"), "val/top1": 0.5}}))
    found = read_result(tmp_path)
    assert found is not None
    assert found.metrics == {"val/loss": None, "val/top1": 0.5}


def test_a_last_line_cut_short_is_left_out(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    for epoch in range(3):
        writer.epoch({"epoch": epoch, "lr": 0.1})
    file = tmp_path / "metrics.jsonl"
    whole = file.read_bytes()
    for length in range(len(whole) - 1, whole.rindex(b"{") - 1, -1):
        file.write_bytes(whole[:length])
        assert [line["epoch"] for line in read_metrics(tmp_path)] == [0, 1]


@pytest.mark.parametrize("line", [b"\0\0", b"{", b"\xff\xfe", b'{"epoch": 1}{"epoch": 2}'])
def test_a_garbled_line_is_told(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b'{"epoch": 0}\n' + line + b'\n{"epoch": 2}\n')
    with pytest.raises(InputError) as caught:
        read_metrics(tmp_path)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{file}: is garbled (")
    assert problem.endswith("): move its folder away, and the trial runs again")
    assert "\n" not in problem


def test_under_a_file_there_are_no_records(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "trials" / "x"
    assert (read_result(folder), read_failure(folder), read_metrics(folder)) == (None, None, [])


def test_a_new_attempt_begins_anew(tmp_path: Path) -> None:
    first = Writer(tmp_path)
    first.epoch({"epoch": 0})
    write_failure(tmp_path, "x", ValueError("once"))
    assert names(tmp_path) == ["failure.json", "metrics.jsonl"]
    assert read_metrics(tmp_path) == [{"epoch": 0}]  # what the trial did until then stays
    second = Writer(tmp_path)
    assert names(tmp_path) == ["failure.json", "metrics.jsonl"]  # the failure goes when the attempt is sure to begin
    second.epoch({"epoch": 0, "again": 1})
    assert read_metrics(tmp_path) == [{"epoch": 0, "again": 1}]


def test_why_a_trial_raised(tmp_path: Path) -> None:
    assert read_failure(tmp_path) is None
    try:
        raise ValueError("no such\nthing: ü")
    except ValueError as error:
        write_failure(tmp_path, "0123456789ab", error)
    failure = read_failure(tmp_path)
    assert failure is not None
    assert (failure.trial_id, failure.error) == ("0123456789ab", "ValueError: no such\nthing: ü")
    assert "test_files.py" in failure.traceback
    assert failure.at > 1.7e9
    assert names(tmp_path) == ["failure.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b'{"trial_id": "x"}', b"\xff\xfe", b'{"status": 3'])
@pytest.mark.parametrize("name", ["result.json", "failure.json"])
def test_a_garbled_record_is_told_with_its_cure(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    read: Callable[[Path], Any] = {"result.json": read_result, "failure.json": read_failure}[name]
    with pytest.raises(InputError) as caught:
        read(tmp_path)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{tmp_path / name}: is garbled (")
    assert problem.endswith("): move it away, and the trial runs again")
    assert "\n" not in problem


def test_a_result_with_a_wrong_value_is_garbled(tmp_path: Path, result: Result) -> None:
    text = result.model_dump_json()
    for old, new in (('"done"', '"finished"'), ("40", '"many"'), ('"metrics"', '"metric"')):
        assert old in text
        (tmp_path / "result.json").write_text(text.replace(old, new))
        with pytest.raises(InputError, match="garbled"):
            read_result(tmp_path)


def test_a_record_of_a_later_version_can_be_read(tmp_path: Path, result: Result) -> None:
    (tmp_path / "result.json").write_text('{"later": 1, ' + result.model_dump_json()[1:], encoding="utf-8")
    assert read_result(tmp_path) == result


def full_disk(*args: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("before", [None, "old"])
def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, before: str | None
) -> None:
    file = tmp_path / "file.txt"
    if before:
        write_text_atomic(file, before)
    with monkeypatch.context() as patch:
        patch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace")}[call], full_disk)
        with pytest.raises(OSError, match="No space left"):
            write_text_atomic(file, "new")
    assert names(file.parent) == (["file.txt"] if before else [])
    assert not before or file.read_text() == before
    write_text_atomic(file, "neü")
    assert file.read_bytes() == "neü".encode()
    assert names(file.parent) == ["file.txt"]


def test_the_bytes_are_on_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def fsync(descriptor: int) -> None:
        assert not (tmp_path / "file").exists()
        seen.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", fsync)
    write_text_atomic(tmp_path / "file", "12345")
    assert seen == [5]


def test_no_result_where_it_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: Result
) -> None:
    writer = Writer(tmp_path)
    writer.epoch({"epoch": 0})
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        writer.finish(result)
    assert names(tmp_path) == ["metrics.jsonl"]


def test_writers_of_one_pid_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Process ids are equal in two containers: the names of temporary files are not."""
    monkeypatch.setattr(os, "getpid", lambda: 7)
    path, texts = tmp_path / "file", ["a" * 5000, "b" * 5000]
    torn: list[str] = []

    def write(text: str) -> None:
        for _ in range(200):
            write_text_atomic(path, text)
            if (found := path.read_text()) not in texts:
                torn.append(found)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, texts))
    assert torn == []
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_file_that_was_moved_and_moved_again_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS sends a call again where the answer was lost."""
    replace = Path.replace

    def twice(source: Path, target: Path) -> Path:
        replace(source, target)
        return replace(source, target)

    (tmp_path / "old").write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", twice)
        write_text_atomic(tmp_path / "new", "new")
        move(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old").read_text() == "new"
    with pytest.raises(FileNotFoundError):
        move(tmp_path / "new", tmp_path / "old")
