"""The files of one trial and their formats: the truth, which needs no server and can be copied.

``result.json`` (with config and provenance, written last), ``metrics.jsonl`` (a line an epoch),
``failure.json`` (in place of a result, where the trial raised), ``stopped.json`` (where a scheduler stopped it),
``log.txt`` (where there was something to say), and the trained network: ``network.ticket`` of a masked one,
``network.safetensors`` of one whose weights were trained.
While it runs, and where it was left unfinished, an ``attempt-N`` folder holds what it has so far. A finished one is
``published`` for a moment, while its files move up.
"""

import json
import math
import os
import re
import socket
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from suite.config import InputError
from suite.records.atomic import write_text_atomic
from suite.records.file_errors import TRANSIENT, retrying
from suite.records.plugin_source import PluginUse

Record = TypeVar("Record", bound=BaseModel)
EpochMetrics = dict[str, float | int]
TICKET, DENSE = "network.ticket", "network.safetensors"
RESULT, METRICS, FAILURE, STOPPED, LOG = "result.json", "metrics.jsonl", "failure.json", "stopped.json", "log.txt"
SMALL_TEST = 5000  # images: where intervals count images as a sample, too
_ATTEMPT = re.compile(r"attempt-(\d+)")
StoredForm = Literal[
    "ticket", "fp32", "bf16", "int8", "int8-coded", "int4", "sparse-fp32", "sparse-bf16", "sparse-int8"
]
_SAVED = re.compile(r"(?:attempt-|\.over-)(\d+)")  # also of one that another has followed


class Stored(BaseModel):
    """A form in which the trained network was kept or tried: its bytes, where they go, and how good it is."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    form: StoredForm
    bytes: int
    parts: dict[str, int] = {}  # bytes of header, mask and theta (of a dense one: weights), tensors
    metrics: dict[str, float | None] = {}  # evaluated in this form


class LayerMask(BaseModel):
    """How many of a masked layer's weights are kept."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    weights: int
    kept: int


class Attempt(BaseModel):
    """From which step on a trial ran on which devices: consecutive attempts on the same ones are one."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    epoch: int  # the first, and the first step: counted from 0
    step: int
    host: str  # of rank 0
    devices: list[str]  # of its ranks, each once


class Outcome(BaseModel):
    """What became of a trial. Accuracies are in [0, 1]; bytes are of live state on the device."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    trial_id: str
    status: Literal["done", "diverged"]
    config: dict[str, Any]  # every setting, resolved
    metrics: dict[str, float | None]  # of the last epoch, and of the test
    num_epochs: int
    num_updates: int
    params_total: int  # of the built model
    params_kept: int  # mask ones + biases + affine norms
    num_classes: int | None = None  # of the data set; None in older records
    masked_share: float | None = None  # of the weights, those under masks; None in dense trials and in older records
    layers: list[LayerMask] = []  # the masked layers, where they differ in the share that is kept
    kept_in_addition: int = 0  # weights beyond the share of ``scope: global``, one of each layer that would be empty
    test_correct: str = ""  # which test images were right, see ``correctness``; in older records, of small test sets
    stored: list[Stored] = []  # forms of the trained network; none in records from before there were any
    state_bytes_per_weight: float
    peak_memory_mb: float
    seconds: float
    started_at: float  # seconds since 1970, UTC
    data_id: str
    code_id: str
    git_commit: str | None
    versions: dict[str, str]
    host: str
    device: str  # of the last attempt
    attempts: list[Attempt] = []  # none in records from before there were any
    plugins: list[PluginUse] = []  # the plugins that the trial used

    @property
    def devices(self) -> list[str]:
        """All devices that the trial ran on, each once: equal bits are claimed for one alone."""
        return list(dict.fromkeys(device for attempt in self.attempts for device in attempt.devices)) or [self.device]


class Summary(Outcome):
    """A final record without what is large in it."""

    num_test_images: int  # whose predictions are kept
    record_bytes: int  # of the trial's files

    @classmethod
    def of(cls, result: "Result", record_bytes: int) -> "Summary":
        """The summary of a result."""
        settings = {name: getattr(result, name) for name in Outcome.model_fields}
        counted = {"num_test_images": len(result.test_predictions or []), "record_bytes": record_bytes}
        return cls.model_construct(**settings | counted)


class Result(Outcome):
    """What ``result.json`` holds."""

    test_predictions: list[int] | None  # one class id per image, in the order of the test split


class Failure(BaseModel):
    """What ``failure.json`` holds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    trial_id: str
    error: str
    traceback: str
    at: float
    attempt: int | None = None  # None: whoever followed the trial says so


class StoppedEarly(BaseModel):
    """What ``stopped.json`` holds: the scheduler that stopped a trial after so many epochs."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    scheduler: dict[str, Any]
    epochs: int


class Writer:
    """Writes the records of one attempt at a trial into ``folder``: those of an earlier one there make way.

    Args:
        folder: must exist: one that is gone was taken over by another attempt, and must not come back.
        lines: the epochs that the attempt goes on from.
    """

    def __init__(self, folder: Path, lines: Sequence[EpochMetrics] = ()) -> None:
        self.folder, self._text = folder, "".join(map(line_text, lines))
        # A new file even where it says the same: an old attempt may hold the old one open.
        self._write(METRICS, self._text)

    def epoch(self, line: EpochMetrics) -> None:
        """Append one epoch's line: at once readable, and whole.

        Raises:
            OSError: the disk is full, say; the file then ends with a part of the line, which readers leave out.
        """
        self._text += line_text(line)
        try:
            with (self.folder / METRICS).open("a") as file:
                file.write(line_text(line))
        except OSError as error:
            error.filename = error.filename or str(self.folder / METRICS)
            if error.errno not in TRANSIENT:
                raise
            self._write(METRICS, self._text)  # a part of the line may be there: all of it makes way

    def finish(self, result: Result) -> None:
        """Write the result: from here on the trial is final."""
        self._write(METRICS, self._text)  # not fsync, which after an error may call lost lines written
        self._write(RESULT, result.model_dump_json())

    def _write(self, name: str, text: str) -> None:
        retrying(lambda: write_text_atomic(self.folder / name, text), self.folder / name)


