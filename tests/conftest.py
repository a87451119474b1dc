"""What every test may use, and which tests this machine can run.

A test that needs something the machine may lack carries its marker and is skipped with the reason. Names in
$SUITE_REQUIRE (with commas between) must be there: their tests then fail instead.
"""

import contextlib
import functools
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from support.disks import mount_small_disk

from suite.config import InputError
from suite.config.sweep_file import Sweep, load_sweep
from suite.records import source_code

pytest.register_assert_rewrite("suite.testing")  # the contracts, which outsiders run too

WHOLE_FOLDERS = ("tests/slurm/cluster/", "tests/train/exactness/")  # which share a cluster, and ranks; longest first
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz")


@functools.cache
def _can_have_slurm() -> bool:
    if os.geteuid() or not all(map(shutil.which, ("slurmctld", "slurmd", "munged", "srun", "unshare"))):
        return False
    command = ["unshare", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _can_have_a_gpu() -> bool:
    import torch  # here: what deals the tests out does not need it
    from support.gpu import REHEARSAL

    return REHEARSAL or torch.cuda.is_available()


NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "chromium": (lambda: shutil.which("chromium") is not None, "no chromium (Debian package chromium)"),
    "compiler": (lambda: shutil.which("g++") is not None, "no C++ compiler (Debian package g++)"),
    "dali": (lambda: bool(find_spec("nvidia") and find_spec("nvidia.dali")), "no DALI (pip install '.[dali]')"),
    "fashion_mnist": (FASHION_MNIST.exists, "no Fashion-MNIST (Debian package dataset-fashion-mnist)"),
    "libraries": (
        lambda: all(map(find_spec, ("timm", "transformers", "lightning", "accelerate"))),
        "no timm, transformers, lightning or accelerate (pip install '.[libraries]')",
    ),
    "gpu": (_can_have_a_gpu, "torch sees no CUDA GPU"),
    "slurm": (_can_have_slurm, "not root, or no SLURM and munge (Debian packages slurm-wlm, munge), or no namespaces"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--hits",
        type=int,
        default=1,
        help="signals for each trial of tests/launch/test_kills.py, and for tests/sweep/test_faults.py",
    )

    parser.addoption("--long", action="store_true", help="run the tests marked long, too")


def pytest_sessionstart() -> None:
    source_code.git_commit()  # kept for the session: some tests hide git
    source_code.know_code_id(source_code.known_code_id())  # else each process parses the whole code again


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Folders that one worker tests as a whole come first: they take longest."""
    items.sort(key=lambda item: not item.nodeid.startswith(WHOLE_FOLDERS))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Deals out whole files, as their tests share fixtures, and some folders whole."""
    from xdist.scheduler import LoadFileScheduling

    class _Dealer(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((folder for folder in WHOLE_FOLDERS if nodeid.startswith(folder)), super()._split_scope(nodeid))

    return _Dealer(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("long") and not item.config.getoption("--long"):
        pytest.skip("takes long: with --long")
    required = os.environ.get("SUITE_REQUIRE", "").split(",")
    for marker, (there, reason) in NEEDS.items():
        if item.get_closest_marker(marker) and not there():
            (pytest.fail if marker in required else pytest.skip)(reason)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).parents[1]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a real disk of some KiB, in pages of 4."""
    with contextlib.ExitStack() as mounts:
        yield lambda size: mounts.enter_context(mount_small_disk(tmp_path / "disk", size))


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sweep]:
    """The sweep of a text, which becomes ``s.yaml`` in the present folder."""
    monkeypatch.chdir(tmp_path)

    def load(content: str | bytes, **options: Any) -> Sweep:
        Path("s.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_sweep("s.yaml", **options)

    return load


@pytest.fixture
def problems(load: Callable[..., Sweep]) -> Callable[..., list[str]]:
    """The mistakes of a sweep file, one a line, without the lines of the file (see config/test_lines.py)."""

    def problems(content: str | bytes, **options: Any) -> list[str]:
        with pytest.raises(InputError) as caught:
            load(content, **options)
        return [re.sub(r"^(s\.yaml):\d+: | \(line \d+\)(?= and )", _file_alone, each) for each in caught.value.problems]

    return problems


def _file_alone(found: re.Match[str]) -> str:
    return f"{found[1]}: " if found[1] else ""
