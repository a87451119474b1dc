"""Nothing that is read can run code: no pickle is loaded here, and what jobs load lies where only we can write.

Others do so for us: submitit in jobs (see the last test), and torchvision for CIFAR, after it has compared MD5 sums.
That a hostile checkpoint runs nothing is shown in tests/train/checkpoint.
"""

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from suite.launch import submission
from suite.slurm.profile import Profile
from suite.slurm.record import JobRecord
from suite.slurm.request import Request, parameters
from suite.slurm.site import Site

ROOT = Path(__file__).parents[1]
FILES = sorted(file for package in ("suite", "analysis") for file in (ROOT / package).rglob("*.py"))
MODULES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "code", "runpy"}
FUNCTIONS = {"eval", "exec", "compile", "__import__"}  # built in: as methods they are somebody else's
METHODS = {"read_pickle", "to_pickle", "unsafe_load", "full_load", "unsafe_load_all", "full_load_all", "load_module"}


THE_ONE_LOADER = {  # imports plugins, which the command line or an installed package names (explanation/security.md)
    "suite/config/plugins.py": ["importlib.import_module of a name that is read"],
    "suite/__init__.py": ["importlib.import_module of a name that is read"],  # one of the suite, from its own table
    # Tests of copies: they read back what they have just pickled.
    **{f"suite/testing/method/test_{name}.py": ["import pickle"] for name in ("guests", "resuming")},
}


def loads(tree: ast.AST) -> Iterator[str]:
    """What in a piece of code may run what it reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            names = [module] if module else [alias.name for alias in node.names]
            yield from (f"import {name}" for name in names if name.split(".")[0] in MODULES)
            found = METHODS | ({"load", "load_all"} if module in ("torch", "numpy", "yaml") else set())
            yield from (f"import {alias.name}" for alias in node.names if alias.name in found)
        elif isinstance(node, ast.Call):
            yield from called(node)


def called(node: ast.Call) -> Iterator[str]:
    name, settings = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
    last = name.rpartition(".")[2]
    if name in FUNCTIONS or last in METHODS:
        yield name
    elif last == "load" and name.startswith("torch.") and settings.get("weights_only") != "True":
        yield f"{name} without weights_only=True"
    elif last in ("load", "load_all") and name.startswith("yaml.") and settings.get("Loader") != "_Loader":
        yield f"{name} without a safe loader"
    elif settings.get("allow_pickle", "False") != "False" or (None in settings and name == "np.load"):
        yield f"{name} with allow_pickle"
    elif last in ("import_module", "find_loader") and node.args and not known(node.args[0]):
        yield f"{name} of a name that is read"


def known(name: ast.expr) -> bool:
    """A text, or one that begins with a package of ours."""
    text = name.values[0] if isinstance(name, ast.JoinedStr) else name
    return isinstance(text, ast.Constant) and (isinstance(name, ast.Constant) or str(text.value).startswith("suite."))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_loads_what_may_run_code(file: Path) -> None:
    found = list(loads(ast.parse(file.read_text(encoding="utf-8"))))
    assert found == THE_ONE_LOADER.get(file.relative_to(ROOT).as_posix(), [])


def test_only_the_one_loader_runs_the_source_of_a_file() -> None:
    """A file of ``--plugin``; no other module makes a module of a path."""
    makes = ("spec_from_file_location", "exec_module", "SourceFileLoader", "zipimporter")
    found = {file.relative_to(ROOT).as_posix() for file in FILES if any(word in file.read_text() for word in makes)}
    assert found == {"suite/config/plugins.py"}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "import torch.x, cloudpickle.y",
        "from pandas import read_pickle",
        "from torch import load",
        "pd.read_pickle(path)",
        "eval(text)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, **options)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=asked)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.unsafe_load(text)",
        "importlib.import_module(name)",
        "importlib.import_module(f'{package}.x')",
    ],
)
def test_the_search_finds(code: str) -> None:
    assert list(loads(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "model.eval()",
        "re.compile(text)",
        "np.load(path)",
        "torch.load(file, map_location='cpu', weights_only=True)",
        "yaml.safe_load(text)",
        "json.load(file)",
        "importlib.import_module(f'suite.methods.{name}')",
    ],
)
def test_the_search_passes_over(code: str) -> None:
    assert list(loads(ast.parse(code))) == []


def test_what_a_job_is_to_run_lies_in_a_folder_of_ours_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text("#!/bin/sh\necho Submitted batch job 17\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sbatch.parent}:{os.environ['PATH']}")
    site = Site.prepare("s", Profile(), tmp_path / "results", tmp_path)
    record = JobRecord.new("s.1", "1", site.results)
    submission.submit(site, record, parameters(Request(1, 1, 1, 0), site.profile, name="s.1", comment="1"), print)
    assert (Path(record.folder) / "17_submitted.pkl").is_file()
    assert Path(record.folder).stat().st_mode & 0o777 == 0o700
