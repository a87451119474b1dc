"""A report that is up to date is not made again, and nothing is published twice; whatever changes, it is made anew."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.fake_results import write_result
from support.sweep_processes import ROOT, write_sweep

from analysis.reports import figures, tables
from suite import cli, records, tracking
from suite.config import InputError
from suite.config.sweep_file import Sweep, load_sweep
from suite.records import source_code
from suite.records.ledger import Ledger
from suite.sweep import __main__ as command
from suite.sweep import report_stamp
from suite.tracking.store import DATABASE, URI_VARIABLE

Said = pytest.CaptureFixture[str]
REPORT = Path("results/reports/tiny")
SERVER = "http://me:password@127.0.0.1:9"


class Calls:
    """The command, on trials that are all done: which parts of it were run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.reachable = True
        make = tables.make
        monkeypatch.setattr(tables, "make", lambda *about: (self.done.append("tables"), make(*about))[1])
        monkeypatch.setattr(figures, "make", self._draw)
        monkeypatch.setattr(tracking, "publish", self._publish)

    def _draw(self, sweep: Sweep, ledger: Ledger) -> list[Path]:
        self.done.append("figures")
        drawn = [cli.report_folder(sweep, ledger) / name for name in ("figure.png", "pareto.svg")]
        for path in drawn:
            path.write_text("drawn")
        return drawn

    def _publish(self, sweep: object, ledger: Ledger, *, uri: str | None, report: list[Path]) -> tuple[int, str]:
        self.done.append("published")
        assert all(path.exists() for path in report) and REPORT / "sweep.yaml" in report
        if not self.reachable:
            raise InputError("the store does not answer")
        (ledger.root / DATABASE).touch()
        return 0, "7"

    def __call__(self, *more: str) -> list[str]:
        self.done.clear()
        assert cli.run(lambda: command.main(["tiny.yaml", *more])) == 0
        return list(self.done)


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(URI_VARIABLE, raising=False)
    made = Ledger(Path("results"))
    for trial in load_sweep(write_sweep(Path("tiny.yaml"), epochs=1)).trials.values():
        write_result(made, trial)
    return made


@pytest.fixture
def call(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


ALL = ["tables", "figures", "published"]


def test_what_is_up_to_date_is_shown_and_not_made_again(call: Calls, capsys: Said) -> None:
    assert call() == ALL
    first = capsys.readouterr().out
    assert "| 0.0625 | weights" in " ".join(first.split()) and "MLflow: " in first
    assert call() == []
    line = "tiny: all 6 trials are final, and the report is up to date: figure: results/reports/tiny/figure.png\n"
    assert capsys.readouterr().out == line


def test_report_makes_it_anew(call: Calls, capsys: Said) -> None:
    assert call() == ALL
    assert call("--report") == ALL
    assert "MLflow: " in capsys.readouterr().out
    assert call() == []


def one(ledger: Ledger) -> Path:
    return next(path for path in sorted((ledger.root / "trials").iterdir()))


def result_anew(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    write_result(ledger, next(iter(load_sweep(Path("tiny.yaml")).trials.values())))


def metrics_anew(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    line = json.dumps({"epoch": 0, "step": 1, "timestamp": 1.0, "val/top1": 0.5})
    (one(ledger) / records.METRICS).write_text(f"{line}\n")


def figure_missing(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    (REPORT / "pareto.svg").unlink()


def table_edited(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (REPORT / "table.csv").read_text()
    before = (REPORT / "table.csv").stat()
    (REPORT / "table.csv").write_text(text[::-1])
    os.utime(REPORT / "table.csv", ns=(before.st_atime_ns, before.st_mtime_ns))  # as large and as old as before


def report_missing(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in REPORT.iterdir():
        path.unlink()


def other_description(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Path("tiny.yaml")
    file.write_text(file.read_text() + "description: another\n")


def other_code(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_code, "whole_id", lambda: "other")


def other_matplotlib(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_stamp, "_version", lambda package: "100" if package == "matplotlib" else "1")


def stamp_garbled(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    (ledger.root / "sweeps/tiny.made.json").write_bytes(b'{"made_from": 3')


@pytest.mark.parametrize(
    "change",
    [
        result_anew,
        metrics_anew,
        figure_missing,
        table_edited,
        report_missing,
        other_description,
        other_code,
        other_matplotlib,
        stamp_garbled,
    ],
)
def test_what_has_changed_makes_all_anew(
    change: Callable[[Ledger, pytest.MonkeyPatch], None],
    call: Calls,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert call() == ALL
    change(ledger, monkeypatch)
    assert call() == ALL
    assert call() == []
    assert (REPORT / "pareto.svg").exists()


def test_other_trials_make_it_anew(call: Calls, ledger: Ledger) -> None:
    assert call() == ALL
    for trial in load_sweep(write_sweep(Path("tiny.yaml"), epochs=1, seeds=(1, 2, 3))).trials.values():
        if trial.seed == 3:
            write_result(ledger, trial)
    assert call() == ALL


def test_a_trial_that_failed_meanwhile_makes_it_anew(call: Calls, ledger: Ledger) -> None:
    assert call() == ALL
    (one(ledger) / records.RESULT).unlink()
    records.write_failure(one(ledger), one(ledger).name, RuntimeError("oops"))
    assert cli.run(lambda: command.main(["tiny.yaml"])) == 1
    assert "failed" in (REPORT / "table.md").read_text()


def test_a_store_that_did_not_answer_is_asked_again(call: Calls, capsys: Said) -> None:
    call.reachable = False
    assert call() == ALL
    assert "the store does not answer" in capsys.readouterr().out
    assert call() == ["published"]
    call.reachable = True
    assert call() == ["published"]
    assert call() == []


def test_each_store_is_published_to_once_in_turn_and_no_password_is_kept(call: Calls, ledger: Ledger) -> None:
    assert call() == ALL
    assert call("--tracking-uri", SERVER) == ["published"]
    assert call("--tracking-uri", SERVER) == []
    assert "password" not in (ledger.root / "sweeps/tiny.made.json").read_text()
    assert call("--tracking-uri", f"sqlite:///{ledger.root.absolute()}/other.db") == ["published"]


def test_a_store_that_was_removed_or_replaced_is_published_to_again(call: Calls, ledger: Ledger) -> None:
    assert call() == ALL
    (ledger.root / DATABASE).unlink()
    assert call() == ["published"]
    (ledger.root / "copy").touch()
    (ledger.root / "copy").replace(ledger.root / DATABASE)
    assert call() == ["published"]
    assert call() == []


def test_a_full_disk_costs_time_alone(call: Calls, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*about: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report_stamp, "write_text_atomic", full)
    assert call() == ALL
    assert call() == ALL


def test_a_call_with_nothing_to_do_imports_nothing_large(call: Calls) -> None:
    assert call() == ALL
    code = (
        "import sys; from suite.sweep import __main__ as sweep; assert sweep.main(['tiny.yaml']) == 0; "
        "print([name for name in ('torch', 'ray', 'mlflow', 'pandas', 'matplotlib', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.endswith("[]\n"), done.stderr + done.stdout
    assert len(done.stdout.splitlines()) == 2 and "the report is up to date: figure: " in done.stdout
