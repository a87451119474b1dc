"""An entry of the index holds for one state of one result: whatever became of that file since, it is read anew."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.disks import fill, list_names
from support.fake_results import fake_result, write_result
from support.index_cases import TRIALS, filled, is_right, states, trial_of, write_trial_state

from suite.records import index
from suite.records.index import Index
from suite.records.ledger import Ledger

ROOT = Path(__file__).parents[2]
TRIAL = trial_of(1)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "results")


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every result had been written long before it is looked at."""
    monkeypatch.setattr(index, "SETTLED_NS", -(10**12))


def text_of(accuracy: float) -> str:
    """The result of ``TRIAL``, of the same size whatever its accuracy."""
    return fake_result(TRIAL, metrics={"val/top1": accuracy, "test/top1": accuracy}).model_dump_json()


def make_anew(result: Path) -> None:
    """With the inode of the one that was there, unless others of this machine are always quicker."""
    inode = result.parent.stat().st_ino
    for _ in range(50):
        shutil.rmtree(result.parent)
        result.parent.mkdir()
        if result.parent.stat().st_ino == inode:
            return


def replace_by_a_copy(result: Path) -> None:
    """As ``cp -p`` does: into the same file, with the times of the old one."""
    times = result.stat()
    result.write_text(text_of(0.625))
    os.utime(result, ns=(times.st_atime_ns, times.st_mtime_ns))


def replace_by_another(result: Path) -> None:
    """As ``rsync -t`` does: by another file, with the times and the size of the old one."""
    times, other = result.stat(), result.with_name(".result.json.part")
    other.write_text(text_of(0.625))
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(result)


def swap_folders(result: Path) -> None:
    away = result.parent.with_name("away")
    result.parent.rename(away)
    shutil.copytree(away, result.parent)
    (result.parent / "result.json").write_text(text_of(0.625))


