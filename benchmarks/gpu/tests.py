"""Part 1: the tests marked ``gpu``, a row each."""

from collections import defaultdict
from pathlib import Path

import pytest

from benchmarks.gpu.machine import check_kernels
from benchmarks.gpu.sheet import Sheet, say

ROOT = Path(__file__).parents[2]
SMOKE = (  # a few of each file
    "test_a_step_does_not_wait",
    "test_300_steps and 0.5-True",
    "test_replays_of_a_captured_step",
    "test_ties and True",
    "test_version_counters",
    "test_one_rank",
    "test_a_trial_resumes and iterand",
)
_TEST_SECONDS = 60


class Rows:
    """A plugin of pytest's that writes each test down, and passes over those for which no time is left."""

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Rehearse the first and the last case of each test: the interpreter is slow."""
        if self._sheet.options.rehearsal:
            groups = defaultdict(list)
            for item in items:
                groups[item.nodeid.partition("[")[0]].append(item)
            items[:] = [item for group in groups.values() for item in dict.fromkeys((group[0], group[-1]))]

    def pytest_runtest_logstart(self, nodeid: str, location: object) -> None:
        """Name the test that begins."""
        self._sheet.begins(nodeid)

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Skip where no time is left."""
        if self._sheet.left() < 0:
            pytest.skip("no time is left")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write the outcome."""
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self._sheet.failed(report.nodeid, str(getattr(crash, "message", report.longrepr))[:1000])
        elif report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self._sheet.not_measured(report.nodeid, reason.removeprefix("Skipped: "))
        elif report.when == "call":
            self._sheet.row("test", {"test": report.nodeid, "seconds": report.duration})

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Write down a file that cannot be collected."""
        if report.failed:
            self._sheet.failed(report.nodeid, str(report.longrepr)[-1000:])


def gpu_test_files() -> list[str]:
    """Those with tests marked gpu: to collect all would import what the GPU machine lacks."""
    return [str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "pytest.mark.gpu" in path.read_text()]


def run(sheet: Sheet) -> None:
    """The tests, by pytest in this process; warnings are shown, and fail none: the machine has other versions."""
    sheet.measure("Triton's kernels", lambda: check_kernels(sheet))
    select = sheet.options.select or (" or ".join(f"({name})" for name in SMOKE) if sheet.options.smoke else "")
    seconds = str(600 if sheet.options.rehearsal else _TEST_SECONDS)  # a CPU may be busy with others
    options = ["-m", "gpu", "-q", "-W", "default", "-p", "no:cacheprovider", "--timeout", seconds]
    status = pytest.main([*options, *(["-k", select] if select else []), *gpu_test_files()], plugins=[Rows(sheet)])
    say(f"pytest: {status!r}")
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        sheet.failed("pytest", f"ended with {status!r}")
