"""Asking a trial to stop, with real signals: to this process, to its threads, and to another one."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from suite import stopping
from suite.stopping import EXIT_UNFINISHED, Stopped, StopRequest

ROOT = Path(__file__).parents[1]
ASKING = [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP]
each_signal = pytest.mark.parametrize("number", ASKING, ids=lambda number: number.name)

TRIAL = """
import signal, sys, time
from suite.stopping import EXIT_UNFINISHED, Stopped, StopRequest
try:
    with StopRequest() as stop:
        print("ready", flush=True)
        while not stop.requested:
            time.sleep(0.01)
        print("saved", flush=True)
        raise Stopped("at a step")
except Stopped:
    sys.exit(EXIT_UNFINISHED)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture
def before() -> Iterator[dict[int, Any]]:
    """The handlers of this process: of each kind one, so that it shows which comes back."""
    kept = {number: signal.getsignal(number) for number in ASKING}
    kinds: list[Any] = [signal.SIG_IGN, signal.SIG_DFL, lambda number, frame: None, signal.default_int_handler]
    kinds.append(signal.SIG_DFL)
    for number, kind in zip(ASKING, kinds, strict=True):
        signal.signal(number, kind)
    yield dict(zip(ASKING, kinds, strict=True))
    for number, handler in kept.items():
        signal.signal(number, handler)


def handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in ASKING}


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0)  # Python's own handler runs between two of its instructions


def until(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + 10
    while not holds() and time.monotonic() < end:
        time.sleep(0.001)
    return holds()


def test_these_signals_ask() -> None:
    assert set(stopping.SIGNALS) == set(ASKING)
    assert EXIT_UNFINISHED == os.EX_TEMPFAIL


@each_signal
def test_a_signal_asks_and_handlers_come_back(before: dict[int, Any], number: int) -> None:
    with StopRequest() as stop:
        assert not stop.requested
        assert all(handler not in before.values() for handler in handlers().values())
        send(number)
        assert until(lambda: stop.requested)
        assert stop.signum == number
        assert stop.requested  # and stays so
    assert handlers() == before


@each_signal
def test_the_sleep_of_a_trial_goes_on(before: dict[int, Any], number: int) -> None:
    """A signal must not break what is being written: nothing is raised where it comes."""
    with StopRequest() as stop:
        timer = threading.Timer(0.05, send, [number])
        timer.start()
        began = time.monotonic()
        time.sleep(0.15)
        assert time.monotonic() - began >= 0.15
        assert stop.requested
        timer.join()


@pytest.mark.parametrize("error", [None, Stopped, ValueError, KeyboardInterrupt])
def test_handlers_come_back_however_it_ends(before: dict[int, Any], error: type[BaseException] | None) -> None:
    def end() -> None:
        with StopRequest():
            if error:
                raise error("as it ends")

    if error:
        with pytest.raises(error, match="as it ends"):
            end()
    else:
        end()
    assert handlers() == before


def test_one_inside_another(before: dict[int, Any]) -> None:
    """A trial in a sweep: the inner one is asked, and what is asked later goes to the outer one again."""
    with StopRequest() as outer:
        its = handlers()
        with StopRequest() as inner:
            send(signal.SIGTERM)
            assert until(lambda: inner.requested)
        assert not outer.requested
        assert handlers() == its
        send(signal.SIGUSR1)
        assert until(lambda: outer.requested)
    assert handlers() == before


def test_hup_asks_nothing_under_nohup(before: dict[int, Any]) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopRequest() as stop:
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        send(signal.SIGHUP)
        send(signal.SIGTERM)
        assert until(lambda: stop.requested)
    assert stop.signum == signal.SIGTERM
    stopping.treat_as_ctrl_c()
    send(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("ctrl_c", [signal.default_int_handler, signal.SIG_IGN], ids=["default", "ignored"])
def test_a_command_may_treat_term_and_hup_as_ctrl_c(before: dict[int, Any], number: int, ctrl_c: Any) -> None:
    """Also where a shell that starts it in the background has it ignore Ctrl-C; several count as one.

    `timeout` sends TERM twice, and a terminal that closes HUP: that must not hasten the end.
    """
    signal.signal(signal.SIGINT, ctrl_c)
    stopping.treat_as_ctrl_c()
    with pytest.raises(KeyboardInterrupt):
        send(number)
    seen: list[int] = []
    signal.signal(signal.SIGINT, lambda signum, frame: seen.append(signum))
    send(number)
    time.sleep(0.01)
    assert seen == [] and signal.getsignal(number) != signal.SIG_IGN  # which processes that start now would inherit


# Others who ask -----------------------------------------------------------------------------------------------------


def test_also_asks_for_good() -> None:
    answers = iter([False, False, True, False])
    stop = StopRequest(lambda: next(answers))
    with stop:
        assert [stop.requested for _ in range(6)] == [False, False, True, True, True, True]
    assert stop.requested
    assert stop.signum is None


def test_also_is_asked_by_nobody_else() -> None:
    told = [False]
    with StopRequest(lambda: told[0]) as stop:
        assert not stop.requested
        told[0] = True
        assert stop.requested
        told[0] = False
        assert stop.requested
    with StopRequest(lambda: told[0]) as stop:  # the next trial is not stopped by what was asked of this one
        assert not stop.requested


def test_what_also_raises_comes_out(before: dict[int, Any]) -> None:
    def also() -> bool:
        raise RuntimeError("taken over")

    with pytest.raises(RuntimeError, match="taken over"), StopRequest(also) as stop:
        assert not stop.requested
    assert handlers() == before


# Threads ------------------------------------------------------------------------------------------------------------


def test_in_a_thread_no_handler_is_touched(before: dict[int, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker of Ray runs trials in threads of its own, and its signals are its own."""
    touched: list[object] = []
    seen: list[Any] = []
    told = [False]

    def trial() -> None:
        with StopRequest(lambda: told[0]) as stop:
            seen.append(handlers())
            told[0] = True
            seen.append(stop.requested)
        try:
            with StopRequest(lambda: True):
                raise Stopped("in a thread")
        except Stopped as error:
            seen.append(str(error))

    with monkeypatch.context() as patch:
        patch.setattr(signal, "signal", lambda *words: touched.append(words))
        thread = threading.Thread(target=trial)
        thread.start()
        thread.join()
    assert seen == [before, True, "in a thread"]
    assert not touched
    assert handlers() == before


# How it ends --------------------------------------------------------------------------------------------------------


def asked_and_raising(number: int, error: BaseException) -> None:
    with StopRequest() as stop:
        send(number)
        assert until(lambda: stop.requested)
        raise error


@each_signal
def test_only_ctrl_c_ends_as_ctrl_c(before: dict[int, Any], number: int) -> None:
    expected = KeyboardInterrupt if number == signal.SIGINT else Stopped
    with pytest.raises((Stopped, KeyboardInterrupt)) as caught:
        asked_and_raising(number, Stopped("saved at step 7"))
    assert caught.type is expected
    if expected is KeyboardInterrupt:
        assert str(caught.value.__cause__) == "saved at step 7"
    else:
        assert str(caught.value) == "saved at step 7"
    assert handlers() == before  # before anything is raised on


def test_a_trial_that_fails_after_ctrl_c_has_failed(before: dict[int, Any]) -> None:
    with pytest.raises(ValueError, match="its own fault"):
        asked_and_raising(signal.SIGINT, ValueError("its own fault"))
    assert handlers() == before


@each_signal
def test_another_process_is_asked(number: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", TRIAL], env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        rest, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert rest == "saved\n"
    assert process.returncode == (130 if number == signal.SIGINT else 75)
