"""Plugins: where they come from, what is wrong with them, and which ids they change."""

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.documents import ROOT
from support.plugin_packages import FILE, METHOD, installed, write_example, write_method, write_package

from suite.config import METHODS, InputError, Trial, plugin_files, plugins
from suite.config.sweep_file import load_sweep, load_trial

POP = {"name": "pop", "lr": 0.1, "sparsity": 0.5}
TRIAL: dict[str, Any] = {
    "dataset": "digits",
    "model": {"name": "conv2"},
    "method": {"name": "weights", "lr": 0.1},
    "seed": 7,
    "epochs": 4,
    "global_batch_size": 64,
}
SWEEP = "name: x\nbase: {dataset: digits, model: {name: conv2}, seed: 1, epochs: 1, global_batch_size: 64}\n"


@pytest.fixture(autouse=True)
def _no_files() -> Iterator[None]:
    yield
    plugin_files.use([])


def trial(**changes: Any) -> Trial:
    return Trial.model_validate({**TRIAL, **changes})


def problem_of(folder: Path, method: str = "{name: pop, lr: 0.1, sparsity: 0.5}") -> str:
    """What is said of a sweep with a method."""
    (folder / "x.yaml").write_text(f"{SWEEP}grid: {{method: {method}}}\n")
    with pytest.raises(InputError) as caught:
        load_sweep(folder / "x.yaml")
    return str(caught.value)


def test_a_package_adds_a_method_and_other_trials_keep_their_ids(tmp_path: Path) -> None:
    before, names = trial().trial_id, tuple(METHODS)
    write_method(tmp_path)
    with installed(tmp_path):
        assert tuple(METHODS) == (*names, "pop")
        [entry] = trial(method=POP).plugins
        assert (entry.origin.package, entry.origin.version) == ("popper", "1.0")
        assert trial().trial_id == before and trial().plugins == []
    assert tuple(METHODS) == names


def test_the_id_covers_the_results_version_and_not_the_packages_own(tmp_path: Path) -> None:
    found = []
    for i, (version, text) in enumerate(
        (("1.0", METHOD), ("1.1", METHOD), ("1.1", METHOD.replace("VERSION = 1", "VERSION = 2")))
    ):
        write_method(tmp_path / str(i), version=version, settings=text)
        with installed(tmp_path / str(i)):
            found.append(trial(method=POP).trial_id)
    assert found[0] == found[1] != found[2]


def test_settings_of_a_plugin_are_read_without_torch(tmp_path: Path) -> None:
    write_method(tmp_path)
    (tmp_path / "x.yaml").write_text(f"{SWEEP}grid: {{method: {{name: pop, lr: 0.1, sparsity: 0.5}}}}\n")
    code = (
        "import sys; from pathlib import Path; from suite.config.sweep_file import load_sweep; "
        f"print(len(load_sweep(Path({str(tmp_path / 'x.yaml')!r})).trials), 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    found = subprocess.run(
        command, cwd=ROOT, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert found.stdout == "1 False\n"


def test_two_packages_with_one_name_are_an_error_with_both(tmp_path: Path) -> None:
    write_method(tmp_path)
    write_method(tmp_path, "other", "2.3")
    with installed(tmp_path):
        said = problem_of(tmp_path)
        assert trial().trial_id  # whoever names none of them is not concerned
    assert "package popper 1.0" in said and "package other 2.3" in said and "uninstall" in said


def test_a_package_cannot_replace_a_method_of_the_suite(tmp_path: Path) -> None:
    write_package(
        tmp_path,
        {"taker.py": METHOD.replace('"pop"', '"edge_popup"')},
        {"suite.methods": {"edge_popup": "taker:PopSettings"}},
        "taker",
    )
    with installed(tmp_path):
        said = problem_of(tmp_path, "{name: edge_popup, lr: 0.1, sparsity: 0.5}")
    assert "the suite itself" in said and "package taker 1.0" in said


@pytest.mark.parametrize(
    ("module", "value", "rule"),
    [
        ("import no_such_module", "broken:PopSettings", "No module named 'no_such_module'"),
        ("raise SystemExit(7)", "broken:PopSettings", "SystemExit: 7"),
        ("1 / 0", "broken:PopSettings", "ZeroDivisionError"),
        ("", "broken:PopSettings", "no attribute 'PopSettings'"),
        ("PopSettings = 3", "broken:PopSettings", "must be a subclass of suite.config.MethodSettings"),
        (METHOD.replace("    IMPLEMENTATION", "    IMPLEMENTED: str"), "broken:PopSettings", "has no IMPLEMENTATION"),
        (METHOD.replace('"pop"', '"pip"'), "broken:PopSettings", "must be a Literal that has 'pop'"),
    ],
)
def test_what_is_wrong_with_a_package_is_said_to_who_names_it(
    tmp_path: Path, module: str, value: str, rule: str
) -> None:
    write_package(tmp_path, {"broken.py": module}, {"suite.methods": {"pop": value}}, "broken", "0.1")
    with installed(tmp_path):
        assert trial().trial_id
        said = problem_of(tmp_path)
    assert "package broken 0.1" in said and rule in said and len(said.splitlines()) == 1


def test_a_network_has_keys_of_its_own_which_are_in_the_id(tmp_path: Path) -> None:
    write_example(tmp_path, "docs/how-to/own_network.md")
    with installed(tmp_path):
        one, two = (trial(model={"name": "mlp", "depth": depth}) for depth in (1, 2))
        assert one.trial_id != two.trial_id
        (tmp_path / "x.yaml").write_text(
            f"{SWEEP}grid: {{model: {{name: mlp, dept: 2}}, method: {{name: weights, lr: 1.0}}}}\n"
        )
        with pytest.raises(InputError, match=r"dept: 2: not a setting of mlp; did you mean depth\?"):
            load_sweep(tmp_path / "x.yaml")


def test_the_id_covers_the_source_of_a_file_without_comments(tmp_path: Path) -> None:
    found = []
    for text in (
        FILE,
        f"# words\n{FILE}",
        FILE.replace("class Quick(EdgePopup):", "class Quick(EdgePopup):\n    x = 1"),
    ):
        (tmp_path / "quick.py").write_text(text)
        plugin_files.use([])
        plugin_files.use([tmp_path / "quick.py"])
        found.append(trial(method=POP | {"name": "quick"}).trial_id)
    assert found[0] == found[1] != found[2]
    plugin_files.use([])
    assert "quick" not in METHODS


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (None, "FileNotFoundError"),
        ("x = 1\nx = y\n", r"NameError: name 'y' is not defined \(line 2\)"),
        ("def (", "SyntaxError"),
        ("import sys\nsys.exit('no GPU')", r"SystemExit: no GPU \(line 2\)"),
        ("x = 1", "has no settings class with a name and an IMPLEMENTATION"),
        (FILE.replace('"quick"', '"iterand"'), "two have this name, the suite itself and"),
    ],
)
def test_what_is_wrong_with_a_file_is_an_error_at_once(tmp_path: Path, text: str | None, rule: str) -> None:
    if text is not None:
        (tmp_path / "quick.py").write_text(text)
    with pytest.raises(InputError, match=rf"^--plugin.*{rule}") as caught:
        plugin_files.use([tmp_path / "quick.py"])
    assert len(str(caught.value).splitlines()) == 1
    plugin_files.use([])
    assert trial().trial_id


