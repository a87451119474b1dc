"""How the code is cut: imports run one way, and each heavy dependency has one file that imports it."""

import ast
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(file for package in ("suite", "analysis") for file in (ROOT / package).rglob("*.py"))

BASE = frozenset(  # no torch
    [
        "config",
        "grid",
        "problems",
        "search",
        "yaml_text",
        "sweepfile",
        "records",
        "source",
        "slurm",
        "stopping",
        "lease",
        "ledger",
        "index",
        "scratch",
        "cost",
        "plan",
        "cli",
    ]
)
ABOVE = {  # what each part may import besides itself and BASE
    "methods": set(),
    "models": set(),
    "provenance": set(),
    "data": {"methods"},  # its random streams
    "distributed": set(),
    "checkpoint": set(),
    "evaluate": {"data", "distributed"},
    "tickets": {"methods", "models"},
    "train": {"methods", "models", "provenance", "data", "evaluate", "distributed", "checkpoint", "tickets"},
    "suite.tickets": {"tickets", "train", "data"},  # the command
    "launch": {"train", "distributed"},
    "suite.train": {"launch", "distributed"},  # the command
    "suite.data": {"data", "progress"},  # the commands
    "early_stop": set(),
    "worker": {"launch", "early_stop"},
    "vigil": {"launch"},
    "tune": {"launch", "early_stop", "vigil", "worker"},
    "driver": {"launch"},
    "progress": set(),
    "tracking": set(),
    "ui": {"tracking"},
    "analysis": set(),
    "analysis.report": {"analysis", "tracking"},  # the command
    "status": {"progress"},
    "sweep": {"analysis", "data", "driver", "launch", "progress", "tracking", "tune", "vigil"},
}
MAY_IMPORT = dict.fromkeys(BASE, BASE) | {part: BASE | {part} | others for part, others in ABOVE.items()}

ONLY_IMPORTER = {
    "ray": "suite/tune.py",
    "mlflow": "suite/tracking/__init__.py",
    "rich": "suite/progress.py",
    "submitit": "suite/launch/submission.py",
    "nvidia": "suite/data/imagenet_dali.py",
    "numba": "suite/methods/update/compiled.py",
    "constriction": "suite/tickets/coding.py",
    "safetensors": "suite/tickets/dense.py",
}


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file): file for file in FILES}


def part_of(module: str) -> str | None:
    """``suite.data.arrays`` belongs to ``data``; None for what is not ours, and for ``suite`` itself."""
    if module == "suite.train.__main__":
        return "suite.train"
    if module in ("suite.tickets.__main__", "suite.tickets.verify"):
        return "suite.tickets"
    if module in ("suite.data.scan", "suite.data.pack"):
        return "suite.data"
    if module == "analysis.report":
        return module
    first, *rest = module.split(".")
    return "analysis" if first == "analysis" else rest[0] if first == "suite" and rest else None


def imports(tree: ast.AST) -> Iterator[str]:
    """The modules that a piece of code imports, by full names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else str(node.module) for name in names)


def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_run_one_way(file: Path) -> None:
    part = part_of(module_of(file))
    if part is None:
        return
    assert part in MAY_IMPORT, f"{part}: say in ABOVE where it stands"
    assert {found for name in imports(parse(file)) if (found := part_of(name))} <= MAY_IMPORT[part]


def test_no_module_needs_itself() -> None:
    """At import time: what a function imports when it is called is left out."""
    graph: dict[str, set[str]] = defaultdict(set)
    for module, file in MODULES.items():
        for node in parse(file).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                graph[module] |= set(imports(node)) & MODULES.keys() - {module}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert order.index("suite.config") < order.index("suite.sweepfile") < order.index("suite.plan")


def test_a_heavy_dependency_has_one_importer() -> None:
    importers: dict[str, set[str]] = defaultdict(set)
    for file in FILES:
        for name in imports(parse(file)):
            importers[name.split(".")[0]].add(file.relative_to(ROOT).as_posix())
    for dependency, importer in ONLY_IMPORTER.items():
        assert importers[dependency] == {importer}


def test_torchvision_comes_through_the_shim() -> None:
    assert not any(name.split(".")[0] == "torchvision" for file in FILES for name in imports(parse(file)))
    loaders = {"import_module", "find_spec", "__import__"}
    named = {file.name for file in FILES for node in ast.walk(parse(file)) if _names_torchvision(node, loaders)}
    assert named == {"torchvision_shim.py"}


def _names_torchvision(node: ast.AST, functions: set[str]) -> bool:
    """A call of one of some functions with "torchvision"."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in functions:
        return False
    return any(isinstance(arg, ast.Constant) and str(arg.value).startswith("torchvision") for arg in node.args)


@pytest.mark.parametrize(
    ("missing", "call", "cure"),
    [
        ("ray", "__import__('suite.tune').tune._import_ray()", "pip install 'ray[tune]'"),
        ("mlflow", "__import__('suite.tracking').tracking._import_mlflow()", "pip install mlflow"),
        (
            "rich",
            "__import__('suite.sweep').sweep.main(['sweeps/width_vs_acc.yaml', '--dry-run', '--results', 'none'])",
            "pip install rich",
        ),
    ],
)
def test_a_missing_dependency_tells_how_to_install_it(missing: str, call: str, cure: str) -> None:
    command = f"import sys; sys.modules['{missing}'] = None; from suite import cli; sys.exit(cli.run(lambda: {call}))"
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, env={**os.environ}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.strip().endswith(f"install it with: {cure}")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_files_are_small(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 350
