"""Output that leads nowhere: small commands, as processes of their own, in real pipes, terminals and full disks."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.sweep_processes import write_sweep
from support.terminals import ROOT, Terminal, run_in_shell

COMMAND = """
import logging, os, signal, subprocess, sys
from pathlib import Path
from suite import cli

def main():
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    for i in range(int(sys.argv[2])):
        print("line", i, flush=True)
        logging.info("log %d", i)
        print("error", i, file=sys.stderr)
        subprocess.run(["echo", "from a child"], check=False)
    Path("work").write_text("done")
    print("at the end", "x" * 100_000)  # not flushed
    return 3

sys.exit(cli.run(main, prints=sys.argv[1] == "prints"))
"""
LOST = {
    "no reader": "{} 2>&1 | true",
    "a full disk": "{} >/dev/full 2>&1",
    "closed": "{} <&- >&- 2>&-",
    "not open for writing": "{} 1</dev/null 2</dev/null",
}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "command.py").write_text(COMMAND)
    return tmp_path


@pytest.mark.parametrize("line", LOST.values(), ids=LOST)
def test_a_command_that_works_ends_its_work_with_its_own_status(here: Path, line: str) -> None:
    code, _, errors = run_in_shell(line.format("python command.py works 3"), here)
    assert (code, (here / "work").read_text()) == (3, "done")
    assert "Traceback" not in errors and "Exception ignored" not in errors


def test_a_command_that_works_says_what_a_full_disk_took(here: Path) -> None:
    code, _, errors = run_in_shell("python command.py works 0 >/dev/full", here)
    assert (code, errors) == (3, "standard output: No space left on device: some of it is missing\n")


@pytest.mark.parametrize("loop", ["", "1"], ids=["at its end", "before"])
def test_a_command_that_prints_ends_quietly_with_its_reader(here: Path, loop: str) -> None:
    code, _, errors = run_in_shell(f"python command.py prints {loop or 0} 2>errors.txt | true", here)
    assert (code, errors, (here / "work").exists()) == (1, "", not loop)
    assert "Traceback" not in (here / "errors.txt").read_text()


def test_a_command_that_prints_says_that_the_disk_is_full(here: Path) -> None:
    code, _, errors = run_in_shell("python command.py prints 0 >/dev/full", here)
    assert (code, errors) == (1, "standard output: No space left on device: some of it is missing\n")


def test_a_terminal_that_closes_ends_no_command_that_ignores_hup(here: Path) -> None:
    terminal = Terminal("command.py", "works", "300", cwd=here, ignores_hup=True)
    terminal.read_until("error 0")
    terminal.close()
    assert terminal.process.wait(60) == 3
    assert (here / "work").read_text() == "done"


def test_a_slow_reader_of_a_pipe_that_does_not_block_gets_all(here: Path) -> None:
    """Another process that holds the pipe may make it so: an ssh, a node."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETFL, os.O_NONBLOCK)
    command = [sys.executable, "command.py", "works", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=writer, cwd=here, env=environment, stderr=subprocess.DEVNULL) as process:
        os.close(writer)
        with open(reader) as file:
            assert file.read() == "line 0\nfrom a child\nat the end " + "x" * 100_000 + "\n"
        assert process.wait(60) == 3


def test_a_file_that_is_opened_later_gets_nothing_that_is_printed(here: Path) -> None:
    """A file that is opened has the lowest number, which is that of standard error where that is closed."""
    (here / "opens.py").write_text(
        "import os, sys\nfrom suite import cli\n"
        "def main():\n    kept = [open(f'records-{i}', 'w') for i in range(3)]\n"
        "    os.write(1, b'a library prints')\n    os.write(2, b'and warns')\n    return len(kept)\n"
        "sys.exit(cli.run(main))\n"
    )
    assert run_in_shell("python opens.py <&- >&- 2>&-", here)[0] == 3
    assert [path.read_text() for path in here.glob("records-*")] == ["", "", ""]


def run_with(tmp_path: Path, arguments: list[str], **variables: str) -> bytes:
    """The output of a command, which succeeds, or says that trials are not final."""
    command = [sys.executable, "-m", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert ran.returncode == int(arguments[0] == "suite.status"), ran.stderr
    return ran.stdout


@pytest.mark.parametrize("flags", [(), ("--results", os.fsdecode(b"caf\xe9"))], ids=["ascii", "no text at all"])
def test_what_cannot_be_encoded_is_escaped(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """A name may hold letters that the terminal has not, or bytes that are no letters."""
    write_sweep(tmp_path / "größe.yaml")
    arguments = ["suite.sweep", "größe.yaml", "--dry-run", *flags]
    printed = run_with(tmp_path, arguments, PYTHONIOENCODING="utf-8" if flags else "ascii")
    assert (rb"caf\udce9" if flags else rb"gr\xf6\xdfe.yaml") in printed


NO_UTF8 = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "the C locale": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


@pytest.mark.parametrize("arguments", [["suite.status", "tiny.yaml"], ["suite.sweep", "tiny.yaml", "--dry-run"]])
@pytest.mark.parametrize("variables", NO_UTF8.values(), ids=NO_UTF8)
def test_a_table_of_many_trials_is_readable_without_utf_8(
    tmp_path: Path, arguments: list[str], variables: dict[str, str]
) -> None:
    write_sweep(tmp_path / "tiny.yaml", seeds=tuple(range(70)))
    printed = run_with(tmp_path, arguments, **variables).decode("ascii")
    assert "\\u" not in printed
    assert sum(line.startswith("| ") for line in printed.splitlines()) == 211  # with the header


def test_letters_that_an_encoding_lacks_look_alike(tmp_path: Path) -> None:
    """A table with a plus or minus in it, as at the end of a sweep."""
    (tmp_path / "prints.py").write_text(
        "import sys\nfrom suite import cli\n"
        "def main():\n    print('1.0 ± 0.5 ━╸│┌ ж')\n    return 0\nsys.exit(cli.run(main))\n"
    )
    code, said, errors = run_in_shell("PYTHONIOENCODING=ascii python prints.py", tmp_path)
    assert (code, said, errors) == (0, "1.0 +- 0.5 --|+ \\u0436\n", "")
