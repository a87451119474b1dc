"""Running what is missing under Ray Tune; the only importer of ray.

Tune decides when a trial starts. Whether it is done, the ledger says; Tune's own files are thrown away.
"""

import atexit
import contextlib
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from suite import launch, scratch
from suite.config import InputError, Trial
from suite.launch import lease
from suite.launch.sweep_job import RAY_ADDRESS
from suite.records import StoppedEarly, write_stopped
from suite.records.ledger import Ledger
from suite.slurm.profile import Profile
from suite.slurm.site import Site
from suite.slurm.watch import Queue, Watch
from suite.sweep import early_stop, ray_monitor, worker

_QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the new display prints a table whatever verbose says
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": str(10**9),  # of Tune's own state: the ledger has what counts
    "TUNE_MAX_PENDING_TRIALS_PG": "16",  # with 1, Tune's choice here, a worker waits for its next trial
}
_OBJECT_STORE_BYTES = 100 * 2**20  # nothing large passes through Ray
_LONGEST_TMPDIR = 20  # Ray makes sockets 87 characters further down, and the path of one may have 107
_SAVE_SECONDS = 60.0  # for trials to save themselves when it does
_MOST_EPOCHS = 10**9  # that a scheduler lets a trial have: the trial knows itself when it is done
_CPUS_TO_FOLLOW = 0.001  # that following a job takes: max_live_jobs is the limit


class Display(Protocol):
    """What is told how the trials go."""

    def started(self, trial_id: str) -> None:
        """A trial has begun."""

    def epoch(self, trial_id: str, line: dict[str, Any]) -> None:
        """A trial has reported an epoch."""

    def ended(self, trial_id: str) -> None:
        """A trial's attempt is over; how, the ledger says."""

    def lost(self) -> None:
        """Ray is dead: the process ends after this."""


def run(
    trials: dict[str, Trial],
    ledger: Ledger,
    *,
    data_dir: Path | None,
    display: Display,
    launcher: str | None = None,
    profile: Profile | None = None,
    sweep: str = "",
) -> None:
    """Run ``trials``, as many at once as there are CPUs and GPUs here, or jobs the profile allows.

    A trial that raises or is killed does not stop the others: ask the ledger afterwards.

    Args:
        trials: by trial_id.
        ledger: where their records go; its scheduler may stop some early.
        data_dir: where data sets lie.
        display: is told how they go.
        launcher: see ``suite.launch``.
        profile: of the cluster, for the launcher ``slurm``.
        sweep: stands in the names of jobs.

    Raises:
        InputError: ray is not installed, a trial asks for more than there is, or the launcher cannot run it.
        NoRay: it did not start.
        KeyboardInterrupt: Ctrl-C; trials that ran here have saved themselves and stopped, jobs of a cluster go on.
    """
    for trial in trials.values():
        launch.check(launcher, trial, profile)
    ray = _import_ray()
    _displays[:] = [display]
    for seen in (_skipped, _started, _ended):
        seen.clear()
    with _cluster(ray) as folder, _site(sweep, profile, ledger, folder) as site:
        if site is None:
            _check_resources(ray.cluster_resources(), trials)
        stop = folder / "stop"
        rest = {
            "root": str(ledger.root.absolute()),
            "data_dir": data_dir and str(data_dir.absolute()),
            "launcher": launcher,
            "stop": str(stop),
            "site": site and site.model_dump(mode="json"),
            "every_epoch": ledger.scheduler.name != "fifo",
        }
        units = _units(trials, ledger, site)
        _units_now[:] = [trial_ids for trial_ids, _ in units]
        offsets = worker.write_cells(folder / "cells", units, trials, rest)
        asked = [_resources(trials[trial_ids[0]], site) for trial_ids, _ in units]
        configs = [
            {"unit": i, "file": str(folder / "cells"), "at": at, "resources": resources}
            for i, (at, resources) in enumerate(zip(offsets, asked, strict=True))
        ]
        most = site.profile.max_live_jobs if site else None
        with ray_monitor.over(ray, stop, lambda: _any_runs(ledger), display.lost):
            _fit(configs, _scheduler(trials, ledger), folder, stop, most)
        if stop.exists() or not trials.keys() <= _ended:  # Tune takes Ctrl-C as "start no more" and returns
            raise KeyboardInterrupt


def _any_runs(ledger: Ledger) -> bool:
    return any(lease.is_running(ledger.folder(trial_id)) for trial_id in _started - _ended)


def _fit(configs: list[dict[str, Any]], scheduler: Any, scratch: Path, stop: Path, most: int | None) -> None:
    from ray import tune
    from ray.tune.progress_reporter import TrialProgressCallback

    callbacks = [_callback(TrialProgressCallback, str(stop))]
    tune.Tuner(
        tune.with_resources(_trainable, lambda config: config["resources"]),
        tune_config=tune.TuneConfig(
            search_alg=_in_order(configs),
            num_samples=len(configs),
            reuse_actors=True,
            scheduler=scheduler,
            max_concurrent_trials=most,
        ),
        run_config=tune.RunConfig(storage_path=str(scratch), verbose=0, callbacks=callbacks),
    ).fit()


def _in_order(configs: list[dict[str, Any]]) -> Any:
    """What Tune runs. Not ``grid_search``, which copies the whole list for every trial that comes out of it."""
    from ray.tune.search import Searcher

    class InOrder(Searcher):  # type: ignore[misc]
        def suggest(self, trial_id: str) -> Any:
            return next(coming, Searcher.FINISHED)

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            """Nothing depends on results."""

        def save(self, checkpoint_path: str) -> None:
            """The ledger says what is done."""

        def restore(self, checkpoint_path: str) -> None:
            """As in save."""

    coming = iter(configs)
    return InOrder()


