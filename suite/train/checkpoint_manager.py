"""When a trial saves itself and when it stops: by time and on request, at a step on which its ranks agree."""

import errno
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from suite.records import Attempt, EpochMetrics, host_name, provenance, source_code
from suite.records.file_errors import retrying
from suite.stopping import Stopped
from suite.train import checkpoint
from suite.train.setup import Run

_MOST_SECONDS = 0.5  # between two agreements of the ranks
_CHECK_SECONDS = 60.0  # between two comparisons of the ranks, where no checkpoint makes one
_GO, _COMPARE, _SAVE, _STOP = range(4)
_FOLDER_GONE = (errno.ENOENT, errno.ESTALE)  # another process has taken the trial over
log = logging.getLogger(__name__)


@dataclass
class Progress:
    """Where a trial stands: what a checkpoint holds besides model and optimizer.

    ``batch`` batches of the epoch after ``lines`` are done, with ``loss_sum`` over this rank's images: float64 ().
    """

    loss_sum: Tensor
    lines: list[EpochMetrics] = field(default_factory=list)
    batch: int = 0
    num_updates: int = 0
    train_seconds: float = 0.0  # of this epoch
    wait_seconds: float = 0.0  # of these, for images
    seconds: float = 0.0  # of earlier attempts
    started_at: float = field(default_factory=time.time)  # of the first one
    attempts: list[Attempt] = field(default_factory=list)


