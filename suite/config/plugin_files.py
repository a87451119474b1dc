"""The files of ``--plugin``."""

from collections.abc import Sequence
from pathlib import Path

from suite.config import registry
from suite.config.trial import Trial


def use(files: Sequence[Path]) -> None:
    """Let trials use the plugins of these files alone, here and in the processes that this one starts.

    A file that was edited since it was loaded is loaded again.

    Raises:
        InputError: one cannot be loaded, or has a name that is taken; those of before stay in use.
    """
    if registry.set_files(files):
        Trial.model_rebuild(force=True)
