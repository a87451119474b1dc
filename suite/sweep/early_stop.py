"""Early stopping by a scheduler of Tune: its decision is recorded, and the trial saves itself and ends."""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

EPOCHS = "epochs_done"  # what schedulers count by
METRIC = "val/top1"


def reported(line: dict[str, Any]) -> dict[str, Any]:
    """An epoch's metrics as schedulers read them."""
    return {**line, EPOCHS: line["epoch"] + 1}


def with_recorded_stops(base: type) -> Any:
    """A subclass of one of Tune's schedulers that calls ``on_stop`` where the scheduler would kill a trial's process.

    ``on_stop`` is given Tune's trial and the number of epochs it has done. ``on_judged`` is given a trial's name, that
    number and the metric, for each result that the scheduler has judged. ``name_of`` gives the name of Tune's trial:
    the scheduler knows trials by their names, because Tune's own ids differ from run to run.
    """

    class RecordingScheduler(base):  # type: ignore[misc]
        def __init__(
            self,
            on_stop: Callable[[Any, int], None],
            on_judged: Callable[[str, int, float], None] = lambda *judged: None,
            name_of: Callable[[Any], str] = lambda trial: str(trial.trial_id),
            **settings: Any,
        ) -> None:
            super().__init__(**settings)
            self._on_stop, self._on_judged, self._name_of = on_stop, on_judged, name_of
            self._stopped = set[str]()

        def __getstate__(self) -> dict[str, Any]:
            callbacks = ("_on_stop", "_on_judged", "_name_of")  # they know all trials
            return {key: value for key, value in self.__dict__.items() if key not in callbacks}

        def restore_judged(self, name: str, metrics: Mapping[int, float]) -> None:
            """Judge a trial by its metric after some numbers of epochs, as an earlier run did."""
            trial = SimpleNamespace(trial_id=name)
            super().on_trial_add(None, trial)
            for epochs in sorted(metrics):
                super().on_trial_result(None, trial, {EPOCHS: epochs, METRIC: metrics[epochs]})
            super().on_trial_remove(None, trial)

        def on_trial_add(self, controller: Any, trial: Any) -> None:
            super().on_trial_add(controller, self._named(trial))

        def on_trial_remove(self, controller: Any, trial: Any) -> None:
            super().on_trial_remove(controller, self._named(trial))

        def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
            if trial.trial_id not in self._stopped and result.get(METRIC) is not None:
                self._decide(trial, result, super().on_trial_result(controller, self._named(trial), result))
                self._on_judged(self._name_of(trial), int(result[EPOCHS]), result[METRIC])
            return str(base.CONTINUE)  # type: ignore[attr-defined]

        def _named(self, trial: Any) -> SimpleNamespace:
            return SimpleNamespace(trial_id=self._name_of(trial))

        def _decide(self, trial: Any, result: dict[str, Any], decision: str) -> None:
            if decision == base.STOP:  # type: ignore[attr-defined]
                self._stopped.add(trial.trial_id)
                self._on_stop(trial, int(result[EPOCHS]))

        def on_trial_complete(self, controller: Any, trial: Any, result: dict[str, Any]) -> None:
            if trial.trial_id not in self._stopped and result.get(METRIC) is not None:
                super().on_trial_complete(controller, self._named(trial), result)

    return RecordingScheduler
