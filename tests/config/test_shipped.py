"""Sweeps and profiles that come with the suite: found from any folder, by any spelling, from a checkout and a wheel."""

from pathlib import Path

import pytest
from support.sweep_files import GOOD

from suite.config import InputError, shipped
from suite.config.shipped import PROFILES, SWEEPS, Shipped
from suite.config.sweep_file import load_sweep
from suite.slurm.profile import find_profile

SPELLINGS = ("sweeps/study/third.yaml", "study/third.yaml", "third.yaml", "third", "study/third", "./third.yaml")


@pytest.fixture(params=["checkout", "wheel"])
def package(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The suite as it is installed, and the caller in another folder; the folder of its sweeps."""
    package = tmp_path / "installed" / "suite"
    above = package if request.param == "wheel" else package.parent
    for name in ("other", "study/third"):
        file = above / "sweeps" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(GOOD.replace("name: t", "name: shipped"))
    profiles = above / ("profiles" if request.param == "wheel" else "slurm")
    profiles.mkdir()
    (profiles / "gpu.yaml").write_text("partition: gpu\n")
    monkeypatch.setattr(shipped, "_PACKAGE", package)
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    return above / "sweeps"


@pytest.mark.parametrize("spelling", [*SPELLINGS, "../sweeps/study/third.yaml", "/nowhere/sweeps/study/third.yaml"])
def test_a_shipped_sweep_is_found_from_any_folder(package: Path, spelling: str) -> None:
    assert load_sweep(spelling).path == package / "study/third.yaml"


@pytest.mark.parametrize("spelling", ["gpu", "gpu.yaml", "slurm/gpu.yaml", "slurm/gpu", "profiles/gpu.yaml"])
def test_a_shipped_profile_is_found_from_any_folder(package: Path, spelling: str) -> None:
    assert find_profile(spelling) == PROFILES.folder / "gpu.yaml"


def test_what_is_here_comes_first(package: Path) -> None:
    for name in ("third.yaml", "sweeps/study/third.yaml"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(GOOD)
        assert load_sweep(name).name == "t"
    assert load_sweep("third").path == Path("third.yaml")
    Path("slurm").mkdir()
    Path("slurm/gpu.yaml").write_text("partition: mine\n")
    assert find_profile("gpu") == Path("slurm/gpu.yaml")


def test_another_folder_is_no_spelling_of_it(package: Path) -> None:
    with pytest.raises(InputError, match=r"^mine/third.yaml: no such file; there are: third.yaml, other.yaml$"):
        load_sweep("mine/third.yaml")


def test_the_nearest_names_come_first_and_ten_at_most(package: Path) -> None:
    for i in range(30):
        Path(f"sweep{i}.yaml").write_text(GOOD)
    Path("width_vs_acc.yaml").write_text(GOOD)
    with pytest.raises(InputError, match=r"no such file; there are: width_vs_acc.yaml, (\S+, ){8}\S+ and 23 more$"):
        load_sweep("width_acc.yaml")


def test_a_command_that_is_printed_works_from_any_folder(package: Path) -> None:
    assert SWEEPS.spelling(load_sweep("third").path) == "sweeps/study/third.yaml"
    assert SWEEPS.spelling(Path("own.yaml")) == "own.yaml"


@pytest.mark.parametrize("kind", [SWEEPS, PROFILES])
def test_those_of_the_suite_are_there(kind: Shipped) -> None:
    assert len(kind.files) >= 4 and all(kind.find(name) == path for name, path in kind.files.items())
