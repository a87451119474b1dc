"""Records -> MLflow; the only importer of mlflow. The store is a view: it can be rebuilt from the records.

One experiment a sweep, one run a trial in it, found again by its ``trial_id`` tag, and one run tagged
``report`` with the table and figure. Publishing twice adds nothing.
"""

import fcntl
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from suite import records
from suite.config import InputError, Trial, flatten
from suite.ledger import Ledger
from suite.sweepfile import Sweep

URI_VARIABLE = "MLFLOW_TRACKING_URI"  # MLflow's own
_BATCH = 1000  # metrics in one request: the server's limit
_NOT_METRICS = ("epoch", "step", "timestamp")
_ONCE = ("params_total", "params_kept", "seconds", "peak_memory_mb", "state_bytes_per_weight")  # no curve


def store_uri(results: Path) -> str:
    """The store used unless another is named: a SQLite file in the results folder."""
    return f"sqlite:///{(results / 'mlflow.db').absolute()}"


def publish(sweep: Sweep, ledger: Ledger, *, uri: str | None, report: list[Path]) -> int:
    """Bring the final trials of a sweep, and the files of its report, to the store.

    Args:
        uri: of a tracking server; None is the SQLite file in the results folder.
        report: files that become artifacts of the ``report`` run.

    Returns:
        How many runs were new.

    Raises:
        InputError: mlflow is not installed, or the store cannot be reached; the records stay, publish again.
    """
    mlflow = _import_mlflow()
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with _single_writer(ledger.root):
            return _publish(mlflow.MlflowClient(uri or store_uri(ledger.root)), sweep, ledger, report)
    except (mlflow.exceptions.MlflowException, SQLAlchemyError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"MLflow store {without_secret(uri or store_uri(ledger.root))}: {without_secret(reason)}: "
            "all records are kept; run the same sweep again to publish them"
        ) from None


def without_secret(text: str) -> str:
    """A text with the user and password of any URI in it left out."""
    return re.sub(r"//[^/\s]+@", "//***@", text)


def ui_command(ledger: Ledger, uri: str | None) -> str:
    """The line that opens MLflow's page on these results, on this machine only."""
    store = without_secret(uri or store_uri(ledger.root))
    return f"{sys.executable} -m mlflow ui --host 127.0.0.1 --port 5000 --backend-store-uri {store}"


def _publish(client: Any, sweep: Sweep, ledger: Ledger, report: list[Path]) -> int:
    experiment = _experiment(client, sweep, ledger)
    there = _runs_by_tag(client, experiment, "trial_id")
    new = 0
    for trial_id, trial in sweep.trials.items():
        result = ledger.result(trial)
        run = there.get(trial_id)
        if result is None or (run is not None and run.info.status == "FINISHED"):
            continue
        if run is not None:
            client.delete_run(run.info.run_id)  # begun by a publisher that was killed
        _publish_trial(client, experiment, trial, result, records.read_metrics(ledger.folder(trial_id)))
        new += 1
    _publish_report(client, experiment, sweep, report)
    return new


def _experiment(client: Any, sweep: Sweep, ledger: Ledger) -> str:
    found = client.get_experiment_by_name(sweep.name)
    if found is not None:
        return str(found.experiment_id)
    artifacts = (ledger.root / "mlartifacts").absolute().as_uri() if _is_local(client) else None
    return str(
        client.create_experiment(
            sweep.name, artifact_location=artifacts, tags={"mlflow.note.content": sweep.description}
        )
    )


def _is_local(client: Any) -> bool:
    return str(client.tracking_uri).startswith("sqlite:")


def _runs_by_tag(client: Any, experiment: str, tag: str) -> dict[str, Any]:
    runs: dict[str, Any] = {}
    token = None
    while True:
        page = client.search_runs([experiment], f"tags.{tag} != ''", max_results=1000, page_token=token)
        runs.update((run.data.tags[tag], run) for run in page)
        token = page.token
        if not token:
            return runs


def _publish_trial(
    client: Any, experiment: str, trial: Trial, result: records.Result, lines: list[dict[str, float | None]]
) -> None:
    from mlflow.entities import Metric, Param

    start, end = int(result.started_at * 1000), int((result.started_at + result.seconds) * 1000)
    tags = {
        "trial_id": result.trial_id,
        "method": trial.method.name,
        "git_commit": result.git_commit or "unknown",
        "status": result.status,
        "data_id": result.data_id,
        "code_id": result.code_id,
        "device": result.device,
    }
    name = f"{trial.method.name}-{trial.model.name}-w{trial.model.width_mult:g}-s{trial.seed}"
    run = client.create_run(experiment, start_time=start, tags=tags, run_name=name).info.run_id
    params = [Param(key, str(value)) for key, value in flatten(trial.model_dump(mode="json")).items()]
    points = [
        Metric(key, value, int(float(line["timestamp"] or 0) * 1000), int(line["step"] or 0))
        for line in lines
        for key, value in line.items()
        if value is not None and key not in _NOT_METRICS
    ]
    once = {key: getattr(result, key) for key in _ONCE}
    once |= {key: value for key, value in result.metrics.items() if key.startswith("test/") and value is not None}
    points += [Metric(key, float(value), end, result.num_updates) for key, value in once.items()]
    for first in range(0, max(len(points), 1), _BATCH):
        client.log_batch(run, metrics=points[first : first + _BATCH], params=params if first == 0 else [])
    client.set_terminated(run, "FINISHED", end)


def _publish_report(client: Any, experiment: str, sweep: Sweep, files: list[Path]) -> None:
    found = _runs_by_tag(client, experiment, "report").get("true")
    run = found or client.create_run(experiment, run_name="report", tags={"report": "true"})
    for file in [sweep.path, *files]:
        client.log_artifact(run.info.run_id, str(file))
    client.set_terminated(run.info.run_id, "FINISHED")


def _import_mlflow() -> Any:
    # An absent server would otherwise block one call for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        import mlflow
    except ImportError as error:
        raise InputError(f"{error}: install it with: pip install mlflow") from None
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return mlflow


@contextmanager
def _single_writer(results: Path) -> Iterator[None]:
    with (results / ".mlflow.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # waits: another sweep may be publishing
        yield
