"""MLflow stores with nothing in them: MLflow takes seconds to make their tables."""

import tempfile
from functools import cache
from importlib.metadata import version
from pathlib import Path

from suite.records.atomic import write_bytes_atomic
from suite.tracking.store import DATABASE

_CACHE = Path(__file__).parents[2] / ".pytest_cache"  # that all processes and later runs of tests share


@cache
def _content() -> bytes:
    kept = _CACHE / f"mlflow-{version('mlflow')}.db"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        write_bytes_atomic(kept, _new())
    return kept.read_bytes()


def _new() -> bytes:
    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / DATABASE
        mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
        return path.read_bytes()


def write_empty_store(path: Path) -> Path:
    """Write the SQLite file of an empty store, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_content())
    return path
