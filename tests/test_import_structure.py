"""How the code is cut: imports run one way, and each heavy dependency has one file that imports it."""

import ast
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(file for package in ("suite", "analysis") for file in (ROOT / package).rglob("*.py"))

ROOMS = {  # whom each may import besides itself; suite.data means suite.data.*, too
    "suite.config": set(),
    "suite.torchvision_shim": set(),
    "suite.models": {"suite.config", "suite.torchvision_shim"},
    "suite.machine": {"suite.config"},
    "suite.own_code": {"suite.config"},
    "suite.stopping": set(),
    "suite.output": set(),
    "suite.scratch": set(),
    "suite.startup": set(),
    "suite.environment": {"suite.config"},
    "suite.records": {"suite.config", "suite.environment"},
    "suite.methods": {"suite.config", "suite.records"},
    "suite.slurm": {"suite.config", "suite.records", "suite.machine", "suite.environment"},
    "suite.cli": {
        "suite.config",
        "suite.records",
        "suite.output",
        "suite.own_code",
        "suite.startup",
        "suite.environment",
    },
    "suite.table_layout": set(),
    "suite.console": {"suite.config"},
    "suite.listing": {"suite.config", "suite.console"},
    "suite.terminal": {"suite.config", "suite.records", "suite.table_layout"},
    "suite.data": {  # methods: random streams
        "suite.config",
        "suite.records",
        "suite.methods",
        "suite.stopping",
        "suite.machine",
        "suite.torchvision_shim",
    },
    "suite.tickets": {"suite.config", "suite.records", "suite.methods", "suite.models"},
    "suite.api": {"suite.config", "suite.records", "suite.tickets", "suite.sweep", "suite.own_code"},
    "suite.train": {
        "suite.config",
        "suite.records",
        "suite.methods",
        "suite.models",
        "suite.data",
        "suite.tickets",
        "suite.stopping",
        "suite.startup",
    },
    "suite.testing": {"suite.config", "suite.methods", "suite.models", "suite.data", "suite.tickets"},
    "suite.launch": {
        "suite.config",
        "suite.records",
        "suite.slurm",
        "suite.train",
        "suite.stopping",
        "suite.output",
        "suite.machine",
        "suite.own_code",
        "suite.startup",
        "suite.environment",
    },
    "suite.sweep": {
        "suite.cli",
        "suite.config",
        "suite.records",
        "suite.slurm",
        "suite.launch",
        "suite.scratch",
        "suite.stopping",
        "suite.output",
        "suite.table_layout",
        "suite.terminal",
        "suite.machine",
        "suite.own_code",
        "suite.startup",
        "suite.environment",
    },
    "suite.tracking": {
        "suite.config",
        "suite.records",
        "suite.scratch",
        "suite.own_code",
        "suite.startup",
        "suite.environment",
    },
    "analysis.statistics": {"suite.config"},
    "analysis.theory": {"suite.config", "suite.environment"},
    "analysis.parts": {"suite.config", "suite.records", "suite.environment", "analysis.statistics"},
    "analysis.reports": {
        "suite.config",
        "suite.records",
        "suite.cli",
        "suite.environment",
        "analysis.statistics",
        "analysis.parts",
    },
}
COMMANDS = {  # may import anything; besides these every __main__, and the files of analysis itself
    "suite.status",
    "suite.ui",
    "suite.unused",
    "suite.tickets.commands",
    "suite.tickets.verify",
    "suite.train.calibrate",
    "suite.train.command",
    "suite.data.imagenet.scan",
    "suite.data.imagenet.pack",
    "suite.data.imagenet.stage",
}

ONLY_IMPORTER = {
    "ray": "suite/sweep/tune.py",
    "mlflow": "suite/tracking/__init__.py",
    "rich": "suite/terminal.py",
    "submitit": "suite/launch/submission.py",
    "nvidia": ("suite/data/imagenet/dali_loader.py", "suite/data/imagenet/dali_decoder.py"),
    "numba": "suite/methods/update/loops/intrinsics.py",
    "constriction": "suite/tickets/entropy_coding.py",
    "safetensors": "suite/tickets/dense.py",
}


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file): file for file in FILES}


def is_command(module: str) -> bool:
    of_analysis = module.startswith("analysis.") and module.count(".") == 1 and module not in ROOMS
    return module in COMMANDS or module.endswith(".__main__") or of_analysis


def _is_started(module: str) -> bool:
    """``python -m`` runs it; what has moved only prints its new name."""
    text = MODULES[module].read_text(encoding="utf-8")
    return '__name__ == "__main__"' in text and "raise SystemExit" not in text


def room_of(module: str) -> str | None:
    """``suite.data`` for ``suite.data.arrays``; None for a command, for ``suite`` itself and for what is not ours."""
    if is_command(module):
        return None
    return next((room for room in ROOMS if f"{module}.".startswith(f"{room}.")), None)


