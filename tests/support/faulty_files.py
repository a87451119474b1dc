"""Actors that share a folder, one system call at a time: any may be killed there, and see what is out of date.

The calls of ``os`` and ``open`` are wrapped. Before each call of an actor a seeded scheduler decides whose turn it is,
whether the actor dies before or after the call, whether the call is done twice (as NFS does where an answer was lost),
and whether a look at names gives what the same look gave some steps ago.
"""

import contextlib
import io
import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LOOKS, _CHANGES = ("stat", "listdir"), ("rename", "replace", "unlink", "mkdir", "rmdir")


class Killed(BaseException):
    """The actor is dead: whatever it still does has no effect."""


@dataclass(frozen=True)
class Faults:
    """How often, of 1, each fault comes with a call; ``oldest`` is the age in steps of what may still be seen."""

    kill: float = 0.0
    repeat: float = 0.0
    stale: float = 0.0
    oldest: int = 0


class _Actor:
    def __init__(self, play: Callable[[], object], back: threading.Semaphore) -> None:
        self._back = back
        self.turn, self.dead, self.ended = threading.Semaphore(0), False, False
        self.seen: dict[tuple[str, str], tuple[int, Any]] = {}
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, args=(play,), daemon=True)

    def _run(self, play: Callable[[], object]) -> None:
        self.turn.acquire()
        try:
            play()
        except Killed:
            pass
        except BaseException as error:
            self.error = error
        self.ended = True
        self._back.release()


class Stage:
    """Runs actors over ``root``, and asks ``check`` after every step."""

    def __init__(self, root: Path, faults: Faults, chance: random.Random, check: Callable[[], object]) -> None:
        self._root, self._faults, self._chance, self._check = f"{root}/", faults, chance, check
        self._actors: dict[int | None, _Actor] = {}
        self._back, self._step = threading.Semaphore(0), 0
        self.kills = 0

    def play(self, *plays: Callable[[], object]) -> None:
        """Let all play to their ends; what one raises is raised here."""
        actors = [_Actor(play, self._back) for play in plays]
        with self._wrapped():
            for actor in actors:
                actor.thread.start()
                self._actors[actor.thread.ident] = actor
            while running := [actor for actor in actors if not actor.ended]:
                actor = self._chance.choice(running)
                actor.turn.release()
                self._back.acquire()  # it is at its next call, or at its end
                self._step += 1
                self._check()
        for actor in actors:
            if actor.error:
                raise actor.error

    @contextlib.contextmanager
    def _wrapped(self) -> Iterator[None]:
        names = [(os, name) for name in (*_LOOKS, *_CHANGES)] + [(io, "open")]
        before = [(module, name, getattr(module, name)) for module, name in names]
        rmtree = shutil.rmtree
        try:
            for module, name, call in before:
                setattr(module, name, self._stepwise(name, call))
            shutil.rmtree = _remove_tree  # type: ignore[assignment]
            yield
        finally:
            shutil.rmtree = rmtree
            for module, name, call in before:
                setattr(module, name, call)

    def _stepwise(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            actor = self._actors.get(threading.get_ident())
            if actor is None or options.get("dir_fd") is not None or not f"{args[0]}/".startswith(self._root):
                return call(*args, **options)
            if actor.dead:
                raise Killed
            self._back.release()
            actor.turn.acquire()
            return self._perform(actor, name, lambda: call(*args, **options), str(args[0]))

        return wrapped

    def _perform(self, actor: _Actor, name: str, call: Callable[[], Any], path: str) -> Any:
        faults, chance = self._faults, self._chance
        dies, before = chance.random() < faults.kill, chance.random() < 0.5
        if dies:
            actor.dead, self.kills = True, self.kills + 1
        if dies and before:
            raise Killed
        if name in _LOOKS:
            return self._look(actor, (name, path), call)
        if name in _CHANGES and chance.random() < faults.repeat:
            call()
        result = call()
        if dies:
            if isinstance(result, io.IOBase):
                result.close()
            raise Killed
        return result

    def _look(self, actor: _Actor, key: tuple[str, str], call: Callable[[], Any]) -> Any:
        step, kept = actor.seen.get(key, (-self._faults.oldest - 1, None))
        if self._step - step > self._faults.oldest or self._chance.random() >= self._faults.stale:
            try:
                kept = call()
            except OSError as error:
                kept = error
            actor.seen[key] = self._step, kept
        if isinstance(kept, OSError):
            raise kept
        return kept


def _remove_tree(path: Any, ignore_errors: bool = False) -> None:
    """As shutil's, in calls that can be told apart."""
    assert ignore_errors
    with contextlib.suppress(OSError):
        for name in os.listdir(path):
            inner = os.path.join(path, name)
            if os.path.isdir(inner):
                _remove_tree(inner, ignore_errors=True)
            with contextlib.suppress(OSError):
                os.unlink(inner)
        os.rmdir(path)
