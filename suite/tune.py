"""Running what is missing under Ray Tune; the only importer of ray.

Tune decides when a trial starts. Whether it is done, the ledger says; Tune's own files are thrown away.
"""

import atexit
import contextlib
import os
import secrets
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from suite import launch
from suite.config import InputError, Trial
from suite.ledger import Ledger
from suite.stopping import Stopped

_QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the new display prints a table whatever verbose says
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
}
_OBJECT_STORE_BYTES = 100 * 2**20  # nothing large passes through Ray
_REPORT_SECONDS = 0.5
_LOOK_SECONDS = 0.2  # between two looks whether the sweep stops
_SAVE_SECONDS = 60.0  # for trials to save themselves when it does


class Display(Protocol):
    """What is told how the trials go."""

    def started(self, trial_id: str) -> None:
        """A trial has begun."""

    def epoch(self, trial_id: str, line: dict[str, Any]) -> None:
        """A trial has reported an epoch."""

    def ended(self, trial_id: str) -> None:
        """A trial's attempt is over; how, the ledger says."""


def run(
    trials: dict[str, Trial],
    ledger: Ledger,
    *,
    data_dir: Path | None,
    display: Display,
    launcher: str | None = None,
) -> None:
    """Run ``trials`` on this machine, as many at once as its CPUs and GPUs allow; returns when none is left.

    A trial that raises or is killed does not stop the others: ask the ledger afterwards.

    Raises:
        InputError: ray is not installed, a trial asks for more than the machine has, or the launcher cannot run it.
        KeyboardInterrupt: Ctrl-C; running trials have saved themselves and stopped.
    """
    for trial in trials.values():
        launch.check(launcher, trial)
    ray = _import_ray()
    from ray import tune
    from ray.tune.progress_reporter import TrialProgressCallback

    _displays[:] = [display]
    _skipped.clear()
    _started.clear()
    _ended.clear()
    with _cluster(ray) as scratch:
        _check_resources(ray.cluster_resources(), trials)
        stop = scratch / "stop"
        rest = {"data_dir": data_dir and str(data_dir.absolute()), "launcher": launcher, "stop": str(stop)}
        cells = [{**_cell(trial_id, trial, ledger), **rest} for trial_id, trial in trials.items()]
        tune.Tuner(
            tune.with_resources(_trainable, _resources),
            param_space={"cell": tune.grid_search(cells)},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(
                storage_path=str(scratch), verbose=0, callbacks=[_callback(TrialProgressCallback, str(stop))]
            ),
        ).fit()
        if stop.exists() or not trials.keys() <= _ended:  # Tune takes Ctrl-C as "start no more" and returns
            raise KeyboardInterrupt


def _resources(config: dict[str, Any]) -> dict[str, float]:
    trial = Trial.model_validate(config["cell"]["trial"])
    return {"cpu": trial.num_cpus, "gpu": trial.resources.gpus}


def _cell(trial_id: str, trial: Trial, ledger: Ledger) -> dict[str, Any]:
    return {"trial": trial.model_dump(mode="json"), "folder": str(ledger.folder(trial_id).absolute())}


def _trainable(config: dict[str, Any]) -> None:
    """Runs in a worker process, which takes one trial after the other."""
    from ray import tune

    cell = config["cell"]
    trial, stop = Trial.model_validate(cell["trial"]), Path(cell["stop"])
    if stop.exists():
        return
    reported, looked = _Throttle(_REPORT_SECONDS), _Throttle(_LOOK_SECONDS)

    def report(line: dict[str, Any]) -> None:
        if reported.is_time():  # a report waits for the driver
            tune.report(line)

    def should_stop() -> bool:
        return looked.is_time() and stop.exists()

    with contextlib.suppress(Stopped):  # it is saved, and unfinished: the ledger says so
        launch.get(cell["launcher"], trial)(
            trial,
            Path(cell["folder"]),
            data_dir=cell["data_dir"] and Path(cell["data_dir"]),
            on_epoch=report,
            should_stop=should_stop,
        )


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


