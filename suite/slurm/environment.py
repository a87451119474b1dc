"""The command that starts a job's Python: from a folder, from an archive unpacked on the node, or in a container."""

import shlex
import sys
from pathlib import Path

from suite.config import InputError
from suite.records import write_text_atomic
from suite.slurm.profile import Profile

# Every task runs it; the first on a node unpacks, the others wait. A folder is whole once .whole stands in it.
_UNPACK = """#!/usr/bin/env bash
set -euo pipefail
archive=$1
shift
folder=$SUITE_SCRATCH/suite-env-$(id -u)-$(stat -L -c %Y-%s-%i "$archive")
mkdir -p "$SUITE_SCRATCH"
mkdir -m 700 "$folder" 2>/dev/null || [ -O "$folder" ] || { echo "$folder: belongs to somebody else" >&2; exit 1; }
exec 9>"$folder/.lock"
flock 9
if [ ! -e "$folder/.whole" ]; then
    tar -xf "$archive" -C "$folder"
    [ -x "$folder/bin/python" ] || { echo "$archive: has no bin/python at its top" >&2; exit 1; }
    touch "$folder/.whole"
fi
exec 9>&-
exec "$folder/bin/python" "$@"
"""


def python_command(profile: Profile, folder: Path, *, write: bool = True) -> str:
    """What stands before Python's arguments in a job: shell words.

    Args:
        profile: says where Python comes from.
        folder: on shared storage, for what the command needs.
        write: put it there.

    Raises:
        InputError: there is no such archive.
    """
    environment = profile.environment
    if environment.kind == "image":
        return str(environment.launch)
    if environment.kind == "venv":
        return shlex.quote(environment.python or sys.executable)
    script = folder / "unpack.sh"
    archive = str(environment.archive)
    if write:
        if not Path(archive).is_file():
            raise InputError(f"environment.archive: {archive}: no such file; conda-pack or venv-pack make one")
        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomic(script, _UNPACK)
    return shlex.join(["bash", str(script), archive])
