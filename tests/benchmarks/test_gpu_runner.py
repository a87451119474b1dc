"""The runner of the sheet for a GPU: limits of time and size, parts that hang or die, signals. Real processes."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from support import run_sheet

from benchmarks.gpu.__main__ import main
from benchmarks.gpu.files import LOG, MOST_BYTES, SUMMARY, CappedFile, rows_of
from benchmarks.gpu.parts import ALL_SECONDS, PARTS, SMOKE_SECONDS, choose
from benchmarks.gpu.runner import oversized

ROOT = Path(__file__).parents[2]
GOOD = "write('row', 'good')"
HANGS = """
write("row", "before"); write("begins", "the case that hangs")
code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
children = [subprocess.Popen([sys.executable, "-c", code], start_new_session=new) for new in (False, True)]
(out.parent / "pids").write_text(" ".join(map(str, [os.getpid(), *(child.pid for child in children)])))
signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(600)
"""
ORPHAN = """
code = "import subprocess, sys; command = [sys.executable, '-c', 'import time; time.sleep(600)']; "
code += "print(subprocess.Popen(command, stdout=subprocess.DEVNULL).pid)"
middle = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
(out.parent / "pids").write_bytes(middle.stdout)
write("row", "good")
"""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def start(out: Path, seconds: float, *programs: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, run_sheet.__file__, str(out), str(seconds), *programs]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def run(out: Path, seconds: float, *programs: str) -> tuple[int, str]:
    """Exit status and summary."""
    process = start(out, seconds, *programs)
    said, _ = process.communicate()
    assert b"Traceback" not in said, said.decode()
    return process.returncode, (out / SUMMARY).read_text()


def what(out: Path, number: int) -> list[str]:
    return [row["what"] for row in rows_of(out / f"{number}_p{number}.jsonl") if row["kind"] == "row"]


def started(out: Path) -> list[int]:
    return [int(pid) for pid in (out.parent / "pids").read_text().split()]


def wait_for(file: Path) -> None:
    end = time.monotonic() + 30
    while not file.exists() or not file.read_text():
        assert time.monotonic() < end, file
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_parts_that_end_well(out: Path) -> None:
    status, summary = run(out, 20, GOOD, GOOD)
    assert status == 0 and [what(out, number) for number in (1, 2)] == [["good"], ["good"]]
    assert "| 1 p1 | ended |" in summary and "| 2 p2 | ended |" in summary


def test_a_part_that_hangs_is_killed_with_its_children(out: Path) -> None:
    """They ignore SIGTERM, and one left the part's session; the other parts have their time and results."""
    begin = time.monotonic()
    status, summary = run(out, 6, HANGS, GOOD)
    assert status == 1 and time.monotonic() - begin < 20
    assert what(out, 1) == ["before"] and what(out, 2) == ["good"]
    assert "killed after 3 s, its limit: while it measured: the case that hangs" in summary
    assert not any(map(is_running, started(out)))


def test_what_a_part_leaves_running_ends_with_it(out: Path) -> None:
    """An orphan of another session: its parents are gone."""
    assert run(out, 20, ORPHAN, GOOD)[0] == 0
    assert started(out) and not any(map(is_running, started(out)))


@pytest.mark.parametrize(
    ("dies", "ending"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "died of SIGSEGV"),
        ("os._exit(3)", "failed with exit status 3"),
        ("raise SystemExit(1)", "failed with exit status 1"),
    ],
)
def test_a_part_that_dies(out: Path, dies: str, ending: str) -> None:
    status, summary = run(out, 20, f"write('row', 'before'); {dies}", GOOD)
    assert status == 1 and what(out, 1) == ["before"] and what(out, 2) == ["good"]
    assert f"| 1 p1 | {ending} |" in summary


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_the_results(out: Path, number: signal.Signals) -> None:
    with start(out, 60, GOOD, HANGS, GOOD) as process:
        wait_for(out.parent / "pids")
        process.send_signal(number)
        assert process.wait(20) == 128 + number
    summary = (out / SUMMARY).read_text()
    assert what(out, 1) == ["good"] and what(out, 2) == ["before"]
    assert "| 1 p1 | ended |" in summary and "| 2 p2 | stopped |" in summary and "| 3 p3 | not begun |" in summary
    assert not any(map(is_running, started(out)))


