"""Whole sweeps under fire: what is hit and when, how calls end, and what must be left of them."""

import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import mlflow
import yaml
from support import trial_processes
from support.sweep_processes import result_mtimes, start_sweep, write_sweep

from suite import records
from suite.config.sweep_file import load_sweep
from suite.launch import inline, local
from suite.tracking.store import store_uri

TARGETS = {  # how the command line of a process begins, or what stands in it
    "driver": "suite.sweep",
    "gcs_server": "gcs/gcs_server",
    "raylet": "raylet/raylet",
    "worker": "ray::ImplicitFunc",
    "child of a trial": "suite.train",
}
DEADLY = ("driver", "gcs_server", "raylet")  # without which a call ends
MOMENTS = ("starting", "running", "publishing", "tables")
ENDING = MOMENTS[2:]
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)
END_SECONDS = 90.0  # within which a call ends after a hit, if it does not go on
REST_SECONDS = 90.0  # within which the last process of a call that was hit is gone
Seen = dict[str, tuple[int, int, str]]  # trial_id -> mtime_ns, inode and hash of its result


def command(pid: int) -> str:
    """The command line of a process, "" where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def processes_with_tmpdir(folder: Path) -> list[int]:
    """The living processes whose TMPDIR is this folder: whatever their parents are by now."""
    mark, found = f"TMPDIR={folder}".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes().split(b"\0") and trial_processes.alive(int(path.parent.name)):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def snapshot_results(cwd: Path) -> Seen:
    """The results that are there, so that any change of one shows."""
    found = {}
    for path in cwd.glob("results/trials/*/result.json"):
        status = path.stat()
        found[path.parent.name] = status.st_mtime_ns, status.st_ino, hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def num_runs(cwd: Path) -> int:
    """How many runs stand in the store, as far as it has been made."""
    try:
        with closing(sqlite3.connect(f"file:{cwd / 'results/mlflow.db'}?mode=ro", uri=True)) as store:
            return int(store.execute("select count(*) from runs where lifecycle_stage = 'active'").fetchone()[0])
    except sqlite3.Error:
        return 0


def check_store(cwd: Path, trial_ids: set[str], name: str = "tiny") -> None:
    """One finished run per trial, with the times of its record."""
    client = mlflow.MlflowClient(store_uri(cwd / "results"))
    experiment = client.get_experiment_by_name(name)
    runs = [run for run in client.search_runs([experiment.experiment_id]) if "trial_id" in run.data.tags]
    assert sorted(run.data.tags["trial_id"] for run in runs) == sorted(trial_ids)
    assert {run.info.status for run in runs} <= {"FINISHED"}
    for run in runs:
        folder = cwd / "results/trials" / run.data.tags["trial_id"]
        result = records.read_result(folder)
        assert result is not None and run.info.start_time == int(result.started_at * 1000)
        points = client.get_metric_history(run.info.run_id, "val/top1")
        written = [(line["step"], int((line["timestamp"] or 0) * 1000)) for line in records.read_metrics(folder)]
        assert [(point.step, point.timestamp) for point in points] == written


def short_folder(name: str) -> Path:
    """A folder for TMPDIR: the sockets that Ray makes below it may have paths of 107 characters."""
    return Path(tempfile.mkdtemp(prefix=name, dir="/tmp"))


def write_fault_sweep(path: Path, *, seeds: int, epochs: int) -> Path:
    """The tiny sweep, with one trial in seven of two processes, whose ranks are children of its worker."""
    write_sweep(path, epochs=epochs, seeds=tuple(range(1, seeds + 1)))
    file = yaml.safe_load(path.read_text())
    pair = {**file["grid"], "method": [file["grid"]["method"][2]], "processes": [2]}
    file["base"]["checkpoint"] = {"every_seconds": 0, "max_time_share": 0.2}
    file["grid"] = [file["grid"], {**pair, "seed": pair["seed"][: max(1, seeds // 2)]}]
    path.write_text(json.dumps(file))  # which is YAML, without aliases
    return path


@dataclass
class SweepFaultInjector:
    """Calls one sweep until it is final, hitting the processes of each call once; hits are drawn from ``chance``."""

    cwd: Path
    chance: random.Random
    seeds: int
    epochs: int
    slowest: dict[str, float] = field(default_factory=dict)
    slowest_rest: float = 0.0
    known: Seen = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cwd.mkdir(parents=True)
        self.file = write_fault_sweep(self.cwd / "tiny.yaml", seeds=self.seeds, epochs=self.epochs)
        self.trials = load_sweep(self.file).trials
        self.tmp = short_folder("f")

    @property
    def done(self) -> bool:
        return self.known.keys() == self.trials.keys()

    def run_with_faults(self, number: int, most: int) -> int:
        """Start the sweep and hit it until it ends, ``most`` times at the most; how many hits there were."""
        target, moment = self._draw()
        only = ("--only", f"seed={self._nearest_seed()}") if moment in ENDING else ()
        process, told = self._start(*only), []
        try:
            while True:
                name = signal.SIGKILL if moment != "running" else self.chance.choice(SIGNALS)
                self._wait(process, moment, target)
                victims = self._victims(process, target) if process.poll() is None else []
                trial_processes.signal_processes(victims[:1], name)
                begun = time.monotonic()
                told += [(f"{name.name} to {target} while {moment}", begun)] if victims else []
                if target in DEADLY or process.poll() is not None or len(told) == most:
                    break
                time.sleep(1)  # the sweep goes on without what was hit
                target, moment = self._draw("running")
            patience = END_SECONDS if target in DEADLY else END_SECONDS + 20 * (len(self.trials) - len(self.known))
            output = self._end(process, patience)
            took = time.monotonic() - begun
            rest = trial_processes.wait_for(lambda: not processes_with_tmpdir(self.tmp), REST_SECONDS, every=0.1)
        finally:
            trial_processes.signal_processes([process.pid, *processes_with_tmpdir(self.tmp)], signal.SIGKILL)
        assert "Traceback" not in output, (told, output)
        assert process.returncode in (0, 1, 130, -name), (told, process.returncode, output)
        self.check_results_unchanged()
        for i, (kind, _) in enumerate(told):
            end = f"status {process.returncode} after {took:.1f} s, last process gone {rest:.1f} s later"
            final = f"{len(self.known)} of {len(self.trials)} final"
            print(f"{number + i:3}: {kind}: {f'{end}; {final}' if i == len(told) - 1 else 'goes on'}", flush=True)
        if told and target in DEADLY:
            self.slowest[told[-1][0]] = max(self.slowest.get(told[-1][0], 0), took)
            self.slowest_rest = max(self.slowest_rest, rest)
        return len(told)

    def _draw(self, moment: str = "") -> tuple[str, str]:
        moment = moment or self.chance.choices(MOMENTS, (3, 5, 1, 1))[0]
        targets = {"starting": DEADLY, "running": tuple(TARGETS)}.get(moment, ("driver",))
        return self.chance.choice(targets), moment

    def _start(self, *options: str) -> subprocess.Popen[str]:
        before = os.environ.get("TMPDIR")
        os.environ["TMPDIR"] = str(self.tmp)
        try:
            return start_sweep(self.file, *options, cwd=self.cwd)
        finally:
            os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)

    def _nearest_seed(self) -> int:
        """The seed with the fewest trials to run: its call comes soon to its end."""
        missing = [trial.seed for trial_id, trial in self.trials.items() if trial_id not in self.known]
        return min(range(1, self.seeds + 1), key=missing.count)

    def _wait(self, process: subprocess.Popen[str], moment: str, target: str) -> None:
        if moment == "starting":
            until = time.monotonic() + self.chance.uniform(0, 12)
            self._until(process, lambda: time.monotonic() > until)
            self._until(process, lambda: target == "driver" or self._victims(process, target))
            return
        if moment == "running":
            self._until(process, lambda: self._victims(process, "worker"))
            self._until(process, lambda: self._victims(process, target), 20)  # few trials have children
            time.sleep(self.chance.uniform(0, 4))
        elif moment == "publishing":
            runs = num_runs(self.cwd)
            store, lock = self.cwd / "results/mlflow.db", self.cwd / "results/.mlflow.lock"
            self._until(process, lambda: num_runs(self.cwd) > runs or (store.exists() and locked(lock)), 60)
            time.sleep(self.chance.uniform(0, 0.5))
        else:
            begun = time.time_ns()
            self._until(process, lambda: newest(self.cwd / "results/reports") > begun, 60)
            time.sleep(self.chance.uniform(0, 0.5))

    def _until(self, process: subprocess.Popen[str], what: Callable[[], object], seconds: float = 60.0) -> None:
        """Wait until something comes about, the call ends, or time is up."""
        until = time.monotonic() + seconds
        while process.poll() is None and not what() and time.monotonic() < until:
            time.sleep(0.01)

    def _victims(self, process: subprocess.Popen[str], target: str) -> list[int]:
        if target == "driver":
            return [process.pid]
        found = [pid for pid in trial_processes.descendants(process.pid) if TARGETS[target] in command(pid)]
        busy = [pid for pid in found if ".train" in command(pid)]
        return self.chance.sample(busy, len(busy)) or found

    def _end(self, process: subprocess.Popen[str], seconds: float) -> str:
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            left = "\n".join(f"{pid}: {command(pid)}" for pid in processes_with_tmpdir(self.tmp))
            raise AssertionError(f"the call did not end within {seconds:.0f} s:\n{left}") from None
        return output

    def check_results_unchanged(self) -> None:
        """No result that was once there may have changed."""
        now = snapshot_results(self.cwd)
        assert {trial_id: now.get(trial_id) for trial_id in self.known} == self.known
        self.known = now

    def run_undisturbed(self) -> str:
        """One that nobody disturbs; what it leaves is complete, and tidy."""
        process = self._start()
        try:
            output = self._end(process, END_SECONDS + 20 * len(self.trials))
            trial_processes.wait_for(lambda: not processes_with_tmpdir(self.tmp), REST_SECONDS, every=0.1)
        finally:
            trial_processes.signal_processes([process.pid, *processes_with_tmpdir(self.tmp)], signal.SIGKILL)
        assert process.returncode == 0, output
        self.check_results_unchanged()
        assert self.done and result_mtimes(self.cwd).keys() == self.trials.keys(), output
        check_store(self.cwd, set(self.trials))
        assert not list(self.tmp.glob("suite-*/.lock"))  # a dying Ray may have made a folder anew, without a lock
        for trial_id in self.trials:
            assert not trial_processes.unexpected_files(self.cwd / "results/trials" / trial_id)
        return output

    def check_records(self, quiet: Path) -> int:
        """How many trials were compared with runs of their own in ``quiet``, and are equal but for times."""
        compared = 0
        for trial_id, trial in self.trials.items():
            folder = self.cwd / "results/trials" / trial_id
            if not (quiet / trial_id / records.RESULT).exists():
                run = local.run if trial.processes > 1 else inline.run
                run(trial, quiet / trial_id, data_dir=None)
            assert trial_processes.records_of(folder) == trial_processes.records_of(quiet / trial_id), folder
            compared += 1
        return compared

    def clear(self) -> None:
        """Remove what only this fire's calls needed."""
        shutil.rmtree(self.tmp, ignore_errors=True)


def locked(path: Path) -> bool:
    """A process holds the lock on this file."""
    try:
        inode = path.stat().st_ino
    except OSError:
        return False
    return any(line.split()[5].endswith(f":{inode}") for line in Path("/proc/locks").read_text().splitlines())


def newest(folder: Path) -> int:
    """When the newest file below a folder was written."""
    return max((path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()), default=0)