def _scheduler(trials: dict[str, Trial], ledger: Ledger) -> Any:
    """Tune's scheduler, with its decisions written into the folders of the trials."""
    settings = ledger.scheduler
    if settings.name == "fifo":
        return None
    from ray.tune.schedulers import AsyncHyperBandScheduler

    def stop(trial: Any, epochs: int) -> None:
        for trial_id in _units_now[trial.config["unit"]]:
            if epochs < trials[trial_id].epochs:  # else its result is on its way
                write_stopped(ledger.folder(trial_id), StoppedEarly(scheduler=settings.model_dump(), epochs=epochs))

    return early_stop.gently(AsyncHyperBandScheduler)(
        stop,
        time_attr=early_stop.EPOCHS,
        metric=early_stop.METRIC,
        mode="max",
        grace_period=settings.grace_epochs,
        reduction_factor=settings.reduction_factor,
        max_t=_MOST_EPOCHS,
        stop_last_trials=False,
    )


@contextlib.contextmanager
def _site(sweep: str, profile: Profile | None, ledger: Ledger, scratch: Path) -> Iterator[Site | None]:
    """What jobs of a cluster have in common, while the state of its queue is watched."""
    if profile is None:
        yield None
        return
    site = Site.prepare(sweep, profile, ledger.root, scratch)
    with Watch(site.queue, profile.status_every_seconds):
        yield site


def _units(trials: dict[str, Trial], ledger: Ledger, site: Site | None) -> list[tuple[list[str], bool]]:
    """What is run as one: a trial, or a pack of them that shares a job (True)."""
    if site is None:
        return [([trial_id], False) for trial_id in trials]
    from suite.launch import packed

    return packed.units(list(trials), ledger, Queue(site.queue).jobs(), site.profile.pack)


def _resources(trial: Trial, site: Site | None) -> dict[str, float]:
    return {"cpu": _CPUS_TO_FOLLOW} if site else {"cpu": trial.num_cpus, "gpu": trial.resources.gpus}


def _trainable(config: dict[str, Any]) -> None:
    """Runs in a worker process, which takes one unit after the other."""
    from ray import tune

    worker.run(worker.read_cell(Path(config["file"]), config["at"]), tune.report)


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
_units_now: list[list[str]] = []  # its units, as trial_ids
_started: set[str] = set()  # its trials
_ended: set[str] = set()  # those of them whose attempt is over
_asked: list[_Asked] = []  # to end
_skipped: set[str] = set()  # trials that came up after that


def _tell(event: str, trial: Any, *told: Any) -> None:
    trial_ids = _units_now[trial.config["unit"]]
    if event == "epoch" and (of_pack := told[0].get("of_trial")):
        trial_ids, event = [of_pack], "ended" if told[0].get("ended") else "epoch"
    for trial_id in trial_ids:
        _tell_of(event, trial_id, *told)


def _tell_of(event: str, trial_id: str, *told: Any) -> None:
    if _asked and event == "started":
        _skipped.add(trial_id)  # it will see that the sweep ends, and return
    if event != "epoch":
        seen = {"started": _started, "ended": _ended}[event]
        if trial_id in seen:
            return
        seen.add(trial_id)
        told = ()
    if trial_id not in _skipped:
        getattr(_displays[-1], event)(trial_id, *told)


@cache
def _import_ray() -> Any:
    """Import ray, which reads its environment then; a fresh token keeps other users of the machine out."""
    if RAY_ADDRESS not in os.environ:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # what Ray calls listening on loopback alone
        folder = scratch.make("suite-token-")
        atexit.register(scratch.remove, folder)
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token))
    os.environ.update(_QUIET)
    try:
        import ray
        from ray import tune  # noqa: F401 - may be missing where ray is not
    except ImportError as error:
        raise InputError(f"{error}: install it with: pip install 'ray[tune]'") from None
    return ray


@contextlib.contextmanager
def _cluster(ray: Any) -> Iterator[Path]:
    """A Ray of our own, its files in a folder that is removed at the end."""
    folder = scratch.make("suite-ray-", at_most=_LONGEST_TMPDIR)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        own = {
            "num_cpus": len(os.sched_getaffinity(0)),
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE_BYTES,
            "_temp_dir": str(folder / "ray"),  # Ray opens it to everybody: the folder above stays ours
        }
        there = os.environ.get(RAY_ADDRESS)  # of the job that we are in
        rest = {} if there else own
        try:
            ray.init(address=there or "local", log_to_driver=False, logging_level="CRITICAL", **rest)
        except Exception as error:  # of many kinds, as one of its servers dies
            raise ray_monitor.NoRay(" ".join(str(error).split())[:200]) from None
        if threading.current_thread() is threading.main_thread():  # Ray's own answer to TERM is a stack trace
            signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
        yield folder
    finally:
        ray.shutdown()
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)
        scratch.remove(folder)


def _check_resources(there: dict[str, float], trials: dict[str, Trial]) -> None:
    for trial in trials.values():
        for kind, asked in (("CPU", trial.num_cpus), ("GPU", trial.resources.gpus)):
            if asked > there.get(kind, 0):
                raise InputError(
                    f"resources.{kind.lower()}s: {asked:g}: this machine has {there.get(kind, 0):g}; "
                    f"set --set resources.{kind.lower()}s={there.get(kind, 0):g} or run where there are more"
                )
