"""Commands of SLURM that say what a test wants."""

from pathlib import Path

import pytest
from support.fake_slurm import Fake


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Puts a command of SLURM on PATH that runs these lines of shell; returns the file with the calls it had."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")

    def fake(name: str, body: str) -> Path:
        calls = tmp_path / f"{name}-calls"
        fresh = folder / f".{name}"
        fresh.write_text(f'#!/bin/sh\necho "$*" >>"{calls}"\n{body}\n')
        fresh.chmod(0o755)
        fresh.replace(folder / name)  # whoever runs the old one goes on
        return calls

    return fake
