"""``make test`` leaves out slow tests, but keeps one in every folder and one for each tool that a machine may lack."""

from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def test_every_folder_and_tool_has_a_fast_test(request: pytest.FixtureRequest) -> None:
    if request.config.option.file_or_dir or request.config.option.markexpr not in ("", "not slow"):
        pytest.skip("only some tests were selected")
    fast = [item for item in request.session.items if not item.get_closest_marker("slow")]
    folders = {item.path.relative_to(TESTS).parts[0] for item in fast}
    assert folders >= {path.relative_to(TESTS).parts[0] for path in TESTS.glob("*/**/test_*.py")}
    tools = {mark.name for item in fast for mark in item.iter_markers()}
    assert tools >= {"chromium", "compiler", "dali", "fashion_mnist", "slurm"}