def _callback(base: type, stop: str) -> Any:
    """Tune's events, passed on, in the place of Tune's own display. Tune pickles it by value: so it holds little."""

    class Callback(base):  # type: ignore[misc]
        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            _tell("started", trial)

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
            _tell("epoch", trial, result)

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            _tell("ended", trial)

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            _tell("ended", trial)

        def setup(self, **info: Any) -> None:  # once Tune has its own answer to Ctrl-C
            if threading.current_thread() is threading.main_thread():
                _asked.clear()
                end_now = signal.getsignal(signal.SIGINT)
                signal.signal(signal.SIGINT, lambda *event: _ask(Path(stop), lambda: end_now(*event)))  # type: ignore

        def on_step_end(self, iteration: int, trials: Any, **info: Any) -> None:
            if _asked and (_started <= _ended or time.monotonic() > _asked[0].until):
                _asked.pop().end_now()

    return Callback()


@dataclass
class _Asked:
    """That the sweep was asked to end: it does when its running trials have saved themselves."""

    until: float
    end_now: Callable[[], Any]


def _ask(stop: Path, end_now: Callable[[], Any]) -> None:
    if stop.exists():  # a second Ctrl-C does not wait
        end_now()
        return
    stop.touch()
    _asked.append(_Asked(time.monotonic() + _SAVE_SECONDS, end_now))


_displays: list[Display] = []  # the one of the sweep that runs
_started: set[str] = set()  # its trials
_ended: set[str] = set()  # those of them whose attempt is over
_asked: list[_Asked] = []  # to end
_skipped: set[str] = set()  # trials that came up after that


def _tell(event: str, trial: Any, *told: Any) -> None:
    trial_id = Path(trial.config["cell"]["folder"]).name
    if _asked and event == "started":
        _skipped.add(trial_id)  # it will see that the sweep ends, and return
    if event != "epoch":
        {"started": _started, "ended": _ended}[event].add(trial_id)
    if trial_id not in _skipped:
        getattr(_displays[-1], event)(trial_id, *told)


@cache
def _import_ray() -> Any:
    """Import ray, which reads its environment then; a fresh token keeps other users of the machine out."""
    folder = Path(tempfile.mkdtemp(prefix="suite-token-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    os.environ.update(_QUIET, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token))
    try:
        import ray
        from ray import tune  # noqa: F401 - may be missing where ray is not
    except ImportError as error:
        raise InputError(f"{error}: install it with: pip install 'ray[tune]'") from None
    return ray


@contextlib.contextmanager
def _cluster(ray: Any) -> Iterator[Path]:
    """A Ray of our own, its files in a folder that is removed at the end."""
    scratch = Path(tempfile.mkdtemp(prefix="suite-ray-"))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(
            address="local",
            num_cpus=len(os.sched_getaffinity(0)),
            include_dashboard=False,
            log_to_driver=False,
            logging_level="CRITICAL",
            object_store_memory=_OBJECT_STORE_BYTES,
            _temp_dir=str(scratch / "ray"),  # Ray opens it to everybody: the folder above stays ours
        )
        if threading.current_thread() is threading.main_thread():  # Ray's own answer to TERM is a stack trace
            signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
        yield scratch
    finally:
        ray.shutdown()
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)
        shutil.rmtree(scratch, ignore_errors=True)


def _check_resources(there: dict[str, float], trials: dict[str, Trial]) -> None:
    for trial in trials.values():
        for kind, asked in (("CPU", trial.num_cpus), ("GPU", trial.resources.gpus)):
            if asked > there.get(kind, 0):
                raise InputError(
                    f"resources.{kind.lower()}s: {asked:g}: this machine has {there.get(kind, 0):g}; "
                    f"set --set resources.{kind.lower()}s={there.get(kind, 0):g} or run where there are more"
                )
