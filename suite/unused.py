"""Records that no kept sweep asks for, and their bytes: ``python -m suite.status --unused``."""

import argparse
import os
import re
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from suite import cli, records
from suite.config import InputError
from suite.config.sweep_file import load_sweep
from suite.launch import attempts
from suite.records.ledger import Ledger
from suite.slurm.record import read_job
from suite.table_layout import Column

COLUMNS = (Column("trial_id"), Column("state", 1), Column("MB"), Column("last written", 2))
_TRIAL_ID = re.compile(r"[0-9a-f]{12}")
_DELETED = ".deleted-"  # begins the name of a folder that is being removed


_ABOUT_ONE_SWEEP = {"FILE.yaml": "file", "--only": "only", "--set": "set", "--data-dir": "data_dir"}
_ABOUT_ONE_SWEEP |= {"--failed": "failed", "--json": "json", "--follow": "follow"}


@dataclass(frozen=True)
class UnusedRecord:
    """The folder of a trial that no kept plan asks for. ``held_by`` runs it, or may: then the folder stays."""

    trial_id: str
    folder: Path
    state: str
    bytes: int
    written: float  # seconds since 1970, UTC
    held_by: str | None

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table below ``COLUMNS``."""
        day = time.strftime("%Y-%m-%d", time.localtime(self.written))
        return self.trial_id, self.state, megabytes(self.bytes), day


def add_flags(parser: cli.CommandParser) -> None:
    """Add what ``suite.status`` takes for this."""
    space = parser.add_argument_group("space on the disk, without FILE.yaml")
    space.add_argument("--unused", action="store_true", help="list the records that no sweep in --results asks for")
    space.add_argument("--delete", action="store_true", help="with --unused: delete them, except those that run")


def check_flags(parser: cli.CommandParser, args: argparse.Namespace) -> None:
    """End the command where the flags do not belong together, or no sweep is named."""
    about_one = [flag for flag, name in _ABOUT_ONE_SWEEP.items() if getattr(args, name)]
    if args.delete and not args.unused:
        parser.error("--delete: belongs to --unused")
    if args.file is None and not args.unused:
        parser.error("the following arguments are required: FILE.yaml, or --unused")
    if args.unused and about_one:
        parser.error(f"--unused: looks at the records of all sweeps: leave out {', '.join(about_one)}")


def show(results: Path, *, delete: bool) -> int:
    """Print the records that no kept plan asks for; remove them with ``delete``. Returns the exit status.

    Raises:
        InputError: a plan cannot be read; with ``delete``, a sweep runs in the folder.
    """
    cli.check_results(results)
    ledger = Ledger(results)
    if not delete:
        _tell(find(ledger), ledger)
        return 0
    with ledger.locked():  # no sweep of this machine runs, or keeps a plan, meanwhile
        found = find(ledger)
        _tell(found, ledger)
        removed = remove(found, ledger)
    print(f"deleted: {len(removed)} records, {megabytes(sum(each.bytes for each in removed))} MB")
    return 0


def find(ledger: Ledger) -> list[UnusedRecord]:
    """The records of a results folder that none of its kept plans asks for, sorted by trial_id.

    Raises:
        InputError: a plan cannot be read, so that nobody knows which trials it asks for.
    """
    there = (path.name for path in records.listed(ledger.root / "trials") if _TRIAL_ID.fullmatch(path.name))
    return [_look_at(ledger.folder(trial_id)) for trial_id in sorted(set(there) - planned(ledger.root))]


def planned(root: Path) -> set[str]:
    """The trial_ids that the kept plans of a results folder ask for.

    Raises:
        InputError: as ``find``.
    """
    asked: set[str] = set()
    problems: list[str] = []
    for path in sorted((root / "sweeps").glob("*.yaml")):
        try:
            asked |= load_sweep(path, is_plan=True).trials.keys()
        except InputError as error:
            problems.append(f"{error.problems[0]}: so it is unknown which trials it asks for: move this plan away")
    if problems:
        raise InputError(*problems)
    return asked


def remove(found: Sequence[UnusedRecord], ledger: Ledger) -> list[UnusedRecord]:
    """Remove the folders of records, except those that somebody runs; returns what is gone."""
    for path in records.listed(ledger.root / "trials"):
        if path.name.startswith(_DELETED):  # of a call that was killed
            shutil.rmtree(path)
    return [each for each in found if each.held_by is None and _remove(each.folder)]


def megabytes(size: int) -> str:
    """Bytes in MB (10^6)."""
    return f"{size / 1e6:,.1f}"


def _remove(folder: Path) -> bool:
    away = folder.with_name(f"{_DELETED}{folder.name}")
    folder.rename(away)
    if held_by(away):  # since we looked
        away.rename(folder)
        return False
    shutil.rmtree(away)
    return True


def _look_at(folder: Path) -> UnusedRecord:
    sizes, times = [0], [0.0]
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # moved away this moment
                state = os.lstat(os.path.join(place, name))
                sizes.append(state.st_size)
                times.append(state.st_mtime)
    held = held_by(folder)
    return UnusedRecord(folder.name, folder, "in use" if held else _state(folder), sum(sizes), max(times), held)


def _state(folder: Path) -> str:
    if (folder / records.RESULT).exists():
        return "final"
    return "failed" if records.has_failed(folder) else "unfinished"


def held_by(folder: Path) -> str | None:
    """Who runs a trial or may run it: an attempt whose owner has not left, or a job; None where nobody does."""
    attempt = records.newest_attempt(folder)
    owner = attempts.owner_of(attempt) if attempt else None
    if attempt and (owner is None or owner.state() != "gone"):
        return f"process {owner.pid} on {owner.host}" if owner else "an attempt that does not name its process"
    job = None if (folder / records.RESULT).exists() else read_job(folder)
    return f"job {job.id or job.name}" if job and not job.cancelled else None


def _tell(found: Sequence[UnusedRecord], ledger: Ledger) -> None:
    from suite import terminal  # rich: not before mistakes are reported

    if not found:
        print(f"{ledger.root}: the kept sweeps ask for every record")
        return
    terminal.show_table("records that no kept sweep asks for", COLUMNS, [each.cells for each in found])
    for each in found:
        if each.held_by:
            print(f"{each.folder}: {each.held_by} runs it, or may: it is not deleted")
    free = [each for each in found if not each.held_by]
    print(f"{len(free)} unused records in {ledger.root}, {megabytes(sum(each.bytes for each in free))} MB")
