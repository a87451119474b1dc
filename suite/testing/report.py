"""What people read of the tests: a line for each thing that the contract demands."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class _Demand:
    """The cases of one test."""

    passed: int = 0
    skipped: int = 0
    errors: list[str] = field(default_factory=list)

    @property
    def num_cases(self) -> int:
        """Of those that apply."""
        return self.passed + len(self.errors)


class Report:
    """A plugin of pytest, in the place of its own output.

    Args:
        verbose: print the whole error of each case that fails.
    """

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose
        self._demands: dict[tuple[str, str], _Demand] = {}
        self._broken: list[str] = []

    def pytest_configure(self, config: Any) -> None:
        """Know the marks that the tests carry."""
        config.addinivalue_line("markers", "slow: takes long")

    def pytest_collectreport(self, report: Any) -> None:
        """Note a file of tests that cannot be imported."""
        if report.failed:
            self._broken.append(str(report.longrepr))

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note a case that has ended, and print the line of each demand that is through."""
        if report.when != "call" and report.passed:
            return
        place, _, name = report.nodeid.partition("::")
        demand = self._demands.setdefault((Path(place).stem, name.partition("[")[0]), _Demand())
        if report.failed:
            demand.errors.append(str(report.longrepr) if self._verbose else _last_error(report))
        elif report.skipped:
            demand.skipped += 1
        elif report.when == "call":
            demand.passed += 1

    def summarize(self) -> int:
        """Print what passes and what fails; the exit status of the command."""
        part = ""
        for (file, name), demand in self._demands.items():
            if file != part:
                part = file
                print(f"\n{_words(file)}")
            self._print(name, demand)
        print(*self._broken, sep="\n", end="\n" if self._broken else "")
        applying = [demand for demand in self._demands.values() if demand.num_cases]
        met, cases = [not demand.errors for demand in applying], sum(demand.num_cases for demand in applying)
        print(f"\n{sum(met)} of {len(met)} demands are met, in {cases} cases")
        return 0 if met and all(met) and not self._broken else 1

    def _print(self, name: str, demand: _Demand) -> None:
        num = demand.num_cases
        if demand.errors:
            print(f"  FAIL  {_words(name)} ({len(demand.errors)} of {num} cases)")
            print(*(f"        {line}" for line in dict.fromkeys(demand.errors)), sep="\n")
        elif num:
            print(f"  ok    {_words(name)} ({num} {'case' if num == 1 else 'cases'})")
        else:
            print(f"  --    {_words(name)}: does not apply")


def _words(name: str) -> str:
    return name.removeprefix("test_").replace("_", " ")


def _last_error(report: Any) -> str:
    """The error of a case in one line, with the case."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(crash.message if crash else report.longrepr).strip().splitlines()
    case = report.nodeid.partition("[")[2].removesuffix("]")
    return f"{case + ': ' if case else ''}{text[0] if text else 'failed'}"
