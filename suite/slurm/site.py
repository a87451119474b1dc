"""What jobs of one sweep have in common, handed to whoever submits them."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from suite import environment
from suite.records import source_code
from suite.slurm.environment import python_command
from suite.slurm.profile import Profile

_NOT_FOR_JOBS = ("slurm", "ranks", "python", "numbers", "threads")
_OF_OUR_RAY = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER",)  # on this machine alone; a Ray over nodes refuses it


class Site(BaseModel):
    """A profile with the frozen code, the command of Python, and where the state of the queue is read.

    ``variables``: names of the environment that jobs get; what Ray adds in its workers is not among them.
    ``leave``: a file that says: the sweep ends, jobs go on.
    """

    model_config = ConfigDict(frozen=True)

    sweep: str
    profile: Profile
    archive: Path
    plugin_files: list[Path] = []
    python: str
    variables: list[str]
    results: Path
    queue: Path
    leave: Path

    @classmethod
    def prepare(cls, sweep: str, profile: Profile, results: Path, scratch: Path, *, write: bool = True) -> "Site":
        """Freeze the code below ``results``, if it may ``write``; ``scratch`` is of this sweep's driver."""
        results = results.absolute()
        code = results / "code"
        return cls(
            sweep=sweep,
            profile=profile,
            archive=source_code.freeze(code, write=write),
            plugin_files=source_code.freeze_plugin_files(code, write=write),
            python=python_command(profile, code, write=write),
            variables=exportable_variables(os.environ),
            results=results,
            queue=scratch / "queue.json",
            leave=scratch / "stop",
        )


def exportable_variables(names: Iterable[str]) -> list[str]:
    """The names of an environment that a job is to have: none about the job we are in, or a Ray of this machine."""
    names = list(names)
    kept = environment.cleaned(dict.fromkeys(names, "set"), *_NOT_FOR_JOBS)
    return [name for name in names if name in kept and name not in _OF_OUR_RAY]


@contextmanager
def restricted_environment(variables: list[str]) -> Iterator[None]:
    """An environment of these variables alone, while it is entered."""
    before = dict(os.environ)
    for name in before.keys() - set(variables):
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(before)
