"""Running what is missing under Ray Tune; the only importer of ray.

Tune decides when a trial starts. Whether it is done, the ledger says; Tune's own files are thrown away.
"""

import atexit
import contextlib
import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from suite import environment, launch, scratch, startup
from suite.config import InputError, Trial, plugin_files
from suite.launch import lease
from suite.launch.sweep_job import RAY_ADDRESS
from suite.records import StoppedEarly, source_code, write_stopped
from suite.records.ledger import Ledger
from suite.slurm.profile import Profile
from suite.slurm.site import Site
from suite.slurm.watch import QueuePoller, QueueSnapshot
from suite.sweep import early_stop, ray_cluster, ray_monitor, worker
from suite.sweep.run_state import Display, RunState
from suite.sweep.rungs import RungRecords

_TOKEN = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH")
_MOST_EPOCHS = 10**9  # that a scheduler lets a trial have: the trial knows itself when it is done
_CPUS_TO_FOLLOW = 0.001  # that following a job takes: max_live_jobs is the limit


def run(
    trials: dict[str, Trial],
    ledger: Ledger,
    *,
    data_dir: Path | None,
    display: Display,
    launcher: str | None = None,
    profile: Profile | None = None,
    sweep: str = "",
    planned: Iterable[str] = (),
    meanwhile: Callable[[], object] = lambda: None,
    cpus: int | None = None,
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
        planned: all trials of the sweep, by trial_id: the scheduler compares with those that have run before.
        meanwhile: is called in a thread while Ray starts, for what can be done early.
        cpus: that trials here may use at once; None: all that this process may use.

    Raises:
        InputError: ray is not installed, a trial asks for more than there is, or the launcher cannot run it.
        RayStartError: it did not start.
        KeyboardInterrupt: Ctrl-C; trials that ran here have saved themselves and stopped, jobs of a cluster go on.
    """
    for trial in trials.values():
        launch.check(launcher, trial, profile)
    with _answering_ctrl_c(display), contextlib.ExitStack() as entered:
        display.phase("starting Ray")
        ray = _import_ray()
        threading.Thread(target=_early, args=(meanwhile,), daemon=True).start()
        folder = entered.enter_context(ray_cluster.started(ray, cpus))
        site = entered.enter_context(_site(sweep, profile, ledger, folder))
        display.phase("starting trials")
        if site is None:
            ray_cluster.check_resources(ray.cluster_resources(), trials)
        units = _units(trials, ledger, site)
        state = RunState(sweep or folder.name, [trial_ids for trial_ids, _ in units], display, folder / "stop")
        shared = {
            "root": str(ledger.root.absolute()),
            "data_dir": data_dir and str(data_dir.absolute()),
            "launcher": launcher,
            "stop": str(state.stop_file),
            "site": site and site.model_dump(mode="json"),
            "code_id": source_code.known_code_id(),
            "every_epoch": ledger.scheduler.name != "fifo",
        }
        files = [str(file) for file in source_code.freeze_plugin_files(folder)]  # edits wait for the next sweep
        offsets = worker.write_unit_specs(folder / "cells", units, trials, shared)
        asked = [_resources(trials[trial_ids[0]], site) for trial_ids, _ in units]
        configs = [
            {"unit": i, "file": str(folder / "cells"), "at": at, "resources": resources, "plugins": files}
            for i, (at, resources) in enumerate(zip(offsets, asked, strict=True))
        ]
        most = site.profile.max_live_jobs if site else None
        died = partial(_ray_died, display, state)
        with ray_monitor.exit_if_ray_dies(ray, state.stop_file, lambda: _any_runs(state, ledger), died):
            _fit(configs, _scheduler(state, trials, ledger, planned), state, folder, most)
        if state.interrupted:  # Tune takes Ctrl-C as "start no more" and returns
            raise KeyboardInterrupt


@contextlib.contextmanager
def _answering_ctrl_c(display: Display) -> Iterator[None]:
    """Ctrl-C says at once that all of it stops, however long Ray takes to end; the callback adds to that later."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def answer(signum: int, frame: Any) -> None:
        display.stopping(0)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, answer)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _ray_died(display: Display, state: RunState) -> int:
    return display.ray_died(asked=state.asked_to_stop)


def _early(meanwhile: Callable[[], object]) -> None:
    with startup.without_garbage_collection():
        source_code.known_code_id()
        meanwhile()


def _any_runs(state: RunState, ledger: Ledger) -> bool:
    return any(lease.is_running(ledger.folder(trial_id)) for trial_id in state.running)


def _fit(configs: list[dict[str, Any]], scheduler: Any, state: RunState, scratch: Path, most: int | None) -> None:
    tune = _import_tune()
    from ray.air._internal import usage
    from ray.tune.progress_reporter import TrialProgressCallback

    usage.tag_callbacks = lambda callbacks: False  # else it imports mlflow, to count callbacks for statistics of use
    callbacks = [_callback(TrialProgressCallback, state)]
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
        def __init__(self, configs: Sequence[dict[str, Any]]) -> None:
            super().__init__()
            self._coming = iter(configs)

        def __getstate__(self) -> dict[str, Any]:
            return {}  # Tune keeps a pickle of its search, which is never used: the ledger knows what is left

        def suggest(self, trial_id: str) -> Any:
            return next(self._coming, Searcher.FINISHED)

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            """Nothing depends on results."""

        def save(self, checkpoint_path: str) -> None:
            """The ledger knows what is done."""

        def restore(self, checkpoint_path: str) -> None:
            """As in save."""

    return InOrder(configs)


