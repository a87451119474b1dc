"""Files of ``use_plugins`` that are edited while a notebook is open, and files with a mistake in them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.plugins import FADING

import suite

SWEEP: dict[str, Any] = {
    "name": "t",
    "base": {"dataset": "digits", "epochs": 1, "seed": 1, "global_batch_size": 64, "model": {"name": "conv2"}},
    "grid": {"method": {"name": "fading", "lr": 0.1}},
}


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file in use."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fading.py").write_text(FADING)
    suite.use_plugins("fading.py")
    yield tmp_path / "fading.py"
    suite.use_plugins()


def ids() -> list[str]:
    return list(suite.load_sweep(SWEEP).trials)


def test_a_file_that_was_edited_is_loaded_again_when_it_is_named_again(file: Path) -> None:
    before, second = ids(), file.stat().st_mtime
    file.write_text(f"# words\n{FADING}")
    suite.use_plugins("fading.py")
    assert ids() == before
    file.write_text(FADING.replace("int = 7", "int = 8"))
    os.utime(file, (second, second))  # as many characters, in the same second: bytecode of Python's would count
    suite.use_plugins("fading.py")
    [trial] = suite.load_sweep(SWEEP).trials.values()
    assert trial.method.half_life == 8 and ids() != before  # type: ignore[attr-defined]


def test_a_sweep_is_not_run_with_other_source_than_it_was_loaded_with(file: Path) -> None:
    loaded = suite.load_sweep(SWEEP)
    file.write_text(FADING.replace("int = 7", "int = 8"))
    with pytest.raises(
        suite.InputError, match=r"^/.*/fading\.py: was edited since it was loaded: call suite\.use_plug"
    ):
        suite.run(SWEEP, "results", quiet=True)
    suite.use_plugins("fading.py")
    with pytest.raises(suite.InputError, match=r"^<dict>: was loaded with other source of its plugins: load it again$"):
        suite.run(loaded, "results", quiet=True)
    assert not Path("results").exists()


@pytest.mark.parametrize("text", [None, "def (", "raise SystemExit", FADING.replace('"fading"', '"weights"')])
def test_a_file_with_a_mistake_leaves_those_of_before_in_use(file: Path, text: str | None) -> None:
    before = ids()
    if text is not None:
        Path("other.py").write_text(text)
    with pytest.raises(suite.InputError, match=r"^--plugin"):
        suite.use_plugins("other.py")
    assert ids() == before
    Path("other.py").write_text(FADING.replace("Fading", "Other").replace('"fading"', '"other"'))
    suite.use_plugins("other.py")
    other = {**SWEEP, "grid": {"method": {"name": "other", "lr": 0.1}}}
    assert len(suite.load_sweep(other).trials) == 1
    with pytest.raises(suite.InputError, match='"fading": not a method'):
        ids()
