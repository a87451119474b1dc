"""The process that publishes beside a sweep: what it is asked for, and how it ends."""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from support.fake_results import write_result
from support.stores import write_empty_store
from support.sweep_processes import write_sweep
from support.trial_processes import alive, descendants, wait_for

from suite.config import InputError
from suite.config.sweep_file import Sweep, load_sweep
from suite.records.ledger import Ledger
from suite.sweep.__main__ import _keep_resolved
from suite.tracking import background, store

pytestmark = pytest.mark.filterwarnings("ignore:.*noload.*")  # MLflow's own use of SQLAlchemy


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A results folder with an empty store."""
    monkeypatch.delenv(store.URI_VARIABLE, raising=False)
    write_empty_store(tmp_path / "results" / store.DATABASE)
    return Ledger(tmp_path / "results")


@pytest.fixture
def sweep(ledger: Ledger) -> Sweep:
    """A sweep that is about to run."""
    found = load_sweep(write_sweep(ledger.root.parent / "tiny.yaml", seeds=(1,)))
    _keep_resolved(found, ledger)
    return found


def count(ledger: Ledger, query: str) -> int:
    database = f"file:{ledger.root / store.DATABASE}?mode=ro"
    with closing(sqlite3.connect(database, uri=True, timeout=20)) as connection:
        return int(connection.execute(f"select count(*) from {query}").fetchone()[0])


FINISHED = "runs join tags using (run_uuid) where tags.key = 'trial_id' and runs.status = 'FINISHED'"


def test_what_was_asked_for_is_published_once_whether_it_was_begun_early_or_not(sweep: Sweep, ledger: Ledger) -> None:
    table = ledger.root / "table.md"
    table.write_text("| 1 |")
    first, *others = sweep.trials.values()
    with background.publishing(sweep, ledger) as publisher:
        assert publisher
        write_result(ledger, first)
        publisher.begin()
        wait_for(lambda: count(ledger, FINISHED) == 1, 60)
        for trial in others:
            write_result(ledger, trial)
        assert publisher.publish([table]) == "1"
        assert count(ledger, FINISHED) == 3 and count(ledger, "runs") == 4  # the report is one, too
    assert list(ledger.root.glob("mlartifacts/**/table.md"))


def test_a_publisher_that_was_killed_gives_no_answer(sweep: Sweep, ledger: Ledger) -> None:
    others = set(descendants(os.getpid()))
    with background.publishing(sweep, ledger) as publisher:
        assert publisher
        (process,) = set(descendants(os.getpid())) - others
        os.kill(process, 9)
        wait_for(lambda: not alive(process), 20)
        publisher.begin()
        assert publisher.publish([]) is None


@pytest.mark.parametrize("begun", [False, True])
def test_a_store_that_cannot_be_reached_is_told_and_the_password_is_not(
    begun: bool, sweep: Sweep, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(store.URI_VARIABLE, "http://me:secret@127.0.0.1:9")
    with background.publishing(sweep, ledger) as publisher:
        assert publisher
        if begun:
            publisher.begin()
        with pytest.raises(InputError, match=r"all records are kept: python -m suite\.tracking publish") as told:
            publisher.publish([])
    assert "secret" not in str(told.value)


def test_it_ends_at_once_where_it_has_published_nothing_yet(sweep: Sweep, ledger: Ledger) -> None:
    others = set(descendants(os.getpid()))
    with background.publishing(sweep, ledger):
        (process,) = set(descendants(os.getpid())) - others
        begun = time.monotonic()
    assert not alive(process)
    assert time.monotonic() - begun < background._END_SECONDS / 2


def test_where_none_can_be_started_there_is_none(sweep: Sweep, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background.sys, "executable", "/no/python")
    with background.publishing(sweep, ledger) as publisher:
        assert publisher is None
