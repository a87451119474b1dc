"""Records -> MLflow; the only importer of mlflow. The store is a view: it can be rebuilt from the records.

One experiment a sweep, one run a trial in it, found again by its ``trial_id`` tag, and one run tagged
``report`` with the sweep file, tables and figures. Settings that vary in the sweep are parameters of a run, the others
its tags. Publishing twice adds nothing; where a trial ran anew since, its run is replaced.
"""

import logging
import re
import shlex
import sqlite3
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from suite import environment, records
from suite.config import InputError, Trial
from suite.config.method_looks import readable
from suite.config.sweep_file import Sweep
from suite.records import Summary
from suite.records.ledger import Ledger
from suite.tracking import store, view

log = logging.getLogger(__name__)
_BATCH = 1000  # metrics in one request: the server's limit
_FEW = 50  # trials that are looked up one by one: more are asked for in pages
_NOT_METRICS = ("epoch", "step", "timestamp")
_ONCE = ("params_total", "params_kept", "seconds", "peak_memory_mb", "state_bytes_per_weight")  # no curve
_DIGITS = 4  # of an accuracy: the page shows all it has


def publish(
    sweep: Sweep, ledger: Ledger, *, uri: str | None, report: Sequence[Path], known: set[str] | None = None
) -> tuple[int, str]:
    """Bring the final trials of a sweep, and the files of its report, to the store.

    Args:
        uri: of a tracking server or a database; None is the SQLite file in the results folder.
        report: files that become artifacts of the ``report`` run.
        known: trials that were published before; what is published now is added.

    Returns:
        How many runs were new, and the id of the experiment.

    Raises:
        InputError: mlflow is not installed, or the store cannot be reached; the records stay, publish again.
        SweepNotPublished: this sweep cannot be published as things are, others can.
    """
    mlflow = _import_mlflow()
    with _told(ledger.root, uri), store.writing(ledger.root, uri) as place:
        client = _open(mlflow, place, uri)
        with _told(ledger.root, uri, SweepNotPublished):
            return _publish(client, sweep, ledger, report, set() if known is None else known)


class SweepNotPublished(InputError):
    """One sweep cannot be published to a store; others can."""


@contextmanager
def _told(results: Path, uri: str | None, kind: type[InputError] = InputError) -> Iterator[None]:
    """What goes wrong with a store is raised as an ``InputError``: of ``kind``, unless it passes by itself."""
    from sqlalchemy.exc import SQLAlchemyError

    mlflow = _import_mlflow()
    try:
        yield
    except (mlflow.exceptions.MlflowException, SQLAlchemyError, sqlite3.Error, ImportError, OSError) as error:
        passes = _passes(error)
        shown = store.without_secret(uri or store.store_uri(results))
        publish = shlex.join(["python", "-m", "suite.tracking", "publish", str(results)])
        cure = f"{publish} brings them there {'when it answers again' if passes else 'once that is mended'}"
        reason = _reason(error, passes, shown)
        raise (InputError if passes else kind)(
            f"MLflow store {shown}: {reason}: all records are kept: {cure}"
        ) from None


def _passes(error: Exception) -> bool:
    """A server that does not answer, or a database that is locked: not what is wrong for good."""
    if isinstance(error, OSError):
        return not isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError)
    text = str(error)
    if re.search(r"error code 4(?!08|29)\d\d", text):  # no right to it, or no MLflow there
        return False
    return "locked" in text or "onnect" in text or "API request" in text or "timed out" in text.lower()


def _reason(error: Exception, passes: bool, shown: str) -> str:
    """What went wrong, in a line; what stays wrong is not cut, as its end says what mends it."""
    text = store.without_secret(" ".join(str(error).split()))
    if "database schema" in text or "locate revision" in text:
        upgrade = shlex.join([sys.executable, "-m", "mlflow", "db", "upgrade", shown])
        cure = f"use that version, or, for an older one, make a backup and run `{upgrade}`"
        text = f"its database is of another version of MLflow than {_import_mlflow().__version__}: {cure}: {text}"
    return text[:200] if passes else text.rstrip(".")


def prepare(results: Path, uri: str | None) -> None:
    """Do what publishing begins with: import MLflow, and make the store, unless it is on a server.

    Raises:
        InputError: as ``publish``.
    """
    mlflow = _import_mlflow()
    if uri is None:
        with _told(results, uri), store.writing(results, uri) as place:
            _open(mlflow, place, uri)


