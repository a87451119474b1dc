"""Records in one file: what comes out is what went in."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from analysis import export
from suite import records
from suite.cli import run
from suite.config import InputError


def test_there_and_back(sweep: Any, fill: Any, tmp_path: Path) -> None:
    planned = sweep()
    ledger = fill(planned)
    one, *_ = planned.trials
    lines = '{"epoch": 0, "val/top1": 0.5}\n{"epoch": 1, "val/top1": null}\n'
    (ledger.folder(one) / records.METRICS).write_text(lines)
    content = export.pack(ledger, [*planned.trials, "never-ran"])
    assert content == export.pack(ledger, reversed(list(planned.trials)))
    (tmp_path / "kept.gz").write_bytes(content)
    other = export.unpack(tmp_path / "kept.gz", tmp_path / "other")
    for trial_id, trial in planned.trials.items():
        assert other.result(trial) == ledger.result(trial) is not None
        assert records.read_metrics(other.folder(trial_id)) == records.read_metrics(ledger.folder(trial_id))
    assert len(records.read_metrics(other.folder(one))) == 2
    assert export.pack(other, planned.trials) == content


def test_trials_without_a_result_are_left_out(sweep: Any, fill: Any, tmp_path: Path) -> None:
    planned = sweep()
    ledger = fill(planned, lambda trial: {} if trial.seed == 1 else None)
    (tmp_path / "kept.gz").write_bytes(export.pack(ledger, planned.trials))
    other = export.unpack(tmp_path / "kept.gz", tmp_path / "other")
    assert {trial.seed for trial in planned.trials.values() if other.result(trial)} == {1}


@pytest.mark.parametrize(
    "content", [b"", b"text", gzip.compress(b"text", mtime=0), gzip.compress(b"{}\n", mtime=0)[:-9], None]
)
def test_what_is_no_such_file(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "kept.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"kept\.gz: is no file of records"):
        export.unpack(tmp_path / "kept.gz", tmp_path / "other")


def test_the_command(sweep: Any, fill: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planned = sweep()
    ledger = fill(planned)
    out = tmp_path / "deep" / "kept.gz"
    flags = [str(planned.path), "--results", str(ledger.root), "--out", str(out)]
    assert run(lambda: export.main(flags)) == 0
    assert capsys.readouterr().out == f"written: {out}\n"
    assert out.read_bytes() == export.pack(ledger, planned.trials)
