"""The console script ``suite``: ``suite sweep FILE.yaml`` is ``python -m suite.sweep FILE.yaml``."""

import os
import sys

COMMANDS = {
    "Run": ("suite.sweep", "suite.train", "suite.testing"),
    "Look": ("suite.status", "suite.ui", "suite.tracking", "suite.tickets"),
    "Analyze": (
        "analysis.tables",
        "analysis.figures",
        "analysis.report",
        "analysis.tuned",
        "analysis.gate",
        "analysis.export",
        "analysis.theory",
    ),
    "ImageNet": ("suite.data.imagenet.scan", "suite.data.imagenet.pack", "suite.data.imagenet.stage"),
}
OWN = ("list", "schema")  # of python -m suite


def modules() -> dict[str, str]:
    """The module of each command, by the last part of its name."""
    return {name.rpartition(".")[2]: name for names in COMMANDS.values() for name in names}


def main() -> int:
    """Become the process of a command; returns, with status 2, only where there is none of that name."""
    word, *rest = sys.argv[1:] or ["--"]
    module = modules().get(word)
    if module is None and word in (*OWN, "-h", "--help", "--version", "--"):
        module, rest = "suite", sys.argv[1:]
    if module is None:
        from suite.config.error_messages import nearest

        print(f"suite: {word}: no such command; there are: {nearest(word, [*modules(), *OWN])}", file=sys.stderr)
        return 2
    os.execv(sys.executable, [sys.executable, "-P", "-m", module, *rest])  # noqa: S606 - -P: not the caller's folder
