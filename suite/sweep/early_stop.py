"""Early stopping by a scheduler of Tune: its decision is recorded, and the trial saves itself and ends."""

from collections.abc import Callable
from typing import Any

EPOCHS = "epochs_done"  # what schedulers count by
METRIC = "val/top1"


def reported(line: dict[str, Any]) -> dict[str, Any]:
    """An epoch's metrics as schedulers read them."""
    return {**line, EPOCHS: line["epoch"] + 1}


def with_recorded_stops(base: type) -> Any:
    """A subclass of one of Tune's schedulers that calls ``on_stop`` where the scheduler would kill a trial's process.

    ``on_stop`` is given Tune's trial and the number of epochs it has done.
    """

    class RecordingScheduler(base):  # type: ignore[misc]
        def __init__(self, on_stop: Callable[[Any, int], None], **settings: Any) -> None:
            super().__init__(**settings)
            self._on_stop, self._stopped = on_stop, set[str]()

        def __getstate__(self) -> dict[str, Any]:
            return {key: value for key, value in self.__dict__.items() if key != "_on_stop"}  # it knows all trials

        def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
            if trial.trial_id not in self._stopped and METRIC in result:
                self._decide(trial, result, super().on_trial_result(controller, trial, result))
            return str(base.CONTINUE)  # type: ignore[attr-defined]

        def _decide(self, trial: Any, result: dict[str, Any], decision: str) -> None:
            if decision == base.STOP:  # type: ignore[attr-defined]
                self._stopped.add(trial.trial_id)
                self._on_stop(trial, int(result[EPOCHS]))

        def on_trial_complete(self, controller: Any, trial: Any, result: dict[str, Any]) -> None:
            if trial.trial_id not in self._stopped and METRIC in result:
                super().on_trial_complete(controller, trial, result)

    return RecordingScheduler