@pytest.mark.parametrize("place", ["plugin", "plugins"])
def test_a_sweep_file_loads_no_plugin(tmp_path: Path, place: str) -> None:
    (tmp_path / "quick.py").write_text(FILE)
    (tmp_path / "x.yaml").write_text(
        f"{SWEEP}{place}: [quick.py]\ngrid: {{method: {{name: quick, lr: 1.0, sparsity: 0.5}}}}\n"
    )
    with pytest.raises(InputError, match=rf"{place}: .*not a setting") as caught:
        load_sweep(tmp_path / "x.yaml")
    assert '"quick": not a method' in str(caught.value)


def test_a_record_of_a_plugin_that_is_missing_names_its_package(tmp_path: Path) -> None:
    used = '[{"kind": "method", "name": "pop", "package": "popper", "version": "1.0", "source_id": "0"}]'
    (tmp_path / "result.json").write_text(f'{{"trial_id": "0", "config": {{}}, "plugins": {used}}}')
    with pytest.raises(InputError, match=r"method pop of popper 1\.0: is missing here: pip install popper"):
        load_trial(tmp_path / "result.json")


@pytest.mark.parametrize("raised", ["1 / 0", "raise SystemExit(7)", "import no_such_module"])
def test_what_is_wrong_with_an_implementation_is_said_to_who_loads_it(tmp_path: Path, raised: str) -> None:
    write_method(tmp_path)
    (tmp_path / "popper/optimizer.py").write_text(raised)
    with installed(tmp_path):
        [entry] = trial(method=POP).plugins
        with pytest.raises(
            InputError, match=r"method pop: package popper 1\.0: popper\.optimizer:Pop: cannot be loaded"
        ):
            entry.load()
        with pytest.raises(InputError, match=r"popper\.optimizer:Pop: cannot be loaded"):
            plugins.implementation("popper.optimizer:Pop")


def test_what_a_plugin_prints_is_no_output_of_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "quick.py").write_text(f"print('loaded')\n{FILE}")
    plugin_files.use([tmp_path / "quick.py"])
    assert capsys.readouterr() == ("", "loaded\n")


def test_two_files_of_one_name_are_two_plugins_and_a_file_given_twice_is_one(tmp_path: Path) -> None:
    files = [tmp_path / "a" / "same.py", tmp_path / "b" / "same.py"]
    for file, text in zip(files, (FILE, FILE.replace("Quick", "Fast").replace("quick", "fast")), strict=True):
        file.parent.mkdir()
        file.write_text(text)
    plugin_files.use([*files, tmp_path / "a" / ".." / "b" / "same.py"])
    for name in ("quick", "fast"):
        [entry] = trial(method=POP | {"name": name}).plugins
        assert pickle.loads(pickle.dumps(entry.load())) is entry.load()


@pytest.mark.parametrize("file", ["my-own.py", "na\u00efve pl\u00fcgin.py", "two.dots.py"])
def test_a_file_may_have_any_name_that_ends_in_py(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_text(FILE)
    plugin_files.use([tmp_path / file])
    [entry] = trial(method=POP | {"name": "quick"}).plugins
    assert entry.origin.package == file and pickle.loads(pickle.dumps(entry.load())) is entry.load()
