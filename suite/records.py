"""The files of one trial and their formats: the truth, which needs no server and can be copied.

``result.json`` (with config and provenance, written last), ``metrics.jsonl`` (a line an epoch),
``failure.json`` (in place of a result, where the trial raised).
"""

import json
import math
import os
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from suite.config import InputError

Record = TypeVar("Record", bound=BaseModel)
RESULT, METRICS, FAILURE = "result.json", "metrics.jsonl", "failure.json"


class Result(BaseModel):
    """What ``result.json`` holds. Accuracies are in [0, 1]; bytes are of live state on the device."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    trial_id: str
    status: Literal["done", "diverged"]
    config: dict[str, Any]  # every setting, resolved
    metrics: dict[str, float | None]  # of the last epoch, and of the test
    test_predictions: list[int] | None  # one class id per image, in the order of the test split
    num_epochs: int
    num_updates: int
    params_total: int  # of the built model
    params_kept: int  # mask ones + biases + affine norms
    state_bytes_per_weight: float
    peak_memory_mb: float
    seconds: float
    started_at: float  # seconds since 1970, UTC
    data_id: str
    code_id: str
    git_commit: str | None
    versions: dict[str, str]
    host: str
    device: str


class Failure(BaseModel):
    """What ``failure.json`` holds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    trial_id: str
    error: str
    traceback: str
    at: float


class Writer:
    """Writes the records of one attempt at a trial; an earlier attempt's records are removed first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for name in (METRICS, FAILURE):
            (folder / name).unlink(missing_ok=True)

    def epoch(self, line: Mapping[str, float | int]) -> None:
        """Append one epoch's line: at once readable, and whole."""
        text = json.dumps({key: _finite(value) for key, value in line.items()}) + "\n"
        with (self.folder / METRICS).open("a") as file:
            file.write(text)

    def finish(self, result: Result) -> None:
        """Publish the result: from here on the trial is final."""
        with (self.folder / METRICS).open("a") as file:
            os.fsync(file.fileno())
        write_whole(self.folder / RESULT, result.model_dump_json())


def write_failure(folder: Path, trial_id: str, error: BaseException) -> None:
    """Leave why a trial raised, beside the records it made until then."""
    trace = "".join(traceback.format_exception(error))
    failure = Failure(trial_id=trial_id, error=f"{type(error).__name__}: {error}", traceback=trace, at=time.time())
    write_whole(folder / FAILURE, failure.model_dump_json(indent=1))


def read_result(folder: Path) -> Result | None:
    """The result of a trial, or None where it has none.

    Raises:
        InputError: the file is garbled.
    """
    return _read(folder / RESULT, Result)


def read_failure(folder: Path) -> Failure | None:
    """Why a trial raised, or None where it did not."""
    return _read(folder / FAILURE, Failure)


def read_metrics(folder: Path) -> list[dict[str, float | None]]:
    """The epochs so far; a last line cut short by a crash is left out.

    Raises:
        InputError: a line is garbled.
    """
    path = folder / METRICS
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    except (FileNotFoundError, NotADirectoryError):
        return []
    try:
        return [json.loads(line) for line in lines if line.endswith("\n")]
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: is garbled ({error}): move its folder away, and the trial runs again") from None


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all: temporary name, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _finite(value: float | int) -> float | int | None:
    return value if math.isfinite(value) else None  # JSON has no NaN


def _read(path: Path, kind: type[Record]) -> Record | None:
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValidationError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"{path}: is garbled ({first}): move it away, and the trial runs again") from None