def imports(tree: ast.AST) -> Iterator[str]:
    """The modules that a piece of code imports, by full names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else str(node.module) for name in names)


@cache
def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def imported(module: str) -> set[str]:
    """Our modules that one imports: at once, when a function is called, and for types alone."""
    return set(imports(parse(MODULES[module]))) & MODULES.keys() - {module}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_what_its_room_may(module: str) -> None:
    room = room_of(module)
    if room is None:
        assert is_command(module) or module in ("suite", "analysis"), f"{module}: is in no room: add it to ROOMS"
        return
    assert not [name for name in imported(module) if is_command(name)], "only commands import commands"
    others = {room_of(name) for name in imported(module)} - {room, None}
    assert others <= ROOMS[room]


@pytest.mark.parametrize("module", [module for module in sorted(MODULES) if module.startswith("analysis.")])
def test_tables_and_figures_need_no_training(module: str) -> None:
    """Commands may import anything; those of analysis read records, on machines that have no torch."""
    if is_command(module):
        others = {room_of(name) or name.partition(".")[0] for name in imported(module)}
        reports = {"suite.tracking"} if module == "analysis.report" else set()
        light = {"suite.config", "suite.records", "suite.cli", "analysis"}
        assert {room for room in others if not room.startswith("analysis.")} <= light | reports


def test_the_rule_has_no_circle_and_no_room_that_is_gone() -> None:
    TopologicalSorter(ROOMS).prepare()  # raises CycleError
    assert {room_of(module) for module in MODULES} - {None} == ROOMS.keys()
    assert MODULES.keys() >= COMMANDS


def test_no_module_needs_itself() -> None:
    order = list(TopologicalSorter({module: imported(module) for module in MODULES}).static_order())
    assert order.index("suite.config") < order.index("suite.config.sweep_file") < order.index("suite.sweep.plan")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("suite.data.scan", "suite.data.imagenet.scan"),
        ("suite.data.pack", "suite.data.imagenet.pack"),
        ("suite.data.stage", "suite.data.imagenet.stage"),
        ("analysis.kept", "analysis.export"),
    ],
)
def test_a_command_that_has_moved_names_its_new_place(old: str, new: str) -> None:
    assert len(MODULES[old].read_text(encoding="utf-8").splitlines()) <= 4 and new in MODULES
    done = subprocess.run([sys.executable, "-m", old, "x"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"python -m {old} is now python -m {new}\n"


CHANGING = {"append", "appendleft", "add", "update", "clear", "pop", "popleft", "popitem", "setdefault", "extend"}
CHANGING |= {"insert", "remove", "discard", "sort", "reverse"}
PROCESS_WIDE = {  # what belongs to the process, not to what it runs
    "suite.scratch._held",  # locks on folders, which the system releases when the process ends
    "suite.methods.update.plan._captured",  # memory that captured CUDA graphs read
}


def changed_by_functions(module: str) -> set[str]:
    """Module-level names that functions of the module assign, or whose lists, sets and dictionaries they change."""
    tree = parse(MODULES[module])
    targets = [t for node in tree.body if isinstance(node, ast.Assign) for t in node.targets]
    targets += [node.target for node in tree.body if isinstance(node, ast.AnnAssign)]
    names = {target.id for target in targets if isinstance(target, ast.Name)}
    found = set()
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
        own = {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        own |= {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
        for node in ast.walk(function):
            if isinstance(node, ast.Global):
                found |= set(node.names)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in CHANGING:
                found |= {node.value.id} - own
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "next" and isinstance(node.args[0], ast.Name):
                found |= {node.args[0].id} - own
            elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
                found |= {node.value.id} - own if isinstance(node.ctx, ast.Store | ast.Del) else set()
    return {f"{module}.{name}" for name in found & names}


def test_state_lives_in_objects() -> None:
    """A second sweep in the same process sees nothing of the first."""
    assert {name for module in MODULES for name in changed_by_functions(module)} == PROCESS_WIDE


def test_a_room_is_not_imported_with_what_it_does_not_need() -> None:
    """Packages that re-export names import nothing heavy."""
    command = (
        "import suite.config, suite.records, sys; sys.exit(bool({'torch', 'numpy', 'pandas'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", command], cwd=ROOT, check=False).returncode == 0


def test_a_heavy_dependency_has_one_importer() -> None:
    importers: dict[str, set[str]] = defaultdict(set)
    for file in FILES:
        for name in imports(parse(file)):
            importers[name.split(".")[0]].add(file.relative_to(ROOT).as_posix())
    for dependency, importer in ONLY_IMPORTER.items():
        assert importers[dependency] == ({importer} if isinstance(importer, str) else {*importer})


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
        ("ray", "load('suite.sweep.tune')._import_ray()", "pip install 'ray[tune]'"),
        ("mlflow", "load('suite.tracking')._import_mlflow()", "pip install mlflow"),
        (
            "rich",
            "load('suite.sweep.__main__').main(['sweeps/width_vs_acc.yaml', '--dry-run', '--results', 'none'])",
            "pip install rich",
        ),
    ],
)
def test_a_missing_dependency_tells_how_to_install_it(missing: str, call: str, cure: str) -> None:
    command = (
        f"import sys; from importlib import import_module as load; sys.modules['{missing}'] = None; "
        f"from suite import cli; sys.exit(cli.run(lambda: {call}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, env={**os.environ}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.strip().endswith(f"install it with: {cure}")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("module", [module for module in sorted(MODULES) if _is_started(module)])
def test_a_command_is_started_by_what_looks_whose_code_there_is(module: str) -> None:
    """``cli.run`` asks ``own_code``."""
    guard = parse(MODULES[module]).body[-1]
    assert ast.unparse(guard).endswith(("sys.exit(cli.run(main))", "sys.exit(cli.run(main, prints=True))"))


def test_files_are_small() -> None:
    assert [file for file in FILES if len(file.read_text(encoding="utf-8").splitlines()) > 350] == []
