"""MLflow stores with nothing in them: MLflow takes seconds to make their tables."""

import tempfile
from functools import cache
from pathlib import Path

from suite.tracking.store import DATABASE


@cache
def _content() -> bytes:
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