def test_results_are_there_while_it_runs(out: Path) -> None:
    """Nobody may be able to stop the runner in peace: SIGKILL leaves what the parts have written."""
    with start(out, 60, GOOD, HANGS) as process:
        wait_for(out.parent / "pids")
        process.kill()
    for pid in started(out):
        os.kill(pid, signal.SIGKILL)
    assert "| 1 p1 | ended |" in (out / SUMMARY).read_text() and what(out, 2) == ["before"]


def test_a_log_has_a_limit(out: Path) -> None:
    status, _ = run(out, 60, "for _ in range(20): print('x' * 2**20, flush=True)")
    assert status == 0 and MOST_BYTES - 2**21 < (out / LOG).stat().st_size <= MOST_BYTES
    assert (out / LOG).read_text().endswith(f'more than {MOST_BYTES} bytes"}}\n')


def test_rows_are_whole_or_left_out(tmp_path: Path) -> None:
    with closing(CappedFile(tmp_path / "rows.jsonl", most_bytes=200)) as file:
        written = [file.write(b'{"kind": "row", "number": %d}\n' % number) for number in range(10)]
    rows = list(rows_of(tmp_path / "rows.jsonl"))
    assert True in written and False in written and written == sorted(written, reverse=True)
    assert [row["kind"] for row in rows] == ["row"] * sum(written) + ["cut"]
    assert (tmp_path / "rows.jsonl").stat().st_size <= 200


def test_a_row_that_a_kill_has_cut_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"kind": "row"}\n{"kind": "ro')
    assert list(rows_of(tmp_path / "rows.jsonl")) == [{"kind": "row"}]
    assert not list(rows_of(tmp_path / "none.jsonl"))


def test_files_that_break_the_limits_are_named(out: Path) -> None:
    for number in range(9):
        (out / str(number)).write_bytes(b"")
    with (out / "0").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    assert oversized(out) == [
        f"{out / '0'}: {MOST_BYTES + 1} bytes, more than {MOST_BYTES}",
        f"{out}: 9 files, more than 8",
    ]


def test_which_parts() -> None:
    assert choose("smoke").smoke and not choose("all").smoke
    assert choose("smoke").parts == choose("all").parts == PARTS
    assert [part.number for part in choose("3, 1,study,1").parts] == [1, 3, 5]


@pytest.mark.parametrize("text", ["7", "", "smoke,1", "1,,2", "step", "1-3"])
def test_a_mistake_in_parts_names_the_choices(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["--parts", text])
    said = capsys.readouterr().err
    valid = "smoke, all, or some of 1 (tests), 2 (updates), 3 (steps), 4 (many_trials), 5 (study), with commas between"
    assert exited.value.code == 2 and valid in said and "Traceback" not in said


def test_results_are_not_written_over(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (out / SUMMARY).write_text("of an earlier run")
    with pytest.raises(SystemExit) as exited:
        main(["--parts", "1", "--out", str(out)])
    assert exited.value.code == 2 and f"--out: {out}: must be a folder that is empty" in capsys.readouterr().err
    assert (out / SUMMARY).read_text() == "of an earlier run"


@pytest.mark.parametrize(("text", "most"), [("smoke", 180), ("all", 480), ("5", 480), ("1,2", 480)])
def test_seconds_go_to_the_parts_by_their_shares(text: str, most: float) -> None:
    choice = choose(text)
    left = choice.seconds
    for part in choice.parts:
        left -= choice.limit(part, left)
    assert choice.seconds < most and left == pytest.approx(0, abs=1e-9)


def test_shares_are_seconds_where_all_parts_run() -> None:
    assert sum(part.smoke_seconds for part in PARTS) == SMOKE_SECONDS
    assert sum(part.all_seconds for part in PARTS) == ALL_SECONDS


def test_seconds_that_a_part_leaves_go_to_the_others() -> None:
    choice = choose("1,2")
    assert choice.limit(choice.parts[1], choice.seconds - 1) == choice.seconds - 1
