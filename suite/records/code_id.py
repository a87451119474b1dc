"""Identity of the code that can change a trial's numbers.

Comments, docstrings and blank lines change no number, so they do not count. Modules that training does not compute
with do not count either, so a better error message there keeps the checkpoints of running trials.
"""

import hashlib
from pathlib import Path

from suite.config.essential_source import essential

HASHED_PATHS = (  # below suite/: folders, and single modules
    "methods",
    "models",
    "data",
    "train",
    "config/settings.py",
    "config/dataset_settings.py",
    "config/method_settings.py",
    "config/model_settings.py",
    "config/trial.py",
)
UNHASHED_PATHS = (  # modules of those folders that change no number
    "data/known_ids.py",
    "data/pack.py",
    "data/scan.py",
    "data/stage.py",
    "data/imagenet/pack.py",
    "data/imagenet/scan.py",
    "data/imagenet/stage.py",
    "data/imagenet/staging.py",
    "train/__main__.py",
    "train/calibrate.py",
    "train/command.py",
    "train/checkpoint.py",  # a checkpoint is read back bit for bit, or not at all
    "train/restore.py",
)


def code_id_of(suite: Path) -> str:
    """First 16 hex digits of SHA-256 over names and essential source of the modules that can change numbers.

    Args:
        suite: the folder of the package ``suite``.
    """
    digest = hashlib.sha256()
    for file in hashed_files(suite):
        digest.update(f"{file.relative_to(suite).as_posix()}\0".encode() + essential(file.read_bytes()) + b"\0")
    return digest.hexdigest()[:16]


def source_id_of(suite: Path) -> str:
    """As ``code_id_of``, of the source as it is: comments count, and nothing is parsed. Equal source, equal code."""
    digest = hashlib.sha256()
    for file in hashed_files(suite):
        source = file.read_bytes()
        digest.update(f"{file.relative_to(suite).as_posix()}\0{len(source)}\0".encode() + source)
    return digest.hexdigest()[:32]


def hashed_files(suite: Path) -> list[Path]:
    """The modules that can change numbers, sorted within each entry of ``HASHED_PATHS``."""
    found = [
        file for part in HASHED_PATHS for file in ([suite / part] if part.endswith(".py") else _modules(suite / part))
    ]
    return [file for file in found if file.relative_to(suite).as_posix() not in UNHASHED_PATHS]


def _modules(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))
