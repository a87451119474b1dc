"""Owners in odd places: late, when others have finished the trial or begun it again, and on hosts with odd names."""

import socket
from pathlib import Path
from typing import Any

import pytest
from support import trial_processes
from support.disks import list_names

from suite.config import Trial
from suite.launch import attempts, inline
from suite.launch.lease import Lease, TakenOver
from suite.records import DENSE, TICKET, Result, read_failure, write_failure
from suite.records.ledger import Ledger


@pytest.mark.parametrize("method", ["iterand", "weights"])
def test_one_that_hung_after_it_looked_for_a_result_touches_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    trial, folder, look = trial_processes.trial_of(method, epochs=1), tmp_path / "trial", inline.read_result
    before: list[Any] = []

    def look_and_hang(where: Path) -> Result | None:
        monkeypatch.setattr(inline, "read_result", look)
        found = look(where)
        inline.run(trial, folder, data_dir=None, take_over=True)
        before.append(trial_processes.records_of(folder))
        return found

    monkeypatch.setattr(inline, "read_result", look_and_hang)
    with pytest.raises(TakenOver):
        inline.run(trial, folder, data_dir=None)
    network = DENSE if method == "weights" else TICKET
    assert list_names(folder) == sorted(["metrics.jsonl", network, "result.json"])
    assert [trial_processes.records_of(folder)] == before


def test_one_that_hung_before_its_clean_up_leaves_a_new_attempt_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result was moved away meanwhile, and somebody runs the trial again."""
    complete, folder = attempts.complete, tmp_path / "trial"
    others: list[Lease] = []

    def hang(trial_folder: Path) -> None:
        monkeypatch.setattr(attempts, "complete", complete)
        complete(trial_folder)
        (folder / "result.json").unlink()
        others.append(Lease.acquire(folder, timeout=0))

    folder.mkdir()
    (folder / "result.json").touch()
    monkeypatch.setattr(attempts, "complete", hang)
    attempts.remove_attempts(folder)
    others[0].check_now()
    others[0].__exit__()


def test_the_failure_of_one_that_was_taken_over_does_not_count(tmp_path: Path) -> None:
    """It may come up where names are stale: the trial is run on, without --retry-failed."""
    trial, ledger = trial_processes.trial_of("edge_popup", epochs=1), Ledger(tmp_path)
    folder = ledger.folder(trial.trial_id)
    for number in (1, 2):
        Lease.acquire(folder, timeout=0).__exit__()
        write_failure(folder, trial.trial_id, ValueError("cannot be"), number)
        assert ledger.state(trial) == "failed"
    write_failure(folder, trial.trial_id, ValueError("cannot be"), 1)
    assert read_failure(folder) is None
    assert ledger.state(trial) == ledger.lookup({trial.trial_id: trial})[trial.trial_id].state == "unfinished"
    write_failure(folder, trial.trial_id, ValueError("of a job that ended before an attempt began"))
    assert ledger.state(trial) == "failed"
    inline.run(trial, folder, data_dir=None)
    assert ledger.state(trial) == "done"


@pytest.mark.parametrize("what", ["raises", "cannot write"])
def test_one_that_raises_after_it_was_taken_over_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    trial, folder = trial_processes.trial_of("edge_popup", epochs=1), tmp_path / "trial"
    monkeypatch.setattr(Lease, "_is_followed", lambda lease: False)  # as where names are stale
    others: list[Lease] = []

    def take_over_and_raise(trial: Trial, attempt: Path, **options: Any) -> Result:
        others.append(Lease.acquire(folder, take_over=True))
        if what == "cannot write":
            (attempt / "metrics.jsonl").write_text("")
        raise ValueError("cannot be")

    monkeypatch.setattr(inline, "train", take_over_and_raise)
    with pytest.raises(TakenOver):
        inline.run(trial, folder, data_dir=None)
    assert list_names(folder) == ["attempt-2"]
    others[0].__exit__()


def test_a_trial_runs_on_a_host_whose_name_is_no_utf_8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "n\udcff1")
    trial, ledger = trial_processes.trial_of("edge_popup", epochs=1), Ledger(tmp_path)
    with ledger.locked():
        result = inline.run(trial, ledger.folder(trial.trial_id), data_dir=None)
    assert result.host == result.attempts[0].host == "n\\xff1"
    assert ledger.result(trial) == result


def test_a_trial_that_fails_in_words_that_are_no_utf_8_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> Result:
        raise ValueError("caf\udce9")

    monkeypatch.setattr(inline, "train", fail)
    trial = trial_processes.trial_of("edge_popup", epochs=1)
    with pytest.raises(ValueError, match="caf"):
        inline.run(trial, tmp_path / "trial", data_dir=None)
    failure = read_failure(tmp_path / "trial")
    assert failure is not None
    assert failure.error == "ValueError: caf\\xe9"
