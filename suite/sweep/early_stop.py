"""Stopping trials early by a scheduler of Tune: its decision is written down, the trial saves itself and leaves."""

from collections.abc import Callable
from typing import Any

EPOCHS = "epochs_done"  # what schedulers count by
METRIC = "val/top1"


def reported(line: dict[str, Any]) -> dict[str, Any]:
    """An epoch as schedulers are told of it."""
    return {**line, EPOCHS: line["epoch"] + 1}


def gently(base: type) -> Any:
    """A class of Tune's schedulers whose decision to stop is told to ``stop``, instead of killing the trial's process.

    ``stop`` is given Tune's trial and the number of epochs it has done.
    """

    class Gently(base):  # type: ignore[misc]
        def __init__(self, stop: Callable[[Any, int], None], **settings: Any) -> None:
            super().__init__(**settings)
            self._stop, self._stopped = stop, set[str]()

        def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
            if trial.trial_id not in self._stopped and METRIC in result:
                self._decide(trial, result, super().on_trial_result(controller, trial, result))
            return str(base.CONTINUE)  # type: ignore[attr-defined]

        def _decide(self, trial: Any, result: dict[str, Any], decision: str) -> None:
            if decision == base.STOP:  # type: ignore[attr-defined]
                self._stopped.add(trial.trial_id)
                self._stop(trial, int(result[EPOCHS]))

        def on_trial_complete(self, controller: Any, trial: Any, result: dict[str, Any]) -> None:
            if trial.trial_id not in self._stopped and METRIC in result:
                super().on_trial_complete(controller, trial, result)

    return Gently
