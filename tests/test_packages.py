"""What the wheel says and holds, and which versions are installed: uv takes those that constraints.txt pins."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def pins() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_uv_takes_the_pinned_versions(pyproject: dict[str, Any], pins: list[str]) -> None:
    constraints = pyproject["tool"]["uv"]["constraint-dependencies"]
    assert constraints == pins, "pyproject.toml repeats the lines of constraints.txt, as uv reads no file there"


def test_uv_never_installs_both_builds_of_dali(pyproject: dict[str, Any]) -> None:
    """Both fill the folder nvidia/dali."""
    builds = [{"extra": name} for name in pyproject["project"]["optional-dependencies"] if name.startswith("dali")]
    assert len(builds) == 2 and pyproject["tool"]["uv"]["conflicts"] == [builds]


def test_the_readme_names_the_pinned_pair_of_cpu_builds(pins: list[str]) -> None:
    """PyTorch's CPU build beside the torchvision of PyPI leaves `import torchvision` broken."""
    pair = " ".join(pin for pin in pins if re.match("torch(vision)?==", pin))
    assert f"installing `{pair}` first" in " ".join((ROOT / "README.md").read_text().split())


@pytest.mark.parametrize("package", ["suite", "analysis"])
def test_type_checkers_read_the_annotations_of_the_wheel(package: str) -> None:
    packed = WheelBuilder(str(ROOT)).recurse_included_files()
    assert f"{package}/py.typed" in {file.distribution_path for file in packed}


def test_what_a_package_index_shows() -> None:
    """hatchling refuses a classifier that PyPI does not know."""
    core = ProjectMetadata(str(ROOT), PluginManager()).core
    assert core.classifiers and core.keywords and core.urls
    assert not any(line.startswith("License ::") for line in core.classifiers)  # `license` says it: PEP 639
