"""``make test`` leaves out what is slow, and still looks into every room and at every real part."""

from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def test_no_room_and_no_real_part_is_slow_alone(request: pytest.FixtureRequest) -> None:
    if request.config.option.file_or_dir:
        pytest.skip("some files only were asked for")
    fast = [item for item in request.session.items if not item.get_closest_marker("slow")]
    rooms = {item.path.relative_to(TESTS).parts[0] for item in fast}
    assert rooms >= {path.relative_to(TESTS).parts[0] for path in TESTS.rglob("test_*.py")}
    parts = {mark.name for item in fast for mark in item.iter_markers()}
    assert parts >= {"chromium", "compiler", "dali", "fashion_mnist", "slurm"}
