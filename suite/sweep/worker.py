"""What a worker process of Ray does: it takes one unit of work after the other, a trial or a pack of trials."""

import contextlib
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from suite import launch, output, startup
from suite.config import InputError, Trial
from suite.records import STOPPED, read_metrics, source_code
from suite.records.ledger import Ledger
from suite.slurm.site import Site
from suite.stopping import Stopped
from suite.sweep import early_stop

UnitSpec = dict[str, Any]  # a unit, in plain values
Report = Callable[[dict[str, Any]], object]
_REPORT_SECONDS = 0.5
_LOOK_SECONDS = 0.2  # between two looks whether to stop


def write_unit_specs(
    path: Path, units: Iterable[tuple[list[str], bool]], trials: dict[str, Trial], rest: UnitSpec
) -> list[int]:
    """Write what workers need of each unit (its trials, and whether they are packed) into a file; where each begins.

    Tune is given the places alone: it keeps all it is given until the sweep ends.
    """
    places = []
    with path.open("wb") as file:
        for unit, packed in units:
            places.append(file.tell())
            settings = {trial_id: trials[trial_id].model_dump(mode="json") for trial_id in unit}
            file.write(json.dumps({"trials": settings, "packed": packed, **rest}).encode() + b"\n")
    return places


def read_unit_spec(path: Path, at: int) -> UnitSpec:
    """What stands at a place of the file."""
    with path.open("rb") as file:
        file.seek(at)
        cell: UnitSpec = json.loads(file.readline())
    return cell


@output.tolerant()
def run(cell: UnitSpec, report: Report) -> None:
    """Run the trials of a unit, or go on with them; ``report`` is given their epochs, and waits for the driver."""
    source_code.know_code_id(cell["code_id"])
    if not Path(cell["stop"]).exists():
        trials = {trial_id: Trial.model_validate(settings) for trial_id, settings in cell["trials"].items()}
        with contextlib.suppress(Stopped):  # it is saved, and unfinished: the ledger says so
            (_run_pack if cell["packed"] else _run_one)(cell, trials, report)


def _run_one(cell: UnitSpec, trials: dict[str, Trial], report: Report) -> None:
    [(trial_id, trial)] = trials.items()
    folder, stop = Ledger(Path(cell["root"])).folder(trial_id), Path(cell["stop"])
    (folder / STOPPED).unlink(missing_ok=True)
    stopped: list[bool] = []  # by the scheduler, as seen after each report
    reported, looked = _Throttle(_REPORT_SECONDS), _Throttle(_LOOK_SECONDS)

    def on_epoch(line: dict[str, Any]) -> None:
        if cell["every_epoch"] or reported.is_time():  # a report waits for the driver
            report(early_stop.reported(line))
            stopped[:] = [(folder / STOPPED).exists()]

    def should_stop() -> bool:
        return any(stopped) or (looked.is_time() and (stop.exists() or (folder / STOPPED).exists()))

    if cell["every_epoch"]:  # what nobody judged before the last driver died; a rung that was judged stays as it was
        with contextlib.suppress(InputError):  # garbled: its checkpoint has them
            for line in read_metrics(folder):
                on_epoch(line)
    with startup.without_garbage_collection():  # torch, the first time
        launcher = launch.get(cell["launcher"], trial, cell["site"] and Site.model_validate(cell["site"]))
    launcher(trial, folder, data_dir=_data_dir(cell), on_epoch=on_epoch, should_stop=should_stop)
    (folder / STOPPED).unlink(missing_ok=True)  # it was done before it could stop


def _run_pack(cell: UnitSpec, trials: dict[str, Trial], report: Report) -> None:
    from suite.launch import packed

    packed.run(
        trials,
        Ledger(Path(cell["root"])),
        data_dir=_data_dir(cell),
        on_event=lambda trial_id, line: report({"of_trial": trial_id, **line}),
        should_stop=Path(cell["stop"]).exists,
        site=Site.model_validate(cell["site"]),
    )


def _data_dir(cell: UnitSpec) -> Path | None:
    return Path(cell["data_dir"]) if cell["data_dir"] else None


class _Throttle:
    """Says yes once in a while."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._last = seconds, time.monotonic()

    def is_time(self) -> bool:
        """Enough time has passed since the last yes."""
        now = time.monotonic()
        if now - self._last < self._seconds:
            return False
        self._last = now
        return True
