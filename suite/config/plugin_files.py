"""The files of ``--plugin``."""

from collections.abc import Sequence
from pathlib import Path

from suite.config import registry
from suite.config.trial import Trial


def use(files: Sequence[Path]) -> None:
    """Let trials use the plugins of these files alone, here and in the processes that this one starts.

    Raises:
        InputError: one cannot be loaded, or has a name that is taken.
    """
    if registry.set_files(files):
        registry.REGISTRY.entries("method")
        Trial.model_rebuild(force=True)
