"""Commands that another user of this machine runs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from support.trial_processes import ROOT


def as_user(uid: int, *arguments: str) -> list[str]:
    """The command line of a command run by another user, who is shown Python where folders of ours would hide it."""
    script, needed = "set -e\n", {Path(sys.base_prefix), Path(sys.prefix), ROOT}
    for path in sorted(needed):
        hiding = next((above for above in reversed(path.parents) if not above.stat().st_mode & 1), None)
        if hiding is not None:
            script += f"d=$(mktemp -d)\nmount --bind {path} $d\nmount -t tmpfs -o mode=755 none {hiding}\n"
            script += f"mkdir -p {path}\nmount --bind $d {path}\numount -l $d\nrmdir $d\n"
    script += f'exec setpriv --reuid {uid} --regid {uid} --clear-groups "$@"\n'
    return ["unshare", "--mount", "sh", "-c", script, "sh", *arguments]


def can_be(uid: int) -> bool:
    """This process may run commands as another user, who then finds the suite."""
    if os.geteuid() or not all(map(shutil.which, ("unshare", "setpriv", "mount"))):
        return False
    command = as_user(uid, sys.executable, "-c", "import suite, ray")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": "/"}
    return subprocess.run(command, env=environment, cwd="/", capture_output=True, check=False).returncode == 0