def write_failure(folder: Path, trial_id: str, error: BaseException, attempt: int | None = None) -> None:
    """Leave why a trial raised, in a folder that exists, beside the records it made until then."""
    trace = _writable("".join(traceback.format_exception(error)))
    text = _writable(f"{type(error).__name__}: {error}")
    failure = Failure(trial_id=trial_id, error=text, traceback=trace, at=time.time(), attempt=attempt)
    write_text_atomic(folder / FAILURE, failure.model_dump_json(indent=1))


def write_stopped(folder: Path, stopped: StoppedEarly) -> None:
    """Leave which scheduler stopped a trial, in its folder: the trial sees it, saves itself and leaves."""
    write_text_atomic(folder / STOPPED, stopped.model_dump_json())


def read_result(folder: Path) -> Result | None:
    """The result of a trial, or None where it has none.

    Raises:
        InputError: the file is garbled.
    """
    return _read(folder / RESULT, Result)


def read_result_and_state(folder: Path) -> tuple[Result, os.stat_result] | None:
    """``read_result``, with the state that the very file was in before it was read."""
    path = folder / RESULT

    def read() -> tuple[bytes, os.stat_result]:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            return file.read(), state

    try:
        content, state = retrying(read, path)
        return Result.model_validate_json(content), state
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValidationError:
        result = read_result(folder)  # says what is wrong, unless it was replaced this moment
        return None if result is None else (result, state)


def read_stopped(folder: Path) -> StoppedEarly | None:
    """Which scheduler stopped a trial, or None where none did."""
    return _read(folder / STOPPED, StoppedEarly)


def read_failure(folder: Path) -> Failure | None:
    """Why a trial raised, or None where it did not; an attempt that another one has followed does not count."""
    failure = _read(folder / FAILURE, Failure)
    newest = newest_attempt(folder) if failure and failure.attempt is not None else None
    if failure is None or newest is None or failure.attempt is None:
        return failure
    return failure if failure.attempt >= attempt_number(newest) else None


def has_failed(folder: Path) -> bool:
    """A trial without a result has raised: ``failure.json`` says why, if it can be read."""
    try:
        return read_failure(folder) is not None
    except InputError:
        return True


def read_metrics(folder: Path) -> list[dict[str, float | None]]:
    """The epochs so far, of the newest attempt while there is no result; a last line cut short by a crash is left out.

    Raises:
        InputError: a line is garbled.
    """
    path = folder / METRICS
    if not (folder / RESULT).exists() and (saved := saved_in(folder)):
        path = next((each / METRICS for each in saved if (each / METRICS).exists()), saved[0] / METRICS)
    try:
        text = retrying(lambda: path.read_text(encoding="utf-8", errors="replace"), path)
    except (FileNotFoundError, NotADirectoryError):
        return []
    try:
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: is garbled ({error}): move its folder away, and the trial runs again") from None


def last_log_line(folder: Path) -> str | None:
    """The last line of a trial's log, without its time."""
    try:
        lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return lines[-1].partition(" ")[2].partition(" ")[2] if lines else None


def newest_attempt(folder: Path) -> Path | None:
    """The folder of the attempt that runs, or ran last; None where there is none."""
    return max(filter(is_attempt, listed(folder)), key=attempt_number, default=None)


def is_attempt(path: Path) -> bool:
    """A path is named like the folder of an attempt."""
    return _ATTEMPT.fullmatch(path.name) is not None


def attempt_number(attempt: Path) -> int:
    """The N of ``attempt-N``."""
    return int(attempt.name.rpartition("-")[2])


def newest_checkpoint(folder: Path) -> str:
    """The name of a trial's newest checkpoint, "" where it has none; names of later ones compare as greater."""
    found = (path.name for each in saved_in(folder) for path in listed(each) if is_checkpoint(path))
    return max(found, default="")


def saved_in(folder: Path) -> list[Path]:
    """The folders of what attempts have saved, the newest first: one that begins moves it out of those before it."""
    found = [path for path in listed(folder) if _SAVED.match(path.name)]
    return sorted(found, key=lambda path: (int(_SAVED.match(path.name)[1]), is_attempt(path)), reverse=True)  # type: ignore[index]


def is_checkpoint(path: Path) -> bool:
    """A path is named like a checkpoint."""
    return path.match("checkpoint-*.pt")


def listed(folder: Path) -> list[Path]:
    """What a folder holds: nothing where there is none."""
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def host_name() -> str:
    """The name of this machine, in characters that every file can hold."""
    return _writable(socket.gethostname())


def _writable(text: str) -> str:
    """Text as UTF-8 can hold it: the system's names may be in another encoding."""
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")


def line_text(line: EpochMetrics) -> str:
    """One epoch as it stands in ``metrics.jsonl``."""
    return json.dumps(non_finite_to_none(line)) + "\n"


def non_finite_to_none(numbers: Mapping[str, float | int]) -> dict[str, float | None]:
    """Numbers as JSON can say them: it has no NaN."""
    return {key: value if math.isfinite(value) else None for key, value in numbers.items()}


def _read(path: Path, kind: type[Record]) -> Record | None:
    try:
        return kind.model_validate_json(retrying(lambda: path.read_text(encoding="utf-8"), path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValidationError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"{path}: is garbled ({first}): move it away, and the trial runs again") from None
