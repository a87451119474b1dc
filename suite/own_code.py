"""Make this process and those it starts import this copy of the suite.

``python -m`` puts the caller's folder first on ``sys.path``, so a module there shadows any other of the same name.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from suite.config import InputError

ROOT = Path(__file__).parents[1]  # a checkout, a folder of installed packages, or the archive of a job
_INSTALLED = ("site-packages", "dist-packages")


def check() -> None:
    """Check, without importing it, that ``analysis`` is the package beside this ``suite``. Commands import it late.

    Raises:
        InputError: it is not the one that lies beside this ``suite``.
    """
    spec, own = find_spec("analysis"), ROOT / "analysis"
    if spec is None:
        raise InputError(f"{own}: missing: install the suite whole")
    found = Path(spec.origin or next(iter(spec.submodule_search_locations or ())))
    place = found.parent if spec.submodule_search_locations and spec.origin else found
    if os.path.realpath(place) != os.path.realpath(own):
        raise InputError(f"{place}: shadows the suite's own package 'analysis' ({own}): {_cure(place)}")


def _cure(place: Path) -> str:
    with suppress(OSError):
        if place.parent == Path.cwd():
            return "run from another folder, or rename it"
    return "take it out of PYTHONPATH or of the environment"


def leave_callers_folder() -> None:
    """Import nothing more from the folder where ``python -m`` was called, unless this suite itself lies there."""
    with suppress(OSError):  # the folder is gone
        if not sys.flags.safe_path and sys.path[0] in ("", os.getcwd()) and not ROOT.samefile(sys.path[0] or "."):
            del sys.path[0]


def environment() -> dict[str, str]:
    """Return variables that make a new Python import this suite, whatever the folder where it starts contains.

    Raises:
        InputError: PYTHONPATH cannot hold the folder of this suite.
    """
    given = [os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    own = [] if ROOT.name in _INSTALLED else [str(ROOT)]  # on the path anyway, after the standard library
    if any(os.pathsep in entry for entry in own):
        raise InputError(
            f"{ROOT}: {os.pathsep!r} in the path of the suite: PYTHONPATH cannot hold it: move the checkout"
        )
    return {"PYTHONPATH": os.pathsep.join(dict.fromkeys([*own, *given])), "PYTHONSAFEPATH": "1"}


@contextmanager
def inherited() -> Iterator[None]:
    """Set the variables of ``environment`` for processes started in this context."""
    changed = environment()
    before = {name: os.environ[name] for name in changed if name in os.environ}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name in changed:
            os.environ.pop(name, None)
        os.environ.update(before)