def _scheduler(state: RunState, trials: dict[str, Trial], ledger: Ledger, planned: Iterable[str] = ()) -> Any:
    """Tune's scheduler, with what earlier calls judged, and its decisions written into the folders of the trials."""
    settings = ledger.scheduler
    if settings.name == "fifo":
        return None
    from ray.tune.schedulers import AsyncHyperBandScheduler

    def stop(trial: Any, epochs: int) -> None:
        for trial_id in state.units[trial.config["unit"]]:
            if epochs < trials[trial_id].epochs:  # else its result is on its way
                write_stopped(ledger.folder(trial_id), StoppedEarly(scheduler=settings.model_dump(), epochs=epochs))

    records = RungRecords(ledger)
    scheduler = early_stop.with_recorded_stops(AsyncHyperBandScheduler)(
        stop,
        records.record,
        lambda trial: state.units[trial.config["unit"]][0],  # only sweeps without a scheduler pack trials
        time_attr=early_stop.EPOCHS,
        metric=early_stop.METRIC,
        mode="max",
        grace_period=settings.grace_epochs,
        reduction_factor=settings.reduction_factor,
        max_t=_MOST_EPOCHS,
        stop_last_trials=False,
    )
    for trial_id, rungs in records.read([*trials, *planned], to_run=trials).items():
        scheduler.restore_judged(trial_id, rungs)
    return scheduler


@contextlib.contextmanager
def _site(sweep: str, profile: Profile | None, ledger: Ledger, scratch: Path) -> Iterator[Site | None]:
    """What jobs of a cluster have in common, while the state of its queue is watched."""
    if profile is None:
        yield None
        return
    site = Site.prepare(sweep, profile, ledger.root, scratch)
    with QueuePoller(site.queue, profile.status_every_seconds):
        yield site


def _units(trials: dict[str, Trial], ledger: Ledger, site: Site | None) -> list[tuple[list[str], bool]]:
    """What is run as one: a trial, or a pack of them that shares a job (True)."""
    if site is None:
        return [([trial_id], False) for trial_id in trials]
    from suite.launch import packed

    return packed.units(list(trials), ledger, QueueSnapshot(site.queue).jobs(), site.profile.pack)


def _resources(trial: Trial, site: Site | None) -> dict[str, float]:
    return {"cpu": _CPUS_TO_FOLLOW} if site else {"cpu": trial.num_cpus, "gpu": trial.resources.gpus}


def _trainable(config: dict[str, Any]) -> None:
    """Runs in a worker process, which takes one unit after the other."""
    from ray import tune

    plugin_files.use([Path(file) for file in config["plugins"]])
    worker.run(worker.read_unit_spec(Path(config["file"]), config["at"]), tune.report)


def _callback(base: type, state: RunState) -> Any:
    """Tune's events, passed on to ``state``, in the place of Tune's own display.

    Tune pickles it together with its class. So the class uses no state of this module, and the object holds only a
    ``RunState``, which pickles as its key.
    """

    class Callback(base):  # type: ignore[misc]
        def __init__(self, state: RunState) -> None:
            self._state = state

        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            self._state.record("started", trial.config["unit"])

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
            self._state.record("epoch", trial.config["unit"], result)

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            self._state.record("ended", trial.config["unit"])

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            self._state.record("ended", trial.config["unit"])

        def setup(self, **info: Any) -> None:  # once Tune has its own answer to Ctrl-C
            if threading.current_thread() is threading.main_thread():
                tunes = signal.getsignal(signal.SIGINT)
                ask, ctrl_c = self._state.request_stop, signal.SIGINT

                def stop(signum: int, frame: Any) -> None:
                    ask(lambda: tunes(signum, frame), hastens=signum == ctrl_c)  # type: ignore[operator, misc]

                signal.signal(signal.SIGINT, stop)

        def on_step_end(self, iteration: int, trials: Any, **info: Any) -> None:
            self._state.stop_if_saved()

    return Callback(state)


@cache
def _import_ray() -> Any:
    """Import ray, which reads its environment then; a fresh token keeps other users of the machine out."""
    of_our_job = {name: os.environ[name] for name in _TOKEN if {name, RAY_ADDRESS} <= os.environ.keys()}
    environment.clean("ray")
    os.environ.update(of_our_job)
    if RAY_ADDRESS not in os.environ:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # what Ray calls listening on loopback alone
        folder = scratch.make("suite-token-")
        atexit.register(scratch.remove, folder)
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token))
    try:
        with startup.without_garbage_collection():
            import ray
    except ImportError as error:
        raise InputError(f"{error}: install it with: pip install 'ray[tune]'") from None
    return ray


def _import_tune() -> Any:
    """Import it while Ray's servers start; it may be missing where ray is not."""
    try:
        with startup.without_garbage_collection():
            from ray import tune
    except ImportError as error:
        raise InputError(f"{error}: install it with: pip install 'ray[tune]'") from None
    return tune
