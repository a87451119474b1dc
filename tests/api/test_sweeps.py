"""Sweeps from Python: what ``load_sweep`` takes, and ``run`` as far as it trains nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from jsonschema import Draft7Validator
from support.documents import ROOT
from support.plugins import FADING
from support.sweep_files import AXES, DRAWN, GOOD

import suite
from suite import __main__ as command
from suite.config import json_schema
from suite.records import kept_plans

GOOD_DICT: dict[str, Any] = yaml.safe_load(GOOD)
LIGHT = """
import sys, suite
sweep = suite.load_sweep("width_vs_acc")
print(len(sweep.trials), *sorted({"torch", "ray", "pandas", "mlflow", "matplotlib"} & sys.modules.keys()))
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(AXES)
    return tmp_path


def ids(sweep: Any, **options: Any) -> list[str]:
    return list(suite.load_sweep(sweep, **options).trials)


# load_sweep ---------------------------------------------------------------------------------------------------------


def test_a_path_a_name_a_mapping_and_a_sweep() -> None:
    assert ids("s.yaml") == ids(Path("s.yaml")) == ids(yaml.safe_load(AXES)) == ids(suite.load_sweep("s.yaml"))
    assert len(ids("width_vs_acc")) == 120


@pytest.mark.parametrize("text", [GOOD, DRAWN])
def test_a_mapping_gives_the_trials_of_its_file(text: str) -> None:
    Path("s.yaml").write_text(text)
    loaded, file = (
        suite.load_sweep(yaml.safe_load(text.replace("1e-4, 1e-3", "0.0001, 0.001"))),
        suite.load_sweep("s.yaml"),
    )
    assert loaded.trials == file.trials and (loaded.name, loaded.searched) == (file.name, file.searched)
    Path("again.yaml").write_text(loaded.text)
    assert ids("again.yaml") == list(loaded.trials)


def test_filters_and_overrides_are_those_of_the_command() -> None:
    assert len(ids("s.yaml", only="seed=1")) == 3
    assert len(ids(yaml.safe_load(AXES), only=["seed=1", "method=weights"], overrides="epochs=[3, 4]")) == 2
    with pytest.raises(suite.InputError, match="are for a sweep that is not loaded yet"):
        suite.load_sweep(suite.load_sweep("s.yaml"), only="seed=1")


def test_ranges_tuples_and_what_numpy_holds() -> None:
    several = {**GOOD_DICT, "grid": {**GOOD_DICT["grid"], "seed": range(1, 4)}}
    listed = {**GOOD_DICT, "grid": {**GOOD_DICT["grid"], "seed": [1, 2, 3]}}
    assert ids(several) == ids(listed)
    for seeds in ((1, 2, 3), np.array([1, 2, 3]), [np.int64(1), 2, 3]):
        assert ids({**GOOD_DICT, "grid": {**GOOD_DICT["grid"], "seed": seeds}}) == ids(listed)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"nam": "t"}, '<dict>: nam: "t": not a setting; did you mean name?'),
        ({"base": {**GOOD_DICT["base"], "epochs": 0}}, "<dict>: base.epochs: 0: must be greater than or equal to 1"),
        ({"base": {**GOOD_DICT["base"], "epochs": float("nan")}}, "<dict>: base.epochs: NaN: must be"),
        ({"base": {**GOOD_DICT["base"], "dataset": Path("x")}}, '<dict>: "x" is of type PosixPath: must be mappings'),
    ],
)
def test_a_mistake_in_a_mapping_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(suite.InputError) as caught:
        suite.load_sweep({**GOOD_DICT, **change})
    assert str(caught.value).startswith(said)


def test_to_load_is_light(repository: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout == "120\n"


def test_a_plugin_of_a_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In sweeps of this process, in the lists and the schema of commands; of no file: none of them is left."""
    (here / "fading.py").write_text(FADING)
    raw = {**GOOD_DICT, "grid": {**GOOD_DICT["grid"], "method": {"name": "fading", "lr": 0.1, "half_life": [3, 4]}}}
    try:
        suite.use_plugins(here / "fading.py")
        assert [trial.method.half_life for trial in suite.load_sweep(raw).trials.values()] == [3, 4]  # type: ignore[attr-defined]
        suite.use_plugins()
        with pytest.raises(suite.InputError, match="fading"):
            suite.load_sweep(raw)
        assert command.main(["list", "methods", "--plugin", "fading.py"]) == 0
        line = capsys.readouterr().out.splitlines()[-1]
        assert line.split(None, 1) == ["fading", f"Weights that fade: a method of one's own. [{here / 'fading.py'}]"]
        assert command.main(["schema", "--plugin", "fading.py"]) == 0
        schema = json.loads(capsys.readouterr().out)
        assert Draft7Validator(schema).is_valid(raw)
        told = schema["definitions"]["base.method"]["properties"]["half_life"]
        assert told["description"] == "Steps after which half of a weight is left." and told["default"] == 7
        assert json_schema.text() != (ROOT / "sweeps/sweep.schema.json").read_text()
    finally:
        suite.use_plugins()
    assert json_schema.text() == (ROOT / "sweeps/sweep.schema.json").read_text()


# run ----------------------------------------------------------------------------------------------------------------


def test_mistakes_come_before_anything_starts(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(suite.InputError, match=r"^<dict>: base.epochs: 0: must be"):
        suite.run({**GOOD_DICT, "base": {**GOOD_DICT["base"], "epochs": 0}})
    loaded = suite.load_sweep("s.yaml")
    Path("s.yaml").write_text(GOOD)
    with pytest.raises(suite.InputError, match=r"^s.yaml: was edited since it was loaded: load it again$"):
        suite.run(loaded)
    assert capfd.readouterr() == ("", "") and not Path("results").exists()


def test_what_the_command_refuses_is_an_error_here(capfd: pytest.CaptureFixture[str]) -> None:
    """One sweep from a mapping and another file of its name."""
    Path("other.yaml").write_text(AXES.replace("epochs: 2", "epochs: 7"))
    kept_plans.keep(suite.load_sweep("other.yaml"), Path("results"))
    with pytest.raises(
        suite.InputError, match=r"^--cpus 0: must be from 1 to \d+, the CPUs that this process may use$"
    ):
        suite.run(suite.load_sweep(yaml.safe_load(AXES), only="seed=1", overrides="epochs=3"), cpus=0)
    with pytest.raises(suite.InputError) as caught:
        suite.run(yaml.safe_load(AXES), launcher="inline", profile="cpu")
    assert caught.value.problems == (
        f"<dict>: name: t: is the name of another sweep in results: {os.path.abspath('other.yaml')}, with 6 trials, "
        "0 of them in this one: give this one another name, or --results another folder",
    )
    assert capfd.readouterr() == ("", "")


def test_a_mapping_that_has_changed_is_the_same_sweep() -> None:
    """Its file is gone when the next one comes: kept plans know it by its name."""
    from suite.api.runs import _file_of

    for epochs in (2, 3):
        changed = suite.load_sweep(yaml.safe_load(AXES.replace("epochs: 2", f"epochs: {epochs}")))
        with _file_of(changed) as file:
            kept_plans.keep(suite.load_sweep(file), Path("results"))
        assert not file.exists()
    assert list(suite.load_sweep("results/sweeps/t.yaml").trials) == list(changed.trials)
