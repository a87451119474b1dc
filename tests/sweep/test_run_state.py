"""The state of one run of a sweep: what it shows, how it stops, and how little of it Tune pickles."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from suite.config import SchedulerSettings
from suite.records.ledger import Ledger
from suite.sweep import run_state, tune
from suite.sweep.run_state import RunState

MANY = 10_000


class Shown:
    """A display that keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def started(self, trial_id: str) -> None:
        self.events.append(("started", trial_id))

    def epoch(self, trial_id: str, line: dict[str, Any]) -> None:
        self.events.append(("epoch", trial_id, line["epoch"]))

    def ended(self, trial_id: str) -> None:
        self.events.append(("ended", trial_id))

    def phase(self, what: str) -> None:
        self.events.append(("phase", what))

    def stopping(self, seconds: float) -> None:
        self.events.append(("stopping", seconds))

    def ray_died(self, *, asked: bool) -> int:
        raise AssertionError("no Ray was lost")


@pytest.fixture
def shown() -> Shown:
    return Shown()


def state_of(shown: Shown, tmp_path: Path, *units: list[str]) -> RunState:
    return RunState("sweep", units, shown, tmp_path / "stop")


def test_each_start_and_end_is_shown_once(shown: Shown, tmp_path: Path) -> None:
    state = state_of(shown, tmp_path, ["a"], ["b"])
    assert state.interrupted and state.running == set()
    for event in ("started", "started", "epoch", "ended", "ended"):
        state.record(event, 0, {"epoch": 3})  # type: ignore[arg-type]
    assert shown.events == [("started", "a"), ("epoch", "a", 3), ("ended", "a")]
    state.record("started", 1)
    assert state.running == {"b"} and state.interrupted
    state.record("ended", 1)
    assert state.running == set() and not state.interrupted


def test_trials_of_a_pack_report_and_end_apart(shown: Shown, tmp_path: Path) -> None:
    state = state_of(shown, tmp_path, ["a", "b"])
    state.record("started", 0)
    state.record("epoch", 0, {"of_trial": "b", "epoch": 1})
    state.record("epoch", 0, {"of_trial": "b", "ended": True})
    assert state.running == {"a"}
    state.record("ended", 0)
    assert shown.events == [("started", "a"), ("started", "b"), ("epoch", "b", 1), ("ended", "b"), ("ended", "a")]


def test_a_run_that_was_asked_to_stop_ends_when_its_trials_are_saved(shown: Shown, tmp_path: Path) -> None:
    state, stops = state_of(shown, tmp_path, ["a"], ["b"]), []
    state.record("started", 0)
    state.request_stop(lambda: stops.append("now"))
    assert (tmp_path / "stop").exists()
    state.stop_if_saved()
    assert stops == []
    state.record("started", 1)  # Tune has started it meanwhile: it sees the request and returns
    state.record("ended", 1)
    state.record("ended", 0)
    state.stop_if_saved()
    state.stop_if_saved()
    assert stops == ["now"]
    assert state.interrupted
    assert shown.events == [("started", "a"), ("stopping", run_state.SAVE_SECONDS), ("ended", "a")]


def test_a_second_request_ends_a_run_at_once_where_it_hastens(shown: Shown, tmp_path: Path) -> None:
    state, stops = state_of(shown, tmp_path, ["a"]), []
    state.record("started", 0)
    for hastens in (True, False, True):  # Ctrl-C, a terminal that closes, Ctrl-C
        state.request_stop(lambda: stops.append("now"), hastens=hastens)
    assert stops == ["now"]
    assert shown.events[1:] == [("stopping", run_state.SAVE_SECONDS), ("stopping", 0)]  # each answered at once


def test_a_second_request_does_not_wait(shown: Shown, tmp_path: Path) -> None:
    state, stops = state_of(shown, tmp_path, ["a"]), []
    state.record("started", 0)
    state.request_stop(lambda: stops.append("first"))
    state.request_stop(lambda: stops.append("second"))
    assert stops == ["second"]


def test_a_trial_that_does_not_save_itself_is_not_waited_for(
    shown: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_state, "SAVE_SECONDS", -1.0)
    state, stops = state_of(shown, tmp_path, ["a"]), []
    state.record("started", 0)
    state.request_stop(lambda: stops.append("now"))
    state.stop_if_saved()
    assert stops == ["now"]


# One object a run -----------------------------------------------------------------------------------------------------


def test_a_second_run_in_the_same_process_sees_nothing_of_the_first(tmp_path: Path) -> None:
    first, second = Shown(), Shown()
    one = RunState("one", [["a"]], first, tmp_path / "stop-1")
    one.record("started", 0)
    one.request_stop(lambda: None)
    two = RunState("two", [["a"]], second, tmp_path / "stop-2")
    assert two.running == set() and not two.stop_file.exists()
    two.record("started", 0)
    two.record("ended", 0)
    assert second.events == [("started", "a"), ("ended", "a")] and not two.interrupted
    assert first.events == [("started", "a"), ("stopping", run_state.SAVE_SECONDS)] and one.running == {"a"}


@pytest.mark.parametrize("part", ["callback", "search", "scheduler"])
def test_what_tune_pickles_holds_a_key_and_no_trial(part: str, shown: Shown, tmp_path: Path) -> None:
    """Tune pickles its callbacks, search and scheduler, classes by value, when a run begins and ends."""
    from ray import cloudpickle
    from ray.tune.progress_reporter import TrialProgressCallback

    state = state_of(shown, tmp_path, *([f"trial-{i:05}"] for i in range(MANY)))
    state.request_stop(threading.Lock().acquire)  # which cannot be pickled
    trials: dict[str, Any] = {f"trial-{i:05}": SimpleNamespace(epochs=i) for i in range(MANY)}
    asha = Ledger(tmp_path, SchedulerSettings(name="asha"))
    made = {
        "callback": lambda: tune._callback(TrialProgressCallback, state),
        "search": lambda: tune._in_order([{"unit": i} for i in range(MANY)]),
        "scheduler": lambda: tune._scheduler(state, trials, asha),
    }[part]()
    pickled = cloudpickle.dumps(made)
    assert len(pickled) < 10_000
    assert b"trial-0" not in pickled
    loaded = cloudpickle.loads(pickled)
    if part == "callback":
        assert vars(loaded._state) == {"key": "sweep"}
