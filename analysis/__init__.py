"""From records to tables and figures. Reads the files of the trials; needs no server."""

import sys
from importlib.util import find_spec
from pathlib import Path


def _foreign_suite() -> str | None:
    """Return what is wrong if ``suite`` is not the one beside this package; ``suite.own_code`` checks ``analysis``."""
    spec, own = find_spec("suite"), Path(__file__).parents[1] / "suite"
    if spec is None:
        return f"{own}: missing: install the suite whole"
    found = Path(spec.origin or next(iter(spec.submodule_search_locations or ())))
    place = found.parent if spec.submodule_search_locations and spec.origin else found
    if place.resolve() == own.resolve():
        return None
    return f"{place}: shadows the package 'suite' ({own}): run from another folder, or rename it"


if _wrong := _foreign_suite():
    if sys.argv[0] != "-m":  # what it is while `python -m` looks for a command here
        raise ImportError(_wrong)
    print(_wrong, file=sys.stderr)
    sys.exit(2)
