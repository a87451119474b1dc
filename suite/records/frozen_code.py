"""The archive that this very code runs from, in a job, and what was noted in it."""

import json
import zipfile
from functools import cache
from pathlib import Path

_SUITE = Path(__file__).parents[1]
NOTE = "suite/frozen.json"  # in a frozen copy: what can only be asked of the folder it was made from


def frozen_archive() -> Path | None:
    """The archive that this very code runs from; None where it runs from a folder."""
    return _SUITE.parent if _SUITE.parent.is_file() else None


@cache
def note(archive: Path) -> dict[str, object]:
    """What was noted in an archive as it was made."""
    with zipfile.ZipFile(archive) as opened:
        found: dict[str, object] = json.loads(opened.read(NOTE))
    return found


def plugin_ids() -> dict[str, str]:
    """The identities of the installed plugins that were frozen with this very code, by package."""
    archive = frozen_archive()
    found = note(archive).get("plugins") if archive is not None else None
    return found if isinstance(found, dict) else {}
