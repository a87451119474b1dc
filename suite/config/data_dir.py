"""The folder of data sets."""

import os
from pathlib import Path


def resolve_data_dir(data_dir: Path | None) -> Path:
    """Where files are looked for: the folder itself, else $SUITE_DATA, else ``data``."""
    return Path(data_dir or os.environ.get("SUITE_DATA") or "data").expanduser().absolute()