def _open(mlflow: Any, place: str, uri: str | None) -> Any:
    """A client of a store that answers."""
    if uri is None:
        _make(mlflow, store.file_of(place))
    client = mlflow.MlflowClient(place)
    client.search_experiments(max_results=1)
    return client


def _make(mlflow: Any, path: Path) -> None:
    """Make the store, whole or not at all: MLflow does so in many steps, and opens none that was killed in between."""
    if path.exists():
        return
    new = path.with_name(f".{path.name}.new")
    for left in path.parent.glob(f"{new.name}*"):  # a killed one's, with SQLite's journal
        left.unlink()
    mlflow.MlflowClient(store.sqlite_uri(new))
    new.replace(path)


def _publish(client: Any, sweep: Sweep, ledger: Ledger, report: Sequence[Path], known: set[str]) -> tuple[int, str]:
    experiment, varying = _experiment(client, sweep, ledger), view.varying(sweep)
    found = ledger.lookup({i: trial for i, trial in sweep.trials.items() if i not in known})
    final = {trial_id: each.summary for trial_id, each in found.items() if each.summary is not None}
    there = _runs(client, experiment, list(final))
    new = 0
    for trial_id, summary in final.items():
        run = there.get(trial_id)
        if run is None or run.info.status != "FINISHED" or run.info.start_time < _start_of(summary):
            if run is not None:
                client.delete_run(run.info.run_id)  # begun by a publisher that was killed, or of an earlier result
            lines = records.read_metrics(ledger.folder(trial_id))
            ticket = ledger.folder(trial_id) / records.TICKET
            _publish_trial(client, experiment, sweep.trials[trial_id], varying, summary, lines, ticket)
            new += 1
        else:
            _add_params(client, run, sweep.trials[trial_id], varying)
        known.add(trial_id)
    if report:
        _publish_report(client, experiment, sweep, report)
    return new, experiment


def _experiment(client: Any, sweep: Sweep, ledger: Ledger) -> str:
    """The id of the experiment of a sweep, which has its view."""
    found = client.get_experiment_by_name(sweep.name)
    if found is not None and found.lifecycle_stage == "deleted":
        raise SweepNotPublished(_deleted(client, sweep, found.experiment_id))
    tags = {view.TAG: view.state(sweep), **view.KIND}
    if found is not None:
        whole = sweep.label == sweep.name  # the view of a part shows the part's settings
        for key, value in tags.items():
            if key not in found.tags or (whole and key == view.TAG and found.tags[key] != value):
                client.set_experiment_tag(found.experiment_id, key, value)
        return str(found.experiment_id)
    local = str(client.tracking_uri).startswith("sqlite")
    return str(
        client.create_experiment(
            sweep.name,
            artifact_location=(ledger.root / "mlartifacts").absolute().as_uri() if local else None,
            tags={"mlflow.note.content": sweep.description, **tags},
        )
    )


def _deleted(client: Any, sweep: Sweep, experiment: str) -> str:
    shown = store.without_secret(str(client.tracking_uri))
    command = shlex.join([sys.executable, "-m", "mlflow", "experiments", "restore", "--experiment-id", experiment])
    return (
        f"MLflow store {shown}: the experiment {sweep.name} was deleted there, so the sweep {sweep.label} is not "
        f"published: `{store.URI_VARIABLE}={shlex.quote(shown)} {command}` restores it; or give the sweep another name"
    )


def _runs(client: Any, experiment: str, trial_ids: list[str]) -> dict[str, Any]:
    """The runs there are of some trials, by trial_id; where two publishers made two, the second one goes."""
    several = len(trial_ids) > _FEW
    asked = ["tags.trial_id != ''"] if several else [f"tags.trial_id = '{trial_id}'" for trial_id in trial_ids]
    runs: dict[str, Any] = {}
    for run in (run for text in asked for run in _found(client, experiment, text)):
        trial_id = run.data.tags["trial_id"]
        kept = runs.setdefault(trial_id, run)
        if kept is not run:
            whole, other = sorted((kept, run), key=lambda each: each.info.status != "FINISHED")
            client.delete_run(other.info.run_id)
            runs[trial_id] = whole
    return runs