CHANGES: dict[str, Callable[[Path], object]] = {
    "its folder is gone": lambda result: shutil.rmtree(result.parent),
    "its folder is made anew": make_anew,
    "it is moved away": lambda result: result.rename(result.with_name("garbled.json")),
    "it is removed": lambda result: result.unlink(),
    "it is a folder now": lambda result: (result.unlink(), result.mkdir()),
    "it is cut short": lambda result: os.truncate(result, 100),
    "it is edited": lambda result: result.write_text(text_of(0.625)),
    "cp -p": replace_by_a_copy,
    "rsync -t": replace_by_another,
    "another folder in its place": swap_folders,
    "a link that leads to itself": lambda result: (result.unlink(), result.symlink_to(result.name)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_result_that_changed_between_two_looks(ledger: Ledger, settled: None, change: str) -> None:
    folder = ledger.folder(TRIAL.trial_id)
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(text_of(0.125))
    assert ledger.lookup({TRIAL.trial_id: TRIAL})[TRIAL.trial_id].state == "done"
    CHANGES[change](folder / "result.json")
    found = ledger.lookup({TRIAL.trial_id: TRIAL})[TRIAL.trial_id]
    everything = Index(ledger.root).everything()
    if (folder / "result.json").is_file() and (folder / "result.json").stat().st_size > 100:
        assert found.summary and found.summary.metrics["val/top1"] == 0.625
        assert everything[TRIAL.trial_id] == found.summary
    else:
        assert found.state in ("missing", "unfinished", "garbled") and found.summary is None
        assert TRIAL.trial_id not in everything


def test_a_result_that_comes_back_is_believed_again(ledger: Ledger, settled: None) -> None:
    filled(ledger)
    folder = ledger.folder(TRIAL.trial_id)
    (folder / "result.json").rename(ledger.root / "away")
    assert states(ledger)[TRIAL.trial_id] == "unfinished"
    (ledger.root / "away").rename(folder / "result.json")
    assert states(ledger)[TRIAL.trial_id] == "done"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("change", ["its folder is made anew", "it is edited", "cp -p", "rsync -t"])
def test_a_result_that_changes_while_it_is_read(
    ledger: Ledger, settled: None, monkeypatch: pytest.MonkeyPatch, change: str, when: str
) -> None:
    """The file changes between open, fstat and read: the index does not take the old content for the new file."""
    path = ledger.folder(TRIAL.trial_id) / "result.json"
    path.parent.mkdir(parents=True)
    path.write_text(text_of(0.125))
    real = os.fstat

    def changing(handle: int) -> os.stat_result:
        monkeypatch.setattr(os, "fstat", real)
        state = real(handle)
        CHANGES[change](path)
        if not path.exists():
            path.write_text(text_of(0.625))
        return state if when == "after" else real(handle)

    monkeypatch.setattr(os, "fstat", changing)
    Index(ledger.root).everything()
    assert os.fstat is real
    for _ in range(2):
        assert Index(ledger.root).everything()[TRIAL.trial_id].metrics["val/top1"] == 0.625


def test_a_garbled_result_that_is_mended_while_it_is_read(
    ledger: Ledger, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ledger.folder(TRIAL.trial_id) / "result.json"
    path.parent.mkdir(parents=True)
    path.write_text(text_of(0.625)[:-1] + "?")
    real = os.fstat

    def mending(handle: int) -> os.stat_result:
        monkeypatch.setattr(os, "fstat", real)
        state = real(handle)
        replace_by_another(path)
        return state

    monkeypatch.setattr(os, "fstat", mending)
    for _ in range(3):
        found = ledger.lookup({TRIAL.trial_id: TRIAL})[TRIAL.trial_id]
        assert found.summary and found.summary.metrics["val/top1"] == 0.625


def test_a_clock_of_seconds(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file keeps its times when it changes twice in a second, an entry waits until it cannot."""
    for name in ("stat", "fstat"):
        monkeypatch.setattr(os, name, coarse(getattr(os, name)))
    folder = ledger.folder(TRIAL.trial_id)
    for accuracy in (0.125, 0.25, 0.375, 0.625):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").write_text(text_of(accuracy))
        for _ in range(2):
            summary = Index(ledger.root).everything()[TRIAL.trial_id]
            assert summary.metrics["val/top1"] == accuracy


def coarse(call: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
    def called(*args: object, **options: object) -> os.stat_result:
        kind, (numbers, more) = call(*args, **options).__reduce__()  # type: ignore[misc]
        seconds = {key: value // 10**9 * 10**9 for key, value in more.items() if key.endswith("_ns")}
        return kind(numbers, {**more, **seconds})  # type: ignore[no-any-return, operator]

    return called


# Another process ----------------------------------------------------------------------------------------------------

SLOW = """
import sys
from pathlib import Path
from suite.records import index
from suite.records.index import Index
def slowly(folder, read=index.read_result_and_state):
    found = read(folder)
    print("read", flush=True)
    sys.stdin.readline()
    return found
index.SETTLED_NS, index.read_result_and_state = -10**12, slowly
Index(Path(sys.argv[1])).everything()
"""


@contextmanager
def slow_look(ledger: Ledger) -> Iterator[Callable[[], None]]:
    """A process that has read the one result there is and has not added it to the index yet: it does when called."""
    command = [sys.executable, "-c", SLOW, str(ledger.root)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout and process.stdout.readline() == "read\n"

        def finish() -> None:
            process.communicate("\n", timeout=60)
            assert process.returncode == 0

        yield finish


@pytest.mark.parametrize(
    "change", ["its folder is made anew", "it is moved away", "cp -p", "another folder in its place"]
)
def test_a_result_that_changed_while_another_process_had_it_open(ledger: Ledger, settled: None, change: str) -> None:
    folder = ledger.folder(TRIAL.trial_id)
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(text_of(0.125))
    with slow_look(ledger) as finish:
        CHANGES[change](folder / "result.json")
        finish()
    assert b"0.125" in (ledger.root / "index.jsonl").read_bytes()
    summary = Index(ledger.root).everything().get(TRIAL.trial_id)
    assert summary is None or summary.metrics["val/top1"] == 0.625


# Copies and disks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["cp -r", "cp -a", "cp -al"])
def test_a_copy_of_a_copy(ledger: Ledger, settled: None, tmp_path: Path, command: str) -> None:
    """Times, sizes and the index itself are copied, too."""
    filled(ledger)
    for number, kind in enumerate(("diverged", "garbled", "left")):
        copy = Ledger(tmp_path / f"copy{number}")
        subprocess.run([*command.split(), str(ledger.root), str(copy.root)], check=True)
        (copy.folder(TRIAL.trial_id) / "result.json").unlink(missing_ok=True)
        write_trial_state(copy, TRIAL, kind)
        assert is_right(copy)
        shutil.rmtree(ledger.root)
        ledger = copy


@pytest.mark.parametrize("with_index", [False, True])
def test_results_that_may_only_be_read(disk: Callable[[int], Path], settled: None, with_index: bool) -> None:
    place = disk(4096)
    ledger = Ledger(place / "results")
    if with_index:
        filled(ledger)
    write_trial_state(ledger, trial_of(50), "done")
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    kept = (ledger.root / "index.jsonl").read_bytes() if with_index else None
    assert is_right(ledger) and trial_of(50).trial_id in Index(ledger.root).everything()
    assert list_names(ledger.root) == (["index.jsonl", "trials"] if with_index else ["trials"])
    assert kept is None or (ledger.root / "index.jsonl").read_bytes() == kept


@pytest.mark.parametrize("leave", [0, 4, 8, 16])
def test_a_disk_that_is_full_and_has_room_again(disk: Callable[[int], Path], settled: None, leave: int) -> None:
    place = disk(4096)
    ledger = Ledger(place / "results")
    for trial in TRIALS.values():
        write_trial_state(ledger, trial, "done")
    filler = fill(place, leave=leave)
    assert is_right(ledger)
    filler.unlink()
    assert is_right(ledger)
    assert list_names(ledger.root) == ["index.jsonl", "trials"]
    entries = (ledger.root / "index.jsonl").read_bytes()
    assert is_right(ledger) and (ledger.root / "index.jsonl").read_bytes() == entries
    assert all(trial_id.encode() in entries for trial_id in TRIALS)


def test_a_trial_of_a_name_with_blanks(ledger: Ledger, settled: None) -> None:
    """Somebody's copy of a folder is looked at, and does not make the index longer with each look."""
    write_result(ledger, TRIAL)
    for name in ("copy of a trial", "two\nlines", os.fsdecode(b"\xff")):
        shutil.copytree(ledger.folder(TRIAL.trial_id), ledger.root / "trials" / name)
    assert len(Index(ledger.root).everything()) == 4
    size = (ledger.root / "index.jsonl").stat().st_size
    assert len(Index(ledger.root).everything()) == 4
    assert (ledger.root / "index.jsonl").stat().st_size == size