class CheckpointManager:
    """Saves a trial and ends it when asked; every method is called on all ranks alike."""

    def __init__(self, run: Run, folder: Path, should_stop: Callable[[], bool]) -> None:
        self._run, self._folder, self._should_stop = run, folder, should_stop
        self._began = self._saved = self._compared = self._agreed = time.monotonic()
        self._interval = run.trial.checkpoint.every_seconds
        self._saved_place = (-1, -1)  # epochs and updates
        self._stride = self._left = 1

    def resume(self) -> Progress:
        """Resume from the newest checkpoint that can be used, else begin."""
        progress = self._restored()
        self._record_devices(progress)
        return progress

    def _restored(self) -> Progress:
        run = self._run
        state = run.group.broadcast_bytes(self._read() if run.group.rank == 0 else None)
        zero = torch.zeros((), dtype=torch.float64, device=run.device)
        if state is None:
            return Progress(zero)
        saved = checkpoint.unpack(state)
        run.model.load_state_dict(saved["model"])
        run.optimizer.load_state_dict(saved["optimizer"])
        _set_rng(run, saved["rng"])
        loss_sum = saved.pop("loss_sums")[run.group.rank].to(run.device)
        run.data.restore(saved["images"][run.group.rank].numpy().tobytes())
        attempts = [Attempt(**attempt) for attempt in saved["progress"].pop("attempts")]
        progress = Progress(loss_sum, **saved["progress"], attempts=attempts)
        self._saved_place = _place(progress)
        return progress

    def _record_devices(self, progress: Progress) -> None:
        """Note the devices of this attempt, and warn where they are not those of the one before."""
        found = self._run.group.all_gather_bytes(provenance.device_name(self._run.device).encode())
        devices = list(dict.fromkeys(name.numpy().tobytes().decode() for name in found))
        before = progress.attempts[-1].devices if progress.attempts else devices
        if progress.attempts and before == devices:
            return
        if before != devices and self._run.group.rank == 0:
            log.warning(
                "resuming on %s; until step %d it ran on %s: bits may differ from those of a run on one of them",
                *(" and ".join(devices), progress.num_updates, " and ".join(before)),
            )
        epoch, step = _place(progress)
        progress.attempts.append(Attempt(epoch=epoch, step=step, host=host_name(), devices=devices))

    def after_step(self, progress: Progress) -> None:
        """Save or stop here, if it is time; ranks ask each other so rarely that it costs nothing."""
        self._left -= 1
        if self._left <= 0:
            self._act(self._all_reduce_action(_MOST_SECONDS), progress)

    def after_eval_batch(self, progress: Progress) -> None:
        """Stop here, if asked; the evaluation is made again."""
        if self._all_reduce_action(0) == _STOP:
            self._act(_STOP, progress)

    def after_epoch(self, progress: Progress) -> None:
        """``after_step``, without a wait; the ranks are compared if they have not been for long.

        Where images cannot go on inside an epoch under all conditions, this border is always saved, to go back to.
        """
        self._act(self._all_reduce_action(0, epoch_boundary=bool(self._stream())), progress)

    def seconds(self, progress: Progress) -> float:
        """How long the trial has been running, over all its attempts."""
        return progress.seconds + time.monotonic() - self._began

    def _all_reduce_action(self, most_seconds: float, *, epoch_boundary: bool = False) -> int:
        """The same answer on all ranks: the strongest wish of any; clocks are only read on rank 0."""
        now = time.monotonic()
        wish = _STOP if self._should_stop() else self._due(now, epoch_boundary) if self._run.group.rank == 0 else _GO
        stride = 1
        if most_seconds and self._run.group.rank == 0 and self._run.group.world_size > 1:
            pace = self._stride / max(now - self._agreed, 1e-9)  # steps a second
            stride = max(1, min(2 * self._stride, int(pace * most_seconds)))
        self._agreed = now
        wish, self._stride = self._run.group.all_reduce_max([wish, stride])
        self._left = self._stride
        return wish

    def _due(self, now: float, epoch_boundary: bool) -> int:
        if epoch_boundary or now - self._saved >= self._interval:
            return _SAVE
        return _COMPARE if now - self._compared >= _CHECK_SECONDS else _GO

    def _act(self, wish: int, progress: Progress) -> None:
        if wish >= _COMPARE:
            self._run.group.check_equal(self._equal_tensors())
            self._compared = time.monotonic()
        problem = ""
        if wish >= _SAVE and _place(progress) != self._saved_place:
            problem = self._save(progress)
            self._saved_place = self._saved_place if problem else _place(progress)
        if wish == _STOP:
            text = self._run.group.broadcast_bytes(self._last_words(progress, problem).encode())
            self._run.group.barrier()  # nobody leaves before the file is whole
            raise Stopped((text or b"").decode())

    def _last_words(self, progress: Progress, problem: str) -> str:
        """Where a trial that stops here will resume: rank 0 knows."""
        if not problem:
            return f"stopped at step {progress.num_updates}; the same command resumes from there"
        newest = checkpoint.newest_step(self._folder)
        where = f"step {newest}" if newest >= 0 else "the first epoch"
        return f"stopped at step {progress.num_updates}; not saved ({problem}): the same command resumes from {where}"

    def _save(self, progress: Progress) -> str:
        """Save the trial; returns, on all ranks, what kept it from being saved."""
        sums = self._run.group.all_gather_tensor(progress.loss_sum)
        images = self._run.group.all_gather_bytes(self._run.data.state())
        rank_0 = self._run.group.rank == 0
        problem = self._write(progress, self._state(progress, sums, images), bool(len(images[0]))) if rank_0 else ""
        problem = (self._run.group.broadcast_bytes(problem.encode()) or b"").decode()
        now = time.monotonic()
        cost, share = now - self._agreed, self._run.trial.checkpoint.max_time_share
        self._interval = max(self._run.trial.checkpoint.every_seconds, cost * (1 / share - 1))
        self._saved = now
        return problem

    def _write(self, progress: Progress, state: Mapping[str, Any], inside_stream: bool) -> str:
        """Write a checkpoint; returns what kept it from being written."""

        def save() -> None:
            checkpoint.save(
                self._folder,
                state,
                step=progress.num_updates,
                identity=self._identity(),
                stream=self._stream() if inside_stream else None,
                epoch_boundary=bool(self._stream()) and progress.batch == 0,
            )

        try:
            retrying(save, self._folder)
        except OSError as error:
            if error.errno in _FOLDER_GONE:
                raise
            problem = error.strerror or str(error)
            log.warning("step %d is not saved: %s; the checkpoint before it stays", progress.num_updates, problem)
            return problem
        return ""

    def _read(self) -> bytes | None:
        back = self._run.trial.checkpoint.on_other_stream == "epoch"
        return checkpoint.read(self._folder, self._identity(), stream=self._stream(), fall_back_to_boundary=back)

    def _stream(self) -> Mapping[str, str]:
        trial = self._run.trial
        return self._run.data.resume_conditions(trial.seed, trial.global_batch_size, trial.processes)

    def _state(self, progress: Progress, sums: Tensor, images: list[Tensor]) -> dict[str, Any]:
        run = self._run
        return {
            "model": run.model.state_dict(),
            "optimizer": run.optimizer.state_dict(),
            "rng": _rng(run),
            "loss_sums": sums,
            "images": images,
            "progress": {
                "lines": progress.lines,
                "batch": progress.batch,
                "num_updates": progress.num_updates,
                "train_seconds": progress.train_seconds,
                "wait_seconds": progress.wait_seconds,
                "seconds": self.seconds(progress),
                "started_at": progress.started_at,
                "attempts": [attempt.model_dump() for attempt in progress.attempts],
            },
        }

    def _identity(self) -> Mapping[str, str]:
        run = self._run
        return {
            "trial_id": run.trial.trial_id,
            "train_id": run.data.train_id,
            "code_id": source_code.code_id_of_trial(run.trial),
            "torch": torch.__version__,
            "device": run.device.type,
        }

    def _equal_tensors(self) -> dict[str, Tensor]:
        """What is equal on all ranks: parameters, and all that the optimizer keeps of them. Not statistics of norms."""
        named = {name: param for name, param in self._run.model.named_parameters() if param.requires_grad}
        state = self._run.optimizer.state
        kept = {
            f"{name}: {key}": value
            for name, param in named.items()
            for key, value in state.get(param, {}).items()
            if isinstance(value, Tensor)
        }
        return {**named, **kept}


def _place(progress: Progress) -> tuple[int, int]:
    """Epochs and updates."""
    return len(progress.lines), progress.num_updates


def _rng(run: Run) -> list[Tensor]:
    on_device = [torch.cuda.get_rng_state(run.device)] if run.device.type == "cuda" else []
    return [torch.get_rng_state(), *on_device]


def _set_rng(run: Run, states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state, run.device)