def _found(client: Any, experiment: str, text: str) -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page = client.search_runs([experiment], text, max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _publish_trial(
    client: Any,
    experiment: str,
    trial: Trial,
    varying: set[str],
    summary: Summary,
    lines: list[dict[str, float | None]],
    ticket: Path,
) -> None:
    from mlflow.entities import Metric

    start, end = _start_of(summary), int((summary.started_at + summary.seconds) * 1000)
    what = f"{readable(trial.method.name)}, {trial.model.name} x{trial.model.width_mult:g}, seed {trial.seed}"
    name = f"{what}, {trial.trial_id}"
    constant = {key: value for key, value in view.settings_of(trial).items() if key not in varying}
    tags = constant | _tags(trial, summary)
    run = client.create_run(experiment, start_time=start, tags=tags, run_name=name).info.run_id
    params = _params(trial, varying)
    points = [
        Metric(key, _short(key, value), int(float(line["timestamp"] or 0) * 1000), int(line["step"] or 0))
        for line in lines
        for key, value in line.items()
        if value is not None and key not in _NOT_METRICS
    ]
    once = {key: getattr(summary, key) for key in _ONCE}
    once |= {key: value for key, value in summary.metrics.items() if key.startswith("test/") and value is not None}
    once |= {f"stored_bytes/{stored.form}": stored.bytes for stored in summary.stored}
    points += [Metric(key, _short(key, float(value)), end, summary.num_updates) for key, value in once.items()]
    for first in range(0, max(len(points), 1), _BATCH):
        client.log_batch(run, metrics=points[first : first + _BATCH], params=params if first == 0 else [])
    if ticket.exists():  # dense networks are large: they stay beside their records
        _upload(client, run, ticket)
    client.set_terminated(run, "FINISHED", end)


def _params(trial: Trial, keys: Collection[str]) -> list[Any]:
    """Those of its settings that a trial has among ``keys``."""
    from mlflow.entities import Param

    return [Param(key, value) for key, value in view.settings_of(trial).items() if key in keys]


def _add_params(client: Any, run: Any, trial: Trial, varying: set[str]) -> None:
    """Give a run, published before, the settings that vary since: MLflow takes no parameter back, so its tags stay."""
    if missing := _params(trial, varying - run.data.params.keys()):
        client.log_batch(run.info.run_id, params=missing)


def _short(key: str, value: float) -> float:
    """A value as the page can show it whole."""
    return round(value, _DIGITS) if key.partition("/")[2].startswith("top") else value


def _start_of(summary: Summary) -> int:
    """When a trial began, in ms since 1970: what tells its run from that of an earlier result."""
    return int(summary.started_at * 1000)


def _upload(client: Any, run: str, ticket: Path) -> None:
    """A ticket that cannot be brought there keeps nothing else back."""
    try:
        client.log_artifact(run, str(ticket))
    except (_import_mlflow().exceptions.MlflowException, OSError) as error:
        reason = store.without_secret(" ".join(str(error).split()))[:200]
        log.warning("%s: stays beside its record alone: %s", ticket, reason)


def _tags(trial: Trial, summary: Summary) -> dict[str, str]:
    """What runs are found and grouped by."""
    return {
        "trial_id": summary.trial_id,
        "method": trial.method.name,
        "model": trial.model.name,
        "width_mult": f"{trial.model.width_mult:g}",
        "dataset": trial.dataset.name,
        "seed": str(trial.seed),
        "status": summary.status,
        "git_commit": summary.git_commit or "unknown",
        "data_id": summary.data_id,
        "code_id": summary.code_id,
        "device": summary.device,
    }


def _publish_report(client: Any, experiment: str, sweep: Sweep, files: Sequence[Path]) -> None:
    name = "report" if sweep.label == sweep.name else f"report {sweep.label.removeprefix(sweep.name).strip('-')}"
    found = [run for run in _found(client, experiment, "tags.report != ''") if run.data.tags["report"] == sweep.label]
    tags = {"report": sweep.label, "mlflow.note.content": sweep.description}
    run = found[0] if found else client.create_run(experiment, run_name=name, tags=tags)
    for file in files:
        client.log_artifact(run.info.run_id, str(file))
    client.set_terminated(run.info.run_id, "FINISHED")
    if sweep.label == sweep.name:
        _link_report(client, experiment, sweep, run.info.run_id)


def _link_report(client: Any, experiment: str, sweep: Sweep, run: str) -> None:
    """Name the report in the experiment's description, as its view hides the run; what a person wrote there stays."""
    note = client.get_experiment(experiment).tags.get("mlflow.note.content")
    if note == sweep.description:
        link = f"[Report: tables and figures](#/experiments/{experiment}/runs/{run}/artifacts)"
        client.set_experiment_tag(experiment, "mlflow.note.content", f"{note}\n\n{link}".strip())


def _import_mlflow() -> Any:
    environment.clean("mlflow")
    try:
        import mlflow
    except ImportError as error:
        raise InputError(f"{error}: install it with: pip install mlflow") from None
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return mlflow
