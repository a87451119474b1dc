"""Part 5: the default study, one trial after the other in this process; its records come back in one file."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from unittest import mock

from benchmarks.gpu.machine import check_kernels
from benchmarks.gpu.records import RecordFile
from benchmarks.gpu.sheet import Sheet
from suite.config import Trial
from suite.config.sweep_file import load_sweep
from suite.data import sources
from suite.launch import inline

ROOT = Path(__file__).parents[2]
SWEEP = ROOT / "sweeps" / "width_vs_acc.yaml"
_SMALL = {"smoke": ("epochs=1",), "rehearsal": ("epochs=1", "dataset.train_images=64")}
_SLACK = 1.3  # a trial may take so much longer than the longest before it


def run(sheet: Sheet) -> None:
    """Trials by seed, so that a run which ends early leaves whole seeds."""
    trials = list(planned(sheet))
    with ExitStack() as stack:
        if sheet.options.digits:
            stack.enter_context(mock.patch.object(sources, "_digits_file", return_value=sheet.options.digits))
        _check_digits(sheet)
        sheet.measure("Triton's kernels", lambda: check_kernels(sheet))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        records = stack.enter_context(closing(RecordFile(sheet.options.out)))
        longest = 1.0
        for number, trial in enumerate(trials):
            if sheet.left() < _SLACK * longest:
                sheet.not_measured(f"{len(trials) - number} of {len(trials)} trials", "no time is left")
                return
            begin = time.monotonic()
            sheet.measure(_name(trial), lambda trial=trial: _train(sheet, trial, folder / trial.trial_id, records))
            longest = max(longest, time.monotonic() - begin)


def planned(sheet: Sheet) -> Iterator[Trial]:
    """The trials of the study, seed by seed; one a method where it is only tried."""
    options = sheet.options
    changes = _SMALL["rehearsal"] if options.rehearsal else _SMALL["smoke"] if options.smoke else ()
    gpus = f"resources.gpus={0 if options.rehearsal else 1}"
    trials = load_sweep(SWEEP, overrides=[*changes, gpus]).trials.values()
    if changes:
        yield from {trial.method.name: trial for trial in trials}.values()
        return
    yield from sorted(trials, key=lambda trial: trial.seed)


def _check_digits(sheet: Sheet) -> None:
    from analysis.gate import REFERENCE
    from analysis.reports import gate

    found, wanted = sources.data_id(sources.read("digits", Path())), gate.read(REFERENCE).data_id
    where = str(sheet.options.digits or "scikit-learn")
    if found != wanted:
        sheet.failed("digits", f"{where}: has data_id {found}: must be {wanted}, that of the kept trials")
    sheet.note("digits", f"{where}: data_id {found}")


def _train(sheet: Sheet, trial: Trial, folder: Path, records: RecordFile) -> None:
    result = inline.run(trial, folder, data_dir=None)
    if not records.keep(trial.trial_id, folder):
        sheet.failed(_name(trial), "its records do not fit into the file")
    found = {key: result.metrics.get(key) for key in ("test/top1", "test/loss", "train/loss")}
    sheet.row("trial", {"trial": _name(trial), "status": result.status, **found, "seconds": result.seconds})


def _name(trial: Trial) -> str:
    return f"{trial.method.name} x{getattr(trial.model, 'width_mult', 1):g}, seed {trial.seed}"
